/*
 * Array metadata: pools, volumes, targets, LUNs, initiators, file systems,
 * exports and head groups, as one protobuf message (proto/meta.proto). It is
 * small; every change writes it whole, with a checksum and the next sequence
 * number, into the older of two slots of the metadata area of every labelled
 * disk, then flushes. At start the highest valid sequence of all disks wins and
 * is written to those that lag. So a change is all or nothing, and durable when
 * meta_commit() returns.
 */
#ifndef ISTHMUS_BLOCKCORE_META_H
#define ISTHMUS_BLOCKCORE_META_H

#include <stddef.h>
#include <stdint.h>
#include "proto/meta.pb-c.h"

struct meta;

/*
 * The current state; never NULL; valid until the calling task waits or the caller returns to the
 * reactor. Owned by the reactor that opened the core: other threads use what the core, targets
 * and channels derive from it.
 */
const Isthmus__ArrayMeta *meta_get(const struct meta *m);

/*
 * Waits. Any reactor; change() runs on the owning one. One change at a time, in order: copies the
 * state, calls change(copy, arg), validates names and references, writes it to the disks, and makes
 * it current. change() returns 0, or a negative error that abandons the change and is returned. It
 * may allocate members with malloc (protobuf-c frees them). why: at least 256 bytes, a sentence for
 * the admin on any failure.
 */
int meta_update(struct meta *m, int (*change)(Isthmus__ArrayMeta *am, void *arg, char *why),
		void *arg, char *why);

/* fn runs on the owning reactor after every change that came through. */
struct meta_watch;
int meta_watch(struct meta *m, void (*fn)(void *arg, const Isthmus__ArrayMeta *am), void *arg,
	       struct meta_watch **ret);
void meta_unwatch(struct meta *m, struct meta_watch *w);

#define BACKUP_INTERVAL_DEFAULT 3600ull
#define BACKUP_INTERVAL_MAX	(365 * 24 * 3600ull)
/* Seconds between the backups that heads of a group order; 0: they order none. */
static inline uint64_t meta_backup_interval(const Isthmus__HeadGroup *g)
{
	if (g->backup_manual)
		return 0;
	return g->backup_interval ? g->backup_interval : BACKUP_INTERVAL_DEFAULT;
}

/* Helpers for repeated fields made by protobuf-c: appends item to a pointer array; removes
 * number i (the caller frees the item). */
int pb_append(void *array_ptr, size_t *n, void *item);
void pb_remove(void *array_ptr, size_t *n, size_t i);
/* Replace the value of a text or bytes field by a copy. 0 or -ENOMEM. */
int pb_set_text(char **field, const char *text);
int pb_set_bytes(ProtobufCBinaryData *field, const void *data, size_t len);

#endif
