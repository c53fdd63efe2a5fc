/*
 * Inside server/scsi: logical units, what a nexus sees of them, the table of
 * operations and the helpers commands are written with. See README.md.
 */
#ifndef ISTHMUS_SERVER_SCSI_PRIV_H
#define ISTHMUS_SERVER_SCSI_PRIV_H

#include <pthread.h>
#include <stdatomic.h>
#include "blockcore/control/meta.h"
#include "blockcore/core.h"
#include "blockcore/volume/volume.h"
#include "runtime/bytes.h"
#include "runtime/check.h"
#include "runtime/task.h"
#include "server/scsi/qos.h"
#include "server/scsi/scsi.h"
#include "server/scsi/stats.h"
#include "server/scsi/task_set.h"

/* Copies text into a buffer of size bytes; what does not fit is cut. */
static inline void text_copy(char *to, const char *from, size_t size)
{
	size_t n = strnlen(from, size - 1);
	memcpy(to, from, n);
	to[n] = 0;
}

/* ---- logical units ---- */

/*
 * A logical unit is a volume with a block size and a serial number. All LUNs of all targets that
 * name the same three share one, and with it the mode parameters (SPC-5: shared by all nexuses).
 */
struct lu_config {
	uint32_t volume_id;
	uint32_t block_size;	/* 512, 4096 */
	uint32_t physical_size; /* told to initiators: block_size to 4096 */
	bool removable, no_unmap;
	const char *serial;
};
/* What makes a unit refuse commands (condition.c). */
enum lu_conditions { COND_EJECTED = 1, COND_WIPING = 2, COND_WIPE_FAILED = 4 };

/* What is done to the whole medium (wipe.c); numbers as in the metadata. */
enum wipe_kind { WIPE_OVERWRITE = 1, WIPE_ERASE = 2, WIPE_FORMAT = 3 };
#define WIPE_PATTERN_MAX 4096
struct wipe_plan {
	uint8_t kind, passes;
	bool invert, ause;
	uint16_t pattern_len;
	uint8_t pattern[WIPE_PATTERN_MAX];
};

/* Counters of the volume when the statistics began. */
struct log_base {
	_Atomic uint64_t reads, writes, read_bytes, write_bytes;
};
#define LU_IDENTIFYING_MAX 512

/* Commands passed on to the partner, and the partner's carried out here. Bytes to and from
 * initiators. */
struct lu_forward {
	_Atomic uint64_t sent, sent_read, sent_written;
	_Atomic uint64_t served, served_read, served_written;
	_Atomic unsigned held; /* commands that wait for an owner, now */
	_Atomic bool told;     /* there is an event about that */
};

#define SCSI_LU_MAGIC 0x5c510001u
struct scsi_lu {
	uint32_t magic;
	_Atomic unsigned refs;
	struct core *core;
	uint32_t volume_id;
	uint32_t block_size;
	unsigned block_shift;
	uint32_t physical_size;
	bool removable, no_unmap;
	char serial[64];
	_Atomic unsigned conditions; /* enum lu_conditions */
	_Atomic uint8_t wipe_kind;
	_Atomic bool wipe_ause;
	_Atomic uint16_t wipe_progress; /* of 65536 */
	_Atomic bool blank;		/* it was erased when the volume had seen so many writes */
	_Atomic uint64_t blank_writes;
	pthread_mutex_t wipe_lock; /* over the queue of those who wait for its end */
	struct waitq wipe_wait;
	_Atomic bool write_through;	/* caching mode page: WCE is off */
	_Atomic uint32_t start_stops;	/* times it was told to stop */
	struct log_base log_base;	/* log.c */
	struct volume *_Atomic volume;	/* NULL while the core has none of that number */
	_Atomic bool d_sense;		/* control mode page: descriptor format sense data */
	_Atomic bool swp;		/* control mode page: software write protect */
	_Atomic bool tas;		/* ... commands others abort end with TASK ABORTED */
	_Atomic uint8_t ua_intlck;	/* ... UA_INTLCK_CTRL */
	struct scsi_nexus *reserved_by; /* RESERVE (SPC-2); registry lock */
	struct task_set set;
	struct qos qos;
	struct qos_limits limits;   /* as the metadata has them; its reactor's */
	_Atomic uint16_t owner;	    /* the target port group of the controller that owns it */
	_Atomic uint16_t preferred; /* the group of who is to own it; 0: of the owner */
	_Atomic bool moving;	    /* to another */
	_Atomic uint8_t moved;	    /* by whom last: status code of alua.c */
	_Atomic(struct scsi_nexus *) mover; /* its SET TARGET PORT GROUPS is under way */
	struct lu_forward forward;
	_Atomic bool wipe_runs; /* a task of this process is at it */
	struct lu_stats stats;
	uint64_t listed; /* admin's: the last listing it stood in */
	uint64_t made_ns;
};
int lu_new(struct scsi_lu **ret, struct core *core, const struct lu_config *cfg);
/* Is it the unit that is configured so? */
bool lu_is(const struct scsi_lu *lu, const struct lu_config *cfg);
struct scsi_lu *lu_get(struct scsi_lu *lu);
void lu_put(struct scsi_lu *lu);
/* NULL: the core has no such volume (now). */
struct volume *lu_volume(struct scsi_lu *lu);
uint64_t lu_blocks(struct scsi_lu *lu);	  /* 0 without a volume */
unsigned lu_features(struct scsi_lu *lu); /* enum lu_features */
void lu_reset(struct scsi_lu *lu);
/* Registry lock. Commands that wait for others or the limit end, when their nexus does not see it
 * any more; and those of the partner that wait for others, when its volume is not here. */
