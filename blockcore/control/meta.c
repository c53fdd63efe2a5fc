/*
 * Array metadata in memory and on the disks (meta.h, meta_store.h).
 *
 * A change is written to the slot that does not hold the current state, of
 * every online disk at once, and flushed. It has come through when at least
 * one disk of every pool that has any, and more than half of all disks, took
 * it; disks that did not are reported to the core, which takes them out of
 * their pool. Whoever opens next takes the highest sequence that holds, so
 * after a power loss at any point there is the old state or the new one. A
 * change that failed may still have reached a few disks: its sequence number
 * is never used again, and the next change overwrites it.
 *
 * Owned by one reactor. `lock` keeps changes in order; it is held across the disk writes.
 */
#include "blockcore/control/meta_store.h"
#include "blockcore/control/meta_scsi.h"
#include "blockcore/control/meta_slot.h"
#include "blockcore/control/owner.h"
#include "blockcore/disk/disk.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/fan.h"
#include "runtime/log.h"
#include "runtime/task.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define META_MAGIC 0x6d657461

struct meta_disk {
	struct disk *disk;
	uint64_t seq[2]; /* what each slot holds; 0: nothing */
	bool damaged[2]; /* told, and not rewritten yet */
};

struct meta_watch {
	void (*fn)(void *arg, const Isthmus__ArrayMeta *am);
	void *arg;
	bool dead;
	TAILQ_ENTRY(meta_watch) link;
};
TAILQ_HEAD(meta_watches, meta_watch);

struct meta {
	uint32_t magic;
	struct env *env;
	struct sched *owner;
	struct task_mutex lock;
	uint8_t array_uuid[16];
	Isthmus__ArrayMeta *cur;
	uint64_t tried; /* highest sequence number ever written to any disk */
	struct meta_disk *disks;
	unsigned ndisks;
	void (*write_failed)(void *arg, struct disk *d, int err);
	void *arg;
	struct meta_watches watches;
	unsigned notifying;
};

/* ---- bytes and messages ---- */

int meta_decode(const uint8_t *p, size_t len, Isthmus__ArrayMeta **ret, char *why)
{
	Isthmus__ArrayMeta *am = isthmus__array_meta__unpack(NULL, len, p);
	if (!am) {
		snprintf(why, META_WHY_LEN, "the message cannot be decoded");
		return -ERR_CORRUPT;
	}
	int rc = 0;
	if (am->version >= META_VERSION_OLDEST && am->version < META_VERSION) {
		am->version = META_VERSION;
		rc = meta_number_ports(am);
	}
	if (rc == 0)
		rc = meta_check(am, why);
	if (rc) {
		isthmus__array_meta__free_unpacked(am, NULL);
		return rc;
	}
	*ret = am;
	return 0;
}

static int encode(const struct meta *m, const Isthmus__ArrayMeta *am, uint8_t **ret,
		  size_t *ret_len, char *why)
{
	size_t len = isthmus__array_meta__get_packed_size(am);
	if (len > META_PAYLOAD_MAX) {
		snprintf(
		    why, META_WHY_LEN,
		    "array metadata would take %zu bytes of at most %llu; remove something first",
		    len, META_PAYLOAD_MAX);
		return -ENOSPC;
	}
	uint8_t *buf = meta_slot_buffer(len);
	if (!buf)
		return -ENOMEM;
	isthmus__array_meta__pack(am, buf + META_HEADER_SIZE);
	meta_slot_seal(buf, m->array_uuid, am->seq, len);
	*ret = buf;
	*ret_len = len;
	return 0;
}

static Isthmus__ArrayMeta *copy_of(const Isthmus__ArrayMeta *am)
{
	size_t len = isthmus__array_meta__get_packed_size(am);
	uint8_t *p = malloc(len ? len : 1);
	if (!p)
		return NULL;
	isthmus__array_meta__pack(am, p);
	Isthmus__ArrayMeta *n = isthmus__array_meta__unpack(NULL, len, p);
	free(p);
	return n;
}

/* ---- loading ---- */

