/*
 * POSIX access control lists (as clients of version 3 know them) as NFSv4 lists, and back. Pure.
 *
 * From POSIX, in this order, m the mask (without one: all), ~ within rwx, empty entries left out:
 *
 *	allow OWNER@ u | deny OWNER@ ~u
 *	| for each user:  deny ~m, allow p, deny ~p
 *	| for GROUP@ and each group: deny ~m, allow p
 *	| for GROUP@ and each group: deny ~p
 *	| allow EVERYONE@ o
 *
 * and a default list the same once more, inherit-only for files and directories. A list without
 * named entries and mask is what acl_chmod() makes of a mode.
 *
 * So p and m stay apart, and back they are found as they were: a name's p is all that is allowed
 * to it, the mask what all of the names' denials before their first allowance leave. A list that
 * was not made so (a mode was set later, or NFSv4 wrote it) is told by what it grants: each name
 * with the rights that its own entries and EVERYONE@'s give it, and a mask that holds them all.
 *
 * Differs from POSIX: rights of several groups add up; and the mode's group bits are the owning
 * group's, not the mask (RFC 8881 6.3.2).
 */
#include "nasfront/fs/acl.h"
#include "runtime/check.h"
#include <errno.h>
#include <string.h>

#define DFLAGS (FS_ACE_INHERIT | FS_ACE_INHERIT_ONLY)

/* ---- is it one ---- */

static int entry_order(const struct fs_posix_ace *a, const struct fs_posix_ace *b)
{
	if (a->tag != b->tag)
		return a->tag < b->tag ? -1 : 1;
	return a->id < b->id ? -1 : a->id > b->id;
}

/* Insertion: lists mostly come sorted, and are short. */
static void sort(struct fs_posix_acl *l)
{
	for (unsigned i = 1; i < l->n; i++) {
		struct fs_posix_ace e = l->e[i];
		unsigned k = i;
		for (; k && entry_order(&e, &l->e[k - 1]) < 0; k--)
			l->e[k] = l->e[k - 1];
		l->e[k] = e;
	}
}

static bool is_named(const struct fs_posix_ace *e)
{
	return e->tag == FS_POSIX_USER || e->tag == FS_POSIX_GROUP;
}

/* The entry of a tag that is there at most once. */
static const struct fs_posix_ace *single(const struct fs_posix_acl *l, unsigned tag)
{
	for (unsigned i = 0; i < l->n; i++)
		if (l->e[i].tag == tag)
			return &l->e[i];
	return NULL;
}

bool acl_posix_sort(struct fs_posix_acl *l)
{
	static const unsigned tags =
	    FS_POSIX_USER_OBJ | FS_POSIX_GROUP_OBJ | FS_POSIX_OTHER; /* must be there */
	unsigned seen = 0;
	bool named = false;
	for (unsigned i = 0; i < l->n; i++) {
		struct fs_posix_ace *e = &l->e[i];
		unsigned tag = e->tag;
		if (!tag || tag & (tag - 1) || tag > FS_POSIX_OTHER || e->perm > 7)
			return false;
		if (!is_named(e))
			e->id = 0;
		named |= is_named(e);
		seen |= tag;
	}
	if ((seen & tags) != tags || (named && !(seen & FS_POSIX_MASK)))
		return false;
	sort(l);
	for (unsigned i = 1; i < l->n; i++)
		if (entry_order(&l->e[i - 1], &l->e[i]) == 0)
			return false;
	return true;
}

/* ---- to NFSv4 ---- */

struct to {
	struct fs_ace *a;
	unsigned n, room;
	uint16_t flags;
	bool dir, full;
};

static void put(struct to *t, unsigned type, unsigned who, uint32_t id, uint32_t mask)
{
	if (t->n == t->room) {
		t->full = true;
		return;
	}
	t->a[t->n++] = (struct fs_ace){
	    .type = (uint8_t)type, .who = (uint8_t)who, .flags = t->flags, .mask = mask, .id = id};
}

static void put_deny(struct to *t, unsigned who, uint32_t id, unsigned perm)
{
	if (perm != 7)
		put(t, FS_ACE_DENY, who, id, acl_rights(7 & ~perm, t->dir));
}

