/*
 * Inside of the iSCSI target: workers, sessions, connections, tasks. Everything
 * here but the session list belongs to one reactor's thread; README.md tells how
 * the parts work together.
 */
#ifndef ISTHMUS_ISCSI_CONN_H
#define ISTHMUS_ISCSI_CONN_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include "runtime/env.h"
#include "runtime/mem_pool.h"
#include "runtime/reactor.h"
#include "server/iscsi/iscsi.h"
#include "server/iscsi/login.h"
#include "server/iscsi/login_keys.h"
#include "server/iscsi/pdu.h"
#include "server/scsi/scsi.h"

#define WINDOW_DEPTH	 128	      /* commands a session may have outstanding */
#define WINDOW_DEPTH_MIN 8	      /* when many sessions share a worker */
#define IMMEDIATE_MAX	 64	      /* immediate commands outstanding beside the window */
#define WORKER_TASKS	 1024	      /* iSCSI tasks a worker */
#define CTL_BACKLOG	 128	      /* control answers unsent: reading stops */
#define CTL_BYTES	 (256 * 1024) /* and with this much data in them */
#define STALL_LIMIT_S	 10	      /* without a task in that time the connection is dropped */
#define DATA_PATIENCE	 10	      /* data_overdue() */
#define LINGER_S	 2	      /* wait for the peer to close after our last word */

#define RX_BUF	    (64 * 1024)
#define RX_DIRECT   8192 /* data left of a PDU from which it is received into its place */
#define RX_TAIL	    4096 /* bytes read behind such data into the buffer */
#define RX_ROUNDS   8	 /* receives a wake-up: fairness */
#define RX_IOV	    128
#define TX_IOV	    768
#define TX_ARENA    (16 * 1024) /* headers, digests and small data of one send */
#define TX_COPY	    512		/* data up to this is copied behind its header */
#define TX_PDU_IOV  (CACHE_IO_PAGES + 4)
#define TX_PDU_MAX  (256 * 1024)
#define TX_ROUNDS   16
#define ITT_BUCKETS 256

/* Memory of a worker for data that comes before its place is known (bounce.c). */
#define BOUNCE_CHUNK  (32u * 1024)
#define BOUNCE_CHUNKS (ISCSI_FIRST_BURST / BOUNCE_CHUNK) /* of a command, at most */
#define BOUNCE_POOL   1024				 /* chunks; touched when needed */

struct conn;
struct session;
struct worker;

/* Written by one thread, read by any. */
typedef _Atomic uint64_t counter;
#define COUNT(c, n)                                                                                \
	atomic_store_explicit(&(c), atomic_load_explicit(&(c), memory_order_relaxed) + (n),        \
			      memory_order_relaxed)
#define COUNTED(c) atomic_load_explicit(&(c), memory_order_relaxed)

/* Sense of transfers that went wrong (RFC 7143 11.4.7.2): ABORTED COMMAND, key << 16 | ASC */
#define SENSE_UNEXPECTED_DATA 0x0b0c0c
#define SENSE_NOT_ENOUGH_DATA 0x0b0c0d
#define SENSE_DATA_DIGEST     0x0b4705
/* itask.fail that stands for a status: another nexus aborted the command (TAS) */
#define FAIL_TASK_ABORTED 0xffffffffu

/* ---- tasks: SCSI commands on their way (task.c, data.c) ---- */

enum itask_state {
	T_NEW,
	T_WAIT_START,  /* a coroutine is in scsi_start_wait() */
	T_DATA,	       /* data-out is being received, into out_iov */
	T_DRAIN,       /* finished early; data the initiator must still send is discarded */
	T_WAIT_FINISH, /* a coroutine is in scsi_finish_wait() */
	T_TX,	       /* queued: data-in and response */
	T_SENT, /* all in the batch being sent; given back when that has left; not retired: it is
		 * a part, and the next follows */
};

