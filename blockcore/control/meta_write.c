/*
 * Writing a state to the slots of all disks, and looking later whether they still hold it.
 *
 * It goes to the slot that does not hold the current state, of every online disk at once, and is
 * flushed. It has come through when at least one disk of every pool that has any, and more than
 * half of all disks, took it; disks that did not are reported to the core, which takes them out
 * of their pool.
 */
#include "blockcore/control/meta_impl.h"
#include "blockcore/disk/disk.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include "runtime/fan.h"
#include "runtime/fault.h"
#include "runtime/log.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct disk_write {
	struct meta_disk *md;
	const uint8_t *buf;
	size_t len;
	uint64_t seq, cur_seq;
	bool skipped; /* not online */
	int rc;
};

static int write_slot(struct disk_write *w, unsigned slot)
{
	struct meta_disk *md = w->md;
	md->seq[slot] = 0;
	int rc = meta_slot_write(md->disk, slot, w->buf, w->len);
	if (rc)
		return rc;
	md->seq[slot] = w->seq;
	if (md->damaged[slot])
		event_write(LOG_L_NOTICE, "meta.slot_repaired",
			    "disk %s: metadata slot %u at byte %llu was rewritten",
			    disk_path(md->disk), slot, (unsigned long long)meta_slot_offset(slot));
	md->damaged[slot] = false;
	return 0;
}

static void write_disk(void *item)
{
	struct disk_write *w = item;
	struct meta_disk *md = w->md;
	if (disk_state(md->disk) != DISK_ONLINE) {
		w->skipped = true;
		return;
	}
	/* Never the slot that holds the current state. */
	unsigned slot = w->cur_seq && md->seq[0] == w->cur_seq ? 1 : 0;
	w->rc = write_slot(w, slot);
	FAULT("meta.slot_written");
	/* A slot that holds nothing is no second chance: fill it too. */
	if (w->rc == 0 && md->seq[!slot] == 0)
		w->rc = write_slot(w, !slot);
}

static bool pool_has(const Isthmus__Pool *p, const struct disk *d)
{
	return p->uuid.len == 16 && memcmp(p->uuid.data, disk_label(d)->pool_uuid, 16) == 0;
}

/* Did enough disks take it? */
static bool enough(const Isthmus__ArrayMeta *am, const struct disk_write *w, unsigned n)
{
	unsigned online = 0, written = 0;
	for (unsigned i = 0; i < n; i++) {
		online += !w[i].skipped;
		written += !w[i].skipped && w[i].rc == 0;
	}
	if (written == 0 || written * 2 <= online)
		return false;
	for (size_t p = 0; p < am->n_pools; p++) {
		bool any = false, took = false;
		for (unsigned i = 0; i < n; i++)
			if (!w[i].skipped && pool_has(am->pools[p], w[i].md->disk)) {
				any = true;
				took |= w[i].rc == 0;
			}
		if (any && !took)
			return false;
	}
	return true;
}

int meta_write_all(struct meta *m, const Isthmus__ArrayMeta *am, const uint8_t *buf, size_t len,
		   char *why)
{
	int rc = 0;
	struct disk_write *w = calloc(m->ndisks ? m->ndisks : 1, sizeof(*w));
	if (!w)
		return -ENOMEM;
	unsigned n = m->ndisks;
	for (unsigned i = 0; i < n && rc == 0; i++)
		w[i] = (struct disk_write){.md = &m->disks[i],
					   .buf = buf,
					   .len = len,
					   .seq = am->seq,
					   .cur_seq = m->cur->seq};
	for (unsigned i = 0; i < n && rc == 0; i += FAN_MAX)
		fan_run(write_disk, w + i, sizeof(*w), MIN(FAN_MAX, n - i));
	if (rc == 0 && !enough(am, w, n)) {
		snprintf(why, META_WHY_LEN,
			 "too few disks took the change; see `isthmus disk list` and the events");
		rc = -EIO;
	}
	for (unsigned i = 0; i < n && w; i++)
		if (w[i].rc && !w[i].skipped) {
			event_write(LOG_L_ERROR, "meta.write_failed",
				    "disk %s: array metadata not written: %s",
				    disk_path(w[i].md->disk), err_text(w[i].rc));
			if (rc == 0 && m->opts.write_failed)
				m->opts.write_failed(m->opts.arg, w[i].md->disk, w[i].rc);
		}
	free(w);
	return rc;
}

/* True when the slot holds what was written to it. Else what is wrong, in *ret. */
static bool slot_holds(struct meta *m, struct meta_disk *md, unsigned slot, struct meta_slot *ret)
{
	uint8_t *p;
	if (meta_slot_look(md->disk, slot, m->array_uuid, ret))
		return true; /* no memory: another time */
	int rc = ret->verdict == SLOT_OK ? meta_slot_read(md->disk, slot, ret, &p) : -ERR_CORRUPT;
	if (rc == 0)
		free(p);
	if (rc == -ENOMEM || (rc == 0 && ret->seq == md->seq[slot]))
		return true;
	if (rc == 0 || !ret->why[0])
		snprintf(ret->why, sizeof(ret->why), "it does not hold what was written to it");
	return false;
}

static void check_disk(struct meta *m, struct meta_disk *md, const uint8_t *buf, size_t len)
{
	struct disk_write w = {.md = md, .buf = buf, .len = len, .seq = m->cur->seq};
	struct meta_slot found;
	int rc = 0;
	for (unsigned s = 0; s < 2 && rc == 0 && disk_state(md->disk) == DISK_ONLINE; s++) {
		/* One that could not be rewritten is the next change's to mend. */
		if (!md->seq[s] || slot_holds(m, md, s, &found))
			continue;
		meta_tell_slot(md, s, &found);
		rc = write_slot(&w, s);
	}
	if (!rc)
		return;
	event_write(LOG_L_ERROR, "meta.write_failed", "disk %s: array metadata not written: %s",
		    disk_path(md->disk), err_text(rc));
	if (m->opts.write_failed)
		m->opts.write_failed(m->opts.arg, md->disk, rc);
}

void meta_check_slots(struct meta *m)
{
	char why[META_WHY_LEN];
	uint8_t *buf;
	size_t len;
	CHECK(m, META_MAGIC);
	task_mutex_lock(&m->lock);
	/* Not while the partner writes: what is half written looks damaged. */
	if (m->cur->seq && meta_share_enter(m, why) == 0) {
		if (meta_encode(m, m->cur, &buf, &len, why) == 0) {
			for (unsigned i = 0; i < m->ndisks; i++)
				check_disk(m, &m->disks[i], buf, len);
			free(buf);
		}
		meta_share_leave(m);
	}
	task_mutex_unlock(&m->lock);
}