static void put_allow(struct to *t, unsigned who, uint32_t id, unsigned perm)
{
	put(t, FS_ACE_ALLOW, who, id,
	    acl_rights(perm, t->dir) | ACL_RIGHTS_ALL |
		(who == FS_WHO_OWNER ? ACL_RIGHTS_OWNER : 0));
}

static unsigned who_of(const struct fs_posix_ace *e)
{
	switch (e->tag) {
	case FS_POSIX_USER_OBJ:
		return FS_WHO_OWNER;
	case FS_POSIX_USER:
		return FS_WHO_USER;
	case FS_POSIX_GROUP_OBJ:
		return FS_WHO_OWNER_GROUP;
	case FS_POSIX_GROUP:
		return FS_WHO_GROUP;
	default:
		return FS_WHO_EVERYONE;
	}
}

/* The mask that has an effect: with nothing named, one equal to the group's says nothing. */
static unsigned mask_of(const struct fs_posix_acl *l)
{
	const struct fs_posix_ace *m = single(l, FS_POSIX_MASK);
	if (m && l->n == 4 && m->perm == single(l, FS_POSIX_GROUP_OBJ)->perm)
		m = NULL;
	return m ? m->perm : 7;
}

static void put_list(struct to *t, const struct fs_posix_acl *l)
{
	unsigned mask = mask_of(l);
	for (unsigned i = 0; i < l->n; i++) { /* they are sorted: in the order told above */
		const struct fs_posix_ace *e = &l->e[i];
		unsigned who = who_of(e);
		bool group = who == FS_WHO_GROUP || who == FS_WHO_OWNER_GROUP;
		if (e->tag == FS_POSIX_MASK) {
			for (unsigned k = 0; k < l->n; k++)
				if (l->e[k].tag == FS_POSIX_GROUP_OBJ ||
				    l->e[k].tag == FS_POSIX_GROUP)
					put_deny(t, who_of(&l->e[k]), l->e[k].id, l->e[k].perm);
			continue;
		}
		if (group || who == FS_WHO_USER)
			put_deny(t, who, e->id, mask);
		put_allow(t, who, e->id, e->perm);
		if (who == FS_WHO_OWNER || who == FS_WHO_USER ||
		    (group && !single(l, FS_POSIX_MASK)))
			put_deny(t, who, e->id, e->perm);
	}
}

int acl_from_posix(const struct fs_posix_acl *access, const struct fs_posix_acl *dflt, bool dir,
		   struct fs_ace *to, unsigned room, unsigned *ret_n)
{
	struct to t = {.a = to, .room = room, .dir = dir};
	put_list(&t, access);
	t.flags = DFLAGS;
	if (dflt->n)
		put_list(&t, dflt);
	*ret_n = t.n;
	return t.full ? -ENOSPC : 0;
}

/* ---- back ---- */

/* The entries of a list that count for one of the two. */
struct from {
	const struct fs_ace *a;
	unsigned n;
	bool dflt;
};

static bool counts(const struct from *f, const struct fs_ace *a)
{
	return f->dflt ? a->flags & FS_ACE_INHERIT : !(a->flags & FS_ACE_INHERIT_ONLY);
}

static bool same_who(const struct fs_ace *a, unsigned who, uint32_t id)
{
	return a->who == who && a->id == id;
}

struct grant {
	unsigned allowed; /* by its own entries, whatever denies it */
	unsigned lead;	  /* denied before its first allowance */
	unsigned has;	  /* in the end, with what EVERYONE@ has */
	bool named;	  /* has an entry */
};

static struct grant grant_of(const struct from *f, unsigned who, uint32_t id)
{
	uint32_t allowed = 0, lead = 0, has = 0, open = ~0u;
	struct grant g = {0};
	for (unsigned i = 0; i < f->n; i++) {
		const struct fs_ace *a = &f->a[i];
		bool own = same_who(a, who, id);
		if (!counts(f, a) || (!own && a->who != FS_WHO_EVERYONE))
			continue;
		if (own && a->type == FS_ACE_ALLOW)
			allowed |= a->mask;
		if (own && a->type == FS_ACE_DENY && !allowed)
			lead |= a->mask;
		if (a->type == FS_ACE_ALLOW)
			has |= a->mask & open;
		open &= ~a->mask;
		g.named |= own;
	}
	g.allowed = acl_rwx(allowed);
	g.lead = acl_rwx(lead);
	g.has = acl_rwx(has);
	return g;
}

