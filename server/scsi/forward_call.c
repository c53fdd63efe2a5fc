/*
 * One command to the partner and back (forward.h). Data-out of up to FWD_PIECE_MAX goes with it,
 * more is asked for by the owner. Data-in is received where it is sent from: up to 4 KiB in the
 * command, else in blocks; what is more than the first reply may bring follows piece by piece.
 */
#include <errno.h>
#include "runtime/err.h"
#include "server/scsi/forward.h"

/* ---- memory ---- */

int forward_room(struct forward *f, struct scsi_cmd *c, uint32_t len)
{
	unsigned n = pool_blocks_for(len);
	ASSERT(!c->fwd.blocks);
	c->fwd.blocks = pool_blocks_try(&f->pool, n);
	if (!c->fwd.blocks)
		c->fwd.blocks = pool_blocks_take(&f->pool, n, &c->aborted);
	if (c->fwd.blocks)
		return 0;
	return atomic_load(&c->aborted) ? -ECANCELED : -ENOMEM;
}

/* How much data-in a command is sure to have when it is good; else what parameters take. */
static uint32_t data_in_of(const struct scsi_cmd *c)
{
	uint8_t op = c->cdb[0];
	if (op != 0x08 && op != 0x28 && op != 0x88 && op != 0xa8)
		return SCSI_INLINE_DATA;
	uint64_t bytes = (uint64_t)cdb_range(c->cdb).blocks << c->lu->block_shift;
	return bytes && bytes <= SCSI_TRANSFER_MAX ? (uint32_t)bytes : SCSI_INLINE_DATA;
}

static int blocks_part(const struct scsi_cmd *c, uint32_t off, uint32_t len, struct iovec *out)
{
	struct forward_block *b = c->fwd.blocks;
	for (; off >= FORWARD_BLOCK; off -= FORWARD_BLOCK)
		b = b->next;
	int n = 0;
	for (; len; b = b->next) {
		uint32_t piece = MIN(len, FORWARD_BLOCK - off);
		out[n++] = (struct iovec){.iov_base = b->data + off, .iov_len = piece};
		len -= piece;
		off = 0;
	}
	return n;
}
#define PART_IOV (FWD_PIECE_MAX / FORWARD_BLOCK + 2)

/* ---- data-out that the partner asks for ---- */

static void lend_out(struct forward *f, struct scsi_cmd *c)
{
	pthread_mutex_lock(&f->lock);
	c->fwd.users = 0;
	c->fwd.task = task_self();
	blocks_iov(c->fwd.blocks, c->fwd.out, (struct iovec *)c->data, SCSI_INLINE_DATA / 16);
	TAILQ_INSERT_TAIL(&f->lent, c, fwd.link);
	pthread_mutex_unlock(&f->lock);
}

/* No piece is asked for any more, and none is on its way. */
static void lend_over(struct forward *f, struct scsi_cmd *c)
{
	pthread_mutex_lock(&f->lock);
	TAILQ_REMOVE(&f->lent, c, fwd.link);
	while (c->fwd.users) {
		pthread_mutex_unlock(&f->lock);
		task_park();
		pthread_mutex_lock(&f->lock);
	}
	pthread_mutex_unlock(&f->lock);
}

static void pull_sent(void *arg)
{
	struct scsi_cmd *c = arg;
	struct forward *f = c->nexus->registry->forward;
	pthread_mutex_lock(&f->lock);
	if (--c->fwd.users == 0)
		task_wake(c->fwd.task);
	pthread_mutex_unlock(&f->lock);
}

/* out_iov has an entry a block: whole ones are sent from it; what ends inside of one is copied. */
static void send_out(struct link_msg *m, struct scsi_cmd *c, const struct fwd_piece *x)
{
	struct iovec iov[PART_IOV];
	if (x->off % FORWARD_BLOCK == 0 &&
	    (x->len % FORWARD_BLOCK == 0 || x->off + x->len == c->fwd.out)) {
		const struct iovec *all = (const struct iovec *)c->data;
		link_reply(m, 0, NULL, 0, all + x->off / FORWARD_BLOCK,
			   (int)pool_blocks_for(x->len), pull_sent, c);
		return;
	}
	link_reply(m, 0, NULL, 0, iov, blocks_part(c, x->off, x->len, iov), NULL, NULL);
	pull_sent(c);
}

