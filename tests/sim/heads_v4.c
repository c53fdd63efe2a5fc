/*
 * Clients of NFSv4, minor versions 0 and 1: they open files that all share, lock units of them,
 * count these up and read them, and change names of their own. What an answer may not be, whatever
 * happens to heads, fails the world.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "nasfront/nfs4/nfs4_proto.h"
#include "runtime/check.h"
#include "tests/sim/heads.h"
#include "tests/unit/nfs4/v4_valid.h"
#include "tests/unit/nfs4/v4_wire.h"

#define LAST_LOOK     1		  /* the client that looks at last */
#define RESERVED_FILE (FILES - 1) /* with share reservations */

static void over_the_net(struct v4 *v, const void *call, size_t len)
{
	struct client *c = v->arg;
	v->reply_len = sim_peer_call(c->peer, call, len, v->reply, V4_BUF);
}

static bool is_40(const struct client *c)
{
	return c->version == V40;
}

static bool later(struct client *c, uint32_t st)
{
	if (st != NFS4ERR_DELAY)
		return false;
	heads_sleep(c->w, AGAIN_NS);
	return !c->w->failed;
}

static void wrong(struct client *c, const char *what, uint32_t st)
{
	heads_fail(c->w, "%s: %s: %s", c->name, what, v4_status_name(st));
}

/* ---- numbers of version 4.0 ---- */

/* RFC 7530 9.1.7: an answer that was looked at counts, but for these. */
static void counted(const struct client *c, uint32_t *seq, uint32_t st)
{
	switch (st) {
	case NFS4ERR_STALE_CLIENTID:
	case NFS4ERR_STALE_STATEID:
	case NFS4ERR_BAD_STATEID:
	case NFS4ERR_BAD_SEQID:
	case NFS4ERR_BADXDR:
	case NFS4ERR_RESOURCE:
	case NFS4ERR_NOFILEHANDLE:
		return;
	default:
		*seq += is_40(c);
	}
}

/* ---- compounds ---- */

static void lock_owner(const struct client *c, unsigned f, char ret[16])
{
	snprintf(ret, 16, "l%u.%u", c->number, f);
}

enum how { OPEN_IT, CREATE_GUARDED, CREATE_EXCLUSIVE };

/* Opens a name of a directory: its status, state and handle. */
static uint32_t open_name(struct client *c, const struct v4_fh *dir, const char *name,
			  unsigned access, unsigned deny, enum how how, struct v4_stateid *ret,
			  struct v4_fh *fh)
{
	struct v4 *v = &c->v4;
	char owner[16];
	const uint8_t *p;
	snprintf(owner, sizeof(owner), "o%u", c->number);
	v4_seq(v);
	v4_putfh(v, dir);
	v4_op(v, OP_OPEN);
	xdr_put_u32(&v->x, is_40(c) ? c->open_seq : 0);
	xdr_put_u32(&v->x, access);
	xdr_put_u32(&v->x, deny);
	xdr_put_u64(&v->x, v->client);
	xdr_put_string(&v->x, owner);
	xdr_put_u32(&v->x, how == OPEN_IT ? OPEN4_NOCREATE : OPEN4_CREATE);
	if (how == CREATE_GUARDED) {
		xdr_put_u32(&v->x, CREATE4_GUARDED);
		xdr_put_u64(&v->x, 0); /* no attributes */
	} else if (how == CREATE_EXCLUSIVE) {
		xdr_put_u32(&v->x, CREATE4_EXCLUSIVE);
		xdr_put_u64(&v->x, ++c->w->stamp);
	}
	xdr_put_u32(&v->x, CLAIM_NULL);
	xdr_put_string(&v->x, name);
	v4_op(v, OP_GETFH);
	uint32_t st = v4_send(v);
	counted(c, &c->open_seq, st);
	if (st)
		return st;
	ASSERT(v4_res(v, OP_PUTFH) == 0 && v4_res(v, OP_OPEN) == 0);
	v4_get_open(v, ret);
	ASSERT(v4_res(v, OP_GETFH) == 0);
	fh->len = v4_opaque(v, &p);
	memcpy(fh->b, p, fh->len);
	if (!(v->open_flags & OPEN4_RESULT_CONFIRM))
		return 0;
	v4_begin(v);
	v4_putfh(v, fh);
	v4_op(v, OP_OPEN_CONFIRM);
	v4_stateid(v, ret);
	xdr_put_u32(&v->x, c->open_seq);
	st = v4_send(v);
	counted(c, &c->open_seq, st);
	if (st) {
		wrong(c, "OPEN_CONFIRM", st);
		return st;
	}
	ASSERT(v4_res(v, OP_PUTFH) == 0 && v4_res(v, OP_OPEN_CONFIRM) == 0);
	v4_get_stateid(v, ret);
	return 0;
}

