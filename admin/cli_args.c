/* Words of the command line -> a request, by the table of verbs. */
#include "admin/cli.h"
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#define SECRET_MAX 4096

void cli_init(struct cli *c)
{
	memset(c, 0, sizeof(*c));
	isthmus__admin_request__init(&c->req);
	c->req.args = c->argp;
}

void cli_release(struct cli *c)
{
	for (unsigned i = 0; i < c->nowned; i++) {
		explicit_bzero(c->owned[i], strlen(c->owned[i]));
		free(c->owned[i]);
	}
	c->nowned = 0;
}

static int wrong(struct cli *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static int wrong(struct cli *c, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(c->error, sizeof(c->error), fmt, ap);
	va_end(ap);
	return -1;
}

bool cli_add(struct cli *c, const char *name, const char *value)
{
	if (c->req.n_args >= CLI_ARGS_MAX)
		return false;
	Isthmus__AdminArg *a = &c->args[c->req.n_args];
	isthmus__admin_arg__init(a);
	a->name = (char *)name;
	a->value = (char *)value;
	c->argp[c->req.n_args++] = a;
	return true;
}

const char *cli_arg(const struct cli *c, const char *name)
{
	for (size_t i = 0; i < c->req.n_args; i++)
		if (strcmp(c->args[i].name, name) == 0)
			return c->args[i].value;
	return NULL;
}

static char *own(struct cli *c, char *s)
{
	if (s && c->nowned < CLI_ARGS_MAX) {
		c->owned[c->nowned++] = s;
		return s;
	}
	free(s);
	return NULL;
}

/* ---- secrets: not on the command line, where others may see them ---- */

static char *read_line(FILE *f)
{
	char *line = calloc(1, SECRET_MAX);
	if (!line || !fgets(line, SECRET_MAX, f)) {
		free(line);
		return NULL;
	}
	line[strcspn(line, "\r\n")] = '\0';
	return line;
}

static char *ask(const char *what)
{
	struct termios old, quiet;
	bool tty = isatty(0) && tcgetattr(0, &old) == 0;
	if (tty) {
		fprintf(stderr, "%s: ", what);
		quiet = old;
		quiet.c_lflag &= ~(tcflag_t)ECHO;
		tcsetattr(0, TCSAFLUSH, &quiet);
	}
	char *s = read_line(stdin);
	if (tty) {
		tcsetattr(0, TCSAFLUSH, &old);
		fputc('\n', stderr);
	}
	return s;
}

static int add_secret(struct cli *c, const char *name, const char *value)
{
	if (strcmp(value, "-") != 0 && value[0] != '@')
		return cli_add(c, name, value) ? 0 : wrong(c, "too many arguments");
	char *s = NULL;
	if (value[0] == '@') {
		FILE *f = fopen(value + 1, "r");
		if (f) {
			s = read_line(f);
			fclose(f);
		}
	} else {
		s = ask(name);
	}
	if (!own(c, s))
		return wrong(c, "--%s: nothing could be read from %s", name,
			     value[0] == '@' ? value + 1 : "standard input");
	return cli_add(c, name, s) ? 0 : wrong(c, "too many arguments");
}

/* ---- values ---- */

static int check_value(struct cli *c, const struct admin_arg *a, const char *value)
{
	uint64_t v;
	const char *dashes = a->flags & ADMIN_POSITIONAL ? "" : "--";
	if ((a->flags & ADMIN_NUMBER) &&
	    (value[0] == '\0' || strspn(value, "0123456789") != strlen(value) ||
	     strlen(value) > 19))
		return wrong(c, "%s%s: `%.64s` is not a number", dashes, a->name, value);
	if ((a->flags & ADMIN_SIZE) && parse_size(value, &v))
		return wrong(c, "%s%s: `%.64s` is not a size; write it like 512MiB or 10G", dashes,
			     a->name, value);
	return 0;
}

static int add_checked(struct cli *c, const struct admin_arg *a, const char *value)
{
	if (a->flags & ADMIN_SECRET)
		return add_secret(c, a->name, value);
	if (check_value(c, a, value))
		return -1;
	return cli_add(c, a->name, value) ? 0 : wrong(c, "too many arguments");
}

static int add_list(struct cli *c, const struct admin_arg *a, const char *value)
{
	char *copy = own(c, strdup(value)), *save = NULL;
	if (!copy)
		return wrong(c, "too many arguments");
	for (char *s = strtok_r(copy, ",", &save); s; s = strtok_r(NULL, ",", &save))
		if (add_checked(c, a, s))
			return -1;
	return 0;
}

static int add_value(struct cli *c, const struct admin_arg *a, const char *value)
{
	if (!(a->flags & ADMIN_LIST) && cli_arg(c, a->name))
		return wrong(c, "`%s` is given twice", a->name);
	if ((a->flags & ADMIN_LIST) && !(a->flags & (ADMIN_WHOLE | ADMIN_POSITIONAL)))
		return add_list(c, a, value);
	return add_checked(c, a, value);
}

/* ---- options and positions ---- */

static int set_controller(struct cli *c, const char *name)
{
	if (c->verb->where != VERB_CONTROLLER || strlen(name) > 63)
		return wrong(c, "--controller does not fit here");
	snprintf(c->destination, sizeof(c->destination), "controller:%.63s", name);
	return 0;
}

/* --name, --name=value, --name value. Returns how many words were used, -1. */
static int take_option(struct cli *c, int argc, char **argv)
{
	char name[64];
	const char *eq = strchr(argv[0], '=');
	size_t n = eq ? (size_t)(eq - argv[0]) - 2 : strlen(argv[0]) - 2;
	snprintf(name, sizeof(name), "%.*s", (int)(n < 63 ? n : 63), argv[0] + 2);
	if (strcmp(name, "json") == 0 && !eq) {
		c->json = true;
		return 1;
	}
	const struct admin_arg *a = verb_arg(c->verb, name);
	bool controller = strcmp(name, "controller") == 0;
	if (!controller && (!a || (a->flags & ADMIN_POSITIONAL)))
		return wrong(c, "there is no option --%s here", name);
	if (a && (a->flags & ADMIN_FLAG)) {
		if (eq)
			return wrong(c, "--%s takes no value", name);
		return add_value(c, a, "true") ? -1 : 1;
	}
	if (!eq && argc < 2)
		return wrong(c, "--%s wants a value", name);
	const char *value = eq ? eq + 1 : argv[1];
	if (controller ? set_controller(c, value) : add_value(c, a, value))
		return -1;
	return eq ? 1 : 2;
}

/* The position that the next plain word takes; a list at the end takes all the rest. */
static const struct admin_arg *next_position(const struct cli *c)
{
	for (const struct admin_arg *a = c->verb->args; a->name; a++)
		if ((a->flags & ADMIN_POSITIONAL) &&
		    ((a->flags & ADMIN_LIST) || !cli_arg(c, a->name)))
			return a;
	return NULL;
}

static int take_position(struct cli *c, const char *word)
{
	const struct admin_arg *a = next_position(c);
	if (!a)
		return wrong(c, "`%.64s` is one word too many", word);
	return add_value(c, a, word);
}

static int check_required(struct cli *c)
{
	for (const struct admin_arg *a = c->verb->args; a->name; a++)
		if ((a->flags & ADMIN_REQUIRED) && !cli_arg(c, a->name))
			return wrong(c, "%s%s is missing (%s)",
				     a->flags & ADMIN_POSITIONAL ? "" : "--", a->name, a->help);
	return 0;
}

static void set_destination(struct cli *c)
{
	const char *head = c->verb->route ? cli_arg(c, c->verb->route) : NULL;
	if (head)
		snprintf(c->destination, sizeof(c->destination), "head:%.63s", head);
	else if (c->destination[0] == '\0' && c->verb->where == VERB_HEAD)
		strcpy(c->destination, "head");
	else if (c->destination[0] == '\0' && c->verb->where == VERB_CONTROLLER)
		strcpy(c->destination, "controller");
	c->req.destination = c->destination;
	c->req.verb = (char *)c->verb->name;
}

int cli_parse(struct cli *c, const struct verb *v, int argc, char **argv)
{
	bool options = true;
	c->verb = v;
	for (int i = 0; i < argc;) {
		int used = 1;
		if (options && strcmp(argv[i], "--") == 0)
			options = false;
		else if (options && strncmp(argv[i], "--", 2) == 0)
			used = take_option(c, argc - i, argv + i);
		else if (take_position(c, argv[i]))
			used = -1;
		if (used < 0)
			return -1;
		i += used;
	}
	if (check_required(c))
		return -1;
	set_destination(c);
	return 0;
}
