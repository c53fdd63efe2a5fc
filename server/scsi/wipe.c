/*
 * SANITIZE (SBC-4 5.30, 4.11) and FORMAT UNIT (5.4): a task goes over the whole medium while the
 * unit refuses nearly everything.
 *
 *   overwrite     the pattern, as often as asked, inverted every other time if asked
 *   block erase   given back to the disks; reads as zeros
 *   format        the same; nothing about blocks can be changed
 *
 * Which of them is to be done is kept in the array metadata before the first block is touched, and
 * taken out when the last is stable, so that it begins anew after a restart. A failure is kept
 * too, until another one ends well or, with AUSE, EXIT FAILURE MODE ends it. No reset, abort or
 * loss of the nexus ends it: a command without IMMED only stops waiting.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include "blockcore/control/meta.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include "runtime/task.h"
#include "server/scsi/forward.h"

#define STEP	   CACHE_IO_MAX
#define ERASE_STEP (16u << 20)

struct wipe_job {
	struct scsi_registry *registry;
	struct scsi_lu *lu;
	struct wipe_plan plan;
	uint8_t block[4096]; /* what every block gets in this pass */
	struct cache_write w;
};

/* ---- what is kept ---- */

struct record {
	uint32_t volume_id;
	const struct wipe_plan *plan; /* NULL: none is to be done */
	bool failed;
};

static Isthmus__Wipe *wipe_pb(const struct record *rec)
{
	const struct wipe_plan *p = rec->plan;
	Isthmus__Wipe *pb = malloc(sizeof(*pb));
	if (!pb)
		return NULL;
	isthmus__wipe__init(pb);
	pb->kind = p->kind;
	pb->passes = p->passes;
	pb->invert = p->invert;
	pb->ause = p->ause;
	pb->failed = rec->failed;
	if (p->pattern_len && pb_set_bytes(&pb->pattern, p->pattern, p->pattern_len)) {
		isthmus__wipe__free_unpacked(pb, NULL);
		return NULL;
	}
	return pb;
}

static int record_change(Isthmus__ArrayMeta *am, void *arg, char *why)
{
	const struct record *rec = arg;
	for (size_t i = 0; i < am->n_volumes; i++) {
		Isthmus__Volume *v = am->volumes[i];
		if (v->id != rec->volume_id)
			continue;
		Isthmus__Wipe *pb = rec->plan ? wipe_pb(rec) : NULL;
		if (rec->plan && !pb)
			return -ENOMEM;
		if (v->wipe)
			isthmus__wipe__free_unpacked(v->wipe, NULL);
		v->wipe = pb;
		return 0;
	}
	snprintf(why, 256, "volume %u is not there", rec->volume_id);
	return -ENOENT;
}

static int record(struct scsi_lu *lu, const struct wipe_plan *plan, bool failed)
{
	char why[256];
	struct record rec = {lu->volume_id, plan, failed};
	return meta_update(core_meta(lu->core), record_change, &rec, why);
}

/* ---- the task ---- */

static void wipe_tell(struct scsi_lu *lu)
{
	pthread_mutex_lock(&lu->wipe_lock);
	waitq_wake_all(&lu->wipe_wait);
	pthread_mutex_unlock(&lu->wipe_lock);
}

static void make_block(struct wipe_job *j, bool inverted)
{
	const struct wipe_plan *p = &j->plan;
	if (p->kind != WIPE_OVERWRITE)
		return;
	for (uint32_t i = 0; i < j->lu->block_size; i++)
		j->block[i] = p->pattern[i % p->pattern_len] ^ (inverted ? 0xff : 0);
}

/* Pages hold whole blocks. */
static void fill(const struct wipe_job *j)
{
	uint32_t bs = j->lu->block_size;
	for (int i = 0; i < j->w.n; i++) {
		uint8_t *to = j->w.iov[i].iov_base;
		size_t len = j->w.iov[i].iov_len;
		for (size_t k = 0; k < len; k += bs)
			memcpy(to + k, j->block, MIN(bs, len - k));
	}
}

static int wipe_step(struct wipe_job *j, struct volume *v, uint64_t off, uint32_t len)
{
	if (j->plan.kind != WIPE_OVERWRITE)
		return volume_discard(v, off, len);
	int err = volume_write_begin(v, off, len, &j->w);
	if (err)
		return err;
	fill(j);
	return volume_write_commit(v, &j->w, false);
}

