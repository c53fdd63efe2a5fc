/*
 * The ledger: the table of records, group commit, and which volume is written
 * (nasfront/piv/ledger_layout.h, nasfront/piv/README.md).
 *
 * Each volume's copy is a ring of its own; a record knows of each where it stands. One ring is in
 * use, or both (continuous, or on the way from one to the other). Which one is not the ledger's to
 * say alone: it asks who keeps other state there, and says when a volume fails. A volume is left
 * when the other one has all: it is looked at anew and filled with the whole state, which counts
 * when it is whole. When neither can be written a ring keeps the frame it could not write and
 * begins with it the next time, so a frame's bytes never change once they may have reached the
 * volume.
 */
#include "nasfront/piv/ledger.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "nasfront/piv/ledger_layout.h"
#include "runtime/bdev.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/fan.h"
#include "runtime/log.h"

#define RETRY_NS (60 * NS_PER_S) /* a copy that is missing is tried again */

/* ---- rings ---- */

static struct ring *other_ring(struct ledger *l, const struct ring *r)
{
	return &l->rings[!r->index];
}

static bool in_use(const struct ring *r)
{
	return r->state == RING_ON;
}

/* The ring that is to be in use. */
static struct ring *side_ring(struct ledger *l)
{
	return &l->rings[l->on_backup ? l->on_backup(l->side_arg) : l->alone];
}

/* Only errors of the volume make others leave it too. */
static bool is_lost(const struct ring *r, int rc)
{
	static const int others[] = {0,	      -ERR_EPOCH_STALE, -ERR_VERSION, -ERR_FOREIGN,
				     -ENOMEM, -ENODEV,		-ENODATA};
	if (rc == -ENOSPC && r->full) /* else the device has none left */
		return false;
	for (size_t i = 0; i < ARRAY_LEN(others); i++)
		if (rc == others[i])
			return false;
	return true;
}

/* 0: the other one is to be used. */
static int side_leave(struct ledger *l, const struct ring *r, int why)
{
	if (!l->rings[!r->index].bdev || !is_lost(r, why))
		return why;
	if (l->leave)
		return l->leave(l->side_arg, r->index, why);
	l->alone = !r->index;
	return 0;
}

static const char *name_of(const struct ring *r)
{
	return r->bdev ? r->bdev->name : "no volume";
}

/* What lies there: since it was looked at last a backup may have been made over it, or it is
 * another volume. */
static int ring_look(struct ledger *l, struct ring *r)
{
	struct ring_scan s = {0};
	int rc = ring_find(l, r, true);
	if (rc == 0)
		rc = ring_scan(r, &s);
	if (rc == -ERR_CORRUPT && r->found) /* it is written over */
		rc = 0;
	/* Never behind what lies there. */
	l->term = MAX(l->term, s.term + 1);
	ring_scan_free(&s);
	return rc;
}

/* The whole state to a ring that is not in use. What is changed meanwhile goes there too. */
static int ring_fill(struct ledger *l, struct ring *r)
{
	int rc = r->bdev ? 0 : -ENODEV;
	if (rc == 0 && !r->found)
		rc = ring_look(l, r);
	r->found = false; /* next time it is looked at anew */
	if (rc == 0 && l->live_bytes > (uint64_t)r->blocks * PIV_BLOCK / 2) {
		r->full = true;
		rc = -ENOSPC;
	}
	if (rc == 0)
		rc = ring_begin(r);
	if (rc)
		return rc;
	l->live_max = MIN(l->live_max, (uint64_t)r->blocks * PIV_BLOCK / 2);
	r->state = RING_FILLING;
	for (size_t i = 0; i < l->nbuckets; i++)
		for (struct record *e = l->buckets[i]; e; e = e->next)
			if (!e->gone)
				ring_dirty(r, e, l->changes);
	rc = ring_write(l, r, l->changes);
	if (rc)
		ring_off(l, r);
	return rc;
}

static void tell_in_use(struct ledger *l, const struct ring *r, int why)
{
	event_write(LOG_L_WARN, r->index ? "ledger.backup_in_use" : "ledger.main_in_use",
		    "the state of service %s cannot be kept on %s (%s) and is kept on %s",
		    l->service, name_of(other_ring(l, r)), err_text(why), name_of(r));
}

