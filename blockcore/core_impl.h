/* What the files of the core share (core.h). */
#ifndef ISTHMUS_BLOCKCORE_CORE_IMPL_H
#define ISTHMUS_BLOCKCORE_CORE_IMPL_H

#include <pthread.h>
#include <bsd/sys/tree.h>
#include "blockcore/core.h"
#include "blockcore/core_own.h"
#include "blockcore/control/meta_store.h"
#include "blockcore/disk/disk.h"
#include "blockcore/pool/extent_map.h"
#include "blockcore/pool/pool.h"
#include "blockcore/volume/volume_impl.h"

#define CORE_MAGIC     0x636f7265
#define CORE_WHY_LEN   META_WHY_LEN
#define CORE_DISKS_MAX 1024
#define CORE_BEAT_NS   (500 * NS_PER_MS) /* a controller that has not beaten for so long hangs */

RB_HEAD(volume_tree, volume);

struct core_pool {
	struct core *core;
	struct pool *pool; /* NULL: could not be assembled, or another controller's */
	char name[64];
	uint8_t uuid[16];
	char why[256]; /* pool is NULL, or offline */
	bool resyncing;
	bool filling;	    /* a fill_task() is under way, or asked for */
	bool scrubbing;	    /* a scrub_task() is under way */
	bool sweeping;	    /* its write-intent map is */
	bool removing;	    /* nothing new is to begin on it */
	atomic_uint users;  /* tasks that will use it yet; it is freed after them */
	bool recorded_open; /* stands in the metadata as not clean */
	bool settling;	    /* a settle_task() is under way */
	int settle_rc;	    /* of the last */
	struct waitq settled;
	/* Ownership. `change` is held while the place changes, also across calls to the partner:
	 * what carries out the partner's calls may not wait for it. */
	struct task_mutex change;
	unsigned pins; /* who goes through the list, or changes the place; it is freed after them */
	enum core_place place;
	uint64_t epoch;	       /* of this controller's ownership */
	uint64_t waits_since;  /* that its owner is not there */
	uint64_t retry_own_ns; /* taking it failed: not before */
	uint64_t retry_ns; /* when its resync or a fill that failed is tried again; 0: none is */
	_Atomic unsigned recordings; /* of lost disks, under way */
	bool record_failed;	     /* the last one did, and that was told */
	TAILQ_ENTRY(core_pool) link;
};
TAILQ_HEAD(core_pools, core_pool);

/* Extents on their way into a volume or out of one: not free, and in no volume's map. */
struct reservation {
	char pool[64];
	uint32_t grows; /* the volume that gets them; 0: a new one, or they are on their way out */
	struct extent_run *runs;
	size_t n;
	TAILQ_ENTRY(reservation) link;
};
TAILQ_HEAD(reservations, reservation);

struct core {
	uint32_t magic;
	struct env *env;
	struct sched *owner;
	char controller[64];
	bool battery;
	uint64_t stuck_ns; /* core_opts.disk_timeout_s */
	uint8_t array_uuid[16];
	struct disk **disks; /* as configured */
	unsigned ndisks;
	struct disk **retired; /* opened anew since; pools and tasks may still name them */
	unsigned nretired;
	struct meta *meta;
	struct cache *cache;
	struct disk_lender lender; /* the cache's pages */
	uint32_t adopted;	   /* cache pages */
	uint64_t opened_ns;
	struct core_pools pools;
	struct reservations reserved;
	struct task_mutex attaching; /* a volume is looked for and attached by one */
	/* Held while disks change hands: pools made and removed, places given to other disks,
	 * spares, wiping. What was found out about a disk holds until it is let go. */
	struct task_mutex disks_lock;
	struct core_hooks hooks;
	const struct core_duplex *duplex; /* NULL: without a partner */
	struct link *link;		  /* to the partner */
	struct meta_link *meta_link;
	bool leaving;
	bool partner_up, joining; /* a session; cache_mirror_join() is under way */
	uint32_t partner_pages;
	void *partner_segment;
	uint64_t partner_segment_size;
	uint64_t give_again_ns;
	uint64_t returned_ns; /* since when the partner is mirrored to; 0: it is not */
	_Atomic uint64_t partner_incarnation; /* of the last session */
	uint64_t partner_lost_ns; /* since when its link is lost while it beats; 0: it is not */
	/* Writes of the partner's at work, in the link's session and in those before (core_far.c).
	 */
	uint64_t far_session;
	unsigned far_writes, far_left;
	struct waitq own_wake;
	TAILQ_HEAD(, core_own_watch) own_watches;
	unsigned own_telling;
	TAILQ_HEAD(, core_route) routes; /* core_admin_pass.c */
	struct core_pass *pass;
	struct task_mutex software; /* one change of the software volume at a time */
	atomic_uint background;	    /* tasks under way, or asked for */
	struct waitq idle;
	struct waitq watch; /* woken to end core_watch.c's task */
	bool closing;

