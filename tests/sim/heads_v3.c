/*
 * Clients of NFSv3 with NLM: they lock units of files that all share, sometimes waiting for them,
 * count these up and read them, and change names of their own.
 */
#include <stdio.h>
#include <string.h>
#include "nasfront/nfs/nfs_call.h"
#include "nasfront/nfs/nlm_impl.h"
#include "runtime/check.h"
#include "tests/sim/heads.h"

#define SHARED_FILES (FILES - 1) /* the last has share reservations, which are NFSv4's */
#define WAIT_NS	     (40 * NS_PER_MS)

enum {
	GETATTR3 = 1,
	LOOKUP3 = 3,
	READ3 = 6,
	WRITE3,
	CREATE3,
	MKDIR3,
	REMOVE3 = 12,
	RMDIR3,
	RENAME3
};
enum { NOW3 = 2 }; /* FILE_SYNC */

/* A call and its reply. */
struct msg {
	struct xdr_out out;
	struct xdr_in in;
	uint8_t call[1024], reply[4096];
};

static void begin(struct client *c, struct msg *m, uint32_t prog, uint32_t vers, uint32_t proc)
{
	m->out = xdr_out_of(m->call, sizeof(m->call));
	const uint32_t head[] = {++c->xid, 0, 2, prog, vers, proc, 1, 20, 0, 0, 0, 0, 0, 0, 0};
	for (unsigned i = 0; i < ARRAY_LEN(head); i++)
		xdr_put_u32(&m->out, head[i]);
}

static uint32_t take(struct msg *m)
{
	uint32_t v = UINT32_MAX;
	ASSERT(xdr_u32(&m->in, &v));
	return v;
}

/* The first number of the results: a status. */
static uint32_t end(struct client *c, struct msg *m)
{
	ASSERT(!m->out.full);
	size_t n =
	    sim_peer_call(c->peer, m->call, xdr_out_len(&m->out), m->reply, sizeof(m->reply));
	m->in = xdr_in_of(m->reply, n);
	ASSERT(take(m) == c->xid && take(m) == 1);
	uint32_t denied = take(m);
	take(m);
	take(m);
	if (denied || take(m)) {
		heads_fail(c->w, "%s: a call is refused by RPC", c->name);
		return NFS3ERR_SERVERFAULT;
	}
	return take(m);
}

static void put_fh(struct client *c, struct msg *m, const uint8_t *fh)
{
	xdr_put_opaque(&m->out, fh, c->fh3_len);
}

static void put_dirop(struct client *c, struct msg *m, const uint8_t *dir, const char *name)
{
	put_fh(c, m, dir);
	xdr_put_string(&m->out, name);
}

static void put_no_attributes(struct msg *m)
{
	for (unsigned i = 0; i < 6; i++)
		xdr_put_u32(&m->out, 0);
}

static void take_fh(struct client *c, struct msg *m, uint8_t fh[64])
{
	const uint8_t *p;
	uint32_t n;
	ASSERT(xdr_opaque(&m->in, 64, &p, &n));
	memcpy(fh, p, n);
	c->fh3_len = n;
}

static bool later(struct client *c, uint32_t st)
{
	if (st != NFS3ERR_JUKEBOX)
		return false;
	heads_sleep(c->w, AGAIN_NS);
	return !c->w->failed;
}

/* ---- calls ---- */

static uint32_t look_up(struct client *c, const uint8_t *dir, const char *name, uint8_t fh[64])
{
	struct msg m;
	uint32_t st;
	do {
		begin(c, &m, NFS_PROGRAM, 3, LOOKUP3);
		put_dirop(c, &m, dir, name);
		st = end(c, &m);
	} while (later(c, st));
	if (st == 0)
		take_fh(c, &m, fh);
	return st;
}

static uint32_t write_at(struct client *c, const uint8_t *fh, uint64_t off, const uint8_t *bytes,
			 uint32_t len)
{
	struct msg m;
	uint32_t st;
	do {
		begin(c, &m, NFS_PROGRAM, 3, WRITE3);
		put_fh(c, &m, fh);
		xdr_put_u64(&m.out, off);
		xdr_put_u32(&m.out, len);
		xdr_put_u32(&m.out, NOW3);
		xdr_put_opaque(&m.out, bytes, len);
		st = end(c, &m);
	} while (later(c, st));
	return st;
}