struct itask {
	enum itask_state state;
	bool immediate;
	bool aborted;	  /* its coroutine ends it */
	bool retired;	  /* out of window and ITT table */
	bool queued;	  /* in conn.txq */
	bool unsolicited; /* unsolicited data not ended yet (F bit) */
	bool read, write; /* R and W of the command */
	bool released;	  /* scsi_release() was called */
	bool started;	  /* its start has waited to the end, within a PDU for it: no coroutine */
	enum scsi_next next; /* ... and said this */
	struct conn *conn;
	uint32_t itt;
	uint32_t edtl;
	uint32_t cmdsn;
	uint64_t arrival;  /* its number among the session's commands as they came */
	uint32_t bidi_len; /* what a bidirectional command expected to read */

	/* data-out: got grows in order through immediate, unsolicited and solicited data */
	uint32_t want; /* bytes to store: the smaller of out_len and edtl, or where the part ends */
	uint32_t got;  /* offset expected next */
	uint32_t first; /* where unsolicited data ends at the latest */
	uint32_t datasn;
	uint32_t r2t_next;		 /* offset the next R2T asks for */
	uint32_t r2tsn;			 /* of the next R2T */
	uint32_t r2t_out;		 /* R2Ts outstanding */
	uint32_t r2t_end[ISCSI_MAX_R2T]; /* their ends, by r2tsn modulo */
	uint64_t data_ms;		 /* when data came, or was asked for, last */
	uint32_t fail;	    /* sense of a failed transfer: key << 16 | asc << 8 | ascq */
	struct iovec *sink; /* out_iov or bounce */
	int sink_n, sink_i;
	size_t sink_off;
	unsigned nbounce; /* of bounce[] */

	/* data-in */
	uint32_t send_len, sent, burst_left;
	uint32_t in_end; /* of send_len, where the part that is lent ends */
	uint32_t in_datasn;
	int in_i;
	size_t in_off;

	TAILQ_ENTRY(itask) all, tx;
	LIST_ENTRY(itask) hash;
	struct scsi_cmd cmd; /* the large one; from here on nothing is zeroed for a command */
	struct iovec bounce[BOUNCE_CHUNKS]; /* data that came while the command waits to start */
};
TAILQ_HEAD(itask_list, itask);
LIST_HEAD(itask_bucket, itask);

/* Memory for len bytes; false: none left. What came is moved into the command's place. */
bool bounce_take(struct itask *t, uint32_t len);
void bounce_move(struct itask *t, uint32_t n);
void bounce_free(struct itask *t);
/* Its memory is given back, then it: to the pool; wakes connections that starve. */
void task_end(struct itask *t);
struct itask *task_find(struct conn *c, uint32_t itt);
/* Its response is made (or it was aborted): leaves window and ITT table. */
void task_retire(struct itask *t);
/* No response will be sent. Ends at once, or when its coroutine returns. */
void task_abort(struct itask *t);
/* What task management reaches: commands that came or are numbered before its request. */
struct abort_scope {
	uint64_t arrival; /* as of the last one that came before it */
	uint32_t cmdsn;
};
/* Of a connection those on one LUN (NULL: all), within the scope (NULL: all). */
void task_abort_all(struct conn *c, const uint8_t *lun, const struct abort_scope *scope);
/* Those on one LUN end with TASK ABORTED, unless their answer is known. */
void task_end_all(struct conn *c, const uint8_t lun[8]);
/* Is one of them that was aborted still in the SCSI layer? */
bool task_aborted_left(const struct conn *c, const uint8_t lun[8]);
/* The part of its data-in that was in the batch has left: the next is asked for. */
void task_next_part(struct itask *t);
/* Goes on after a state change: finishes, asks for data, responds. */
void task_progress(struct itask *t);

