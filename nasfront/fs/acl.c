/*
 * NFSv4 access control lists (RFC 8881 6): what they grant, and the mode they are kept in step
 * with. Pure: lists in, lists out; acl_store.c keeps them.
 *
 * A list is taken in order: the first entry that names the caller and speaks of a right decides
 * about it; a right that none speaks of is not granted. acl_mode() is RFC 8881 6.3.2. acl_chmod()
 * fulfils 6.4.1.1: what names users and groups is kept, no more than the group's bits are left in
 * it, and entries that say the mode are put around:
 *
 *	allow OWNER@ u | deny OWNER@ ~u | (users and groups) | allow GROUP@ g | deny GROUP@ ~g
 *	| allow EVERYONE@ o | (what is only inherited)
 *
 * So an owner, and a member of the owning group that no entry names, has what the mode says.
 */
#include "nasfront/fs/acl.h"
#include "runtime/bytes.h"
#include "runtime/err.h"
#include <errno.h>

#define RIGHTS_R FS_ACE_READ
#define RIGHTS_W (FS_ACE_WRITE | FS_ACE_APPEND)
#define RIGHTS_X FS_ACE_EXECUTE
#define RIGHTS	 (RIGHTS_R | RIGHTS_W | FS_ACE_DELETE_CHILD | RIGHTS_X)

uint32_t acl_rights(unsigned rwx, bool dir)
{
	uint32_t m = 0;
	if (rwx & 4)
		m |= RIGHTS_R;
	if (rwx & 2)
		m |= RIGHTS_W | (dir ? FS_ACE_DELETE_CHILD : 0);
	if (rwx & 1)
		m |= RIGHTS_X;
	return m;
}

unsigned acl_rwx(uint32_t rights)
{
	return (rights & RIGHTS_R ? 4 : 0) | ((rights & RIGHTS_W) == RIGHTS_W ? 2 : 0) |
	       (rights & RIGHTS_X ? 1 : 0);
}

static bool is_special(const struct fs_ace *a)
{
	return a->who >= FS_WHO_OWNER;
}

static bool is_effective(const struct fs_ace *a)
{
	return !(a->flags & FS_ACE_INHERIT_ONLY);
}

static bool is_caller(const struct fs_ace *a, const struct fs_cred *c, uint32_t uid, uint32_t gid)
{
	switch (a->who) {
	case FS_WHO_USER:
		return c->uid == a->id;
	case FS_WHO_GROUP:
		return cred_in_group(c, a->id);
	case FS_WHO_OWNER:
		return c->uid == uid;
	case FS_WHO_OWNER_GROUP:
		return cred_in_group(c, gid);
	default:
		return true;
	}
}

uint32_t acl_grants(const struct fs_ace *a, unsigned n, const struct fs_cred *c, uint32_t uid,
		    uint32_t gid, uint32_t want)
{
	uint32_t have = 0, open = want;
	for (unsigned i = 0; i < n && open; i++) {
		if (!is_effective(&a[i]) || !is_caller(&a[i], c, uid, gid))
			continue;
		if (a[i].type == FS_ACE_ALLOW)
			have |= a[i].mask & open;
		open &= ~a[i].mask;
	}
	return have;
}

/* What a special identifier has, by its own entries and EVERYONE@'s. */
static uint32_t special_has(const struct fs_ace *a, unsigned n, unsigned who)
{
	uint32_t have = 0, open = RIGHTS;
	for (unsigned i = 0; i < n; i++) {
		if (!is_effective(&a[i]) || (a[i].who != who && a[i].who != FS_WHO_EVERYONE))
			continue;
		if (a[i].type == FS_ACE_ALLOW)
			have |= a[i].mask & open;
		open &= ~a[i].mask;
	}
	return have;
}

uint32_t acl_mode(const struct fs_ace *a, unsigned n)
{
	return acl_rwx(special_has(a, n, FS_WHO_OWNER)) << 6 |
	       acl_rwx(special_has(a, n, FS_WHO_OWNER_GROUP)) << 3 |
	       acl_rwx(special_has(a, n, FS_WHO_EVERYONE));
}

static unsigned add(struct fs_ace *to, unsigned type, unsigned who, uint32_t mask)
{
	*to = (struct fs_ace){.type = (uint8_t)type, .who = (uint8_t)who, .mask = mask};
	return 1;
}

