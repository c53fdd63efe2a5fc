/*
 * The life of a command: which logical unit, when it is its turn, which operation, the
 * checks every operation needs, then the operation. The order of the checks is SAM-5 5.3.3's:
 * incorrect logical unit, unit attention, task attribute; then it waits where others go before it
 * (task_set.h); operation code, CDB fields, reservations, access state, write protection, medium.
 *
 * Nothing here allocates, logs or waits; a command holds the view of its nexus
 * until scsi_release().
 */
#include <errno.h>
#include <stdlib.h>
#include "runtime/err.h"
#include "server/scsi/forward.h"

/* ---- ends ---- */

enum scsi_next cmd_status(struct scsi_cmd *c, uint8_t status)
{
	c->status = status;
	if (__builtin_expect(status != SCSI_GOOD, 0))
		scsi_told(c, status);
	return SCSI_DONE;
}

void scsi_told(struct scsi_cmd *c, uint8_t status)
{
	if (!c->lu || c->lu->ua_intlck != INTLCK_ESTABLISH)
		return;
	uint32_t ua = status == SCSI_BUSY		    ? UA_WAS_BUSY
		      : status == SCSI_TASK_SET_FULL	    ? UA_WAS_FULL
		      : status == SCSI_RESERVATION_CONFLICT ? UA_WAS_CONFLICT
							    : 0;
	if (ua)
		nexus_ua_set(c->nexus, c->itl->number, ua);
}

enum scsi_next cmd_good(struct scsi_cmd *c)
{
	return cmd_status(c, SCSI_GOOD);
}

enum scsi_next cmd_check(struct scsi_cmd *c, const struct sense *s)
{
	cmd_drop_io(c);
	c->in_len = 0;
	c->in_iovcnt = 0;
	c->in_more = false;
	c->status = SCSI_CHECK_CONDITION;
	c->sense_len = (uint8_t)sense_build(c->sense, c->lu && c->lu->d_sense, s);
	return SCSI_DONE;
}

enum scsi_next cmd_sense(struct scsi_cmd *c, uint8_t key, uint8_t asc, uint8_t ascq)
{
	return cmd_check(c, &(struct sense){.key = key, .asc = asc, .ascq = ascq});
}

enum scsi_next cmd_bad_cdb(struct scsi_cmd *c, unsigned field, int bit)
{
	return cmd_check(c, &(struct sense){.key = KEY_ILLEGAL_REQUEST,
					    .asc = 0x24,
					    .has_field = true,
					    .in_cdb = true,
					    .field = (uint16_t)field,
					    .bit = bit});
}

enum scsi_next cmd_bad_param(struct scsi_cmd *c, unsigned field, int bit)
{
	return cmd_check(c, &(struct sense){.key = KEY_ILLEGAL_REQUEST,
					    .asc = 0x26,
					    .has_field = true,
					    .field = (uint16_t)field,
					    .bit = bit});
}

enum scsi_next cmd_bad_length(struct scsi_cmd *c)
{
	return cmd_sense(c, KEY_ILLEGAL_REQUEST, 0x1a, 0x00);
}

enum scsi_next cmd_short_data(struct scsi_cmd *c)
{
	return cmd_sense(c, KEY_ILLEGAL_REQUEST, 0x0e, 0x03);
}

enum scsi_next cmd_out_of_range(struct scsi_cmd *c)
{
	return cmd_sense(c, KEY_ILLEGAL_REQUEST, 0x21, 0x00);
}

