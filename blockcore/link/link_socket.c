/*
 * The interconnect on sockets: unix sockets on one host, TCP between hosts (with TLS: link_tls.c).
 * This file and link_tls.c are the only ones of the interconnect that make system calls.
 *
 * The peer of a unix socket is known by the kernel: its user must be ours or root, and its process
 * is held by a pidfd, which is readable when it has ended.
 */
#include "blockcore/link/link_ops.h"
#include "blockcore/link/link_tls.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include "runtime/process.h"
#include "runtime/reactor.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG	     16
#define BUFFER_SIZE  (1024 * 1024)
#define ACCEPT_AGAIN (100 * NS_PER_MS)
#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77 /* Linux 6.5 */
#endif

struct link_pipe {
	int fd;
	bool unix_socket, connecting, wants_write;
	int error;	       /* the kernel told it with an event, and tells it once */
	struct deferred again; /* TLS holds bytes that the socket does not tell of */
	struct link_tls *tls;  /* NULL: none */
	struct watch *watch;
	link_pipe_fn *fn;
	void *arg;
};

struct link_listener {
	int fd;
	struct watch *watch;
	struct link_tls_ctx *tls;
	link_accept_fn *fn;
	void *arg;
	struct env_timer again; /* no descriptor was free */
	bool unix_socket;
	struct sockaddr_un path; /* to be removed at the end */
};

struct link_process {
	int fd;
	struct watch *watch;
	link_ended_fn *fn;
	void *arg;
};

/* ---- addresses ---- */

union address {
	struct sockaddr sa;
	struct sockaddr_un un;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
};

/* "ADDRESS:PORT", an IPv6 address in brackets. */
static int parse_tcp(const char *s, union address *a, socklen_t *len)
{
	char host[64];
	const char *colon = strrchr(s, ':');
	size_t n = colon ? (size_t)(colon - s) : 0;
	if (n == 0 || n >= sizeof(host))
		return -EINVAL;
	memcpy(host, s, n);
	host[n] = '\0';
	char *end;
	unsigned long port = strtoul(colon + 1, &end, 10);
	if (*end || end == colon + 1 || port < 1 || port > 65535)
		return -EINVAL;
	memset(a, 0, sizeof(*a));
	if (host[0] == '[' && host[n - 1] == ']') {
		host[n - 1] = '\0';
		a->in6.sin6_family = AF_INET6;
		a->in6.sin6_port = htons((uint16_t)port);
		*len = sizeof(a->in6);
		return inet_pton(AF_INET6, host + 1, &a->in6.sin6_addr) == 1 ? 0 : -EINVAL;
	}
	a->in.sin_family = AF_INET;
	a->in.sin_port = htons((uint16_t)port);
	*len = sizeof(a->in);
	return inet_pton(AF_INET, host, &a->in.sin_addr) == 1 ? 0 : -EINVAL;
}

static int parse(enum link_transport t, const char *s, union address *a, socklen_t *len)
{
	if (t == LINK_TCP)
		return parse_tcp(s, a, len);
	memset(a, 0, sizeof(*a));
	a->un.sun_family = AF_UNIX;
	*len = sizeof(a->un);
	if (strlen(s) >= sizeof(a->un.sun_path))
		return -ENAMETOOLONG;
	strcpy(a->un.sun_path, s);
	return 0;
}

static bool is_loopback(const union address *a)
{
	if (a->sa.sa_family == AF_INET6)
		return IN6_IS_ADDR_LOOPBACK(&a->in6.sin6_addr);
	return ntohl(a->in.sin_addr.s_addr) >> 24 == 127;
}

