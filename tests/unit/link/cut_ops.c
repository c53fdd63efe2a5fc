#include "tests/unit/link/cut_ops.h"
#include <bsd/sys/queue.h>
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/reactor.h"

struct link_pipe {
	TAILQ_ENTRY(link_pipe) link;
	struct link_pipe *inner;
	char name[108];
	_Atomic int cut; /* 0, or 1 + enum cut_how */
	struct reactor *reactor;
	link_pipe_fn *fn;
	void *arg;
};

struct link_listener {
	struct link_listener *inner;
	char name[108];
	link_accept_fn *fn;
	void *arg;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static TAILQ_HEAD(, link_pipe) pipes = TAILQ_HEAD_INITIALIZER(pipes);

static struct link_pipe *wrap(struct link_pipe *inner, const char *name)
{
	struct link_pipe *p = calloc(1, sizeof(*p));
	ck_assert_ptr_nonnull(p);
	p->inner = inner;
	p->reactor = reactor_current();
	strcpy(p->name, name);
	pthread_mutex_lock(&lock);
	TAILQ_INSERT_TAIL(&pipes, p, link);
	pthread_mutex_unlock(&lock);
	return p;
}

static void accepted(void *arg, struct link_pipe *inner)
{
	struct link_listener *l = arg;
	l->fn(l->arg, wrap(inner, l->name));
}

static int cut_listen(void *arg, const struct link_route *r, const struct link_auth *auth,
		      const char *peer, link_accept_fn *fn, void *fn_arg,
		      struct link_listener **ret, char why[LINK_WHY_MAX])
{
	struct link_listener *l = calloc(1, sizeof(*l));
	ck_assert_ptr_nonnull(l);
	l->fn = fn;
	l->arg = fn_arg;
	strcpy(l->name, r->local);
	int rc = link_socket_ops.listen(NULL, r, auth, peer, accepted, l, &l->inner, why);
	if (rc)
		free(l);
	else
		*ret = l;
	return rc;
}

static void cut_unlisten(struct link_listener *l)
{
	link_socket_ops.unlisten(l->inner);
	free(l);
}

static int cut_connect(void *arg, const struct link_route *r, const struct link_auth *auth,
		       const char *peer, struct link_pipe **ret, char why[LINK_WHY_MAX])
{
	struct link_pipe *inner;
	int rc = link_socket_ops.connect(NULL, r, auth, peer, &inner, why);
	if (rc == 0)
		*ret = wrap(inner, r->remote);
	return rc;
}

static void on_inner(void *arg, int events)
{
	struct link_pipe *p = arg;
	p->fn(p->arg, events);
}

static void cut_watch(struct link_pipe *p, link_pipe_fn *fn, void *arg)
{
	p->fn = fn;
	p->arg = arg;
	link_socket_ops.watch(p->inner, on_inner, p);
}

static ssize_t cut_recv(struct link_pipe *p, const struct iovec *iov, int iovcnt)
{
	int cut = atomic_load(&p->cut);
	if (cut == 1 + CUT_RESET)
		return -ECONNRESET;
	if (!cut)
		return link_socket_ops.recv(p->inner, iov, iovcnt);
	static _Thread_local char trash[65536];
	struct iovec t = {trash, sizeof(trash)};
	ssize_t n = link_socket_ops.recv(p->inner, &t, 1);
	return n > 0 ? -EAGAIN : n;
}

static ssize_t cut_send(struct link_pipe *p, const struct iovec *iov, int iovcnt)
{
	int cut = atomic_load(&p->cut);
	if (cut == 1 + CUT_RESET)
		return -ECONNRESET;
	if (!cut)
		return link_socket_ops.send(p->inner, iov, iovcnt);
	size_t n = 0;
	for (int i = 0; i < iovcnt; i++)
		n += iov[i].iov_len;
	return (ssize_t)n;
}

static void cut_close(struct link_pipe *p)
{
	pthread_mutex_lock(&lock);
	TAILQ_REMOVE(&pipes, p, link);
	pthread_mutex_unlock(&lock);
	link_socket_ops.close(p->inner);
	free(p);
}

static struct link_process *cut_process(struct link_pipe *p)
{
	return link_socket_ops.process(p->inner);
}

static void no_watch(struct link_process *p, link_ended_fn *fn, void *arg)
{
}

static bool not_ended(struct link_process *p)
{
	return false;
}

static int no_kill(struct link_process *p)
{
	return -EPERM;
}

static void no_free(struct link_process *p)
{
}

const struct link_ops cut_ops = {
    .listen = cut_listen,
    .unlisten = cut_unlisten,
    .connect = cut_connect,
    .watch = cut_watch,
    .recv = cut_recv,
    .send = cut_send,
    .close = cut_close,
    .process = cut_process,
    .process_watch = no_watch,
    .process_ended = not_ended,
    .process_kill = no_kill,
    .process_free = no_free,
};

/* Those that are cut on this reactor find out at once. */
static void tell(void *arg)
{
	struct link_pipe *p, *cut[32];
	unsigned n = 0;
	pthread_mutex_lock(&lock);
	TAILQ_FOREACH (p, &pipes, link)
		if (p->reactor == arg && atomic_load(&p->cut) == 1 + CUT_RESET && n < 32)
			cut[n++] = p;
	pthread_mutex_unlock(&lock);
	for (unsigned i = 0; i < n; i++)
		cut[i]->fn(cut[i]->arg, LINK_EV_READABLE);
}

void cut_route(const char *listening, enum cut_how how)
{
	struct link_pipe *p;
	pthread_mutex_lock(&lock);
	TAILQ_FOREACH (p, &pipes, link) {
		int none = 0;
		if (strcmp(p->name, listening) == 0 &&
		    atomic_compare_exchange_strong(&p->cut, &none, 1 + (int)how) &&
		    how == CUT_RESET)
			reactor_post(p->reactor, tell, p->reactor);
	}
	pthread_mutex_unlock(&lock);
}