void forward_pull(struct forward *f, struct link_msg *m)
{
	struct fwd_piece x;
	uint32_t len;
	const void *head = link_msg_head(m, &len);
	int err = fwd_piece_get(head, len, &x);
	if (err) {
		link_reply(m, err, NULL, 0, NULL, 0, NULL, NULL);
		return;
	}
	struct scsi_cmd *c;
	pthread_mutex_lock(&f->lock);
	TAILQ_FOREACH (c, &f->lent, fwd.link)
		if (c->fwd.id == x.id && c->nexus->number == x.nexus)
			break;
	if (c && x.off + x.len <= c->fwd.out)
		c->fwd.users++;
	else
		c = NULL;
	pthread_mutex_unlock(&f->lock);
	if (c)
		send_out(m, c, &x);
	else
		link_reply(m, -ENOENT, NULL, 0, NULL, 0, NULL, NULL);
}

/* ---- data-in ---- */

static void drop_rest(struct forward *f, const struct scsi_cmd *c)
{
	uint8_t b[FWD_ITEM_LEN];
	fwd_item_put(b, &(struct fwd_item){.nexus = c->nexus->number, .id = c->fwd.id});
	/* a link that is down has forgotten the command anyway */
	(void)link_send(f->link, LINK_DATA, LINK_SVC_SCSI, FWD_DROP, b, sizeof(b), NULL, 0);
}

/* The next piece; the command may fail meanwhile, which d then says. */
static int fetch(struct forward *f, struct scsi_cmd *c, uint32_t off, uint32_t len,
		 struct fwd_done *d)
{
	uint8_t b[FWD_PIECE_LEN], done[FWD_DONE_LEN];
	struct iovec iov[PART_IOV];
	fwd_piece_put(b, &(struct fwd_piece){
			     .nexus = c->nexus->number, .id = c->fwd.id, .off = off, .len = len});
	struct link_answer ans = {.head = done,
				  .head_max = sizeof(done),
				  .iov = iov,
				  .iovcnt = blocks_part(c, off, len, iov)};
	int err =
	    link_call(f->link, LINK_DATA, LINK_SVC_SCSI, FWD_MORE, b, sizeof(b), NULL, 0, &ans, 0);
	if (!err)
		err = fwd_more_get(done, ans.head_len, ans.data_len, off, len, d->in_len, d);
	return err;
}

/* From `got` on, where the first reply ended. */
static int fetch_rest(struct forward *f, struct scsi_cmd *c, uint32_t got, struct fwd_done *d)
{
	uint32_t in_len = d->in_len;
	int err = 0;
	if (!c->fwd.blocks) { /* they are parameters, more than usual; what came is less than a
				 block */
		err = forward_room(f, c, in_len);
		if (!err)
			memcpy(c->fwd.blocks->data, c->data, got);
	}
	while (!err && got < in_len && d->status == SCSI_GOOD) {
		uint32_t len = MIN(in_len - got, FWD_PIECE_MAX);
		err = atomic_load(&c->aborted) ? -ECANCELED : fetch(f, c, got, len, d);
		got += len;
	}
	if (err)
		drop_rest(f, c);
	return err;
}

/* Where the answer's data-in lies is what the transport sends from. */
static void set_data_in(struct scsi_cmd *c, uint32_t len)
{
	c->in_len = len;
	c->in_iovcnt = 0;
	if (!len || c->fwd.out)
		return;
	if (c->fwd.blocks) {
		c->in_iov = (struct iovec *)c->data;
		c->in_iovcnt = blocks_iov(c->fwd.blocks, len, c->in_iov, SCSI_INLINE_DATA / 16);
		return;
	}
	c->inline_iov = (struct iovec){.iov_base = c->data, .iov_len = len};
	c->in_iov = &c->inline_iov;
	c->in_iovcnt = 1;
}

/* ---- the call ---- */

