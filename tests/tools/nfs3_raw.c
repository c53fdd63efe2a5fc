/* Calls made by hand, and the small things of nfs3_client.h. */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include "tests/tools/nfs3_client.h"

/* ---- arguments ---- */

static void put(struct nc_args *a, const void *p, size_t n)
{
	if (a->n + n + 3 > sizeof(a->b))
		return;
	memcpy(a->b + a->n, p, n);
	a->n += n;
	while (a->n % 4)
		a->b[a->n++] = 0;
}

void nc_put32(struct nc_args *a, uint32_t v)
{
	v = htonl(v);
	put(a, &v, 4);
}

void nc_put64(struct nc_args *a, uint64_t v)
{
	nc_put32(a, (uint32_t)(v >> 32));
	nc_put32(a, (uint32_t)v);
}

void nc_put_opaque(struct nc_args *a, const void *p, size_t n)
{
	nc_put32(a, (uint32_t)n);
	put(a, p, n);
}

void nc_put_fh(struct nc_args *a, const struct nc_fh *f)
{
	nc_put_opaque(a, f->data, f->len);
}

/* ---- the call ---- */

static bool move(int fd, void *p, size_t n, bool out)
{
	char *b = p;
	while (n) {
		struct pollfd w = {.fd = fd, .events = out ? POLLOUT : POLLIN};
		if (poll(&w, 1, NC_TIMEOUT) <= 0)
			return false;
		ssize_t k = out ? send(fd, b, n, MSG_NOSIGNAL) : recv(fd, b, n, 0);
		if (k < 0 && errno == EAGAIN)
			continue;
		if (k <= 0)
			return false;
		b += k;
		n -= (size_t)k;
	}
	return true;
}

bool nc_raw_send(struct nc *c, uint32_t xid, uint32_t prog, uint32_t proc, const void *args,
		 size_t len)
{
	struct nc_args call = {0};
	/* mark, xid, CALL, RPC 2, program, version 3, procedure; AUTH_SYS of root; no verifier */
	const uint32_t head[] = {0, xid, 0, 2, prog, 3, proc};
	for (unsigned i = 0; i < sizeof(head) / 4; i++)
		nc_put32(&call, head[i]);
	nc_put32(&call, c->raw_none ? 0 : 1);
	nc_put32(&call, c->raw_none ? 0 : 20);
	for (int i = 0; i < (c->raw_none ? 0 : 5) + 2; i++)
		nc_put32(&call, 0);
	put(&call, args, len);
	uint32_t mark = htonl(0x80000000u | (uint32_t)(call.n - 4));
	memcpy(call.b, &mark, 4);
	c->dead = c->dead || !move(rpc_get_fd(c->rpc), call.b, call.n, true);
	return !c->dead;
}

const struct nc_res *nc_raw_receive(struct nc *c, uint32_t xid, size_t *ret_bytes)
{
	int fd = rpc_get_fd(c->rpc);
	uint32_t mark, words[6];
	memset(&c->res, 0, sizeof(c->res));
	c->res.status = -1;
	c->res.rpc = NC_LOST;
	if (c->dead || !move(fd, &mark, 4, false)) {
		c->dead = true;
		return &c->res;
	}
	size_t n = ntohl(mark) & 0x7fffffff;
	if (ret_bytes)
		*ret_bytes = n;
	if (n < 24 || n > NC_DATA || !move(fd, words, 24, false) ||
	    !move(fd, c->data, n - 24, false)) {
		c->dead = true;
		return &c->res;
	}
	uint32_t *w = (uint32_t *)c->data;
	for (size_t i = 0; i < (n - 24) / 4; i++)
		w[i] = ntohl(w[i]);
	c->res.count = (uint32_t)((n - 24) / 4);
	bool ok = ntohl(words[0]) == xid && ntohl(words[2]) == 0 && ntohl(words[5]) == 0;
	c->res.rpc = ok ? NC_OK : NC_REFUSED;
	if (ok && n > 24)
		c->res.status = (int)w[0];
	return &c->res;
}

const struct nc_res *nc_raw(struct nc *c, uint32_t xid, uint32_t prog, uint32_t proc,
			    const void *args, size_t len, size_t *ret_bytes)
{
	nc_raw_send(c, xid, prog, proc, args, len);
	return nc_raw_receive(c, xid, ret_bytes);
}

/* ---- whole directories ---- */

void nc_entries_clear(struct nc *c)
{
	free(c->entries);
	c->entries = NULL;
	c->nentries = 0;
}

bool nc_readdir_all(struct nc *c, const struct nc_fh *dir, uint32_t count, bool plus)
{
	uint64_t cookie = 0, verf = 0;
	nc_entries_clear(c);
	do {
		const struct nc_res *r = plus ? nc_readdirplus(c, dir, cookie, verf, count, count)
					      : nc_readdir(c, dir, cookie, verf, count);
		if (r->rpc || r->status || (!r->count && !r->eof))
			return false;
		verf = r->verf;
		if (c->nentries)
			cookie = c->entries[c->nentries - 1].cookie;
	} while (!c->res.eof);
	return true;
}

/* ---- sattr3, comparisons ---- */

sattr3 sa_none(void)
{
	sattr3 s;
	memset(&s, 0, sizeof(s));
	return s;
}

sattr3 sa_mode(uint32_t mode)
{
	sattr3 s = sa_none();
	s.mode.set_it = 1;
	s.mode.set_mode3_u.mode = mode;
	return s;
}

sattr3 sa_size(uint64_t size)
{
	sattr3 s = sa_none();
	s.size.set_it = 1;
	s.size.set_size3_u.size = size;
	return s;
}

sattr3 sa_uid(uint32_t uid)
{
	sattr3 s = sa_none();
	s.uid.set_it = 1;
	s.uid.set_uid3_u.uid = uid;
	return s;
}

sattr3 sa_gid(uint32_t gid)
{
	sattr3 s = sa_none();
	s.gid.set_it = 1;
	s.gid.set_gid3_u.gid = gid;
	return s;
}

sattr3 sa_times(time_how how, nfstime3 atime, nfstime3 mtime)
{
	sattr3 s = sa_none();
	s.atime.set_it = s.mtime.set_it = how;
	s.atime.set_atime_u.atime = atime;
	s.mtime.set_mtime_u.mtime = mtime;
	return s;
}

bool fh_same(const struct nc_fh *a, const struct nc_fh *b)
{
	return a->len == b->len && memcmp(a->data, b->data, a->len) == 0;
}

static bool time_same(const nfstime3 *a, const nfstime3 *b)
{
	return a->seconds == b->seconds && a->nseconds == b->nseconds;
}

bool attr_same(const fattr3 *a, const fattr3 *b)
{
	return a->type == b->type && a->mode == b->mode && a->nlink == b->nlink &&
	       a->uid == b->uid && a->gid == b->gid && a->size == b->size && a->used == b->used &&
	       a->rdev.specdata1 == b->rdev.specdata1 && a->rdev.specdata2 == b->rdev.specdata2 &&
	       a->fsid == b->fsid && a->fileid == b->fileid && time_same(&a->atime, &b->atime) &&
	       time_same(&a->mtime, &b->mtime) && time_same(&a->ctime, &b->ctime);
}
