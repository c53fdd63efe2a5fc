/*
 * A clone that is too much for one body: a stand-in does it.
 *
 * The stand-in is an inode without a name, in the orphan tree from its first moment on. In many
 * bodies it is given a map of its own, as the destination's shall be: what lies in the range leads
 * to the source's blocks, what lies outside to the destination's, one owner more for each; what the
 * destination has only set aside there is set aside anew. Then one body exchanges the two maps. The
 * stand-in is freed with the map it holds then, as any orphan, by a mount if need be: before the
 * exchange that undoes all, after it nothing but the old map goes.
 *
 *   C1 the nodes of both maps say that they are the destination's (inode_map_owner()), so the
 *      exchange changes two inodes only;
 *   C2 a stand-in counts for no quota; the exchange charges the destination with the difference,
 *      and is where a limit refuses;
 *   C3 nobody but its clone frees it: the reaper passes over those in fs->standins, until it is.
 */
#include "nasfront/fs/clone.h"
#include "nasfront/fs/xattr.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include <errno.h>

#define RUNS_MAX    16 /* entered in one body */
#define LOOKS_MAX   64 /* and looked at */
#define SPACE_TRIES 8

struct building {
	const struct clone *c;
	uint64_t ino;	     /* of the stand-in; 0: not made yet */
	uint64_t at, next;   /* blocks of the map that are there; after this body */
	uint64_t end;	     /* of the map */
	struct extent aside; /* blocks for what is only set aside */
};

static int make_body(struct fs *fs, struct building *s)
{
	struct inode in, from, to;
	int rc = clone_both(fs, s->c, &from, &to);
	if (!rc)
		rc = inode_new(fs, ag_of(fs, to.b->block), FS_REG, 0, 0, 0, 0, &in);
	if (rc)
		return rc;
	quota_add(&in, 0, -1);
	IN_SET32(&in, I_NLINK, 0);
	in.p[I_FLAGS] |= IF_STANDIN;
	IN_SET64(&in, I_PARENT, to.ino);
	s->ino = in.ino;
	s->end = MAX((IN64(&to, I_FILESIZE) + BS - 1) / BS, s->c->to_off / BS + s->c->blocks);
	return orphan_add(fs, in.ino, ORPHAN_FREE);
}

/* ---- its map ---- */

static int enter_data(struct fs *fs, struct building *s, struct inode *src, struct inode *in,
		      const struct map *m)
{
	uint64_t n;
	uint32_t owners;
	int rc = share_run(fs, m->phys, m->len, &n, &owners);
	if (!rc)
		rc = share_add(fs, m->phys, n);
	if (!rc)
		rc = ext_share(src, m->fblk);
	if (!rc)
		rc = ext_insert(in, s->next, m->phys, n, EXT_SHARED);
	s->next += n;
	return rc;
}

/* Blocks found for it stay so when the body has to wait: build_step() gives them up. */
static int enter_set_aside(struct fs *fs, struct building *s, struct inode *in, const struct map *m)
{
	int rc = s->aside.len ? 0 : alloc_reserve(fs, ext_goal(in, s->next), m->len, &s->aside);
	uint64_t n = MIN(m->len, s->aside.len);
	if (!rc)
		rc = alloc_claim(fs, s->aside.start, n);
	if (!rc)
		rc = ext_insert(in, s->next, s->aside.start, n, EXT_UNWRITTEN);
	s->next += n;
	return rc;
}

/* Where the map leads from s->next on: of which file, and what is there. */
static int source_at(struct building *s, struct inode *from, struct inode *to,
		     struct inode **ret_src, struct map *m)
{
	const struct clone *c = s->c;
	uint64_t first = c->to_off / BS, last = first + c->blocks, max = s->end;
	if (s->next >= first && s->next < last) {
		*ret_src = from;
		return ext_map(from, c->from_off / BS + (s->next - first), last - s->next, m);
	}
	if (s->next < first)
		max = first;
	*ret_src = to;
	return ext_map(to, s->next, max - s->next, m);
}

