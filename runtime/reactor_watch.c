/*
 * Watches of file descriptors: an epoll set of the reactor's own, which libuv's loop watches as a
 * whole. So a busy reactor fetches what came with one system call and without a turn of libuv
 * (reactor_poll.c), and a changed watch costs one call.
 *
 * Level-triggered. An error of the descriptor goes to
 * the callback as its status; a hang-up as every event that is asked for: the callback's own call
 * then says what it is.
 */
#include "runtime/reactor_impl.h"
#include "runtime/check.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define WATCH_MAGIC 0x77617463
#define TRIES_MAX   4

struct watch {
	uint32_t magic;
	struct watches *set;
	int fd;
	int events; /* asked for: UV_READABLE etc. */
	bool may_try;
	watch_fn *fn;
	void *arg;
};

static uint32_t to_epoll(int events)
{
	return (events & UV_READABLE ? EPOLLIN : 0u) | (events & UV_WRITABLE ? EPOLLOUT : 0u) |
	       (events & UV_DISCONNECT ? EPOLLRDHUP : 0u);
}

static int from_epoll(uint32_t events)
{
	return (events & EPOLLIN ? UV_READABLE : 0) | (events & EPOLLOUT ? UV_WRITABLE : 0) |
	       (events & EPOLLRDHUP ? UV_DISCONNECT : 0);
}

static int socket_error(int fd)
{
	int err = 0;
	socklen_t len = sizeof(err);
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len))
		return -EIO;
	return -err;
}

int watches_look(struct watches *s)
{
	int n = epoll_wait(s->epoll_fd, s->ev, WATCHES_AT_ONCE, 0);
	s->n = n > 0 ? n : 0;
	s->at = 0;
	return s->n;
}

void watches_dispatch(struct watches *s)
{
	while (s->at < s->n) {
		struct epoll_event *e = &s->ev[s->at++];
		struct watch *w = e->data.ptr;
		if (!w)
			continue; /* freed by the callback of another */
		CHECK(w, WATCH_MAGIC);
		int status = e->events & EPOLLERR ? socket_error(w->fd) : 0;
		int events = e->events & (EPOLLERR | EPOLLHUP) ? w->events
							       : w->events & from_epoll(e->events);
		bool alone = s->n == 1 && w->may_try && !status && events == UV_READABLE;
		s->alone = alone ? w : NULL;
		if (status || events)
			w->fn(w->arg, status, events);
	}
}

bool watches_try(struct watches *s)
{
	struct watch *w = s->alone;
	if (!w || s->tries++ >= TRIES_MAX) {
		s->tries = 0;
		return false;
	}
	CHECK(w, WATCH_MAGIC);
	w->fn(w->arg, 0, UV_READABLE);
	return true;
}

static void on_set(uv_poll_t *poll, int status, int events)
{
	struct watches *s = poll->data;
	if (watches_look(s))
		watches_dispatch(s);
}

int watches_init(struct watches *s, uv_loop_t *loop)
{
	s->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (s->epoll_fd < 0)
		return -errno;
	int rc = uv_poll_init(loop, &s->poll, s->epoll_fd);
	if (rc == 0)
		rc = uv_poll_start(&s->poll, UV_READABLE, on_set);
	if (rc)
		close(s->epoll_fd);
	s->poll.data = s;
	return rc;
}

void watches_fini(struct watches *s)
{
	close(s->epoll_fd);
}

int watch_new(struct watch **ret, struct reactor *r, int fd, watch_fn *fn, void *arg)
{
	struct watch *w = calloc(1, sizeof(*w));
	if (!w)
		return -ENOMEM;
	*w = (struct watch){
	    .magic = WATCH_MAGIC, .set = reactor_watches(r), .fd = fd, .fn = fn, .arg = arg};
	/* That it can be watched is known now. */
	struct epoll_event none = {.data.ptr = w};
	if (epoll_ctl(w->set->epoll_fd, EPOLL_CTL_ADD, fd, &none) ||
	    epoll_ctl(w->set->epoll_fd, EPOLL_CTL_DEL, fd, NULL)) {
		int err = errno;
		free(w);
		return -err;
	}
	*ret = w;
	return 0;
}

/* A hang-up is told to whoever is in the set, whatever he asked for: who wants nothing is not. */
int watch_set(struct watch *w, int events)
{
	CHECK(w, WATCH_MAGIC);
	if (w->events == events)
		return 0;
	struct epoll_event e = {.events = to_epoll(events), .data.ptr = w};
	int op = !events ? EPOLL_CTL_DEL : w->events ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
	if (epoll_ctl(w->set->epoll_fd, op, w->fd, &e))
		return -errno;
	w->events = events;
	if (w->set->alone == w)
		w->set->alone = NULL;
	return 0;
}

void watch_allow_try(struct watch *w)
{
	CHECK(w, WATCH_MAGIC);
	w->may_try = true;
}

void watch_free(struct watch *w)
{
	if (!w)
		return;
	CHECK(w, WATCH_MAGIC);
	struct watches *s = w->set;
	watch_set(w, 0);
	if (s->alone == w)
		s->alone = NULL;
	for (int i = s->at; i < s->n; i++)
		if (s->ev[i].data.ptr == w)
			s->ev[i].data.ptr = NULL;
	w->magic = 0;
	free(w);
}
