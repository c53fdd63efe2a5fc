#include "server/supervisor/child.h"
#include "runtime/admin.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include "runtime/process.h"
#include "runtime/reactor.h"
#include "server/supervisor/pid_file.h"
#include "server/supervisor/placement.h"
#include "server/supervisor/supervisor.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHILD_MAGIC	0x6368696c
#define QUICK_NS	(10 * NS_PER_S) /* a death within this raises the back-off */
#define FORGET_NS	(60 * NS_PER_S)
#define SERVED_NS	(2 * NS_PER_S) /* in service for so long: it did start */
#define BACKOFF_MIN_NS	(100 * NS_PER_MS)
#define BACKOFF_MAX_NS	(10 * NS_PER_S)
#define BACKOFF_UP_NS	NS_PER_S /* most for one that had been in service */
#define ELSEWHERE	3	 /* quick deaths at one head, then another is tried */
#define STOP_NS		(30 * NS_PER_S)
#define STOP_EARLY_NS	(5 * NS_PER_S)
#define PLAIN_DEATHS	3 /* so often a version did not come up: the installed one does */
#define PING_NS		(20 * NS_PER_MS)
#define PING_TIMEOUT_NS NS_PER_S
#define REFUSED_NS	(10 * NS_PER_S)
#define WATCH_NS	(2 * NS_PER_S) /* between pings of one that is up */

const char *child_state_name(enum child_state s)
{
	static const char *const names[] = {
	    [CHILD_STOPPED] = "stopped",
	    [CHILD_STARTING] = "starting",
	    [CHILD_UP] = "up",
	    [CHILD_HUNG] = "hung",
	    [CHILD_WAITING] = "waiting",
	    [CHILD_REFUSED] = "refused",
	    [CHILD_STOPPING] = "stopping",
	};
	return names[s];
}

uint64_t child_backoff_ns(unsigned quick_deaths, bool was_ready)
{
	if (quick_deaths == 0)
		return 0;
	uint64_t ns = BACKOFF_MAX_NS;
	if (quick_deaths < 8)
		ns = BACKOFF_MIN_NS << (quick_deaths - 1);
	return MIN(ns, was_ready ? BACKOFF_UP_NS : BACKOFF_MAX_NS);
}

static uint64_t now_ns(void)
{
	return env_now_ns(env_real());
}

static void set_state(struct child *c, enum child_state state)
{
	if (c->state == state)
		return;
	log_info("child: state name=%s-%s %s->%s pid=%d", c->kind, c->name,
		 child_state_name(c->state), child_state_name(state), (int)c->pid);
	c->state = state;
	c->since_ns = env_realtime_ns(env_real());
	waitq_wake_all(&c->changed);
	notify_status(c->sup);
}

static void pid_path(const struct child *c, char ret[256])
{
	pid_file_path(c->sup->config->array.run_dir, c->kind, c->name, ret);
}

/* ---- watching one process ---- */

void child_look(struct child *c)
{
	CHECK(c, CHILD_MAGIC);
	if (!process_has_ended(c->pidfd))
		return;
	c->dead = true;
	waitq_wake_all(&c->wake);
}

static void on_pidfd(void *arg, int status, int events)
{
	struct child *c = arg;
	child_look(c);
	if (c->dead)
		watch_set(c->watch, 0);
}

static int watch_process(struct child *c, pid_t pid, bool ours)
{
	int fd = pidfd_open(pid, 0);
	if (fd < 0)
		return -errno;
	int rc = watch_new(&c->watch, c->sup->reactor, fd, on_pidfd, c);
	rc = rc ?: watch_set(c->watch, UV_READABLE);
	if (rc) {
		watch_free(c->watch);
		c->watch = NULL;
		close(fd);
		return rc;
	}
	c->pidfd = fd;
	c->pid = pid;
	c->ours = ours;
	c->dead = false;
	c->lives++;
	c->started_ns = now_ns();
	c->ready_ns = c->silent_ns = 0;
	return 0;
}

static void forget_process(struct child *c)
{
	watch_free(c->watch);
	c->watch = NULL;
	close(c->pidfd);
	c->pidfd = -1;
	c->pid = 0;
}

/* How it ended, in words; reaps it. */
static void describe_end(struct child *c)
{
	siginfo_t si = {0};
	if (!c->ours || waitid(P_PIDFD, (id_t)c->pidfd, &si, WEXITED | WNOHANG) < 0 ||
	    si.si_pid == 0)
		snprintf(
		    c->why, sizeof(c->why),
		    "ended; it was started by an earlier isthmusd, so its status is not known");
	else if (si.si_code == CLD_EXITED && si.si_status == 127)
		snprintf(c->why, sizeof(c->why), "its program could not be run from %.100s",
			 c->sup->libexec);
	else if (si.si_code == CLD_EXITED)
		snprintf(c->why, sizeof(c->why), "exited with code %d", si.si_status);
	else
		snprintf(c->why, sizeof(c->why), "killed by SIG%s%s",
			 sigabbrev_np(si.si_status) ? sigabbrev_np(si.si_status) : "?",
			 si.si_code == CLD_DUMPED ? ", core dumped" : "");
}