static void add(struct fs_posix_acl *l, unsigned tag, unsigned perm, uint32_t id)
{
	ASSERT(l->n < FS_POSIX_ROOM);
	l->e[l->n++] = (struct fs_posix_ace){.tag = (uint8_t)tag, .perm = (uint8_t)perm, .id = id};
}

/* One of the three that are always there. */
static void add_special(struct fs_posix_acl *l, const struct from *f, unsigned tag, unsigned who)
{
	struct grant g = grant_of(f, who, 0);
	if (f->dflt && !g.named) {
		/* Nothing is passed on for it: as clients do, what the directory itself has. */
		struct from here = {.a = f->a, .n = f->n};
		g = grant_of(&here, who, 0);
	}
	add(l, tag, g.has, 0);
}

/* All of the group class say the same mask, and what is allowed under it is what they have. */
static bool find_mask(const struct from *f, const struct fs_posix_acl *l, unsigned *ret)
{
	bool first = true;
	for (unsigned i = 0; i < l->n; i++) {
		const struct fs_posix_ace *e = &l->e[i];
		if (!is_named(e) && e->tag != FS_POSIX_GROUP_OBJ)
			continue;
		struct grant g = grant_of(f, who_of(e), e->id);
		if (!g.named || (!first && g.lead != (7 & ~*ret)) || (g.allowed & ~g.lead) != g.has)
			return false;
		*ret = 7 & ~g.lead;
		first = false;
	}
	return true;
}

static void add_named(struct fs_posix_acl *l, const struct from *f)
{
	for (unsigned i = 0; i < f->n; i++) {
		const struct fs_ace *a = &f->a[i];
		bool told = !counts(f, a) || (a->who != FS_WHO_USER && a->who != FS_WHO_GROUP);
		for (unsigned k = 0; k < i && !told; k++)
			told = counts(f, &f->a[k]) && same_who(&f->a[k], a->who, a->id);
		if (!told)
			add(l, a->who == FS_WHO_USER ? FS_POSIX_USER : FS_POSIX_GROUP,
			    grant_of(f, a->who, a->id).has, a->id);
	}
}

static void to_posix(const struct from *f, struct fs_posix_acl *l)
{
	unsigned mask = 7, all = 0;
	l->n = 0;
	add_special(l, f, FS_POSIX_USER_OBJ, FS_WHO_OWNER);
	add_special(l, f, FS_POSIX_GROUP_OBJ, FS_WHO_OWNER_GROUP);
	add_special(l, f, FS_POSIX_OTHER, FS_WHO_EVERYONE);
	add_named(l, f);
	bool exact = find_mask(f, l, &mask);
	for (unsigned i = 0; i < l->n; i++) {
		struct fs_posix_ace *e = &l->e[i];
		if (!is_named(e) && e->tag != FS_POSIX_GROUP_OBJ)
			continue;
		if (exact)
			e->perm = (uint8_t)grant_of(f, who_of(e), e->id).allowed;
		all |= e->perm;
	}
	if (exact ? l->n > 3 || mask != 7 : l->n > 3)
		add(l, FS_POSIX_MASK, exact ? mask : all, 0);
	sort(l);
}

void acl_to_posix(const struct fs_ace *a, unsigned n, struct fs_posix_acl *access,
		  struct fs_posix_acl *dflt)
{
	struct from f = {.a = a, .n = n};
	bool inherits = false;
	to_posix(&f, access);
	for (unsigned i = 0; i < n; i++)
		inherits |= a[i].flags & FS_ACE_INHERIT;
	f.dflt = true;
	dflt->n = 0;
	if (inherits)
		to_posix(&f, dflt);
}