/* The copy on the other volume, where both are to have one. */
static void copy_try(struct ledger *l, struct ring *r)
{
	struct ring *to = other_ring(l, r);
	int rc = ring_fill(l, to);
	if (rc && !l->missing)
		event_write(LOG_L_WARN, "ledger.copy_missing",
			    "the state of service %s is kept on %s alone: %s: %s", l->service,
			    name_of(r), name_of(to), err_text(rc));
	else if (rc == 0 && l->missing)
		event_write(LOG_L_NOTICE, "ledger.copy_whole",
			    "the state of service %s is kept on %s again", l->service, name_of(to));
	l->missing = rc;
	l->retry_ns = env_now_ns(l->env) + RETRY_NS;
}

static void copy_lost(struct ledger *l, struct ring *r, int why)
{
	ring_off(l, r);
	l->missing = true;
	l->retry_ns = env_now_ns(l->env) + RETRY_NS;
	event_write(LOG_L_WARN, "ledger.copy_missing",
		    "the state of service %s is kept on %s alone: %s: %s", l->service,
		    name_of(other_ring(l, r)), name_of(r), err_text(why));
}

/* ---- writing ---- */

struct writing {
	struct ledger *l;
	struct ring *r;
	uint64_t mark;
	int rc;
};

static void write_one(void *item)
{
	struct writing *w = item;
	w->rc = ring_write(w->l, w->r, w->mark);
}

/* All rings in use took it, or one of two; none: the error, and what could not be written waits. */
static int write_rings(struct ledger *l, uint64_t mark)
{
	struct writing w[LEDGER_RINGS] = {0};
	unsigned n = 0, good = 0;
	for (unsigned i = 0; i < LEDGER_RINGS; i++)
		if (in_use(&l->rings[i]))
			w[n++] = (struct writing){l, &l->rings[i], mark, 0};
	if (n == 1)
		write_one(w);
	else
		fan_run(write_one, w, sizeof(*w), n);
	for (unsigned i = 0; i < n; i++) {
		if (w[i].rc == -ERR_EPOCH_STALE)
			return w[i].rc; /* fenced: another runs the service */
		good += w[i].rc == 0;
	}
	for (unsigned i = 0; i < n && good; i++) {
		if (!w[i].rc)
			continue;
		bool side = w[i].r == side_ring(l);
		copy_lost(l, w[i].r, w[i].rc);
		if (side)
			side_leave(l, w[i].r, w[i].rc);
	}
	return good ? 0 : w[0].rc;
}

/* The whole state to the ring that is to be in use; the one that was is left when that has it. */
static int side_take(struct ledger *l, int why)
{
	struct ring *r = side_ring(l), *was = other_ring(l, r);
	if (in_use(r))
		return 0;
	int rc = ring_fill(l, r);
	if (rc)
		return rc;
	if (was->state != RING_OFF && (!l->continuous || is_lost(was, why))) {
		ring_off(l, was);
		if (why)
			tell_in_use(l, r, why);
	}
	return 0;
}

/* One after the other, each once. */
static int write_all(struct ledger *l, uint64_t mark)
{
	int why = 0, rc = 0;
	for (unsigned i = 0; i < LEDGER_RINGS; i++) {
		struct ring *r = side_ring(l);
		rc = side_take(l, why);
		if (rc == 0)
			rc = write_rings(l, mark);
		if (rc == 0)
			return 0;
		why = why ? why : rc;
		if (rc == -ERR_EPOCH_STALE || side_leave(l, r, rc))
			return rc == -ERR_EPOCH_STALE ? rc : why;
	}
	return why;
}

/* One ring or two, as is wanted now. */
static void copies_settle(struct ledger *l)
{
	struct ring *r = side_ring(l);
	bool both = in_use(&l->rings[0]) && in_use(&l->rings[1]);
	l->mode_changed = false;
	if (both)
		l->alone = false;
	if (both && !l->continuous)
		ring_off(l, other_ring(l, side_ring(l)));
	else if (!both && in_use(r) && l->continuous && other_ring(l, r)->bdev &&
		 env_now_ns(l->env) >= l->retry_ns)
		copy_try(l, r);
}

