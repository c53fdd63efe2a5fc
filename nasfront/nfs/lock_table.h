/*
 * Byte-range locks and share reservations of files, whatever protocol asks for them.
 *
 * An owner is a client (an object of the protocol's) and bytes that tell its owners apart; locks of
 * one owner never conflict with each other: as POSIX has it, a later one replaces what it covers,
 * neighbours of one kind become one, an unlock in the middle leaves two. Ranges go to 2^64 - 1.
 *
 * A request may wait. What a release frees goes to those who wait, in order of their asking. A
 * blocking request also waits behind earlier ones it conflicts with, so that a stream of readers
 * does not starve a writer; but not if its owner holds a lock somewhere: then to queue behind
 * somebody who may wait for that very owner could stall both for ever. For the same reason
 * a cycle of waiting always is one of locks held, and those are found when a request would close
 * it: -EDEADLK.
 *
 * Memory is bounded by the numbers in lock_table_opts. Nothing here waits or makes a system call;
 * one reactor uses a table.
 */
#ifndef ISTHMUS_NASFRONT_LOCK_TABLE_H
#define ISTHMUS_NASFRONT_LOCK_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <bsd/sys/queue.h>

struct lock_file;
struct lock_table;
struct lock_client;
struct lock_wait;

#define LOCK_OWNER_MAX 1040

struct lock_file_key {
	uint64_t fs, ino;
	uint32_t generation;
};

enum lock_kind { LOCK_SHARED, LOCK_EXCLUSIVE };

/* Both ends belong to it; last UINT64_MAX: to the end of the file, however far it grows. */
struct lock_range {
	uint64_t first, last;
};

/* Who asks for what. */
struct lock_ask {
	struct lock_file_key file;
	struct lock_client *client;
	const void *owner;
	uint32_t owner_len; /* at most LOCK_OWNER_MAX */
	enum lock_kind kind;
	struct lock_range range;
};

/* A lock that is held (or waited for), as told to others. */
struct lock_info {
	struct lock_file_key file;
	struct lock_client *client;
	const void *owner; /* valid until the table changes */
	uint32_t owner_len;
	enum lock_kind kind;
	struct lock_range range;
	bool waits;
};

/* A lock or a share reservation, to be kept for a successor: the same under the same id. */
struct lock_kept {
	uint64_t id;
	bool gone, share;
	struct lock_info lock; /* of a share its kind and range say nothing */
	unsigned access, deny; /* of a share */
};

struct lock_table_opts {
	unsigned max_locks;	   /* of all clients, with share reservations; 0: 262144 */
	unsigned max_client_locks; /* of one client, with what it waits for; 0: 65536 */
	unsigned max_waits;	   /* 0: 16384 */
	unsigned max_client_waits; /* 0: 4096 */
	uint64_t hash_key[2];
	/* A request that waited holds its lock now; `user` is what it was queued with. Must not
	 * call the table. */
	void (*granted)(void *arg, void *user);
	/* A request that waits goes because its client does (lock_client_release()). Must not call
	 * the table. */
	void (*dropped)(void *arg, void *user);
	/* The last reservation of the file has gone. NULL: nobody wants to know. Must not call the
	 * table. */
	void (*unused)(void *arg, const struct lock_file_key *file);
	/* No more locks and reservations are to be made now, by this client. NULL: they are. */
	bool (*full)(void *arg, struct lock_client *c);
	/* A lock or reservation was made, is another now, or went. NULL: nobody wants to know. Must
	 * not call the table. */
	void (*kept)(void *arg, const struct lock_kept *k);
	void *arg;
};

int lock_table_new(struct lock_table **ret, const struct lock_table_opts *o);
/* Every client must have been freed. */
void lock_table_free(struct lock_table *t);

int lock_client_new(struct lock_client **ret, struct lock_table *t, void *user);
/* Gives up all it holds and waits for. */
void lock_client_release(struct lock_client *c);
/* The same, and its end. */
void lock_client_free(struct lock_client *c);
void *lock_client_user(const struct lock_client *c);
/* The key of the client's own record, for those of its locks; stays the caller's, and as it is.
 * Without one nothing is kept of it. */
void lock_client_set_key(struct lock_client *c, const void *key, uint32_t len);
const void *lock_client_key(const struct lock_client *c, uint32_t *ret_len);
/* Bytes of records of the client, its locks and all that its user keeps of it. */
uint64_t *lock_client_account(struct lock_client *c);
unsigned lock_client_locks(const struct lock_client *c); /* with share reservations */
unsigned lock_client_waits(const struct lock_client *c);
/* Whether what a client holds is in the way of others is asked from now on. */
void lock_client_yield(struct lock_client *c);
/* It is: another was refused for it since, or waits in a file it has locks in. Who only watches
 * does not count: he may have given up. */
