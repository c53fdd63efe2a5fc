/*
 * The head's side of block channels: the only header of the block core that
 * nasfront/ includes. A head is a client, like an initiator. One channel a
 * reactor; every function on that reactor's thread.
 *
 * A channel has an end at each controller of a cluster. A request goes to the owner of its volume;
 * read hits are found in the owner's cache segment by the head itself (cache_layout.h) and held in
 * hazard slots. When a controller dies, or gives a volume away, requests in flight wait; when the
 * new owner is known they are issued again, in order (reads and writes of a range are idempotent;
 * a request is answered to its caller once). Only a fenced channel (-ERR_EPOCH_STALE), a volume
 * that is gone (-ENODEV) or channel_close() ends requests with an error.
 */
#ifndef ISTHMUS_BLOCKCORE_CHANNEL_CLIENT_H
#define ISTHMUS_BLOCKCORE_CHANNEL_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "proto/channel.pb-c.h"

struct bdev;
struct channel;
struct env;

#define CHANNEL_ENDS	    2  /* controllers of a cluster */
#define CHANNEL_ADDRESSES   8  /* that a head tells of itself */
#define CHANNEL_ADDRESS_MAX 64 /* bytes of each, with its NUL */
/* 2: two controllers; staging memory apart. 3: more hazards. 4: PREFLUSH. A head of another
 * is not let in. */
#define CHANNEL_VERSION 4

struct channel_opts {
	const char *paths[CHANNEL_ENDS]; /* the controllers' channel sockets; NULL: there is none */
	const char *head;
	const char *group;
	const char *const *addresses; /* where it serves: ChannelHello's; outlive the channel */
	unsigned naddresses;
	const char *program; /* version that runs, for people; NULL: not told */
	/* Runs in a task of this reactor for every configuration that a controller sends, never two
	 * at once; `ret` is filled for the answer (protobuf-c init done; members malloc'd, freed by
	 * the channel). What both send alike is applied once. */
	void (*config)(void *arg, const Isthmus__NasConfig *cfg, Isthmus__NasConfigApplied *ret);
	/* An end went down or came up, or all ended for good (see channel_failed(); number -1). May
	 * be NULL. */
	void (*state)(void *arg, int number, bool up);
	void *arg;
};

/*
 * Waits, in a task, until connected to a controller: tries for ever. *ret is set before the wait,
 * so that another task may channel_close() it (-ERR_SHUTDOWN). -ERR_VERSION, -EACCES (every
 * controller said so), -ERR_EPOCH_STALE: *ret is gone again.
 */
int channel_open(struct channel **ret, const struct channel_opts *opts);
/* Waits, in a task. What is in flight ends with -ERR_SHUTDOWN. Volumes may be closed later. */
void channel_close(struct channel *c);
bool channel_up(const struct channel *c); /* to one controller at least */
uint64_t channel_epoch(const struct channel *c);
/* A newer instance of this head has taken over: nothing may be answered any more. A load from
 * shared memory for each controller: to be asked for every request. Never waits. */
bool channel_fenced(const struct channel *c);
/* Why it will never be up again; 0: it may. */
int channel_failed(const struct channel *c);

struct channel_end_info {
	char controller[64]; /* empty: it was never reached */
	bool up;
	unsigned volumes; /* open ones that it owns */
	uint64_t read_hits, requests, reconnects;
};
/* False: there are no so many. */
bool channel_end_info(const struct channel *c, unsigned number, struct channel_end_info *ret);

/*
 * Waits. Opens a volume as a bdev with every optional op: read_ref lends cache pages under hazard
 * slots on a hit; a write whose buffers lie in staging memory is not copied by the head.
 * bdev_flush() and BDEV_FUA promise what the array's memory policy promises. -ENOENT.
 */
int channel_volume_open(struct channel *c, uint32_t volume_id, struct bdev **ret);

/*
 * Staging memory, shared with the controllers: receive buffers for RPC records live here so that
 * WRITE payloads are copied once (by the controller, into cache pages). Size classes 64 KiB
 * and 1280 KiB. NULL when none is free or size is larger; channel_staging_get() waits for one.
 * The channel keeps some for itself, so holders of buffers never block its own transfers.
 */
void *channel_staging_try_get(struct channel *c, size_t size);
void *channel_staging_get(struct channel *c, size_t size);
void channel_staging_put(struct channel *c, void *buf);

/*
 * Waits. Orders a backup of the PIV: own group's (NULL), another's, or all; each controller makes
 * those of the volumes it owns; low_load: only when the load is low there (else -EAGAIN). 0 when it
 * was answered (ret->code says how it went, -ERR_NOT_OWNER: the controller that owns the volumes is
 * away; free ret->text unless it is protobuf_c_empty_string), -ERR_DISCONNECTED: a connection ended
 * before, they may or may not have been made.
 */
int channel_backup(struct channel *c, const char *group, bool all, bool low_load,
		   Isthmus__ChannelBackedUp *ret);

#define CHANNEL_WHY_LEN 256
/*
 * Waits. Says to all controllers where the newest of the head's state is, of the group's volume
 * piv_volume and its backup: before it is written there. 0: it is stable, and no backup is made
 * that it forbids. renew: asks for a new volume too, as that one cannot be used. -ESTALE: another
 * is the group's volume by now; -ENOSPC, -EBUSY: none is made; -ERR_DISCONNECTED. why: of the last
 * refusal.
 */
int channel_side(struct channel *c, Isthmus__Side side, uint32_t piv_volume, bool renew, char *why);

struct channel_stats {
	uint64_t read_hits; /* served from a cache segment without a message */
	uint64_t reads, writes, flushes, retries, reconnects, doorbells;
	uint64_t moves;	   /* a volume's requests went on to another controller */
	uint64_t waits_ns; /* longest time in which a volume had no owner */
};
void channel_stats(const struct channel *c, struct channel_stats *ret);

#endif
