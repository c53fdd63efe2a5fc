/*
 * Names of a client's own: nobody else changes them, so every answer is known beforehand, however
 * often a call had to be sent and whoever answers it.
 */
#include <inttypes.h>
#include <stdio.h>
#include "nasfront/nfs4/nfs4_proto.h"
#include "tests/sim/heads.h"

static void name_of(unsigned i, char ret[16])
{
	snprintf(ret, 16, "name%u", i);
}

/* Both versions say "later" by the same number. */
static bool later(struct client *c, uint32_t st)
{
	if (st != NFS4ERR_DELAY)
		return false;
	heads_sleep(c->w, AGAIN_NS);
	return !c->w->failed;
}

static bool expect(struct client *c, const char *what, const char *name, uint32_t st, uint32_t want)
{
	if (st != want)
		heads_fail(c->w, "%s: %s of its own %s: status %u, not %u", c->name, what, name, st,
			   want);
	return st == 0 && want == 0;
}

static void create(struct client *c, const struct name_ops *ops, unsigned i, const char *name)
{
	bool exclusive = heads_below(c->w, 2);
	uint32_t st;
	do
		st = ops->create(c, name, exclusive);
	while (later(c, st));
	if (expect(c, "CREATE", name, st, c->names[i].is == ABSENT ? 0 : NFS4ERR_EXIST)) {
		c->names[i].is = A_FILE;
		c->names[i].stamp = 0;
	}
}

static void make_dir(struct client *c, const struct name_ops *ops, unsigned i, const char *name)
{
	uint32_t st;
	do
		st = ops->mkdir(c, name);
	while (later(c, st));
	if (expect(c, "MKDIR", name, st, c->names[i].is == ABSENT ? 0 : NFS4ERR_EXIST))
		c->names[i].is = A_DIR;
}

static void take_away(struct client *c, const struct name_ops *ops, unsigned i, const char *name)
{
	uint32_t st;
	do
		st = ops->remove(c, name, c->names[i].is == A_DIR);
	while (later(c, st));
	if (expect(c, "REMOVE", name, st, c->names[i].is == ABSENT ? NFS4ERR_NOENT : 0))
		c->names[i].is = ABSENT;
}

/* To a name that is free: then nothing is lost by it. */
static void move(struct client *c, const struct name_ops *ops, unsigned i, const char *name)
{
	unsigned to = (unsigned)heads_below(c->w, NAMES);
	char target[16];
	uint32_t st;
	if (to == i || c->names[to].is != ABSENT)
		return;
	name_of(to, target);
	do
		st = ops->rename(c, name, target);
	while (later(c, st));
	if (expect(c, "RENAME", name, st, c->names[i].is == ABSENT ? NFS4ERR_NOENT : 0)) {
		c->names[to] = c->names[i];
		c->names[i].is = ABSENT;
	}
}

static void put(struct client *c, const struct name_ops *ops, unsigned i, const char *name)
{
	uint64_t stamp = ++c->w->stamp;
	if (expect(c, "WRITE", name, ops->write(c, name, stamp), 0)) {
		c->names[i].stamp = stamp;
		c->w->result->writes++;
	}
}

static void look(struct client *c, const struct name_ops *ops, unsigned i, const char *name)
{
	uint64_t is = 0;
	if (!expect(c, "READ", name, ops->read(c, name, &is), 0))
		return;
	c->w->result->reads++;
	if (is != c->names[i].stamp)
		heads_fail(c->w, "%s reads %" PRIu64 " in its own %s, where it wrote %" PRIu64,
			   c->name, is, name, c->names[i].stamp);
}

void heads_names_step(struct client *c, const struct name_ops *ops)
{
	unsigned i = (unsigned)heads_below(c->w, NAMES);
	uint64_t dice = heads_below(c->w, 8);
	char name[16];
	name_of(i, name);
	if (c->names[i].is == A_FILE && dice < 4)
		(dice < 2 ? put : look)(c, ops, i, name);
	else if (dice == 4)
		move(c, ops, i, name);
	else if (dice == 5 || (c->names[i].is != ABSENT && dice < 7))
		take_away(c, ops, i, name);
	else
		(dice < 3 ? make_dir : create)(c, ops, i, name);
}

void heads_names_check(struct client *c, const struct name_ops *ops)
{
	char name[16];
	for (unsigned i = 0; i < NAMES && !c->w->failed; i++) {
		name_of(i, name);
		if (c->names[i].is == A_FILE)
			look(c, ops, i, name);
		take_away(c, ops, i, name);
	}
}