void lu_drop_stranded(struct scsi_lu *lu);

/* Unit attentions, a bit each (attention.c); those of UA_RESETS go first, by their bits. */
enum scsi_ua {
	UA_POWER_ON = 1 << 0,	   /* 29/00 */
	UA_RESET = 1 << 1,	   /* 29/03 */
	UA_CLEARED = 1 << 2,	   /* 2F/00 */
	UA_LUNS_CHANGED = 1 << 3,  /* 3F/0E */
	UA_INQUIRY = 1 << 4,	   /* 3F/03 */
	UA_CAPACITY = 1 << 5,	   /* 2A/09 */
	UA_MODE = 1 << 6,	   /* 2A/01 */
	UA_RES_PREEMPTED = 1 << 7, /* 2A/03 */
	UA_RES_RELEASED = 1 << 8,  /* 2A/04 */
	UA_REG_PREEMPTED = 1 << 9, /* 2A/05 */
	UA_ACCESS = 1 << 10,	   /* 2A/06 asymmetric access state changed */
	UA_WAS_BUSY = 1 << 11,	   /* 2C/09 */
	UA_WAS_FULL = 1 << 12,	   /* 2C/0A */
	UA_WAS_CONFLICT = 1 << 13, /* 2C/0B */
	UA_MEDIUM = 1 << 14,	   /* 28/00 the medium was loaded */
	UA_IDENTIFIER = 1 << 15,   /* 3F/05 */
	UA_LOG = 1 << 16,	   /* 2A/02 log parameters changed */
	UA_NEXUS_LOSS = 1 << 17,   /* 29/07 */
};
#define UA_KINDS  18
#define UA_RESETS (UA_POWER_ON | UA_RESET | UA_NEXUS_LOSS)

/* Values of UA_INTLCK_CTRL (SPC-4 7.5.9): what CHECK CONDITION does to a unit attention, and
 * whether a status of BUSY, TASK SET FULL or RESERVATION CONFLICT makes one. */
enum { INTLCK_CLEAR = 0, INTLCK_KEEP = 2, INTLCK_ESTABLISH = 3 };

/* What reservations mean for an I_T_L nexus (reservation.c). */
enum itl_res {
	RES_NO_READ = 1,      /* a persistent reservation refuses even reads */
	RES_NO_WRITE = 2,     /* ... all that changes something */
	RES_LEGACY = 4,	      /* another nexus holds a RESERVE */
	RES_REGISTERED = 8,   /* this nexus has a reservation key */
	RES_REGISTRANTS = 16, /* some nexus has */
};

