/*
 * Ownership of pools, and with them of their volumes, by the controllers of a
 * cluster (doc/duplex.md). A pool's owner alone assembles it, writes its disks, keeps its volumes'
 * pages and carries out commands for them. Elsewhere its volumes are there too, without a medium:
 * every volume_*() call gives -ERR_NOT_OWNER, also while it moves.
 *
 * A controller without a partner owns all pools (no control memory: core_duplex NULL).
 */
#ifndef ISTHMUS_BLOCKCORE_CORE_OWN_H
#define ISTHMUS_BLOCKCORE_CORE_OWN_H

#include <stdbool.h>
#include <stdint.h>
#include "blockcore/control/gcm.h"
#include "blockcore/mirror/mirror.h"
#include "blockcore/volume/volume.h"

struct core;
struct link;
struct link_hello;
struct volume;

/* What a core of a duplex cluster has besides (core_opts.duplex). */
struct core_duplex {
	struct gcm *gcm;
	const char *partner; /* its name */
	unsigned mirror_share;
	bool lone_write_through; /* without the partner: acknowledge when it is on the disks */
	bool give_back;		 /* hand pools back to a partner that has returned ... */
	/* ... and has been mirrored to for so long: hosts have their paths to it again */
	uint64_t give_back_delay_ns;
	uint32_t partner_pages; /* of its cache, as configured (cache_segment_pages()) */
	/* Its cache segment on this host, as its hello names it, mapped read-write; not called
	 * where the hello names none. */
	int (*map)(void *arg, const struct link_hello *h, void **ret, uint64_t *ret_size);
	void (*unmap)(void *arg, void *segment, uint64_t size);
	void *map_arg;
};

/* Where a volume's commands are carried out. Lock-free, any thread. */
enum core_place core_volume_place(const struct volume *v);
/* Epoch of the ownership under which a volume is here; what was begun under another is void. */
uint64_t core_volume_owner_epoch(const struct volume *v);

/*
 * Identity of the memory that keeps what was acknowledged for the volume and is not on its disks
 * (bdev.memory_id). It stays the same as long as nothing acknowledged was lost, also when the
 * partner took over with all that was mirrored, and is another one after a loss. On the core's
 * reactor.
 */
uint64_t core_volume_memory_id(struct core *c, const struct volume *v);

/*
 * fn(arg, volume) runs on the core's reactor, in a task, after a volume has come here, gone to the
 * partner, or began to move: ALUA, forwarded commands and channels follow it. It must not wait.
 */
struct core_own_watch;
int core_own_watch(struct core *c, void (*fn)(void *arg, struct volume *v), void *arg,
		   struct core_own_watch **ret);
void core_own_unwatch(struct core *c, struct core_own_watch *w);

/* Is there a process that is the partner? False: it has ended, and begins nothing any more. Any
 * thread; it asks the system. */
bool core_partner_alive(struct core *c);
/* Does it run and beat in control memory, heard over the link or not? Any thread; it asks the
 * system. */
bool core_partner_works(struct core *c);
/* Has the process ended that the link's last session was with? Another may run in its place, and
 * not be reached yet. Any thread; it asks the system. */
bool core_partner_ended(struct core *c);

/* Waits until the volume is somewhere (not CORE_MOVING), at most timeout_ns. */
int core_volume_settle(struct volume *v, uint64_t timeout_ns);

/* The link to the partner, NULL without one. Its hello tells what core_open() finds out, so it is
 * made after it; set by the controller's main before anything else is made over the core. */
struct link *core_link(struct core *c);
void core_set_link(struct core *c, struct link *l); /* NULL, before it is closed: may wait */

/* Versions of what the core says to the partner, by enum link_service (link_hello.versions); the
 * others are left as they are. */
void core_link_versions(uint32_t versions[]);
/* A partner that is there, and is not let in or does not let this one in: what an administrator is
 * told. False: it is not so. */
#define CORE_LINK_WHY 320
bool core_link_refused(struct core *c, char ret[CORE_LINK_WHY]);

/* All wait; on the owner reactor of the core. */

/* The partner's hello has come: mirroring begins; it owns what it owns. */
int core_partner_up(struct core *c, struct link *l, const void *hello);
/* The partner has ended (died), or cannot be heard: then it is fenced first. Takes its pools over
 * where the control memory says that this controller has all it needs; after core_leave() nothing
 * is taken over, and writes go on without copies. */
int core_partner_down(struct core *c, struct link *l, bool died);
/* Gives a pool to the partner under load (`pool move`), which is its preferred owner from then on.
 * why: CORE_WHY_LEN bytes, a sentence for the admin on failure. */
int core_pool_give(struct core *c, const char *pool, char *why);
/* The same for a host (SET TARGET PORT GROUPS): its preferred owner stays what it is, and it is
 * not given back to that while the partner lives. */
int core_pool_give_held(struct core *c, const char *pool, char *why);
/* The controller is being stopped in order: takes no pool any more, and gives its own to a partner
 * that takes them. */
void core_leave(struct core *c);

#endif
