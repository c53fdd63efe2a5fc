/*
 * The head's side of a block channel: the only header of the block core that
 * nasfront/ includes. A head is a client, like an initiator. One channel a
 * reactor; every function on that reactor's thread.
 *
 * Data requests go through rings in shared memory; read hits are found in the
 * cache segment by the head itself (cache_layout.h) and held in hazard slots.
 * When the controller dies, requests in flight wait; after the reconnect they
 * are issued again (reads and writes of a range are idempotent; a request is
 * answered to its caller once). Only a fenced channel (-ERR_EPOCH_STALE) or
 * channel_close() ends requests with an error.
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

struct channel_opts {
	const char *path; /* the controller's channel socket */
	const char *head;
	const char *group;
	/* Runs in a task of this reactor for every configuration the controller sends; `ret` is
	 * filled for the answer (protobuf-c init done; members malloc'd, freed by the channel). */
	void (*config)(void *arg, const Isthmus__NasConfig *cfg, Isthmus__NasConfigApplied *ret);
	/* The connection went down or ended for good (see channel_fenced()) / came (back) up; may
	 * be NULL. */
	void (*state)(void *arg, bool up);
	void *arg;
};

/*
 * Waits, in a task, until connected: tries for ever. *ret is set before the wait, so that another
 * task may channel_close() it (-ERR_SHUTDOWN). -ERR_VERSION, -EACCES, -ERR_EPOCH_STALE: *ret is
 * gone again.
 */
int channel_open(struct channel **ret, const struct channel_opts *opts);
/* Waits, in a task. What is in flight ends with -ERR_SHUTDOWN. Volumes may be closed later. */
void channel_close(struct channel *c);
bool channel_up(const struct channel *c);
uint64_t channel_epoch(const struct channel *c);
/* A newer instance of this head has taken over: nothing may be answered any more. One load from
 * shared memory: to be asked for every request. Never waits. */
bool channel_fenced(const struct channel *c);
const char *channel_controller(const struct channel *c);

/*
 * Waits. Opens a volume as a bdev with every optional op: read_ref lends cache pages under hazard
 * slots on a hit; a write whose buffers lie in staging memory is not copied by the head.
 * bdev_flush() and BDEV_FUA promise what the array's memory policy promises. -ENOENT.
 */
int channel_volume_open(struct channel *c, uint32_t volume_id, struct bdev **ret);

/*
 * Staging memory, shared with the controller: receive buffers for RPC records live here so that
 * WRITE payloads are copied once (by the controller, into cache pages). Size classes 64 KiB
 * and 1280 KiB. NULL when none is free or size is larger; channel_staging_get() waits for one.
 * The channel keeps some for itself, so holders of buffers never block its own transfers.
 */
void *channel_staging_try_get(struct channel *c, size_t size);
void *channel_staging_get(struct channel *c, size_t size);
void channel_staging_put(struct channel *c, void *buf);

/* Waits. Orders a backup of the PIV: own group's (NULL), another's, or all. 0 when the controller
 * answered (ret->code says how it went; free ret->text unless it is protobuf_c_empty_string),
 * -ERR_DISCONNECTED: the connection ended before, it may or may not have been made. */
int channel_backup(struct channel *c, const char *group, bool all, Isthmus__ChannelBackedUp *ret);

struct channel_stats {
	uint64_t read_hits; /* served from the cache segment without a message */
	uint64_t reads, writes, flushes, retries, reconnects, doorbells;
};
void channel_stats(const struct channel *c, struct channel_stats *ret);

#endif
