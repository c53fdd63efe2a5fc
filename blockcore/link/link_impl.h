/*
 * Inside of the interconnect. See blockcore/link/README.md for who does what.
 *
 * Everything here belongs to the link's own reactor ("home"), but for the queue of what other
 * reactors submit, the buffer pool and the counters.
 */
#ifndef ISTHMUS_BLOCKCORE_LINK_IMPL_H
#define ISTHMUS_BLOCKCORE_LINK_IMPL_H

#include <bsd/sys/queue.h>
#include <pthread.h>
#include <stdatomic.h>
#include "blockcore/link/link.h"
#include "blockcore/link/link_frame.h"
#include "blockcore/link/link_ops.h"
#include "proto/link.pb-c.h"
#include "runtime/env.h"
#include "runtime/task.h"

#define LINK_MAGIC	0x6c696e6b
#define LINK_CONN_MAGIC 0x6c636f6e
#define LINK_MSG_MAGIC	0x6c6d7367
#define LINK_CALL_MAGIC 0x6c63616c

/* A message costs one unit, and one for each 4 KiB begun of head and data: what a path may have
 * at the peer at once is counted in it. */
#define LINK_COST_BYTES	 4096u
#define LINK_WINDOW_CTL	 1024u /* units: 4 MiB */
#define LINK_WINDOW_DATA 4096u /* 16 MiB */
#define LINK_CALLS_MAX	 4096u
#define LINK_COPIES_MAX	 (64u << 20) /* bytes of copied replies that the peer does not take */
#define LINK_SENDS_MAX	 (8u << 20)  /* bytes of one-way messages that the peer does not take */

#define LINK_STAGING	(64u * 1024) /* received at once beside what goes to its place */
#define LINK_BATCH	32u	     /* messages of one sendmsg */
#define LINK_SCRATCH	1024	     /* iovecs of one sendmsg */
#define LINK_PENDING	16 /* accepted connections of a route that have not proved anything */
#define LINK_ACK_NS	(5 * NS_PER_MS)
#define LINK_ACK_MSGS	64u
#define LINK_REPLY_IOVS 8
#define LINK_AGAIN_NS	(10 * NS_PER_MS) /* no route is tried more often, whatever happens */

struct link_conn;

/* ---- buffers (link_pool.c): any thread ---- */

struct link_buf {
	struct link_buf *next;
	uint32_t class, size;
	uint8_t *data; /* 64-byte aligned */
};
struct link_pool;
int link_pool_new(struct link_pool **ret);
void link_pool_free(struct link_pool *p);
/* From the pool, from the heap when it is empty; NULL: no memory. Who asks has bounded it. */
struct link_buf *link_buf_get(struct link_pool *p, uint32_t size);
void link_buf_put(struct link_pool *p, struct link_buf *b);

/* ---- what is to be sent ---- */

enum link_verb { LINK_V_CALL, LINK_V_SEND, LINK_V_REPLY, LINK_V_DONE };
enum link_tx_state { LINK_TX_IDLE, LINK_TX_WAITING, LINK_TX_QUEUED };

struct link_tx {
	TAILQ_ENTRY(link_tx) link;
	STAILQ_ENTRY(link_tx) submitted;
	enum link_verb verb;
	enum link_tx_state state;
	enum link_path path;
	uint64_t session; /* in which it was handed over */
	struct link_frame f;
	uint32_t cost;
	const void *head;
	const struct iovec *iov;
	int iovcnt;
	/* Once, on home: 0: the peer has taken it; else it never will. Its memory is free. */
	void (*done)(struct link *l, struct link_tx *tx, int rc);
};
TAILQ_HEAD(link_txq, link_tx);
STAILQ_HEAD(link_submitq, link_tx);

struct link_send {
	struct link_tx tx;
	struct link_buf *buf;
	struct iovec iov;
};

struct link_call {
	uint32_t magic;
	struct link_tx tx;
	struct task *task;
	_Atomic bool done;
	int rc;
	struct link_answer *ans;
	uint64_t timeout_ns;
	struct env_timer timer;
	bool has_slot, acked, replied, timed_out;
	struct link_conn *rx_conn; /* its reply is coming in there now */
	struct link *link;
};

