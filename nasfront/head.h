/*
 * A NAS head: the process that mounts the file systems of its configuration through a block
 * channel and serves their exports. Inner header of head_*.c.
 */
#ifndef ISTHMUS_NASFRONT_HEAD_H
#define ISTHMUS_NASFRONT_HEAD_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>
#include <bsd/sys/queue.h>
#include "blockcore/channel/channel_client.h"
#include "nasfront/nfs/nfs.h"
#include "nasfront/nfs/store.h"
#include "proto/channel.pb-c.h"
#include "runtime/config_file.h"
#include "runtime/env.h"
#include "runtime/reactor.h"
#include "runtime/task.h"

struct admin_call;
struct admin_server;
struct bdev;
struct beat;
struct channel;
struct head_tls;
struct ledger;
struct fs;
struct piv;
struct rpc_server;
struct rpcbind;
struct nlm;
struct nfs4;

/* A configured file system. */
struct head_fs {
	TAILQ_ENTRY(head_fs) link;
	uint64_t id;
	uint32_t volume_id;
	char name[64];
	bool formatted, wanted;
	struct bdev *bdev;
	struct fs *fs;	/* NULL: not mounted */
	int code;	/* why not, or why it does not grow */
	int mount_code; /* how its last mount ended: events have told why */
	char text[160];
	uint64_t since_ns; /* mounted, real time */
};
TAILQ_HEAD(head_fs_list, head_fs);

/* What was told to the PIV as served. */
struct head_served {
	TAILQ_ENTRY(head_served) link;
	char *fs, *path;
	bool wanted;
};
TAILQ_HEAD(head_served_list, head_served);

/* What clients have yet to get of a process's start. */
enum head_owed {
	OWED_NOTHING,
	OWED_WORD,  /* hosts have yet to hear of the restart */
	OWED_GRACE, /* that too; and the grace period is not over */
};

struct head {
	const char *config_path;
	const char *at; /* the head at which the service runs; NULL: its own */
	bool boot;	/* another program may take this one's place first */
	struct config_file *file;
	const struct config_head *config;
	struct reactor *reactor;
	struct env *env;
	uint64_t instance;
	uint32_t owner_uid, owner_gid; /* who started us: owns the root of new file systems */
	int exit_code;

	struct channel *channel;
	struct nfs *nfs;
	struct groups *groups; /* NULL: clients say them */
	struct rpc_gss *gss;   /* NULL: no keytab, no Kerberos */
	struct names *names;   /* of owners in NFSv4; NULL: they are numbers */
	struct nlm *nlm;
	struct nfs4 *nfs4; /* NULL: not served */
	char nfs4_name[64];
	struct rpc_server *rpc;
	struct rpcbind *rpcbind;
	struct head_tls *tls; /* NULL: no certificate is configured */
	struct admin_server *admin;
	uint16_t nfs_port, mount_port;
	char served_at[CHANNEL_ADDRESS_MAX]; /* universal address, as other heads are told */
	const char *addresses[1];
	unsigned max_connections; /* as configured, or fewer: as many as there may be files */
	bool udp;		  /* MOUNT, NLM and NSM answer over UDP too */
	bool up;		  /* in service: the first configuration was applied */
	bool stopping;		  /* SIGTERM */
	bool applied;		  /* a configuration was, with its state */
	bool locking;		  /* the lock manager has begun */
	bool kept;		  /* and knows what was kept of it */
	bool fenced;

	struct task_mutex config_lock; /* one configuration at a time */
	Isthmus__NasConfig *wanted;    /* the newest, for retries */
	struct head_fs_list filesystems;
	uint64_t fs_memory; /* of each, for metadata */
	struct env_timer retry;
	bool retrying;
	uint64_t retry_ns; /* until the next */

	struct task_mutex piv_lock; /* over piv and its volumes, across waits */
	struct piv *piv;
	uint64_t piv_opened; /* how often */
	uint64_t group_id;
	struct store store;    /* of what a successor must know: the ledger */
	struct ledger *ledger; /* NULL: there is none */
	unsigned ledger_users; /* that wait in it */
	struct waitq ledger_idle;
	bool ledger_loaded;	  /* all that a predecessor left is here */
	bool ledger_failing;	  /* an event said so */
	bool ledger_full;	  /* and so */
	bool ledger_partial;	  /* a record could not be put: none of them counts */
	uint64_t ledger_whole_ns; /* they are put again not before */
	uint32_t ledger_number;	  /* of the status monitor */
	enum head_owed ledger_owed;
	uint8_t ledger_tries; /* processes in a row that ended soon with what is there */
	struct env_timer trial;
	struct head_records *records; /* while services have them again */
	struct bdev *piv_main, *piv_backup;
	uint32_t piv_volume, backup_volume;
	struct head_served_list served;

	struct beat *beat; /* head_lease.c; NULL: no lease */
	struct env_timer beat_timer;
	struct {		    /* head_side.c */
		Isthmus__Side left; /* as a predecessor had said at the open */
		Isthmus__Side word; /* the last */
		bool told;	    /* the controllers have that */
		bool continuous;    /* the backup is to be written along */
		bool made, runs, open, busy, again, opening;
		int refused;		/* a word, and an event said so */
		uint64_t retry_ns;	/* the main volume, or writing along, is tried not before */
		uint64_t renew_ns;	/* a new volume is asked for not before */
		struct task_mutex lock; /* one word at a time */
		struct waitq wake, idle;
	} side;