/* A logical unit as one nexus sees it. */
struct scsi_itl {
	uint32_t number;
	bool read_only;
	bool prevents;			 /* removal of the medium; nexus lock */
	struct scsi_lu *lu;		 /* a reference */
	_Atomic uint32_t ua;		 /* set and cleared under the nexus lock, tested without */
	uint8_t nqueue, queue[UA_KINDS]; /* their numbers as they came; nexus lock */
	_Atomic uint8_t res;		 /* itl_res; changes under the registry lock */
	_Atomic uint64_t size;		 /* of the volume, as last told to this nexus */
};

/* Everything a nexus sees, by number; replaced whole when the metadata changes. */
struct scsi_view {
	_Atomic unsigned refs;
	unsigned n;
	struct scsi_itl luns[];
};
struct scsi_view *view_new(unsigned max);
void view_add(struct scsi_view *v, uint32_t number, struct scsi_lu *lu, bool read_only);
void view_sort(struct scsi_view *v);
void view_put(struct scsi_view *v);
struct scsi_itl *view_find(struct scsi_view *v, uint32_t number);
struct scsi_itl *view_find_lu(struct scsi_view *v, const struct scsi_lu *lu);

/* What became of an EXTENDED COPY (xcopy_results.c). */
#define COPY_RESULTS 16
struct copy_result {
	bool used, running, nameless, lid4, abort;
	uint32_t list_id;
	uint16_t segments;
	uint64_t bytes, number;
	uint8_t status, sense_len, sense[SCSI_SENSE_MAX];
};

#define SCSI_NEXUS_MAGIC 0x5c510002u
struct scsi_nexus {
	uint32_t magic;
	struct scsi_registry *registry;
	char target[224], initiator[224];
	uint8_t isid[6];
	uint16_t tpgt;
	_Atomic uint16_t port; /* relative target port identifier; 0: not given yet */
	_Atomic(void *) transport;
	void (*gone)(void *transport); /* registry lock */
	pthread_mutex_t lock;	       /* view, and changes of its unit attentions */
	struct scsi_view *view;
	struct copy_result copies[COPY_RESULTS]; /* lock */
	uint64_t copies_begun;
	uint8_t *echo; /* WRITE BUFFER; lock */
	uint32_t echo_len;
	TAILQ_ENTRY(scsi_nexus) link; /* registry lock */
	struct stats_counts stats;    /* its reactor's */
	struct proxy *proxy;	      /* it is the partner's, not one of ours (forward.h) */
	uint64_t number;	      /* as the partner knows it */
	_Atomic uint64_t known;	      /* session of the link in which the partner was told of it */
};
/* proxy: NULL; else no unit attentions are queued for it. */
int nexus_make(struct scsi_nexus **ret, struct scsi_target *t, const char *initiator,
	       const uint8_t isid[6], uint16_t group, struct proxy *proxy);
/* A reference to what the nexus sees now. */
struct scsi_view *nexus_view(struct scsi_nexus *n);
/* Makes v (taken) what the nexus sees; queues the unit attentions that follow from the change. */
void nexus_view_replace(struct scsi_nexus *n, struct scsi_view *v);
/* Queues CAPACITY DATA HAS CHANGED when the volume is not as large as this nexus was told. */
void itl_watch_size(struct scsi_nexus *n, struct scsi_itl *l);
/* Whether this nexus prevents removal of the medium. */
void nexus_prevent(struct scsi_nexus *n, uint32_t lun, bool prevents);
void nexus_ua_set(struct scsi_nexus *n, uint32_t lun, uint32_t uas);
/* Takes the first unit attention, or only looks. False: none pending. */
bool nexus_ua_take(struct scsi_nexus *n, uint32_t lun, uint8_t *ret_asc, uint8_t *ret_ascq);
bool nexus_ua_look(struct scsi_nexus *n, uint32_t lun, uint8_t *ret_asc, uint8_t *ret_ascq);
/* They are pending no longer. */
void nexus_ua_drop(struct scsi_nexus *n, uint32_t lun, uint32_t uas);
/* With the nexus lock. */
void itl_ua_add(struct scsi_itl *l, uint32_t uas);
void itl_ua_copy(struct scsi_itl *l, const struct scsi_itl *from);
/* REPORT LUNS was answered: its unit attention is over on every logical unit (SPC-4 6.33). */
void nexus_ua_luns_told(struct scsi_nexus *n);
/* Queues uas for every other nexus that sees lu. */
void registry_ua_others(struct scsi_registry *r, const struct scsi_nexus *not_this,
			const struct scsi_lu *lu, uint32_t uas);

