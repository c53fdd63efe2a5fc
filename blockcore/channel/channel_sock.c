/* Channel messages on a unix socket (channel_sock.h). */
#include "blockcore/channel/channel_sock.h"
#include "blockcore/channel/channel_layout.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/reactor.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct channel_sock {
	int fd;
	bool down;
	bool reading; /* the watch includes reading: kept between messages */
	struct watch *watch;
	struct waitq readable, writable;
	struct task_mutex sending;
	unsigned inside;
	uint8_t in[CHANNEL_MSG_MAX], out[CHANNEL_MSG_MAX];
};

/* Writing is watched only while somebody waits for room. */
static void watch_update(struct channel_sock *s, bool reading)
{
	int events = reading ? UV_READABLE : 0;
	if (!waitq_empty(&s->writable))
		events |= UV_WRITABLE;
	watch_set(s->watch, events);
}

static void on_events(void *arg, int status, int events)
{
	struct channel_sock *s = arg;
	bool readable = status < 0 || (events & UV_READABLE);
	/* Nobody receives this moment: not told again until somebody asks. */
	if (readable && waitq_empty(&s->readable))
		s->reading = false;
	if (readable)
		waitq_wake_all(&s->readable);
	if (status < 0 || (events & UV_WRITABLE))
		waitq_wake_all(&s->writable);
	watch_update(s, s->reading && status >= 0);
}

int channel_sock_new(struct channel_sock **ret, struct reactor *r, int fd)
{
	struct channel_sock *s = calloc(1, sizeof(*s));
	if (!s) {
		close(fd);
		return -ENOMEM;
	}
	s->fd = fd;
	waitq_init(&s->readable);
	waitq_init(&s->writable);
	task_mutex_init(&s->sending);
	int size = CHANNEL_MSG_MAX + 4096;
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	int rc = watch_new(&s->watch, r, fd, on_events, s);
	if (rc) {
		channel_sock_free(s);
		return rc;
	}
	*ret = s;
	return 0;
}

void channel_sock_free(struct channel_sock *s)
{
	if (!s)
		return;
	ASSERT(s->inside == 0 && waitq_empty(&s->readable));
	watch_free(s->watch);
	close(s->fd);
	free(s);
}

bool channel_sock_busy(const struct channel_sock *s)
{
	return s->inside > 0;
}

int channel_sock_fd(const struct channel_sock *s)
{
	return s->fd;
}

void channel_sock_shutdown(struct channel_sock *s)
{
	s->down = true;
	shutdown(s->fd, SHUT_RDWR);
	waitq_wake_all(&s->readable);
	waitq_wake_all(&s->writable);
}

