/*
 * Commands for logical units whose volume the partner owns (doc/duplex.md): passed on whole, with
 * the nexus they came by, and carried out there.
 *
 *   forward.c        the front: which commands go, holding them while nobody owns the volume
 *   forward_call.c   one command to the partner and back: data-out, data-in, what it told before
 *   forward_nexus.c  nexuses made known to the partner; their proxies here, and these's commands
 *   forward_serve.c  the owner: the partner's commands carried out for their proxies
 *   forward_tell.c   task management, aborts, unit attentions, states of units: both ways
 *   forward_pool.c   memory of data under way
 *   partner.c        set up and taken down; the partner comes and goes; volumes move
 *
 * A *proxy* is a nexus in this registry that stands for one of the partner's: reservations, task
 * management and limits meet it like any other. It has no unit attentions of its own: what
 * follows from the metadata its front sees itself, and the rest it is told.
 */
#ifndef ISTHMUS_SERVER_SCSI_FORWARD_H
#define ISTHMUS_SERVER_SCSI_FORWARD_H

#include "blockcore/core_own.h"
#include "blockcore/link/link.h"
#include "runtime/env.h"
#include "server/scsi/forward_wire.h"
#include "server/scsi/scsi_priv.h"

/* How long a command is held while nobody carries it out: initiators wait for 30 s and more. */
#define FORWARD_HOLD_NS (20 * NS_PER_S)
/* The link is down for so long while the partner works: its portals serve its volumes, ours not. */
#define FORWARD_CUT_NS NS_PER_S
/* How often those who wait look by themselves: what they wait for wakes them as a rule. */
#define FORWARD_LOOK_NS (100 * NS_PER_MS)

/* ---- memory: blocks of 64 KiB, made as they are needed and kept; bounded ---- */

#define FORWARD_BLOCK  (64u * 1024)
#define FORWARD_BLOCKS 1024
struct forward_block {
	struct forward_block *next;
	uint8_t *data;
};
struct forward_waiter {
	TAILQ_ENTRY(forward_waiter) link;
	struct task *task;
};
struct forward_pool {
	pthread_mutex_t lock;
	struct forward_block *free;
	unsigned nfree, made;
	TAILQ_HEAD(, forward_waiter) waiting; /* first come, first served */
};
void pool_blocks_init(struct forward_pool *p);
void pool_blocks_fini(struct forward_pool *p);
/* All or none; never waits. NULL: not now. */
struct forward_block *pool_blocks_try(struct forward_pool *p, unsigned n);
/* Waits. NULL: *stop became true (then pool_blocks_wake() is called), or no memory. */
struct forward_block *pool_blocks_take(struct forward_pool *p, unsigned n,
				       const _Atomic bool *stop);
void pool_blocks_wake(struct forward_pool *p);
void pool_blocks_give(struct forward_pool *p, struct forward_block *b);
static inline unsigned pool_blocks_for(uint32_t bytes)
{
	return (bytes + FORWARD_BLOCK - 1) / FORWARD_BLOCK;
}
/*
 * What is at the partner at a time: commands take half of what the link takes (blockcore/link), so
 * that what the partner asks for meanwhile, and mirroring, never wait for them. What copies read
 * and write there has a share of its own: the copy may be the partner's, and its command, with all
 * that waits behind it, stands in the partner's window; two that cross would wait for each other.
 * It waits for nothing that needs the link's room itself.
 */
#define FORWARD_WINDOW (8u << 20)
#define FORWARD_COPIES (2u << 20)
#define FORWARD_COST   4096u /* of a command beside its data */
struct forward_window {
	pthread_mutex_t lock;
	uint32_t size, used;
	TAILQ_HEAD(, forward_waiter) waiting;
};
void forward_window_init(struct forward_window *w, uint32_t size);
void forward_window_fini(struct forward_window *w);
/* Waits, in the order of arrival. False: *stop. */
bool forward_window_enter(struct forward_window *w, uint32_t cost, const _Atomic bool *stop);
void forward_window_leave(struct forward_window *w, uint32_t cost);
void forward_window_wake(struct forward_window *w);