	pthread_rwlock_t lock; /* of the tree; never held across a wait */
	struct volume_tree volumes;
};

int volume_order(const struct volume *a, const struct volume *b);
RB_PROTOTYPE(volume_tree, volume, by_id, volume_order)

/* core.c */
struct core_pool *core_pool_find(struct core *c, const char *name);
struct core_pool *core_pool_by_uuid(struct core *c, const uint8_t *uuid);
struct disk *core_disk_find(struct core *c, const char *path);
struct disk *core_disk_by_uuid(struct core *c, const uint8_t *uuid); /* online; NULL */
const Isthmus__Pool *meta_pool_find(const Isthmus__ArrayMeta *am, const char *name);
const Isthmus__HeadGroup *meta_group_find(const Isthmus__ArrayMeta *am, const char *name);
Isthmus__Volume *meta_volume_find(const Isthmus__ArrayMeta *am, const char *name);
Isthmus__Volume *meta_volume_by_id(const Isthmus__ArrayMeta *am, uint32_t id);
/* Counts fn(arg) as under way until it returns; core_close() waits for it. */
int core_background(struct core *c, task_fn *fn, void *arg);
void core_background_done(struct core *c);

/* core_own.c. Claims wait, bounded, for the I/O of a process that died; what is claimed for a pool
 * is given up together. was: the word for which the pool is to be had; -ERR_EPOCH_STALE as soon as
 * it is another (its owner came back, and has the disks). NULL: there is none. */
int core_disk_claim(struct core *c, struct disk *d, const uint8_t pool[16]);
int core_pool_claim(struct core *c, const Isthmus__Pool *mp, const struct gcm_owner *was, char *why,
		    size_t size);
void core_pool_unclaim(struct core *c, const uint8_t pool[16]);
void core_own_tell(struct core *c, struct volume *v); /* watches */
void core_own_free(struct core *c);

/* core_own_look.c */
int core_own_start(struct core *c);
/* Waits; with cp->change. Where the pool is by its word, and takes it where that says so. */
void core_pool_look(struct core_pool *cp);
/* Waits. fn for every pool, with its `change` held; not once the core closes. */
void core_pools_each(struct core *c, void (*fn)(struct core_pool *cp, void *arg), void *arg);
bool core_word_is_partner(struct core *c, const struct gcm_owner *w);

/* core_take.c */
enum core_take {
	CORE_TAKE_OWN,	  /* the word is this controller's: its segment has what is missing */
	CORE_TAKE_FREE,	  /* nobody's */
	CORE_TAKE_DEAD,	  /* of a dead owner that mirrored: the mirror area has it */
	CORE_TAKE_GIVEN,  /* everything is on the disks */
	CORE_TAKE_BACK,	  /* it was to be given: closed, perhaps not all of it written */
	CORE_TAKE_FORCED, /* of a dead owner that did not mirror: what only that had is lost */
};
/* false: not in the map; then *ret is what set_owner() takes for that. */
bool core_word(const struct core_pool *cp, struct gcm_owner *ret);
/* Of a word that is this controller's; -ERR_NOT_OWNER. */
int core_word_flags(struct core_pool *cp, bool mirrored, bool moving, bool stored);
/* Waits; with cp->change. was: the word that it was decided on. On an error it is not here, and
 * cp->why says why; -ERR_EPOCH_STALE: the word is another. */
