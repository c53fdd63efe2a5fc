/*
 * Forwarding, the owner's side (forward.h): the partner's commands, carried out for the proxies of
 * its nexuses as if their initiators were here. All on the link's reactor: a task each.
 *
 *   running   until it is done; the front may abort it
 *   kept      done, and more data-in than the front had room for: it asks for the rest, in order
 *   sending   its data is lent to the link until that says it was sent
 */
#include <errno.h>
#include <stdlib.h>
#include "runtime/bdev.h"
#include "runtime/copy.h"
#include "runtime/err.h"
#include "server/scsi/forward.h"

/* ---- the pool: made as needed, kept, bounded ---- */

/* May wait. NULL: no memory, no such nexus any more, or it is not wanted any more. */
static struct served *served_get(struct forward *f, struct link_msg *m, uint64_t nexus, uint64_t id)
{
	struct served *s;
	struct proxy *p;
	while (!(s = LIST_FIRST(&f->spare))) {
		if (f->nserved < SERVED_MAX && (s = malloc(sizeof(*s)))) {
			f->nserved++;
			LIST_INSERT_HEAD(&f->spare, s, link);
			continue;
		}
		if (!f->nserved)
			return NULL;
		waitq_wait(&f->spare_wait);
	}
	if (!link_msg_wanted(m) || !(p = proxy_find(f, nexus)))
		return NULL;
	LIST_REMOVE(s, link);
	s->forward = f;
	s->proxy = p;
	s->id = id;
	s->kept = s->dropped = false;
	s->sending = false;
	s->more = NULL;
	LIST_INSERT_HEAD(&p->commands, s, link);
	return s;
}

static void served_put(struct served *s)
{
	struct forward *f = s->forward;
	struct proxy *p = s->proxy;
	scsi_release(&s->cmd);
	LIST_REMOVE(s, link);
	LIST_INSERT_HEAD(&f->spare, s, link);
	waitq_wake_one(&f->spare_wait);
	proxy_unuse(f, p);
}

void served_free(struct forward *f)
{
	struct served *s;
	while ((s = LIST_FIRST(&f->spare))) {
		LIST_REMOVE(s, link);
		free(s);
		f->nserved--;
	}
	ASSERT(!f->nserved);
}

static struct served *served_find(struct forward *f, uint64_t nexus, uint64_t id)
{
	struct served *s;
	struct proxy *p = proxy_find(f, nexus);
	if (!p)
		return NULL;
	LIST_FOREACH (s, &p->commands, link)
		if (s->id == id)
			return s;
	return NULL;
}

void serve_forget(struct served *s)
{
	s->dropped = true;
	if (!s->sending && !s->more)
		served_put(s);
}

/* The link has taken the data of a reply. */
static void reply_sent(void *arg)
{
	struct served *s = arg;
	s->sending = false;
	if (s->more)
		task_wake(s->more);
	else if (s->dropped || !s->kept)
		served_put(s);
}

/* ---- data-out ---- */

/* Where it came with the command. */
static void copy_data(const struct scsi_cmd *c, const uint8_t *from)
{
	from += c->part_at;
	for (int i = 0; i < c->out_iovcnt; i++) {
		copy_past_cache(c->out_iov[i].iov_base, from, c->out_iov[i].iov_len);
		from += c->out_iov[i].iov_len;
	}
}