/* A SCSI command PDU: starts it. */
enum rx_verdict {
	RX_OK,	  /* receive the data (into conn.rx.task, else discard) */
	RX_STALL, /* no task free: leave the header, come again */
	RX_PARK,  /* its CmdSN is not due: leave the header, come again */
	RX_FATAL, /* the connection was closed */
};
enum rx_verdict task_command(struct conn *c, const struct bhs *b, const uint8_t *ahs);
enum rx_verdict data_out(struct conn *c, const struct bhs *b);
/* True: a write holds memory and the peer does not send what it announced. */
bool data_overdue(struct conn *c, uint64_t now_ms);
/* The data of a Data-Out (or of a command: immediate) for this task is whole. */
void data_received(struct itask *t, const struct bhs *b, bool digest_ok);
void task_data_received(struct itask *t);
/* May its R2Ts be sent; how many bytes does the next ask for. */
bool data_r2t_due(const struct itask *t);
void data_r2t_take(struct itask *t, uint32_t *ret_off, uint32_t *ret_len);
/* Where the next n bytes go: at most max pieces; returns pieces, *ret_bytes covered. */
int data_sink_iov(struct itask *t, struct iovec *iov, int max, uint32_t n, uint32_t *ret_bytes);
/* n bytes have arrived there; adds them to crc when not NULL. */
void data_sink_advance(struct itask *t, uint32_t n, uint32_t *crc);
/* Copies n bytes there; adds them to crc when not NULL. */
void data_sink_copy(struct itask *t, const uint8_t *src, uint32_t n, uint32_t *crc);
void data_sink_set(struct itask *t, struct iovec *iov, int n);

/* ---- control PDUs: everything but SCSI data and responses ---- */

struct ctl {
	STAILQ_ENTRY(ctl) link;
	struct bhs bhs;	  /* sequence numbers are filled in when it is sent */
	bool keep_statsn; /* an unsolicited NOP-In does not count */
	bool plain;	  /* the last login response: no digests yet */
	uint32_t len;
	uint8_t data[];
};
STAILQ_HEAD(ctl_list, ctl);

/* ---- connections ---- */

enum conn_state { /* RFC 7143 8.1, as a target sees them */
		  CONN_FREE,
		  CONN_XPT_UP,
		  CONN_IN_LOGIN,
		  CONN_LOGGED_IN,
		  CONN_IN_LOGOUT,
		  CONN_LOGOUT_REQUESTED,
		  CONN_CLEANUP_WAIT,
		  CONN_STATES
};
enum conn_event {
	EV_LOGIN_REQUEST,
	EV_LOGIN_OK,
	EV_LOGIN_FAILED,
	EV_LOGOUT,
	EV_ASK_LOGOUT,
	EV_LOST,
	EV_CLEANED,
	CONN_EVENTS
};

enum rx_state { RX_HEADER, RX_DATA, RX_TRAILER };

struct conn_rx {
	uint8_t *buf;
	uint32_t head, tail;
	enum rx_state state;
	struct bhs bhs;	    /* the PDU whose data is being received */
	uint32_t left;	    /* of its data */
	uint32_t store;	    /* of that, bytes that go to task or mem; the rest is discarded */
	struct itask *task; /* the command or Data-Out is this one's */
	uint8_t *mem;	    /* data of control PDUs, allocated */
	uint32_t mem_at;
	uint8_t trailer[8]; /* padding and digest */
	unsigned trailer_len, trailer_need;
	uint32_t crc;
	uint64_t at_ns; /* of the last receive: commands in it came then */
	bool starved;	/* in worker.starved */
	bool parked;	/* its next command must wait for one of another connection */
	uint64_t starved_ms, parked_ms;
	uint32_t parked_sn; /* CmdSN of that command */
};

struct conn_tx {
	struct iovec *iov; /* TX_IOV */
	uint8_t *arena;
	int iov_n, iov_at;
	size_t left; /* bytes of the batch not sent */
	unsigned arena_at;
	struct itask_list sent; /* tasks to give back when it has left */
	struct ctl_list ctl_sent;
	bool blocked;	   /* waiting for UV_WRITABLE */
	uint64_t moved_ms; /* when the socket took something last, while blocked */
};

struct cmd_window { /* of the session */
	uint32_t exp, max;
	unsigned busy;	    /* window commands not answered yet */
	unsigned immediate; /* immediate ones */
	unsigned nvoided;
	uint32_t voided[WINDOW_DEPTH / 32]; /* by CmdSN modulo: aborted before they came */
};

struct text_state { /* a text exchange over several PDUs */
	char *in;
	uint32_t in_len;
	char *out;
	size_t out_len, out_at;
	uint8_t itt[4];
	uint32_t ttt; /* ours; PDU_NO_TAG: no exchange is open */
};

