/* Inside of the CLI `isthmus`. */
#ifndef ISTHMUS_ADMIN_CLI_H
#define ISTHMUS_ADMIN_CLI_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include "admin/verbs.h"

enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_NO_DAEMON = 3 };

#define CLI_ARGS_MAX 1024

/* What the command line asked for. Strings point into argv or are kept in `owned`. */
struct cli {
	bool json;
	const char *config; /* --config; NULL: the default */
	const char *socket; /* --socket */
	const struct verb *verb;
	Isthmus__AdminRequest req;
	Isthmus__AdminArg args[CLI_ARGS_MAX];
	Isthmus__AdminArg *argp[CLI_ARGS_MAX];
	char destination[80];
	char *owned[CLI_ARGS_MAX];
	unsigned nowned;
	char error[256]; /* why parsing failed */
};

/* cli_args.c. 0, or -1 with cli->error set. argv starts after noun and verb. */
void cli_init(struct cli *c);
void cli_release(struct cli *c);
int cli_parse(struct cli *c, const struct verb *v, int argc, char **argv);
const char *cli_arg(const struct cli *c, const char *name);
bool cli_add(struct cli *c, const char *name, const char *value);

/* cli_show.c: a reply for people. */
void cli_show(FILE *f, const Isthmus__AdminReply *r);
void cli_show_table(FILE *f, const Isthmus__AdminTable *t, bool header);
/* One value as people read it. */
void cli_value(const Isthmus__AdminValue *v, char *ret, size_t size);

/* cli_latency.c: percentiles in place of histograms; and of what came since `old`. */
void cli_latency_expand(Isthmus__AdminReply *r);
void cli_latency_since(Isthmus__AdminValue *now, const Isthmus__AdminValue *old);

/* cli_json.c */
json_t *cli_json(const Isthmus__AdminReply *r);
json_t *cli_json_error(int code, const char *error, const char *remedy);

/* cli_help.c */
void cli_help(FILE *f);
void cli_help_noun(FILE *f, const char *noun);
void cli_usage(FILE *f, const struct verb *v);

/* cli_complete.c: candidates for the last of the words, one a line. */
extern const char cli_bash_completion[];
int cli_complete(struct cli *c, int nwords, char **words);

/* cli_top.c */
int cli_top(struct cli *c);
int cli_follow_events(struct cli *c);

/* isthmus.c: sends cli->req as `verb`; 0 with *ret, or the exit status after telling why. */
int cli_call(struct cli *c, const char *verb, bool quiet, Isthmus__AdminReply **ret);
/* Tells an error as people or programs want it; returns the exit status. */
int cli_fail(struct cli *c, int status, int code, const char *remedy, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));

#endif