int core_pool_take(struct core_pool *cp, struct gcm_owner was, enum core_take how);
/* Waits; with cp->change. Ends what runs, writes what is dirty, closes in order where that worked;
 * the word stays. */
int core_pool_part(struct core_pool *cp);
/* Waits until nothing runs in the background of the pool, and nothing begins any more. */
void core_pool_idle(struct core_pool *cp);
/* Not CORE_HERE. */
void core_pool_place(struct core_pool *cp, enum core_place place);
/* Numbers of its volumes, to be freed. */
int core_pool_volumes(struct core_pool *cp, uint32_t **ret, size_t *ret_n);
int core_own_adopt(struct core *c);
/* Of a pool that is not here: what this controller has of it in its own pages. */
int core_pool_drop_pages(struct core_pool *cp);

/* core_partner.c, core_give.c */
/* Is every dirty page in the partner's memory too? */
bool core_mirrored(const struct core *c);
/* The link is going to be closed. */
void core_partner_unlink(struct core *c);
void core_mirrored_set(struct core_pool *cp); /* when it is so */
void core_partner_watch(struct core *c);      /* waits */
void core_own_serve(struct core *c, struct link *l);
void core_give_back(struct core *c);
/* Wait. The controller that is to own the pool; the pool of a dead owner taken all the same. */
int core_pool_prefer(struct core *c, const char *pool, const char *controller, char *why);
int core_pool_force(struct core *c, const char *pool, char *why);

/* core_follow.c: what the partner changed. The first two are meta_opts' foreign and foreign_done.
 */
void core_follow(void *arg, const Isthmus__ArrayMeta *next);
void core_followed(void *arg);
/* Waits. Looks what the partner made of a disk that is not in use here; reopen: also one that
 * could not be used before. */
void core_follow_disk(struct core *c, struct disk *d, bool reopen);

/* core_open.c: assembly; core_pool.c: pools in use. */
/* An entry without a pool: here without a partner, else nowhere yet. */
int core_pool_add(struct core *c, const Isthmus__Pool *mp, struct core_pool **ret);
/* Its disks are claimed. 0 also when it is offline (cp->why). */
int core_pool_assemble_into(struct core_pool *cp, const Isthmus__Pool *mp);
/* What the metadata says of a pool that is in use now; survived: see core_open.c. */
int core_change_pool_opened(struct core_pool *cp, Isthmus__Pool *mp, bool survived);
/* core_memory.c: nothing acknowledged is lost of a pool that comes here so; what its owner says of
 * the memory behind it before it takes the word, and records then. */
bool core_pool_memory_stays(struct core *c, const Isthmus__Pool *mp, enum core_take how);
void core_pool_say_memory(struct core_pool *cp, const Isthmus__Pool *mp, enum core_take how);
void core_change_pool_memory(struct core *c, Isthmus__Pool *mp, enum core_take how);
void core_pool_recorded_open(struct core_pool *cp);
int core_pool_record_clean(struct core_pool *cp);
void core_pool_free(struct core *c, struct core_pool *cp);
void core_pool_lost(void *arg, struct pool *p);
void core_meta_write_failed(void *arg, struct disk *d, int err);
void core_pool_start_resync(struct core_pool *cp);
/* core_pool_set.c. Wait. Log: raid5 and raid6 log every row, or only those that lack a disk. */
int core_pool_set_rate(struct core *c, const char *name, uint64_t bytes_per_s, char *why);
int core_pool_set_log(struct core *c, const char *name, bool always, char *why);
/* Begins to look through all of the pool in the background. */
int core_pool_scrub(struct core *c, const char *name, char *why);
/* core_stall.c: tells of disks that do not answer, and goes on without them after a while. */
int core_stall_start(struct core *c);
/* It has not answered for long: a clause that says so. */
bool core_disk_stalled(const struct disk *d, char *why, size_t size);
/* A resync or a fill failed: core_watch.c begins it again after a while. */
void core_pool_retry(struct core_pool *cp);
int core_attach(struct core *c, const Isthmus__Volume *mv);
/* Waits. The disk of that path opened once more in place of what it was; NULL: it cannot be. */
struct disk *core_disk_reopen(struct core *c, struct disk *d);