struct conn {
	uint32_t magic;
	enum conn_state state;
	int fd;		 /* -1: closed */
	bool surplus;	 /* beyond max_connections: its login is refused */
	bool loose;	 /* counted in worker.nloose */
	bool last_word;	 /* close when everything queued has left */
	bool linger;	 /* our side is shut down, the peer's not yet */
	bool login_busy; /* a coroutine finishes the login: nothing is read */
	bool moved;	 /* came from another worker, to join its session */
	bool moved_away; /* went to another worker: the socket is no longer ours */
	bool header_digest, data_digest;
	unsigned refs;	       /* coroutines and calls on the stack */
	unsigned zombies;      /* aborted tasks whose coroutine has not returned */
	unsigned tmfs_waiting; /* for commands of other connections */
	uint64_t tmf_ms;       /* since when */
	uint16_t cid;
	uint16_t group; /* of the portal it came to */
	struct worker *worker;
	struct watch *watch;
	struct session *session;
	struct login *login;
	struct keys keys;
	struct cmd_window *window; /* the session's; until there is one, login_window */
	struct cmd_window login_window;
	uint32_t statsn;
	struct conn_rx rx;
	struct conn_tx tx;
	struct itask_list tasks; /* all of them */
	struct itask_list txq;
	unsigned r2t_bytes; /* asked for and not received yet */
	struct ctl_list ctls;
	unsigned nctls;
	size_t ctl_bytes;
	uint64_t data_ms; /* when data of a write came last */
	struct deferred flush;
	struct waitq zombie_wait;
	struct text_state text;
	uint64_t up_ms, heard_ms, ping_ms, linger_ms, last_word_ms;
	uint64_t logout_by_ms; /* 0: it was not asked to log out */
	bool pinging;
	uint32_t next_ttt;
	char peer[64];
	TAILQ_ENTRY(conn) link;	   /* worker.conns */
	TAILQ_ENTRY(conn) starved; /* worker.starved */
	TAILQ_ENTRY(conn) sibling; /* session.conns */
	struct itask_bucket itts[ITT_BUCKETS];
};
TAILQ_HEAD(conn_list, conn);

/* Takes over a connected socket, and what was received of it already; on its worker's thread.
 * surplus: its login is refused. */
struct accepted {
	int fd;
	uint16_t group; /* of the portal */
	bool surplus;
	uint32_t len;
	const uint8_t *received;
};
void conn_adopt(struct worker *w, const struct accepted *a);
/* The first login request, not taken yet, is for a session of another worker: goes there. */
void conn_move(struct conn *c, struct worker *to);
void conn_hold(struct conn *c);
void conn_release(struct conn *c); /* may free it */
void conn_event(struct conn *c, enum conn_event ev);
/* Now: tasks aborted, socket closed. The struct goes when nobody holds it. */
void conn_close(struct conn *c, const char *why);
/* Sends what is queued first. */
void conn_close_after_send(struct conn *c);
bool conn_open(const struct conn *c);
void conn_tick(struct conn *c, uint64_t now_ms);
/* It has a normal session now, or is gone: it no longer makes room for others. */
void conn_settle(struct conn *c);
/* The events to watch for follow from what the connection may do. */
void conn_watch(struct conn *c);
uint64_t conn_now_ms(const struct conn *c);
/* Local address as in a TargetAddress: "10.0.0.1:3260", "[::1]:3260". */
void conn_local_address(const struct conn *c, char *ret, size_t size);

void address_format(const struct sockaddr_storage *sa, char *ret, size_t size);

/* conn_rx.c */
void conn_rx_readable(struct conn *c);
void conn_rx_process(struct conn *c);
bool conn_rx_may_read(const struct conn *c);
/* The task that data goes to is gone: the rest is discarded. */
void conn_rx_forget(struct conn *c, struct itask *t);

/* conn_tx.c */
void conn_flush_soon(struct conn *c);
void conn_flush(void *conn);
void conn_tx_task(struct conn *c, struct itask *t);
/* A control PDU with a copy of the data, queued. NULL: no memory, the connection was closed. */
struct ctl *conn_tx_ctl(struct conn *c, const struct bhs *b, const void *data, uint32_t len);
void conn_tx_drop(struct conn *c);

