/*
 * Addresses of services. One that the host does not have yet is brought up by the service's
 * address_script before its sockets are bound, and taken away again when the service is stopped for
 * good; run_dir/head-NAME.address says that this is ours to do. An address that was there before is
 * left alone.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/listen.h"
#include "runtime/log.h"
#include "runtime/process.h"
#include "runtime/reactor.h"
#include "server/supervisor/supervisor.h"

#define SCRIPT_NS (10 * NS_PER_S)
#define LOCAL_NS  (5 * NS_PER_S) /* until an address that was brought up can be used */
#define AGAIN_NS  (50 * NS_PER_MS)

/* ---- a script ---- */

struct script {
	struct waitq ended;
};

static void on_end(void *arg, int status, int events)
{
	struct script *r = arg;
	waitq_wake_all(&r->ended);
}

static _Noreturn void become(char *const argv[])
{
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	setsid(); /* a group of its own: what it starts ends with it */
	int null = open("/dev/null", O_RDWR);
	if (null >= 0) {
		dup2(null, 0);
		dup2(2, 1);
	}
	close_range(3, ~0u, CLOSE_RANGE_CLOEXEC);
	execv(argv[0], argv);
	_exit(127);
}

/* Its exit status, or -errno. Waits. */
static int wait_for(struct child *c, pid_t pid, int pidfd)
{
	struct script r;
	struct watch *w = NULL;
	siginfo_t si = {0};
	uint64_t until = env_now_ns(env_real()) + SCRIPT_NS, now;
	waitq_init(&r.ended);
	int rc = watch_new(&w, c->sup->reactor, pidfd, on_end, &r);
	rc = rc ? rc : watch_set(w, UV_READABLE);
	while (!rc && !process_has_ended(pidfd)) {
		now = env_now_ns(env_real());
		if (now >= until)
			rc = -ETIMEDOUT;
		else
			env_waitq_wait(env_real(), &r.ended, until - now);
	}
	watch_free(w);
	kill(-pid, SIGKILL);
	pidfd_send_signal(pidfd, SIGKILL, NULL, 0);
	if (waitid(P_PIDFD, (id_t)pidfd, &si, WEXITED) < 0)
		return rc ? rc : -errno;
	return rc ? rc : si.si_code == CLD_EXITED ? si.si_status : -EINTR;
}

static int run(struct child *c, char *const argv[])
{
	pid_t pid = fork();
	if (pid < 0)
		return -errno;
	if (pid == 0)
		become(argv);
	int pidfd = pidfd_open(pid, 0);
	if (pidfd < 0) {
		int rc = -errno;
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		return rc;
	}
	int rc = wait_for(c, pid, pidfd);
	close(pidfd);
	return rc;
}

static int script(struct child *c, const char *path, const char *verb, const char *address)
{
	char *const argv[] = {(char *)path, (char *)verb, (char *)address, c->name, NULL};
	int rc = run(c, argv);
	log_info("address: %s %s %s %s: %d", path, verb, address, c->name, rc);
	return rc;
}

/* ---- the address ---- */

static bool is_local(const char *address)
{
	struct sockaddr_storage sa;
	socklen_t len;
	if (listen_address(address, 0, &sa, &len))
		return true; /* not ours to judge */
	int fd = socket(sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool there = fd < 0 || bind(fd, (struct sockaddr *)&sa, len) == 0 || errno != EADDRNOTAVAIL;
	if (fd >= 0)
		close(fd);
	return there;
}

static bool becomes_local(const char *address)
{
	uint64_t until = env_now_ns(env_real()) + LOCAL_NS;
	while (!is_local(address)) {
		if (env_now_ns(env_real()) >= until)
			return false;
		env_sleep_ns(env_real(), AGAIN_NS);
	}
	return true;
}

static void mark_path(const struct child *c, char *ret, size_t size)
{
	snprintf(ret, size, "%.120s/head-%s.address", c->sup->config->array.run_dir, c->name);
}

/* What was brought up for it, with what. */
static bool mark_read(const struct child *c, char address[64], char path[256])
{
	char file[192];
	mark_path(c, file, sizeof(file));
	FILE *f = fopen(file, "re");
	bool ok = f && fscanf(f, "%63s %255[^\n]", address, path) == 2;
	if (f)
		fclose(f);
	return ok;
}

static int mark_write(const struct child *c, const char *address, const char *path)
{
	char file[192];
	mark_path(c, file, sizeof(file));
	FILE *f = fopen(file, "we");
	if (!f)
		return -errno;
	fprintf(f, "%s %s\n", address, path);
	return fclose(f) ? -errno : 0;
}

void address_down(struct child *c)
{
	char address[64], path[256], file[192];
	if (!mark_read(c, address, path))
		return;
	int rc = script(c, path, "down", address);
	if (rc || is_local(address))
		event_write(LOG_L_ERROR, "head.address",
			    "service %s: its address %s is still there after %.100s down (%s)",
			    c->name, address, path, rc < 0 ? err_text(rc) : "it ended");
	else
		event_write(LOG_L_NOTICE, "head.address", "service %s: address %s taken away",
			    c->name, address);
	mark_path(c, file, sizeof(file));
	unlink(file);
}

/* Brought up: 0, else what the script did wrong. */
static int up(struct child *c, const struct config_head *h, char why[256])
{
	/* They may go with the configuration while we wait. */
	char address[64], path[256];
	snprintf(address, sizeof(address), "%.63s", h->address);
	snprintf(path, sizeof(path), "%.255s", h->address_script);
	int rc = mark_write(c, address, path); /* first: what it left half done is taken away */
	if (rc) {
		snprintf(why, 256, "that its address was brought up cannot be kept: %s",
			 err_text(rc));
		return rc;
	}
	rc = script(c, path, "up", address);
	if (rc == 0 && becomes_local(address)) {
		event_write(LOG_L_NOTICE, "head.address", "service %s: address %s brought up",
			    c->name, address);
		return 0;
	}
	if (rc == 0)
		snprintf(why, 256, "%.120s up ended well, but address %s is not there", path,
			 address);
	else if (rc == -ETIMEDOUT)
		snprintf(why, 256, "%.120s up %s did not end within 10 s", path, address);
	else if (rc > 0)
		snprintf(why, 256, "%.120s up %s ended with status %d", path, address, rc);
	else
		snprintf(why, 256, "%.120s up %s: %s", path, address, err_text(rc));
	address_down(c);
	return rc < 0 ? rc : -EADDRNOTAVAIL;
}

int address_up(struct child *c, char why[256])
{
	char address[64], path[256];
	const struct config_head *h = config_head(c->sup->config, c->name);
	if (strcmp(c->kind, "head") != 0 || !h)
		return 0;
	if (mark_read(c, address, path) && strcmp(address, h->address) != 0)
		address_down(c);
	h = config_head(c->sup->config, c->name);
	if (!h || !h->address_script[0] || is_local(h->address))
		return 0;
	return up(c, h, why);
}