static int commit(struct ledger *l)
{
	uint64_t mark = l->changes;
	l->round++;
	int rc = write_all(l, mark);
	if (rc && rc != -ERR_EPOCH_STALE && !l->failing)
		event_write(LOG_L_ERROR, "ledger.unusable",
			    "the state of service %s can be kept on neither volume: %s", l->service,
			    err_text(rc));
	l->failing = rc;
	l->round_rc = rc;
	if (rc)
		return rc;
	l->stable = MAX(l->stable, mark);
	copies_settle(l);
	return 0;
}

/* Is it where it is to be? */
static bool is_settled(struct ledger *l)
{
	return !l->mode_changed && in_use(side_ring(l));
}

int ledger_sync(struct ledger *l)
{
	CHECK(l, LEDGER_MAGIC);
	uint64_t want = l->changes, seen = l->round;
	int rc = 0;
	if (l->stable >= want && is_settled(l))
		return 0;
	task_mutex_lock(&l->lock);
	/* One that was begun since then took ours along. */
	if (l->stable < want && l->round > seen && l->round_rc)
		rc = l->round_rc;
	else if (l->stable < want || !is_settled(l))
		rc = commit(l);
	task_mutex_unlock(&l->lock);
	return rc;
}

void ledger_set_continuous(struct ledger *l, bool continuous)
{
	CHECK(l, LEDGER_MAGIC);
	l->mode_changed |= l->continuous != continuous;
	l->continuous = continuous;
	l->retry_ns = 0;
}

int ledger_set_main(struct ledger *l, struct bdev *main)
{
	CHECK(l, LEDGER_MAGIC);
	struct ring *r = &l->rings[0];
	task_mutex_lock(&l->lock);
	int rc = r->state == RING_OFF ? 0 : -EBUSY;
	if (rc == 0) {
		r->bdev = main;
		r->found = false;
	}
	task_mutex_unlock(&l->lock);
	return rc;
}

/* ---- opening ---- */

/* What both volumes hold. */
struct look {
	struct ring_scan scan[LEDGER_RINGS];
	int rc[LEDGER_RINGS];
	struct ring *best; /* the newer whole state; NULL: there is none */
};

static void look_at(struct ledger *l, struct look *k, bool take)
{
	const struct found_frame *a[LEDGER_RINGS] = {0};
	for (unsigned i = 0; i < LEDGER_RINGS; i++) {
		struct ring *r = &l->rings[i];
		k->rc[i] = r->bdev ? ring_find(l, r, take) : -ENODEV;
		if (k->rc[i] == 0)
			k->rc[i] = ring_scan(r, &k->scan[i]);
		if (k->rc[i] == 0 && k->scan[i].whole)
			a[i] = &k->scan[i].frames[k->scan[i].last];
		l->term = MAX(l->term, k->scan[i].term);
	}
	k->best = a[0] ? &l->rings[0] : a[1] ? &l->rings[1] : NULL;
	if (a[0] && a[1] &&
	    (a[1]->term > a[0]->term || (a[1]->term == a[0]->term && a[1]->change > a[0]->change)))
		k->best = &l->rings[1];
}

static void look_free(struct look *k)
{
	for (unsigned i = 0; i < LEDGER_RINGS; i++)
		ring_scan_free(&k->scan[i]);
}

/* May the volume hold a state that cannot be read now? */
static bool hides(const struct ledger *l, const struct look *k, unsigned i)
{
	int rc = k->rc[i];
	return l->rings[i].bdev && rc && rc != -ENODEV && rc != -ENODATA && rc != -ENOENT &&
	       rc != -ENOSPC && rc != -ERR_FOREIGN;
}

/* 0; why nothing may be begun. */
static int look_judge(struct ledger *l, const struct look *k, bool anew)
{
	bool blank = false, damaged = false;
	for (unsigned i = 0; i < LEDGER_RINGS; i++) {
		if (k->rc[i] == -ERR_EPOCH_STALE || k->rc[i] == -ENOMEM || k->rc[i] == -ERR_VERSION)
			return k->rc[i];
		l->unsure[i] = hides(l, k, i);
		damaged |= k->rc[i] == -ERR_CORRUPT || (k->scan[i].unfinished && !k->scan[i].whole);
		blank |= k->rc[i] == 0;
	}
	if (k->best || (blank && (anew || !damaged)) || (anew && damaged))
		return 0;
	if (damaged)
		return -ERR_CORRUPT;
	unsigned i = !l->rings[0].bdev || (k->rc[0] == -ENODEV && l->rings[1].bdev);
	return k->rc[i] == -ENODATA ? -ENODEV : k->rc[i];
}