bool lock_client_in_way(const struct lock_client *c);

/* Would the lock be granted now? 0, or -EAGAIN and in *ret_by one that is in the way. */
int lock_test(struct lock_table *t, const struct lock_ask *a, struct lock_info *ret_by);
/* 0: held. -EAGAIN: another's is in the way. -ENOLCK: too many. */
int lock_set(struct lock_table *t, const struct lock_ask *a);
/*
 * The same, but where lock_set() says -EAGAIN it is queued: -EINPROGRESS, and `granted` is called
 * when it holds the lock. -EDEADLK: it would wait for itself. -EALREADY: that very request is
 * queued already (lock_wait_find() finds it).
 */
int lock_set_wait(struct lock_table *t, const struct lock_ask *a, void *user);
/* Gives up what the owner holds in the range (kind is not looked at). 0 also when it held nothing.
 * Where two would be left of one: -ENOLCK, too many; -ENOMEM. Nothing has changed then. */
int lock_unset(struct lock_table *t, const struct lock_ask *a);

/* The queued request that is this one; NULL: none. */
struct lock_wait *lock_wait_find(struct lock_table *t, const struct lock_ask *a);
void *lock_wait_user(const struct lock_wait *w);
/* It waits no more; neither granted() nor dropped() is called. */
void lock_wait_cancel(struct lock_wait *w);

/*
 * Who was refused and wants to be told when to ask again: told() is called once, when the lock that
 * `ask` says would be granted, and it is watched for no more. Nothing is set aside for who watches,
 * and nobody waits behind him: others may be faster. told() must not call the table.
 */
struct lock_watch {
	LIST_ENTRY(lock_watch) link; /* of what is in the way */
	struct lock_file *file;	     /* NULL: it watches not */
	struct lock_ask ask; /* its owner's bytes stay as long as it watches, its client too */
	void (*told)(struct lock_watch *w);
};
/* ask and told are filled in. -ENOMEM. */
int lock_watch_begin(struct lock_table *t, struct lock_watch *w);
/* Also when it watches not. */
void lock_watch_end(struct lock_table *t, struct lock_watch *w);

/* ---- share reservations ---- */

enum lock_share { LOCK_SHARE_READ = 1, LOCK_SHARE_WRITE = 2 };
/* What the owner does with the file, and what it denies to others; a later one of the same owner
 * replaces the first. 0, -EAGAIN, -ENOLCK. kind and range of the ask are not looked at. */
int lock_share(struct lock_table *t, const struct lock_ask *a, unsigned access, unsigned deny);
void lock_unshare(struct lock_table *t, const struct lock_ask *a);
/* True when a reservation denies this to one that has none. */
bool lock_share_denied(struct lock_table *t, const struct lock_file_key *file, unsigned access);
/* True when the owner holds a lock in the file. */
bool lock_held(struct lock_table *t, const struct lock_ask *a);

/* What a file is used for, by the client that asks and by the others. */
struct lock_use {
	unsigned own, others; /* access of reservations */
	unsigned opens;	      /* how many of those there are */
	bool locks;	      /* others have locks in it, or somebody waits for one */
};
void lock_use_of(struct lock_table *t, const struct lock_file_key *file,
		 const struct lock_client *who, struct lock_use *ret);

/* ---- figures ---- */

struct lock_stats {
	unsigned locks, waits, shares, files, owners;
	uint64_t grants, denials, deadlocks, refused; /* refused: too many */
	uint64_t watch_looks; /* how often it was looked whether one who watches is to be told */
};
void lock_stats(const struct lock_table *t, struct lock_stats *ret);
bool lock_table_full(const struct lock_table *t); /* of locks: what -ENOLCK may mean */
/* Nobody is told of what is kept any more: the table ends, what is kept does not. */
void lock_table_leave(struct lock_table *t);
/* Tells kept() of all there is, and waits() of the user of each request that waits. */
void lock_table_tell(struct lock_table *t, void (*waits)(void *arg, void *user), void *arg);
/* Ids up to this one are in use already. */
void lock_table_skip_ids(struct lock_table *t, uint64_t id);
/* Makes held what a predecessor's kept() told, whatever others hold; nobody is told. -ENOMEM. */
int lock_restore(struct lock_table *t, const struct lock_kept *k);

/* Tells every lock held and waited for of a client until fn says false. fn must not call the table.
 */
void lock_client_each(const struct lock_client *c, bool (*fn)(void *arg, const struct lock_info *l),
		      void *arg);

#endif
