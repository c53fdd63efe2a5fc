/*
 * Volumes of the partner's as it has them: for what a controller does with volumes of both
 * (backups, EXTENDED COPY). A host's commands do not go this way, they are forwarded whole.
 *
 * All wait, at any reactor, and end with -ERR_DISCONNECTED when the link goes down: then nobody
 * knows whether it was done, or is about to be (far_over()). -ERR_NOT_OWNER: the partner does not
 * have it, and nothing was done.
 */
#ifndef ISTHMUS_BLOCKCORE_FAR_H
#define ISTHMUS_BLOCKCORE_FAR_H

#include <stdbool.h>
#include <stdint.h>

struct core;
struct link;

#define FAR_VERSION 2		  /* 2: FAR_OVER */
#define FAR_MAX	    (256u * 1024) /* bytes of one call */

int far_read(struct link *l, uint32_t volume, uint64_t off, void *buf, uint32_t len);
int far_write(struct link *l, uint32_t volume, uint64_t off, const void *buf, uint32_t len);
int far_flush(struct link *l, uint32_t volume);
/* As volume_checksum(). */
int far_checksum(struct link *l, uint32_t volume, uint32_t *ret);

/* 0: no write of an earlier session of the link is left at the partner; -EBUSY: one is, and is
 * about to end. */
int far_over(struct link *l);

/* The partner's calls are served until the link is closed, or c is NULL. */
void core_far_serve(struct core *c, struct link *l);

#endif
