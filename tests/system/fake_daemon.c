/*
 * A stand-in for isthmus-controller and isthmus-head in the supervisor's test:
 * answers its admin socket, ends on SIGTERM. What it does wrong is said by files
 * in run_dir: `NAME.die` (exit at once with code 3), `NAME.deaf` (ignores SIGTERM), `HEAD.broken`
 * (as die, of whatever runs at that head).
 */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "runtime/admin.h"
#include "runtime/config_file.h"
#include "runtime/log.h"
#include "runtime/reactor.h"

static struct reactor *reactor;
static struct admin_server *server;
static char self[64];

static int verb_status(struct admin_call *c, void *arg)
{
	admin_table(c, "fakes", false);
	admin_row(c);
	admin_put_text(c, "name", "%s", self);
	admin_put_number(c, "pid", (uint64_t)getpid());
	return 0;
}

static int verb_volumes(struct admin_call *c, void *arg)
{
	admin_progress(c, "looking", 1, 1);
	admin_table(c, "volumes", false);
	admin_row(c);
	admin_put_text(c, "name", "vol of %s", self);
	admin_put_bytes(c, "size", 1ull << 30);
	return 0;
}

static int verb_fs_list(struct admin_call *c, void *arg)
{
	admin_table(c, "filesystems", false);
	admin_row(c);
	admin_put_text(c, "fs", "demo");
	admin_put_text(c, "head", "h1");
	return 0;
}

static int verb_fs_verify(struct admin_call *c, void *arg)
{
	admin_note(c, "%s verified %s", self, admin_arg_text(c, "name"));
	return 0;
}

static int verb_crash(struct admin_call *c, void *arg)
{
	kill(getpid(), SIGKILL);
	return 0;
}

static void on_term(uv_signal_t *h, int signum)
{
	reactor_stop(reactor);
}

static bool told(const struct config_file *c, const char *name, const char *what)
{
	char path[160];
	snprintf(path, sizeof(path), "%.90s/%.31s.%s", c->array.run_dir, name, what);
	return access(path, F_OK) == 0;
}

static void stop_task(void *arg)
{
	admin_server_free(server);
	reactor_stop(reactor);
}

int main(int argc, char **argv)
{
	struct config_file *c;
	const char *file = NULL, *at = NULL, *slash = strrchr(argv[0], '/');
	int opt;
	static const struct option longs[] = {{"at", required_argument, NULL, 'a'},
					      {NULL, 0, NULL, 0}};
	while ((opt = getopt_long(argc, argv, "c:", longs, NULL)) != -1)
		if (opt == 'c')
			file = optarg;
		else
			at = optarg;
	if (!file || optind + 1 != argc || config_file_load(&c, file, NULL, NULL))
		return 2;
	const char *name = argv[optind], *kind = strstr(slash ? slash : argv[0], "isthmus-");
	if (!kind)
		return 2;
	kind += strlen("isthmus-");
	if (told(c, name, "die") || told(c, at ? at : name, "broken")) {
		config_file_free(c);
		return 3;
	}
	char path[108];
	snprintf(self, sizeof(self), "%.20s-%.31s", kind, name);
	config_path_admin(c, kind, name, path);
	struct reactor_opts o = {.name = "fake", .cpu = -1, .no_uring = true};
	if (reactor_new(&reactor, &o) || admin_server_new(&server, reactor, path))
		return 4;
	admin_register(server, "status", verb_status, NULL);
	admin_register(server, "volume.list", verb_volumes, NULL);
	admin_register(server, "fs.list", verb_fs_list, NULL);
	admin_register(server, "fs.verify", verb_fs_verify, NULL);
	admin_register(server, "crash", verb_crash, NULL);
	static uv_signal_t term;
	if (told(c, name, "deaf")) {
		signal(SIGTERM, SIG_IGN);
	} else {
		uv_signal_init(reactor_loop(reactor), &term);
		uv_signal_start(&term, on_term, SIGTERM);
	}
	reactor_run(reactor);
	uv_close((uv_handle_t *)&term, NULL);
	task_start_on(reactor_sched(reactor), stop_task, NULL);
	reactor_run(reactor);
	reactor_free(reactor);
	config_file_free(c);
	return 0;
}