/* ---- asymmetric access (alua.h) ---- */

enum alua_state { /* SPC-4 table 252 */
		  ALUA_OPTIMIZED = 0,
		  ALUA_NON_OPTIMIZED = 1,
		  ALUA_STANDBY = 2,
		  ALUA_UNAVAILABLE = 3,
		  ALUA_TRANSITIONING = 15,
};
#define ALUA_ROWS	 8
#define ALUA_ANY_TAG	 0 /* of the first row: every tag that has none of its own */
#define ALUA_FIRST_GROUP 1
struct alua_row {
	uint16_t tag, group;   /* portal group tag -> target port group */
	_Atomic uint8_t reach; /* ALUA_OPTIMIZED: as ownership says; or standby, unavailable */
};
struct alua {
	_Atomic unsigned n;
	struct alua_row rows[ALUA_ROWS];
};
void alua_init(struct alua *a);
/* False: the command ended, its port's access state does not allow it. */
bool alua_allows(struct scsi_cmd *c);

/* ---- reservations (reservation.c) ---- */

/* Does a reservation of another nexus refuse this operation? One load when there is none. */
bool reservation_conflicts(const struct scsi_cmd *c, const struct scsi_op *op);
/* The same for a command that waited before it began. */
bool reservation_refuses_now(struct scsi_cmd *c);
/* All with the registry lock. The nexus ends; it is going to see v; it saw `was` until now. */
void reservation_nexus_gone(struct scsi_nexus *n);
void reservation_view_fill(const struct scsi_nexus *n, struct scsi_view *v);
void reservation_view_left(struct scsi_nexus *n, struct scsi_view *was);
/* The logical unit was reset: a RESERVE is over (SPC-2 5.5.1); persistent ones stay. */
void reservation_reset(struct scsi_registry *r, struct scsi_lu *lu);
/* RESERVE: who holds it, as the owner of the unit said; NULL: nobody. */
void reservation_set(struct scsi_registry *r, struct scsi_lu *lu, struct scsi_nexus *by);
/* The entry's rights made anew. */
void reservation_refresh(const struct scsi_nexus *n, struct scsi_itl *l);

/* ---- LUN addresses (SAM-5 4.7) ---- */

#define SCSI_LUN_MAX 16383
bool lun_parse(const uint8_t lun[8], uint32_t *ret);
void lun_format(uint8_t lun[8], uint32_t number);

/* ---- targets ---- */

struct target_lun {
	uint32_t number;
	bool read_only;
	struct scsi_lu *lu;
};
struct target_map {
	uint32_t lun, target_lun;
	bool read_only;
};
struct target_initiator {
	char *iqn, *chap_user, *chap_secret;
	struct target_map *maps;
	unsigned nmaps;
};
/* Relative target port identifier of a target in a portal group. */
struct target_port {
	uint16_t tag, number;
};
#define SCSI_TARGET_MAGIC 0x5c510003u
/* As the metadata said once: never changed, so it is read without locks. */
struct scsi_target {
	uint32_t magic;
	_Atomic unsigned refs;
	struct scsi_registry *registry;
	char *iqn;
	struct target_port *ports; /* with their numbers, of all controllers */
	unsigned nports;
	uint16_t *groups; /* it is reached through; none: through all */
	unsigned ngroups;
	char *redirect; /* empty: nowhere */
	bool redirect_permanent;
	bool open, discovery_open;
	char *chap_user, *chap_secret, *mutual_user, *mutual_secret;
	struct target_lun *luns;
	unsigned nluns;
	struct target_initiator *initiators;
	unsigned ninitiators;
};
uint16_t target_port(const struct scsi_target *t, uint16_t tag); /* 0: none */
bool target_admits(const struct scsi_target *t, const char *initiator);
bool target_listed(const struct scsi_target *t, const char *initiator);
void target_sort(struct scsi_target *t);
/* What the initiator sees; an empty view when it may not log in. NULL: no memory. */
struct scsi_view *target_view(const struct scsi_target *t, const char *initiator);

