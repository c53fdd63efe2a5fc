/* Help, from the table of verbs. */
#include "admin/cli.h"
#include <ctype.h>
#include <string.h>

static void put_upper(FILE *f, const char *s)
{
	for (; *s; s++)
		fputc(toupper((unsigned char)*s), f);
}

/* The value's place holder: what it is rather than its option's name. */
static void put_meta(FILE *f, const struct admin_arg *a)
{
	if (a->flags & ADMIN_SIZE)
		fputs("SIZE", f);
	else if (a->flags & ADMIN_NUMBER)
		fputs("N", f);
	else if (a->flags & ADMIN_SECRET)
		fputs("SECRET", f);
	else {
		const char *dash = strrchr(a->name, '-');
		put_upper(f, dash ? dash + 1 : a->name);
	}
}

static void put_arg(FILE *f, const struct admin_arg *a)
{
	bool required = a->flags & ADMIN_REQUIRED;
	fputs(required ? " " : " [", f);
	if (a->flags & ADMIN_POSITIONAL) {
		put_upper(f, a->name);
	} else {
		fprintf(f, "--%s", a->name);
		if (!(a->flags & ADMIN_FLAG)) {
			fputc(' ', f);
			put_meta(f, a);
		}
	}
	fputs(required ? "" : "]", f);
	if (a->flags & ADMIN_LIST)
		fputs("...", f);
}

void cli_usage(FILE *f, const struct verb *v)
{
	const char *word = verb_word(v);
	size_t noun = strcspn(v->name, ".");
	fprintf(f, "isthmus %.*s%s%s", (int)noun, v->name, *word ? " " : "", word);
	for (const struct admin_arg *a = v->args; a->name; a++)
		put_arg(f, a);
	fputc('\n', f);
}

void cli_help_noun(FILE *f, const char *noun)
{
	for (const struct verb *v = verb_table; v->name; v++) {
		if (!verb_of_noun(v, noun) || (v->flags & VERB_HIDDEN))
			continue;
		cli_usage(f, v);
		fprintf(f, "    %s.\n", v->help);
		for (const struct admin_arg *a = v->args; a->name; a++) {
			int n = fprintf(f, "      ");
			if (a->flags & ADMIN_POSITIONAL)
				put_upper(f, a->name);
			else
				n += fprintf(f, "--");
			n += a->flags & ADMIN_POSITIONAL ? (int)strlen(a->name)
							 : fprintf(f, "%s", a->name);
			fprintf(f, "%*s%s\n", n < 24 ? 24 - n : 2, "", a->help);
		}
		fputc('\n', f);
	}
}

void cli_help(FILE *f)
{
	fprintf(f, "usage: isthmus [--json] [--config FILE | --socket PATH] NOUN [VERB] "
		   "[ARGUMENT...]\n\n");
	for (const struct noun *n = noun_table; n->name; n++) {
		fprintf(f, "  %-12s%s", n->name, n->help);
		bool first = true;
		for (const struct verb *v = verb_table; v->name; v++)
			if (verb_of_noun(v, n->name) && !(v->flags & VERB_HIDDEN) &&
			    *verb_word(v)) {
				fprintf(f, "%s%s", first ? ": " : ", ", verb_word(v));
				first = false;
			}
		fputc('\n', f);
	}
	fprintf(f, "\nisthmus help NOUN tells more; isthmus(1) tells all.\n");
}
