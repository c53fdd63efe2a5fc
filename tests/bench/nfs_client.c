/*
 * The bench's NFS connection: URL, mount, and the calls that are waited for. Speed is nfs_load.c's.
 */
#include "tests/bench/nfs_client_impl.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define TRIES	 50 /* of a call that the server wants later */
#define LATER_US 20000

int nfs_fail(struct nfs_conn *c, const char *fmt, ...)
{
	va_list ap;
	if (!c->failed) {
		fprintf(stderr, "%s: ", c->name);
		va_start(ap, fmt);
		vfprintf(stderr, fmt, ap);
		va_end(ap);
		fputc('\n', stderr);
	}
	c->failed = true;
	return -1;
}

/* ---- URL ---- */

static int url_value(const char *text, const char *key, char ret[8])
{
	const char *p = strstr(text, key);
	size_t n = p ? strspn(p + strlen(key), "0123456789") : 0;
	if (!p)
		return 0;
	if (n == 0 || n > 5)
		return -1;
	memcpy(ret, p + strlen(key), n);
	ret[n] = '\0';
	return 0;
}

int nfs_url_parse(const char *text, struct nfs_url *u)
{
	*u = (struct nfs_url){.nfs_port = "2049"};
	if (sscanf(text, "nfs://%127[^/:]%255[^?]", u->host, u->path) != 2 || u->path[0] != '/' ||
	    url_value(text, "nfsport=", u->nfs_port)) {
		fprintf(stderr, "not nfs://HOST/PATH?nfsport=N&mountport=N: %s\n", text);
		return -1;
	}
	strcpy(u->mount_port, u->nfs_port);
	u->keeps_data = strstr(text, "check=no") == NULL;
	return url_value(text, "mountport=", u->mount_port);
}

/* ---- RPC ---- */

void nfs_call_begin(struct enc *e, uint32_t program, uint32_t proc)
{
	enc_u32(e, 0); /* record mark */
	enc_u32(e, 0); /* xid */
	enc_u32(e, 0); /* CALL */
	enc_u32(e, 2);
	enc_u32(e, program);
	enc_u32(e, 3);
	enc_u32(e, proc);
	enc_u32(e, 1); /* AUTH_SYS: root, no groups */
	enc_u32(e, 28);
	enc_u32(e, 0);
	enc_opaque(e, "bench", 5);
	enc_u32(e, 0);
	enc_u32(e, 0);
	enc_u32(e, 0);
	enc_u32(e, 0); /* verifier: AUTH_NONE */
	enc_u32(e, 0);
}

void nfs_call_end(struct enc *e, uint32_t data_that_follows)
{
	be32_put(e->p, LAST | (e->len - 4 + data_that_follows));
}

int nfs_reply_begin(struct nfs_conn *c, struct dec *d)
{
	uint32_t type = dec_u32(d), denied = dec_u32(d), len;
	dec_u32(d); /* the verifier's flavor */
	dec_opaque(d, 400, &len);
	uint32_t accept = dec_u32(d);
	if (d->bad || type != 1 || denied || accept)
		return nfs_fail(c, "RPC refused or not understood: type %u denied %u accept %u",
				type, denied, accept);
	return 0;
}

static int read_all(struct nfs_conn *c, void *to, size_t len)
{
	ssize_t n = len ? recv(c->fd, to, len, MSG_WAITALL) : 0;
	return n == (ssize_t)len ? 0
				 : nfs_fail(c, "cannot receive: %s",
					    n < 0 ? strerror(errno) : "connection closed");
}

static int read_record(struct nfs_conn *c, struct dec *ret)
{
	uint32_t mark = 0, len = 0;
	while (!(mark & LAST)) {
		uint8_t raw[4];
		if (read_all(c, raw, 4))
			return -1;
		mark = be32_get(raw);
		if ((mark & ~LAST) > RECV_BUF - len)
			return nfs_fail(c, "reply of more than %u bytes", RECV_BUF);
		if (read_all(c, c->rbuf + len, mark & ~LAST))
			return -1;
		len += mark & ~LAST;
	}
	*ret = (struct dec){.p = c->rbuf, .left = len};
	return 0;
}

static int call_once(struct nfs_conn *c, struct enc *e, struct dec *ret)
{
	uint32_t xid = ++c->sequence << 8;
	be32_put(e->p + 4, xid);
	if (send(c->fd, e->p, e->len, MSG_NOSIGNAL) != (ssize_t)e->len)
		return nfs_fail(c, "cannot send: %s", strerror(errno));
	if (read_record(c, ret))
		return -1;
	if (dec_u32(ret) != xid)
		return nfs_fail(c, "an answer to no call of ours");
	return nfs_reply_begin(c, ret);
}

/* Sends the call, again if the server wants it later, and waits for its results. */
static int call(struct nfs_conn *c, struct enc *e, struct dec *ret)
{
	nfs_call_end(e, 0);
	for (int tries = 0;; tries++) {
		if (call_once(c, e, ret))
			return -1;
		if (tries == TRIES || ret->left < 4 || be32_get(ret->p) != STATUS_LATER)
			return 0;
		usleep(LATER_US);
	}
}

/* The NFS status; with handle the results begin with post_op_fh3 (follows) or nfs_fh3. */
static int take_handle(struct nfs_conn *c, struct dec *d, bool optional, struct nfs_fh *ret)
{
	uint32_t status = dec_u32(d), len = 0;
	if (status && !d->bad)
		return (int)status;
	bool there = !optional || dec_u32(d) == 1;
	const uint8_t *p = there ? dec_opaque(d, sizeof(ret->data), &len) : NULL;
	if (!p || len == 0)
		return nfs_fail(c, "no handle in the answer");
	memcpy(ret->data, p, len);
	ret->len = len;
	return 0;
}