unsigned acl_chmod(const struct fs_ace *a, unsigned n, uint32_t mode, bool dir, struct fs_ace *to)
{
	unsigned u = mode >> 6 & 7, g = mode >> 3 & 7, o = mode & 7, k = 0;
	uint32_t lost = acl_rights(7 & ~g, dir) & RIGHTS;
	k += add(to + k, FS_ACE_ALLOW, FS_WHO_OWNER,
		 acl_rights(u, dir) | ACL_RIGHTS_ALL | ACL_RIGHTS_OWNER);
	if (u != 7)
		k += add(to + k, FS_ACE_DENY, FS_WHO_OWNER, acl_rights(7 & ~u, dir));
	for (unsigned i = 0; i < n; i++) {
		if (!is_effective(&a[i]) || is_special(&a[i]))
			continue;
		to[k] = a[i];
		if (a[i].type == FS_ACE_ALLOW)
			to[k].mask &= ~lost;
		k++;
	}
	k += add(to + k, FS_ACE_ALLOW, FS_WHO_OWNER_GROUP, acl_rights(g, dir) | ACL_RIGHTS_ALL);
	if (g != 7)
		k += add(to + k, FS_ACE_DENY, FS_WHO_OWNER_GROUP, acl_rights(7 & ~g, dir));
	k += add(to + k, FS_ACE_ALLOW, FS_WHO_EVERYONE, acl_rights(o, dir) | ACL_RIGHTS_ALL);
	for (unsigned i = 0; i < n; i++) { /* what is passed on is passed on as before */
		if (!(a[i].flags & FS_ACE_INHERIT) || (is_effective(&a[i]) && !is_special(&a[i])))
			continue;
		to[k] = a[i];
		to[k++].flags |= FS_ACE_INHERIT_ONLY;
	}
	return k;
}

bool acl_is_mode(const struct fs_ace *a, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (!is_special(&a[i]) || a[i].flags & FS_ACE_INHERIT)
			return false;
	return true;
}

unsigned acl_inherit(const struct fs_ace *a, unsigned n, bool dir, struct fs_ace *to)
{
	unsigned k = 0;
	for (unsigned i = 0; i < n; i++) {
		unsigned f = a[i].flags;
		bool here = f & (dir ? FS_ACE_DIR_INHERIT : FS_ACE_FILE_INHERIT);
		bool on = dir && !(f & FS_ACE_NO_PROPAGATE) && f & FS_ACE_INHERIT;
		if (!here && !on)
			continue;
		to[k] = a[i];
		to[k].flags = on ? f & FS_ACE_INHERIT : 0;
		if (!here)
			to[k].flags |= FS_ACE_INHERIT_ONLY;
		k++;
	}
	return k;
}

bool acl_sound(const struct fs_ace *a, unsigned n, bool dir)
{
	if (n > FS_ACL_ROOM)
		return false;
	for (unsigned i = 0; i < n; i++) {
		unsigned f = a[i].flags;
		if (a[i].type > FS_ACE_DENY || a[i].who > FS_WHO_EVERYONE || f & ~FS_ACE_FLAGS ||
		    a[i].mask & ~FS_ACE_MASK || (is_special(&a[i]) && a[i].id))
			return false;
		if (f && !dir) /* nothing is below it */
			return false;
		if (f & (FS_ACE_INHERIT_ONLY | FS_ACE_NO_PROPAGATE) && !(f & FS_ACE_INHERIT))
			return false;
	}
	return true;
}

/* ---- on the volume ---- */

unsigned acl_encode(const struct fs_ace *a, unsigned n, uint8_t *to)
{
	le32_put(to, ACL_VERSION);
	for (unsigned i = 0; i < n; i++) {
		uint8_t *p = to + ACL_HEAD + i * ACL_ENTRY;
		p[0] = a[i].type;
		p[1] = a[i].who;
		le16_put(p + 2, a[i].flags);
		le32_put(p + 4, a[i].mask);
		le32_put(p + 8, a[i].id);
	}
	return ACL_HEAD + n * ACL_ENTRY;
}

int acl_decode(const uint8_t *p, uint32_t len, bool dir, struct fs_ace *to, unsigned *ret_n)
{
	if (len < ACL_HEAD || len > ACL_BYTES || (len - ACL_HEAD) % ACL_ENTRY ||
	    le32_get(p) != ACL_VERSION)
		return -ERR_CORRUPT;
	unsigned n = (len - ACL_HEAD) / ACL_ENTRY;
	for (unsigned i = 0; i < n; i++) {
		const uint8_t *e = p + ACL_HEAD + i * ACL_ENTRY;
		to[i] = (struct fs_ace){.type = e[0],
					.who = e[1],
					.flags = le16_get(e + 2),
					.mask = le32_get(e + 4),
					.id = le32_get(e + 8)};
	}
	*ret_n = n;
	return acl_sound(to, n, dir) ? 0 : -ERR_CORRUPT;
}
