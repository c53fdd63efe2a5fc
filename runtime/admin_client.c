/*
 * Clients of the admin protocol: the CLI's, which blocks in poll(), and the
 * daemons', which waits as a task. They differ only in how they wait.
 */
#include "runtime/admin_impl.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/reactor.h"
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct client {
	int fd;
	uint64_t timeout_ns;
	struct admin_inbuf in;
	/* Waits until the socket is readable (writable). 0, -ETIMEDOUT, -errno. */
	int (*wait)(struct client *k, bool to_write);
	void (*progress)(void *arg, const Isthmus__AdminProgress *p);
	void *arg;
	/* of the waiting form */
	struct watch *watch;
	struct env_timer timer;
	struct task *task;
	bool ready, expired;
};

static int client_send(struct client *k, const uint8_t *p, size_t n)
{
	while (n > 0) {
		ssize_t sent = send(k->fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (sent >= 0) {
			p += sent;
			n -= (size_t)sent;
		} else if (errno == EAGAIN || errno == EWOULDBLOCK) {
			int rc = k->wait(k, true);
			if (rc)
				return rc;
		} else if (errno == EPIPE || errno == ECONNRESET) {
			return 0; /* refused; the reason may be there to be read */
		} else if (errno != EINTR) {
			return -errno;
		}
	}
	return 0;
}

/* The next frame, or an error. */
static int client_frame(struct client *k, Isthmus__AdminFrame **ret)
{
	for (;;) {
		size_t used;
		int rc = admin_frame_decode(k->in.p, k->in.n, ADMIN_FRAME_MAX, ret, &used);
		if (rc == 0)
			admin_inbuf_drop(&k->in, used);
		if (rc != -EAGAIN)
			return rc;
		ssize_t n = admin_inbuf_recv(&k->in, k->fd, ADMIN_FRAME_MAX);
		if (n == 0 || n == -ECONNRESET)
			return -ERR_DISCONNECTED;
		if (n < 0 && n != -EAGAIN)
			return (int)n;
		if (n == -EAGAIN) {
			rc = k->wait(k, false);
			if (rc)
				return rc;
		}
	}
}

static int client_reply(struct client *k, Isthmus__AdminReply **ret)
{
	for (;;) {
		Isthmus__AdminFrame *f;
		int rc = client_frame(k, &f);
		if (rc)
			return rc;
		if (f->body_case == ISTHMUS__ADMIN_FRAME__BODY_REPLY && f->reply) {
			*ret = f->reply;
			f->reply = NULL;
			f->body_case = ISTHMUS__ADMIN_FRAME__BODY__NOT_SET;
			isthmus__admin_frame__free_unpacked(f, NULL);
			return 0;
		}
		bool progress = f->body_case == ISTHMUS__ADMIN_FRAME__BODY_PROGRESS && f->progress;
		if (progress && k->progress)
			k->progress(k->arg, f->progress);
		isthmus__admin_frame__free_unpacked(f, NULL);
		if (!progress)
			return -ERR_PROTO;
	}
}

static int client_run(struct client *k, const Isthmus__AdminRequest *req, Isthmus__AdminReply **ret)
{
	Isthmus__AdminFrame f = ISTHMUS__ADMIN_FRAME__INIT;
	f.version = ADMIN_VERSION;
	f.id = 1;
	f.body_case = ISTHMUS__ADMIN_FRAME__BODY_REQUEST;
	f.request = (Isthmus__AdminRequest *)req;
	uint8_t *buf;
	size_t n;
	int rc = admin_frame_encode(&f, &buf, &n);
	if (rc)
		return rc;
	if (n > ADMIN_REQUEST_MAX + 4)
		rc = -E2BIG;
	rc = rc ?: client_send(k, buf, n);
	free(buf);
	return rc ?: client_reply(k, ret);
}

/* A server that has more connections waiting than it lists refuses for the moment. */
#define CONNECT_TRIES	 100
#define CONNECT_RETRY_NS (10 * NS_PER_MS)

static void pause_blocking(void)
{
	struct timespec ts = {.tv_nsec = CONNECT_RETRY_NS};
	nanosleep(&ts, NULL);
}

static void pause_task(void)
{
	env_sleep_ns(env_real(), CONNECT_RETRY_NS);
}

static int client_connect(struct client *k, const char *socket_path, void (*pause_a_bit)(void))
{
	int fd = admin_connect(socket_path);
	for (int i = 0; i < CONNECT_TRIES && fd == -EAGAIN; i++) {
		pause_a_bit();
		fd = admin_connect(socket_path);
	}
	k->fd = fd;
	return fd < 0 ? fd : 0;
}

/* ---- blocking ---- */

static int wait_poll(struct client *k, bool to_write)
{
	struct pollfd p = {.fd = k->fd, .events = to_write ? POLLOUT : POLLIN};
	int ms = k->timeout_ns ? (int)(k->timeout_ns / NS_PER_MS) : -1;
	int n = poll(&p, 1, ms);
	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	return n ? 0 : -ETIMEDOUT;
}

int admin_client_call(const char *socket_path, const Isthmus__AdminRequest *req,
		      uint64_t timeout_ns,
		      void (*progress)(void *arg, const Isthmus__AdminProgress *p), void *arg,
		      Isthmus__AdminReply **ret)
{
	struct client k = {
	    .timeout_ns = timeout_ns, .wait = wait_poll, .progress = progress, .arg = arg};
	int rc = client_connect(&k, socket_path, pause_blocking);
	if (rc)
		return rc;
	rc = client_run(&k, req, ret);
	close(k.fd);
	admin_inbuf_free(&k.in);
	return rc;
}

/* ---- waiting as a task ---- */

static void on_socket(void *arg, int status, int events)
{
	struct client *k = arg;
	k->ready = true;
	watch_set(k->watch, 0);
	task_wake(k->task);
}

static void on_timeout(void *arg)
{
	struct client *k = arg;
	k->expired = true;
	task_wake(k->task);
}

static int wait_task(struct client *k, bool to_write)
{
	k->ready = k->expired = false;
	int rc = watch_set(k->watch, to_write ? UV_WRITABLE : UV_READABLE);
	if (rc)
		return rc;
	if (k->timeout_ns)
		env_timer_start(env_real(), &k->timer, k->timeout_ns);
	while (!k->ready && !k->expired)
		task_park();
	env_timer_stop(env_real(), &k->timer);
	watch_set(k->watch, 0);
	return k->ready ? 0 : -ETIMEDOUT;
}

static void pass_on(void *arg, const Isthmus__AdminProgress *p)
{
	if (arg)
		admin_call_send_progress(arg, p);
}

int admin_task_call(const char *socket_path, const Isthmus__AdminRequest *req, uint64_t timeout_ns,
		    struct admin_call *via, Isthmus__AdminReply **ret)
{
	ASSERT(task_self());
	struct client k = {
	    .timeout_ns = timeout_ns, .wait = wait_task, .progress = pass_on, .arg = via};
	k.task = task_self();
	k.timer.fn = on_timeout;
	k.timer.arg = &k;
	int rc = client_connect(&k, socket_path, pause_task);
	if (rc)
		return rc;
	rc = watch_new(&k.watch, reactor_current(), k.fd, on_socket, &k);
	rc = rc ?: client_run(&k, req, ret);
	watch_free(k.watch);
	close(k.fd);
	admin_inbuf_free(&k.in);
	return rc;
}