static uint32_t read_at(struct client *c, const uint8_t *fh, uint64_t off, uint8_t *bytes,
			uint32_t len)
{
	struct msg m;
	const uint8_t *p;
	uint32_t st, n, eof;
	do {
		begin(c, &m, NFS_PROGRAM, 3, READ3);
		put_fh(c, &m, fh);
		xdr_put_u64(&m.out, off);
		xdr_put_u32(&m.out, len);
		st = end(c, &m);
	} while (later(c, st));
	memset(bytes, 0, len);
	if (st)
		return st;
	if (take(&m)) /* attributes */
		ASSERT(xdr_fixed(&m.in, 84, &p));
	take(&m);
	eof = take(&m);
	ASSERT(eof <= 1 && xdr_opaque(&m.in, len, &p, &n));
	memcpy(bytes, p, n);
	return 0;
}

/* ---- names of its own ---- */

static uint32_t make(struct client *c, uint32_t proc, const uint8_t *dir, const char *name,
		     bool exclusive)
{
	struct msg m;
	begin(c, &m, NFS_PROGRAM, 3, proc);
	put_dirop(c, &m, dir, name);
	if (proc == CREATE3)
		xdr_put_u32(&m.out, exclusive ? 2 : 1);
	if (exclusive)
		xdr_put_u64(&m.out, ++c->w->stamp);
	else
		put_no_attributes(&m);
	return end(c, &m);
}

static uint32_t name_create(struct client *c, const char *name, bool exclusive)
{
	return make(c, CREATE3, c->own3, name, exclusive);
}

static uint32_t name_mkdir(struct client *c, const char *name)
{
	return make(c, MKDIR3, c->own3, name, false);
}

static uint32_t name_remove(struct client *c, const char *name, bool dir)
{
	struct msg m;
	begin(c, &m, NFS_PROGRAM, 3, dir ? RMDIR3 : REMOVE3);
	put_dirop(c, &m, c->own3, name);
	return end(c, &m);
}

static uint32_t name_rename(struct client *c, const char *from, const char *to)
{
	struct msg m;
	begin(c, &m, NFS_PROGRAM, 3, RENAME3);
	put_dirop(c, &m, c->own3, from);
	put_dirop(c, &m, c->own3, to);
	return end(c, &m);
}

static uint32_t name_write(struct client *c, const char *name, uint64_t stamp)
{
	uint8_t fh[64], bytes[8];
	be64_put(bytes, stamp);
	return look_up(c, c->own3, name, fh) ?: write_at(c, fh, 0, bytes, sizeof(bytes));
}

static uint32_t name_read(struct client *c, const char *name, uint64_t *ret)
{
	uint8_t fh[64], bytes[8] = {0};
	uint32_t st = look_up(c, c->own3, name, fh) ?: read_at(c, fh, 0, bytes, sizeof(bytes));
	*ret = be64_get(bytes);
	return st;
}

static const struct name_ops name_ops = {.create = name_create,
					 .mkdir = name_mkdir,
					 .remove = name_remove,
					 .rename = name_rename,
					 .write = name_write,
					 .read = name_read};

/* ---- locks ---- */

static uint32_t nlm(struct client *c, enum nlm_op op, unsigned f, unsigned first, unsigned count,
		    bool alone, bool block)
{
	struct msg m;
	const uint8_t *p;
	uint32_t n, st;
	begin(c, &m, 100021, 4, op);
	xdr_put_u32(&m.out, 4); /* the cookie */
	xdr_put_u32(&m.out, c->xid);
	if (op == NLM_LOCK || op == NLM_CANCEL)
		xdr_put_bool(&m.out, block);
	if (op != NLM_UNLOCK)
		xdr_put_bool(&m.out, alone);
	xdr_put_string(&m.out, c->name);
	put_fh(c, &m, c->fh3[f]);
	xdr_put_string(&m.out, c->name);
	xdr_put_u32(&m.out, 1 + f);
	xdr_put_u64(&m.out, first * UNIT_BYTES);
	xdr_put_u64(&m.out, count * UNIT_BYTES);
	if (op == NLM_LOCK) {
		xdr_put_bool(&m.out, false);
		xdr_put_u32(&m.out, 1);
	}
	st = end(c, &m); /* that was the cookie's length */
	ASSERT(st == 4 && xdr_fixed(&m.in, 4, &p) && be32_get(p) == c->xid);
	n = take(&m);
	heads_say(c->w, "%s: NLM %u of %u+%u of file %u%s%s: %u", c->name, op, first, count, f,
		  alone ? " alone" : "", block ? ", blocking" : "", n);
	return n;
}

