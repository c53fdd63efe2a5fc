/*
 * A volume as its users (SCSI, channels, backups) see it: a numbered logical
 * unit with cached reads and writes. Every function may be called from tasks of any reactor.
 * Offsets and lengths are bytes, multiples of 512.
 */
#ifndef ISTHMUS_BLOCKCORE_VOLUME_H
#define ISTHMUS_BLOCKCORE_VOLUME_H

#include <stdbool.h>
#include <stdint.h>
#include "blockcore/cache/cache.h"

struct volume;

/* Where a volume's commands are carried out (core_own.h). */
enum core_place { CORE_HERE, CORE_PARTNER, CORE_MOVING, CORE_NOWHERE };

uint32_t volume_id(const struct volume *v);
const char *volume_name(const struct volume *v);
const uint8_t *volume_uuid(const struct volume *v); /* 16 bytes */
uint64_t volume_size(const struct volume *v);
/* Changes with every change of size, name or policy: unit attentions watch it. */
/* What was acknowledged survives a loss of power without a flush (memory: battery). */
bool volume_battery(const struct volume *v);
uint64_t volume_epoch(const struct volume *v);

/* From here on until volume_unuse() the volume is neither removed nor given to another controller,
 * as during a call, a read until it is done and a write until it is committed. */
int volume_use(struct volume *v);
void volume_unuse(struct volume *v);

/* As the cache_ functions of the same name; -EINVAL outside the volume, -ERR_SHUTDOWN after it
 * was removed. */
int volume_read_try(struct volume *v, uint64_t off, uint32_t len, struct cache_read *r);
int volume_read(struct volume *v, uint64_t off, uint32_t len, struct cache_read *r);
void volume_read_done(struct volume *v, struct cache_read *r);
int volume_write_try_begin(struct volume *v, uint64_t off, uint32_t len, struct cache_write *w);
int volume_write_begin(struct volume *v, uint64_t off, uint32_t len, struct cache_write *w);
void volume_write_copy(struct volume *v, struct cache_write *w, unsigned i, size_t off,
		       const void *from, size_t n);
void volume_write_received(struct volume *v, struct cache_write *w, uint32_t bytes);
int volume_write_commit(struct volume *v, struct cache_write *w, bool fua);
int volume_write_commit_if(struct volume *v, struct cache_write *w, const void *expect,
			   uint32_t *ret_at);
void volume_write_abort(struct volume *v, struct cache_write *w);
int volume_flush(struct volume *v, uint64_t off, uint64_t len);
int volume_discard(struct volume *v, uint64_t off, uint64_t len);
void volume_prefetch(struct volume *v, uint64_t off, uint64_t len);
/* cache_hint(). The caller has a read or a write of the volume under way. */
void volume_hint(struct volume *v, uint64_t off, enum cache_hint step);
/* Reads redundancy copy `copy` from the disks, past the cache. -ENOENT: no such copy. */
int volume_read_copy(struct volume *v, void *buf, uint32_t len, uint64_t off, unsigned copy);

struct volume_stats {
	uint64_t reads, writes, read_bytes, write_bytes, flushes, errors;
};
void volume_stats(const struct volume *v, struct volume_stats *ret);

#endif
