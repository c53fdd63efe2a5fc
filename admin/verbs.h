/*
 * What the CLI can be told: one table of nouns and verbs with their arguments.
 * It drives parsing, help, completion, the lists of the manual page, and where
 * a request goes. The daemons register handlers under the names found here
 * (runtime/admin.h); an argument reaches them under the name found here.
 */
#ifndef ISTHMUS_ADMIN_VERBS_H
#define ISTHMUS_ADMIN_VERBS_H

#include "runtime/admin.h"

/* Who answers. The supervisor is the front door: it passes on what is not its own. */
enum verb_where {
	VERB_LOCAL,	 /* the CLI itself */
	VERB_SUPERVISOR, /* isthmusd (it may ask the others on the way) */
	VERB_CONTROLLER, /* the controller; --controller NAME when there are several */
	VERB_HEAD,	 /* the head named by the argument `route`, else any that is up */
};

enum verb_flags {
	VERB_HIDDEN = 1, /* spoken between daemons; neither in help nor in completion */
	VERB_LONG = 2,	 /* may run for hours: no time-out, progress is shown */
	VERB_REPEAT = 4, /* the CLI asks again and again (top, event list --follow) */
};

struct verb {
	const char *name; /* "pool.create", "status"; NULL ends the table */
	enum verb_where where;
	unsigned flags;
	const struct admin_arg *args;
	const char *help;  /* one line, no full stop */
	const char *route; /* argument that names the head this request goes to; may be NULL */
};

struct noun {
	const char *name; /* NULL ends the table */
	const char *help;
};

extern const struct verb verb_table[];
extern const struct noun noun_table[];

/* verb may be NULL for nouns that are a verb by themselves ("status"). NULL: no such. */
const struct verb *verb_find(const char *noun, const char *verb);
const struct verb *verb_find_name(const char *name);
const struct noun *noun_find(const char *name);
/* Does `v` belong to this noun? */
bool verb_of_noun(const struct verb *v, const char *noun);
/* The part after the dot; "" for a noun that is a verb by itself. */
const char *verb_word(const struct verb *v);
const struct admin_arg *verb_arg(const struct verb *v, const char *name);

#endif