/* core_fill.c: disks that take the place of lost ones. On the owner. */
struct pool_place {
	struct core_pool *cp;
	unsigned position;
};
/* Waits; with disks_lock. The position, which is OUT, is filled from now on onto `d`, which may be
 * what it had. */
int core_fill_onto(const struct pool_place *at, struct disk *d, char *why);
/* Waits; takes disks_lock. Gives spares to positions that are OUT, and goes on with what was being
 * filled. */
void core_fill_resume(struct core_pool *cp);
int core_spare_add(struct core *c, struct disk *d, char *why);
int core_spare_remove(struct core *c, const char *path, char *why);
/* By the metadata: what pool counts on the disk, or -1: none. */
const Isthmus__Pool *core_disk_pool(struct core *c, const struct disk *d, size_t *ret_position);
bool core_disk_spare(struct core *c, const struct disk *d);

/* Extents. Both on the owner. */
int core_pool_map(struct core *c, const char *pool, struct extent_map *ret);
uint64_t core_pool_free_bytes(struct core *c, const char *pool);

/* With a sentence for the admin on failure (CORE_WHY_LEN); on the owner. */
int core_pool_create(struct core *c, const char *name, const char *level, uint32_t chunk,
		     bool checksums, const char *const *paths, unsigned n, char *why);
/* A further RAID group, of as many disks as the pool has in one; while it is in use. */
int core_pool_grow(struct core *c, const char *name, const char *const *paths, unsigned n,
		   char *why);
int core_pool_remove(struct core *c, const char *name, char *why);
/* core_pool_make.c: there is no such pool any more. */
void core_pool_leave_word(struct core *c, const uint8_t uuid[16]);

struct volume_want {
	const char *name, *pool, *purpose;
	uint64_t size;
	uint32_t backup_of;
	void (*progress)(void *arg, uint64_t done, uint64_t total);
	void *arg;
};
int core_volume_make(struct core *c, const struct volume_want *want, uint32_t *ret_id, char *why);
int core_volume_drop(struct core *c, const char *name, char *why);
int core_volume_extend(struct core *c, const char *name, uint64_t size, char *why);
/* Who uses a volume, as "LUN 3 of target T"; false: nobody. ret: 192 bytes. */
bool core_volume_user(const Isthmus__ArrayMeta *am, uint32_t id, char *ret);

/* core_side.c: where a head said that its state is. */
unsigned core_side_of(const Isthmus__HeadGroup *g, const char *head);
int core_backup_group(struct core *c, const char *group,
		      void (*progress)(void *arg, uint64_t done, uint64_t total), void *arg,
		      struct backup_result *ret, char *why);

/* Admin verbs, one file a noun. */
int core_admin_disk(struct core *c, struct admin_server *s);
int core_admin_pool(struct core *c, struct admin_server *s);
int core_admin_move(struct core *c, struct admin_server *s);
int core_admin_volume(struct core *c, struct admin_server *s);
int core_admin_fs(struct core *c, struct admin_server *s);
int core_admin_export(struct core *c, struct admin_server *s);
int core_admin_backup(struct core *c, struct admin_server *s);
int core_admin_group(struct core *c, struct admin_server *s);
int core_admin_software(struct core *c, struct admin_server *s);
int core_admin_status(struct core *c, struct admin_server *s);
int core_admin_controller(struct core *c, struct admin_server *s);
void core_admin_free(struct core *c); /* core_admin_pass.c */

#endif