static void set_options(int fd, bool unix_socket)
{
	int one = 1, size = BUFFER_SIZE;
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	if (unix_socket)
		return;
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

/* ---- pipes ---- */

static void watch_wanted(struct link_pipe *p)
{
	bool tls_write = p->tls && link_tls_wants_write(p->tls);
	watch_set(p->watch, UV_READABLE | (p->wants_write || tls_write ? UV_WRITABLE : 0));
}

/* Errors are found by whoever receives next. */
static void on_socket(void *arg, int status, int events)
{
	struct link_pipe *p = arg;
	int told = 0;
	if (status < 0)
		p->error = status;
	if (status < 0 || (events & UV_READABLE))
		told |= LINK_EV_READABLE;
	if (status >= 0 && (events & UV_WRITABLE) && p->wants_write) {
		p->wants_write = p->connecting = false;
		told |= LINK_EV_WRITABLE;
	}
	if (p->tls && !p->connecting && !p->error) {
		bool was_ready = link_tls_ready(p->tls);
		link_tls_push(p->tls);
		/* A handshake that is through lets both sides go on. */
		if (!was_ready)
			told |= LINK_EV_READABLE | LINK_EV_WRITABLE;
	}
	watch_wanted(p);
	p->fn(p->arg, told);
}

static void read_again(void *arg)
{
	struct link_pipe *p = arg;
	p->fn(p->arg, LINK_EV_READABLE);
}

static int pipe_new(int fd, bool unix_socket, struct link_tls_ctx *tls, bool client,
		    struct link_pipe **ret)
{
	struct link_pipe *p = calloc(1, sizeof(*p));
	int rc = p ? 0 : -ENOMEM;
	if (!rc)
		rc = watch_new(&p->watch, reactor_current(), fd, on_socket, p);
	if (!rc && tls)
		rc = link_tls_new(&p->tls, tls, fd, client);
	if (rc) {
		if (p)
			watch_free(p->watch);
		free(p);
		close(fd);
		return rc;
	}
	p->fd = fd;
	p->unix_socket = unix_socket;
	p->again = (struct deferred){.fn = read_again, .arg = p};
	set_options(fd, unix_socket);
	*ret = p;
	return 0;
}

static void socket_watch(struct link_pipe *p, link_pipe_fn *fn, void *arg)
{
	p->fn = fn;
	p->arg = arg;
	watch_allow_try(p->watch);
	watch_wanted(p);
}

static ssize_t socket_recv(struct link_pipe *p, const struct iovec *iov, int iovcnt)
{
	if (p->error || p->connecting)
		return p->error ? p->error : -EAGAIN;
	if (p->tls) {
		ssize_t r = link_tls_recv(p->tls, iov, iovcnt);
		watch_wanted(p);
		if (link_tls_pending(p->tls))
			reactor_defer(reactor_current(), &p->again);
		return r;
	}
	struct msghdr mh = {.msg_iov = (struct iovec *)iov, .msg_iovlen = (size_t)iovcnt};
	ssize_t n;
	do
		n = recvmsg(p->fd, &mh, MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

static ssize_t socket_send(struct link_pipe *p, const struct iovec *iov, int iovcnt)
{
	struct msghdr mh = {.msg_iov = (struct iovec *)iov, .msg_iovlen = (size_t)iovcnt};
	ssize_t n;
	if (p->error) {
		return p->error;
	} else if (p->connecting) {
		n = -EAGAIN;
	} else if (p->tls) {
		n = link_tls_send(p->tls, iov, iovcnt);
	} else {
		do
			n = sendmsg(p->fd, &mh, MSG_DONTWAIT | MSG_NOSIGNAL);
		while (n < 0 && errno == EINTR);
		if (n < 0)
			n = -errno;
	}
	if (n == -EAGAIN)
		p->wants_write = true;
	if (n == -EAGAIN || p->tls)
		watch_wanted(p);
	return n;
}

static void socket_close(struct link_pipe *p)
{
	watch_free(p->watch);
	reactor_defer_cancel(reactor_current(), &p->again);
	link_tls_free(p->tls);
	close(p->fd);
	free(p);
}

/* ---- connecting ---- */

static int bind_source(int fd, const struct link_route *r)
{
	union address a;
	socklen_t len;
	int one = 1;
	int rc = parse_tcp(r->local, &a, &len);
	if (rc)
		return rc;
	/* The route is the interface that has this address; the port is any. */
	if (a.sa.sa_family == AF_INET6)
		a.in6.sin6_port = 0;
	else
		a.in.sin_port = 0;
	setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
	return bind(fd, &a.sa, len) ? -errno : 0;
}

static bool peer_is_trusted(int fd, char why[LINK_WHY_MAX])
{
	struct ucred cred;
	socklen_t len = sizeof(cred);
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len))
		return false;
	if (cred.uid == 0 || cred.uid == geteuid())
		return true;
	snprintf(why, LINK_WHY_MAX,
		 "a process of user %u is at the other end: both controllers must run as one user",
		 cred.uid);
	return false;
}

static int socket_connect(void *ops_arg, const struct link_route *r, const struct link_auth *auth,
			  const char *peer, struct link_pipe **ret, char why[LINK_WHY_MAX])
{
	union address a;
	socklen_t len;
	bool tcp = r->transport == LINK_TCP;
	struct link_tls_ctx *tls = NULL;
	struct link_pipe *p;
	int rc = parse(r->transport, r->remote, &a, &len);
	if (!rc && tcp)
		rc = link_tls_ctx_new(&tls, auth, peer, why);
	if (rc)
		return rc;
	int fd = socket(a.sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		rc = -errno;
	if (!rc && tcp)
		rc = bind_source(fd, r);
	if (!rc && connect(fd, &a.sa, len) && errno != EINPROGRESS)
		rc = -errno;
	if (!rc && !tcp && !peer_is_trusted(fd, why))
		rc = -EPERM;
	if (rc && fd >= 0)
		close(fd);
	rc = rc ?: pipe_new(fd, !tcp, tls, true, &p);
	link_tls_ctx_put(tls);
	if (rc)
		return rc;
	p->connecting = tcp;
	p->wants_write = true; /* told when it is connected */
	*ret = p;
	return 0;
}

/* ---- listening ---- */

static void on_listener(void *arg, int status, int events)
{
	struct link_listener *l = arg;
	struct link_pipe *p;
	int fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd < 0 && errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
		log_warn("link: cannot accept error=%s", err_name(errno));
		watch_set(l->watch, 0);
		env_timer_start(env_real(), &l->again, ACCEPT_AGAIN);
	}
	if (fd < 0)
		return;
	char why[LINK_WHY_MAX] = "";
	if (l->unix_socket && !peer_is_trusted(fd, why)) {
		log_warn("link: refused at %s: %s", l->path.sun_path, why);
		close(fd);
		return;
	}
	if (pipe_new(fd, l->unix_socket, l->tls, false, &p) == 0)
		l->fn(l->arg, p);
}

static void listen_again(void *arg)
{
	struct link_listener *l = arg;
	watch_set(l->watch, UV_READABLE);
}

/* A socket that nobody listens at is left over of a process that ended. */
static int clear_path(const union address *a, socklen_t len)
{
	struct stat st;
	if (lstat(a->un.sun_path, &st))
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	int rc = connect(fd, &a->sa, len) == 0 || errno != ECONNREFUSED ? -EADDRINUSE : 0;
	close(fd);
	if (!rc && unlink(a->un.sun_path) && errno != ENOENT)
		rc = -errno;
	return rc;
}

static int bind_listen(int fd, const union address *a, socklen_t len)
{
	int one = 1;
	if (a->sa.sa_family == AF_UNIX) {
		int rc = clear_path(a, len);
		if (rc)
			return rc;
	} else {
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	}
	if (bind(fd, &a->sa, len))
		return -errno;
	if (a->sa.sa_family == AF_UNIX && chmod(a->un.sun_path, 0600))
		return -errno;
	return listen(fd, BACKLOG) ? -errno : 0;
}

static int socket_listen(void *ops_arg, const struct link_route *r, const struct link_auth *auth,
			 const char *peer, link_accept_fn *fn, void *arg,
			 struct link_listener **ret, char why[LINK_WHY_MAX])
{
	union address a;
	socklen_t len;
	int rc = parse(r->transport, r->local, &a, &len);
	struct link_listener *l = rc ? NULL : calloc(1, sizeof(*l));
	if (!l)
		return rc ? rc : -ENOMEM;
	l->unix_socket = r->transport == LINK_UNIX;
	l->fn = fn;
	l->arg = arg;
	l->again = (struct env_timer){.fn = listen_again, .arg = l};
	l->fd = socket(a.sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (l->fd < 0)
		rc = -errno;
	if (!rc && !l->unix_socket)
		rc = link_tls_ctx_new(&l->tls, auth, peer, why);
	if (!rc && !l->unix_socket && !l->tls && !is_loopback(&a))
		event_write(LOG_L_WARN, "link.unprotected",
			    "the route at %.64s is neither encrypted nor proves who the peer is: "
			    "configure link_psk, or link_cert, link_key and link_ca",
			    r->local);
	rc = rc ?: bind_listen(l->fd, &a, len);
	rc = rc ?: watch_new(&l->watch, reactor_current(), l->fd, on_listener, l);
	if (rc) {
		if (l->fd >= 0)
			close(l->fd);
		link_tls_ctx_put(l->tls);
		free(l);
		return rc;
	}
	if (l->unix_socket)
		l->path = a.un;
	watch_set(l->watch, UV_READABLE);
	*ret = l;
	return 0;
}

static void socket_unlisten(struct link_listener *l)
{
	env_timer_stop(env_real(), &l->again);
	watch_free(l->watch);
	close(l->fd);
	if (l->unix_socket)
		unlink(l->path.sun_path);
	link_tls_ctx_put(l->tls);
	free(l);
}

/* ---- the peer's process ---- */

/* A pid that is of no process that has the other end open may be another's by now. */
static int pidfd_of(int fd, pid_t *ret_pid)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) || cred.pid <= 0)
		return -1;
	*ret_pid = cred.pid;
	int pidfd;
	len = sizeof(pidfd);
	if (getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &len) == 0)
		return pidfd;
	pidfd = pidfd_open(cred.pid, 0);
	char byte;
	if (pidfd >= 0 && recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0) {
		close(pidfd);
		return -1;
	}
	return pidfd;
}

