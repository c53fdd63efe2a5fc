/*
 * Forwarding, the front's side (forward.h): which commands go to the partner, and holding them
 * while nobody carries them out.
 *
 *   started    data-out is received into memory of our own: up to 4 KiB into the command, else
 *              into blocks
 *   held       the volume moves, its owner cannot be reached: FORWARD_HOLD_NS at most, and not
 *              while its owner works, by whose portals hosts reach it (forward_cut())
 *   called     the partner has it: an answer, or the link goes down
 *   unknown    the link went down: until the partner surely does not carry it out any more
 *              (forward_settle()); then it ends, as nobody knows what became of it (forward_lost())
 *   here       the volume has come here meanwhile: carried out as if it had just come
 *
 * What the partner has refused (-ERR_NOT_OWNER) was not begun there: it is held and goes again.
 */
#include <errno.h>
#include <stdlib.h>
#include "blockcore/far.h"
#include "runtime/bdev.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include "server/scsi/forward.h"

static enum scsi_next forward_finish(struct scsi_cmd *c);
static enum scsi_next forward_run(struct scsi_cmd *c);

/* The unit's conditions are its owner's matter: OP_WIPE_OK. */
static const struct scsi_op forward_op = {
    .name = "forwarded",
    .flags = OP_WIPE_OK,
    .start_wait = forward_start_wait,
    .finish = forward_finish,
    .finish_wait = forward_run,
};

_Static_assert(SCSI_TRANSFER_MAX / FORWARD_BLOCK * sizeof(struct iovec) <= SCSI_INLINE_DATA,
	       "the pieces of the largest transfer fit a command's data");
_Static_assert(offsetof(struct scsi_cmd, data) % _Alignof(struct iovec) == 0, "pieces are in data");

static struct forward *forward_of(const struct scsi_cmd *c)
{
	return c->nexus->registry->forward;
}

/* ---- beginning ---- */

/* The memory for data-out is there: lends it. */
static enum scsi_next lend(struct scsi_cmd *c)
{
	c->out_len = c->out_expected;
	if (c->fwd.blocks) {
		c->out_iov = (struct iovec *)c->data;
		c->out_iovcnt =
		    blocks_iov(c->fwd.blocks, c->fwd.out, c->out_iov, SCSI_INLINE_DATA / 16);
		return SCSI_DATA_OUT;
	}
	c->inline_iov = (struct iovec){.iov_base = c->data, .iov_len = c->fwd.out};
	c->out_iov = &c->inline_iov;
	c->out_iovcnt = 1;
	return SCSI_DATA_OUT;
}

static enum scsi_next begin(struct scsi_cmd *c)
{
	c->op = &forward_op;
	c->fwd.out = MIN(c->out_expected, SCSI_TRANSFER_MAX);
	if (!c->fwd.out)
		return SCSI_WAIT;
	if (c->fwd.out > sizeof(c->data)) {
		c->fwd.blocks = pool_blocks_try(&forward_of(c)->pool, pool_blocks_for(c->fwd.out));
		if (!c->fwd.blocks)
			return SCSI_WAIT;
	}
	return lend(c);
}

bool forward_takes(struct scsi_cmd *c, const struct scsi_op *op, enum scsi_next *ret)
{
	struct volume *v = lu_volume(c->lu);
	if (!v || core_volume_place(v) == CORE_HERE)
		return false;
	if (c->nexus->proxy) { /* its front looks for the owner */
		c->fwd.not_owner = true;
		c->status = SCSI_BUSY;
		*ret = SCSI_DONE;
		return true;
	}
	if (op && ((op->flags & OP_FRONT) || (op->start == op_request_sense && c->itl->ua)))
		return false;
	*ret = begin(c);
	return true;
}

enum scsi_next forward_again(struct scsi_cmd *c)
{
	cmd_restart(c);
	return begin(c);
}

/* ---- ends ---- */

enum scsi_next forward_lost(struct scsi_cmd *c)
{
	c->fwd.not_owner = false;
	nexus_ua_drop(c->nexus, c->itl->number, UA_ACCESS); /* told by this */
	return cmd_sense(c, KEY_UNIT_ATTENTION, 0x2a, 0x06);
}

/* Nobody carried it out. */
static enum scsi_next nobody(struct scsi_cmd *c)
{
	enum core_place place = core_volume_place(lu_volume(c->lu));
	/* asymmetric access state transition; target port in unavailable state */
	return cmd_sense(c, KEY_NOT_READY, 0x04, place == CORE_MOVING ? 0x0a : 0x0c);
}

static enum scsi_next failed(struct scsi_cmd *c, int err)
{
	switch (err) {
	case -ECANCELED:
		return cmd_status(c, SCSI_TASK_ABORTED);
	case -ETIMEDOUT:
		return nobody(c);
	case -ERR_DISCONNECTED:
	case -ERR_SHUTDOWN:
		return forward_lost(c);
	case -ENOMEM:
	case -EAGAIN:
	case -EBUSY:
	case -ENOSPC:
	case -ENOENT:
	case -ENODEV:
		return cmd_status(c, SCSI_BUSY);
	}
	log_error("scsi: a forwarded command failed volume=%u opcode=%02x err=%s", c->lu->volume_id,
		  c->cdb[0], err_name(err));
	return cmd_sense(c, KEY_HARDWARE_ERROR, 0x44, 0x00);
}