/* Nexuses that are gone (away.c). */
struct away_list {
	TAILQ_HEAD(, away) all; /* as they went */
	unsigned n;
};
void away_init(struct away_list *l);
void away_fini(struct away_list *l);
/* With the registry lock. The nexus ends; is there (again), its view's entries get what it is told
 * first. */
void away_left(struct scsi_registry *r, const struct scsi_nexus *n);
void away_back(struct scsi_registry *r, const struct scsi_nexus *n, struct scsi_view *v);

struct scsi_registry {
	struct forward *forward; /* NULL: there is no partner */
	struct sched *sched;	 /* of the core's reactor */
	uint64_t partner_memory; /* 0: not known; the metadata's reactor */
	struct away_list away;	 /* registry lock */
	struct core *core;
	struct meta_watch *watch;
	pthread_mutex_t lock; /* targets, nexuses; taken before a nexus's lock */
	struct scsi_target **targets;
	unsigned ntargets;
	struct scsi_auth discovery;
	struct alua alua;
	uint16_t tags[SCSI_GROUPS_MAX]; /* portal groups there are; fixed before sessions */
	unsigned ntags;
	bool tags_set;		     /* these are recorded in the metadata */
	_Atomic bool tags_recording; /* ... now */
	uint64_t listing;	     /* admin's: number of the last listing of logical units */
	TAILQ_HEAD(, scsi_nexus) nexuses;
	struct pr_copy **prs; /* persistent reservations, by volume (persistent.h) */
	unsigned nprs;
	struct pr_doing *doing; /* the change of one that is under way */
	_Atomic unsigned pr_waiting;
	scsi_abort_fn *abort;
	uint8_t *packed; /* what targets were made of; the metadata's reactor */
	size_t packed_len;
	_Atomic unsigned background; /* tasks that outlive their command */
	_Atomic bool closing;	     /* they shall end soon */
};

/* What all nexuses share of a unit has changed: the partner is told. With, without the lock. */
void lu_changed_locked(struct scsi_registry *r, struct scsi_lu *lu);
void lu_changed(struct scsi_registry *r, struct scsi_lu *lu);

/* Enters the nexus and gives it its view. */
int registry_add_nexus(struct scsi_registry *r, struct scsi_nexus *n);
/* Registry lock: borrowed. NULL: no such target. */
struct scsi_target *registry_find(struct scsi_registry *r, const char *iqn);
/* After a change of the metadata: portal groups that are not recorded yet are (groups.c). */
void groups_follow(struct scsi_registry *r, const Isthmus__ArrayMeta *am);

/* ---- names (RFC 7143 4.2.7) ---- */

#define SCSI_NAME_MAX 223
/* 0; -EINVAL with the reason (at least 256 bytes). Folds to lower case into ret (224 bytes). */
int iscsi_name_check(const char *name, char *ret, char *why);
/* 0; -EINVAL with the reason. */
int chap_secret_check(const char *secret, char *why);
/* "ADDRESS" or "ADDRESS:PORT": a host's name, IPv4, IPv6 in brackets. */
bool iscsi_address_ok(const char *s);

/* ---- operations ---- */

enum op_flags {
	OP_UA_OK = 1,	  /* answered while a unit attention is pending */
	OP_NO_LU = 2,	  /* answered for LUNs that have no logical unit */
	OP_WRITES = 4,	  /* changes the medium: refused when write-protected */
	OP_MEDIUM = 8,	  /* needs the volume */
	OP_LUN_ZERO = 16, /* with OP_NO_LU: only by LUN 0 */

	/* Beside a reservation of another nexus (SPC-4 5.12.1 table 66, SBC-3 4.17 table 15). A row
	 * that says nothing conflicts with every one. */
	OP_RES_READ = 32,   /* conflicts with exclusive access only */
	OP_RES_FREE = 64,   /* conflicts with none */
	OP_RES_CDB = 128,   /* conflicts with none when the CDB asks for nothing that matters */
	OP_LEGACY_OK = 256, /* allowed beside a RESERVE (SPC-2 5.5.1 table 10) */