struct link_msg {
	uint32_t magic;
	TAILQ_ENTRY(link_msg) link; /* free or held */
	struct link *l;
	struct link_frame f;
	enum link_path path;
	uint64_t session;
	uint32_t cost;
	bool answered;
	struct link_buf *buf; /* data, then head */
	uint8_t *head;
	link_handler *fn;
	void *fn_arg;
	/* the reply */
	struct link_tx tx;
	struct link_buf *copy;
	struct iovec iovs[LINK_REPLY_IOVS];
	struct link_buf *iov_copy; /* a longer list */
	void (*sent)(void *arg);
	void *sent_arg;
};
TAILQ_HEAD(link_msgq, link_msg);

/* ---- connections ---- */

enum link_conn_state {
	LINK_C_CONNECTING, /* connector: HELLO is on its way, WELCOME awaited */
	LINK_C_ACCEPTED,   /* listener: HELLO awaited */
	LINK_C_CONFIRM,	   /* listener: WELCOME is on its way, CONFIRM awaited */
	LINK_C_UP,
	LINK_C_LAST, /* a last word goes out */
};

struct link_conn {
	uint32_t magic;
	struct link *l;
	TAILQ_ENTRY(link_conn) link;
	struct link_pipe *pipe;
	unsigned route;
	enum link_path path;
	enum link_conn_state state;
	bool connector, dead, writable;
	uint64_t deadline, heard, sent, up_since;
	uint64_t challenge, my_session;
	uint64_t their_session, their_received, their_credit; /* in their hello */
	struct link_hello hello;
	bool renew;

	/* what comes in */
	uint8_t staging[LINK_STAGING];
	uint32_t from, to; /* bytes in staging not looked at */
	bool in_body;
	struct link_frame f;
	struct iovec sink[LINK_IOV_MAX + 2]; /* where the body goes; none: nowhere */
	int sink_at, sink_n;
	uint32_t body_left;
	uint8_t head[LINK_HEAD_MAX]; /* of handshake frames */
	struct link_msg *rx_msg;
	struct link_call *rx_call;

	/* what goes out */
	uint8_t ctl[2 * (LINK_FRAME_SIZE + LINK_HEAD_MAX)];
	uint32_t ctl_from, ctl_to;
	uint8_t hdrs[LINK_BATCH][LINK_FRAME_SIZE];
	uint32_t off; /* bytes of the path's next message already sent here */
};
TAILQ_HEAD(link_conns, link_conn);

/* Whom a listener's new pipe is for. */
struct link_accept {
	struct link *l;
	unsigned route;
};

struct link_route_state {
	struct link_listener *listener;
	struct link_conn *conn; /* the one that is up */
	uint64_t retry_at;
	uint64_t refused_at; /* told last; 0: not yet */
	_Atomic bool up;
	_Atomic uint64_t messages, bytes, failovers, resent, heard;
};

struct link_path_state {
	struct link_txq waiting; /* for credit or a call's number */
	struct link_txq queue;	 /* numbered, not acknowledged */
	struct link_tx *next;	 /* of the queue: not sent on `active` */
	uint64_t seq, acked, begun;
	uint64_t cost, peer_credit;
	uint64_t taken, ack_told;
	uint64_t rx_cost, consumed, credit_told;
	uint32_t window;
	bool beat_due;
	struct link_conn *active;
	uint64_t heard;
	struct env_timer ack_timer;
	struct link *l;
};

#define LINK_REFUSAL_MAX 240

struct link {
	uint32_t magic;
	struct link_opts o;
	struct link_route routes[LINK_ROUTES_MAX];
	struct link_route_state rs[LINK_ROUTES_MAX];
	struct link_accept accepts[LINK_ROUTES_MAX];
	char self[64], peer[64];
	struct sched *home;
	bool listens; /* this end listens, the other connects: by name */
	bool closing;
	struct env_timer tick;
	uint64_t tick_at;
	struct link_conns conns, graves;
	struct link_path_state paths[LINK_PATHS];
	struct link_pool *pool;

	/* session */
	uint64_t my_session, peer_session; /* 0: none */
	uint64_t count;			   /* of sessions begun */
	_Atomic uint64_t session;	   /* that is up; 0 */
	struct link_hello peer_hello;
	uint64_t told; /* up() was called for it and down() not */
	bool died, in_down, upcalls;
	struct link_process *process;
	bool process_over;
	struct waitq fence_wait;
	unsigned fencing; /* no session begins meanwhile: its process is not the one meant */