/* Sense of the block core's errors; 0 ends it and stands for every other one. */
static const struct {
	int err;
	bool where; /* the LBA goes into INFORMATION */
	uint8_t key, asc, ascq;
} errors[] = {
    {ERR_MEDIUM, true, KEY_MEDIUM_ERROR, 0x11, 0x00}, /* unrecovered read error */
    {ERR_CORRUPT, true, KEY_MEDIUM_ERROR, 0x11, 0x00},
    {ERR_MISCOMPARE, false, KEY_MISCOMPARE, 0x1d, 0x00}, /* during verify operation */
    {ENOSPC, true, KEY_DATA_PROTECT, 0x27, 0x07},	 /* space allocation failed */
    {ERR_WRITE_PROTECT, false, KEY_DATA_PROTECT, 0x27, 0x00},
    {EROFS, false, KEY_DATA_PROTECT, 0x27, 0x00},
    {ERR_SHUTDOWN, false, KEY_NOT_READY, 0x04, 0x00}, /* cause not reportable */
    {ERR_EPOCH_STALE, false, KEY_NOT_READY, 0x04, 0x00},
    {EINVAL, false, KEY_ILLEGAL_REQUEST, 0x21, 0x00},  /* the volume got smaller meanwhile */
    {ERR_NOT_OWNER, false, KEY_NOT_READY, 0x04, 0x0a}, /* access state transition */
    {0, false, KEY_HARDWARE_ERROR, 0x44, 0x00},	       /* internal target failure */
};

enum scsi_next cmd_error(struct scsi_cmd *c, int err)
{
	int e = abs(err);
	if (e == ERR_NOT_OWNER && c->nexus->registry->forward) { /* who called looks at it */
		cmd_drop_io(c);
		c->fwd.not_owner = true;
		c->status = SCSI_BUSY;
		return SCSI_DONE;
	}
	if (e == ENOMEM || e == EAGAIN || e == EBUSY) {
		cmd_drop_io(c);
		return cmd_status(c, SCSI_BUSY);
	}
	unsigned i = 0;
	while (errors[i].err && errors[i].err != e)
		i++;
	return cmd_check(c, &(struct sense){.key = errors[i].key,
					    .asc = errors[i].asc,
					    .ascq = errors[i].ascq,
					    .has_info = errors[i].where,
					    .info = c->off >> c->lu->block_shift});
}

void scsi_fail(struct scsi_cmd *c, uint8_t key, uint8_t asc, uint8_t ascq)
{
	cmd_sense(c, key, asc, ascq);
}

/* ---- data ---- */

void cmd_drop_io(struct scsi_cmd *c)
{
	if (c->holds_read)
		volume_read_done(lu_volume(c->lu), &c->io.read);
	if (c->holds_write)
		volume_write_abort(lu_volume(c->lu), &c->io.write);
	c->holds_read = c->holds_write = false;
}

void *cmd_heap(struct scsi_cmd *c, uint32_t len)
{
	ASSERT(!c->heap);
	c->heap = malloc(len);
	return c->heap;
}

enum scsi_next cmd_data_in(struct scsi_cmd *c, void *data, uint32_t len, uint32_t alloc)
{
	c->in_len = MIN(len, alloc);
	c->inline_iov = (struct iovec){.iov_base = data, .iov_len = c->in_len};
	c->in_iov = &c->inline_iov;
	c->in_iovcnt = c->in_len ? 1 : 0;
	return cmd_good(c);
}

void *cmd_data_out(struct scsi_cmd *c, uint32_t len)
{
	void *to = len <= sizeof(c->data) ? c->data : cmd_heap(c, len);
	if (!to)
		return NULL;
	c->out_len = len;
	c->inline_iov = (struct iovec){.iov_base = to, .iov_len = len};
	c->out_iov = &c->inline_iov;
	c->out_iovcnt = 1;
	return to;
}

/* ---- ranges ---- */

struct lba_range cdb_range(const uint8_t *cdb)
{
	switch (cdb[0] >> 5) {
	case 0: /* READ(6): 21 bits, and a length of 0 means 256 (SBC-3 5.7) */
		return (struct lba_range){be24_get(cdb + 1) & 0x1fffff, cdb[4] ? cdb[4] : 256, 4};
	case 4:
		return (struct lba_range){be64_get(cdb + 2), be32_get(cdb + 10), 10};
	case 5:
		return (struct lba_range){be32_get(cdb + 2), be32_get(cdb + 6), 6};
	}
	return (struct lba_range){be32_get(cdb + 2), be16_get(cdb + 7), 7};
}