	/* While the unit is in a condition (condition.c). */
	OP_WIPE_OK = 512,     /* answered while it is wiped, and after that failed */
	OP_WIPES = 1024,      /* answered after it failed */
	OP_EJECTED_OK = 2048, /* although it needs the volume, not the medium */

	OP_FRONT = 1 << 14,    /* answered where the session is, whoever owns the volume */
	OP_NO_ORDER = 1 << 15, /* takes no part in the task set: answered at once */

	/* Allowed in these access states of the target port group, each with those before (alua.c)
	 */
	OP_STANDBY = 1 << 12,
	OP_UNAVAILABLE = 2 << 12,
	OP_TRANSITION = 3 << 12,
};
/* What a logical unit may have, and an operation need. */
enum lu_features {
	LU_REMOVABLE = 1, /* a medium that can be taken out */
	LU_UNMAP = 2,	  /* logical block provisioning */
	LU_ATOMIC = 4,	  /* the cache survives a loss of power */
};
enum op_dir { DIR_NONE, DIR_IN, DIR_OUT };

typedef enum scsi_next op_fn(struct scsi_cmd *c);

struct scsi_op {
	const char *name;
	uint8_t cdb_len;
	uint16_t flags;	    /* op_flags */
	uint8_t dir;	    /* op_dir */
	uint8_t needs;	    /* lu_features without which a unit does not have it */
	uint8_t unmap_bits; /* of byte 1: there only with LU_UNMAP */
	bool action_field;  /* the CDB has a service action: this one */
	uint8_t action;
	/* CDB usage data (SPC-4 6.34): the bits that may be set. Byte 0 is the opcode and the
	 * service action field holds the service action. */
	uint8_t usage[16];
	op_fn *start;	   /* Required. Never waits. */
	op_fn *start_wait; /* Where start can return SCSI_WAIT. Waits. */
	/* Where start or start_wait can return SCSI_DATA_OUT, or leaves in_more. Never waits. */
	op_fn *finish;
	op_fn *finish_wait;	       /* Where finish can return SCSI_WAIT. Waits. */
	const struct scsi_op *actions; /* the opcode's service actions; then only name is set */
	unsigned nactions;
};
/* The row of an opcode, NULL when not supported. With actions: look there. */
const struct scsi_op *op_find(uint8_t opcode);
const struct scsi_op *op_find_action(const struct scsi_op *op, uint16_t action);
/* Has the unit (NULL: there is none) this operation; its usage data there. */
bool op_has(const struct scsi_op *op, struct scsi_lu *lu);
void op_usage(const struct scsi_op *op, struct scsi_lu *lu, uint8_t usage[16]);
static inline bool op_supported(const struct scsi_op *op)
{
	return op->name != NULL;
}

op_fn op_test_unit_ready, op_request_sense, op_inquiry, op_start_stop, op_start_stop_wait;
op_fn op_mode_sense, op_mode_select, op_mode_select_finish;
op_fn op_reserve, op_release;
op_fn op_pr_read_keys, op_pr_read_reservation, op_pr_report_capabilities, op_pr_read_full_status;
op_fn op_report_groups, op_set_groups, op_set_groups_finish, op_set_groups_finish_wait;
op_fn op_pr_out, op_pr_out_finish, op_pr_out_finish_wait;
op_fn op_read, op_read_wait, op_read_next, op_write, op_write_wait, op_write_finish,
    op_write_finish_wait;