/* Asked for piece by piece, straight into its place. */
static int pull_data(struct served *s)
{
	struct scsi_cmd *c = &s->cmd;
	uint32_t total = (uint32_t)iov_bytes(c->out_iov, c->out_iovcnt);
	int err = 0;
	for (uint32_t off = 0; !err && off < total;) {
		uint8_t b[FWD_PIECE_LEN];
		struct iovec iov[LINK_IOV_MAX];
		uint32_t len = MIN(total - off, FWD_PIECE_MAX);
		int n = iov_part(c->out_iov, c->out_iovcnt, off, len, iov, LINK_IOV_MAX);
		if (n < 0)
			return -ERR_PROTO;
		fwd_piece_put(b, &(struct fwd_piece){.nexus = s->proxy->id,
						     .id = s->id,
						     .off = c->part_at + off,
						     .len = len});
		struct link_answer ans = {.iov = iov, .iovcnt = n};
		err = link_call(s->forward->link, LINK_DATA, LINK_SVC_SCSI, FWD_PULL, b, sizeof(b),
				NULL, 0, &ans, 0);
		if (!err && ans.data_len != len)
			err = -ERR_PROTO;
		if (!err && atomic_load(&c->aborted))
			err = -ECANCELED;
		off += len;
	}
	return err;
}

struct source {
	struct served *s;
	const uint8_t *data; /* NULL: it is asked for */
	uint32_t have;
};

static int fill(struct scsi_cmd *c)
{
	const struct source *x = c->transport;
	if (c->part_at + iov_bytes(c->out_iov, c->out_iovcnt) > x->have)
		return -ERR_PROTO;
	if (!x->data)
		return pull_data(x->s);
	copy_data(c, x->data);
	return 0;
}

/* ---- answers ---- */

/* Data-in [off, off + len), which is in the part that is there, with the head. */
static void send_part(struct served *s, struct link_msg *m, uint32_t off, uint32_t len)
{
	const struct scsi_cmd *c = &s->cmd;
	const struct iovec *iov = c->in_iov;
	int n = len ? c->in_iovcnt : 0;
	if (len && len < iov_bytes(iov, n)) {
		iov = s->iov;
		n = iov_part(c->in_iov, c->in_iovcnt, off - c->part_at, len, s->iov,
			     CACHE_IO_PAGES);
	}
	s->sending = true;
	if (n < 0) /* cannot be: data-in is pages of one read, or one piece */
		link_reply(m, -ERR_PROTO, NULL, 0, NULL, 0, reply_sent, s);
	else
		link_reply(m, 0, s->head, sizeof(s->head), iov, n, reply_sent, s);
}

static void count(struct served *s)
{
	struct scsi_cmd *c = &s->cmd;
	if (!c->lu)
		return;
	struct lu_forward *x = &c->lu->forward;
	atomic_fetch_add_explicit(&x->served, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&x->served_read, c->in_len, memory_order_relaxed);
	atomic_fetch_add_explicit(&x->served_written, c->in_len ? 0 : c->out_expected,
				  memory_order_relaxed);
}

/* Where the part of data-in that is there ends. */
static uint32_t part_end(const struct scsi_cmd *c)
{
	return c->part_at + (uint32_t)iov_bytes(c->in_iov, c->in_iovcnt);
}

/* The head of a reply that brings data-in up to `given`. */
static void put_head(struct served *s, uint32_t given)
{
	struct scsi_cmd *c = &s->cmd;
	struct forward *f = s->forward;
	struct fwd_done d = {.status = c->status,
			     .more = given < c->in_len,
			     .in_len = c->in_len,
			     .out_len = c->out_len};
	if (c->status == SCSI_CHECK_CONDITION) {
		d.sense_len = c->sense_len;
		memcpy(d.sense, c->sense, c->sense_len);
	}
	pthread_mutex_lock(&f->tell_lock);
	d.told = forward_told(f);
	pthread_mutex_unlock(&f->tell_lock);
	fwd_done_put(s->head, &d);
	s->kept = d.more && !s->proxy->gone;
}

static void answer(struct served *s, struct link_msg *m, uint32_t room)
{
	const struct scsi_cmd *c = &s->cmd;
	uint32_t given = MIN(MIN(c->in_len, room), part_end(c));
	put_head(s, given);
	count(s);
	send_part(s, m, 0, given);
}

/* ---- handlers ---- */