/* window.c: the window of command numbers */
void window_init(struct cmd_window *w, uint32_t cmdsn);
uint32_t window_max(struct conn *c);
enum cmdsn_verdict { CMDSN_TAKE, CMDSN_IGNORE, CMDSN_FATAL };
enum cmdsn_verdict window_check(const struct cmd_window *w, bool immediate, uint32_t cmdsn);
/* ExpCmdSN is taken. Others may have waited for that. */
void window_advance(struct conn *c);
/* For all but commands. False: the request ends here, ignored or with its connection. */
bool window_take_request(struct conn *c, const struct bhs *b);
/* Its CmdSN must wait until other connections have brought those before it. */
bool window_must_wait(const struct conn *c, const struct bhs *b);
/* A CmdSN that has not come counts as received; when it comes it is ignored. False: it is not
 * in the window. */
bool window_void(struct conn *c, uint32_t cmdsn);

/* Requests. data[len] may be written (there is a byte more than len). */
void conn_login_request(struct conn *c, const struct bhs *b, char *data, uint32_t len);
void conn_nop_out(struct conn *c, const struct bhs *b, const uint8_t *data, uint32_t len);
void conn_nop_tick(struct conn *c, uint64_t now_ms);
void conn_nop_window(struct conn *c);
void conn_tmf_request(struct conn *c, const struct bhs *b);
/* A scsi_abort_fn; transport: the session. */
bool conn_abort_other(void *transport, const uint8_t lun[8], bool tas, void (*done)(void *arg),
		      void *arg);
void conn_text_request(struct conn *c, const struct bhs *b, char *data, uint32_t len);
void conn_text_free(struct conn *c);
void conn_logout_request(struct conn *c, const struct bhs *b);
/* Tells the initiator a request was refused; data is the refused header. */
void conn_reject(struct conn *c, const struct bhs *b, enum reject_reason why);
/* A protocol error: reject, then the end of the connection. */
void conn_protocol_error(struct conn *c, const struct bhs *b, const char *what);
/* Asks the initiator to log out within that time; then it is dropped. */
void conn_ask_logout(struct conn *c, unsigned seconds);
/* Says that the session is dropped, and closes. Its tasks end now. */
void conn_drop(struct conn *c);
/* An asynchronous message. */
void conn_async(struct conn *c, enum async_event ev, uint16_t p1, uint16_t p2, uint16_t p3);

/* ---- sessions (session.c) ---- */

struct session {
	_Atomic unsigned refs;
	struct iscsi_server *server;
	struct worker *worker;
	/* These on the worker's thread only. */
	struct conn_list conns;	 /* empty when it has ended */
	_Atomic unsigned nconns; /* read by any thread */
	bool ending;		 /* its connections are being closed */
	bool failed;		 /* one was lost: they are to be closed */
	struct cmd_window window;
	uint64_t arrivals;	/* of commands */
	struct deferred resume; /* connections that were parked; or all end */
	struct waitq changed;	/* ExpCmdSN grew, a connection left */

	uint16_t tsih;
	uint16_t group; /* portal group tag */
	uint8_t isid[6];
	bool discovery;
	bool listed;
	char initiator[ISCSI_NAME_MAX + 1];
	char target_name[ISCSI_NAME_MAX + 1];
	char peer[64];
	struct scsi_target *target;
	struct scsi_nexus *nexus;
	struct keys keys;
	_Atomic unsigned logout_s; /* how long session_ask_logout() gives */
	uint64_t since_ns;
	counter commands, bytes_in, bytes_out; /* in: to the initiator */
	TAILQ_ENTRY(session) link;
};
TAILQ_HEAD(session_list, session);

/*
 * Waits: a task. Makes the session of a connection whose login is complete; an older one of the
 * same initiator port is ended first. A login_status.
 */
