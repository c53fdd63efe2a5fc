/*
 * The admin protocol (proto/admin.proto) on unix sockets: a server with a table
 * of verbs in every daemon, a client in the CLI and in isthmusd. Peer
 * credentials (SO_PEERCRED) are checked: root and the daemon's own user may do
 * everything, members of the configured admin group too, others nothing.
 */
#ifndef ISTHMUS_RUNTIME_ADMIN_H
#define ISTHMUS_RUNTIME_ADMIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "proto/admin.pb-c.h"

struct admin_server;
struct admin_call;
struct reactor;

#define ADMIN_VERSION	2
#define ADMIN_FRAME_MAX (16 * 1024 * 1024)

enum admin_arg_flags {
	ADMIN_REQUIRED = 1,
	ADMIN_FLAG = 2, /* --name without a value; "true" when given */
	ADMIN_SIZE = 4, /* bytes: "10G", "512MiB" */
	ADMIN_NUMBER = 8,
	ADMIN_LIST = 16,       /* may be given several times, or comma-separated (the CLI splits) */
	ADMIN_POSITIONAL = 32, /* taken by position on the command line, in table order */
	ADMIN_SECRET = 64,     /* never logged nor shown */
	ADMIN_WHOLE = 128,     /* a list whose values hold commas: not split */
};

struct admin_arg {
	const char *name; /* NULL ends the table */
	unsigned flags;
	const char *help;
};

/*
 * One verb. handle() runs in a task of the server's reactor and may wait; it fills the reply with
 * the admin_reply_ functions. The returned code is the reply's (an error text set wins over the
 * code's own text). The same table rows drive the CLI's parsing, help and completion, so they
 * live in admin/verbs.c and are found by name.
 */
typedef int admin_handler(struct admin_call *call, void *arg);

/*
 * On r's thread, or before it runs. A stale socket file is replaced; -EADDRINUSE when a server
 * answers there. Connections, frames and replies are bounded; a client that says nothing, stops
 * in the middle of a frame, or does not read is dropped after a while and holds up nobody.
 */
int admin_server_new(struct admin_server **ret, struct reactor *r, const char *socket_path);
/* Members of this group may connect too; "" or NULL: none. -ENOENT: no such group. */
int admin_server_allow_group(struct admin_server *s, const char *group);
/* r's thread while it runs. In a task: waits until the calls that run have ended. */
void admin_server_free(struct admin_server *s);
/*
 * Several modules may register the same verb ("status", "stats"): all answer, in that order, each
 * adding its tables; the first error ends it. "ping" and "event.list" (this process's own events)
 * are built in. Verbs no handler was registered for are answered with a clear error, or by
 * `fallback`, which also gets everything that has a destination.
 */
int admin_register(struct admin_server *s, const char *verb, admin_handler *h, void *arg);
int admin_register_fallback(struct admin_server *s, admin_handler *h, void *arg);

/*
 * Waits; in a task of the server's reactor. Carries out a request that came by another way than the
 * socket (the other controller passes it on): a packed AdminRequest. ret: the packed AdminReply, to
 * be freed; errors of the verb are in it. progress may be NULL. -ERR_PROTO: no request; -ENOMEM.
 */
int admin_server_run(struct admin_server *s, const uint8_t *req, size_t len,
		     void (*progress)(void *arg, const Isthmus__AdminProgress *p), void *arg,
		     uint8_t **ret, size_t *ret_len);

const char *admin_call_verb(const struct admin_call *c);
const Isthmus__AdminRequest *admin_call_request(const struct admin_call *c);
/* What the handlers have answered so far; its rows may be changed, all members are malloc'd. */
Isthmus__AdminReply *admin_call_reply(struct admin_call *c);
/* NULL when not given. Lists: number i. */
const char *admin_arg_text(const struct admin_call *c, const char *name);
const char *admin_arg_list(const struct admin_call *c, const char *name, unsigned i);
/* 0, -ENOENT not given, -EINVAL (the reply's error is set, naming the argument). */
int admin_arg_u64(struct admin_call *c, const char *name, uint64_t *ret);
int admin_arg_size(struct admin_call *c, const char *name, uint64_t *ret);
bool admin_arg_flag(const struct admin_call *c, const char *name);

/* Sets the error sentence and remedy (may be NULL); returns code, for `return admin_error(…)`. */
int admin_error(struct admin_call *c, int code, const char *remedy, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* Rows and fields are added in order. A table of a name that is there already goes on. */
void admin_table(struct admin_call *c, const char *name, bool single);
void admin_row(struct admin_call *c);
void admin_put_text(struct admin_call *c, const char *name, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void admin_put_number(struct admin_call *c, const char *name, uint64_t v);
void admin_put_integer(struct admin_call *c, const char *name, int64_t v);
void admin_put_real(struct admin_call *c, const char *name, double v);
void admin_put_flag(struct admin_call *c, const char *name, bool v);
void admin_put_bytes(struct admin_call *c, const char *name, uint64_t v);
void admin_put_time(struct admin_call *c, const char *name, uint64_t realtime_ns);
void admin_put_duration(struct admin_call *c, const char *name, uint64_t ns);
/* Time, level, kind and text of an event, in the current row. */
/* Durations; the CLI makes percentiles of them, and of what came between two looks. */
struct histogram_sum;
void admin_put_histogram(struct admin_call *c, const char *name, const struct histogram_sum *h);
struct event;
void admin_put_event(struct admin_call *c, const struct event *e);
void admin_note(struct admin_call *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void admin_progress(struct admin_call *c, const char *what, uint64_t done, uint64_t total);

/*
 * Client. timeout_ns: of silence (progress ends a silence); 0: none. Errors are of the way there
 * and back (-ENOENT, -ECONNREFUSED: nobody listens; -EACCES; -ETIMEDOUT; -ERR_DISCONNECTED: it
 * went away in between; -ERR_PROTO); what the daemon says is in the reply (free it with
 * isthmus__admin_reply__free_unpacked(reply, NULL)).
 * Blocking form for the CLI (progress may be NULL):
 */
int admin_client_call(const char *socket_path, const Isthmus__AdminRequest *req,
		      uint64_t timeout_ns,
		      void (*progress)(void *arg, const Isthmus__AdminProgress *p), void *arg,
		      Isthmus__AdminReply **ret);
/* Waiting form for daemons: in a task of a reactor. Progress is passed on to `via` (NULL: not). */
int admin_task_call(const char *socket_path, const Isthmus__AdminRequest *req, uint64_t timeout_ns,
		    struct admin_call *via, Isthmus__AdminReply **ret);
/* Moves all of reply (tables, notes, error) into the call's own and frees it; returns its code. */
int admin_reply_take(struct admin_call *c, Isthmus__AdminReply *reply);

/* A field of a table's row whose text field `key` is `value` (key NULL: of its first row). NULL. */
const Isthmus__AdminValue *admin_reply_value(const Isthmus__AdminReply *r, const char *table,
					     const char *key, const char *value, const char *field);
/* The same as text; "": there is none, or it is no text. */
const char *admin_reply_text(const Isthmus__AdminReply *r, const char *table, const char *key,
			     const char *value, const char *field);

/* "10G", "512MiB", "4096", "1.5T" (powers of 1024) -> bytes. 0, -EINVAL, -ERANGE. */
int parse_size(const char *s, uint64_t *ret);

#endif