op_fn op_write_verify, op_write_verify_finish, op_write_verify_finish_wait;
op_fn op_verify, op_verify_wait, op_verify_finish, op_verify_finish_wait;
op_fn op_sync, op_sync_wait, op_prefetch;
op_fn op_compare_write, op_compare_write_finish, op_compare_write_finish_wait;
op_fn op_orwrite, op_orwrite_finish, op_orwrite_finish_wait;
op_fn op_write_atomic, op_write_atomic_finish, op_write_atomic_finish_wait;
op_fn op_get_lba_status, op_get_lba_status_wait, op_read_defects;
op_fn op_xcopy, op_xcopy_finish, op_xcopy_finish_wait;
op_fn op_copy_status, op_copy_failure, op_copy_parameters, op_copy_abort;
op_fn op_read_buffer, op_write_buffer, op_write_buffer_finish, op_report_timestamp;
op_fn op_send_diagnostic, op_send_diagnostic_finish, op_receive_diagnostic;
op_fn op_report_info, op_report_info_wait, op_set_info, op_set_info_finish, op_set_info_wait;
op_fn op_log_sense, op_log_select;
op_fn op_prevent_allow;
op_fn op_sanitize, op_sanitize_wait, op_sanitize_finish, op_sanitize_finish_wait;
op_fn op_sanitize_exit, op_sanitize_exit_wait;
op_fn op_format, op_format_wait, op_format_finish;
op_fn op_read_capacity_10, op_read_capacity_16, op_report_luns;
op_fn op_report_opcodes, op_report_tmfs;
op_fn op_write_same, op_write_same_wait, op_write_same_finish;
op_fn op_unmap, op_unmap_finish, op_unmap_finish_wait;

/* Wait. Read all copies of the command's range from the disks; compare what the array returns
 * with want, repeated as often as it takes (-ERR_MISCOMPARE). */
int verify_medium(struct scsi_cmd *c);
int verify_data(struct scsi_cmd *c, const uint8_t *want, uint32_t want_len);

/* ---- sense data ---- */

enum sense_key {
	KEY_NO_SENSE = 0x0,
	KEY_NOT_READY = 0x2,
	KEY_MEDIUM_ERROR = 0x3,
	KEY_HARDWARE_ERROR = 0x4,
	KEY_ILLEGAL_REQUEST = 0x5,
	KEY_UNIT_ATTENTION = 0x6,
	KEY_DATA_PROTECT = 0x7,
	KEY_COPY_ABORTED = 0xa,
	KEY_ABORTED_COMMAND = 0xb,
	KEY_MISCOMPARE = 0xe,
};
struct sense {
	uint8_t key, asc, ascq;
	bool has_info, has_specific;
	uint64_t info;
	uint32_t specific;	/* COMMAND-SPECIFIC INFORMATION */
	bool has_field, in_cdb; /* field pointer (SPC-4 4.5.2.4.2) */
	bool has_progress;	/* progress indication in `field` (4.5.2.4.4) */
	int bit;		/* -1: the whole field */
	uint16_t field;
};
/* Returns the length, at most SCSI_SENSE_MAX. */
unsigned sense_build(uint8_t *buf, bool descriptor, const struct sense *s);

/* ---- helpers of commands: all return what the operation returns ---- */

/* From the operation on: it was found to be for this controller, without unit attentions. */
enum scsi_next cmd_begin(struct scsi_cmd *c);
/* What was begun of it is undone, but for the memory of fwd and its place in the task set. */
void cmd_restart(struct scsi_cmd *c);
/* Waits, where it entered its unit's task set and did not run. False: it has ended, or goes back to
 * the partner. */
bool turn_wait(struct scsi_cmd *c);
/* It keeps nobody waiting any more: it has ended, or does nothing that others could meet. */
void cmd_leave(struct scsi_cmd *c);
/* Waits. Carries on what cmd_begin() or scsi_start() gave to its end; fill() puts data-out (of
 * each part) where out_iov says, waits, and returns 0 or why there is none: then the command has
 * ended so. Of data-in in parts the first is there. */
