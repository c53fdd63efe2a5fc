/*
 * Files that are lent to clients (delegations, RFC 8881 10.4): who has one may read, or read and
 * write, what it keeps of the file without asking. Whoever else is about to do what that forbids is
 * told to come again later, and the holder is asked for the file.
 *
 * The table knows which files are lent, and what the protocols do to files; how a holder is asked
 * is the business of the protocol that lends (NFSv4). Everything looks here, whatever protocol it
 * is of. By a hash of the file there are `slots`, each with what is lent, how many changes are
 * under way, and when a file was asked for last: two files that share a slot only mean that less is
 * lent. Nothing here allocates; one reactor uses a table.
 */
#ifndef ISTHMUS_NASFRONT_DELEG_H
#define ISTHMUS_NASFRONT_DELEG_H

#include <stdbool.h>
#include <stdint.h>
#include <bsd/sys/queue.h>
#include "nasfront/nfs/lock_table.h"

struct deleg_table;
struct env;

enum deleg_kind { DELEG_READ = 1, DELEG_WRITE = 2 };

/* What somebody is about to do. */
enum deleg_use {
	DELEG_USE_READ,	 /* look at data, size, times: goes with DELEG_READ */
	DELEG_USE_CHANGE /* anything else */
};

/* One that is lent: its holder's memory. */
struct deleg {
	LIST_ENTRY(deleg) chain;
	struct lock_file_key file;
	enum deleg_kind kind;
	const void *holder; /* a client, told from others by its address alone */
	bool recalled;
};

int deleg_table_new(struct deleg_table **ret, struct env *env);
/* Nothing may be lent. NULL is allowed. */
void deleg_table_free(struct deleg_table *t);
/* Who lends: recall() begins to ask for a file; it must not change the table. A file that was asked
 * for is not lent again for quiet_ns. */
void deleg_table_serve(struct deleg_table *t, void (*recall)(void *arg, struct deleg *d), void *arg,
		       uint64_t quiet_ns);

/* May the file be lent now? False: a change is under way, it was asked for a short while ago, or
 * another has it in a way that forbids it. */
bool deleg_may_lend(const struct deleg_table *t, const struct lock_file_key *file,
		    enum deleg_kind kind, const void *holder);
/* file, kind and holder are filled in. Without looking at anything: deleg_may_lend() was asked, or
 * it is reclaimed. */
void deleg_lend(struct deleg_table *t, struct deleg *d);
void deleg_return(struct deleg_table *t, struct deleg *d);
/* Asks for it, as somebody's use does. */
void deleg_recall(struct deleg_table *t, struct deleg *d);

/*
 * `who` (a holder, NULL: none of them) is about to use the file. True: others have what forbids it;
 * they are asked, and it is to be tried again later. `own`: what `who` has itself forbids it as
 * well: the use shows that it is not one place there that knows of all (a client may have mounted
 * the same twice). In a task it waits a little: most holders return a file at once.
 */
bool deleg_in_way(struct deleg_table *t, const struct lock_file_key *file, enum deleg_use use,
		  const void *who, bool own);
/* Somebody has it to write: its size and times are what he says. Asks nobody. */
bool deleg_written(const struct deleg_table *t, const struct lock_file_key *file);
/* Anything is lent at all. */
bool deleg_any(const struct deleg_table *t);

/* A change under way: nothing of this file is lent before its end. */
struct deleg_change {
	uint32_t slot; /* and one; 0: none */
};
/* As deleg_in_way() of a change; false: it may begin, and `c` is to be ended. */
bool deleg_change_begin(struct deleg_table *t, struct deleg_change *c,
			const struct lock_file_key *file, const void *who);
void deleg_change_end(struct deleg_table *t, struct deleg_change *c);

#endif