struct finding {
	struct meta_slot slot[2];
};

static void tell_slot(struct meta_disk *md, unsigned slot, const struct meta_slot *s)
{
	md->damaged[slot] = true;
	event_write(LOG_L_WARN, "meta.slot_damaged", "disk %s: metadata slot %u at byte %llu: %s",
		    disk_path(md->disk), slot, (unsigned long long)meta_slot_offset(slot), s->why);
}

static int look_all(struct meta *m, struct finding *f, char *why)
{
	for (unsigned i = 0; i < m->ndisks; i++)
		for (unsigned s = 0; s < 2; s++) {
			struct meta_slot *slot = &f[i].slot[s];
			int rc = meta_slot_look(m->disks[i].disk, s, m->array_uuid, slot);
			if (rc)
				return rc;
			if (slot->verdict == SLOT_VERSION) {
				snprintf(why, META_WHY_LEN,
					 "disk %s: metadata slot %u was written by a newer version",
					 disk_path(m->disks[i].disk), s);
				return -ERR_VERSION;
			}
			if (slot->verdict == SLOT_DAMAGED)
				tell_slot(&m->disks[i], s, slot);
		}
	return 0;
}

/* The candidate with the highest sequence; false: none left. */
static bool best_slot(const struct meta *m, const struct finding *f, unsigned *ret_disk,
		      unsigned *ret_slot)
{
	bool any = false;
	uint64_t seq = 0;
	for (unsigned i = 0; i < m->ndisks; i++)
		for (unsigned s = 0; s < 2; s++)
			if (f[i].slot[s].verdict == SLOT_OK && (!any || f[i].slot[s].seq > seq)) {
				any = true;
				seq = f[i].slot[s].seq;
				*ret_disk = i;
				*ret_slot = s;
			}
	return any;
}