/* ---- waiting for an owner ---- */

void forward_wake(struct forward *f)
{
	pthread_mutex_lock(&f->lock);
	waitq_wake_all(&f->held);
	pthread_mutex_unlock(&f->lock);
}

static void wake(void *task)
{
	task_wake(task);
}

static void wait_a_while(struct forward *f, uint64_t ns)
{
	struct env_timer timer = {.fn = wake, .arg = task_self()};
	struct waiter w;
	pthread_mutex_lock(&f->lock);
	waitq_enter(&f->held, &w);
	pthread_mutex_unlock(&f->lock);
	env_timer_start(f->env, &timer, ns);
	task_park();
	env_timer_stop(f->env, &timer);
	pthread_mutex_lock(&f->lock);
	waitq_leave(&f->held, &w);
	pthread_mutex_unlock(&f->lock);
}

bool forward_cut(const struct forward *f)
{
	uint64_t down = atomic_load_explicit(&f->down_ns, memory_order_relaxed);
	return down && env_now_ns(f->env) - down >= FORWARD_CUT_NS &&
	       core_partner_works(f->registry->core);
}

static bool settled(const struct forward *f, enum core_place place)
{
	return place == CORE_HERE || (place == CORE_PARTNER && link_is_up(f->link));
}

static const char *why_held(enum core_place place)
{
	return place == CORE_MOVING    ? "it moves between the controllers"
	       : place == CORE_PARTNER ? "its controller cannot be reached"
				       : "no controller has it";
}

/* Told once while commands of the unit are held, after a second; and that it is over. */
static void explain(struct scsi_lu *lu, enum core_place place, uint64_t held_ns)
{
	if (held_ns >= NS_PER_S && !atomic_exchange(&lu->forward.told, true))
		event_write(LOG_L_WARN, "scsi.held", "volume %u: commands are held: %s",
			    lu->volume_id, why_held(place));
}

static void hold_over(struct scsi_lu *lu, bool went)
{
	if (atomic_fetch_sub(&lu->forward.held, 1) == 1 &&
	    atomic_exchange(&lu->forward.told, false))
		event_write(went ? LOG_L_NOTICE : LOG_L_ERROR, "scsi.held",
			    "volume %u: commands that were held %s", lu->volume_id,
			    went ? "go on" : "ended with NOT READY");
}

int forward_where(struct forward *f, struct scsi_lu *lu, uint64_t *by_ns, const _Atomic bool *stop)
{
	enum core_place place = core_volume_place(lu_volume(lu));
	if (__builtin_expect(settled(f, place) && !*by_ns, 1))
		return place;
	uint64_t now = env_now_ns(f->env), since = now;
	if (!*by_ns)
		*by_ns = now + FORWARD_HOLD_NS;
	int rc = -ETIMEDOUT;
	atomic_fetch_add(&lu->forward.held, 1);
	while (now < *by_ns && !atomic_load(&f->stopping)) {
		if (stop && atomic_load(stop)) {
			rc = -ECANCELED;
			break;
		}
		place = core_volume_place(lu_volume(lu));
		if (settled(f, place)) {
			rc = place;
			break;
		}
		if (place == CORE_PARTNER && forward_cut(f))
			break;
		explain(lu, place, now - since);
		wait_a_while(f, MIN(*by_ns - now, FORWARD_LOOK_NS));
		now = env_now_ns(f->env);
	}
	hold_over(lu, rc >= 0);
	return rc;
}

static bool partner_has_ended(struct forward *f, struct scsi_nexus *n)
{
	if (link_is_up(f->link))
		return !(n ? forward_announce(f, n) : far_over(f->link));
	return core_partner_ended(f->registry->core);
}

void forward_settle(struct forward *f, struct scsi_nexus *n)
{
	uint64_t by = env_now_ns(f->env) + FORWARD_HOLD_NS;
	while (!partner_has_ended(f, n) && !atomic_load(&f->stopping)) {
		if (env_now_ns(f->env) >= by) {
			log_error(
			    "scsi: what the partner has of an earlier session of the link has not "
			    "ended: it is not waited for any longer");
			return;
		}
		wait_a_while(f, link_is_up(f->link) ? FORWARD_LOOK_NS / 10 : FORWARD_LOOK_NS);
	}
}

void forward_hear(struct forward *f, uint64_t told, uint64_t session)
{
	if (__builtin_expect(atomic_load(&f->heard) >= told, 1))
		return;
	uint64_t by = env_now_ns(f->env) + NS_PER_S;
	while (atomic_load(&f->heard) < told && link_session(f->link) == session &&
	       env_now_ns(f->env) < by)
		wait_a_while(f, NS_PER_MS);
}

