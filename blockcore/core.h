/*
 * The block core of one controller: its disks, array metadata, pools, cache
 * and volumes, opened together and found by name.
 */
#ifndef ISTHMUS_BLOCKCORE_CORE_H
#define ISTHMUS_BLOCKCORE_CORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cache;
struct core;
struct core_duplex;
struct env;
struct meta;
struct volume;

struct core_opts {
	struct env *env;
	const char *controller;
	const char *const *disks; /* paths */
	unsigned ndisks;
	void *segment; /* cache segment */
	size_t segment_size;
	bool battery;
	uint64_t sweep_ns;	 /* of the cache, as there */
	unsigned disk_timeout_s; /* a disk that is silent so long is given up; 0: 15 */
	bool heads;		 /* as cache_opts: the channels' server follows */
	const char *array_name;	 /* recorded when the array is made; may be NULL */
	/* core_own.h; kept as long as the core. NULL: without a partner. */
	const struct core_duplex *duplex;
};

/*
 * Waits. Opens all that can be opened: a missing or damaged disk degrades, it does not stop the
 * array; an array without metadata yet opens empty. Adopts the cache segment, attaches volumes,
 * starts destage. The calling reactor owns the core from then on; what waits may be called from
 * tasks of any reactor and is carried out there.
 * -ERR_CORRUPT, -ERR_VERSION: there is array metadata, and it cannot be used (event says why).
 */
int core_open(struct core **ret, const struct core_opts *opts);
/* Waits. Destages and flushes everything, marks the pools clean. */
int core_close(struct core *c);

/* Its name; is it one of two (core_opts.duplex)? */
const char *core_controller(const struct core *c);
bool core_has_partner(const struct core *c);
struct cache *core_cache(struct core *c);
struct meta *core_meta(struct core *c);
struct env *core_env(struct core *c);
const uint8_t *core_array_uuid(const struct core *c); /* 16 bytes */
/* Names the memory that outlives the controller's process: another one after its content was lost.
 * With a partner the control memory, the same for both; else the cache's (cache_layout.h). */
uint64_t core_memory_id(struct core *c);

/* A reference; NULL when there is none. Any thread. */
struct volume *core_volume_get(struct core *c, uint32_t id);
struct volume *core_volume_get_by_name(struct core *c, const char *name);
void core_volume_put(struct volume *v);

/*
 * Waits. Makes a plain volume in a pool / removes it. Durable when they return.
 * ret_id: its number. Errors: -ENOENT no such pool, -EEXIST, -ENOSPC, -EINVAL size.
 */
int core_volume_create(struct core *c, const char *pool, const char *name, uint64_t size,
		       uint32_t *ret_id);
int core_volume_remove(struct core *c, const char *name);
int core_volume_resize(struct core *c, const char *name, uint64_t size); /* only grows */

/*
 * Waits. The disk control copies a volume to its backup block by block, only blocks that changed
 * since the last time (changes are tracked in memory; after a restart of the controller the
 * blocks are compared). Records the result in the backup volume's metadata (backup_seq …).
 * Consistent as of one instant: a block written during the copy is saved first. progress may be
 * NULL.
 */
struct backup_result {
	uint64_t seq, started_ns, duration_ns, bytes_copied, bytes_total;
	uint32_t crc; /* CRC32C of the whole backup */
};
int core_backup_run(struct core *c, uint32_t from_vol, uint32_t to_vol,
		    void (*progress)(void *arg, uint64_t done, uint64_t total), void *arg,
		    struct backup_result *ret);
/* Waits. Reads the backup and compares its checksum, and with `memory: volatile` each redundancy
 * copy on the disks, with the recorded one: 0 or -ERR_CORRUPT. */
int core_backup_verify(struct core *c, uint32_t to_vol, uint32_t crc);

/* Waits. As core_backup_verify() where heads write the backup along: its bytes are the volume's. */
int core_backup_compare(struct core *c, uint32_t from_vol, uint32_t to_vol);
/* Waits about a second. Are the disks nearly idle? */
bool core_load_is_low(struct core *c);

/* A head's word where its newest state is (enum Side of proto/channel.proto). */
struct core_side {
	const char *group, *head;
	uint32_t piv; /* what it takes for the group's volume */
	unsigned side;
};
/* Waits. Stable, and no backup under way, when it returns. why: 256 bytes. -ENOENT: no such group;
 * -ESTALE: another volume is the group's. */
int core_side_set(struct core *c, const struct core_side *w, char *why);
/* Waits. A new volume for a group's state, to be filled from the backup by its heads; the old one
 * is removed. pool: NULL: one that has room. -EBUSY: a head lives on the old one; -ENOSPC. */
int core_piv_renew(struct core *c, const char *group, const char *pool,
		   void (*progress)(void *arg, uint64_t done, uint64_t total), void *arg,
		   char *why);

/*
 * Looks at the disks every second and at the array metadata every ten from here on, until the core
 * closes: files removed, replaced or cut short, labels and slots overwritten. On the owner.
 */
int core_watch_start(struct core *c);

/* As after a crash: nothing is flushed or recorded, only memory is freed. For tests. */
void core_abandon(struct core *c);

/*
 * What the core needs of the channels, which lie above it. All on the core's own reactor; members
 * may be NULL: then file systems are recorded and mounted when a head asks.
 */
struct core_head {
	char name[64], group[64];
	bool up;
};
struct core_hooks {
	/* The heads there are (configured or connected); returns how many. */
	unsigned (*heads)(void *arg, struct core_head *ret, unsigned max);
	/* See channel_server_wait_applied(); fs NULL: whatever it serves. */
	int (*wait_applied)(void *arg, const char *head, uint64_t seq, const char *fs,
			    uint64_t timeout_ns, char *text);
	void *arg;
};
void core_set_hooks(struct core *c, const struct core_hooks *h);

/* The array's admin verbs (disk, pool, volume, fs, export, group, backup) and its part of status
 * and stats; see runtime/admin.h. The server must be of the core's own reactor. */
struct admin_server;
int core_admin_register(struct core *c, struct admin_server *s);
/* Before the server is freed: the partner's calls are refused from here on. */
void core_admin_stop(struct core *c);

#endif
