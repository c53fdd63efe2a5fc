/* See lease.h. */
#include "server/supervisor/lease.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>
#include "runtime/admin.h"
#include "runtime/beat.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include "runtime/process.h"
#include "server/supervisor/supervisor.h"

#define START_MIN_NS (10 * NS_PER_S)
#define LOST_MAX     5
#define SOON_NS	     (5 * NS_PER_S)
#define SETTLED_NS   (60 * NS_PER_S) /* of service, after which losses before are forgotten */
#define FENCE_NS     NS_PER_S /* of a controller's answer; the kill that follows fences as well */

static uint64_t now_ns(void)
{
	return env_now_ns(env_real());
}

/* ---- what counts ---- */

uint64_t lease_look(struct lease *l, const struct lease_sight *s)
{
	uint64_t d = MIN(s->now_ns - l->looked_ns, 2 * BEAT_NS);
	uint64_t waited = s->waited_ns - l->waited_ns;
	if (s->count != l->count)
		l->silent_ns = 0;
	else if (s->state != 'D')
		l->silent_ns += d - MIN(d, waited);
	l->count = s->count;
	l->waited_ns = s->waited_ns;
	l->looked_ns = s->now_ns;
	return l->silent_ns;
}

uint64_t lease_limit_ns(unsigned seconds, bool serving, unsigned lost)
{
	uint64_t ns = seconds * NS_PER_S;
	if (!serving)
		ns = MAX(5 * ns, START_MIN_NS);
	return ns << MIN(lost, LOST_MAX);
}

/* ---- a lease is lost ---- */

struct loss {
	struct supervisor *s;
	char name[32];
	pid_t pid;
	int pidfd;
};

/* Metadata of partners is one: who is asked first does it for both. */
static int fence(struct loss *l)
{
	struct supervisor *s = l->s;
	char path[108], pid[24];
	Isthmus__AdminArg name = ISTHMUS__ADMIN_ARG__INIT, number = ISTHMUS__ADMIN_ARG__INIT;
	Isthmus__AdminArg *args[] = {&name, &number};
	Isthmus__AdminRequest req = ISTHMUS__ADMIN_REQUEST__INIT;
	int rc = -ENOTCONN;
	snprintf(pid, sizeof(pid), "%d", (int)l->pid);
	name.name = (char *)"name";
	name.value = l->name;
	number.name = (char *)"pid";
	number.value = pid;
	req.verb = (char *)"head.fence";
	req.args = args;
	req.n_args = 2;
	for (unsigned i = 0; i < s->config->controllers_count && rc; i++) {
		Isthmus__AdminReply *reply;
		config_path_admin(s->config, "controller", s->config->controllers[i].name, path);
		int called = admin_task_call(path, &req, FENCE_NS, NULL, &reply);
		if (called)
			continue;
		rc = reply->code;
		isthmus__admin_reply__free_unpacked(reply, NULL);
	}
	return rc;
}

static void loss_main(void *arg)
{
	struct loss *l = arg;
	int rc = fence(l);
	if (rc)
		log_notice("lease: not fenced at a controller head=%s pid=%d why=%s", l->name,
			   (int)l->pid, err_name(rc));
	pidfd_send_signal(l->pidfd, SIGKILL, NULL, 0);
	close(l->pidfd);
	if (--l->s->losses == 0)
		waitq_wake_all(&l->s->leases);
	free(l);
}

static void lose(struct supervisor *s, struct child *c)
{
	struct loss *l = calloc(1, sizeof(*l));
	event_write(
	    LOG_L_ERROR, "head.hung",
	    "head %s, pid %d, has given no sign of life for %llu ms: it is fenced and replaced",
	    c->name, (int)c->pid, (unsigned long long)(c->lease.silent_ns / NS_PER_MS));
	bool soon = now_ns() - c->started_ns < c->lease.silent_ns + SOON_NS;
	c->leases_lost = soon ? c->leases_lost + 1 : 0;
	c->lease.silent_ns = 0; /* if this does not help it is tried again */
	if (!l)
		return;
	l->s = s;
	l->pid = c->pid;
	l->pidfd = fcntl(c->pidfd, F_DUPFD_CLOEXEC, 3);
	snprintf(l->name, sizeof(l->name), "%s", c->name);
	if (l->pidfd < 0 || task_start(loss_main, l)) {
		if (l->pidfd >= 0)
			close(l->pidfd);
		free(l);
		return;
	}
	s->losses++;
}

/* ---- the looks ---- */

static void look(struct supervisor *s, struct child *c)
{
	const struct config_head *h = config_head(s->config, c->name);
	struct beat_seen seen = {0};
	struct lease_sight sight = {.now_ns = now_ns()};
	char path[108];
	if (!h || !h->head_lease || !c->pid || c->dead)
		return;
	config_path_beat(s->config, c->name, path);
	if (process_look(c->pid, &sight.state, &sight.waited_ns))
		return;
	if (beat_look(path, &seen) || seen.pid != c->pid) {
		/* Its start has not come so far. It may wait long, for a controller; but not
		 * stopped. */
		seen = (struct beat_seen){0};
		if (sight.state != 'T')
			return;
	}
	if (c->ready_ns && sight.now_ns - c->ready_ns > SETTLED_NS)
		c->leases_lost = 0;
	sight.count = seen.count;
	if (c->lease.pid != c->pid)
		c->lease = (struct lease){.pid = c->pid, .looked_ns = sight.now_ns};
	if (lease_look(&c->lease, &sight) >=
	    lease_limit_ns(h->head_lease, seen.serving, c->leases_lost))
		lose(s, c);
}

static void lease_main(void *arg)
{
	struct supervisor *s = arg;
	struct child *c;
	while (!s->stopping) {
		TAILQ_FOREACH (c, &s->children, link)
			if (strcmp(c->kind, "head") == 0)
				look(s, c);
		env_waitq_wait(env_real(), &s->leases, BEAT_NS);
	}
	s->losses--;
	waitq_wake_all(&s->leases);
}

int lease_start(struct supervisor *s)
{
	waitq_init(&s->leases);
	int rc = task_start(lease_main, s);
	s->losses = rc == 0;
	return rc;
}

void lease_stop(struct supervisor *s)
{
	waitq_wake_all(&s->leases);
	while (s->losses)
		waitq_wait(&s->leases);
}