/* ---- calls ---- */

static void begin_named(struct enc *e, uint32_t proc, const struct nfs_fh *dir, const char *name)
{
	nfs_call_begin(e, NFS_PROGRAM, proc);
	enc_opaque(e, dir->data, dir->len);
	enc_opaque(e, name, (uint32_t)strlen(name));
}

/* sattr3 with a mode and nothing else. */
static void enc_mode(struct enc *e, uint32_t mode)
{
	enc_u32(e, 1);
	enc_u32(e, mode);
	for (int i = 0; i < 5; i++)
		enc_u32(e, 0); /* uid, gid, size, atime, mtime */
}

int nfs_lookup(struct nfs_conn *c, const struct nfs_fh *dir, const char *name, struct nfs_fh *ret)
{
	uint8_t buf[CALL_MAX * 2];
	struct enc e = {buf, 0};
	struct dec d;
	begin_named(&e, PROC_LOOKUP, dir, name);
	return call(c, &e, &d) ? -1 : take_handle(c, &d, false, ret);
}

int nfs_mkdir(struct nfs_conn *c, const struct nfs_fh *dir, const char *name, struct nfs_fh *ret)
{
	uint8_t buf[CALL_MAX * 2];
	struct enc e = {buf, 0};
	struct dec d;
	begin_named(&e, PROC_MKDIR, dir, name);
	enc_mode(&e, 0755);
	return call(c, &e, &d) ? -1 : take_handle(c, &d, true, ret);
}

int nfs_create(struct nfs_conn *c, const struct nfs_fh *dir, const char *name, struct nfs_fh *ret)
{
	uint8_t buf[CALL_MAX * 2];
	struct enc e = {buf, 0};
	struct dec d;
	begin_named(&e, PROC_CREATE, dir, name);
	enc_u32(&e, 0); /* UNCHECKED */
	enc_u32(&e, 1);
	enc_u32(&e, 0644);
	enc_u32(&e, 0);
	enc_u32(&e, 0);
	enc_u32(&e, 1); /* size 0 */
	enc_u64(&e, 0);
	enc_u32(&e, 0);
	enc_u32(&e, 0);
	return call(c, &e, &d) ? -1 : take_handle(c, &d, true, ret);
}

int nfs_commit(struct nfs_conn *c, const struct nfs_fh *file)
{
	uint8_t buf[CALL_MAX * 2];
	struct enc e = {buf, 0};
	struct dec d;
	nfs_call_begin(&e, NFS_PROGRAM, PROC_COMMIT);
	enc_opaque(&e, file->data, file->len);
	enc_u64(&e, 0);
	enc_u32(&e, 0);
	if (call(c, &e, &d))
		return -1;
	uint32_t status = dec_u32(&d);
	return d.bad ? nfs_fail(c, "COMMIT: no status") : (int)status;
}

static int mount_call(struct nfs_conn *c, const char *path, struct nfs_fh *ret)
{
	uint8_t buf[CALL_MAX * 2];
	struct enc e = {buf, 0};
	struct dec d;
	nfs_call_begin(&e, MOUNT_PROGRAM, 1); /* MNT */
	enc_opaque(&e, path, (uint32_t)strlen(path));
	if (call(c, &e, &d))
		return -1;
	int status = take_handle(c, &d, false, ret);
	return status > 0 ? nfs_fail(c, "mount refused: %d", status) : status;
}

/* ---- life ---- */

struct nfs_conn *nfs_adopt(int fd, const char *name)
{
	struct nfs_conn *c = calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	snprintf(c->name, sizeof(c->name), "%s", name);
	c->fd = -1;
	c->rbuf = malloc(RECV_BUF);
	c->record = malloc(RECORD_MAX);
	c->calls = malloc(SEND_CALLS * (CALL_MAX + STAMP));
	if (!c->rbuf || !c->record || !c->calls) {
		nfs_close(c);
		return NULL;
	}
	c->fd = fd;
	c->seed = (uint64_t)fd;
	return c;
}

void nfs_close(struct nfs_conn *c)
{
	if (!c)
		return;
	if (c->fd >= 0)
		close(c->fd);
	free(c->rbuf);
	free(c->record);
	free(c->calls);
	free(c);
}

static struct nfs_conn *open_port(const struct nfs_url *u, const char *port)
{
	char name[160];
	const char *why = "no memory";
	snprintf(name, sizeof(name), "nfs://%s:%s", u->host, port);
	int fd = wire_connect(u->host, port, &why);
	struct nfs_conn *c = fd >= 0 ? nfs_adopt(fd, name) : NULL;
	if (!c)
		fprintf(stderr, "%s: cannot connect: %s\n", name, why);
	if (!c && fd >= 0)
		close(fd);
	return c;
}

int nfs_open(struct nfs_conn **ret, const struct nfs_url *u)
{
	struct nfs_conn *c = open_port(u, u->nfs_port);
	if (!c)
		return -1;
	*ret = c;
	return 0;
}

int nfs_mount(const struct nfs_url *u, struct nfs_fh *ret_root)
{
	struct nfs_conn *c = open_port(u, u->mount_port);
	int rc = c ? mount_call(c, u->path, ret_root) : -1;
	nfs_close(c);
	return rc;
}
