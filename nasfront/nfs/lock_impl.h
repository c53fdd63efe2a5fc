/* What lock_table.c, lock_range.c and lock_wait.c share; nobody else includes this. */
#ifndef ISTHMUS_NASFRONT_LOCK_IMPL_H
#define ISTHMUS_NASFRONT_LOCK_IMPL_H

#include <bsd/sys/queue.h>
#include "nasfront/nfs/lock_table.h"

#define LOCK_TABLE_MAGIC  0x6c6b7462
#define LOCK_CLIENT_MAGIC 0x6c6b636c
#define LOCK_BUCKETS	  16384

LIST_HEAD(lock_watches, lock_watch);

struct lock {
	TAILQ_ENTRY(lock) link;	 /* of its file, by first byte */
	TAILQ_ENTRY(lock) owned; /* of its owner */
	struct lock_file *file;
	struct lock_owner *owner;
	uint64_t id;
	enum lock_kind kind;
	struct lock_range range;
	struct lock_watches watches; /* that it is in the way of; newest first */
};
TAILQ_HEAD(lock_list, lock);

struct lock_wait {
	TAILQ_ENTRY(lock_wait) link; /* of its file, first come first */
	TAILQ_ENTRY(lock_wait) owned;
	struct lock_file *file;
	struct lock_owner *owner;
	enum lock_kind kind;
	struct lock_range range;
	void *user;
	struct lock_watches watches; /* that it is in the way of; newest first */
};
TAILQ_HEAD(lock_waits, lock_wait);

struct share {
	LIST_ENTRY(share) link;
	LIST_ENTRY(share) owned;
	struct lock_file *file;
	struct lock_owner *owner;
	uint64_t id;
	unsigned access, deny;
};
LIST_HEAD(share_list, share);

/* Lives while somebody holds, waits for or watches something in it. */
struct lock_file {
	LIST_ENTRY(lock_file) chain;
	struct lock_file_key key;
	struct lock_list locks;
	struct lock_waits waits;
	struct share_list shares;
	struct lock_watches watches; /* to be looked at with the next change; oldest first */
	bool dirty;		     /* its waits are to be looked at */
	TAILQ_ENTRY(lock_file) dirty_link;
};

/* Lives while it holds or waits for something. */
struct lock_owner {
	LIST_ENTRY(lock_owner) chain;
	TAILQ_ENTRY(lock_owner) link; /* of its client */
	struct lock_client *client;
	unsigned nlocks;
	struct lock_list locks;
	struct lock_waits waits;
	struct share_list shares;
	uint64_t seen; /* by the search of this number */
	struct lock_owner *next_seen;
	uint32_t len;
	uint8_t bytes[];
};

struct lock_client {
	uint32_t magic;
	struct lock_table *table;
	void *user;
	const void *key; /* of its record */
	uint32_t key_len;
	uint64_t account; /* lock_client_account() */
	unsigned nlocks, nwaits;
	bool in_way; /* somebody was refused for what it holds */
	TAILQ_HEAD(, lock_owner) owners;
};

struct lock_table {
	uint32_t magic;
	struct lock_table_opts o;
	LIST_HEAD(, lock_file) files[LOCK_BUCKETS];
	LIST_HEAD(, lock_owner) owners[LOCK_BUCKETS];
	TAILQ_HEAD(, lock_file) dirty;
	unsigned nclients;
	uint64_t search;
	uint64_t next_id; /* of locks and reservations */
	struct lock_stats stats;
};

static inline bool lock_overlap(const struct lock_range *a, const struct lock_range *b)
{
	return a->first <= b->last && b->first <= a->last;
}

static inline bool lock_kinds_conflict(enum lock_kind a, enum lock_kind b)
{
	return a == LOCK_EXCLUSIVE || b == LOCK_EXCLUSIVE;
}

/* lock_table.c */
struct lock_file *lock_file_find(struct lock_table *t, const struct lock_file_key *k);
struct lock_file *lock_file_get(struct lock_table *t, const struct lock_file_key *k); /* or made */
struct lock_owner *lock_owner_find(struct lock_table *t, const struct lock_ask *a);
struct lock_owner *lock_owner_get(struct lock_table *t, const struct lock_ask *a);
/* Frees what has become empty; either may be NULL. */
void lock_file_check(struct lock_table *t, struct lock_file *f);
void lock_owner_check(struct lock_table *t, struct lock_owner *o);
/* Looks at the waits of the file when the change under way is done. */
void lock_file_dirty(struct lock_table *t, struct lock_file *f);
/* Grants what can be granted. Ends every function that changes something. */
void lock_settle(struct lock_table *t);

/* lock_range.c */
/* Puts it where it belongs; nobody is told. */
void lock_insert(struct lock_table *t, struct lock_file *f, struct lock_owner *o, struct lock *l);
struct share *lock_share_new(struct lock_table *t, struct lock_file *f, struct lock_owner *o);
/* The first lock of another owner (NULL: of anybody) in the way. */
struct lock *lock_conflict(struct lock_file *f, const struct lock_owner *owner, enum lock_kind kind,
			   const struct lock_range *r);
/* The same for a request that is made or waits: the client of that lock is in its way
 * (lock_client_in_way()). */
struct lock *lock_refusal(struct lock_file *f, const struct lock_owner *owner, enum lock_kind kind,
			  const struct lock_range *r);
/* Makes it held, whatever others hold. -ENOMEM: nothing changed. */
int lock_take(struct lock_table *t, struct lock_file *f, struct lock_owner *o, enum lock_kind kind,
	      const struct lock_range *r);
void lock_drop(struct lock_table *t, struct lock *l);
void lock_share_drop(struct lock_table *t, struct share *s);

/* lock_restore.c */
/* Tells that it is to be kept, or is gone. */
void lock_tell(struct lock_table *t, const struct lock *l, bool gone);
void lock_tell_share(struct lock_table *t, const struct share *s, bool gone);

/* lock_wait.c */
/* What these watches hung on is gone, or less: they are looked at with the file's next change. */
void lock_watches_loose(struct lock_file *f, struct lock_watches *of);
/* They go from one list to another. */
void lock_watches_move(struct lock_watches *to, struct lock_watches *from);
void lock_wait_remove(struct lock_table *t, struct lock_wait *w);
void lock_file_grant(struct lock_table *t, struct lock_file *f);

#endif