/* ---- starting ---- */

/* The child's side of fork(): never returns. */
static _Noreturn void become(const struct child *c, const char *program, const char *pid_file)
{
	bool boot = strcmp(c->kind, "head") == 0 && !c->plain;
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	setsid(); /* a terminal's Ctrl-C is for isthmusd, which stops us in order */
	int null = open("/dev/null", O_RDONLY);
	if (null >= 0)
		dup2(null, 0);
	listen_hand_over(c->sockets, c->nsockets);
	const char *at = strcmp(c->place, c->name) != 0 ? c->place : NULL;
	const char *argv[8] = {program, "-c", c->sup->config_path};
	unsigned argc = 3;
	if (boot)
		argv[argc++] = "--boot";
	if (at) {
		argv[argc++] = "--at";
		argv[argc++] = at;
	}
	argv[argc] = c->name;
	if (pid_file_write(pid_file, program) == 0)
		execv(program, (char *const *)argv);
	_exit(127);
}

static int spawn(struct child *c)
{
	char program[512], pid_file[256];
	snprintf(program, sizeof(program), "%.400s/isthmus-%s", c->sup->libexec, c->kind);
	pid_path(c, pid_file);
	pid_t pid = fork();
	if (pid < 0)
		return -errno;
	if (pid == 0)
		become(c, program, pid_file);
	int rc = watch_process(c, pid, true);
	if (rc)
		kill(pid, SIGKILL);
	return rc;
}

/* False: it may not or could not be started; c->why says why. */
static bool start(struct child *c)
{
	char why[256] = "";
	int rc = address_up(c, why);
	sockets_open(c);
	if (strcmp(c->kind, "controller") == 0)
		rc = segment_prepare(c->sup->config, c->name, why);
	if (!rc && (rc = spawn(c)))
		snprintf(why, sizeof(why), "cannot be started: %s", err_text(rc));
	if (!rc) {
		event_write(LOG_L_NOTICE, "process.start", "%s %s started, pid %d", c->kind,
			    c->name, (int)c->pid);
		set_state(c, CHILD_STARTING);
		return true;
	}
	if (strncmp(c->why, why, sizeof(c->why) - 1) != 0 || c->state != CHILD_REFUSED)
		event_write(LOG_L_ERROR, "process.refused", "%s %s: %.160s", c->kind, c->name, why);
	snprintf(c->why, sizeof(c->why), "%.191s", why);
	c->died_ns = env_realtime_ns(env_real());
	set_state(c, CHILD_REFUSED);
	return false;
}

/* One that an earlier isthmusd started. */
static bool find(struct child *c)
{
	char path[256];
	pid_path(c, path);
	pid_t pid = pid_file_find(path);
	if (!pid || watch_process(c, pid, false))
		return false;
	event_write(LOG_L_NOTICE, "process.found", "%s %s is running already, pid %d", c->kind,
		    c->name, (int)pid);
	sockets_open(c);
	set_state(c, CHILD_STARTING);
	return true;
}

/* ---- one life ---- */

static uint64_t reply_pid(const Isthmus__AdminReply *r)
{
	if (r->code == 0 && r->n_tables == 1 && r->tables[0]->n_rows == 1)
		for (size_t i = 0; i < r->tables[0]->rows[0]->n_fields; i++) {
			const Isthmus__AdminField *f = r->tables[0]->rows[0]->fields[i];
			if (strcmp(f->name, "pid") == 0 && f->value)
				return f->value->number;
		}
	return 0;
}

/* Does this very process answer? (After kill -9 a stale socket is there, or an older process.) */
static bool answers(struct child *c)
{
	char path[108];
	Isthmus__AdminRequest req = ISTHMUS__ADMIN_REQUEST__INIT;
	Isthmus__AdminReply *reply;
	config_path_admin(c->sup->config, c->kind, c->name, path);
	req.verb = "ping";
	if (admin_task_call(path, &req, PING_TIMEOUT_NS, NULL, &reply))
		return false;
	bool same = reply_pid(reply) == (uint64_t)c->pid;
	isthmus__admin_reply__free_unpacked(reply, NULL);
	return same;
}