static struct link_process *socket_process(struct link_pipe *p)
{
	pid_t pid;
	int fd = p->unix_socket ? pidfd_of(p->fd, &pid) : -1;
	if (fd < 0)
		return NULL;
	struct link_process *r = pid == getpid() ? NULL : calloc(1, sizeof(*r));
	if (!r) {
		close(fd);
		return NULL;
	}
	r->fd = fd;
	return r;
}

static bool process_ended(struct link_process *p)
{
	return process_has_ended(p->fd);
}

static void on_process(void *arg, int status, int events)
{
	struct link_process *p = arg;
	if (!process_ended(p)) /* a call that says so wrongly would end the fence too early */
		return;
	watch_set(p->watch, 0);
	p->fn(p->arg);
}

static void process_watch(struct link_process *p, link_ended_fn *fn, void *arg)
{
	p->fn = fn;
	p->arg = arg;
	int rc = watch_new(&p->watch, reactor_current(), p->fd, on_process, p);
	if (rc)
		log_warn("link: the end of the peer's process cannot be watched error=%s",
			 err_name(rc));
	else
		watch_set(p->watch, UV_READABLE);
}

static int kill_process(struct link_process *p)
{
	return pidfd_send_signal(p->fd, SIGKILL, NULL, 0) ? -errno : 0;
}

static void process_free(struct link_process *p)
{
	watch_free(p->watch);
	close(p->fd);
	free(p);
}

const struct link_ops link_socket_ops = {
    .listen = socket_listen,
    .unlisten = socket_unlisten,
    .connect = socket_connect,
    .watch = socket_watch,
    .recv = socket_recv,
    .send = socket_send,
    .close = socket_close,
    .process = socket_process,
    .process_watch = process_watch,
    .process_ended = process_ended,
    .process_kill = kill_process,
    .process_free = process_free,
};
