/*
 * Heads by name, and who may have that name's segment.
 *
 *   hello from ...                        segment
 *   a name not seen                       made
 *   the instance that has it              used again, rings empty, same epoch
 *   another instance of the name          the old one is fenced (its requests have
 *                                         ended, its file gets another name), a new
 *                                         one is made with a higher epoch
 *   an instance that was fenced           refused: -ERR_EPOCH_STALE
 *
 * Which instance counts, and under which epoch, is the same at both controllers (channel_epoch.c).
 *
 * In each case the connection before is closed first, and everything it had
 * asked for has ended before the new one is welcomed: a request is never
 * executed behind the back of one that was issued again.
 *
 * An instance that changed the size of its segment's file (channel_guard.h) is closed and refused.
 *
 * A segment whose head is not connected keeps its hazards until the head's
 * process is gone (pid and start time) or left in order; the reaper looks.
 */
#include "blockcore/channel/channel_exec.h"
#include "blockcore/channel/channel_server_impl.h"
#include "blockcore/channel/channel_sock.h"
#include "blockcore/core.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include "runtime/software.h"
#include "runtime/reactor.h"
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define REAP_NS	   (200 * NS_PER_MS)
#define FENCED_MAX 8 /* living processes of one head that were taken over from */

struct channel_peer *channel_peer_find(struct channel_server *s, const char *name)
{
	struct channel_peer *p;
	TAILQ_FOREACH (p, &s->peers, link)
		if (strcmp(p->name, name) == 0)
			return p;
	return NULL;
}

bool channel_server_head_up(const struct channel_server *s, const char *head)
{
	const struct channel_peer *p = channel_peer_find((struct channel_server *)s, head);
	return p && p->conn && !p->conn->closing;
}

static struct channel_peer *peer_get(struct channel_server *s, const char *name)
{
	struct channel_peer *p = channel_peer_find(s, name);
	if (!p) {
		p = calloc(1, sizeof(*p));
		if (!p)
			return NULL;
		p->server = s;
		snprintf(p->name, sizeof(p->name), "%s", name);
		task_mutex_init(&p->admitting);
		waitq_init(&p->conn_gone);
		TAILQ_INSERT_TAIL(&s->peers, p, link);
	}
	p->users++;
	return p;
}

static void peer_free_if_unused(struct channel_peer *p)
{
	if (p->users || p->seg || p->conn)
		return;
	TAILQ_REMOVE(&p->server->peers, p, link);
	free(p);
}

static void peer_put(struct channel_peer *p)
{
	p->users--;
	peer_free_if_unused(p);
}

/* Each fenced instance keeps its segment's memory while its process lives: few do at a time. */
static bool too_many_fenced(struct channel_server *s, const char *head)
{
	struct channel_seg *seg;
	unsigned n = 0;
	TAILQ_FOREACH (seg, &s->fenced, link)
		n += strcmp(seg->head, head) == 0;
	return n >= FENCED_MAX;
}

static bool instance_is_fenced(struct channel_server *s, const char *head, uint64_t instance)
{
	struct channel_seg *seg;
	TAILQ_FOREACH (seg, &s->fenced, link)
		if (seg->instance == instance && strcmp(seg->head, head) == 0)
			return true;
	return false;
}

/* The peer's segment for this instance, made or used again. Nothing is being executed on it. */
static int take_segment(struct channel_peer *p, struct channel_conn *c,
			const Isthmus__ChannelHello *hello, uint64_t epoch)
{
	struct channel_server *s = p->server;
	struct channel_seg *old = p->seg, *seg;
	if (old && old->instance == hello->instance && old->epoch == epoch) {
		if (channel_seg_lost(old) || atomic_load(&old->fenced))
			return -ERR_EPOCH_STALE; /* a new instance gets a new one */
		channel_seg_reset(old, c->pid);
		return 0;
	}
	if (old && too_many_fenced(s, p->name))
		return -EBUSY;
	if (old) {
		channel_seg_retire(old, epoch);
		TAILQ_INSERT_TAIL(&s->fenced, old, link);
		p->seg = NULL;
		event_write(LOG_L_NOTICE, "head.fenced",
			    "head %s: a new instance took over, the old one is fenced", p->name);
	}
	struct channel_seg_id id = {.controller = s->controller,
				    .head = p->name,
				    .group = hello->group,
				    .instance = hello->instance,
				    .epoch = epoch,
				    .pid = c->pid};
	int rc = channel_seg_create(&seg, core_cache(s->opts.core), s->npages, s->memory_dir, &id);
	if (rc)
		return rc;
	channel_seg_reset(seg, c->pid);
	p->seg = seg;
	return 0;
}