static void terminate(struct child *c)
{
	set_state(c, CHILD_STOPPING);
	pidfd_send_signal(c->pidfd, SIGTERM, NULL, 0);
	/* A head that was never in service serves nobody who would wait for its answers. */
	bool early = !c->ready_ns && strcmp(c->kind, "head") == 0;
	uint64_t until = now_ns() + (early ? STOP_EARLY_NS : STOP_NS);
	while (!c->dead && now_ns() < until)
		env_waitq_wait(env_real(), &c->wake, until - now_ns());
	if (c->dead)
		return;
	event_write(LOG_L_ERROR, "process.killed",
		    "%s %s did not end within %llu s of SIGTERM and was killed", c->kind, c->name,
		    (unsigned long long)((early ? STOP_EARLY_NS : STOP_NS) / NS_PER_S));
	pidfd_send_signal(c->pidfd, SIGKILL, NULL, 0);
	while (!c->dead)
		waitq_wait(&c->wake);
}

/* It has not answered since c->silent_ns. */
static void hung(struct child *c)
{
	if (c->state != CHILD_HUNG)
		event_write(LOG_L_ERROR, "process.hung",
			    "%s %s, pid %d, has not answered for %u s: it hangs, is stopped or "
			    "overloaded",
			    c->kind, c->name, (int)c->pid, c->sup->config->array.watchdog);
	set_state(c, CHILD_HUNG);
	if (!config_watchdog_restart(c->sup->config))
		return;
	event_write(LOG_L_ERROR, "process.killed", "%s %s hangs and is killed by the watchdog",
		    c->kind, c->name);
	pidfd_send_signal(c->pidfd, SIGKILL, NULL, 0);
	while (!c->dead)
		waitq_wait(&c->wake);
}

/*
 * One round of the watchdog. Silence is measured between pings that failed, so that an isthmusd
 * that was itself stopped for a while blames nobody.
 */
static void watch_answers(struct child *c)
{
	uint64_t limit = c->sup->config->array.watchdog * NS_PER_S;
	env_waitq_wait(env_real(), &c->wake, limit ? MIN(WATCH_NS, limit / 4) : WATCH_NS);
	limit = c->sup->config->array.watchdog * NS_PER_S; /* a reload may have changed it */
	if (c->dead || c->want_stop)
		return;
	uint64_t asked = now_ns();
	if (limit && !answers(c)) {
		c->silent_ns = c->silent_ns ? c->silent_ns : asked;
		if (!c->dead && !c->want_stop && now_ns() - c->silent_ns >= limit)
			hung(c);
		return;
	}
	c->silent_ns = 0;
	if (c->state == CHILD_HUNG)
		event_write(LOG_L_NOTICE, "process.answers", "%s %s, pid %d, answers again",
			    c->kind, c->name, (int)c->pid);
	set_state(c, CHILD_UP);
}

static void live(struct child *c)
{
	while (!c->dead && !c->want_stop) {
		if (c->ready_ns) {
			watch_answers(c);
		} else if (answers(c)) {
			c->ready_ns = now_ns();
			set_state(c, CHILD_UP);
		} else if (!c->dead && !c->want_stop) {
			env_waitq_wait(env_real(), &c->wake, PING_NS);
		}
	}
	if (!c->dead)
		terminate(c);
}

/* Counts the death and sets when the next start may be. */
static void bury(struct child *c)
{
	char path[256];
	uint64_t lived = now_ns() - c->started_ns;
	pid_t pid = c->pid;
	describe_end(c);
	forget_process(c);
	pid_path(c, path);
	unlink(path);
	if (strcmp(c->kind, "head") == 0) {
		config_path_beat(c->sup->config, c->name, path);
		unlink(path);
	}
	c->died_ns = env_realtime_ns(env_real());
	event_write(c->want_stop ? LOG_L_NOTICE : LOG_L_ERROR,
		    c->want_stop ? "process.stop" : "process.death", "%s %s, pid %d: %.140s",
		    c->kind, c->name, (int)pid, c->why);
	if (c->want_stop)
		return;
	bool served = c->ready_ns && now_ns() - c->ready_ns >= SERVED_NS;
	if (served || lived >= FORGET_NS)
		c->quick_deaths = 0;
	uint64_t wait = child_backoff_ns(c->quick_deaths, c->ready_ns != 0);
	c->unready = c->ready_ns ? 0 : c->unready + 1;
	bool fall_back = !c->plain && c->unready >= PLAIN_DEATHS && strcmp(c->kind, "head") == 0;
	if (fall_back) {
		c->plain = true;
		event_write(LOG_L_ERROR, "head.fallback",
			    "head %s did not come up %u times: the installed program is started",
			    c->name, PLAIN_DEATHS);
	}
	if (lived < QUICK_NS)
		c->quick_deaths++;
	c->failed_here = served ? 0 : c->failed_here + 1;
	if (c->failed_here >= ELSEWHERE && !fall_back)
		placement_avoid(c);
	c->next_start_ns = now_ns() + wait;
	c->restarts++;
	if (wait)
		event_write(LOG_L_WARN, "process.backoff",
			    "%s %s is restarted in %llu ms (restart %u)", c->kind, c->name,
			    (unsigned long long)(wait / NS_PER_MS), c->restarts);
	set_state(c, CHILD_WAITING);
}