static void unlock_units(struct client *c, unsigned f, unsigned first, unsigned count)
{
	uint32_t st;
	model_released(c, f, first, count);
	st = nlm(c, NLM_UNLOCK, f, first, count, true, false);
	if (st != NLM_GRANTED)
		heads_fail(c->w, "%s: UNLOCK: %u", c->name, st);
}

/* NLM_GRANTED: what it waits for; of all else it knows nothing, as clients in use do. */
static int called(void *arg, uint32_t prog, uint32_t vers, uint32_t proc, struct xdr_in *args,
		  struct xdr_out *ret)
{
	struct client *c = arg;
	const uint8_t *cookie, *p;
	uint32_t len, n, svid;
	uint64_t off, bytes;
	bool alone, waits;
	if (prog != 100021) /* that a server was restarted: nobody has to be told */
		return 0;
	ASSERT(proc == NLM_PROC_GRANTED && xdr_opaque(args, 1024, &cookie, &len) &&
	       xdr_bool(args, &alone) && xdr_opaque(args, 1024, &p, &n) &&
	       xdr_opaque(args, 64, &p, &n) && xdr_opaque(args, 1024, &p, &n) &&
	       xdr_u32(args, &svid) && xdr_u64(args, &off) && xdr_u64(args, &bytes));
	unsigned f = svid - 1, first = (unsigned)off / UNIT_BYTES,
		 count = (unsigned)bytes / UNIT_BYTES;
	heads_say(c->w, "%s is called for %u+%u of file %u", c->name, first, count, f);
	waits = c->wait.waits && c->wait.file == f && c->wait.first == first &&
		c->wait.count == count && c->wait.exclusive == alone;
	if (waits && !c->wait.granted) {
		model_granted(c, f, first, count, alone);
		c->wait.granted = true;
		waitq_wake_all(&c->wake);
	}
	xdr_put_opaque(ret, cookie, len);
	xdr_put_u32(ret, waits ? NLM_GRANTED : NLM_DENIED);
	return 0;
}

/* Until it is granted, or too long: then it does not want it any more. */
static void wait_for(struct client *c, unsigned f, unsigned first, unsigned count, bool alone)
{
	struct env *env = sim_env(c->w->sim);
	uint64_t limit = env_now_ns(env) + WAIT_NS;
	while (!c->wait.granted && env_now_ns(env) < limit)
		env_waitq_wait(env, &c->wake, limit - env_now_ns(env));
	c->wait.waits = false;
	if (c->wait.granted)
		return;
	uint32_t st = nlm(c, NLM_CANCEL, f, first, count, alone, true);
	if (st != NLM_GRANTED && st != NLM_DENIED)
		heads_fail(c->w, "%s: CANCEL: %u", c->name, st);
	unlock_units(c, f, first, count);
	/* A call for it may be under way still, and looks like one for the same range's next. */
	heads_sleep(c->w, NS_PER_MS);
}

static void lock_units(struct client *c, unsigned f)
{
	struct heads *w = c->w;
	unsigned first = (unsigned)heads_below(w, UNITS);
	unsigned count = 1 + (unsigned)heads_below(w, MIN(3u, UNITS - first));
	bool alone = heads_below(w, 3), block = heads_below(w, 2);
	for (unsigned u = first; u < first + count; u++)
		if (model_has(c, f, u, false))
			return;
	if (block) {
		c->wait.file = f;
		c->wait.first = first;
		c->wait.count = count;
		c->wait.exclusive = alone;
		c->wait.waits = true;
		c->wait.granted = false;
	}
	uint32_t st = nlm(c, NLM_LOCK, f, first, count, alone, block);
	if (st == NLM_GRANTED && !(block && c->wait.granted))
		model_granted(c, f, first, count, alone);
	else if (st == NLM_BLOCKED && block)
		wait_for(c, f, first, count, alone);
	else if (st != NLM_DENIED && st != NLM_DEADLCK && st != NLM_GRANTED)
		heads_fail(w, "%s: LOCK: %u", c->name, st);
	c->wait.waits = false;
}