static void close_state(struct client *c, const struct v4_fh *fh, const struct v4_stateid *s)
{
	struct v4 *v = &c->v4;
	uint32_t st;
	do {
		v4_seq(v);
		v4_putfh(v, fh);
		v4_op(v, OP_CLOSE);
		xdr_put_u32(&v->x, is_40(c) ? c->open_seq : 0);
		v4_stateid(v, s);
		st = v4_send(v);
		counted(c, &c->open_seq, st);
	} while (later(c, st));
	if (st)
		wrong(c, "CLOSE", st);
}

static uint32_t lock(struct client *c, unsigned f, unsigned first, unsigned count, bool alone)
{
	struct v4 *v = &c->v4;
	bool fresh = !c->files[f].has_lock;
	char owner[16];
	lock_owner(c, f, owner);
	v4_seq(v);
	v4_putfh(v, &c->files[f].fh);
	v4_op(v, OP_LOCK);
	xdr_put_u32(&v->x, alone ? WRITE_LT : READ_LT);
	xdr_put_bool(&v->x, false);
	xdr_put_u64(&v->x, first * UNIT_BYTES);
	xdr_put_u64(&v->x, count * UNIT_BYTES);
	xdr_put_bool(&v->x, fresh);
	if (fresh)
		xdr_put_u32(&v->x, is_40(c) ? c->open_seq : 0);
	v4_stateid(v, fresh ? &c->files[f].open : &c->files[f].lock);
	xdr_put_u32(&v->x, is_40(c) ? c->files[f].lock_seq : 0);
	if (fresh) {
		xdr_put_u64(&v->x, v->client);
		xdr_put_string(&v->x, owner);
	}
	uint32_t st = v4_send(v);
	if (fresh)
		counted(c, &c->open_seq, st);
	if (!fresh || !st)
		counted(c, &c->files[f].lock_seq, st);
	if (st)
		return st;
	ASSERT(v4_res(v, OP_PUTFH) == 0 && v4_res(v, OP_LOCK) == 0);
	v4_get_stateid(v, &c->files[f].lock);
	c->files[f].has_lock = true;
	return 0;
}

static uint32_t unlock(struct client *c, unsigned f, unsigned first, unsigned count)
{
	struct v4 *v = &c->v4;
	v4_seq(v);
	v4_putfh(v, &c->files[f].fh);
	v4_op(v, OP_LOCKU);
	xdr_put_u32(&v->x, WRITE_LT);
	xdr_put_u32(&v->x, is_40(c) ? c->files[f].lock_seq : 0);
	v4_stateid(v, &c->files[f].lock);
	xdr_put_u64(&v->x, first * UNIT_BYTES);
	xdr_put_u64(&v->x, count * UNIT_BYTES);
	uint32_t st = v4_send(v);
	counted(c, &c->files[f].lock_seq, st);
	if (st)
		return st;
	ASSERT(v4_res(v, OP_PUTFH) == 0 && v4_res(v, OP_LOCKU) == 0);
	v4_get_stateid(v, &c->files[f].lock);
	return 0;
}

/* ---- shared files ---- */

static void open_shared(struct client *c, unsigned f)
{
	struct heads *w = c->w;
	unsigned access = f == RESERVED_FILE ? 1 + (unsigned)heads_below(w, 3) : 3;
	unsigned deny = f == RESERVED_FILE ? (unsigned)heads_below(w, 4) : 0;
	char name[16];
	snprintf(name, sizeof(name), "shared%u", f);
	uint32_t st;
	do
		st = open_name(c, &c->dir, name, access, deny, OPEN_IT, &c->files[f].open,
			       &c->files[f].fh);
	while (later(c, st));
	if (st == NFS4ERR_SHARE_DENIED && f == RESERVED_FILE)
		return;
	if (st) {
		wrong(c, "OPEN", st);
		return;
	}
	c->files[f].is_open = true;
	c->files[f].has_lock = false;
	c->files[f].access = access;
	model_opened(c, f, access, deny);
}

