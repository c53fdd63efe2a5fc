/* A table of locks beside a model of it that knows every byte. */
#ifndef ISTHMUS_TESTS_LOCK_MODEL_H
#define ISTHMUS_TESTS_LOCK_MODEL_H

#include <check.h>
#include "nasfront/nfs/lock_table.h"

enum { CLIENTS = 3, OWNERS = 7, FILES = 3, BYTES = 24, WAITS = 64 };

struct want {
	bool used;
	unsigned file, owner;
	enum lock_kind kind;
	unsigned from, to;
};

/* What every owner holds at every byte, and who waits. */
struct lock_model {
	struct lock_table *table;
	struct lock_client *client[CLIENTS];
	char held[FILES][OWNERS][BYTES]; /* 0, 'r', 'w' */
	struct want waits[WAITS];
	unsigned granted, dropped;
	const struct want *now; /* being asked for; a grant meanwhile says that it was held first */
};
extern struct lock_model m;

unsigned index_of(uint64_t v);
void model_hold(const struct want *w, char what);
bool model_blocked(const struct want *w);
bool model_holds(unsigned owner);
bool model_reaches(const struct want *w, unsigned target, bool *seen);
void model_now(void);
void on_granted(void *arg, void *user);
void on_dropped(void *arg, void *user);
void up(unsigned max_client_locks, unsigned max_client_waits);
struct lock_ask ask_of(const struct want *w);
/* Its owners hold nothing any more: others may be granted what they waited for. */
void model_client_ends(const struct lock_client *c);
void down(void);
int set(unsigned owner, enum lock_kind kind, unsigned from, unsigned to);
int set_wait_in(unsigned file, unsigned owner, enum lock_kind kind, unsigned from, unsigned to);
int set_wait(unsigned owner, enum lock_kind kind, unsigned from, unsigned to);
void unset(unsigned owner, unsigned from, unsigned to);

#endif
