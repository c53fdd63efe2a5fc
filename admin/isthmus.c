/* isthmus: the CLI. See admin/README.md and isthmus(1). */
#include "config.h"
#include "admin/cli.h"
#include "runtime/config_file.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_CONFIG "/etc/isthmus/isthmus.yaml"
#define DEFAULT_SOCKET "/run/isthmus/isthmusd.sock"
#define TIMEOUT_NS     (60 * NS_PER_S)
#define OUTPUT_BUFFER  (64 * 1024) /* what a pipe takes */

/* ---- telling ---- */

int cli_fail(struct cli *c, int status, int code, const char *remedy, const char *fmt, ...)
{
	char text[1024];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (c->json) {
		json_t *j = cli_json_error(code, text, remedy);
		json_dumpf(j, stdout, JSON_INDENT(2));
		putchar('\n');
		json_decref(j);
		return status;
	}
	for (char *p = text; *p; p++)
		if ((unsigned char)*p < 0x20)
			*p = ' ';
	fprintf(stderr, "isthmus: %s%s%s\n", text, remedy && *remedy ? "; " : "",
		remedy ? remedy : "");
	return status;
}

static void say(void *arg, const char *line)
{
	fprintf(stderr, "%s\n", line);
}

static void keep_line(void *arg, const char *line)
{
	json_array_append_new(arg, json_string(line) ?: json_null());
}

/* ---- reaching the daemon ---- */

/* 0, or the exit status after telling. */
static int find_socket(struct cli *c, bool quiet, char ret[108])
{
	const char *config = c->config ? c->config : getenv("ISTHMUS_CONFIG");
	struct config_file *f;
	if (c->socket) {
		if (strlen(c->socket) > 107)
			return cli_fail(c, EXIT_USAGE, -ENAMETOOLONG, NULL,
					"--socket: the path is too long");
		strcpy(ret, c->socket);
		return 0;
	}
	if (!config && access(DEFAULT_CONFIG, R_OK) < 0) {
		strcpy(ret, DEFAULT_SOCKET);
		return 0;
	}
	if (config_file_load(&f, config ? config : DEFAULT_CONFIG, quiet || c->json ? NULL : say,
			     NULL)) {
		if (c->json && !quiet)
			return cli_fail(c, EXIT_FAILED, -ERR_CONFIG,
					"isthmus config check tells what",
					"the configuration is wrong");
		return EXIT_FAILED;
	}
	config_path_supervisor(f, ret);
	config_file_free(f);
	return 0;
}

struct progress {
	bool shown;
};

static void on_progress(void *arg, const Isthmus__AdminProgress *p)
{
	struct progress *s = arg;
	s->shown = true;
	if (p->total)
		fprintf(stderr, "\r\033[K%.60s %3.0f%%", p->what,
			100.0 * (double)p->done / (double)p->total);
	else
		fprintf(stderr, "\r\033[K%.60s ...", p->what);
	fflush(stderr);
}

static int unreachable(struct cli *c, const char *path, int rc)
{
	if (rc == -EACCES)
		return cli_fail(c, EXIT_NO_DAEMON, rc,
				"be root, or a member of the array's admin_group",
				"%s: you are not permitted to administer this array", path);
	if (rc == -ENOENT || rc == -ECONNREFUSED)
		return cli_fail(c, EXIT_NO_DAEMON, rc, "start isthmusd, or say --config FILE",
				"isthmusd does not run (nothing answers at %s)", path);
	return cli_fail(c, EXIT_NO_DAEMON, rc, "see isthmusd's log", "isthmusd at %s: %s", path,
			err_text(rc));
}

int cli_call(struct cli *c, const char *verb, bool quiet, Isthmus__AdminReply **ret)
{
	char path[108];
	struct progress progress = {0};
	int status = find_socket(c, quiet, path);
	if (status)
		return status;
	bool tty = isatty(2) && !c->json && !quiet;
	c->req.verb = (char *)verb;
	uint64_t timeout = c->verb->flags & VERB_LONG ? 0 : quiet ? 2 * NS_PER_S : TIMEOUT_NS;
	int rc =
	    admin_client_call(path, &c->req, timeout, tty ? on_progress : NULL, &progress, ret);
	if (progress.shown)
		fprintf(stderr, "\r\033[K");
	if (rc)
		return quiet ? EXIT_NO_DAEMON : unreachable(c, path, rc);
	if ((*ret)->code == 0)
		return 0;
	if (!quiet)
		status =
		    cli_fail(c, EXIT_FAILED, (*ret)->code, (*ret)->remedy, "%s", (*ret)->error);
	isthmus__admin_reply__free_unpacked(*ret, NULL);
	return quiet ? EXIT_FAILED : status;
}

