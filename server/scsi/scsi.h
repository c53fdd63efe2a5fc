/*
 * SCSI as a transport sees it: targets, nexuses and commands. The transport
 * (iSCSI) fills a scsi_cmd, starts it, receives data-out into the memory it is
 * given, and sends data-in from memory that is lent (cache pages).
 *
 *   scsi_start() -> SCSI_DONE | SCSI_DATA_OUT | SCSI_WAIT
 *       SCSI_WAIT: call scsi_start_wait() in a task -> SCSI_DONE | SCSI_DATA_OUT
 *   after SCSI_DATA_OUT and all data (or an abort: scsi_release()):
 *   scsi_finish() -> SCSI_DONE | SCSI_WAIT
 *       SCSI_WAIT: call scsi_finish_wait() in a task -> SCSI_DONE
 *   after SCSI_DONE: status, sense and data-in are set; when sent: scsi_release().
 *
 * Long transfers go in parts: scsi_finish() then gives SCSI_DATA_OUT again, with memory for the
 * next part in out_iov; and after SCSI_DONE with in_more, when the part in in_iov was sent,
 * scsi_finish() gives the next one (or the command's failure). part_at is where in the transfer the
 * part begins.
 *
 * Residuals: the transport compares its expected lengths with in_len and out_len, whatever the
 * status; they count all parts. When out_expected is less than out_len, out_iov takes the whole
 * blocks that will come (out_iov may be shorter than out_len); when it ends inside a block the
 * command fails with ILLEGAL REQUEST, INVALID FIELD IN COMMAND INFORMATION UNIT, and nothing is
 * written.
 */
#ifndef ISTHMUS_SERVER_SCSI_H
#define ISTHMUS_SERVER_SCSI_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>
#include <bsd/sys/queue.h>
#include "blockcore/cache/cache.h"

struct core;
struct scsi_itl;
struct scsi_lu;
struct scsi_nexus;
struct scsi_op;
struct scsi_registry;
struct scsi_target;
struct scsi_view;

enum scsi_status {
	SCSI_GOOD = 0x00,
	SCSI_CHECK_CONDITION = 0x02,
	SCSI_CONDITION_MET = 0x04,
	SCSI_BUSY = 0x08,
	SCSI_RESERVATION_CONFLICT = 0x18,
	SCSI_TASK_SET_FULL = 0x28,
	SCSI_TASK_ABORTED = 0x40,
};

enum scsi_next { SCSI_DONE, SCSI_DATA_OUT, SCSI_WAIT };

#define SCSI_PART_MIN	 (256u << 10) /* all parts of a transfer but its last have more or as much */
#define SCSI_SENSE_MAX	 96
#define SCSI_INLINE_DATA 4096 /* data-in of all but reads; data-out parameter lists */

/* Stages of a command's life (stats.h): where its time goes. */
enum scsi_stage {
	STAGE_START,
	STAGE_ORDER,
	STAGE_LIMIT,
	STAGE_CACHE,
	STAGE_DISK,
	STAGE_FORWARD,
	STAGE_DATA,
	STAGE_RESPOND,
	STAGE_SEND,
	SCSI_STAGES
};
struct scsi_trace {
	uint64_t received_ns; /* monotonic; the transport's; 0: the command is not counted */
	uint64_t mark_ns;     /* last stage's end; 0: the command is not of the sample */
	uint64_t stage_ns[SCSI_STAGES];
};

/* Task attributes (SAM-5 8.6). Whatever is SCSI_ATTR_OTHER is refused: ACA, as there is no NACA. */
enum scsi_attr { SCSI_SIMPLE, SCSI_ORDERED, SCSI_HEAD, SCSI_ATTR_OTHER };

