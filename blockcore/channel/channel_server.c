/*
 * The channel server: its socket, its life, and the wait for heads that apply
 * a configuration. What it is made of: channel_conn.c (a connection),
 * channel_peer.c (heads by name), channel_seg.c (their memory), channel_exec.c
 * (their requests). See README.md.
 */
#include "blockcore/channel/channel_exec.h"
#include "blockcore/channel/channel_server_impl.h"
#include "blockcore/channel/channel_sock.h"
#include "blockcore/cache/cache.h"
#include "blockcore/cache/cache_layout.h"
#include "blockcore/control/meta.h"
#include "blockcore/core.h"
#include "blockcore/core_own.h"
#include "blockcore/volume/volume.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include "runtime/reactor.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define SERVER_MAGIC 0x63687376
#define CONNS_MAX    128

static bool uid_allowed(const struct channel_server *s, uid_t uid)
{
	if (uid == 0 || uid == geteuid())
		return true;
	for (unsigned i = 0; i < s->opts.nuids; i++)
		if (s->uids[i] == uid)
			return true;
	return false;
}

static void refuse(struct channel_server *s, struct channel_sock *sock, int code)
{
	Isthmus__ChannelMsg m = ISTHMUS__CHANNEL_MSG__INIT;
	Isthmus__ChannelError e = ISTHMUS__CHANNEL_ERROR__INIT;
	e.code = code;
	e.text = (char *)err_text(code);
	m.body_case = ISTHMUS__CHANNEL_MSG__BODY_ERROR;
	m.error = &e;
	channel_sock_try_send(sock, &m);
}

static void conn_new(struct channel_server *s, int fd)
{
	struct ucred cred = {0};
	socklen_t len = sizeof(cred);
	struct channel_sock *sock;
	if (channel_sock_new(&sock, s->home, fd))
		return;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) || cred.pid <= 0 ||
	    !uid_allowed(s, cred.uid)) {
		log_warn("channel: peer refused uid=%d pid=%d", (int)cred.uid, (int)cred.pid);
		refuse(s, sock, -EACCES);
		channel_sock_free(sock);
		return;
	}
	struct channel_conn *c = s->nconns < CONNS_MAX ? calloc(1, sizeof(*c)) : NULL;
	if (!c || task_start(channel_conn_main, c)) {
		refuse(s, sock, -EBUSY);
		channel_sock_free(sock);
		free(c);
		return;
	}
	c->server = s;
	c->sock = sock;
	c->pid = cred.pid;
	waitq_init(&c->tasks_gone);
	waitq_init(&c->tell_q);
	TAILQ_INSERT_TAIL(&s->conns, c, link);
	s->nconns++;
}