static int call_and_show(struct cli *c)
{
	Isthmus__AdminReply *r;
	int status = cli_call(c, c->verb->name, false, &r);
	if (status)
		return status;
	cli_latency_expand(r);
	if (c->json) {
		json_t *j = cli_json(r);
		json_dumpf(j, stdout, JSON_INDENT(2));
		putchar('\n');
		json_decref(j);
	} else {
		cli_show(stdout, r);
	}
	isthmus__admin_reply__free_unpacked(r, NULL);
	return fflush(stdout) ? EXIT_FAILED : EXIT_OK;
}

/* ---- local verbs ---- */

/* The head starts all the same, without Kerberos: so it is told here. */
static int keytabs_look(const struct config_file *f, void (*tell)(void *, const char *), void *arg)
{
	char why[CONFIG_WHY_LEN];
	int rc = 0;
	for (unsigned i = 0; i < f->heads_count; i++)
		if (config_keytab_look(&f->heads[i], why)) {
			tell(arg, why);
			rc = -EINVAL;
		}
	return rc;
}

static int config_check(struct cli *c)
{
	const char *path = cli_arg(c, "file");
	struct config_file *f;
	if (!path)
		path = c->config ? c->config : DEFAULT_CONFIG;
	json_t *lines = json_array();
	int rc = config_file_load(&f, path, c->json ? keep_line : say, lines);
	void (*tell)(void *, const char *) = c->json ? keep_line : say;
	if (!rc) {
		rc = keytabs_look(f, tell, lines);
		config_file_free(f);
	}
	if (c->json) {
		json_t *j = json_object();
		json_object_set_new(j, "correct", json_boolean(rc == 0));
		json_object_set(j, "problems", lines);
		json_dumpf(j, stdout, JSON_INDENT(2));
		putchar('\n');
		json_decref(j);
	} else if (!rc) {
		printf("%s: correct\n", path);
	}
	json_decref(lines);
	return rc ? EXIT_FAILED : EXIT_OK;
}

static int completion(struct cli *c)
{
	if (strcmp(cli_arg(c, "shell"), "bash") != 0)
		return cli_fail(c, EXIT_USAGE, -EINVAL, "use bash",
				"there is only bash completion");
	fputs(cli_bash_completion, stdout);
	return EXIT_OK;
}

static int version(struct cli *c)
{
	if (c->json)
		printf("{\"version\": \"%s\"}\n", PACKAGE_VERSION);
	else
		printf("isthmus %s\n", PACKAGE_VERSION);
	return EXIT_OK;
}

/* A file system that no head has mounted is the matter of a program of its own. Returns only when
 * that cannot be run. */
static int fsck(struct cli *c, const char *const options[4], const char *device)
{
	char self[PATH_MAX], program[PATH_MAX + 32];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	self[n > 0 ? n : 0] = '\0';
	char *slash = strrchr(self, '/');
	if (slash)
		*slash = '\0';
	snprintf(program, sizeof(program), "%s/isthmus-fsck", self);
	if (access(program, X_OK) < 0)
		snprintf(program, sizeof(program), "%s/isthmus-fsck", SBINDIR);
	const char *argv[8] = {program};
	unsigned argc = 1;
	for (unsigned i = 0; i < 4 && options[i]; i++)
		argv[argc++] = options[i];
	argv[argc++] = "--";
	argv[argc] = device;
	fflush(stdout);
	execv(program, (char *const *)argv);
	return cli_fail(c, EXIT_FAILED, -errno, "install it", "%s cannot be run: %s", program,
			strerror(errno));
}

static int check_device(struct cli *c)
{
	const char *const options[4] = {cli_arg(c, "repair") ? "--repair" : NULL};
	return fsck(c, options, cli_arg(c, "device"));
}

static int dump_device(struct cli *c)
{
	const char *lines = cli_arg(c, "lines");
	const char *const options[4] = {"--dump", cli_arg(c, "what"), lines ? "--lines" : NULL,
					lines};
	if (c->json)
		return cli_fail(c, EXIT_USAGE, -EINVAL, "leave --json out",
				"a dump is text for people");
	return fsck(c, options, cli_arg(c, "device"));
}

/* The controller opens it: by a path that means the same to it. */
static int install(struct cli *c)
{
	const char *file = cli_arg(c, "file");
	char *path = realpath(file, NULL);
	if (!path)
		return cli_fail(c, EXIT_FAILED, -errno, NULL, "%s: %s", file, strerror(errno));
	c->owned[c->nowned++] = path; /* one argument, far from the most there may be */
	return cli_add(c, "path", path)
		   ? call_and_show(c)
		   : cli_fail(c, EXIT_USAGE, -E2BIG, NULL, "there are too many arguments");
}