static int wipe_pass(struct wipe_job *j, struct volume *v, unsigned pass)
{
	struct scsi_lu *lu = j->lu;
	uint64_t size = volume_size(v);
	uint32_t step = j->plan.kind == WIPE_OVERWRITE ? STEP : ERASE_STEP;
	int err = 0;
	make_block(j, j->plan.invert && (pass & 1));
	for (uint64_t off = 0; !err && off < size; off += step) {
		if (atomic_load(&j->registry->closing))
			return -ERR_SHUTDOWN;
		err = wipe_step(j, v, off, (uint32_t)MIN(size - off, step));
		uint64_t part = ((uint64_t)pass << 16) + (off + step) * 65536 / (size + step);
		lu->wipe_progress = (uint16_t)MIN(part / j->plan.passes, UINT16_MAX);
		wipe_tell(lu);
		task_yield(); /* others of this reactor, the link to the partner too, have their
				 turn */
	}
	return err ? err : volume_flush(v, 0, size);
}

/* It ends for those who wait and for commands; what was begun by a process that ends is left to
 * the next. */
static void wipe_end(struct wipe_job *j, int err)
{
	struct scsi_lu *lu = j->lu;
	/* what a process that ends, or one that is not the owner any more, has begun goes on
	 * elsewhere */
	bool later = err == -ERR_NOT_OWNER || (err && atomic_load(&j->registry->closing));
	int rc = later ? 0 : record(lu, err ? &j->plan : NULL, err != 0);
	if (rc)
		log_error("scsi: the end of a wipe is not recorded volume=%u err=%s", lu->volume_id,
			  err_name(rc));
	if (err && !later)
		event_write(LOG_L_ERROR, "scsi.wipe_failed", "volume %u: it could not be wiped: %s",
			    lu->volume_id, err_text(err));
	if (err && err != -ERR_NOT_OWNER)
		atomic_fetch_or(&lu->conditions, COND_WIPE_FAILED);
	atomic_fetch_and(&lu->conditions, ~COND_WIPING);
	atomic_store(&lu->wipe_runs, false);
	wipe_tell(lu);
}

static void wipe_task(void *arg)
{
	struct wipe_job *j = arg;
	struct scsi_registry *r = j->registry;
	struct volume *v = lu_volume(j->lu);
	int err = v ? 0 : -ENODEV;
	struct volume_stats before = {0};
	if (v)
		volume_stats(v, &before);
	for (unsigned pass = 0; !err && pass < j->plan.passes; pass++)
		err = wipe_pass(j, v, pass);
	j->lu->blank_writes = before.writes;
	j->lu->blank = !err && j->plan.kind != WIPE_OVERWRITE;
	wipe_end(j, err);
	lu_put(j->lu);
	free(j);
	atomic_fetch_sub(&r->background, 1);
}

static int wipe_begin(struct scsi_registry *r, struct scsi_lu *lu, const struct wipe_plan *plan)
{
	struct wipe_job *j = malloc(sizeof(*j));
	if (!j)
		return -ENOMEM;
	j->registry = r;
	j->lu = lu_get(lu);
	j->plan = *plan;
	atomic_fetch_add(&r->background, 1);
	atomic_store(&lu->wipe_runs, true);
	int err = task_start(wipe_task, j);
	if (!err)
		return 0;
	atomic_store(&lu->wipe_runs, false);
	atomic_fetch_sub(&r->background, 1);
	lu_put(j->lu);
	free(j);
	return err;
}

