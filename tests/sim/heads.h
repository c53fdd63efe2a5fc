/*
 * Scenario `heads`: a head serves clients, dies, and its successor goes on (sim_heads.c).
 *
 *   heads_head.c   a head's life: the services, and what isthmus-head does with them
 *   heads_model.c  what clients hold, and may be told
 *   heads_v4.c     clients of NFSv4: files shared with others
 *   heads_v3.c     the same of NFSv3 with NLM
 *   heads_names.c  names of one's own, each change once
 *   heads_plan.c   what happens to heads, volumes and power
 */
#ifndef ISTHMUS_TESTS_SIM_HEADS_H
#define ISTHMUS_TESTS_SIM_HEADS_H

#include "nasfront/head.h"
#include "tests/sim/scenario.h"
#include "tests/sim/sim_channel.h"
#include "tests/sim/sim_rpc.h"
#include "tests/unit/nfs4/v4_client.h"

#define HEADS	    3 /* processes at once: one serves, others start or end */
#define FILES	    3 /* that clients share */
#define UNITS	    6 /* of each, that are locked by themselves */
#define UNIT_BYTES  8
#define CLIENTS_MAX 8
#define NAMES	    5 /* of each client's own */
#define FS_ID	    7
#define FS_VOLUME   1
#define PIV_VOLUME  2
#define BACKUP	    3
#define FS_BYTES    (10ull << 20)
#define PIV_BYTES   (6ull << 20)
#define LEASE_NS    (20 * NS_PER_S)
#define AGAIN_NS    (3 * NS_PER_MS) /* after "later" */
#define PATIENCE_NS (60 * NS_PER_S) /* for all that must end some time */

struct heads;
struct client;

/* A process. */
struct server {
	struct heads *w;
	unsigned number;
	struct sim_node *node;
	struct reactor reactor;
	struct rpc_server *rpc;
	struct head h;
	bool runs;    /* its memory is in use */
	bool started; /* head_main() has ended */
	bool ending;
};

/* What one holds of a file's units: known to be its own from the answer on until it asks to give
 * them up. */
struct model {
	uint64_t value[FILES][UNITS];			    /* as written by whoever had it alone */
	unsigned shared[FILES][UNITS], alone[FILES][UNITS]; /* clients, as bits */
	unsigned reads[FILES], writes[FILES], deny_reads[FILES], deny_writes[FILES];
};

enum version { V3, V40, V41 };

struct client {
	struct heads *w;
	unsigned number;
	enum version version;
	char name[24];
	struct sim_peer *peer;
	uint32_t xid;
	bool runs, gave_up; /* all that it held */
	/* Version 4 */
	struct v4 v4;
	struct v4_fh dir, own;
	struct {
		struct v4_fh fh;
		struct v4_stateid open, lock;
		bool is_open, has_lock;
		unsigned access, deny;
		uint32_t lock_seq;
	} files[FILES];
	uint32_t open_seq;
	unsigned opened; /* counts, so that owners differ */
	/* Version 3 */
	uint8_t fh3[FILES][64], own3[64];
	uint32_t fh3_len;
	struct {
		unsigned file, first, count;
		bool exclusive, waits, granted;
	} wait;
	struct waitq wake;
	/* Names of its own: what they are now */
	struct {
		enum { ABSENT, A_FILE, A_DIR } is;
		uint64_t stamp; /* written; 0: nothing */
	} names[NAMES];
};

struct heads {
	struct sim *sim;
	struct sim_net *net;
	struct sim_array *array;
	struct sim_disk *disks[4]; /* by volume */
	struct config_head config;
	Isthmus__NasConfig *cfg;
	struct server servers[HEADS];
	struct server *now; /* that serves or is to */
	struct client clients[CLIENTS_MAX];
	unsigned nclients;
	struct model model;
	bool slow;   /* clients do little */
	bool quiet;  /* they give up what they have and end */
	bool broken; /* the volume of the state */
	bool failed, verbose;
	uint64_t stamp;
	struct scenario_result *result;
};

void heads_fail(struct heads *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void heads_say(struct heads *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
uint64_t heads_below(struct heads *w, uint64_t n);
void heads_sleep(struct heads *w, uint64_t ns);
void heads_pause(struct heads *w); /* of a client, between two things it does */

/* heads_head.c */
/* A process comes, takes the place of any other and serves. Waits for nothing. */
struct server *heads_start(struct heads *w);
/* It is killed: at once, wherever it is. Its memory is given back by tasks of its own. */
void heads_kill(struct server *v);
/* It ends in order. Waits for nothing. */
void heads_stop(struct server *v);
bool heads_serves(const struct server *v);
/* None is there any more. */
bool heads_all_ended(const struct heads *w);

/* heads_model.c: a grant (alone: exclusive) of units first .. first + count - 1 was heard. */
void model_granted(struct client *c, unsigned f, unsigned first, unsigned count, bool alone);
/* About to be shared, where it is alone: others may have it from then on. */
void model_sharing(struct client *c, unsigned f, unsigned first, unsigned count);
/* About to be given up. */
void model_released(struct client *c, unsigned f, unsigned first, unsigned count);
/* Bits of the units that are its own: alone, or as well. */
bool model_has(const struct client *c, unsigned f, unsigned u, bool alone);
bool model_has_any(const struct client *c, unsigned f);
void model_opened(struct client *c, unsigned f, unsigned access, unsigned deny);
void model_closing(struct client *c, unsigned f);
/* What a read of a unit that is locked gave. */
void model_read(struct client *c, unsigned f, unsigned u, const uint8_t bytes[UNIT_BYTES]);
/* The value to write; and it was. */
void model_writing(struct client *c, unsigned f, unsigned u, uint8_t ret[UNIT_BYTES]);
void model_written(struct client *c, unsigned f, unsigned u);

/* heads_v4.c, heads_v3.c: tasks. */
void heads_v4_client(void *arg);
void heads_v3_client(void *arg);
/* Calls to clients of NLM. */
extern sim_called_fn *const heads_v3_called;
/* Makes the shared files and each client's folder. Waits. */
void heads_v3_prepare(struct client *c);

/* What a client does with names of its own, over either protocol. Each waits until it is answered;
 * the status (nfsstat3, nfsstat4). */
struct name_ops {
	uint32_t (*create)(struct client *c, const char *name, bool exclusive);
	uint32_t (*mkdir)(struct client *c, const char *name);
	uint32_t (*remove)(struct client *c, const char *name, bool dir);
	uint32_t (*rename)(struct client *c, const char *from, const char *to);
	uint32_t (*write)(struct client *c, const char *name, uint64_t stamp);
	uint32_t (*read)(struct client *c, const char *name, uint64_t *ret);
};
/* heads_names.c: one change or look. */
void heads_names_step(struct client *c, const struct name_ops *ops);
/* All as it should be. */
void heads_names_check(struct client *c, const struct name_ops *ops);

#endif
