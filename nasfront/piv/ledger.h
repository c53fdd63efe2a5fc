/*
 * The ledger: a service's running state as records (key -> value), in a region of the group's PIV
 * volume and of its backup; see nasfront/piv/README.md.
 *
 * Whoever runs the service has the ledger open and writes it; a successor opens it and gets every
 * record that a ledger_sync() had made stable. Keys and values are opaque bytes. All records are
 * kept in memory too. One service, one ledger; only one process may have it open (the caller sees
 * to that: claims of volumes, fencing). Tasks of one scheduler.
 *
 * What was changed and not yet synced may be on the volume after a crash or not, each record whole.
 * Changes made without a wait in between are there all or none, as long as all that waits to be
 * written is no more than LEDGER_WHOLE_BYTES.
 */
#ifndef ISTHMUS_NASFRONT_LEDGER_H
#define ISTHMUS_NASFRONT_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bdev;
struct env;
struct ledger;

#define LEDGER_KEY_MAX	    1100 /* an owner of NFSv4, whose name may have 1024 bytes */
#define LEDGER_VALUE_MAX    16384
#define LEDGER_RECORD_BYTES 8	  /* that a record takes beside key and value */
#define LEDGER_WHOLE_BYTES  49152 /* keys, values and 8 bytes a record */

/* One record. Called while nothing of the ledger may be changed; may not wait. Not 0: stop, and
 * that is the outcome. */
typedef int ledger_fn(void *arg, const void *key, size_t klen, const void *value, size_t vlen);

struct ledger_opts {
	struct env *env;
	struct bdev *main, *backup; /* PIV volumes; either may be NULL; they stay the caller's */
	uint64_t group_id;	    /* of the PIV: a volume of another is not used */
	const char *service;	    /* at most PIV_NAME_MAX bytes */
	bool continuous;	    /* each change goes to both volumes before a sync returns */
	/* NULL: the ledger chooses. Else it is on the volume that others of the head use: on_backup
	 * never waits and is asked before each write; leave waits: that volume cannot be written,
	 * 0 when the other one is used from now on (piv_leave()). */
	bool (*on_backup)(void *arg);
	int (*leave)(void *arg, bool backup, int why);
	void *side_arg;
	bool anew; /* what is there is given up where it cannot be read: the way out of -ERR_CORRUPT
		    */
	ledger_fn *load; /* each live record, once; may be NULL */
	void *arg;
};

/*
 * Finds the service's region on either volume, or takes a free one; loads the newer of the two
 * copies. When that is the backup's, all is written to the main volume, which is used from then on
 * as far as it can be. Waits.
 *
 * 0; -ENODEV: no volume with regions can be used (those of PIVs made before there were any have
 * none: an event tells the remedy); -ENOSPC: all regions are other services'; -ERR_CORRUPT: the
 * state is damaged on all volumes that could be read; -ENOMEM; -EINVAL: the service's name; an
 * error of the volumes, or what load() said.
 */
int ledger_open(struct ledger **ret, const struct ledger_opts *o);
/* Syncs, then frees. The outcome of the sync. Nobody may be in a call. Waits. */
int ledger_close(struct ledger *l);
/* Frees without writing: the head is fenced, or going down. Nobody may be in a call. */
void ledger_abandon(struct ledger *l);

/*
 * Changes, in memory until the next ledger_sync(). Never wait. A put of the value that is there
 * already changes nothing.
 * put: 0; -ENOSPC: live records would take more than half of the region; -ENOMEM; -EINVAL: longer
 * than LEDGER_KEY_MAX or LEDGER_VALUE_MAX, or an empty key. On an error nothing has changed.
 * drop: 0, or -ENOENT.
 */
int ledger_put(struct ledger *l, const void *key, size_t klen, const void *value, size_t vlen);
int ledger_drop(struct ledger *l, const void *key, size_t klen);

/* The record's value, valid until the next put or drop of this key; NULL: there is none. */
const void *ledger_get(const struct ledger *l, const void *key, size_t klen, size_t *ret_vlen);
/* All live records, in no order. */
int ledger_walk(const struct ledger *l, ledger_fn *fn, void *arg);

/*
 * Waits until all that was changed before the call is stable; calls at the same time share writes.
 * 0; -ERR_EPOCH_STALE: fenced, another runs the service; else the error when no volume could be
 * written: then nothing new counts as stable, and the next call tries again. -ENOMEM likewise.
 */
int ledger_sync(struct ledger *l);
/* From the next ledger_sync() on. Never waits. */
void ledger_set_continuous(struct ledger *l, bool continuous);
/* Another main volume, blank or with anything of this group; only while the ledger is not on it
 * (-EBUSY). Waits for writes under way. */
int ledger_set_main(struct ledger *l, struct bdev *main);

struct ledger_stats {
	uint64_t records, live_bytes;	 /* as they lie in the region */
	uint64_t live_max;		 /* beyond it puts are refused */
	uint64_t ring_bytes, used_bytes; /* of the volume in use */
	uint64_t rounds;		 /* of writing: those that many syncs share count once */
	uint64_t frames, bytes_written;	 /* since the open, on both volumes */
	uint64_t bytes_copied;		 /* of those: old records copied forward */
	bool on_backup;
	bool both;    /* both volumes have all that is stable */
	bool failing; /* the last sync could write nowhere */
	/* Volumes that were given and could not be read, or were damaged, at the open: they may
	 * have held newer state than what was loaded. */
	bool unsure_main, unsure_backup;
};
void ledger_get_stats(const struct ledger *l, struct ledger_stats *ret);

/* ---- reading, also while another has it open; writes nothing ---- */

struct ledger_info {
	bool from_backup;
	int main_rc, backup_rc; /* what reading each volume ended with */
	uint64_t term, change;	/* of the state that was read: higher is newer, term first */
	uint64_t frames;	/* that count */
	uint64_t records, live_bytes, ring_bytes;
};
/* Each live record of a service, of the newer of the two copies. ret may be NULL. -ENOENT: the
 * service has no region; else as ledger_open(). Waits. */
int ledger_each(struct bdev *main, struct bdev *backup, const char *service, ledger_fn *fn,
		void *arg, struct ledger_info *ret);
/* Each service that has a region on a volume (those on both are told once). Waits. 0 or the error
 * when neither volume could be read. */
int ledger_services(struct bdev *main, struct bdev *backup,
		    void (*fn)(void *arg, const char *service), void *arg);
/* The service is no more: gives its region back, on both volumes. Nobody may have it open. Waits.
 */
int ledger_remove(struct bdev *main, struct bdev *backup, const char *service);

#endif
