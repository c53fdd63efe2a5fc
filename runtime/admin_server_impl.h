/* Inside of the admin server: what admin_server.c and admin_conn.c share. */
#ifndef ISTHMUS_RUNTIME_ADMIN_SERVER_IMPL_H
#define ISTHMUS_RUNTIME_ADMIN_SERVER_IMPL_H

#include <sys/un.h>
#include "runtime/admin_impl.h"
#include "runtime/env.h"
#include "runtime/reactor.h"
#include "runtime/task.h"

struct verb_row {
	char *name;
	admin_handler *fn;
	void *arg;
};

struct admin_server {
	uint32_t magic;
	struct reactor *reactor;
	int fd;
	struct watch *watch;
	struct sockaddr_un addr;
	bool have_group, closing;
	gid_t group;
	struct verb_row *verbs;
	unsigned nverbs;
	struct verb_row fallback;
	unsigned nconns, ncalls;
	struct waitq calls_ended;
	TAILQ_HEAD(, admin_conn) conns;
	uint64_t started_ns;
};

enum conn_state { CONN_READING, CONN_CALLING, CONN_WRITING };

struct admin_conn {
	uint32_t magic;
	struct admin_server *server;
	int fd;
	struct watch *watch;
	struct env_timer timer;
	enum conn_state state;
	bool last; /* close when all is written */
	struct admin_call *call;
	struct admin_inbuf in;
	uint8_t *out;
	size_t out_n, out_off;
	uid_t uid;
	TAILQ_ENTRY(admin_conn) link;
};

/* ---- admin_conn.c ---- */

/* A connection of this socket, which it closes; it does nothing yet. */
int admin_conn_new(struct admin_server *s, int fd, struct admin_conn **ret);
/* Reads requests from now on. */
void admin_conn_serve(struct admin_conn *k);
/* Answers with an error, then ends it. */
void admin_conn_refuse(struct admin_conn *k, int code, const char *text, const char *remedy);
/* Now; a call of it goes on without. */
void admin_conn_free(struct admin_conn *k);

/* ---- admin_server.c ---- */

/* Runs the handlers of the call's verb; its code. */
int admin_call_run(struct admin_server *s, struct admin_call *c);
/* One call less; the server may be gone after it. */
void admin_call_ended(struct admin_server *s);

#endif
