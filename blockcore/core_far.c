/*
 * Volumes for the partner (far.h): LINK_SVC_VOLUME, calls on the data path. The head of each is a
 * struct far_head; a read is answered with data, FAR_CHECKSUM with a head of four bytes.
 * FAR_OVER names no volume.
 *
 * A write may wait for long, and its session end meanwhile: then it looks at that before it changes
 * anything. The writes of earlier sessions that have not come to that yet are counted, so that the
 * partner can be told. All of this is the link's reactor's.
 */
#include "blockcore/control/owner.h"
#include "blockcore/core_impl.h"
#include "blockcore/far.h"
#include "blockcore/link/link.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum far_message { FAR_READ = 1, FAR_WRITE, FAR_FLUSH, FAR_CHECKSUM = 5, FAR_OVER };

/* Little endian. */
struct far_head {
	uint32_t version, volume;
	uint64_t off;
	uint32_t len, reserved;
};
_Static_assert(sizeof(struct far_head) == 24, "head of messages on volumes");

/* ---- the caller's side ---- */

static int far_call(struct link *l, enum far_message type, const struct far_head *want,
		    const void *out, struct link_answer *ans)
{
	struct far_head h = *want;
	struct iovec iov = {.iov_base = (void *)out, .iov_len = out ? h.len : 0};
	h.version = FAR_VERSION;
	if (!l)
		return -ERR_DISCONNECTED;
	return link_call(l, LINK_DATA, LINK_SVC_VOLUME, (uint16_t)type, &h, sizeof(h), &iov,
			 out ? 1 : 0, ans, 0);
}

int far_read(struct link *l, uint32_t volume, uint64_t off, void *buf, uint32_t len)
{
	struct iovec iov = {.iov_base = buf, .iov_len = len};
	struct link_answer ans = {.iov = &iov, .iovcnt = 1};
	int rc = far_call(l, FAR_READ, &(struct far_head){.volume = volume, .off = off, .len = len},
			  NULL, &ans);
	return rc ? rc : ans.data_len == len ? 0 : -ERR_PROTO;
}

int far_write(struct link *l, uint32_t volume, uint64_t off, const void *buf, uint32_t len)
{
	struct link_answer none = {0};
	return far_call(l, FAR_WRITE, &(struct far_head){.volume = volume, .off = off, .len = len},
			buf, &none);
}

int far_flush(struct link *l, uint32_t volume)
{
	struct link_answer none = {0};
	return far_call(l, FAR_FLUSH, &(struct far_head){.volume = volume}, NULL, &none);
}

static int far_number(struct link *l, enum far_message type, uint32_t volume, uint32_t *ret)
{
	struct link_answer ans = {.head = ret, .head_max = sizeof(*ret)};
	int rc = far_call(l, type, &(struct far_head){.volume = volume}, NULL, &ans);
	return rc ? rc : ans.head_len == sizeof(*ret) ? 0 : -ERR_PROTO;
}

int far_checksum(struct link *l, uint32_t volume, uint32_t *ret)
{
	return far_number(l, FAR_CHECKSUM, volume, ret);
}

int far_over(struct link *l)
{
	struct link_answer none = {0};
	int rc = far_call(l, FAR_OVER, &(struct far_head){0}, NULL, &none);
	return rc == -EOPNOTSUPP ? 0 : rc; /* it carries out no such calls at all */
}

/* ---- the partner's ---- */

struct served {
	struct core *c;
	struct link_msg *m;
	struct far_head h;
	const void *data;
	int rc;
	uint32_t number; /* answer */
	bool has_number;
	void *read;
};

/* Too large for a task's stack. */
struct far_io {
	struct cache_read r;
	struct cache_write w;
};

static int serve_read(struct served *s, struct volume *v)
{
	struct far_io *io = malloc(sizeof(*io));
	char *to = malloc(s->h.len);
	int rc = io && to ? volume_read(v, s->h.off, s->h.len, &io->r) : -ENOMEM;
	if (rc == 0) {
		size_t at = 0;
		for (int i = 0; i < io->r.n; at += io->r.iov[i].iov_len, i++)
			memcpy(to + at, io->r.iov[i].iov_base, io->r.iov[i].iov_len);
		volume_read_done(v, &io->r);
		s->read = to;
		to = NULL;
	}
	free(to);
	free(io);
	return rc;
}

