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
	bool fenced;	   /* another instance has the name now */
	_Atomic bool lost; /* the head shrank the file: what is mapped is private zeros */
	int fd;
	struct channel_geometry geo;
	uint8_t *base;
	struct channel_head *hdr;
	struct channel_sqe *sq;
	struct channel_cqe *cq;
	uint8_t *staging;
	struct cache *cache;
	struct cache_hazard *hazard;
	TAILQ_ENTRY(channel_seg) link;
};

struct channel_seg_id {
	const char *head, *group;
	uint64_t instance, epoch;
	pid_t pid;
};

/* Makes the file anew and enters its hazards. */
int channel_seg_create(struct channel_seg **ret, struct cache *cache, uint32_t npages,
		       const char *dir, const struct channel_seg_id *id);
/* Opens one left by an earlier controller. -ERR_CORRUPT when it is not one of ours. */
int channel_seg_open(struct channel_seg **ret, struct cache *cache, uint32_t npages,
		     const char *path);
/* Empty rings, for a new connection of the same head. */
void channel_seg_reset(struct channel_seg *seg, pid_t pid);
/* Another instance takes the name over: fences the old one and gives its file another name. */
void channel_seg_retire(struct channel_seg *seg, uint64_t new_epoch);
/* True when nobody can hold pages by it any more: left in order, or the process is gone. */
bool channel_seg_abandoned(const struct channel_seg *seg);
/* True when the head changed the file's size: nothing in it is shared any more. */
bool channel_seg_lost(struct channel_seg *seg);
/* Takes its hazards out of the cache; `remove` the file too, or leave it to a successor. */
void channel_seg_free(struct channel_seg *seg, bool remove);

#endif