static int build_body(struct fs *fs, struct building *s)
{
	struct inode in, from, to, *src;
	int rc = clone_both(fs, s->c, &from, &to), runs = 0;
	if (!rc)
		rc = inode_get(fs, s->ino, &in);
	fs->tx.unlimited = true;
	s->next = s->at;
	for (int i = 0; i < LOOKS_MAX && !rc && s->next < s->end && runs < RUNS_MAX; i++) {
		struct map m;
		bool aside = s->aside.len;
		if (!clone_room(fs))
			break;
		rc = source_at(s, &from, &to, &src, &m);
		if (rc)
			break;
		bool data = m.phys && !m.unwritten, kept = m.phys && m.unwritten && src == &to;
		if (kept && runs && !aside)
			break; /* a body of its own */
		if (data)
			rc = enter_data(fs, s, src, &in, &m);
		else if (kept)
			rc = enter_set_aside(fs, s, &in, &m);
		else
			s->next += m.len;
		runs += kept ? RUNS_MAX : data;
	}
	if (rc)
		return rc;
	inode_touch(&in);
	IN_SET64(&in, I_FILESIZE, s->next * BS);
	fs->run.data_flush = true;
	return 0;
}

static int build_step(struct fs *fs, struct building *s)
{
	struct op op;
	int rc;
	op_begin(&op, fs, true);
	OP_LOOP(&op, rc, build_body(fs, s));
	op_end(&op);
	if (s->aside.len)
		alloc_unreserve(fs, s->aside.start, s->aside.len);
	s->aside.len = 0;
	if (!rc)
		s->at = s->next;
	return rc;
}

/* ---- the exchange ---- */

static int exchange_body(struct fs *fs, const struct building *s)
{
	const struct clone *c = s->c;
	struct inode from, to, in;
	uint64_t others = 0;
	fs->tx.unlimited = cred_root(c->cred);
	int rc = clone_both(fs, c, &from, &to);
	if (!rc && !IN32(&to, I_NLINK) && !kept_has(&to)) /* on its way out */
		rc = -ESTALE;
	if (!rc)
		rc = inode_get(fs, s->ino, &in);
	if (!rc && IN64(&to, I_XROOT)) {
		struct tree xattrs = xattr_tree(&to);
		rc = tree_nodes(&xattrs, &others);
	}
	if (!rc)
		rc = ext_exchange(&to, &in);
	if (rc)
		return rc;
	uint64_t was = IN64(&to, I_BLOCKS), is = IN64(&in, I_BLOCKS) + others;
	if (was < others)
		return -ERR_CORRUPT;
	IN_SET64(&to, I_BLOCKS, is);
	IN_SET64(&in, I_BLOCKS, was - others);
	quota_add(&to, (int64_t)is - (int64_t)was, 0);
	IN_SET64(&in, I_FILESIZE, MAX(IN64(&in, I_FILESIZE), IN64(&to, I_FILESIZE)));
	clone_done(c, &to);
	return 0;
}

static int build_and_exchange(struct fs *fs, struct building *s)
{
	struct op op;
	int rc = 0, tries = 0;
	while (!rc && s->at < s->end) {
		rc = build_step(fs, s);
		if (rc == -ENOSPC && tries++ < SPACE_TRIES && space_wait(fs))
			rc = 0;
		task_yield();
	}
	if (rc)
		return rc;
	op_begin(&op, fs, true);
	OP_LOOP(&op, rc, exchange_body(fs, s));
	op_end(&op);
	return rc;
}

int clone_by_standin(struct fs *fs, const struct clone *c)
{
	struct building s = {.c = c};
	struct standin me;
	struct op op;
	int rc;
	op_begin(&op, fs, true);
	OP_LOOP(&op, rc, make_body(fs, &s));
	if (!rc) { /* before any other body */
		me.ino = s.ino;
		LIST_INSERT_HEAD(&fs->standins, &me, link);
	}
	op_end(&op);
	if (rc)
		return rc;
	rc = build_and_exchange(fs, &s);
	/* Nobody else frees it: its number might be another's by the next step. */
	int freed = orphan_free(fs, s.ino);
	LIST_REMOVE(&me, link);
	if (freed)
		orphan_reap_kick(fs, s.ino);
	return rc;
}