/* It may have waited for pages: a caller that is gone by then wants it no more. */
static int serve_write(struct served *s, struct volume *v)
{
	struct far_io *io = malloc(sizeof(*io));
	int rc = io ? volume_write_begin(v, s->h.off, s->h.len, &io->w) : -ENOMEM;
	if (rc == 0 && !link_msg_wanted(s->m)) {
		volume_write_abort(v, &io->w);
		rc = -ERR_DISCONNECTED;
	} else if (rc == 0) {
		size_t at = 0;
		for (int i = 0; i < io->w.n; at += io->w.iov[i].iov_len, i++)
			memcpy(io->w.iov[i].iov_base, (const char *)s->data + at,
			       io->w.iov[i].iov_len);
		rc = volume_write_commit(v, &io->w, false);
	}
	free(io);
	return rc;
}

static int serve_volume(struct served *s, struct volume *v)
{
	if (core_volume_place(v) != CORE_HERE)
		return -ERR_NOT_OWNER;
	switch ((enum far_message)link_msg_type(s->m)) {
	case FAR_READ:
		return serve_read(s, v);
	case FAR_WRITE:
		return serve_write(s, v);
	case FAR_FLUSH:
		return volume_flush(v, 0, volume_size(v));
	case FAR_CHECKSUM:
		s->has_number = true;
		return volume_checksum(v, &s->number);
	case FAR_OVER:
		break;
	}
	return -ERR_PROTO;
}

static void serve_on_owner(void *arg)
{
	struct served *s = arg;
	struct volume *v = core_volume_get(s->c, s->h.volume);
	s->rc = v ? serve_volume(s, v) : -ENOENT;
	core_volume_put(v);
}

/* 0; -ERR_PROTO, -ERR_VERSION. */
static int take_head(struct served *s)
{
	uint32_t len, data_len;
	const void *head = link_msg_head(s->m, &len);
	enum far_message type = link_msg_type(s->m);
	s->data = link_msg_data(s->m, &data_len);
	if (len != sizeof(s->h))
		return -ERR_PROTO;
	memcpy(&s->h, head, sizeof(s->h));
	if (s->h.version != FAR_VERSION)
		return -ERR_VERSION;
	bool io = type == FAR_READ || type == FAR_WRITE;
	if (s->h.reserved || s->h.len > FAR_MAX || io != (s->h.len > 0) || s->h.off % 512 ||
	    s->h.len % 512 || data_len != (type == FAR_WRITE ? s->h.len : 0))
		return -ERR_PROTO;
	return 0;
}

/* A message of this session has come: what is at work of another is left of it. */
static void session_begins(struct core *c, uint64_t session)
{
	if (c->far_session == session)
		return;
	c->far_session = session;
	c->far_left += c->far_writes;
	c->far_writes = 0;
}

static int serve_counted(struct served *s, uint64_t session)
{
	struct core *c = s->c;
	bool writes = link_msg_type(s->m) == FAR_WRITE;
	if (link_msg_type(s->m) == FAR_OVER)
		return c->far_left ? -EBUSY : 0;
	if (writes)
		c->far_writes++;
	int rc = owner_call(c->owner, serve_on_owner, s);
	if (writes && c->far_session == session)
		c->far_writes--;
	else if (writes)
		c->far_left--;
	return rc ? rc : s->rc;
}

static void serve(void *arg, struct link_msg *m)
{
	struct core *c = arg;
	struct served s = {.c = c, .m = m};
	if (!link_msg_is_call(m)) {
		link_done(m);
		return;
	}
	uint64_t session = c->link ? link_session(c->link) : 0;
	int rc = session && link_msg_wanted(m) ? take_head(&s) : -ERR_DISCONNECTED;
	if (rc == 0) {
		session_begins(c, session);
		rc = serve_counted(&s, session);
	}
	struct iovec iov = {.iov_base = s.read, .iov_len = s.h.len};
	link_reply(m, rc, &s.number, !rc && s.has_number ? sizeof(s.number) : 0, &iov,
		   !rc && s.read ? 1 : 0, NULL, NULL);
	free(s.read);
}

void core_far_serve(struct core *c, struct link *l)
{
	link_serve(l, LINK_SVC_VOLUME, c ? serve : NULL, c);
}