static void unlock_units(struct client *c, unsigned f, unsigned first, unsigned count)
{
	uint32_t st;
	model_released(c, f, first, count);
	do
		st = unlock(c, f, first, count);
	while (later(c, st));
	if (st)
		wrong(c, "LOCKU", st);
}

static void close_shared(struct client *c, unsigned f)
{
	if (c->files[f].has_lock)
		unlock_units(c, f, 0, UNITS);
	model_closing(c, f);
	c->files[f].is_open = c->files[f].has_lock = false;
	close_state(c, &c->files[f].fh, &c->files[f].open);
}

static void lock_units(struct client *c, unsigned f)
{
	struct heads *w = c->w;
	unsigned first = (unsigned)heads_below(w, UNITS);
	unsigned count = 1 + (unsigned)heads_below(w, MIN(3u, UNITS - first));
	bool alone = heads_below(w, 3);
	if (c->files[f].access != 3)
		return;
	if (!alone)
		model_sharing(c, f, first, count);
	uint32_t st;
	do
		st = lock(c, f, first, count, alone);
	while (later(c, st));
	if (st == 0)
		model_granted(c, f, first, count, alone);
	else if (st != NFS4ERR_DENIED)
		wrong(c, "LOCK", st);
}

static void count_up(struct client *c, unsigned f, unsigned u)
{
	uint8_t bytes[UNIT_BYTES];
	uint32_t st, len = 0;
	bool eof;
	do
		st = v4_read(&c->v4, &c->files[f].fh, &c->files[f].open, u * UNIT_BYTES, UNIT_BYTES,
			     bytes, &len, &eof);
	while (later(c, st));
	if (st || len != UNIT_BYTES) {
		wrong(c, "READ", st);
		return;
	}
	model_read(c, f, u, bytes);
	if (!model_has(c, f, u, true))
		return;
	model_writing(c, f, u, bytes);
	do
		st = v4_write(&c->v4, &c->files[f].fh, &c->files[f].open, u * UNIT_BYTES, bytes,
			      UNIT_BYTES, 2);
	while (later(c, st));
	if (st)
		wrong(c, "WRITE", st);
	else
		model_written(c, f, u);
}

static void shared_step(struct client *c)
{
	struct heads *w = c->w;
	unsigned f = (unsigned)heads_below(w, FILES), u = (unsigned)heads_below(w, UNITS);
	unsigned dice = (unsigned)heads_below(w, 8);
	if (!c->files[f].is_open)
		open_shared(c, f);
	else if (dice == 0)
		close_shared(c, f);
	else if (model_has(c, f, u, false) && dice < 6)
		count_up(c, f, u);
	else if (c->files[f].has_lock && model_has_any(c, f) && dice < 7)
		unlock_units(c, f, u, 1 + (unsigned)heads_below(w, UNITS - u));
	else
		lock_units(c, f);
}

/* ---- names of its own ---- */

static uint32_t name_create(struct client *c, const char *name, bool exclusive)
{
	struct v4_stateid s;
	struct v4_fh fh;
	uint32_t st = open_name(c, &c->own, name, 3, 0,
				exclusive ? CREATE_EXCLUSIVE : CREATE_GUARDED, &s, &fh);
	if (st == 0)
		close_state(c, &fh, &s);
	return st;
}

static uint32_t name_mkdir(struct client *c, const char *name)
{
	struct v4 *v = &c->v4;
	v4_seq(v);
	v4_putfh(v, &c->own);
	v4_op(v, OP_CREATE);
	xdr_put_u32(&v->x, 2); /* NF4DIR */
	xdr_put_string(&v->x, name);
	xdr_put_u64(&v->x, 0); /* no attributes */
	return v4_send(v);
}

static uint32_t name_remove(struct client *c, const char *name, bool dir)
{
	v4_seq(&c->v4);
	v4_putfh(&c->v4, &c->own);
	v4_name(&c->v4, OP_REMOVE, name);
	return v4_send(&c->v4);
}

static uint32_t name_rename(struct client *c, const char *from, const char *to)
{
	v4_seq(&c->v4);
	v4_putfh(&c->v4, &c->own);
	v4_op(&c->v4, OP_SAVEFH);
	v4_op(&c->v4, OP_RENAME);
	xdr_put_string(&c->v4.x, from);
	xdr_put_string(&c->v4.x, to);
	return v4_send(&c->v4);
}

static uint32_t open_own(struct client *c, const char *name, struct v4_stateid *s, struct v4_fh *fh)
{
	uint32_t st;
	do
		st = open_name(c, &c->own, name, 3, 0, OPEN_IT, s, fh);
	while (later(c, st));
	return st;
}