/* The ring that was read goes on where it is the one to be used, else the state goes there. */
static int begin_from(struct ledger *l, const struct look *k)
{
	struct ring *r = k->best, *to;
	int rc = ring_load(l, r, &k->scan[r->index]), why = 0;
	if (rc)
		return rc;
	l->changes = l->stable = MAX(r->covered, l->changes);
	for (unsigned i = 0; i < LEDGER_RINGS; i++) {
		to = side_ring(l);
		rc = to == r ? ring_resume(r, &k->scan[r->index]) : ring_fill(l, to);
		if (rc == 0 || rc == -ERR_EPOCH_STALE)
			break;
		why = rc;
		/* Who chooses alone stays where it was read from, as long as that can be written.
		 */
		if (!l->leave && to != r)
			l->alone = r->index;
		else if (side_leave(l, to, rc))
			break;
	}
	if (rc)
		return rc;
	if (to != r)
		ring_off(l, r);
	if (to != r && !to->index)
		event_write(LOG_L_NOTICE, "ledger.main_in_use",
			    "the state of service %s was newer on %s and is on %s again",
			    l->service, name_of(r), name_of(to));
	else if (why)
		tell_in_use(l, to, why);
	return 0;
}

/* No state yet, or what is there is given up. */
static int begin_anew(struct ledger *l)
{
	int first = 0, rc = 0;
	for (unsigned i = 0; i < LEDGER_RINGS; i++) {
		struct ring *r = side_ring(l);
		rc = ring_fill(l, r);
		if (rc == 0 || rc == -ERR_EPOCH_STALE)
			return rc;
		first = first ? first : rc;
		if (!l->leave && l->rings[!r->index].bdev)
			l->alone = !r->index;
		else if (side_leave(l, r, rc))
			break;
	}
	return first;
}

static void tell_open(struct ledger *l, const struct look *k, int rc)
{
	bool none = rc == -ENODEV && !hides(l, k, 0) && !hides(l, k, 1);
	for (unsigned i = 0; i < LEDGER_RINGS; i++)
		if (rc == 0 && hides(l, k, i))
			event_write(LOG_L_WARN, "ledger.unsure",
				    "the state of service %s was read without what %s holds: %s",
				    l->service, name_of(&l->rings[i]), err_text(k->rc[i]));
	if (none && (l->rings[0].bdev || l->rings[1].bdev))
		event_write(LOG_L_WARN, "ledger.no_region",
			    "the processor information has no room for the state of services: it "
			    "was made by an older release or is too small; remove the head group "
			    "and create it anew");
	else if (rc)
		event_write(LOG_L_ERROR, "ledger.unusable",
			    "the state of service %s cannot be read: %s", l->service, err_text(rc));
}

static int ledger_alloc(struct ledger **ret, struct env *env, struct bdev *main,
			struct bdev *backup, const char *service)
{
	if (!*service || strlen(service) > PIV_NAME_MAX)
		return -EINVAL;
	struct ledger *l = calloc(1, sizeof(*l));
	if (!l)
		return -ENOMEM;
	l->magic = LEDGER_MAGIC;
	l->env = env;
	l->changes = l->stable = 1;
	strcpy(l->service, service);
	l->rings[0].bdev = main;
	l->rings[1].bdev = backup;
	l->rings[1].index = 1;
	task_mutex_init(&l->lock);
	*ret = l;
	return 0;
}

void ledger_abandon(struct ledger *l)
{
	if (!l)
		return;
	CHECK(l, LEDGER_MAGIC);
	for (unsigned i = 0; i < LEDGER_RINGS; i++)
		ring_off(l, &l->rings[i]);
	ledger_table_free(l);
	l->magic = 0;
	free(l);
}

int ledger_close(struct ledger *l)
{
	int rc = l ? ledger_sync(l) : 0;
	ledger_abandon(l);
	return rc;
}

