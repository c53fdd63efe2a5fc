/*
 * Completion. The shell's script is small and asks `isthmus --complete WORD...`
 * for the candidates of the last word: nouns, verbs, options, and the names
 * that the running array knows.
 */
#include "admin/cli.h"
#include <string.h>

const char cli_bash_completion[] =
    "# bash completion of isthmus(1); made by `isthmus completion bash`\n"
    "_isthmus() {\n"
    "\tlocal IFS=$'\\n'\n"
    "\tCOMPREPLY=($(\"${COMP_WORDS[0]}\" --complete \"${COMP_WORDS[@]:1:COMP_CWORD}\" "
    "2>/dev/null))\n"
    "\t[ ${#COMPREPLY[@]} -gt 0 ] || COMPREPLY=($(compgen -f -- "
    "\"${COMP_WORDS[COMP_CWORD]}\"))\n"
    "}\n"
    "complete -o filenames -F _isthmus isthmus\n";

static void offer(const char *candidate, const char *prefix)
{
	if (strncmp(candidate, prefix, strlen(prefix)) == 0)
		puts(candidate);
}

/* Which list verb and column know the values of an argument. */
static const struct {
	const char *arg, *verb, *column;
} sources[] = {
    {"pool", "pool.list", "pool"},	 {"backup-pool", "pool.list", "pool"},
    {"volume", "volume.list", "volume"}, {"fs", "fs.list", "fs"},
    {"group", "group.list", "group"},	 {"head", "head.list", "head"},
    {"service", "head.list", "service"}, {"target", "target.list", "iqn"},
    {"disk", "disk.list", "disk"},	 {"path", "export.list", "path"},
};

static void offer_known(struct cli *c, const char *list, const char *column, const char *prefix)
{
	Isthmus__AdminReply *r;
	struct cli ask;
	const struct verb *v = verb_find_name(list);
	cli_init(&ask);
	ask.config = c->config;
	ask.socket = c->socket;
	if (!v || cli_parse(&ask, v, 0, NULL) || cli_call(&ask, list, true, &r))
		return;
	for (size_t t = 0; t < r->n_tables; t++)
		for (size_t i = 0; i < r->tables[t]->n_rows; i++) {
			const Isthmus__AdminRow *row = r->tables[t]->rows[i];
			for (size_t k = 0; k < row->n_fields; k++)
				if (strcmp(row->fields[k]->name, column) == 0 &&
				    row->fields[k]->value &&
				    row->fields[k]->value->kind_case ==
					ISTHMUS__ADMIN_VALUE__KIND_TEXT)
					offer(row->fields[k]->value->text, prefix);
		}
	isthmus__admin_reply__free_unpacked(r, NULL);
}

static void offer_values(struct cli *c, const struct verb *v, const struct admin_arg *a,
			 const char *prefix)
{
	static const char *const levels[] = {"single", "raid0", "raid1", "raid10",
					     "raid5",  "raid6", NULL};
	static const char *const whats[] = {"super", "journal", "groups", "inodes", "trees",
					    "all",   "inode=",	"block=", NULL};
	const char *const *of = strcmp(a->name, "level") == 0  ? levels
				: strcmp(a->name, "what") == 0 ? whats
							       : NULL;
	for (; of && *of; of++)
		offer(*of, prefix);
	if (strcmp(a->name, "shell") == 0)
		offer("bash", prefix);
	/* A list's rows are named by the noun ("pool"), targets and initiators by their iqn. */
	bool name = strcmp(a->name, "name") == 0;
	if ((name || strcmp(a->name, "iqn") == 0) && !strstr(v->name, ".create") &&
	    !strstr(v->name, ".add")) {
		char list[32], noun[32];
		snprintf(noun, sizeof(noun), "%.*s", (int)strcspn(v->name, "."), v->name);
		snprintf(list, sizeof(list), "%.20s.list", noun);
		offer_known(c, list, name ? noun : "iqn", prefix);
	}
	for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++)
		if (strcmp(sources[i].arg, a->name) == 0 && strcmp(v->name, "export.add") != 0)
			offer_known(c, sources[i].verb, sources[i].column, prefix);
}

static void offer_options(const struct verb *v, const char *prefix)
{
	char option[64];
	for (const struct admin_arg *a = v->args; a->name; a++) {
		if (a->flags & ADMIN_POSITIONAL)
			continue;
		snprintf(option, sizeof(option), "--%s", a->name);
		offer(option, prefix);
	}
	if (v->where == VERB_CONTROLLER)
		offer("--controller", prefix);
}

/* The argument of a verb: words before it are walked to see what it is. */
static void complete_argument(struct cli *c, const struct verb *v, int n, char **words)
{
	const char *last = words[n - 1];
	const struct admin_arg *pos = NULL;
	int plain = 0;
	for (int i = 0; i < n - 1; i++) {
		const struct admin_arg *a =
		    strncmp(words[i], "--", 2) == 0 ? verb_arg(v, words[i] + 2) : NULL;
		if (a && !(a->flags & ADMIN_FLAG)) {
			if (i == n - 2) {
				offer_values(c, v, a, last);
				return;
			}
			i++;
		} else if (words[i][0] != '-') {
			plain++;
		}
	}
	if (last[0] == '-') {
		offer_options(v, last);
		return;
	}
	for (const struct admin_arg *a = v->args; a->name; a++)
		if (a->flags & ADMIN_POSITIONAL) {
			pos = a;
			if (plain-- == 0)
				break;
		}
	if (pos && (plain < 0 || (pos->flags & ADMIN_LIST)))
		offer_values(c, v, pos, last);
	else
		offer_options(v, last);
}

int cli_complete(struct cli *c, int n, char **words)
{
	/* Global options before the noun. */
	while (n > 1 && words[0][0] == '-') {
		bool takes = strcmp(words[0], "--config") == 0 || strcmp(words[0], "--socket") == 0;
		if (takes && n > 2) {
			if (strcmp(words[0], "--config") == 0)
				c->config = words[1];
			else
				c->socket = words[1];
		} else if (takes) {
			return EXIT_OK; /* a file name: the shell's own */
		}
		words += takes ? 2 : 1;
		n -= takes ? 2 : 1;
	}
	if (n <= 0)
		return EXIT_OK;
	if (n == 1) {
		for (const struct noun *t = noun_table; t->name; t++)
			offer(t->name, words[0]);
		offer("help", words[0]);
		return EXIT_OK;
	}
	if (n == 2 && strcmp(words[0], "help") == 0) {
		for (const struct noun *t = noun_table; t->name; t++)
			offer(t->name, words[1]);
		return EXIT_OK;
	}
	const struct verb *v = verb_find(words[0], NULL);
	if (v) {
		complete_argument(c, v, n - 1, words + 1);
		return EXIT_OK;
	}
	if (n == 2) {
		for (v = verb_table; v->name; v++)
			if (verb_of_noun(v, words[0]) && !(v->flags & VERB_HIDDEN))
				offer(verb_word(v), words[1]);
		return EXIT_OK;
	}
	v = verb_find(words[0], words[1]);
	if (v)
		complete_argument(c, v, n - 2, words + 2);
	return EXIT_OK;
}