unsigned session_create(struct conn *c, struct login *l);
/* The same for a further connection of a session, or one in place of its old self (CID). */
unsigned session_join(struct conn *c, struct login *l);
/* The connection is gone and all its tasks; the session ends with its last. */
void session_leave(struct conn *c);
/* Closes all connections, but that one. */
void session_close(struct session *s, const struct conn *but, const char *why);
/* Parked connections go on at the end of this turn. */
void session_resume(struct session *s);
/* When all connections wait for a command that none can bring any more, the session is lost. */
void session_check_parked(struct session *s);
/* A connection is lost: at error recovery level 0 the session is. */
void session_fail(struct session *s);
/* Tasks of all its connections, as task_abort_all(). */
void session_abort_tasks(struct session *s, const uint8_t *lun, const struct abort_scope *scope);
/* Tasks on a LUN that another nexus aborts: they end with TASK ABORTED, unless their answer is
 * known already. */
void session_end_tasks(struct session *s, const uint8_t lun[8]);
/* Is a task on the LUN, which was aborted, still in the SCSI layer? Waits until none is. */
bool session_aborted_left(const struct session *s, const uint8_t lun[8]);
void session_wait_aborted(struct session *s, const uint8_t lun[8]);
/* Waits until no aborted task is left in the SCSI layer. */
void session_wait_zombies(struct session *s);
struct itask *session_find_task(const struct session *s, uint32_t itt);
struct conn *session_find_cid(const struct session *s, uint16_t cid, const struct conn *but);
struct session *session_hold(struct session *s);
void session_release(struct session *s);
/* Ends sessions at a target (NULL: any), of one initiator (NULL: all), from any thread. Returns
 * how many were told. */
unsigned session_kill_all(struct iscsi_server *s, const char *target, const char *initiator,
			  const struct session *but);
/* The worker of the session with this handle and initiator port; NULL: there is none. */
struct worker *session_worker(struct iscsi_server *s, uint16_t tsih, const uint8_t isid[6]);

/* ---- workers: one a reactor (server.c) ---- */

struct worker {
	struct iscsi_server *server;
	struct reactor *reactor;
	struct mem_pool *pool;	  /* of struct itask */
	struct mem_pool *bounces; /* of BOUNCE_CHUNK bytes */
	uint8_t *scratch;	  /* what is received to be discarded */
	struct conn_list conns;
	struct conn_list starved;
	struct deferred feed;	 /* starved connections, when a task is free */
	struct deferred stopped; /* its last connection is gone while stopping */
	struct env_timer tick;
	uint64_t tick_ms;	 /* of the last one */
	_Atomic unsigned nconns; /* accepted for it */
	_Atomic unsigned nloose; /* of them, without a normal session: these go first when full */
	bool stopping, has_stopped;
	counter commands, bytes_in, bytes_out, logins, login_failures, protocol_errors,
	    digest_errors;
};

#define LISTENERS_MAX 16
struct listener {
	int fd;
	struct watch *watch;
	struct sockaddr_storage addr;
	uint16_t group;
	char name[96]; /* "10.0.0.1:3260" */
	struct iscsi_server *server;
};

/* A portal of the partner's, for discovery. */
struct far_portal {
	struct sockaddr_storage addr;
	uint16_t group;
	char name[96];
};

struct iscsi_server {
	struct scsi_registry *registry;
	struct worker *workers;
	unsigned nworkers;
	struct listener listeners[LISTENERS_MAX];
	unsigned nlisteners;
	struct far_portal far[LISTENERS_MAX];
	unsigned nfar;
	unsigned max_connections, login_timeout_s, nop_interval_s, nop_timeout_s, data_timeout_s;
	unsigned logout_s;
	unsigned chap_allowed;
	_Atomic unsigned nconns;

	pthread_mutex_t lock; /* over the rest */
	unsigned busy;	      /* handovers; workers and listeners not stopped yet */
	struct task *stopper; /* waits for that */
	struct session_list sessions;
	struct waitq gone; /* waits for a session to end */
	uint16_t last_tsih;
};

/* A connection of the worker is gone; on its thread. */
void worker_conn_gone(struct worker *w);
/* Gives a connected socket to a worker with what was received of it. -ENOMEM: nothing was done. */
int server_hand_over(struct worker *w, const struct accepted *a);

#endif