/* One packet from s->out; 0 or -errno. */
static int send_packet(struct channel_sock *s, size_t len, const int *fds, unsigned nfds)
{
	union {
		char buf[CMSG_SPACE(CHANNEL_FDS_MAX * sizeof(int))];
		struct cmsghdr align;
	} control = {0};
	struct iovec iov = {.iov_base = s->out, .iov_len = len};
	struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};
	if (nfds) {
		ASSERT(nfds <= CHANNEL_FDS_MAX);
		mh.msg_control = control.buf;
		mh.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
		struct cmsghdr *c = CMSG_FIRSTHDR(&mh);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(nfds * sizeof(int));
		memcpy(CMSG_DATA(c), fds, nfds * sizeof(int));
	}
	ssize_t n;
	do
		n = sendmsg(s->fd, &mh, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

/* 0 when packed into s->out. */
static int pack(struct channel_sock *s, Isthmus__ChannelMsg *m, size_t *ret_len)
{
	m->version = CHANNEL_VERSION;
	*ret_len = isthmus__channel_msg__get_packed_size(m);
	if (*ret_len > sizeof(s->out))
		return -EMSGSIZE;
	isthmus__channel_msg__pack(m, s->out);
	return 0;
}

static int send_locked(struct channel_sock *s, Isthmus__ChannelMsg *m, const int *fds,
		       unsigned nfds)
{
	size_t len;
	int rc = pack(s, m, &len);
	if (rc)
		return rc;
	while (!s->down) {
		rc = send_packet(s, len, fds, nfds);
		if (rc == 0 || rc == -EMSGSIZE)
			return rc;
		if (rc != -EAGAIN && rc != -ENOBUFS)
			return -ERR_DISCONNECTED;
		struct waiter w;
		waitq_enter(&s->writable, &w);
		watch_update(s, s->reading);
		task_park();
		waitq_leave(&s->writable, &w);
	}
	return -ERR_DISCONNECTED;
}

int channel_sock_send(struct channel_sock *s, Isthmus__ChannelMsg *m, const int *fds, unsigned nfds)
{
	s->inside++;
	task_mutex_lock(&s->sending);
	int rc = send_locked(s, m, fds, nfds);
	task_mutex_unlock(&s->sending);
	s->inside--;
	return rc;
}

void channel_sock_try_send(struct channel_sock *s, Isthmus__ChannelMsg *m)
{
	size_t len;
	if (!s->down && !s->sending.owner && pack(s, m, &len) == 0)
		send_packet(s, len, NULL, 0);
}

static void take_fds(struct msghdr *mh, int *fds)
{
	unsigned taken = 0;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(mh); c; c = CMSG_NXTHDR(mh, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		unsigned n = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		for (unsigned i = 0; i < n; i++) {
			int fd;
			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			if (taken < CHANNEL_FDS_MAX)
				fds[taken++] = fd;
			else
				close(fd);
		}
	}
}

static void close_fds(int *fds)
{
	for (unsigned i = 0; fds && i < CHANNEL_FDS_MAX; i++) {
		if (fds[i] >= 0)
			close(fds[i]);
		fds[i] = -1;
	}
}

/* Bytes in s->in, 0 at the end, or -errno. */
static ssize_t recv_packet(struct channel_sock *s, int *fds)
{
	union {
		char buf[CMSG_SPACE(CHANNEL_FDS_MAX * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iov = {.iov_base = s->in, .iov_len = sizeof(s->in)};
	struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};
	for (unsigned i = 0; fds && i < CHANNEL_FDS_MAX; i++)
		fds[i] = -1;
	if (fds) {
		mh.msg_control = control.buf;
		mh.msg_controllen = sizeof(control.buf);
	}
	ssize_t n;
	do
		n = recvmsg(s->fd, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	if (fds)
		take_fds(&mh, fds);
	return mh.msg_flags & MSG_TRUNC ? -EPROTO : n;
}

/* Waits until there may be something to read. */
static int wait_readable(struct channel_sock *s, uint64_t deadline)
{
	uint64_t now = env_now_ns(env_real());
	if (s->down)
		return -ERR_DISCONNECTED;
	if (deadline && now >= deadline)
		return -ETIMEDOUT;
	s->reading = true;
	watch_update(s, true);
	int rc = 0;
	if (deadline)
		rc = env_waitq_wait(env_real(), &s->readable, deadline - now);
	else
		waitq_wait(&s->readable);
	return s->down ? -ERR_DISCONNECTED : rc;
}

int channel_sock_recv(struct channel_sock *s, uint64_t timeout_ns, Isthmus__ChannelMsg **ret,
		      int *fds)
{
	uint64_t deadline = timeout_ns ? env_now_ns(env_real()) + timeout_ns : 0;
	ssize_t n;
	while ((n = s->down ? 0 : recv_packet(s, fds)) == -EAGAIN) {
		int rc = wait_readable(s, deadline);
		if (rc)
			return rc;
	}
	Isthmus__ChannelMsg *m = NULL;
	int rc = n == -EPROTO ? -ERR_PROTO : n <= 0 ? -ERR_DISCONNECTED : 0;
	if (rc == 0 && !(m = isthmus__channel_msg__unpack(NULL, (size_t)n, s->in)))
		rc = -ERR_PROTO;
	if (rc == 0 && m->version != CHANNEL_VERSION)
		rc = -ERR_VERSION;
	if (rc) {
		isthmus__channel_msg__free_unpacked(m, NULL);
		close_fds(fds);
		return rc;
	}
	*ret = m;
	return 0;
}
