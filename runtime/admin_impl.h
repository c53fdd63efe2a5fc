/* Inside of the admin protocol: frames, calls, and what both clients share. */
#ifndef ISTHMUS_RUNTIME_ADMIN_IMPL_H
#define ISTHMUS_RUNTIME_ADMIN_IMPL_H

#include <sys/types.h>
#include "runtime/admin.h"

#define ADMIN_REQUEST_MAX (256 * 1024) /* a request; small, so that junk cannot grow in memory */
#define ADMIN_ARGS_MAX	  4096

/* Header and body in one malloc'd buffer. -E2BIG beyond ADMIN_FRAME_MAX, -ENOMEM. */
int admin_frame_encode(const Isthmus__AdminFrame *f, uint8_t **ret, size_t *ret_len);
/*
 * One frame from the start of n bytes: 0 (freed with isthmus__admin_frame__free_unpacked),
 * -EAGAIN not all there yet, -ERR_PROTO longer than max or no frame, -ERR_VERSION.
 */
int admin_frame_decode(const uint8_t *buf, size_t n, size_t max, Isthmus__AdminFrame **ret,
		       size_t *ret_used);

/* Bytes received and not yet taken. Zeroed at start. */
struct admin_inbuf {
	uint8_t *p;
	size_t n, cap;
};
/* recv() without waiting: > 0, 0 end, -EAGAIN, -errno. Grows with what came, never past max. */
ssize_t admin_inbuf_recv(struct admin_inbuf *in, int fd, size_t max);
void admin_inbuf_drop(struct admin_inbuf *in, size_t n);
void admin_inbuf_free(struct admin_inbuf *in);

/* A connected non-blocking socket, or -errno. */
int admin_connect(const char *socket_path);

struct admin_conn;

struct admin_call {
	uint32_t magic;
	struct admin_conn *conn; /* NULL: the client went away, or there never was one */
	void (*progress)(void *arg, const Isthmus__AdminProgress *p);
	void *progress_arg;
	struct admin_server *server;
	Isthmus__AdminFrame *frame;
	const Isthmus__AdminRequest *req;
	Isthmus__AdminReply reply;  /* members malloc'd */
	Isthmus__AdminTable *table; /* the one being filled */
	Isthmus__AdminRow *row;
	bool oom;
	uint64_t last_progress_ns;
};

/* Takes the frame, which holds a request. */
struct admin_call *admin_call_new(Isthmus__AdminFrame *frame);
void admin_call_free(struct admin_call *c);
/* Runs the handlers of the call's verb and sets the reply's code and error text. */
void admin_call_finish(struct admin_call *c, int code);
/* admin_conn.c: hands a progress frame to the call's connection. */
void admin_call_send_progress(struct admin_call *c, const Isthmus__AdminProgress *p);

#endif