/* ---- carried out here after all ---- */

static int fill(struct scsi_cmd *c)
{
	const struct forward_block *b = c->fwd.blocks;
	size_t at = c->part_at % FORWARD_BLOCK; /* in the block */
	ASSERT(c->part_at + iov_bytes(c->out_iov, c->out_iovcnt) <= c->fwd.out);
	for (uint32_t i = 0; i < c->part_at / FORWARD_BLOCK; i++)
		b = b->next;
	for (int i = 0; i < c->out_iovcnt; i++) {
		uint8_t *to = c->out_iov[i].iov_base;
		for (size_t left = c->out_iov[i].iov_len; left;) {
			size_t n = MIN(left, FORWARD_BLOCK - at);
			memcpy(to, b->data + at, n);
			to += n;
			left -= n;
			at += n;
			if (at == FORWARD_BLOCK) {
				b = b->next;
				at = 0;
			}
		}
	}
	return 0;
}

/* Data-out in the command's own memory makes way for what the operation does there. */
static int save_data(struct forward *f, struct scsi_cmd *c)
{
	if (!c->fwd.out || c->fwd.blocks)
		return 0;
	int err = forward_room(f, c, c->fwd.out);
	if (!err)
		memcpy(c->fwd.blocks->data, c->data, c->fwd.out);
	return err;
}

/* 0; -ERR_NOT_OWNER: it went away again before anything was done. */
static int run_here(struct forward *f, struct scsi_cmd *c)
{
	int err = save_data(f, c);
	if (err)
		return err;
	cmd_restart(c);
	err = cmd_carry_out(c, cmd_begin(c), fill);
	if (!c->fwd.not_owner)
		return err;
	cmd_restart(c);
	c->op = &forward_op;
	return -ERR_NOT_OWNER;
}

/* ---- the command's life ---- */

/* Those that waited for others before are not held once more for the whole time: where nobody has
 * the volume, a row of ORDERED ones ends with the first. */
static uint64_t hold_until(struct forward *f, const struct scsi_cmd *c, uint64_t at_least_ns)
{
	uint64_t now = env_now_ns(f->env), since = c->fwd.since_ns ? c->fwd.since_ns : now;
	return MAX(since + FORWARD_HOLD_NS, now + at_least_ns);
}

static enum scsi_next forward_run(struct scsi_cmd *c)
{
	struct forward *f = forward_of(c);
	uint64_t by_ns = 0, pause_ns = NS_PER_MS;
	unsigned unknown = 0;
	if (c->fwd.since_ns && !settled(f, core_volume_place(lu_volume(c->lu))))
		by_ns = hold_until(f, c, 0);
	for (;;) {
		int rc = forward_where(f, c->lu, &by_ns, &c->aborted);
		if (rc == CORE_HERE)
			rc = run_here(f, c);
		else if (rc >= 0)
			rc = forward_call(f, c);
		stats_mark(c, STAGE_FORWARD);
		if (!rc)
			return SCSI_DONE;
		if (rc == -ENOENT && ++unknown < 3) {
			atomic_store(&c->nexus->known, 0);
			continue;
		}
		/* Told sooner, its initiator could send it again by the partner itself, and the
		 * first try could come after that, and after later writes. */
		if (rc == -ERR_DISCONNECTED)
			forward_settle(f, c->nexus);
		if (rc != -ERR_NOT_OWNER && rc != -EOPNOTSUPP) /* it is being started, or stopped */
			return failed(c, rc);
		if (!by_ns)
			by_ns = hold_until(f, c, NS_PER_S);
		wait_a_while(f, pause_ns); /* the two do not see it alike yet */
		pause_ns = MIN(2 * pause_ns, FORWARD_LOOK_NS / 10);
	}
}

enum scsi_next forward_start_wait(struct scsi_cmd *c)
{
	if (c->fwd.out <= sizeof(c->data) || c->fwd.blocks)
		return forward_run(c);
	int err = forward_room(forward_of(c), c, c->fwd.out);
	return err ? failed(c, err) : lend(c);
}

static enum scsi_next forward_finish(struct scsi_cmd *c)
{
	return SCSI_WAIT;
}

/* On the command's thread: the task that has it is parked. */
void forward_abort(struct scsi_cmd *c)
{
	struct forward *f = forward_of(c);
	uint8_t b[FWD_ITEM_LEN];
	pool_blocks_wake(&f->pool);
	forward_window_wake(&f->window);
	forward_window_wake(&f->copies);
	forward_wake(f);
	if (!c->fwd.calling)
		return;
	fwd_item_put(b, &(struct fwd_item){.nexus = c->nexus->number, .id = c->fwd.id});
	/* behind the command; when it fails the link is down, and so the call ends */
	(void)link_send(f->link, LINK_DATA, LINK_SVC_SCSI, FWD_ABORT, b, sizeof(b), NULL, 0);
}

void forward_release(struct scsi_cmd *c)
{
	pool_blocks_give(&forward_of(c)->pool, c->fwd.blocks);
	c->fwd.blocks = NULL;
}