/* Payloads of the winner's sequence are read on every disk: a damaged one is told now. */
static int read_winners(struct meta *m, struct finding *f, char *why)
{
	unsigned i = 0, s = 0;
	while (!m->cur && best_slot(m, f, &i, &s)) {
		uint8_t *p;
		int rc = meta_slot_read(m->disks[i].disk, s, &f[i].slot[s], &p);
		if (rc == -ENOMEM)
			return rc;
		if (rc) {
			tell_slot(&m->disks[i], s, &f[i].slot[s]);
			continue;
		}
		rc = meta_decode(p, f[i].slot[s].length, &m->cur, why);
		free(p);
		if (rc) {
			event_write(LOG_L_ERROR, "meta.invalid",
				    "disk %s: metadata slot %u at byte %llu: %s",
				    disk_path(m->disks[i].disk), s,
				    (unsigned long long)meta_slot_offset(s), why);
			return rc;
		}
	}
	for (i = 0; m->cur && i < m->ndisks; i++)
		for (s = 0; s < 2; s++) {
			uint8_t *p;
			struct meta_slot *slot = &f[i].slot[s];
			if (slot->verdict != SLOT_OK)
				continue;
			int rc = meta_slot_read(m->disks[i].disk, s, slot, &p);
			if (rc == -ENOMEM)
				return rc;
			if (rc)
				tell_slot(&m->disks[i], s, slot);
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
	m->cur = copy_of(&am);
	return m->cur ? 0 : -ENOMEM;
}

static int load(struct meta *m, const char *name, char *why)
{
	struct finding *f = calloc(m->ndisks ? m->ndisks : 1, sizeof(*f));
	if (!f)
		return -ENOMEM;
	int rc = look_all(m, f, why);
	if (rc == 0)
		rc = read_winners(m, f, why);
	if (rc == 0 && !m->cur && lost(m, f)) {
		snprintf(why, META_WHY_LEN, "no copy of the array metadata holds on any disk");
		rc = -ERR_CORRUPT;
	}
	if (rc == 0 && !m->cur)
		rc = make_empty(m, name);
	for (unsigned i = 0; i < m->ndisks && rc == 0; i++)
		for (unsigned s = 0; s < 2; s++) {
			const struct meta_slot *slot = &f[i].slot[s];
			m->disks[i].seq[s] = slot->verdict == SLOT_OK ? slot->seq : 0;
			m->tried = MAX(m->tried, m->disks[i].seq[s]);
		}
	free(f);
	return rc;
}

/* A change in progress points into the array of disks: both wait for it. */
int meta_disk_add(struct meta *m, struct disk *d)
{
	task_mutex_lock(&m->lock);
	struct meta_disk *p = realloc(m->disks, (m->ndisks + 1) * sizeof(*p));
	if (p) {
		m->disks = p;
		p[m->ndisks++] = (struct meta_disk){.disk = d};
	}
	task_mutex_unlock(&m->lock);
	return p ? 0 : -ENOMEM;
}

void meta_disk_remove(struct meta *m, struct disk *d)
{
	task_mutex_lock(&m->lock);
	for (unsigned i = 0; i < m->ndisks; i++)
		if (m->disks[i].disk == d) {
			m->disks[i] = m->disks[--m->ndisks];
			break;
		}
	task_mutex_unlock(&m->lock);
}

int meta_open(struct meta **ret, const struct meta_opts *o, char *why)
{
	struct meta *m = calloc(1, sizeof(*m));
	if (!m)
		return -ENOMEM;
	m->magic = META_MAGIC;
	m->env = o->env;
	m->owner = sched_current();
	m->write_failed = o->write_failed;
	m->arg = o->arg;
	memcpy(m->array_uuid, o->array_uuid, 16);
	task_mutex_init(&m->lock);
	TAILQ_INIT(&m->watches);
	int rc = 0;
	for (unsigned i = 0; i < o->ndisks && rc == 0; i++)
		rc = meta_disk_add(m, o->disks[i]);
	if (rc == 0)
		rc = load(m, o->array_name, why);
	if (rc == 0 && memcmp(m->cur->array_uuid.data, m->array_uuid, 16) != 0) {
		snprintf(why, META_WHY_LEN, "array_uuid: not the one of the labels");
		rc = -ERR_CORRUPT;
	}
	if (rc) {
		if (rc == -ENOMEM)
			snprintf(why, META_WHY_LEN, "%s", err_text(rc));
		meta_close(m);
		return rc;
	}
	*ret = m;
	return 0;
}

void meta_close(struct meta *m)
{
	if (!m)
		return;
	CHECK(m, META_MAGIC);
	struct meta_watch *w;
	while ((w = TAILQ_FIRST(&m->watches))) {
		TAILQ_REMOVE(&m->watches, w, link);
		free(w);
	}
	if (m->cur)
		isthmus__array_meta__free_unpacked(m->cur, NULL);
	free(m->disks);
	m->magic = 0;
	free(m);
}

/* ---- committing ---- */

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

static int write_all(struct meta *m, const Isthmus__ArrayMeta *am, char *why)
{
	uint8_t *buf = NULL;
	size_t len = 0;
	int rc = encode(m, am, &buf, &len, why);
	struct disk_write *w = calloc(m->ndisks ? m->ndisks : 1, sizeof(*w));
	if (rc == 0 && !w)
		rc = -ENOMEM;
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
			if (rc == 0 && m->write_failed)
				m->write_failed(m->arg, w[i].md->disk, w[i].rc);
		}
	free(w);
	free(buf);
	return rc;
}

static void notify(struct meta *m)
{
	struct meta_watch *w, *next;
	m->notifying++;
	TAILQ_FOREACH (w, &m->watches, link)
		if (!w->dead)
			w->fn(w->arg, m->cur);
	if (--m->notifying > 0)
		return;
	for (w = TAILQ_FIRST(&m->watches); w; w = next) {
		next = TAILQ_NEXT(w, link);
		if (w->dead) {
			TAILQ_REMOVE(&m->watches, w, link);
			free(w);
		}
	}
}