	struct {		      /* head_backup.c */
		bool load;	      /* before its time when the load is low */
		uint64_t interval_ns; /* 0: none are ordered */
		uint64_t since_ns;    /* real time: the interval was set */
		uint64_t last_ns;     /* of the last one of anybody, real time; 0: never */
		bool runs;
		struct waitq wake, ended;
	} backup;

	uv_signal_t signals[2];
};

/* head_config.c */
void head_config_apply(void *arg, const Isthmus__NasConfig *cfg, Isthmus__NasConfigApplied *ret);
/* Unmounts all. Waits. */
void head_config_close(struct head *h);

/* head_state.c */
/* Opens the PIV when its volumes changed; tells it what is served. Waits; errors are events. */
void head_state_apply(struct head *h, const Isthmus__NasConfig *cfg);
/* What clients have is kept there, so that they go on after a restart. */
bool head_state_durable(const struct head *h, const Isthmus__NasConfig *cfg);
void head_state_close(struct head *h);
/* Keeps that a client may hold locks (nlm_opts.monitor). Waits. */
int head_state_monitor(void *arg, const char *name, const char *address, bool gone);
/* The same of NFSv4 (nfs4_opts.keep). */
int head_state_keep(void *arg, const char *name, bool gone);
void head_state_client_seen(void *arg, const char *address, const char *export_path);

/* head_store.c */
/* Opens the ledger on the PIV's volumes; the services have again what a predecessor left, or all of
 * theirs is put. Waits; errors are events. */
int head_store_open(struct head *h);
/* This process's number of the status monitor: what is put from now on is of it. Waits. */
void head_store_begin(struct head *h, uint32_t number, enum head_owed owed);
/* Waits for who is in it. */
void head_store_close(struct head *h, bool write);

/* head_records.c: what is in the ledger. */
/* Takes all, for head_records_each() (store.each). -ERR_CORRUPT, -ERR_VERSION, -ENOMEM: none. */
int head_records_read(struct head *h);
void head_records_free(struct head *h);
void head_records_each(void *arg, enum store_kind kind, store_fn *fn, void *fn_arg);
/* Drops all records, or those of version 4. -ENOMEM. */
int head_records_clear(struct head *h, bool nfs4);

/* head_side.c: on which volume the state is. begin, then PIV and ledger are opened with these
 * options, then open: a task watches over it until stop (which waits). */
struct ledger_opts;
struct piv_opts;
void head_side_begin(struct head *h, const Isthmus__NasConfig *cfg);
void head_side_opts(struct head *h, struct piv_opts *piv);
void head_side_ledger_opts(struct head *h, struct ledger_opts *o);
/* The group's volume, just opened, as PIV and ledger use it. An error closes it. */
int head_side_volume(struct head *h, struct bdev **b);
/* Is what a predecessor had last among what was read? main, backup: was that volume? */
bool head_side_newest(const struct head *h, bool main, bool backup);
void head_side_open(struct head *h);
void head_side_stop(struct head *h);
void head_side_apply(struct head *h, const Isthmus__NasConfig *cfg);
/* Waits. The group has another volume: it takes the old one's place. An error: all is to be closed
 * and opened. */
int head_side_replace(struct head *h, const Isthmus__NasConfig *cfg);
void head_side_join(struct head *h);

/* head_backup.c: a task that orders backups of the group's state when they are due. */
void head_backup_apply(struct head *h, const Isthmus__NasConfig *cfg);
/* Waits for the task's end; the channel is closed already. */
void head_backup_join(struct head *h);

/* head_admin.c */
int head_admin_start(struct head *h);

/* head_figures.c: tables of an answer. */
void head_put_filesystems(struct head *h, struct admin_call *call);
void head_put_metadata(struct head *h, struct admin_call *call);

/* head_kept.c: a table of what heads of the group keep of their clients. Waits. */
void head_put_records(struct head *h, struct admin_call *call);

/* head_locks.c */
int head_locks_register(struct head *h);

/* head_verify.c */
int head_verify_register(struct head *h);

/* head_tls.c */
int head_tls_start(struct head *h);
/* Before the server is freed. */
void head_tls_stop(struct head *h);

/* head_program.c */
#define HEAD_PROGRAM_ENV "ISTHMUS_PROGRAM" /* name of the version that was booted */
struct program_note;
const struct program_note *head_program_note(void);
/* Of the version that runs; "installed". */
const char *head_program_name(void);
int head_program_register(struct head *h);

/* head_boot.c */
/* Becomes the program that the head is to run: that of the software volume. Returns when it is this
 * one, or when that cannot be had (an event says why). Before anything else is started. */
void head_boot(struct head *h);

/* head_quota.c */
int head_quota_register(struct head *h);

/* head_lease.c */
/* Its reactor gives signs of life from now on, when the configuration has a lease. */
void head_lease_start(struct head *h);
void head_lease_serving(struct head *h);
void head_lease_stop(struct head *h);

/* head_main.c */
void head_in_service(struct head *h);
void head_on_fenced(void *arg);
struct channel_opts;
/* The channel sockets of the head's controller and its partner. */
void head_channel_paths(struct head *h, char paths[][108], struct channel_opts *o);

#endif
