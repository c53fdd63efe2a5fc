/*
 * Array metadata in memory (meta.h, meta_store.h); loading is in meta_load.c, writing in
 * meta_write.c, sharing it with a partner in meta_share.c.
 *
 * Whoever opens next takes the highest sequence that holds, so after a power loss at any point
 * there is the old state or the new one. A change that failed may still have reached a few disks:
 * its sequence number is never used again, and the next change overwrites it.
 *
 * Owned by one reactor. `lock` keeps changes in order; `state` is held across the disk writes.
 */
#include "blockcore/control/meta_impl.h"
#include "blockcore/control/meta_scsi.h"
#include "blockcore/control/owner.h"
#include "blockcore/disk/disk.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/fault.h"
#include "runtime/log.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

int meta_encode(const struct meta *m, const Isthmus__ArrayMeta *am, uint8_t **ret, size_t *ret_len,
		char *why)
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

Isthmus__ArrayMeta *meta_copy(const Isthmus__ArrayMeta *am)
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

/* ---- opening ---- */

/* A state being written or taken points into the array of disks; what is done on its way there may
 * change it. */
static bool state_lock(struct meta *m)
{
	bool mine = !task_mutex_held(&m->state);
	if (mine)
		task_mutex_lock(&m->state);
	return mine;
}

int meta_disk_add(struct meta *m, struct disk *d)
{
	bool locked = state_lock(m);
	bool has = meta_disk_has(m, d); /* by who followed the partner meanwhile */
	struct meta_disk *p = has ? m->disks : realloc(m->disks, (m->ndisks + 1) * sizeof(*p));
	if (p && !has) {
		m->disks = p;
		p[m->ndisks++] = (struct meta_disk){.disk = d};
	}
	if (locked)
		task_mutex_unlock(&m->state);
	return p ? 0 : -ENOMEM;
}

void meta_disk_remove(struct meta *m, struct disk *d)
{
	bool locked = state_lock(m);
	for (unsigned i = 0; i < m->ndisks; i++)
		if (m->disks[i].disk == d) {
			m->disks[i] = m->disks[--m->ndisks];
			break;
		}
	if (locked)
		task_mutex_unlock(&m->state);
}

bool meta_disk_has(const struct meta *m, const struct disk *d)
{
	for (unsigned i = 0; i < m->ndisks; i++)
		if (m->disks[i].disk == d)
			return true;
	return false;
}

static int load(struct meta *m, const struct meta_opts *o, char *why)
{
	int rc = 0;
	for (unsigned i = 0; i < o->ndisks && rc == 0; i++)
		rc = meta_disk_add(m, o->disks[i]);
	if (rc == 0)
		rc = meta_load(m, o->array_name, why);
	if (rc == 0 && memcmp(m->cur->array_uuid.data, m->array_uuid, 16) != 0) {
		snprintf(why, META_WHY_LEN, "array_uuid: not the one of the labels");
		rc = -ERR_CORRUPT;
	}
	return rc;
}

int meta_open(struct meta **ret, const struct meta_opts *o, char *why)
{
	struct meta *m = calloc(1, sizeof(*m));
	if (!m)
		return -ENOMEM;
	m->magic = META_MAGIC;
	m->env = o->env;
	m->owner = sched_current();
	m->opts = *o;
	memcpy(m->array_uuid, o->array_uuid, 16);
	task_mutex_init(&m->lock);
	task_mutex_init(&m->state);
	waitq_init(&m->turn);
	TAILQ_INIT(&m->watches);
	/* Nobody is to write meanwhile: what is half written looks damaged. */
	why[0] = '\0';
	int rc = meta_share_enter(m, why);
	if (rc == 0) {
		rc = load(m, o, why);
		meta_share_leave(m);
	}
	m->unsure = true;
	if (rc) {
		if (!why[0])
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

/* ---- changing ---- */

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

void meta_adopt(struct meta *m, Isthmus__ArrayMeta *am, bool own)
{
	const struct meta_opts *o = &m->opts;
	if (!own && o->foreign)
		o->foreign(o->arg, am);
	if (m->cur)
		isthmus__array_meta__free_unpacked(m->cur, NULL);
	m->cur = am;
	m->tried = MAX(m->tried, am->seq);
	notify(m);
	if (!own && o->foreign_done)
		o->foreign_done(o->arg);
}

static int write_and_tell(struct meta *m, Isthmus__ArrayMeta *n, char *why)
{
	uint8_t *buf = NULL;
	size_t len = 0;
	int rc = meta_encode(m, n, &buf, &len, why);
	if (rc)
		return rc;
	m->tried = n->seq;
	FAULT("meta.before_write");
	rc = meta_write_all(m, n, buf, len, why);
	FAULT("meta.written");
	if (rc == 0) {
		m->mend = false;
		meta_adopt(m, n, true);
		meta_share_publish(m, buf + META_HEADER_SIZE, len);
		FAULT("meta.published");
	} else {
		meta_share_failed(m);
	}
	free(buf);
	return rc;
}

int meta_change(struct meta *m, int (*change)(Isthmus__ArrayMeta *, void *, char *), void *arg,
		char *why)
{
	Isthmus__ArrayMeta *n = meta_copy(m->cur);
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
	if (rc == 0)
		rc = write_and_tell(m, n, why);
	if (rc)
		isthmus__array_meta__free_unpacked(n, NULL);
	return rc;
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
	u->rc = meta_share_enter(u->m, u->why);
	if (u->rc == 0) {
		u->rc = meta_change(u->m, u->change, u->arg, u->why);
		meta_share_leave(u->m);
	}
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

int meta_change_nothing(Isthmus__ArrayMeta *am, void *arg, char *why)
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
	return behind && m->cur->seq ? meta_update(m, meta_change_nothing, NULL, why) : 0;
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
