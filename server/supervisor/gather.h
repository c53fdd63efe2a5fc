/* Asking children, and putting their answers together. All wait. */
#ifndef ISTHMUS_SERVER_GATHER_H
#define ISTHMUS_SERVER_GATHER_H

#include <stdbool.h>
#include "runtime/admin.h"
#include "server/supervisor/supervisor.h"

/*
 * Passes the call's request on and takes the answer. Waits for a child that is being started;
 * one that is down is an error that says since when and why.
 */
int gather_forward(struct supervisor *s, struct admin_call *call, const char *kind,
		   const char *name, const char *verb);
/*
 * Asks every child that is up, and takes what they answer with `field`s "controller" or "head" put
 * in front of each row. Those that do not know the verb are passed over; trouble becomes a note.
 */
void gather_all(struct supervisor *s, struct admin_call *call, const char *verb);
/*
 * Asks every controller that is up, and puts their answers together so that what both know is there
 * once: of rows with the same key the one of the controller that the row itself names as its owner
 * stays, else the first. What each has for itself (sessions, counters) stays with its name in
 * front. The code of the call: an error when none of them carried it out, told as that one told it.
 */
int gather_merged(struct supervisor *s, struct admin_call *call, const char *verb);
/* The same for what gather_all() has gathered. */
void gather_merge(struct admin_call *call);
/* Events of those that are not up, from their files. */
void gather_left_events(struct supervisor *s, struct admin_call *call);
/* A text field of the row whose `key` field is `value`, in any table. NULL. */
const char *gather_field(const Isthmus__AdminReply *r, const char *key, const char *value,
			 const char *field);
/* Is there a row of the call's table whose text field `key` is `value`? */
bool gather_has(struct admin_call *call, const char *table, const char *key, const char *value);
/* Sentence on a child that does not serve: since when, why, what happens next. */
void gather_explain(const struct child *c, char *ret, size_t size);
/* Newest `count` rows of table "events" by time, own ones marked. */
void gather_sort_events(struct admin_call *call, size_t count);

#endif
