/*
 * isthmusd: -c FILE, -n check only. Runs in the foreground; see isthmusd(8).
 */
#include "runtime/admin.h"
#include "runtime/check.h"
#include "runtime/config_file.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include "runtime/reactor.h"
#include "server/supervisor/supervisor.h"
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct program {
	struct supervisor sup;
	char config_path[PATH_MAX], libexec[PATH_MAX];
	bool check_only;
	uv_signal_t signals[3];
	bool busy, again; /* a reload runs; another was asked for */
};

static void usage(FILE *f)
{
	fprintf(f, "usage: isthmusd [-n] [-c FILE] [--libexec DIR]\n"
		   "  -c, --config FILE   configuration (default /etc/isthmus/isthmus.yaml)\n"
		   "  -n, --check         check the configuration and end\n"
		   "      --libexec DIR   folder of isthmus-controller and isthmus-head\n");
}

/* Beside our own program when they are there, as in a build tree; else where they are installed. */
static void default_libexec(char *ret)
{
	char self[PATH_MAX], probe[PATH_MAX + 32];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	snprintf(ret, PATH_MAX, "%s", SBINDIR);
	if (n <= 0)
		return;
	self[n] = '\0';
	char *slash = strrchr(self, '/');
	if (!slash)
		return;
	*slash = '\0';
	snprintf(probe, sizeof(probe), "%s/isthmus-controller", self);
	if (access(probe, X_OK) == 0)
		snprintf(ret, PATH_MAX, "%s", self);
}

/* -1: go on; else the exit status. */
static int parse_options(struct program *p, int argc, char **argv)
{
	static const struct option longs[] = {
	    {"config", required_argument, NULL, 'c'},
	    {"check", no_argument, NULL, 'n'},
	    {"libexec", required_argument, NULL, 'l'},
	    {"help", no_argument, NULL, 'h'},
	    {NULL, 0, NULL, 0},
	};
	const char *config = "/etc/isthmus/isthmus.yaml";
	int opt;
	default_libexec(p->libexec);
	while ((opt = getopt_long(argc, argv, "c:nh", longs, NULL)) != -1) {
		switch (opt) {
		case 'c':
			config = optarg;
			break;
		case 'n':
			p->check_only = true;
			break;
		case 'l':
			if (!realpath(optarg, p->libexec)) {
				fprintf(stderr, "isthmusd: %s: %s\n", optarg, strerror(errno));
				return 2;
			}
			break;
		case 'h':
			usage(stdout);
			return 0;
		default:
			usage(stderr);
			return 2;
		}
	}
	if (optind != argc) {
		usage(stderr);
		return 2;
	}
	/* Children are given the path; it must mean the same to them. */
	if (!realpath(config, p->config_path))
		snprintf(p->config_path, sizeof(p->config_path), "%s", config);
	return -1;
}

static void say(void *arg, const char *line)
{
	fprintf(stderr, "%s\n", line);
}

/* ---- running ---- */

static void start_task(void *arg)
{
	struct program *p = arg;
	if (supervisor_start(&p->sup))
		_exit(1); /* children that were found or started live on */
	notify_start(&p->sup);
	notify_ready();
	notify_status(&p->sup);
}

static void close_signals(struct program *p)
{
	for (unsigned i = 0; i < ARRAY_LEN(p->signals); i++)
		uv_close((uv_handle_t *)&p->signals[i], NULL);
}

static void stop_task(void *arg)
{
	struct program *p = arg;
	while (p->busy)
		env_sleep_ns(env_real(), 20 * NS_PER_MS);
	notify_stopping();
	supervisor_stop(&p->sup);
	notify_stop();
	close_signals(p);
	reactor_stop(p->sup.reactor);
}

static void reload_task(void *arg)
{
	struct program *p = arg;
	do {
		p->again = false;
		supervisor_reload(&p->sup);
	} while (p->again && !p->sup.stopping);
	p->busy = false;
}

static void on_signal(uv_signal_t *h, int signum)
{
	struct program *p = h->data;
	if (p->sup.stopping)
		return;
	if (signum == SIGHUP) {
		p->again = true;
		if (!p->busy) {
			p->busy = true;
			if (task_start(reload_task, p))
				p->busy = false;
		}
		return;
	}
	p->sup.stopping = true;
	log_notice("isthmusd: stopping signal=SIG%s", sigabbrev_np(signum));
	if (task_start(stop_task, p))
		abort();
}

static void watch_signals(struct program *p)
{
	static const int signums[] = {SIGTERM, SIGINT, SIGHUP};
	signal(SIGPIPE, SIG_IGN);
	for (unsigned i = 0; i < ARRAY_LEN(signums); i++) {
		uv_signal_init(reactor_loop(p->sup.reactor), &p->signals[i]);
		p->signals[i].data = p;
		uv_signal_start(&p->signals[i], on_signal, signums[i]);
	}
}

static int run(struct program *p)
{
	struct reactor_opts o = {.name = "isthmusd", .cpu = -1, .no_uring = true};
	int rc = reactor_new(&p->sup.reactor, &o);
	if (rc)
		return rc;
	watch_signals(p);
	rc = task_start_on(reactor_sched(p->sup.reactor), start_task, p);
	if (!rc)
		reactor_run(p->sup.reactor);
	else
		close_signals(p);
	reactor_free(p->sup.reactor);
	return rc;
}

int main(int argc, char **argv)
{
	static struct program p;
	int rc = parse_options(&p, argc, argv);
	if (rc >= 0)
		return rc;
	log_set_ident("isthmusd");
	TAILQ_INIT(&p.sup.children);
	p.sup.config_path = p.config_path;
	p.sup.libexec = p.libexec;
	if (config_file_load(&p.sup.config, p.config_path, say, NULL))
		return 1;
	enum log_level level;
	if (log_level_parse(p.sup.config->array.log_level, &level) == 0)
		log_set_level(level);
	if (p.check_only) {
		printf("%s: correct\n", p.config_path);
		config_file_free(p.sup.config);
		return 0;
	}
	notify_hide_environment();
	umask(022);
	rc = supervisor_prepare(&p.sup);
	rc = rc ?: run(&p);
	config_file_free(p.sup.config);
	if (p.sup.lock_fd > 0)
		close(p.sup.lock_fd);
	return rc ? 1 : 0;
}