void wipe_resume(struct scsi_registry *r, struct scsi_lu *lu, const Isthmus__Volume *pb)
{
	const Isthmus__Wipe *w = pb->wipe;
	struct volume *v = lu_volume(lu);
	if ((v && core_volume_place(v) != CORE_HERE) || atomic_load(&lu->wipe_runs))
		return;
	atomic_fetch_and(&lu->conditions, ~(COND_WIPING | COND_WIPE_FAILED));
	if (!w)
		return;
	struct wipe_plan plan = {.kind = (uint8_t)w->kind,
				 .passes = (uint8_t)w->passes,
				 .invert = w->invert,
				 .ause = w->ause,
				 .pattern_len = (uint16_t)MIN(w->pattern.len, WIPE_PATTERN_MAX)};
	if (plan.pattern_len)
		memcpy(plan.pattern, w->pattern.data, plan.pattern_len);
	lu->wipe_kind = plan.kind;
	lu->wipe_ause = plan.ause;
	atomic_fetch_or(&lu->conditions, w->failed ? COND_WIPE_FAILED : COND_WIPING);
	if (w->failed || !wipe_begin(r, lu, &plan))
		return;
	atomic_fetch_or(&lu->conditions, COND_WIPE_FAILED);
	atomic_fetch_and(&lu->conditions, ~COND_WIPING);
	log_error("scsi: a wipe is not taken up again volume=%u", lu->volume_id);
}

/* ---- the commands ---- */

/* Until it has ended, or the transport wants no answer any more. */
static void wipe_await(struct scsi_cmd *c)
{
	struct scsi_lu *lu = c->lu;
	struct waiter w;
	pthread_mutex_lock(&lu->wipe_lock);
	while ((atomic_load(&lu->conditions) & COND_WIPING) && !atomic_load(&c->aborted)) {
		waitq_enter(&lu->wipe_wait, &w);
		pthread_mutex_unlock(&lu->wipe_lock);
		task_park();
		pthread_mutex_lock(&lu->wipe_lock);
		waitq_leave(&lu->wipe_wait, &w);
	}
	pthread_mutex_unlock(&lu->wipe_lock);
}

/* One at a time: who sets WIPING does it. */
static enum scsi_next wipe_run(struct scsi_cmd *c, const struct wipe_plan *plan, bool immediate)
{
	struct scsi_lu *lu = c->lu;
	if (atomic_fetch_or(&lu->conditions, COND_WIPING) & COND_WIPING) {
		cmd_condition_ok(c);
		return SCSI_DONE;
	}
	unsigned before = atomic_load(&lu->conditions) & COND_WIPE_FAILED;
	lu->wipe_kind = plan->kind;
	lu->wipe_ause = plan->ause;
	lu->wipe_progress = 0;
	int err = record(lu, plan, false);
	atomic_fetch_and(&lu->conditions, ~COND_WIPE_FAILED);
	if (!err)
		err = wipe_begin(c->nexus->registry, lu, plan);
	if (err) {
		atomic_fetch_or(&lu->conditions, before);
		atomic_fetch_and(&lu->conditions, ~COND_WIPING);
		return cmd_error(c, err);
	}
	if (immediate)
		return cmd_good(c);
	cmd_leave(c); /* it may take hours, and others are told of it: they need not wait */
	wipe_await(c);
	if (core_volume_place(lu_volume(lu)) != CORE_HERE) /* it goes on at the partner */
		return forward_lost(c);
	struct sense s;
	return lu_condition_sense(lu, &s) ? cmd_check(c, &s) : cmd_good(c);
}

enum scsi_next op_sanitize(struct scsi_cmd *c)
{
	uint16_t len = be16_get(c->cdb + 7);
	if ((c->cdb[1] & 0x1f) != 0x01) /* OVERWRITE alone has parameters */
		return SCSI_WAIT;
	if (len < 5 || len > 4 + c->lu->block_size)
		return cmd_bad_cdb(c, 7, -1);
	c->out_len = len;
	if (c->out_expected < len)
		return cmd_bad_length(c);
	return cmd_data_out(c, len) ? SCSI_DATA_OUT : cmd_status(c, SCSI_BUSY);
}

enum scsi_next op_sanitize_finish(struct scsi_cmd *c)
{
	const uint8_t *b = c->inline_iov.iov_base;
	uint16_t len = be16_get(b + 2);
	if (b[0] & 0x60) /* TEST: vendor specific, reserved */
		return cmd_bad_param(c, 0, 6);
	if (!(b[0] & 0x1f)) /* OVERWRITE COUNT */
		return cmd_bad_param(c, 0, 4);
	if (b[1])
		return cmd_bad_param(c, 1, -1);
	if (!len || len > c->lu->block_size || len != c->out_len - 4)
		return cmd_bad_param(c, 2, -1);
	return SCSI_WAIT;
}