/* A command's place in the task set of its unit (task_set.h). */
struct task;
enum scsi_in_set { TURN_NONE, TURN_COUNTED, TURN_LISTED };
struct scsi_turn {
	uint8_t in;		/* enum scsi_in_set; the command's thread's, as `waits` */
	bool waits;		/* it has to wait before it may run */
	bool runs, cancelled;	/* under the set's lock, with TURN_LISTED, as task and link */
	_Atomic uint32_t *cell; /* with TURN_COUNTED: where it is counted */
	struct task *task;
	TAILQ_ENTRY(scsi_cmd) link;
};

/* A command's place in the queue of its unit's QoS limit (qos.h). */
struct scsi_hold {
	bool held,
	    cancelled; /* under the limit's lock, but on the command's thread; cancelled: any */
	uint64_t bytes, since_ns;
	struct task *task;
	TAILQ_ENTRY(scsi_cmd) link;
};

/* A command that another controller carries out (forward.h). */
struct forward_block;
struct scsi_forward {
	bool not_owner; /* nothing was done: the volume is not, or no longer, here */
	bool calling;	/* the partner has it */
	uint32_t out;	/* bytes of data-out held for it */
	struct forward_block *blocks;
	uint64_t id, told;
	uint64_t since_ns; /* when it came, where others had their turn before it; 0: now */
	unsigned users;	   /* pieces of its data-out on their way */
	struct task *task;
	TAILQ_ENTRY(scsi_cmd) link;
};

struct scsi_cmd {
	/* Set by the transport before scsi_start(), trace.received_ns too. */
	struct scsi_nexus *nexus;
	uint8_t lun[8]; /* as on the wire (SAM-5 4.6) */
	uint8_t cdb[260];
	uint16_t cdb_len;      /* 6..260 */
	uint8_t attr;	       /* enum scsi_attr */
	uint32_t out_expected; /* bytes the initiator will send (0 for none) */
	void *transport;       /* its own */

	/* Set by the SCSI layer. */
	uint8_t status;
	uint8_t sense[SCSI_SENSE_MAX];
	uint8_t sense_len;
	struct iovec *in_iov; /* data-in, lent until scsi_release() */
	int in_iovcnt;
	uint32_t in_len; /* bytes the command has to send, before the expected length cuts it */
	struct iovec *out_iov; /* where data-out goes */
	int out_iovcnt;
	uint32_t out_len; /* bytes the command wants; the rest is overflow */
	uint32_t part_at; /* bytes before the part that is lent */
	bool in_more;	  /* other parts follow it */

	/* The SCSI layer's own. */
	struct scsi_trace trace;
	struct scsi_turn turn;
	struct scsi_hold hold;
	struct scsi_lu *lu;
	const struct scsi_op *op;
	struct scsi_view *view; /* keeps lu and itl alive */
	struct scsi_itl *itl;	/* the logical unit as this nexus sees it; NULL: none */
	void *heap;    /* data that does not fit data[]; never on the path of reads and writes */
	uint64_t off;  /* of the medium, bytes */
	uint32_t len;  /* of the medium, bytes */
	uint32_t rest; /* bytes after these, in further parts (part.c) */
	bool holds_read, holds_write, fua;
	_Atomic bool aborted; /* the transport wants no answer: long waits end */
	struct scsi_forward fwd;
	union {
		struct cache_read read;
		struct cache_write write;
	} io;
	struct iovec inline_iov;
	uint8_t data[SCSI_INLINE_DATA];
};

/* Never waits. */
enum scsi_next scsi_start(struct scsi_cmd *c);
enum scsi_next scsi_finish(struct scsi_cmd *c);
/* A command for this LUN has come and is started soon (near: sooner): cache_hint(). c was started
 * and holds its data still; where it is of another LUN, nothing happens. */
void scsi_hint(const struct scsi_cmd *c, const uint8_t lun[8], const uint8_t cdb[16], bool near);
/* Data-out that has come: copies it to out_iov[i], from byte `off` of it on. */
void scsi_data_copy(struct scsi_cmd *c, int i, size_t off, const void *from, size_t n);
/* It was received straight into out_iov, of which the first n elements are full. Not needed, but
 * what has to be done with the data can begin. */