static void count_up(struct client *c, unsigned f, unsigned u)
{
	uint8_t bytes[UNIT_BYTES];
	uint32_t st = read_at(c, c->fh3[f], u * UNIT_BYTES, bytes, UNIT_BYTES);
	if (st == 0)
		model_read(c, f, u, bytes);
	if (st == 0 && model_has(c, f, u, true)) {
		model_writing(c, f, u, bytes);
		st = write_at(c, c->fh3[f], u * UNIT_BYTES, bytes, UNIT_BYTES);
		if (st == 0)
			model_written(c, f, u);
	}
	if (st)
		heads_fail(c->w, "%s: READ or WRITE: %u", c->name, st);
}

static void shared_step(struct client *c)
{
	unsigned f = (unsigned)heads_below(c->w, SHARED_FILES);
	unsigned u = (unsigned)heads_below(c->w, UNITS), dice = (unsigned)heads_below(c->w, 8);
	if (model_has(c, f, u, false) && dice < 5)
		count_up(c, f, u);
	else if (model_has_any(c, f) && dice < 7)
		unlock_units(c, f, u, 1 + (unsigned)heads_below(c->w, UNITS - u));
	else
		lock_units(c, f);
}

/* ---- life ---- */

static void mount(struct client *c, uint8_t root[64])
{
	struct msg m;
	begin(c, &m, MOUNT_PROGRAM, 3, 1);
	xdr_put_string(&m.out, "/demo");
	uint32_t st = end(c, &m);
	if (st)
		heads_fail(c->w, "%s: MOUNT: %u", c->name, st);
	else
		take_fh(c, &m, root);
}

void heads_v3_prepare(struct client *c)
{
	static const uint8_t zeros[UNITS * UNIT_BYTES];
	uint8_t root[64], fh[64];
	char name[16];
	uint32_t st = 0;
	mount(c, root);
	for (unsigned f = 0; f < FILES && !st; f++) {
		snprintf(name, sizeof(name), "shared%u", f);
		st = make(c, CREATE3, root, name, false) ?: look_up(c, root, name, fh);
		st = st ?: write_at(c, fh, 0, zeros, sizeof(zeros));
	}
	for (unsigned i = 0; i < c->w->nclients && !st; i++) {
		snprintf(name, sizeof(name), "own%u", i);
		st = make(c, MKDIR3, root, name, false);
	}
	if (st)
		heads_fail(c->w, "%s: files cannot be made: %u", c->name, st);
}

static void start(struct client *c)
{
	uint8_t root[64];
	char name[16];
	uint32_t st = 0;
	waitq_init(&c->wake);
	mount(c, root);
	for (unsigned f = 0; f < FILES && !st; f++) {
		snprintf(name, sizeof(name), "shared%u", f);
		st = look_up(c, root, name, c->fh3[f]);
	}
	snprintf(name, sizeof(name), "own%u", c->number);
	st = st ?: look_up(c, root, name, c->own3);
	if (st)
		heads_fail(c->w, "%s: LOOKUP: %u", c->name, st);
}

sim_called_fn *const heads_v3_called = called;

void heads_v3_client(void *arg)
{
	struct client *c = arg;
	struct heads *w = c->w;
	start(c);
	while (!w->quiet && !w->failed) {
		if (heads_below(w, 3))
			shared_step(c);
		else
			heads_names_step(c, &name_ops);
		heads_pause(w);
	}
	for (unsigned f = 0; f < SHARED_FILES && !w->failed; f++)
		unlock_units(c, f, 0, UNITS);
	c->gave_up = true;
	if (!w->failed)
		heads_names_check(c, &name_ops);
	c->runs = false;
}