	/* calls and messages */
	struct {
		struct link_call *call;
		uint32_t gen;
	} calls[LINK_CALLS_MAX];
	uint16_t free_calls[LINK_CALLS_MAX];
	unsigned nfree_calls;
	struct link_msg *msgs;
	struct link_msgq free_msgs, held;
	unsigned msgs_out;
	_Atomic uint32_t copies, sends; /* bytes */

	/* from other reactors */
	pthread_mutex_t lock; /* submitq, handlers, refusal */
	struct link_submitq submitq;
	struct {
		link_handler *fn;
		void *arg;
	} handlers[LINK_SVC_MAX];
	struct task *pump;
	bool pump_over;
	_Atomic unsigned inside; /* threads that look at this, and calls */
	_Atomic uint64_t sent_by[LINK_SVC_MAX];
	char refusal[LINK_REFUSAL_MAX]; /* the last; "": none in this session */
	uint64_t refusal_at;

	struct iovec scratch[LINK_SCRATCH];
};

static inline uint32_t link_cost(uint32_t head_len, uint32_t data_len)
{
	return 1 + (head_len + data_len + LINK_COST_BYTES - 1) / LINK_COST_BYTES;
}
static inline bool link_at_home(const struct link *l)
{
	return sched_current() == l->home;
}
static inline uint64_t link_now(struct link *l)
{
	return env_now_ns(l->o.env);
}
static inline void link_kick(struct link *l)
{
	if (l->pump)
		task_wake(l->pump);
}

/* link_call.c */
void link_submit(struct link *l, struct link_tx *tx);
void link_submitted_run(struct link *l);
void link_call_replied(struct link_call *c, const struct link_frame *f, int rc);
struct link_call *link_call_find(struct link *l, uint64_t id);
bool link_call_take_slot(struct link *l, struct link_call *c);
void link_calls_end(struct link *l, int rc);

/* link_msg.c */
struct link_msg *link_msg_new(struct link *l, const struct link_frame *f, enum link_path path);
void link_msg_free(struct link_msg *m);
void link_msg_deliver(struct link_msg *m);
void link_msgs_release(struct link *l);
void link_msgs_drop_held(struct link *l);
void link_reply_run(struct link_msg *m);
void link_done_run(struct link_msg *m);

/* link_path.c */
void link_path_init(struct link *l, enum link_path path);
void link_path_reset(struct link_path_state *p, int rc);
void link_path_add(struct link_path_state *p, struct link_tx *tx);
void link_path_remove_waiting(struct link_path_state *p, struct link_tx *tx);
/* What the peer says it took and what may be sent; -ERR_PROTO. */
int link_path_told(struct link_path_state *p, uint64_t ack, uint64_t credit);
void link_path_pick(struct link *l, enum link_path path);
void link_path_flush(struct link *l, enum link_path path);
void link_path_took(struct link_path_state *p);
void link_path_consumed(struct link_path_state *p, uint32_t cost);
/* Fields of the path's state that every frame carries. */
void link_path_stamp(struct link_path_state *p, struct link_frame *f);

/* link_conn.c */
struct link_conn *link_conn_new(struct link *l, unsigned route, struct link_pipe *pipe,
				bool connector);
void link_conn_close(struct link_conn *c, const char *why);
void link_conn_control(struct link_conn *c, uint8_t kind, const void *head, uint32_t len);
void link_conn_flush(struct link_conn *c);
void link_conn_beat(struct link_conn *c);
void link_conns_bury(struct link *l);

/* link_recv.c */
void link_conn_read(struct link_conn *c);
/* What of a message is still to come goes nowhere. */
void link_conn_forget_call(struct link_conn *c);

/* link_session.c */
void link_session_hello(struct link_conn *c);
/* A whole handshake frame has come. */
void link_session_frame(struct link_conn *c);
void link_session_end(struct link *l, bool died, const char *why);
void link_session_check(struct link *l);
bool link_session_settled(const struct link *l);
void link_refused(struct link *l, unsigned route, const char *text);
void link_new_nonce(struct link *l);

/* link_hello.c */
/* Bytes, at most LINK_HEAD_MAX. */
uint32_t link_hello_pack(const Isthmus__LinkHello *h, uint8_t buf[LINK_HEAD_MAX]);
void link_hello_fill(struct link *l, unsigned route, Isthmus__LinkHello *h);
/* 0, or a negative code with the reason and the remedy in text. */
int link_hello_check(struct link *l, unsigned route, const Isthmus__LinkHello *h, char *text,
		     size_t size);
void link_hello_take(const Isthmus__LinkHello *h, struct link_hello *ret);

#endif