enum scsi_next op_sanitize_finish_wait(struct scsi_cmd *c)
{
	const uint8_t *b = c->inline_iov.iov_base;
	struct wipe_plan *plan = calloc(1, sizeof(*plan));
	if (!plan)
		return cmd_status(c, SCSI_BUSY);
	plan->kind = WIPE_OVERWRITE;
	plan->passes = b[0] & 0x1f;
	plan->invert = b[0] & 0x80;
	plan->ause = c->cdb[1] & 0x20;
	plan->pattern_len = be16_get(b + 2);
	memcpy(plan->pattern, b + 4, plan->pattern_len);
	enum scsi_next next = wipe_run(c, plan, c->cdb[1] & 0x80);
	free(plan);
	return next;
}

/* BLOCK ERASE. */
enum scsi_next op_sanitize_wait(struct scsi_cmd *c)
{
	struct wipe_plan *plan = calloc(1, sizeof(*plan));
	if (!plan)
		return cmd_status(c, SCSI_BUSY);
	plan->kind = WIPE_ERASE;
	plan->passes = 1;
	plan->ause = c->cdb[1] & 0x20;
	enum scsi_next next = wipe_run(c, plan, c->cdb[1] & 0x80);
	free(plan);
	return next;
}

/* SBC-4 5.30.2.5: only where the operation that failed allowed it. */
enum scsi_next op_sanitize_exit(struct scsi_cmd *c)
{
	if (!(atomic_load(&c->lu->conditions) & COND_WIPE_FAILED))
		return cmd_good(c);
	return c->lu->wipe_ause && c->lu->wipe_kind != WIPE_FORMAT ? SCSI_WAIT
								   : cmd_bad_cdb(c, 1, 4);
}

enum scsi_next op_sanitize_exit_wait(struct scsi_cmd *c)
{
	int err = record(c->lu, NULL, false);
	if (err)
		return cmd_error(c, err);
	atomic_fetch_and(&c->lu->conditions, ~COND_WIPE_FAILED);
	return cmd_good(c);
}

/* ---- FORMAT UNIT ---- */

#define FMTDATA	 0x10
#define LONGLIST 0x20

enum scsi_next op_format(struct scsi_cmd *c)
{
	if (!(c->cdb[1] & FMTDATA)) {
		if (c->cdb[1] & 0x2f) /* LONGLIST, CMPLST and a defect list format mean nothing */
			return cmd_bad_cdb(c, 1, 5);
		return SCSI_WAIT;
	}
	if (c->cdb[1] & 0x07) /* no address descriptors are taken */
		return cmd_bad_cdb(c, 1, 2);
	uint32_t len = c->cdb[1] & LONGLIST ? 8 : 4;
	c->out_len = len;
	if (c->out_expected < len)
		return cmd_bad_length(c);
	return cmd_data_out(c, len) ? SCSI_DATA_OUT : cmd_status(c, SCSI_BUSY);
}

enum scsi_next op_format_finish(struct scsi_cmd *c)
{
	const uint8_t *b = c->inline_iov.iov_base;
	bool lng = c->cdb[1] & LONGLIST;
	if (b[0]) /* PROTECTION FIELDS USAGE */
		return cmd_bad_param(c, 0, 2);
	if (b[1] & 0x0d) /* IP, obsolete, VS */
		return cmd_bad_param(c, 1, 3);
	if ((b[1] & 0x70) && !(b[1] & 0x80)) /* options that FOV does not make valid */
		return cmd_bad_param(c, 1, 6);
	if (lng && (b[2] || b[3]))
		return cmd_bad_param(c, b[2] ? 2 : 3, -1);
	if (lng ? be32_get(b + 4) : be16_get(b + 2)) /* DEFECT LIST LENGTH */
		return cmd_bad_param(c, lng ? 4 : 2, -1);
	return SCSI_WAIT;
}

enum scsi_next op_format_wait(struct scsi_cmd *c)
{
	const uint8_t *b = c->inline_iov.iov_base;
	bool immediate = (c->cdb[1] & FMTDATA) && (b[1] & 0x02);
	struct wipe_plan *plan = calloc(1, sizeof(*plan));
	if (!plan)
		return cmd_status(c, SCSI_BUSY);
	plan->kind = WIPE_FORMAT;
	plan->passes = 1;
	enum scsi_next next = wipe_run(c, plan, immediate);
	free(plan);
	return next;
}
