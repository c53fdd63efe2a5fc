/*
 * Backups of processor-information volumes: copying (blockcore/volume/volume_backup.c),
 * and what the metadata remembers about it.
 */
#include "blockcore/core_impl.h"
#include "blockcore/far.h"
#include "proto/channel.pb-c.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct backup_note {
	uint32_t to;
	struct backup_result *r;
	uint64_t realtime;
};

static int change_backup(Isthmus__ArrayMeta *am, void *arg, char *why)
{
	struct backup_note *n = arg;
	Isthmus__Volume *v = meta_volume_by_id(am, n->to);
	if (!v)
		return -ENOENT;
	n->r->seq = ++v->backup_seq;
	v->backup_time_ns = n->realtime;
	v->backup_duration_ns = n->r->duration_ns;
	v->backup_bytes = n->r->bytes_copied;
	v->backup_crc = n->r->crc;
	return 0;
}

/* ---- a backup in a pool of the partner's ---- */

struct far_backup {
	struct core *c;
	uint32_t volume;
};

/* -ERR_DISCONNECTED says something else of a backup. */
static int far_rc(int rc)
{
	return rc == -ERR_DISCONNECTED ? -ENOTCONN : rc;
}

static int backup_read(void *arg, uint64_t off, void *buf, uint32_t len)
{
	struct far_backup *f = arg;
	return far_rc(far_read(f->c->link, f->volume, off, buf, len));
}

static int backup_write(void *arg, uint64_t off, const void *buf, uint32_t len)
{
	struct far_backup *f = arg;
	return far_rc(far_write(f->c->link, f->volume, off, buf, len));
}

static int backup_flush(void *arg)
{
	struct far_backup *f = arg;
	return far_rc(far_flush(f->c->link, f->volume));
}

static bool is_far(const struct volume *v)
{
	return core_volume_place(v) == CORE_PARTNER;
}

/* What an earlier backup left there must not come after this one's. */
static int far_ready(struct core *c, const struct volume *to)
{
	return is_far(to) ? far_rc(far_over(c->link)) : 0;
}

/* ---- may it be overwritten? ---- */

static const Isthmus__HeadGroup *group_of(const Isthmus__ArrayMeta *am, uint32_t from, uint32_t to)
{
	for (size_t i = 0; i < am->n_groups; i++)
		if (am->groups[i]->piv_volume == from && am->groups[i]->backup_volume == to)
			return am->groups[i];
	return NULL;
}

/* Heads say where their state is before they write it there (core_side.c). A new volume holds
 * nothing until a head has filled it. -ERR_DEGRADED: the backup holds what the volume does not. */
static int backup_wanted(struct core *c, uint32_t from, uint32_t to)
{
	const Isthmus__HeadGroup *g = group_of(meta_get(c->meta), from, to);
	if (!g)
		return 0;
	for (size_t i = 0; i < g->n_sides; i++)
		if (g->sides[i]->side != ISTHMUS__SIDE__ON_BOTH)
			return -ERR_DEGRADED;
	return g->unfilled ? -ERR_DEGRADED : 0;
}

int core_backup_run(struct core *c, uint32_t from_vol, uint32_t to_vol,
		    void (*progress)(void *arg, uint64_t done, uint64_t total), void *arg,
		    struct backup_result *ret)
{
	CHECK(c, CORE_MAGIC);
	char why[CORE_WHY_LEN];
	struct backup_result r = {.started_ns = env_realtime_ns(c->env)};
	struct volume_backup_result vr;
	uint64_t start = env_now_ns(c->env);
	struct volume *from = core_volume_get(c, from_vol), *to = core_volume_get(c, to_vol);
	int rc = from && to ? 0 : -ENOENT;
	if (from)
		from->backup.ordered++; /* before it is looked whether it may be: core_side.c */
	if (rc == 0 && !(rc = backup_wanted(c, from_vol, to_vol)) && !(rc = far_ready(c, to))) {
		struct far_backup f = {.c = c, .volume = to_vol};
		struct volume_far far = {backup_read, backup_write, backup_flush, &f};
		rc = volume_backup_run(from, to, is_far(to) ? &far : NULL, progress, arg, &vr);
	}
	if (from)
		from->backup.ordered--;
	if (rc == 0) {
		r.duration_ns = env_now_ns(c->env) - start;
		r.bytes_copied = vr.bytes_copied;
		r.bytes_total = vr.bytes_total;
		r.crc = vr.crc;
		struct backup_note n = {.to = to_vol, .r = &r, .realtime = r.started_ns};
		rc = meta_update(c->meta, change_backup, &n, why);
	}
	if (rc == -ERR_DEGRADED)
		event_write(LOG_L_WARN, "backup.refused",
			    "backup of volume %s: %s holds newer state of heads, it is not "
			    "overwritten",
			    volume_name(from), volume_name(to));
	else if (rc && rc != -EBUSY)
		event_write(LOG_L_ERROR, "backup.failed", "backup of volume %s: %s",
			    from ? volume_name(from) : "?", err_text(rc));
	else if (rc == 0)
		event_write(LOG_L_INFO, "backup.done",
			    "backup %llu of volume %s: %llu of %llu bytes copied",
			    (unsigned long long)r.seq, volume_name(from),
			    (unsigned long long)r.bytes_copied, (unsigned long long)r.bytes_total);
	core_volume_put(from);
	core_volume_put(to);
	if (rc == 0)
		*ret = r;
	return rc;
}

