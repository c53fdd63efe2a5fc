/*
 * The controller's hold on a channel segment: the named file in memory, its
 * mapping, and the head's hazards in the cache. It outlives the connection: as
 * long as the head's process may hold pages, its hazards count, also when a
 * killed controller's successor finds the file at its start.
 * Home reactor only, but for the memory itself.
 */
#ifndef ISTHMUS_CHANNEL_SEG_H
#define ISTHMUS_CHANNEL_SEG_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <bsd/sys/queue.h>
#include "blockcore/channel/channel_layout.h"

struct cache;
struct cache_hazard;

struct channel_seg {
	uint32_t magic;
	char path[256];
	char head[CHANNEL_NAME_MAX], group[CHANNEL_NAME_MAX];
	uint64_t instance, epoch, pid_start;
	pid_t pid;
	uint32_t npages;
	_Atomic bool fenced; /* another instance has the name now: nothing more is carried out */
	_Atomic bool lost;   /* the head shrank the file: what is mapped is private zeros */
	int fd;
	struct channel_geometry geo;
	uint8_t *base;
	struct channel_head *hdr;
	struct channel_sqe *sq;
	struct channel_cqe *cq;
	struct cache *cache;
	struct cache_hazard *hazard;
	TAILQ_ENTRY(channel_seg) link;
};

struct channel_seg_id {
	const char *controller, *head, *group;
	uint64_t instance, epoch;
	pid_t pid;
};

/* Makes the file anew and enters its hazards. */
int channel_seg_create(struct channel_seg **ret, struct cache *cache, uint32_t npages,
		       const char *dir, const struct channel_seg_id *id);
/* Opens one left by an earlier controller. -ERR_CORRUPT when it is not one of ours. One of an
 * earlier version counts as fenced: its head can not come back, but may hold pages. */
int channel_seg_open(struct channel_seg **ret, struct cache *cache, uint32_t npages,
		     const char *path);
/* Empty rings, for a new connection of the same head. */
void channel_seg_reset(struct channel_seg *seg, pid_t pid);
/* Another instance has the name: from here on the head answers nothing, and nothing is carried out
 * for it. Never waits. */
void channel_seg_fence(struct channel_seg *seg, uint64_t new_epoch);
/* The same, and the file gets another name; when nothing is being carried out any more. */
void channel_seg_retire(struct channel_seg *seg, uint64_t new_epoch);
/* Is this a segment's file of that controller? Of version 1 there were no others. */
bool channel_seg_name(const char *file, const char *controller);
/* True when nobody can hold pages by it any more: left in order, or the process is gone. */
bool channel_seg_abandoned(const struct channel_seg *seg);
/* True when the head changed the file's size: nothing in it is shared any more. */
bool channel_seg_lost(struct channel_seg *seg);
/* Staging memory of a head, as its hello brought it. -EINVAL: it is not what it should be: of that
 * size, sealed against resizing, of ordinary memory. `lost` lives until it is unmapped. */
int channel_staging_map(int fd, uint8_t **ret, _Atomic bool *lost);
void channel_staging_unmap(uint8_t *staging);
/* Takes its hazards out of the cache; `remove` the file too, or leave it to a successor. */
void channel_seg_free(struct channel_seg *seg, bool remove);

#endif