int cmd_carry_out(struct scsi_cmd *c, enum scsi_next next, int (*fill)(struct scsi_cmd *c));
enum scsi_next cmd_good(struct scsi_cmd *c);
enum scsi_next cmd_status(struct scsi_cmd *c, uint8_t status);
enum scsi_next cmd_sense(struct scsi_cmd *c, uint8_t key, uint8_t asc, uint8_t ascq);
enum scsi_next cmd_check(struct scsi_cmd *c, const struct sense *s);
/* INVALID FIELD IN CDB / IN PARAMETER LIST, pointing at byte `field`, bit (-1: the field). */
enum scsi_next cmd_bad_cdb(struct scsi_cmd *c, unsigned field, int bit);
enum scsi_next cmd_bad_param(struct scsi_cmd *c, unsigned field, int bit);
/* PARAMETER LIST LENGTH ERROR; INVALID FIELD IN COMMAND INFORMATION UNIT. */
enum scsi_next cmd_bad_length(struct scsi_cmd *c);
enum scsi_next cmd_short_data(struct scsi_cmd *c);
enum scsi_next cmd_out_of_range(struct scsi_cmd *c);
/* An error of the block core. */
enum scsi_next cmd_error(struct scsi_cmd *c, int err);
/* c->data (or heap) holds len bytes; as many as the allocation length allows are sent. */
enum scsi_next cmd_data_in(struct scsi_cmd *c, void *data, uint32_t len, uint32_t alloc);
/* Asks for len bytes of parameters; NULL: none to be had, the command is BUSY. */
void *cmd_data_out(struct scsi_cmd *c, uint32_t len);
void *cmd_heap(struct scsi_cmd *c, uint32_t len);
void cmd_drop_io(struct scsi_cmd *c);
/* False: a condition of the unit ends the command. */
bool cmd_condition_ok(struct scsi_cmd *c);
/* A condition's sense, for REQUEST SENSE. */
bool lu_condition_sense(struct scsi_lu *lu, struct sense *s);
/* The medium: in; out, unless somebody prevents it. */
enum scsi_next removal_load(struct scsi_cmd *c);
enum scsi_next removal_eject(struct scsi_cmd *c);
/* The unit was reset: nobody prevents any more; registry lock. */
void removal_reset(struct scsi_registry *r, const struct scsi_lu *lu);
bool removal_prevented(struct scsi_registry *r, const struct scsi_lu *lu);
/* A unit made from metadata, or that has come here: goes on with what is to be done to it. */
void wipe_resume(struct scsi_registry *r, struct scsi_lu *lu, const Isthmus__Volume *pb);
/* Transfers in parts (part.c). c->len becomes the first's, of at most max bytes. */
void part_first(struct scsi_cmd *c, uint32_t max);
/* c->off, c->len: the next. False: there is none. */
bool part_next(struct scsi_cmd *c);
/* Memory of its own for the part's data-out. */
enum scsi_next part_data_out(struct scsi_cmd *c);
/* The part in that memory was dealt with, or err: the next, or the command's end. */
enum scsi_next part_finished(struct scsi_cmd *c, int err);
#define PART_LOOK SCSI_PART_MIN /* of what is only looked at */
_Static_assert(CACHE_IO_MAX >= SCSI_PART_MIN, "parts of reads and writes");
/* A write began, or err: its pages are lent to the transport, or it has to wait (-EAGAIN). */
enum scsi_next write_begun(struct scsi_cmd *c, int err);

/* LBA and number of blocks as the CDB's group has them. */
struct lba_range {
	uint64_t lba;
	uint32_t blocks;
	unsigned blocks_at; /* byte of the length field */
};
struct lba_range cdb_range(const uint8_t *cdb);
/* In the volume, and at most max_bytes? Sets c->off and c->len; otherwise the status. */
bool cmd_range_ok(struct scsi_cmd *c, const struct lba_range *r, uint64_t max_bytes);

/* Largest transfer of one command, and others told by the Block Limits page. */
#define SCSI_TRANSFER_MAX   (16u << 20)
#define SCSI_WRITE_SAME_MAX (16u << 20)
#define SCSI_COMPARE_MAX    (128u << 10) /* and 255 blocks */
#define SCSI_ATOMIC_MAX	    CACHE_IO_MAX
#define SCSI_UNMAP_MAX	    (512u << 20)
#define SCSI_UNMAP_DESCS    256
#define SCSI_ECHO_SIZE	    4096

#define SCSI_VENDOR  "ISTHMUS "
#define SCSI_PRODUCT "VOLUME          "
#define SCSI_REV     "0001"

/* One page of vital product data into buf (4096 bytes): its length, or 0: no such page. */
/* Does this designator (SPC-4 7.8.6; code set, association and type) name the unit? */
bool vpd_designates(struct scsi_lu *lu, uint8_t code, uint8_t assoc_type, const uint8_t *id,
		    unsigned len);
/* Page 8Fh from its fifth byte on. */
unsigned vpd_third_party(struct scsi_cmd *c, uint8_t *b);
unsigned vpd_page(struct scsi_cmd *c, uint8_t page, uint8_t *buf);

#endif