int core_backup_verify(struct core *c, uint32_t to_vol, uint32_t crc)
{
	CHECK(c, CORE_MAGIC);
	uint32_t got = 0;
	struct volume *to = core_volume_get(c, to_vol);
	if (!to)
		return -ENOENT;
	int rc =
	    is_far(to) ? far_rc(far_checksum(c->link, to_vol, &got)) : volume_checksum(to, &got);
	if (rc == 0 && got != crc) {
		event_write(LOG_L_ERROR, "backup.damaged",
			    "backup volume %s: checksum %08x, recorded is %08x", volume_name(to),
			    got, crc);
		rc = -ERR_CORRUPT;
	}
	core_volume_put(to);
	return rc;
}

/* ---- a backup that is written along ---- */

#define COMPARE_TRIES 20 /* a write that is under way has come to one of the two */
#define COMPARE_NS    (50 * NS_PER_MS)

static int read_whole(struct volume *v, uint64_t off, uint32_t len, char *to)
{
	struct cache_read *r = malloc(sizeof(*r));
	int rc = r ? volume_read(v, off, len, r) : -ENOMEM;
	for (int i = 0; rc == 0 && i < r->n; to += r->iov[i].iov_len, i++)
		memcpy(to, r->iov[i].iov_base, r->iov[i].iov_len);
	if (rc == 0)
		volume_read_done(v, r);
	free(r);
	return rc;
}

static int compare_chunk(struct core *c, struct volume *from, struct volume *to, uint64_t off,
			 char *buf)
{
	uint32_t len = (uint32_t)MIN((uint64_t)VOLUME_BACKUP_CHUNK, volume_size(from) - off);
	int rc = -ERR_CORRUPT;
	for (unsigned i = 0; i < COMPARE_TRIES && rc == -ERR_CORRUPT; i++) {
		if (i)
			env_sleep_ns(c->env, COMPARE_NS);
		rc = is_far(to) ? far_rc(far_read(c->link, volume_id(to), off, buf, len))
				: read_whole(to, off, len, buf);
		if (rc == 0)
			rc = read_whole(from, off, len, buf + VOLUME_BACKUP_CHUNK);
		if (rc == 0 && memcmp(buf, buf + VOLUME_BACKUP_CHUNK, len) != 0)
			rc = -ERR_CORRUPT;
	}
	return rc;
}

int core_backup_compare(struct core *c, uint32_t from_vol, uint32_t to_vol)
{
	CHECK(c, CORE_MAGIC);
	struct volume *from = core_volume_get(c, from_vol), *to = core_volume_get(c, to_vol);
	char *buf = malloc(2ul * VOLUME_BACKUP_CHUNK);
	int rc = !from || !to ? -ENOENT : buf ? 0 : -ENOMEM;
	if (rc == 0 && volume_size(from) != volume_size(to))
		rc = -EINVAL;
	for (uint64_t off = 0; rc == 0 && off < volume_size(from); off += VOLUME_BACKUP_CHUNK)
		rc = compare_chunk(c, from, to, off, buf);
	if (rc == -ERR_CORRUPT)
		event_write(LOG_L_ERROR, "backup.damaged",
			    "backup volume %s, which is written along, is not what volume %s is",
			    volume_name(to), volume_name(from));
	free(buf);
	core_volume_put(from);
	core_volume_put(to);
	return rc;
}

int core_backup_group(struct core *c, const char *group,
		      void (*progress)(void *arg, uint64_t done, uint64_t total), void *arg,
		      struct backup_result *ret, char *why)
{
	const Isthmus__ArrayMeta *am = meta_get(c->meta);
	why[0] = '\0';
	for (size_t i = 0; i < am->n_groups; i++) {
		const Isthmus__HeadGroup *g = am->groups[i];
		if (strcmp(g->name, group) != 0)
			continue;
		int rc = core_backup_run(c, g->piv_volume, g->backup_volume, progress, arg, ret);
		if (rc)
			snprintf(why, CORE_WHY_LEN, "backup of group '%.63s': %s", group,
				 rc == -EBUSY ? "one is under way already"
				 : rc == -ERR_DEGRADED
				     ? "the backup volume holds newer state of heads, it is not "
				       "overwritten; see `isthmus backup status`"
				 : rc == -ENOTCONN
				     ? "the controller that owns the pool of its backup is "
				       "not connected; see `isthmus controller list`"
				     : err_text(rc));
		return rc;
	}
	snprintf(why, CORE_WHY_LEN, "there is no head group '%.80s'; see `isthmus group list`",
		 group);
	return -ENOENT;
}