static void wait_until(struct child *c, uint64_t until)
{
	c->next_start_ns = until;
	while (!c->want_stop && now_ns() < c->next_start_ns)
		env_waitq_wait(env_real(), &c->wake, c->next_start_ns - now_ns());
}

static void child_task(void *arg)
{
	struct child *c = arg;
	bool found = find(c);
	while (!c->want_stop) {
		if (!found && !start(c)) {
			wait_until(c, now_ns() + REFUSED_NS);
		} else {
			if (found && !placement_holds(c))
				child_restart(c); /* in order, and there */
			live(c);
			bury(c);
			found = false;
			wait_until(c, c->next_start_ns);
		}
		if (c->want_restart) {
			c->want_restart = c->want_stop = c->plain = false;
			c->quick_deaths = 0;
			set_state(c, CHILD_STARTING);
		}
	}
	sockets_close(c);
	address_down(c);
	set_state(c, CHILD_STOPPED);
	c->ended = true;
	waitq_wake_all(&c->changed);
}

/* ---- from outside ---- */

int child_new(struct child **ret, struct supervisor *sup, const char *kind, const char *name,
	      const char *settings)
{
	struct child *c = calloc(1, sizeof(*c));
	char *copy = strdup(settings);
	if (!c || !copy) {
		free(c);
		free(copy);
		return -ENOMEM;
	}
	c->magic = CHILD_MAGIC;
	c->sup = sup;
	snprintf(c->kind, sizeof(c->kind), "%s", kind);
	snprintf(c->name, sizeof(c->name), "%s", name);
	c->settings = copy;
	c->pidfd = -1;
	c->ended = true;
	c->since_ns = env_realtime_ns(env_real());
	waitq_init(&c->wake);
	waitq_init(&c->changed);
	*ret = c;
	return 0;
}

void child_free(struct child *c)
{
	CHECK(c, CHILD_MAGIC);
	ASSERT(c->ended);
	free(c->settings);
	c->magic = 0;
	free(c);
}

int child_run(struct child *c)
{
	CHECK(c, CHILD_MAGIC);
	c->ended = false;
	int rc = task_start(child_task, c);
	if (rc)
		c->ended = true;
	return rc;
}

void child_stop(struct child *c)
{
	CHECK(c, CHILD_MAGIC);
	c->want_stop = true;
	c->want_restart = false;
	waitq_wake_all(&c->wake);
}

void child_restart(struct child *c)
{
	CHECK(c, CHILD_MAGIC);
	c->want_stop = c->want_restart = true;
	waitq_wake_all(&c->wake);
}

void child_join(struct child *c)
{
	CHECK(c, CHILD_MAGIC);
	while (!c->ended || c->users)
		waitq_wait(&c->changed);
}

/* What has become of it since it was told to begin its life of that number. */
static int new_life(const struct child *c, unsigned life)
{
	if (c->ended || (c->want_stop && !c->want_restart))
		return -ENOTCONN;
	if (c->want_restart)
		return -EAGAIN;
	if (c->state == CHILD_WAITING || c->state == CHILD_REFUSED)
		return -ECHILD;
	return c->state == CHILD_UP && (int)(c->lives - life) >= 0 ? 0 : -EAGAIN;
}

int child_replace(struct child *c, uint64_t timeout_ns)
{
	CHECK(c, CHILD_MAGIC);
	uint64_t until = now_ns() + timeout_ns;
	unsigned life = c->lives + 1;
	int rc;
	if (c->ended || (c->want_stop && !c->want_restart))
		return -ENOTCONN;
	c->users++;
	child_restart(c);
	while ((rc = new_life(c, life)) == -EAGAIN && now_ns() < until)
		env_waitq_wait(env_real(), &c->changed, until - now_ns());
	child_leave(c);
	return rc == -EAGAIN ? -ETIMEDOUT : rc;
}

void child_leave(struct child *c)
{
	if (--c->users == 0)
		waitq_wake_all(&c->changed);
}

void child_kick(struct child *c)
{
	CHECK(c, CHILD_MAGIC);
	if (c->state != CHILD_REFUSED && c->state != CHILD_WAITING)
		return;
	c->next_start_ns = 0;
	waitq_wake_all(&c->wake);
}