void scsi_data_received(struct scsi_cmd *c, int n);
/* Wait. */
enum scsi_next scsi_start_wait(struct scsi_cmd *c);
enum scsi_next scsi_finish_wait(struct scsi_cmd *c);
/* The response is queued; its last byte was taken by the network, with so many bytes of data moved.
 * In this order, before scsi_release(); on the thread that started the command. */
void scsi_responding(struct scsi_cmd *c);
void scsi_sent(struct scsi_cmd *c, uint64_t now_ns, uint64_t bytes);
/* Memory for len bytes of data that come while the command waits for its turn or its unit's limit;
 * NULL: none that is part of the command. What it holds is lost when scsi_start_wait() has returned
 * and out_iov is filled from it. */
void *scsi_hold_data(struct scsi_cmd *c, uint32_t len);
/* Gives back pages; also of a command that is abandoned before its data came. Never waits. */
void scsi_release(struct scsi_cmd *c);

/* From the transport's thread while a task is in scsi_start_wait() or scsi_finish_wait(): its
 * answer is not wanted any more. */
void scsi_abort(struct scsi_cmd *c);

/* Tells the command failed in the transport: sets CHECK CONDITION with this sense. */
void scsi_fail(struct scsi_cmd *c, uint8_t key, uint8_t asc, uint8_t ascq);

/* The transport ends the command with this status by itself, before scsi_release(). */
void scsi_told(struct scsi_cmd *c, uint8_t status);

/* ---- targets, from array metadata; any thread ---- */

/* Both on the reactor the core was opened on. All nexuses are freed before the registry; in a task
 * it waits for flushes that were answered before they ended. */
int scsi_registry_new(struct scsi_registry **ret, struct core *core);
void scsi_registry_free(struct scsi_registry *r);

/* Credentials of a login; empty user: none asked for. */
struct scsi_auth {
	char user[256], secret[256];		   /* the initiator must show */
	char mutual_user[256], mutual_secret[256]; /* the target shows when asked */
};

/* A reference. NULL: no such target. */
struct scsi_target *scsi_target_get(struct scsi_registry *r, const char *iqn);
void scsi_target_put(struct scsi_target *t);
const char *scsi_target_iqn(const struct scsi_target *t);
/* Is it reached through this portal group? */
bool scsi_target_in_group(const struct scsi_target *t, uint16_t group);
/* Where logins are sent instead, as in a TargetAddress without tag; NULL: nowhere. */
const char *scsi_target_redirect(const struct scsi_target *t, bool *ret_permanent);
/* May this initiator log in? 0, -EACCES; fills auth. */
int scsi_target_admit(struct scsi_target *t, const char *initiator, struct scsi_auth *ret_auth);
/* Calls each() for every target this initiator may discover. */
void scsi_target_each(struct scsi_registry *r, const char *initiator,
		      void (*each)(void *arg, const struct scsi_target *t), void *arg);
/* What an initiator must show before targets are listed to it. */
void scsi_discovery_auth(struct scsi_registry *r, struct scsi_auth *ret);

/*
 * An I_T nexus: made at login of a normal session, freed when the session ends (pending unit
 * attentions go with it). port: the initiator port name with ISID (SPC-5 7.6.4.x).
 */
/* group: tag of the portal group, which with the target is the target port. */
int scsi_nexus_new(struct scsi_nexus **ret, struct scsi_target *t, const char *initiator,
		   const uint8_t isid[6], uint16_t group);
void scsi_nexus_free(struct scsi_nexus *n);

/* Task management's effect on logical units: the transport has aborted its own tasks. */
enum scsi_tmf { SCSI_TMF_LU_RESET, SCSI_TMF_TARGET_RESET, SCSI_TMF_CLEAR_TASK_SET };
/* 0, -ENOENT: no such LUN. Unit attentions for the other nexuses are queued. abort_others() (may
 * be NULL) is called for every other nexus that shares an affected LU, with the LUN as that nexus
 * sees it, so its tasks there can be aborted (tas: as in scsi_abort_fn); the registry is locked
 * meanwhile, so it must not call back into targets and nexuses other than scsi_nexus_abort().
 * Waits where the partner owns the unit.
 */
