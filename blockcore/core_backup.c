/*
 * Backups of processor-information volumes: copying (blockcore/volume/volume_backup.c),
 * and what the metadata remembers about it.
 */
#include "blockcore/core_impl.h"
#include "blockcore/far.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include <errno.h>
#include <stdio.h>
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

/* volume_written(), wherever it is. */
static int written(struct core *c, struct volume *v, bool *ret)
{
	if (is_far(v)) { /* what an earlier backup left there must not come after this one's */
		int rc = far_over(c->link);
		return far_rc(rc ? rc : far_written(c->link, volume_id(v), ret));
	}
	*ret = volume_written(v);
	return 0;
}

/* ---- who writes where ---- */

/* A head writes its heartbeat every half second: after this long it is known who writes where. */
#define SETTLE_NS (1500 * NS_PER_MS)
#define HERE	  1 /* asked of this controller; else of one of that incarnation */

/*
 * Heads that cannot use their volume keep their state on the backup, which is the truth then and
 * must not be overwritten. A write seen on it may be from before they went back, and after a start
 * of the controller nothing is known at all: then the heartbeats are waited for. -ERR_DEGRADED:
 * they go to the backup; -ERR_DISCONNECTED: nobody writes either, so nobody knows which of the two
 * is newer.
 */
static int who_writes(struct core *c, struct volume *from, struct volume *to)
{
	const Isthmus__Volume *mf = meta_volume_by_id(meta_get(c->meta), volume_id(from));
	const Isthmus__Volume *mt = meta_volume_by_id(meta_get(c->meta), volume_id(to));
	bool state = mf && strcmp(mf->purpose, "piv") == 0; /* of heads: it has heartbeats */
	/* The partner may have started anew since, or been the one that asked. */
	uint64_t asked = is_far(to) ? c->partner_incarnation : HERE;
	bool known = to->backup.asked == asked && (!is_far(to) || from->backup.known), used;
	bool first = !known && mt && mt->backup_seq > 0;
	int rc = written(c, to, &used);
	if (rc)
		return rc;
	to->backup.asked = asked;
	if (!used && !(first && state))
		return 0;
	volume_written(from);
	env_sleep_ns(c->env, SETTLE_NS);
	rc = written(c, to, &used);
	if (rc == 0 && used)
		rc = -ERR_DEGRADED;
	else if (rc == 0 && state && !volume_written(from))
		rc = -ERR_DISCONNECTED;
	if (rc) /* asked again next time, whoever is gone by then */
		to->backup.asked = 0;
	return rc;
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
	if (rc == 0 && !(rc = who_writes(c, from, to))) {
		struct far_backup f = {.c = c, .volume = to_vol};
		struct volume_far far = {backup_read, backup_write, backup_flush, &f};
		bool ours;
		rc = volume_backup_run(from, to, is_far(to) ? &far : NULL, progress, arg, &vr);
		/* that was the copying; a head on it writes again at once */
		if (written(c, to, &ours))
			to->backup.asked = 0;
	}
	if (rc == 0) {
		r.duration_ns = env_now_ns(c->env) - start;
		r.bytes_copied = vr.bytes_copied;
		r.bytes_total = vr.bytes_total;
		r.crc = vr.crc;
		struct backup_note n = {.to = to_vol, .r = &r, .realtime = r.started_ns};
		rc = meta_update(c->meta, change_backup, &n, why);
	}
	if (rc == -ERR_DEGRADED)
		event_write(
		    LOG_L_ERROR, "backup.refused",
		    "backup of volume %s: heads keep their state on %s, it is not overwritten",
		    volume_name(from), volume_name(to));
	else if (rc && rc != -EBUSY && rc != -ERR_DISCONNECTED)
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
			snprintf(
			    why, CORE_WHY_LEN, "backup of group '%.63s': %s", group,
			    rc == -EBUSY	  ? "one is under way already"
			    : rc == -ERR_DEGRADED ? "heads keep their state on the backup "
						    "volume; it is not overwritten"
			    : rc == -ERR_DISCONNECTED
				? "no head of it is up, so nothing tells whether its volume or "
				  "the backup is newer; start a head"
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