static void count(struct scsi_cmd *c, const struct fwd_done *d)
{
	struct lu_forward *x = &c->lu->forward;
	atomic_fetch_add_explicit(&x->sent, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&x->sent_read, c->fwd.out ? 0 : d->in_len, memory_order_relaxed);
	atomic_fetch_add_explicit(&x->sent_written, c->fwd.out, memory_order_relaxed);
}

static int take_answer(struct forward *f, struct scsi_cmd *c, const struct link_answer *ans,
		       uint32_t room)
{
	struct fwd_done d;
	int err = fwd_done_get(ans->head, ans->head_len, ans->data_len, room, &d);
	if (err)
		return err;
	if (d.more && c->fwd.out) /* it was not asked for: nobody sends it */
		drop_rest(f, c);
	else if (d.more && (err = fetch_rest(f, c, ans->data_len, &d)))
		return err;
	c->status = d.status;
	c->sense_len = d.sense_len;
	memcpy(c->sense, d.sense, d.sense_len);
	c->out_len = d.out_len;
	c->fwd.told = d.told;
	set_data_in(c, d.in_len);
	count(c, &d);
	return 0;
}

static int call(struct forward *f, struct scsi_cmd *c, uint32_t room)
{
	uint8_t head[FWD_CMD_LEN_MAX], done[FWD_DONE_LEN];
	struct iovec out[PART_IOV], in[PART_IOV];
	int nout = 0, nin = 0;
	bool pulled = c->fwd.out > FWD_PIECE_MAX;
	struct iovec own = {.iov_base = c->data, .iov_len = c->fwd.out ? c->fwd.out : room};
	struct fwd_cmd x = {.nexus = c->nexus->number,
			    .id = c->fwd.id,
			    .out_expected = c->out_expected,
			    .out_bytes = c->fwd.out,
			    .room = room,
			    .pulled = pulled,
			    .attr = c->attr,
			    .cdb_len = c->cdb_len,
			    .cdb = c->cdb};
	memcpy(x.lun, c->lun, 8);
	if (!c->fwd.blocks) {
		out[0] = in[0] = own;
		nout = c->fwd.out > 0;
		nin = room > 0;
	} else if (c->fwd.out) {
		nout = pulled ? 0 : blocks_part(c, 0, c->fwd.out, out);
	} else {
		nin = blocks_part(c, 0, room, in);
	}
	struct link_answer ans = {.head = done, .head_max = sizeof(done), .iov = in, .iovcnt = nin};
	c->fwd.calling = true;
	int err = link_call(f->link, LINK_DATA, LINK_SVC_SCSI, FWD_CMD, head, fwd_cmd_put(head, &x),
			    out, nout, &ans, 0);
	c->fwd.calling = false;
	return err ? err : take_answer(f, c, &ans, room);
}

int forward_call(struct forward *f, struct scsi_cmd *c)
{
	uint64_t session = link_session(f->link);
	int err = forward_announce(f, c->nexus);
	if (err == -ERR_DISCONNECTED || err == -EBUSY || err == -ETIMEDOUT) /* it was not sent */
		return -ERR_NOT_OWNER;
	if (err)
		return err;
	uint32_t room = c->fwd.out ? 0 : data_in_of(c);
	if (room > sizeof(c->data) && !c->fwd.blocks && (err = forward_room(f, c, room)))
		return err;
	bool lent = c->fwd.out > FWD_PIECE_MAX;
	uint32_t cost = FORWARD_COST + (lent ? 0 : c->fwd.out);
	if (!forward_window_enter(&f->window, cost, &c->aborted))
		return -ECANCELED;
	c->fwd.id = atomic_fetch_add(&f->next_id, 1) + 1;
	if (lent)
		lend_out(f, c);
	struct scsi_lu *lu = c->lu;
	bool moves = c->cdb[0] == 0xa4 && (c->cdb[1] & 0x1f) == 0x0a;
	if (moves) /* SET TARGET PORT GROUPS: who asks is not told */
		atomic_store(&lu->mover, c->nexus);
	err = call(f, c, MIN(room, FWD_PIECE_MAX));
	if (moves)
		atomic_store(&lu->mover, NULL);
	if (lent)
		lend_over(f, c);
	forward_window_leave(&f->window, cost);
	if (!err)
		forward_hear(f, c->fwd.told, session);
	return err;
}