bool cmd_range_ok(struct scsi_cmd *c, const struct lba_range *r, uint64_t max_bytes)
{
	uint64_t blocks = volume_size(lu_volume(c->lu)) >> c->lu->block_shift;
	if (r->lba >= blocks || r->blocks > blocks - r->lba) {
		cmd_out_of_range(c);
		return false;
	}
	uint64_t bytes = (uint64_t)r->blocks << c->lu->block_shift;
	if (bytes > max_bytes) { /* SBC-4 5.x: more than MAXIMUM TRANSFER LENGTH */
		cmd_bad_cdb(c, r->blocks_at, -1);
		return false;
	}
	c->off = r->lba << c->lu->block_shift;
	c->len = (uint32_t)bytes;
	return true;
}

/* ---- checks ---- */

/* The service action's row where the opcode has them; NULL: none such. */
static const struct scsi_op *cmd_row(const struct scsi_cmd *c, const struct scsi_op *op)
{
	return op && op->actions ? op_find_action(op, c->cdb[1] & 0x1f) : op;
}

static const struct scsi_op *cmd_find_op(struct scsi_cmd *c)
{
	const struct scsi_op *op = op_find(c->cdb[0]);
	if (!op || !op_has(op, c->lu)) {
		cmd_sense(c, KEY_ILLEGAL_REQUEST, 0x20, 0x00);
		return NULL;
	}
	if (op->actions && (!(op = op_find_action(op, c->cdb[1] & 0x1f)) || !op_has(op, c->lu))) {
		cmd_bad_cdb(c, 1, 4);
		return NULL;
	}
	return op;
}

/* No bit may be set that the operation does not know (SPC-4 4.3.1). */
static bool cmd_cdb_ok(struct scsi_cmd *c)
{
	const struct scsi_op *op = c->op;
	if (c->cdb_len < op->cdb_len) {
		cmd_sense(c, KEY_ILLEGAL_REQUEST, 0x24, 0x00);
		return false;
	}
	unsigned first = 1;
	if (op->action_field) {
		if (c->cdb[1] & ~(op->usage[1] | 0x1f)) {
			cmd_bad_cdb(c, 1, 7);
			return false;
		}
		first = 2;
	}
	if (__builtin_expect(op->unmap_bits & c->cdb[1], 0) && !(lu_features(c->lu) & LU_UNMAP)) {
		cmd_bad_cdb(c, 1, 31 - __builtin_clz(op->unmap_bits & c->cdb[1]));
		return false;
	}
	for (unsigned i = first; i < op->cdb_len; i++) {
		unsigned wrong = c->cdb[i] & ~op->usage[i] & 0xff;
		if (wrong) {
			cmd_bad_cdb(c, i, 31 - __builtin_clz(wrong));
			return false;
		}
	}
	return true;
}

/*
 * True: a unit attention ends the command. op: NULL when the opcode is not supported. SAM-5 5.3.3:
 * power on and resets go before RESERVATION CONFLICT, which goes before the others. With
 * UA_INTLCK_CTRL the condition stays until REQUEST SENSE takes it.
 */
static bool cmd_attention(struct scsi_cmd *c, const struct scsi_op *op)
{
	struct scsi_itl *l = c->itl;
	uint8_t asc, ascq;
	itl_watch_size(c->nexus, l);
	uint32_t ua = atomic_load_explicit(&l->ua, memory_order_relaxed);
	if (__builtin_expect(!ua, 1) || (op && (op->flags & OP_UA_OK)))
		return false;
	if (!(ua & UA_RESETS) && op && reservation_conflicts(c, op)) {
		cmd_status(c, SCSI_RESERVATION_CONFLICT);
		return true;
	}
	bool keep = c->lu->ua_intlck >= INTLCK_KEEP;
	if (!(keep ? nexus_ua_look : nexus_ua_take)(c->nexus, l->number, &asc, &ascq))
		return false;
	cmd_sense(c, KEY_UNIT_ATTENTION, asc, ascq);
	return true;
}