/* The first len bytes of the blocks as pieces; max pieces at most. */
int blocks_iov(const struct forward_block *b, uint32_t len, struct iovec *iov, int max);
/* Bytes [off, off + len) of iov as pieces of out (max at most); -1: they do not fit. */
int iov_part(const struct iovec *iov, int n, uint32_t off, uint32_t len, struct iovec *out,
	     int max);

/* ---- proxies and the partner's commands ---- */

#define PROXY_HASH 1024
struct served;
struct proxy {
	uint64_t id; /* the front's number of the nexus; never changes */
	struct scsi_nexus *nexus;
	bool gone; /* ended with its last command */
	LIST_HEAD(, served) commands;
	LIST_ENTRY(proxy) hash;
};

/* A command of the partner's; pooled. All of them on the link's reactor. */
struct served {
	struct forward *forward;
	struct proxy *proxy;
	uint64_t id;
	uint32_t given;			  /* bytes of data-in that were asked for */
	bool kept;			  /* it is done, and data-in is left */
	bool sending;			  /* a reply with its data is under way */
	bool dropped;			  /* it goes when they have left */
	LIST_ENTRY(served) link;	  /* proxy.commands; or those that are free */
	uint8_t head[FWD_DONE_LEN];	  /* of its reply */
	struct iovec iov[CACHE_IO_PAGES]; /* ... and a part of its data */
	struct task *more;		  /* waits until one that is under way has been sent */
	struct scsi_cmd cmd;
};
#define SERVED_MAX 2048 /* at a time */

/* ---- the whole ---- */

struct forward {
	struct scsi_registry *registry;
	struct link *link;
	struct env *env;
	struct core_own_watch *watch;
	uint16_t group, partner_group;
	_Atomic uint64_t down_ns; /* since when the link is down; 0: it is up */
	_Atomic uint64_t next_id; /* of nexuses and commands */
	_Atomic bool stopping;
	_Atomic unsigned jobs; /* tasks of ours under way */

	pthread_mutex_t lock;	     /* over these; a leaf */
	struct waitq held;	     /* commands that wait for an owner, or for what was told */
	TAILQ_HEAD(, scsi_cmd) lent; /* commands whose data-out the partner asks for */

	pthread_mutex_t tell_lock; /* numbers go out in their order; a leaf but for the link's */
	uint64_t told, told_session;
	_Atomic uint64_t heard; /* number of the last that the partner told */

	struct forward_pool pool;
	struct forward_window window, copies;

	/* The owner's side: the link's reactor. */
	LIST_HEAD(, proxy) proxies[PROXY_HASH];
	unsigned nproxies;
	uint64_t proxy_session; /* of the link, in which they were made */
	LIST_HEAD(, served) spare;
	unsigned nserved; /* made */
	struct waitq spare_wait;
};

/* ---- the front (forward.c, forward_call.c) ---- */

/* After the nexus's unit attentions: does the partner, or who will be the owner, get this command?
 * op: its row, NULL: none. False: it is carried out here. */
bool forward_takes(struct scsi_cmd *c, const struct scsi_op *op, enum scsi_next *ret);
/* A volume call said -ERR_NOT_OWNER before anything was done. */
enum scsi_next forward_again(struct scsi_cmd *c);
/* Waits; as scsi_start_wait(). */
enum scsi_next forward_start_wait(struct scsi_cmd *c);
void forward_abort(struct scsi_cmd *c);
void forward_release(struct scsi_cmd *c);
/* The command ends: the access state changed, and nobody knows whether it was carried out. */
enum scsi_next forward_lost(struct scsi_cmd *c);
/* The partner works and has not been reached for FORWARD_CUT_NS: hosts have to ask it themselves.
 * Never waits. */
bool forward_cut(const struct forward *f);
/* Waits until the volume's commands are carried out here or at a partner that is there: an
 * enum core_place; -ETIMEDOUT, -ECANCELED when *stop. *by_ns: until when; 0: it is set when there
 * is something to wait for. */