static int change_locked(struct meta *m, int (*change)(Isthmus__ArrayMeta *, void *, char *),
			 void *arg, char *why)
{
	Isthmus__ArrayMeta *n = copy_of(m->cur);
	if (!n)
		return -ENOMEM;
	int rc = change(n, arg, why);
	if (rc == 0)
		rc = meta_number_ports(n);
	if (rc == 0)
		rc = meta_reservations_prune(n);
	if (rc == 0) {
		n->seq = MAX(m->tried, m->cur->seq) + 1;
		n->version = META_VERSION; /* what is written may hold what older programs lack */
		rc = meta_check(n, why);
		if (rc == -ERR_CORRUPT)
			rc = -EINVAL; /* what is on the disks is not damaged: the change was */
	}
	if (rc == 0) {
		m->tried = n->seq;
		rc = write_all(m, n, why);
	}
	if (rc) {
		isthmus__array_meta__free_unpacked(n, NULL);
		return rc;
	}
	isthmus__array_meta__free_unpacked(m->cur, NULL);
	m->cur = n;
	notify(m);
	return 0;
}

struct update {
	struct meta *m;
	int (*change)(Isthmus__ArrayMeta *am, void *arg, char *why);
	void *arg;
	char *why;
	int rc;
};

static void update_on_owner(void *arg)
{
	struct update *u = arg;
	task_mutex_lock(&u->m->lock);
	u->rc = change_locked(u->m, u->change, u->arg, u->why);
	task_mutex_unlock(&u->m->lock);
}

int meta_update(struct meta *m, int (*change)(Isthmus__ArrayMeta *am, void *arg, char *why),
		void *arg, char *why)
{
	CHECK(m, META_MAGIC);
	struct update u = {.m = m, .change = change, .arg = arg, .why = why};
	why[0] = '\0';
	int rc = owner_call(m->owner, update_on_owner, &u);
	if (rc == 0)
		rc = u.rc;
	if (rc && !why[0])
		snprintf(why, META_WHY_LEN, "%s", err_text(rc));
	return rc;
}

static int change_nothing(Isthmus__ArrayMeta *am, void *arg, char *why)
{
	return 0;
}

int meta_sync(struct meta *m)
{
	char why[META_WHY_LEN];
	bool behind = false;
	for (unsigned i = 0; i < m->ndisks; i++) {
		const struct meta_disk *md = &m->disks[i];
		uint64_t best = MAX(md->seq[0], md->seq[1]);
		behind |= best != m->cur->seq || !md->seq[0] || !md->seq[1];
	}
	return behind && m->cur->seq ? meta_update(m, change_nothing, NULL, why) : 0;
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
		tell_slot(md, s, &found);
		rc = write_slot(&w, s);
	}
	if (!rc)
		return;
	event_write(LOG_L_ERROR, "meta.write_failed", "disk %s: array metadata not written: %s",
		    disk_path(md->disk), err_text(rc));
	if (m->write_failed)
		m->write_failed(m->arg, md->disk, rc);
}

void meta_check_slots(struct meta *m)
{
	char why[META_WHY_LEN];
	uint8_t *buf;
	size_t len;
	CHECK(m, META_MAGIC);
	task_mutex_lock(&m->lock);
	if (m->cur->seq && encode(m, m->cur, &buf, &len, why) == 0) {
		for (unsigned i = 0; i < m->ndisks; i++)
			check_disk(m, &m->disks[i], buf, len);
		free(buf);
	}
	task_mutex_unlock(&m->lock);
}

const Isthmus__ArrayMeta *meta_get(const struct meta *m)
{
	return m->cur;
}

int meta_watch(struct meta *m, void (*fn)(void *arg, const Isthmus__ArrayMeta *am), void *arg,
	       struct meta_watch **ret)
{
	struct meta_watch *w = calloc(1, sizeof(*w));
	if (!w)
		return -ENOMEM;
	w->fn = fn;
	w->arg = arg;
	TAILQ_INSERT_TAIL(&m->watches, w, link);
	*ret = w;
	return 0;
}

void meta_unwatch(struct meta *m, struct meta_watch *w)
{
	if (m->notifying) {
		w->dead = true;
		return;
	}
	TAILQ_REMOVE(&m->watches, w, link);
	free(w);
}