static void cmd_reset(struct scsi_cmd *c)
{
	c->status = SCSI_GOOD;
	c->sense_len = 0;
	c->in_iov = c->out_iov = NULL;
	c->in_iovcnt = c->out_iovcnt = 0;
	c->in_len = c->out_len = 0;
	c->lu = NULL;
	c->op = NULL;
	c->view = NULL;
	c->itl = NULL;
	c->heap = NULL;
	c->off = 0;
	c->len = 0;
	c->holds_read = c->holds_write = c->fua = false;
	c->aborted = false;
	c->in_more = false;
	c->turn.in = TURN_NONE;
	c->turn.waits = false;
	c->part_at = c->rest = 0;
	c->hold.held = false;
	c->fwd.not_owner = c->fwd.calling = false;
	c->fwd.out = 0;
	c->fwd.since_ns = 0;
	c->fwd.blocks = NULL;
}

void cmd_restart(struct scsi_cmd *c)
{
	cmd_drop_io(c);
	free(c->heap);
	c->heap = NULL;
	c->op = NULL;
	c->status = SCSI_GOOD;
	c->sense_len = 0;
	c->in_iov = c->out_iov = NULL;
	c->in_iovcnt = c->out_iovcnt = 0;
	c->in_len = c->out_len = 0;
	c->off = 0;
	c->len = 0;
	c->fua = c->in_more = false;
	c->part_at = c->rest = 0;
	c->fwd.not_owner = false;
}

static void cmd_find_lu(struct scsi_cmd *c)
{
	uint32_t number;
	c->view = nexus_view(c->nexus);
	if (lun_parse(c->lun, &number))
		c->itl = view_find(c->view, number);
	c->lu = c->itl ? c->itl->lu : NULL;
}

/* REPORT LUNS is answered by LUN 0 even where it has no logical unit (SPC-4 6.33). */
static bool cmd_lun_zero(const struct scsi_cmd *c)
{
	uint32_t number;
	return lun_parse(c->lun, &number) && number == 0;
}

static bool cmd_in_condition(const struct scsi_cmd *c)
{
	return __builtin_expect(atomic_load_explicit(&c->lu->conditions, memory_order_relaxed) != 0,
				0);
}

/* What the unit's limit counts: commands that may wait for the medium. */
static bool cmd_limited(const struct scsi_cmd *c)
{
	return (c->op->flags & OP_MEDIUM) && (c->op->start_wait || c->op->finish_wait);
}

static uint64_t cmd_bytes(const struct scsi_cmd *c)
{
	if (c->op->start != op_read)
		return c->out_expected;
	uint64_t bytes = (uint64_t)cdb_range(c->cdb).blocks << c->lu->block_shift;
	return MIN(bytes, SCSI_TRANSFER_MAX);
}

/* Its turn has come. */
static enum scsi_next cmd_go(struct scsi_cmd *c, const struct scsi_op *row)
{
	enum scsi_next next;
	if (__builtin_expect(c->nexus->registry->forward != NULL, 0) && c->lu &&
	    forward_takes(c, row, &next))
		return next;
	return cmd_begin(c);
}

static enum scsi_next cmd_start(struct scsi_cmd *c)
{
	const struct scsi_op *op = op_find(c->cdb[0]), *row;
	if (!c->lu &&
	    (!op || !(op->flags & OP_NO_LU) || ((op->flags & OP_LUN_ZERO) && !cmd_lun_zero(c))))
		return cmd_sense(c, KEY_ILLEGAL_REQUEST, 0x25, 0x00);
	row = cmd_row(c, op);
	if (c->lu && cmd_attention(c, row))
		return SCSI_DONE;
	if (__builtin_expect(c->attr >= SCSI_ATTR_OTHER, 0)) /* invalid message error */
		return cmd_sense(c, KEY_ILLEGAL_REQUEST, 0x49, 0x00);
	if (c->lu && !(row && (row->flags & OP_NO_ORDER)) && !task_set_enter(&c->lu->set, c))
		return SCSI_WAIT;
	return cmd_go(c, row);
}