int forward_where(struct forward *f, struct scsi_lu *lu, uint64_t *by_ns, const _Atomic bool *stop);
/*
 * Waits, after a call that the end of the link's session ended: until the partner carries out
 * nothing of that session any more, as it says in the next one, or as its process has ended;
 * FORWARD_HOLD_NS at most. n: whose commands; NULL: calls that are no commands (blockcore/far.h).
 */
void forward_settle(struct forward *f, struct scsi_nexus *n);
/* Waits. The command to the partner. 0: it is done, status and data are set. -ERR_NOT_OWNER: it
 * has done nothing; -ERR_DISCONNECTED: nobody knows. */
int forward_call(struct forward *f, struct scsi_cmd *c);
/* Memory for so many bytes of the command's data, in blocks; waits. 0, -ECANCELED, -ENOMEM. */
int forward_room(struct forward *f, struct scsi_cmd *c, uint32_t len);
/* FWD_PULL. */
void forward_pull(struct forward *f, struct link_msg *m);
/* Those who wait look again. Any thread. */
void forward_wake(struct forward *f);

/* ---- nexuses (forward_nexus.c) ---- */

/* A nexus begins, and is made known when this is a task; ends. */
void forward_nexus_new(struct forward *f, struct scsi_nexus *n);
void forward_nexus_gone(struct forward *f, struct scsi_nexus *n);
/* Waits. 0: the partner has a proxy for it, and nothing of it from earlier sessions of the link;
 * -EBUSY: it has something, which is about to end. */
int forward_announce(struct forward *f, struct scsi_nexus *n);
/* All there are, in a new session of the link. */
void forward_announce_all(struct forward *f);
/* With the registry lock. */
struct scsi_nexus *forward_find_nexus(struct forward *f, uint64_t id);
/* On the link's reactor. */
struct proxy *proxy_find(struct forward *f, uint64_t id);
void proxy_made(struct forward *f, struct link_msg *m);
void proxy_gone(struct forward *f, uint64_t id);
void proxies_gone(struct forward *f);
void proxy_unuse(struct forward *f, struct proxy *p); /* a command of it has ended */

/* ---- the owner (forward_serve.c): handlers of messages ---- */

void serve_command(struct forward *f, struct link_msg *m);
void serve_more(struct forward *f, struct link_msg *m);
void serve_drop(struct forward *f, const struct fwd_item *x);
void serve_abort(struct forward *f, const struct fwd_item *x);
/* A kept one is not wanted any more. */
void serve_forget(struct served *s);
void served_free(struct forward *f);

/* ---- forward_tell.c ---- */

/* Any thread; the registry may be locked. Unit attentions of a proxy. */
void forward_tell(struct forward *f, const struct proxy *p, uint32_t lun, uint32_t uas);
/* With the registry lock. The state of a unit, or of all, where it is owned here. */
void forward_tell_unit(struct forward *f, struct scsi_lu *lu);
void forward_tell_units(struct forward *f);
/* As a scsi_abort_fn: the front ends what the proxy's nexus has on the LUN. */
bool forward_end(struct forward *f, const struct proxy *p, const uint8_t lun[8], bool tas,
		 void (*done)(void *arg), void *arg);
/* Waits. Task management at the owner: 0; FORWARD_HERE: that is this controller now; -EIO: nobody
 * did it. */
#define FORWARD_HERE 1
int forward_tmf(struct forward *f, struct scsi_nexus *n, struct scsi_lu *lu, const uint8_t lun[8],
		enum scsi_tmf what);
/* Waits until what the owner told before a reply was taken. */
void forward_hear(struct forward *f, uint64_t told, uint64_t session);
/* Handler of all messages; arg: the struct forward. */
void forward_message(void *arg, struct link_msg *m);
/* With tell_lock: what was told in the link's session so far. */
uint64_t forward_told(struct forward *f);

#endif
