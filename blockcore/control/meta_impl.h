/* What the files of the array metadata share (meta.h, meta_store.h, meta_share.h). */
#ifndef ISTHMUS_BLOCKCORE_META_IMPL_H
#define ISTHMUS_BLOCKCORE_META_IMPL_H

#include "blockcore/control/meta_share.h"
#include "blockcore/control/meta_slot.h"
#include "blockcore/control/meta_store.h"
#include "runtime/task.h"

#define META_MAGIC 0x6d657461

struct meta_disk {
	struct disk *disk;
	uint64_t seq[2]; /* what each slot holds; 0: nothing */
	bool damaged[2]; /* told, and not rewritten yet */
};

struct meta_watch {
	void (*fn)(void *arg, const Isthmus__ArrayMeta *am);
	void *arg;
	bool dead;
	TAILQ_ENTRY(meta_watch) link;
};
TAILQ_HEAD(meta_watches, meta_watch);

struct meta {
	uint32_t magic;
	struct env *env;
	struct sched *owner;
	struct meta_opts opts;
	struct task_mutex lock; /* own changes, in order */
	/* Of `cur` and `disks`: held while a state is written or taken. Own changes take it when
	 * they have the right to change; who waits for that right does not hold up the partner's.
	 */
	struct task_mutex state;
	uint8_t array_uuid[16];
	Isthmus__ArrayMeta *cur;
	uint64_t tried; /* highest sequence number ever written to any disk, as far as known */
	struct meta_disk *disks;
	unsigned ndisks;
	struct meta_watches watches;
	unsigned notifying;

	/* meta_share.c */
	bool unsure;	   /* the partner may have written slots */
	bool behind;	   /* a state of the partner could not be taken */
	bool mend;	   /* the state was found on disks: not all may have it */
	bool partner_died; /* it may have been writing */
	bool wanted;	   /* the partner waits for the right */
	bool asked;	   /* we have told it that we do */
	uint64_t given;	   /* sequence the right was taken with */
	uint64_t taken;	   /* turns the partner had */
	struct waitq turn;
};

/* ---- meta.c ---- */

/* Makes a state current: what has to be there before, the watches, what goes away after. Waits;
 * with `state` held. own: made here, else the partner's or found on disks. */
void meta_adopt(struct meta *m, Isthmus__ArrayMeta *am, bool own);
/* Waits; with `state` held. One change: written, current, the partner told. */
int meta_change(struct meta *m, int (*change)(Isthmus__ArrayMeta *, void *, char *), void *arg,
		char *why);
int meta_change_nothing(Isthmus__ArrayMeta *am, void *arg, char *why);
/* In a buffer for slots, sealed; to be freed. */
int meta_encode(const struct meta *m, const Isthmus__ArrayMeta *am, uint8_t **ret, size_t *ret_len,
		char *why);
Isthmus__ArrayMeta *meta_copy(const Isthmus__ArrayMeta *am);

/* ---- meta_load.c ---- */

/* Waits. The first state. */
int meta_load(struct meta *m, const char *name, char *why);
/* Waits; with `state` held and the right to change. Looks what the slots hold; *ret: the newest
 * state above `above` that holds, NULL: none. */
int meta_load_newer(struct meta *m, uint64_t above, Isthmus__ArrayMeta **ret, char *why);
void meta_tell_slot(struct meta_disk *md, unsigned slot, const struct meta_slot *s);

/* ---- meta_write.c ---- */

/* Waits. A sealed buffer of am to all disks. */
int meta_write_all(struct meta *m, const Isthmus__ArrayMeta *am, const uint8_t *buf, size_t len,
		   char *why);

/* ---- meta_share.c; without a partner they do nothing ---- */

/* Waits. The right to change, `state`, and the newest state. */
int meta_share_enter(struct meta *m, char *why);
void meta_share_leave(struct meta *m);
/* Waits. The partner has taken the current state, or is not there. */
void meta_share_publish(struct meta *m, const uint8_t *payload, size_t len);
void meta_share_failed(struct meta *m);

#endif