static uint32_t name_write(struct client *c, const char *name, uint64_t stamp)
{
	struct v4_stateid s;
	struct v4_fh fh;
	uint8_t bytes[8];
	be64_put(bytes, stamp);
	uint32_t st = open_own(c, name, &s, &fh);
	if (st)
		return st;
	do
		st = v4_write(&c->v4, &fh, &s, 0, bytes, sizeof(bytes), 2);
	while (later(c, st));
	close_state(c, &fh, &s);
	return st;
}

static uint32_t name_read(struct client *c, const char *name, uint64_t *ret)
{
	struct v4_stateid s;
	struct v4_fh fh;
	uint8_t bytes[8] = {0};
	uint32_t len;
	bool eof;
	uint32_t st = open_own(c, name, &s, &fh);
	if (st)
		return st;
	do
		st = v4_read(&c->v4, &fh, &s, 0, sizeof(bytes), bytes, &len, &eof);
	while (later(c, st));
	*ret = be64_get(bytes);
	close_state(c, &fh, &s);
	return st;
}

static const struct name_ops name_ops = {.create = name_create,
					 .mkdir = name_mkdir,
					 .remove = name_remove,
					 .rename = name_rename,
					 .write = name_write,
					 .read = name_read};

/* ---- life ---- */

static void begin(struct client *c)
{
	struct v4 *v = &c->v4;
	char path[32];
	*v = (struct v4){.exchange = over_the_net,
			 .arg = c,
			 .fd = -1,
			 .listen_fd = -1,
			 .minor = !is_40(c),
			 .xid = c->number * 1000000 + 1,
			 .cache = true};
	v->buf = malloc(V4_BUF);
	v->reply = malloc(V4_BUF);
	ASSERT(v->buf && v->reply);
	c->open_seq = 1;
	uint32_t st;
	do
		st = is_40(c) ? v4_set_client(v, c->name, 1) ?: v4_confirm_client(v)
			      : v4_exchange(v, c->name, 1, 0) ?: v4_session(v);
	while (st == NFS4ERR_STALE_CLIENTID ||
	       later(c, st)); /* nobody keeps who is not confirmed */
	if (st == 0 && !is_40(c))
		st = v4_reclaim_done(v);
	if (st)
		wrong(c, "client and session", st);
	snprintf(path, sizeof(path), "/demo/own%u", c->number);
	st = st ?: v4_lookup(v, "/demo", &c->dir);
	st = st ?: v4_lookup(v, path, &c->own);
	if (st)
		wrong(c, "LOOKUP", st);
}

static bool all_gave_up(const struct heads *w)
{
	for (unsigned i = 0; i < w->nclients; i++)
		if (!w->clients[i].gave_up)
			return false;
	return true;
}

/* Nothing is held any more by anybody: one can have all of it, and alone. */
static void look_last(struct client *c)
{
	struct v4_stateid s;
	char name[16];
	while (!all_gave_up(c->w) && !c->w->failed)
		heads_sleep(c->w, NS_PER_MS);
	for (unsigned f = 0; f < FILES && !c->w->failed; f++) {
		uint32_t st;
		snprintf(name, sizeof(name), "shared%u", f);
		do
			st = open_name(c, &c->dir, name, 3, 3, OPEN_IT, &s, &c->files[f].fh);
		while (later(c, st));
		c->files[f].open = s;
		c->files[f].has_lock = false;
		while (!st && later(c, st = lock(c, f, 0, UNITS, true)))
			;
		if (st)
			wrong(c, "what nobody has is not to be had", st);
		else
			close_shared(c, f);
	}
}

static void end(struct client *c)
{
	for (unsigned f = 0; f < FILES && !c->w->failed; f++)
		if (c->files[f].is_open)
			close_shared(c, f);
	c->gave_up = true;
	if (!c->w->failed)
		heads_names_check(c, &name_ops);
	if (c->number == LAST_LOOK)
		look_last(c);
	free(c->v4.buf);
	free(c->v4.reply);
	c->runs = false;
}

void heads_v4_client(void *arg)
{
	struct client *c = arg;
	struct heads *w = c->w;
	begin(c);
	while (!w->quiet && !w->failed) {
		if (heads_below(w, 3))
			shared_step(c);
		else
			heads_names_step(c, &name_ops);
		heads_pause(w);
	}
	end(c);
}
