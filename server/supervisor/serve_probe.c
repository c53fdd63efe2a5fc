/* Asking a head as a client does (serve_probe.h), on a thread: its sockets block. */
#include "server/supervisor/serve_probe.h"
#include "runtime/bytes.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/listen.h"
#include "runtime/offload.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

/* RFC 5531, RFC 1813 */
#define CALL_LEN    40 /* without arguments, credentials of AUTH_NONE */
#define REPLY_HEAD  24 /* xid, REPLY, MSG_ACCEPTED, verifier of no length, SUCCESS */
#define LAST	    0x80000000u
#define REPLY_MAX   (4 * 1024 * 1024u)
#define PROG_NFS    100003
#define PROG_MOUNT  100005
#define PROC_NULL   0
#define PROC_EXPORT 5
#define RPC_VERSION 2
#define MSG_REPLY   1

struct probe {
	const char *address;
	uint16_t nfs_port, mount_port;
	uint64_t timeout_ns;
	struct serve_exports *ret;
	int rc;
};

/* ---- one call ---- */

static int connected(const struct probe *p, uint16_t port)
{
	struct sockaddr_storage sa;
	socklen_t len;
	struct timeval tv = {.tv_sec = (time_t)(p->timeout_ns / NS_PER_S),
			     .tv_usec = (suseconds_t)(p->timeout_ns % NS_PER_S / 1000)};
	/* One that is bound to every address is reached at the host's own. */
	const char *at = strcmp(p->address, "0.0.0.0") == 0 ? "127.0.0.1"
			 : strcmp(p->address, "::") == 0    ? "::1"
							    : p->address;
	int rc = listen_address(at, port, &sa, &len);
	if (rc)
		return rc;
	int fd = socket(sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)) ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv)) ||
	    connect(fd, (struct sockaddr *)&sa, len)) {
		rc = errno == EINPROGRESS || errno == EAGAIN ? -ETIMEDOUT : -errno;
		close(fd);
		return rc;
	}
	return fd;
}

static int receive(int fd, void *to, size_t n)
{
	ssize_t got = recv(fd, to, n, MSG_WAITALL);
	if (got < 0)
		return errno == EAGAIN ? -ETIMEDOUT : -errno;
	return (size_t)got == n ? 0 : -ERR_DISCONNECTED;
}

/* A reply of several fragments, put together. */
static int receive_record(int fd, uint8_t **ret, size_t *ret_len)
{
	uint8_t *buf = NULL, head[4];
	size_t len = 0;
	for (uint32_t mark = 0; !(mark & LAST);) {
		int rc = receive(fd, head, sizeof(head));
		mark = be32_get(head);
		size_t n = mark & ~LAST;
		if (rc == 0 && (n > REPLY_MAX - len || (n == 0 && !(mark & LAST))))
			rc = -ERR_PROTO;
		uint8_t *more = rc ? NULL : realloc(buf, len + n + 1);
		if (rc == 0 && !more)
			rc = -ENOMEM;
		if (more)
			buf = more;
		if (rc == 0)
			rc = receive(fd, buf + len, n);
		if (rc) {
			free(buf);
			return rc;
		}
		len += n;
	}
	*ret = buf;
	*ret_len = len;
	return 0;
}

static int call(const struct probe *p, uint16_t port, uint32_t prog, uint32_t proc, uint8_t **ret,
		size_t *ret_len)
{
	uint8_t msg[4 + CALL_LEN] = {0};
	uint32_t xid = 0x49735468u + proc;
	const uint32_t words[] = {LAST | CALL_LEN, xid, 0, RPC_VERSION, prog, 3, proc};
	for (unsigned i = 0; i < ARRAY_LEN(words); i++)
		be32_put(msg + 4 * i, words[i]);
	int fd = connected(p, port);
	if (fd < 0)
		return fd;
	int rc = send(fd, msg, sizeof(msg), MSG_NOSIGNAL) == sizeof(msg) ? 0 : -ERR_DISCONNECTED;
	rc = rc ? rc : receive_record(fd, ret, ret_len);
	close(fd);
	if (rc)
		return rc;
	const uint8_t *r = *ret;
	if (*ret_len >= REPLY_HEAD && be32_get(r) == xid && be32_get(r + 4) == MSG_REPLY &&
	    be32_get(r + 8) == 0 && be32_get(r + 16) == 0 && be32_get(r + 20) == 0)
		return 0;
	free(*ret);
	return -ERR_PROTO;
}

/* ---- the list of exports ---- */

struct xdr {
	const uint8_t *at;
	size_t left;
};

static bool take_u32(struct xdr *x, uint32_t *ret)
{
	if (x->left < 4)
		return false;
	*ret = be32_get(x->at);
	x->at += 4;
	x->left -= 4;
	return true;
}

static bool take_text(struct xdr *x, const char **ret, uint32_t *ret_len)
{
	if (!take_u32(x, ret_len) || *ret_len > SERVE_PATH)
		return false;
	size_t whole = (*ret_len + 3u) & ~3u;
	if (whole > x->left)
		return false;
	*ret = (const char *)x->at;
	x->at += whole;
	x->left -= whole;
	return true;
}

/* exportnode and groupnode (RFC 1813 5.2.5) */
static int take_exports(struct xdr *x, struct serve_exports *ret)
{
	uint32_t more, len;
	const char *text;
	for (;;) {
		if (!take_u32(x, &more))
			return -ERR_PROTO;
		if (!more)
			return 0;
		if (!take_text(x, &text, &len))
			return -ERR_PROTO;
		if (ret->n < SERVE_EXPORTS) {
			ret->path[ret->n] = strndup(text, len);
			if (!ret->path[ret->n])
				return -ENOMEM;
			ret->n++;
		}
		do {
			if (!take_u32(x, &more) || (more && !take_text(x, &text, &len)))
				return -ERR_PROTO;
		} while (more);
	}
}

static void work(void *arg)
{
	struct probe *p = arg;
	uint8_t *reply;
	size_t len;
	p->rc = call(p, p->nfs_port, PROG_NFS, PROC_NULL, &reply, &len);
	if (p->rc)
		return;
	free(reply);
	p->rc = call(p, p->mount_port, PROG_MOUNT, PROC_EXPORT, &reply, &len);
	if (p->rc)
		return;
	struct xdr x = {reply + REPLY_HEAD, len - REPLY_HEAD};
	p->rc = take_exports(&x, p->ret);
	free(reply);
}

int serve_probe(const char *address, uint16_t nfs_port, uint16_t mount_port, uint64_t timeout_ns,
		struct serve_exports *ret)
{
	struct probe p = {.address = address,
			  .nfs_port = nfs_port,
			  .mount_port = mount_port,
			  .timeout_ns = timeout_ns,
			  .ret = ret};
	memset(ret, 0, sizeof(*ret));
	offload(work, &p);
	if (p.rc)
		serve_exports_free(ret);
	return p.rc;
}

void serve_exports_free(struct serve_exports *e)
{
	while (e->n)
		free(e->path[--e->n]);
}

const char *serve_exports_lost(const struct serve_exports *before, const struct serve_exports *now)
{
	for (unsigned i = 0; i < before->n; i++) {
		unsigned k;
		for (k = 0; k < now->n && strcmp(now->path[k], before->path[i]) != 0; k++)
			;
		if (k == now->n)
			return before->path[i];
	}
	return NULL;
}
