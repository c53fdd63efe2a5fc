/*
 * What the slots of all disks hold: the first state, at opening; and later a newer one, which the
 * other controller has written. See meta_store.h.
 */
#include "blockcore/control/meta_impl.h"
#include "blockcore/disk/disk.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include "runtime/fan.h"
#include "runtime/log.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct finding {
	struct meta *m;
	struct disk *disk;
	struct meta_slot slot[2];
	int rc;
};

void meta_tell_slot(struct meta_disk *md, unsigned slot, const struct meta_slot *s)
{
	if (md->damaged[slot])
		return;
	md->damaged[slot] = true;
	event_write(LOG_L_WARN, "meta.slot_damaged", "disk %s: metadata slot %u at byte %llu: %s",
		    disk_path(md->disk), slot, (unsigned long long)meta_slot_offset(slot), s->why);
}

static void look_disk(void *item)
{
	struct finding *f = item;
	for (unsigned s = 0; s < 2 && f->rc == 0; s++)
		f->rc = meta_slot_look(f->disk, s, f->m->array_uuid, &f->slot[s]);
}

/* Headers of all slots. To be freed, also on failure. */
static int look_all(struct meta *m, struct finding **ret, char *why)
{
	unsigned n = m->ndisks;
	struct finding *f = *ret = calloc(n ? n : 1, sizeof(*f));
	if (!f)
		return -ENOMEM;
	for (unsigned i = 0; i < n; i++)
		f[i] = (struct finding){.m = m, .disk = m->disks[i].disk};
	for (unsigned i = 0; i < n; i += FAN_MAX)
		fan_run(look_disk, f + i, sizeof(*f), MIN(FAN_MAX, n - i));
	for (unsigned i = 0; i < n; i++)
		for (unsigned s = 0; s < 2; s++) {
			if (f[i].rc)
				return f[i].rc;
			if (f[i].slot[s].verdict == SLOT_VERSION) {
				snprintf(why, META_WHY_LEN,
					 "disk %s: metadata slot %u was written by a newer version",
					 disk_path(m->disks[i].disk), s);
				return -ERR_VERSION;
			}
			if (f[i].slot[s].verdict == SLOT_DAMAGED)
				meta_tell_slot(&m->disks[i], s, &f[i].slot[s]);
		}
	return 0;
}

/* The candidate with the highest sequence above `seq`; false: none left. */
static bool best_slot(const struct meta *m, const struct finding *f, uint64_t seq,
		      unsigned *ret_disk, unsigned *ret_slot)
{
	bool any = false;
	for (unsigned i = 0; i < m->ndisks; i++)
		for (unsigned s = 0; s < 2; s++)
			if (f[i].slot[s].verdict == SLOT_OK && f[i].slot[s].seq > seq) {
				any = true;
				seq = f[i].slot[s].seq;
				*ret_disk = i;
				*ret_slot = s;
			}
	return any;
}

/* The best that holds; NULL: none does. */
static int read_best(struct meta *m, struct finding *f, uint64_t above, Isthmus__ArrayMeta **ret,
		     char *why)
{
	unsigned i = 0, s = 0;
	*ret = NULL;
	while (!*ret && best_slot(m, f, above, &i, &s)) {
		uint8_t *p;
		int rc = meta_slot_read(m->disks[i].disk, s, &f[i].slot[s], &p);
		if (rc == -ENOMEM)
			return rc;
		if (rc) {
			meta_tell_slot(&m->disks[i], s, &f[i].slot[s]);
			continue;
		}
		rc = meta_decode(p, f[i].slot[s].length, ret, why);
		free(p);
		if (rc == 0 && (*ret)->seq != f[i].slot[s].seq) {
			isthmus__array_meta__free_unpacked(*ret, NULL);
			*ret = NULL;
			snprintf(why, META_WHY_LEN, "seq: not the slot's");
			rc = -ERR_CORRUPT;
		}
		if (rc) {
			event_write(LOG_L_ERROR, "meta.invalid",
				    "disk %s: metadata slot %u at byte %llu: %s",
				    disk_path(m->disks[i].disk), s,
				    (unsigned long long)meta_slot_offset(s), why);
			return rc;
		}
	}
	return 0;
}

/* Payloads are read on every disk: a damaged one is told now. */
static int read_others(struct meta *m, struct finding *f)
{
	for (unsigned i = 0; i < m->ndisks; i++)
		for (unsigned s = 0; s < 2; s++) {
			uint8_t *p;
			struct meta_slot *slot = &f[i].slot[s];
			if (slot->verdict != SLOT_OK)
				continue;
			int rc = meta_slot_read(m->disks[i].disk, s, slot, &p);
			if (rc == -ENOMEM)
				return rc;
			if (rc)
				meta_tell_slot(&m->disks[i], s, slot);
			else
				free(p);
		}
	return 0;
}

/*
 * Nothing holds. The very first change torn by a power loss leaves damaged first slots and
 * blank second ones: that array is still empty. Anything else has been metadata once.
 */
static bool lost(const struct meta *m, const struct finding *f)
{
	for (unsigned i = 0; i < m->ndisks; i++)
		if (f[i].slot[1].verdict == SLOT_DAMAGED)
			return true;
	return false;
}

static int make_empty(struct meta *m, const char *name)
{
	Isthmus__ArrayMeta am = ISTHMUS__ARRAY_META__INIT;
	am.version = META_VERSION;
	am.array_uuid = (ProtobufCBinaryData){.data = m->array_uuid, .len = 16};
	am.array_name = (char *)(name ? name : "");
	am.next_volume_id = 1;
	am.next_id = 1;
	m->cur = meta_copy(&am);
	return m->cur ? 0 : -ENOMEM;
}

static void note_seqs(struct meta *m, const struct finding *f)
{
	for (unsigned i = 0; i < m->ndisks; i++)
		for (unsigned s = 0; s < 2; s++) {
			const struct meta_slot *slot = &f[i].slot[s];
			m->disks[i].seq[s] = slot->verdict == SLOT_OK ? slot->seq : 0;
			m->tried = MAX(m->tried, m->disks[i].seq[s]);
		}
}

int meta_load(struct meta *m, const char *name, char *why)
{
	struct finding *f;
	int rc = look_all(m, &f, why);
	if (rc == 0)
		rc = read_best(m, f, 0, &m->cur, why);
	if (rc == 0 && m->cur)
		rc = read_others(m, f);
	if (rc == 0 && !m->cur && lost(m, f)) {
		snprintf(why, META_WHY_LEN, "no copy of the array metadata holds on any disk");
		rc = -ERR_CORRUPT;
	}
	if (rc == 0 && !m->cur)
		rc = make_empty(m, name);
	if (rc == 0)
		note_seqs(m, f);
	free(f);
	return rc;
}

int meta_load_newer(struct meta *m, uint64_t above, Isthmus__ArrayMeta **ret, char *why)
{
	struct finding *f;
	*ret = NULL;
	int rc = look_all(m, &f, why);
	if (rc == 0)
		rc = read_best(m, f, above, ret, why);
	if (rc == 0)
		note_seqs(m, f);
	free(f);
	return rc;
}