static struct reactor *next_reactor(struct channel_server *s)
{
	return s->reactors[s->next_reactor++ % s->opts.nreactors];
}

/* Where it serves, as it says. What is no address of that form is nobody's to connect to: heads
 * look. */
static void take_addresses(struct channel_peer *p, const Isthmus__ChannelHello *hello)
{
	unsigned n = 0;
	bool same = true;
	for (size_t i = 0; i < hello->n_addresses && n < CHANNEL_ADDRESSES; i++) {
		const char *a = hello->addresses[i];
		if (!*a || strlen(a) >= CHANNEL_ADDRESS_MAX)
			continue;
		same &= n < p->naddresses && strcmp(p->addresses[n], a) == 0;
		strcpy(p->addresses[n++], a);
	}
	same &= n == p->naddresses;
	p->naddresses = n;
	if (!same)
		channel_conn_config_all(p->server);
}

static int admit_locked(struct channel_peer *p, struct channel_conn *c,
			const Isthmus__ChannelHello *hello)
{
	struct channel_server *s = p->server;
	uint64_t epoch;
	bool recorded;
	if (instance_is_fenced(s, p->name, hello->instance))
		return -ERR_EPOCH_STALE;
	int rc = channel_epoch_take(s, hello, p->seg, &epoch, &recorded);
	if (rc)
		return rc;
	while (p->conn) {
		channel_conn_close(p->conn);
		waitq_wait(&p->conn_gone);
	}
	if (c->closing || s->stopping)
		return -ERR_DISCONNECTED;
	rc = take_segment(p, c, hello, epoch);
	if (rc == 0)
		rc = channel_exec_new(&c->exec, next_reactor(s), p->seg, c->staging,
				      channel_sock_fd(c->sock));
	if (rc == 0)
		rc = channel_exec_start(c->exec);
	if (rc) {
		channel_exec_free(c->exec);
		c->exec = NULL;
		return rc;
	}
	c->unrecorded = !recorded;
	c->peer = p;
	p->conn = c;
	memcpy(c->head, p->name, sizeof(c->head));
	snprintf(c->group, sizeof(c->group), "%s", hello->group);
	take_addresses(p, hello);
	if (software_name_ok(hello->program) || strcmp(hello->program, SOFTWARE_INSTALLED) == 0)
		snprintf(c->program, sizeof(c->program), "%s", hello->program);
	return 0;
}

int channel_peer_admit(struct channel_conn *c, const Isthmus__ChannelHello *hello)
{
	if (!channel_name_valid(hello->head) || !channel_name_valid(hello->group) ||
	    hello->instance == 0 || hello->instance == INSTANCE_NOBODY)
		return -EINVAL;
	struct channel_peer *p = peer_get(c->server, hello->head);
	if (!p)
		return -ENOMEM;
	task_mutex_lock(&p->admitting);
	int rc = admit_locked(p, c, hello);
	task_mutex_unlock(&p->admitting);
	peer_put(p);
	return rc;
}

void channel_peer_leave(struct channel_conn *c)
{
	struct channel_peer *p = c->peer;
	if (!p)
		return;
	channel_exec_stop(c->exec);
	channel_exec_free(c->exec);
	c->exec = NULL;
	c->peer = NULL;
	p->conn = NULL;
	waitq_wake_all(&p->conn_gone);
}

/* Nothing that is taken from its ring from now on is carried out; the file stays until the head's
 * process is gone, or the next instance comes here too. */
static void fence_segment(struct channel_peer *p, uint64_t after)
{
	if (!after || atomic_load(&p->seg->fenced))
		return;
	channel_seg_fence(p->seg, after);
	log_notice("channel: instance fenced head=%s epoch=%llu", p->name,
		   (unsigned long long)after);
	if (p->conn)
		channel_conn_close(p->conn);
}

void channel_peer_fence(struct channel_server *s, const Isthmus__ArrayMeta *am)
{
	struct channel_peer *p;
	TAILQ_FOREACH (p, &s->peers, link)
		if (p->seg)
			fence_segment(p, channel_epoch_after(am, p->seg));
}

static int revoke_locked(struct channel_peer *p, pid_t pid)
{
	uint64_t after;
	if (!p->seg)
		return -ENOENT;
	if (pid && p->seg->pid != pid)
		return -ESRCH;
	if (atomic_load(&p->seg->fenced))
		return 0;
	int rc = channel_epoch_revoke(p->server, p->seg, &after);
	if (rc == 0 && p->seg)
		fence_segment(p, after);
	return rc;
}

