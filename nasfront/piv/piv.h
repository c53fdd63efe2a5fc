/*
 * Processor information: the running state that heads of a group tell each other and leave to
 * their successors, on the group's PIV volume; see nasfront/piv/README.md.
 *
 * Each head writes a slot of its own: member records with a heartbeat, what it serves, and which
 * clients it saw lately. When the volume cannot be read or written the head goes on with the
 * backup volume and an event says so. Every function that touches a volume waits (a task).
 */
#ifndef ISTHMUS_NASFRONT_PIV_H
#define ISTHMUS_NASFRONT_PIV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bdev;
struct env;
struct piv;

#define PIV_HEARTBEAT_NS (500 * 1000000ull)
#define PIV_LEASE_NS	 (2000 * 1000000ull)
#define PIV_NAME_MAX	 63
#define PIV_TEXT_MAX	 255 /* addresses, file systems, export paths */
#define PIV_SERVES_MAX	 256
#define PIV_CLIENTS_MAX	 1024 /* the lately seen; fewer where the slot has no room */
#define PIV_MONITORS_MAX 8192 /* fewer where names are long: they have to fit into the slot */

struct piv_opts {
	struct env *env;
	struct bdev *main, *backup; /* either may be NULL; they stay the caller's */
	uint64_t group_id;
	const char *head;
	const char *address;
	uint64_t instance; /* random per start of the process */
	uint64_t main_id;  /* number of the main volume; 0: not known */
	/* May be NULL. leaving: waits; before anything is written to the backup because the main
	 * volume failed; an error: it is not. moved: never waits; another volume is in use. */
	int (*leaving)(void *arg);
	void (*moved)(void *arg);
	void *arg;
};

/*
 * Makes the volume's layout when it is blank (from the backup's content when that has one), takes
 * the head's slot, loads what an earlier incarnation left, and writes "joining".
 * -ENODEV when neither volume can be used, -ENOSPC when all slots are taken by others.
 */
int piv_open(struct piv **ret, const struct piv_opts *o);
/* Starts the heartbeat: a task that calls piv_tick() every PIV_HEARTBEAT_NS. */
int piv_start(struct piv *p);
/* Writes "leaving" and that nothing is served; ends the heartbeat. */
void piv_close(struct piv *p);
/* Ends the heartbeat without writing. */
void piv_abandon(struct piv *p);

/* Changes, in memory until the next piv_tick() or piv_sync(). Never wait. */
void piv_set_state(struct piv *p, const char *state); /* "joining", "up", "leaving" */
void piv_serves(struct piv *p, const char *fs, const char *export_path, bool gone);
void piv_client_seen(struct piv *p, const char *address, const char *export_path);

/* A client that may hold locks, or no longer; kept until said so, over restarts. -ENOSPC: too many.
 */
int piv_monitor(struct piv *p, const char *name, const char *address, bool gone);
/* The status monitor's number; see nasfront/nfs/nsm.c. */
void piv_set_nsm_state(struct piv *p, uint32_t state);
/* What an earlier incarnation left; the list is valid until the next call of piv_monitor(). */
struct piv_monitor;
uint32_t piv_nsm_state(const struct piv *p);
const struct piv_monitor *piv_monitors(const struct piv *p, unsigned *ret_n);

/* Writes a heartbeat and all changes. 0, or the error when no volume could be written. */
int piv_tick(struct piv *p);
/* What was changed before the call is stable when it returns; calls at the same time share a write.
 */
int piv_sync(struct piv *p);

bool piv_on_backup(const struct piv *p);
/*
 * What else of the head lies on the volumes goes with the PIV: it asks piv_on_backup() where, and
 * when it cannot write there, it says so here. Waits. 0: the other volume is in use.
 */
int piv_leave(struct piv *p, bool backup, int why);
/*
 * Waits. Back from the backup to the main volume, which is filled first when it is blank. settled()
 * waits, and nothing of the PIV is promised before it has returned; an error of it undoes the move.
 */
int piv_return(struct piv *p, int (*settled)(void *arg), void *arg);
/* Another main volume, which is not used yet; only while on the backup (-EBUSY). Waits. */
int piv_set_main(struct piv *p, struct bdev *main, uint64_t id);
/* Waits. Makes a blank main volume what the backup is; nothing where it is not blank. */
int piv_prepare_main(struct piv *p);
/* What was found at the open. */
struct piv_left {
	int main_rc, backup_rc; /* of reading the volumes; -ENODATA: blank */
	uint64_t
	    main_id;  /* as the newest slot of this head says; 0: it does not, or there is none */
	bool damaged; /* its slot on the volume in use could not be read */
};
void piv_get_left(const struct piv *p, struct piv_left *ret);

/*
 * A main volume with its backup written along (piv_twin.c), as long as it is set so: a write is on
 * both when it returns. lost() waits; the backup did not take a write: 0 when it is left out from
 * now on, an error fails the write. Closing closes main; backup stays the caller's.
 */
int piv_twin_new(struct bdev **ret, struct bdev *main, struct bdev *backup,
		 int (*lost)(void *arg, int why), void *arg);
void piv_twin_set(struct bdev *b, bool on);
bool piv_twin_is_on(struct bdev *b);

/* ---- reading ---- */

struct piv_serve {
	char fs[PIV_TEXT_MAX + 1], export_path[PIV_TEXT_MAX + 1];
};
struct piv_client {
	char address[PIV_TEXT_MAX + 1], export_path[PIV_TEXT_MAX + 1];
	uint64_t first_ns, last_ns;
};

struct piv_monitor {
	uint32_t hash; /* of both, the list's own */
	char name[PIV_TEXT_MAX + 1], address[PIV_TEXT_MAX + 1];
};

/* One head's slot, decoded. */
struct piv_head {
	char name[PIV_NAME_MAX + 1];
	uint64_t instance;
	char state[16];
	char address[PIV_TEXT_MAX + 1];
	uint64_t lease_ns, time_ns; /* of the last record: real time */
	uint64_t seq, main_id;
	unsigned slot;
	bool from_backup;
	struct piv_serve *serves;
	unsigned nserves;
	struct piv_client *clients;
	unsigned nclients;
	uint32_t nsm_state;
	struct piv_monitor *monitors;
	unsigned nmonitors;
	size_t monitor_bytes; /* at most what they take in a checkpoint */
};
struct piv_state {
	struct piv_head *heads;
	unsigned count;
	int main_rc, backup_rc; /* what reading each volume ended with */
};
/* All slots of both volumes (either may be NULL), of each head the newer. -ENODEV: neither could
 * be read. */
int piv_state_read(struct bdev *main, struct bdev *backup, struct piv_state **ret);
void piv_state_free(struct piv_state *s);

#endif