static enum scsi_next cmd_take_turn(struct scsi_cmd *c)
{
	if (!turn_wait(c))
		return SCSI_DONE;
	enum scsi_next next = cmd_go(c, cmd_row(c, op_find(c->cdb[0])));
	stats_mark(c, STAGE_CACHE);
	return next;
}

/* It has ended, or goes on in scsi_finish(). */
static inline enum scsi_next cmd_ended(struct scsi_cmd *c, enum scsi_next next)
{
	if (next == SCSI_DONE && !c->in_more)
		cmd_leave(c);
	return next;
}

enum scsi_next cmd_begin(struct scsi_cmd *c)
{
	c->op = cmd_find_op(c);
	if (!c->op || !cmd_cdb_ok(c))
		return SCSI_DONE;
	if (c->lu) {
		if (reservation_conflicts(c, c->op))
			return cmd_status(c, SCSI_RESERVATION_CONFLICT);
		if (!alua_allows(c))
			return SCSI_DONE;
		if ((c->op->flags & OP_WRITES) && (c->itl->read_only || c->lu->swp))
			return cmd_sense(c, KEY_DATA_PROTECT, 0x27, 0x00);
		if ((c->op->flags & OP_MEDIUM) && !lu_volume(c->lu))
			return cmd_sense(c, KEY_NOT_READY, 0x04, 0x03);
		if (cmd_in_condition(c) && !cmd_condition_ok(c))
			return SCSI_DONE;
		if (cmd_limited(c) && qos_hold(&c->lu->qos, c, cmd_bytes(c)))
			return SCSI_WAIT;
	}
	return c->op->start(c);
}

enum scsi_next scsi_start(struct scsi_cmd *c)
{
	cmd_reset(c);
	cmd_find_lu(c);
	stats_start(c);
	enum scsi_next next = cmd_start(c);
	if (__builtin_expect(c->fwd.not_owner, 0) && !c->nexus->proxy)
		next = forward_again(c);
	stats_mark(c, STAGE_CACHE);
	return cmd_ended(c, next);
}

/* False: aborted meanwhile, or its unit was taken from its nexus. */
static bool cmd_wait_turn(struct scsi_cmd *c)
{
	bool go = qos_wait(&c->lu->qos, c);
	stats_mark(c, STAGE_LIMIT);
	return go;
}

/* What waits in its start and may have written by then. */
static bool cmd_half_done(const struct scsi_cmd *c)
{
	return (c->op->flags & OP_WRITES) && c->op->start_wait != op_write_wait;
}

static enum scsi_next cmd_start_wait(struct scsi_cmd *c)
{
	enum scsi_next next = SCSI_WAIT;
	if (c->turn.waits && (next = cmd_take_turn(c)) != SCSI_WAIT)
		return next;
	bool held = c->hold.held;
	if (held && !cmd_wait_turn(c))
		return atomic_load(&c->aborted) ? cmd_status(c, SCSI_TASK_ABORTED)
						: cmd_sense(c, KEY_ILLEGAL_REQUEST, 0x25, 0x00);
	if (held && reservation_refuses_now(c)) /* it changed meanwhile */
		return cmd_status(c, SCSI_RESERVATION_CONFLICT);
	if (c->lu && cmd_in_condition(c) && !cmd_condition_ok(c))
		return SCSI_DONE;
	if (held) {
		next = c->op->start(c);
		stats_mark(c, STAGE_CACHE);
	}
	if (next == SCSI_WAIT) {
		next = c->op->start_wait(c);
		stats_mark(c, STAGE_DISK);
		if (__builtin_expect(c->fwd.not_owner, 0) && cmd_half_done(c))
			return forward_lost(c);
	}
	return next;
}