int scsi_task_management(struct scsi_nexus *n, const uint8_t lun[8], enum scsi_tmf what,
			 void (*abort_others)(struct scsi_nexus *other, const uint8_t lun[8],
					      bool tas, void *arg),
			 void *arg);
/* Do both name the same logical unit, perhaps in different methods of addressing? */
bool scsi_lun_same(const uint8_t a[8], const uint8_t b[8]);
/* Is there such a LUN for this nexus? (TMF response "LUN does not exist"). */
bool scsi_lun_exists(struct scsi_nexus *n, const uint8_t lun[8]);
/* The transport's own, for abort_others(). */
void scsi_nexus_set_transport(struct scsi_nexus *n, void *transport);
void *scsi_nexus_transport(const struct scsi_nexus *n);
/* gone(transport) is called, on the metadata's reactor and with the registry locked, when the
 * target was removed or no longer admits the initiator: the transport ends the session. It must
 * only tell its own reactor. May be called again. */
void scsi_nexus_set_gone(struct scsi_nexus *n, void (*gone)(void *transport));

/* Which portal groups the transport has; before there are nexuses. Without: group 1. Waits: they
 * are recorded in the metadata, where that can be written (else after its next change). -EEXIST:
 * one of them is the other controller's. */
#define SCSI_GROUPS_MAX 16
int scsi_registry_set_groups(struct scsi_registry *r, const uint16_t *tags, unsigned n);

/*
 * How the transport aborts the commands of a nexus on a LUN: PREEMPT AND ABORT. Called with the
 * registry locked, on any thread: it must only tell its own reactor. done(arg) (when not NULL) is
 * called, on any thread, when those commands are gone; never when it returns false. tas: they end
 * with TASK ABORTED (SAM-5 5.3.1), else without an answer.
 */
typedef bool scsi_abort_fn(void *transport, const uint8_t lun[8], bool tas, void (*done)(void *arg),
			   void *arg);
void scsi_registry_set_abort(struct scsi_registry *r, scsi_abort_fn *abort);
/* The same for a nexus that abort_others() was given, wherever its session is. */
bool scsi_nexus_abort(struct scsi_nexus *n, const uint8_t lun[8], bool tas, void (*done)(void *arg),
		      void *arg);

/*
 * The other controller of a cluster of two: commands for volumes it owns are passed on to it, and
 * its commands are carried out here. On the reactor the core was opened on; after
 * scsi_registry_set_groups(), before there are nexuses.
 */
struct link;
struct scsi_partner {
	struct link *link;
	uint16_t group, partner_group; /* target port groups: 1 and 2, or 2 and 1 */
	const uint16_t *tags;	       /* the partner's portal groups: none is one of ours */
	unsigned ntags;
};
int scsi_partner_open(struct scsi_registry *r, const struct scsi_partner *p);
/* Wait. The link has come up, has gone down: on its reactor. */
void scsi_partner_up(struct scsi_registry *r);
/* Waits. Which memory the partner has (its hello): reservations without APTPL that were written
 * into it hold as well. */
void scsi_partner_memory(struct scsi_registry *r, uint64_t memory_id);
void scsi_partner_down(struct scsi_registry *r);
/* Commands wait no longer for a volume or for the partner: as those of a process that has died. */
void scsi_partner_abandon(struct scsi_registry *r);
/* Waits. When there are no nexuses any more, and the link carries no messages to us (it is down, or
 * closed): before scsi_registry_free(). */
void scsi_partner_close(struct scsi_registry *r);

struct admin_server;
/* Verbs target.*, lun.*, initiator.*. */
int scsi_admin_register(struct scsi_registry *r, struct admin_server *a);

#endif