static void on_accept(void *arg, int status, int events)
{
	struct channel_server *s = arg;
	int fd;
	while ((fd = accept4(s->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0)
		conn_new(s, fd);
}

static void on_meta(void *arg, const Isthmus__ArrayMeta *am)
{
	struct channel_server *s = arg;
	channel_peer_fence(s, am);
	channel_conn_config_all(s);
}

static void on_owner(void *arg, struct volume *v)
{
	struct channel_server *s = arg;
	struct channel_conn *c;
	TAILQ_FOREACH (c, &s->conns, link)
		channel_conn_owner(c, volume_id(v));
}

/* What heads are told of the cache, and what fixes the layout of their segments. */
static int read_cache_super(struct channel_server *s)
{
	const struct cache_super *cs =
	    mmap(NULL, sizeof(*cs), PROT_READ, MAP_SHARED, s->opts.cache_fd, 0);
	if (cs == MAP_FAILED)
		return -errno;
	int rc = 0;
	if (memcmp(cs->magic, CACHE_MAGIC, sizeof(cs->magic)) != 0 || cs->page_size != 4096)
		rc = -ERR_CORRUPT;
	s->npages = cs->npages;
	s->incarnation = atomic_load(&cs->incarnation);
	snprintf(s->controller, sizeof(s->controller), "%.*s", (int)sizeof(cs->controller),
		 cs->controller);
	munmap((void *)cs, sizeof(*cs));
	return rc;
}

static int listen_at(struct channel_server *s)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	if (strlen(s->socket_path) >= sizeof(sa.sun_path))
		return -ENAMETOOLONG;
	strcpy(sa.sun_path, s->socket_path);
	s->listen_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (s->listen_fd < 0)
		return -errno;
	unlink(s->socket_path);
	/* Anybody may connect; who is let in is decided by the peer's credentials. */
	if (bind(s->listen_fd, (struct sockaddr *)&sa, sizeof(sa)) || chmod(s->socket_path, 0666) ||
	    listen(s->listen_fd, 64))
		return -errno;
	int rc = watch_new(&s->listen_watch, s->home, s->listen_fd, on_accept, s);
	return rc ? rc : watch_set(s->listen_watch, UV_READABLE);
}

static int copy_opts(struct channel_server *s, const struct channel_server_opts *o)
{
	s->opts = *o;
	s->socket_path = strdup(o->socket_path);
	s->memory_dir = strdup(o->memory_dir);
	s->uids = calloc(o->nuids + 1, sizeof(*s->uids));
	s->reactors = calloc(o->nreactors + 1, sizeof(*s->reactors));
	s->opts.cache_fd = dup(o->cache_fd);
	if (!s->socket_path || !s->memory_dir || !s->uids || !s->reactors || s->opts.cache_fd < 0)
		return -ENOMEM;
	if (o->nuids)
		memcpy(s->uids, o->uids, o->nuids * sizeof(*s->uids));
	memcpy(s->reactors, o->reactors, o->nreactors * sizeof(*s->reactors));
	return 0;
}

static void server_free(struct channel_server *s)
{
	if (s->meta_watch)
		meta_unwatch(core_meta(s->opts.core), s->meta_watch);
	if (s->own_watch)
		core_own_unwatch(s->opts.core, s->own_watch);
	watch_free(s->listen_watch);
	if (s->listen_fd >= 0)
		close(s->listen_fd);
	channel_peer_free_all(s);
	if (s->opts.cache_fd >= 0)
		close(s->opts.cache_fd);
	free(s->socket_path);
	free(s->memory_dir);
	free(s->uids);
	free(s->reactors);
	s->magic = 0;
	free(s);
}

int channel_server_start(struct channel_server **ret, const struct channel_server_opts *o)
{
	struct channel_server *s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->magic = SERVER_MAGIC;
	s->home = reactor_current();
	s->listen_fd = -1;
	ASSERT(s->home && o->nreactors > 0);
	waitq_init(&s->reaper_q);
	waitq_init(&s->gone_q);
	waitq_init(&s->applied_q);
	TAILQ_INIT(&s->conns);
	TAILQ_INIT(&s->peers);
	TAILQ_INIT(&s->fenced);
	int rc = copy_opts(s, o);
	if (rc == 0)
		rc = read_cache_super(s);
	if (rc)
		goto fail;
	s->battery = o->battery;
	rc = channel_peer_restore(s);
	if (rc)
		goto fail;
	cache_hazards_entered(core_cache(o->core));
	channel_peer_fence(s, meta_get(core_meta(o->core)));
	rc = meta_watch(core_meta(o->core), on_meta, s, &s->meta_watch);
	if (rc == 0)
		rc = core_own_watch(o->core, on_owner, s, &s->own_watch);
	if (rc == 0)
		rc = listen_at(s);
	if (rc == 0)
		rc = task_start(channel_peer_reaper, s);
	if (rc)
		goto fail;
	s->reaper_runs = true;
	*ret = s;
	return 0;
fail:
	log_error("channel: server not started path=%s why=%s", o->socket_path, err_name(rc));
	server_free(s);
	return rc;
}

void channel_server_stop(struct channel_server *s)
{
	struct channel_conn *c;
	if (!s)
		return;
	CHECK(s, SERVER_MAGIC);
	s->stopping = true;
	watch_set(s->listen_watch, 0);
	unlink(s->socket_path);
	waitq_wake_all(&s->reaper_q);
	waitq_wake_all(&s->applied_q);
	while (!TAILQ_EMPTY(&s->conns) || s->reaper_runs) {
		TAILQ_FOREACH (c, &s->conns, link)
			channel_conn_close(c);
		waitq_wait(&s->gone_q);
	}
	while (!waitq_empty(&s->applied_q))
		task_yield();
	server_free(s);
}

int channel_server_fence(struct channel_server *s, const char *head, pid_t pid)
{
	CHECK(s, SERVER_MAGIC);
	return channel_peer_revoke(s, head, pid);
}

static const Isthmus__NasFsState *fs_state(const Isthmus__NasConfigApplied *a, const char *fs)
{
	for (size_t i = 0; i < a->n_filesystems; i++)
		if (strcmp(a->filesystems[i]->name, fs) == 0)
			return a->filesystems[i];
	return NULL;
}

/* -EAGAIN: not applied yet. */
static int applied_state(struct channel_server *s, const char *head, uint64_t seq, const char *fs,
			 char *text)
{
	struct channel_peer *p = channel_peer_find(s, head);
	if (!p || !p->conn || p->conn->closing || s->stopping) {
		snprintf(text, 256, "head %s is not connected", head);
		return -ERR_DISCONNECTED;
	}
	const Isthmus__NasConfigApplied *a = p->conn->applied;
	if (!a || a->seq < seq)
		return -EAGAIN;
	if (!fs)
		return 0;
	const Isthmus__NasFsState *st = fs_state(a, fs);
	if (!st) {
		snprintf(text, 256, "head %s does not serve file system %s", head, fs);
		return -ENOENT;
	}
	snprintf(text, 256, "%s", st->text);
	return st->code > 0 ? -st->code : st->code;
}

int channel_server_wait_applied(struct channel_server *s, const char *head, uint64_t seq,
				const char *fs, uint64_t timeout_ns, char *text)
{
	CHECK(s, SERVER_MAGIC);
	uint64_t deadline = env_now_ns(env_real()) + timeout_ns;
	int rc;
	text[0] = 0;
	while ((rc = applied_state(s, head, seq, fs, text)) == -EAGAIN) {
		uint64_t now = env_now_ns(env_real());
		if (now >= deadline) {
			snprintf(text, 256, "head %s did not answer in time", head);
			return -ETIMEDOUT;
		}
		env_waitq_wait(env_real(), &s->applied_q, deadline - now);
	}
	return rc;
}