enum scsi_next scsi_start_wait(struct scsi_cmd *c)
{
	enum scsi_next next = cmd_start_wait(c);
	if (__builtin_expect(c->fwd.not_owner, 0) && !c->nexus->proxy) {
		next = forward_again(c);
		if (next == SCSI_WAIT)
			next = forward_start_wait(c);
	}
	return cmd_ended(c, next);
}

void *scsi_hold_data(struct scsi_cmd *c, uint32_t len)
{
	/* a plain write never uses it itself; one for the partner would have its data there */
	const struct scsi_op *op = c->hold.held ? c->op : c->turn.waits ? op_find(c->cdb[0]) : NULL;
	bool plain = op && op->start == op_write && (c->hold.held || !c->nexus->registry->forward);
	return plain && len <= sizeof(c->data) ? c->data : NULL;
}

/* Nobody waits for it any more: its initiator may have sent it again by another path, and later
 * writes behind that. It must not come after them. */
static bool cmd_unwanted(struct scsi_cmd *c)
{
	if (__builtin_expect(!atomic_load_explicit(&c->aborted, memory_order_acquire), 1))
		return false;
	cmd_drop_io(c);
	cmd_status(c, SCSI_TASK_ABORTED);
	return true;
}

enum scsi_next scsi_finish(struct scsi_cmd *c)
{
	if (cmd_unwanted(c))
		return cmd_ended(c, SCSI_DONE);
	/* what came since is not written to a medium that is being wiped */
	if (c->lu && cmd_in_condition(c) && !cmd_condition_ok(c))
		return cmd_ended(c, SCSI_DONE);
	stats_mark(c, STAGE_DATA);
	enum scsi_next next = c->op->finish(c);
	stats_mark(c, STAGE_CACHE);
	return cmd_ended(c, __builtin_expect(c->fwd.not_owner, 0) ? forward_lost(c) : next);
}

enum scsi_next scsi_finish_wait(struct scsi_cmd *c)
{
	if (cmd_unwanted(c))
		return cmd_ended(c, SCSI_DONE);
	enum scsi_next next = c->op->finish_wait(c);
	stats_mark(c, STAGE_DISK);
	return cmd_ended(c, __builtin_expect(c->fwd.not_owner, 0) ? forward_lost(c) : next);
}

int cmd_carry_out(struct scsi_cmd *c, enum scsi_next next, int (*fill)(struct scsi_cmd *c))
{
	if (next == SCSI_WAIT)
		next = cmd_start_wait(c);
	while (next == SCSI_DATA_OUT) {
		int err = fill(c);
		if (err)
			return err;
		next = scsi_finish(c);
		if (next == SCSI_WAIT)
			next = scsi_finish_wait(c);
	}
	ASSERT(next == SCSI_DONE);
	return 0;
}

void scsi_abort(struct scsi_cmd *c)
{
	struct scsi_lu *lu = c->lu;
	atomic_store(&c->aborted, true);
	if (!lu)
		return;
	if (c->nexus->registry->forward)
		forward_abort(c);
	task_set_cancel(&lu->set, c);
	qos_cancel(&lu->qos, c);
	pthread_mutex_lock(&lu->wipe_lock);
	waitq_wake_all(&lu->wipe_wait);
	pthread_mutex_unlock(&lu->wipe_lock);
}

void scsi_release(struct scsi_cmd *c)
{
	if (c->lu && c->hold.held)
		qos_forget(&c->lu->qos, c);
	cmd_drop_io(c);
	cmd_leave(c);
	if (__builtin_expect(c->fwd.blocks != NULL, 0))
		forward_release(c);
	free(c->heap);
	c->heap = NULL;
	c->lu = NULL;
	c->itl = NULL;
	view_put(c->view);
	c->view = NULL;
}