static int open_begin(struct ledger *l, struct look *k, bool anew)
{
	look_at(l, k, true);
	int rc = look_judge(l, k, anew);
	uint64_t most = 0;
	/* By the clock: a volume that cannot be read now may know of later opens than the other. */
	l->term = MAX(l->term + 1, env_realtime_ns(l->env) % LEDGER_SEQ_MAX);
	l->live_max = UINT64_MAX;
	for (unsigned i = 0; i < LEDGER_RINGS && rc == 0; i++) {
		uint64_t bytes = (uint64_t)l->rings[i].blocks * PIV_BLOCK;
		if (l->rings[i].found) {
			l->live_max = MIN(l->live_max, bytes / 2);
			most = MAX(most, bytes);
		}
	}
	if (rc == 0)
		rc = ledger_table_init(l, most);
	if (rc == 0)
		rc = k->best ? begin_from(l, k) : begin_anew(l);
	tell_open(l, k, rc);
	return rc;
}

int ledger_open(struct ledger **ret, const struct ledger_opts *o)
{
	struct ledger *l;
	struct look *k;
	int rc = ledger_alloc(&l, o->env, o->main, o->backup, o->service);
	if (rc)
		return rc;
	l->group_id = o->group_id;
	l->continuous = o->continuous;
	l->anew = o->anew;
	l->on_backup = o->on_backup;
	l->leave = o->leave;
	l->side_arg = o->side_arg;
	l->alone = !o->main;
	k = calloc(1, sizeof(*k));
	rc = k ? open_begin(l, k, o->anew) : -ENOMEM;
	if (k)
		look_free(k);
	free(k);
	if (rc == 0) {
		l->rings[0].found = l->rings[1].found = false;
		copies_settle(l);
		rc = o->load ? ledger_walk(l, o->load, o->arg) : 0;
	}
	if (rc)
		ledger_abandon(l);
	else
		*ret = l;
	return rc;
}

/* ---- telling ---- */

void ledger_get_stats(const struct ledger *l, struct ledger_stats *ret)
{
	CHECK(l, LEDGER_MAGIC);
	const struct ring *a = &l->rings[0], *b = &l->rings[1];
	const struct ring *r = in_use(a) ? a : b;
	*ret = (struct ledger_stats){.records = l->records,
				     .live_bytes = l->live_bytes,
				     .live_max = l->live_max,
				     .ring_bytes = (uint64_t)r->blocks * PIV_BLOCK,
				     .used_bytes = (uint64_t)ring_used(r) * PIV_BLOCK,
				     .rounds = l->round,
				     .frames = a->frames + b->frames,
				     .bytes_written = a->bytes_written + b->bytes_written,
				     .bytes_copied = a->bytes_copied + b->bytes_copied,
				     .on_backup = r == b,
				     .both = in_use(a) && in_use(b),
				     .failing = l->failing,
				     .unsure_main = l->unsure[0],
				     .unsure_backup = l->unsure[1]};
}

static int each_once(struct ledger *l, ledger_fn *fn, void *arg, struct ledger_info *info)
{
	struct look k = {0};
	look_at(l, &k, false);
	int rc = look_judge(l, &k, false);
	info->main_rc = k.rc[0];
	info->backup_rc = k.rc[1];
	if (rc == 0)
		rc = ledger_table_init(l, k.best ? (uint64_t)k.best->blocks * PIV_BLOCK : 0);
	if (rc == 0 && k.best) {
		struct ring *r = k.best;
		const struct found_frame *head = &k.scan[r->index].frames[k.scan[r->index].last];
		rc = ring_load(l, r, &k.scan[r->index]);
		info->from_backup = r->index;
		info->term = head->term;
		info->change = head->change;
		info->frames = head->seq - head->tail + 1;
		info->ring_bytes = (uint64_t)r->blocks * PIV_BLOCK;
		info->records = l->records;
		info->live_bytes = l->live_bytes;
	}
	look_free(&k);
	return rc ? rc : ledger_walk(l, fn, arg);
}

/* Whoever has it open may write while it is read: then what is found does not fit together. */
int ledger_each(struct bdev *main, struct bdev *backup, const char *service, ledger_fn *fn,
		void *arg, struct ledger_info *ret)
{
	int rc = -ERR_CORRUPT;
	for (int try = 0; try < 4 && rc == -ERR_CORRUPT; try++) {
		struct ledger_info info = {0};
		struct ledger *l;
		rc = ledger_alloc(&l, NULL, main, backup, service);
		if (rc)
			return rc;
		rc = each_once(l, fn, arg, &info);
		ledger_abandon(l);
		if (ret)
			*ret = info;
	}
	return rc;
}