int channel_peer_revoke(struct channel_server *s, const char *name, pid_t pid)
{
	struct channel_peer *p = channel_peer_find(s, name);
	if (!p)
		return -ENOENT;
	p->users++;
	task_mutex_lock(&p->admitting);
	int rc = revoke_locked(p, pid);
	task_mutex_unlock(&p->admitting);
	peer_put(p);
	return rc;
}

/* ---- segments without a connection ---- */

/* It is no segment of a head that may live: the file says so, not a try that failed. */
static bool is_nobodys(int rc)
{
	return rc == -ERR_CORRUPT || rc == -ELOOP || rc == -ENXIO || rc == -EISDIR;
}

static int restore_one(struct channel_server *s, const char *path)
{
	struct channel_seg *seg;
	int rc = channel_seg_open(&seg, core_cache(s->opts.core), s->npages, path);
	if (rc && is_nobodys(rc)) {
		log_notice("channel: segment left by another time removed path=%s why=%s", path,
			   err_name(rc));
		unlink(path);
	}
	if (rc)
		return is_nobodys(rc) || rc == -ENOENT ? 0 : rc;
	if (channel_seg_abandoned(seg)) {
		channel_seg_free(seg, true);
		return 0;
	}
	struct channel_peer *p = seg->fenced ? NULL : peer_get(s, seg->head);
	if (!p && !seg->fenced) {
		channel_seg_free(seg, false);
		return -ENOMEM;
	}
	if (p && !p->seg)
		p->seg = seg;
	else
		TAILQ_INSERT_TAIL(&s->fenced, seg, link);
	if (p)
		peer_put(p);
	log_info("channel: pages held by a head stay held head=%s instance=%llx fenced=%d",
		 seg->head, (unsigned long long)seg->instance, seg->fenced);
	return 0;
}

int channel_peer_restore(struct channel_server *s)
{
	char path[512];
	struct dirent *de;
	int rc = 0;
	DIR *dir = opendir(s->memory_dir);
	if (!dir)
		return errno == ENOENT ? 0 : -errno;
	while (rc == 0 && (errno = 0, de = readdir(dir))) {
		if (!channel_seg_name(de->d_name, s->controller))
			continue;
		if (snprintf(path, sizeof(path), "%s/%s", s->memory_dir, de->d_name) >=
		    (int)sizeof(path))
			rc = -ENAMETOOLONG;
		else
			rc = restore_one(s, path);
		if (rc)
			log_error("channel: what a head may hold is not known path=%s/%s why=%s",
				  s->memory_dir, de->d_name, err_name(rc));
	}
	if (rc == 0)
		rc = -errno;
	closedir(dir);
	return rc;
}

static void reap(struct channel_server *s)
{
	struct channel_seg *seg, *next_seg;
	struct channel_peer *p, *next;
	TAILQ_FOREACH_SAFE (seg, &s->fenced, link, next_seg) {
		if (!channel_seg_abandoned(seg))
			continue;
		TAILQ_REMOVE(&s->fenced, seg, link);
		channel_seg_free(seg, true);
	}
	TAILQ_FOREACH_SAFE (p, &s->peers, link, next) {
		if (p->conn && !p->conn->closing && channel_seg_lost(p->seg)) {
			event_write(LOG_L_WARN, "head.broken",
				    "head %s broke its channel (the segment's file changed its "
				    "size): closed",
				    p->name);
			channel_conn_close(p->conn);
		}
		if (p->users || p->conn || !p->seg || !channel_seg_abandoned(p->seg))
			continue;
		log_info("channel: head is gone head=%s", p->name);
		channel_seg_free(p->seg, true);
		p->seg = NULL;
		peer_free_if_unused(p);
	}
}

void channel_peer_reaper(void *arg)
{
	struct channel_server *s = arg;
	while (!s->stopping) {
		env_waitq_wait(env_real(), &s->reaper_q, REAP_NS);
		reap(s);
	}
	s->reaper_runs = false;
	waitq_wake_all(&s->gone_q);
}

void channel_peer_free_all(struct channel_server *s)
{
	struct channel_seg *seg;
	struct channel_peer *p;
	reap(s);
	while ((seg = TAILQ_FIRST(&s->fenced))) {
		TAILQ_REMOVE(&s->fenced, seg, link);
		channel_seg_free(seg, false);
	}
	while ((p = TAILQ_FIRST(&s->peers))) {
		ASSERT(!p->users && !p->conn);
		TAILQ_REMOVE(&s->peers, p, link);
		channel_seg_free(p->seg, false);
		free(p);
	}
}