void serve_command(struct forward *f, struct link_msg *m)
{
	struct fwd_cmd x;
	uint32_t head_len, data_len;
	const void *head = link_msg_head(m, &head_len);
	const void *data = link_msg_data(m, &data_len);
	int err = fwd_cmd_get(head, head_len, data_len, &x);
	struct served *s = err ? NULL : served_get(f, m, x.nexus, x.id);
	if (!s) {
		if (!err)
			err = proxy_find(f, x.nexus) ? -ENOMEM : -ENOENT;
		link_reply(m, err, NULL, 0, NULL, 0, NULL, NULL);
		return;
	}
	struct scsi_cmd *c = &s->cmd;
	struct source from = {.s = s, .data = x.pulled ? NULL : data, .have = x.out_bytes};
	c->nexus = s->proxy->nexus;
	memcpy(c->lun, x.lun, 8);
	memcpy(c->cdb, x.cdb, x.cdb_len);
	c->cdb_len = x.cdb_len;
	c->attr = x.attr;
	c->out_expected = x.out_expected;
	c->transport = &from;
	c->trace.received_ns = 0; /* its front counts it */
	err = cmd_carry_out(c, scsi_start(c), fill);
	if (!err && c->fwd.not_owner)
		err = -ERR_NOT_OWNER;
	if (err) {
		link_reply(m, err, NULL, 0, NULL, 0, NULL, NULL);
		served_put(s);
		return;
	}
	if (!c->in_more)
		cmd_leave(c);
	answer(s, m, x.room);
}

/* Brings the part of data-in that has this offset. 0; -ERR_PROTO: it is over, or never was. The
 * command may fail: then it is done without data. */
static int bring_part(struct scsi_cmd *c, uint32_t off)
{
	while (c->in_more && off >= part_end(c)) {
		enum scsi_next next = scsi_finish(c);
		if (next == SCSI_WAIT)
			next = scsi_finish_wait(c);
		ASSERT(next == SCSI_DONE);
	}
	if (c->status != SCSI_GOOD)
		return 0;
	return off >= c->part_at && off < part_end(c) ? 0 : -ERR_PROTO;
}

/* Until what went before has come, which may not be known here yet. */
static void wait_sent(struct served *s)
{
	s->more = task_self();
	while (s->sending)
		task_park();
}

static void send_more(struct served *s, struct link_msg *m, const struct fwd_piece *x)
{
	struct scsi_cmd *c = &s->cmd;
	int err = s->dropped ? -ENOENT : bring_part(c, x->off);
	bool good = c->status == SCSI_GOOD;
	s->more = NULL;
	if (!err && good && x->len > part_end(c) - x->off)
		err = -ERR_PROTO;
	if (err || s->dropped) {
		link_reply(m, err ? err : -ENOENT, NULL, 0, NULL, 0, NULL, NULL);
		serve_forget(s);
		return;
	}
	put_head(s, good ? x->off + x->len : 0);
	send_part(s, m, x->off, good ? x->len : 0);
}

void serve_more(struct forward *f, struct link_msg *m)
{
	struct fwd_piece x;
	uint32_t len;
	const void *head = link_msg_head(m, &len);
	int err = fwd_piece_get(head, len, &x);
	struct served *s = err ? NULL : served_find(f, x.nexus, x.id);
	if (!err && (!s || !s->kept || s->dropped || s->more))
		err = -ENOENT;
	if (err) {
		link_reply(m, err, NULL, 0, NULL, 0, NULL, NULL);
		return;
	}
	wait_sent(s);
	send_more(s, m, &x);
}

void serve_drop(struct forward *f, const struct fwd_item *x)
{
	struct served *s = served_find(f, x->nexus, x->id);
	if (s && s->kept && !s->dropped)
		serve_forget(s);
}

void serve_abort(struct forward *f, const struct fwd_item *x)
{
	struct served *s = served_find(f, x->nexus, x->id);
	if (s && !s->kept)
		scsi_abort(&s->cmd);
}