static int run(struct cli *c)
{
	const char *name = c->verb->name;
	if (strcmp(name, "config.check") == 0)
		return config_check(c);
	if (strcmp(name, "completion") == 0)
		return completion(c);
	if (strcmp(name, "version") == 0)
		return version(c);
	if (strcmp(name, "software.install") == 0)
		return install(c);
	if (strcmp(name, "top") == 0)
		return cli_top(c);
	if (strcmp(name, "event.list") == 0 && cli_arg(c, "follow"))
		return cli_follow_events(c);
	if (strcmp(name, "fs.check") == 0 && cli_arg(c, "device"))
		return check_device(c);
	if (strcmp(name, "fs.dump") == 0)
		return dump_device(c);
	return call_and_show(c);
}

/* ---- the command line ---- */

static int help(struct cli *c, int argc, char **argv)
{
	if (argc == 0) {
		cli_help(stdout);
		return EXIT_OK;
	}
	if (!noun_find(argv[0]))
		return cli_fail(c, EXIT_USAGE, 0, "see isthmus help", "there is no noun `%.64s`",
				argv[0]);
	cli_help_noun(stdout, argv[0]);
	return EXIT_OK;
}

static int wrong_verb(struct cli *c, const char *noun, const char *word)
{
	char remedy[96];
	if (!noun_find(noun))
		return cli_fail(c, EXIT_USAGE, 0, "see isthmus help", "there is no noun `%.64s`",
				noun);
	snprintf(remedy, sizeof(remedy), "see isthmus help %s", noun);
	if (!word)
		return cli_fail(c, EXIT_USAGE, 0, remedy, "what of the %s is missing", noun);
	return cli_fail(c, EXIT_USAGE, 0, remedy, "%s has no verb `%.64s`", noun, word);
}

/* Global options before the noun. Returns how many words they take, -1 (told). */
static int global_options(struct cli *c, int argc, char **argv)
{
	int i = 0;
	while (i < argc && strncmp(argv[i], "-", 1) == 0) {
		const char **to = strcmp(argv[i], "--config") == 0 || strcmp(argv[i], "-c") == 0
				      ? &c->config
				  : strcmp(argv[i], "--socket") == 0 ? &c->socket
								     : NULL;
		if (strcmp(argv[i], "--json") == 0) {
			c->json = true;
			i++;
		} else if (to && i + 1 < argc) {
			*to = argv[i + 1];
			i += 2;
		} else if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0 ||
			   strcmp(argv[i], "--version") == 0) {
			argv[i] += strspn(argv[i], "-");
			if (argv[i][1] == '\0')
				argv[i] = "help";
			return i;
		} else {
			cli_fail(c, EXIT_USAGE, 0, "see isthmus help",
				 to ? "%s wants a value" : "there is no option %s", argv[i]);
			return -1;
		}
	}
	return i;
}

static int main_words(struct cli *c, int argc, char **argv)
{
	if (argc >= 1 && strcmp(argv[0], "--complete") == 0)
		return cli_complete(c, argc - 1, argv + 1);
	int used = global_options(c, argc, argv);
	if (used < 0)
		return EXIT_USAGE;
	argc -= used;
	argv += used;
	if (argc == 0) {
		cli_help(stderr);
		return EXIT_USAGE;
	}
	if (strcmp(argv[0], "help") == 0)
		return help(c, argc - 1, argv + 1);
	const struct verb *v = verb_find(argv[0], NULL);
	int words = 1;
	if (!v && argc > 1) {
		v = verb_find(argv[0], argv[1]);
		words = 2;
	}
	if (!v)
		return wrong_verb(c, argv[0], argc > 1 ? argv[1] : NULL);
	if (cli_parse(c, v, argc - words, argv + words)) {
		char remedy[96];
		snprintf(remedy, sizeof(remedy), "see isthmus help %s", argv[0]);
		return cli_fail(c, EXIT_USAGE, -EINVAL, remedy, "%s", c->error);
	}
	return run(c);
}

int main(int argc, char **argv)
{
	static struct cli c;
	signal(SIGPIPE, SIG_IGN);
	if (!isatty(STDOUT_FILENO)) /* one write: a reader that leaves early has taken it */
		setvbuf(stdout, NULL, _IOFBF, OUTPUT_BUFFER);
	cli_init(&c);
	int status = main_words(&c, argc - 1, argv + 1);
	cli_release(&c);
	if (fflush(stdout) && status == EXIT_OK)
		status = EXIT_FAILED;
	return status;
}
