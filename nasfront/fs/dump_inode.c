/* A dump's view of inodes and what hangs from them: extents, entries, records, attributes, lists.
 */
#include "nasfront/fs/dump.h"
#include "nasfront/fs/xattr.h"
#include "runtime/check.h"
#include <inttypes.h>
#include <stdio.h>

static const char *type_name(unsigned type)
{
	static const char *const names[16] = {
	    [FS_REG] = "file",		[FS_DIR] = "directory",
	    [FS_BLK] = "block device",	[FS_CHR] = "character device",
	    [FS_LNK] = "symbolic link", [FS_SOCK] = "socket",
	    [FS_FIFO] = "fifo",		[ORPHAN_TYPE] = "orphans",
	    [QUOTA_TYPE] = "quotas",	[SHARE_TYPE] = "shares",
	    [MEMO_TYPE] = "memos",
	};
	return type < 16 && names[type] ? names[type] : "of unknown type";
}

/* ---- access control lists ---- */

static void acl_dump(struct dumper *d, unsigned depth, const uint8_t *bytes, uint32_t len, bool dir)
{
	static const char *const whos[] = {"user", "group", "owner", "owner's group", "everyone"};
	struct fs_ace a[FS_ACL_ROOM];
	unsigned n;
	if (acl_decode(bytes, len, dir, a, &n)) {
		dump_bad(d, depth, "access control list makes no sense");
		return;
	}
	for (unsigned i = 0; i < n && !d->full; i++)
		dump_say(d, depth, "%s %s %" PRIu32 ", flags %x, mask %06x",
			 a[i].type == FS_ACE_ALLOW ? "allow" : "deny", whos[a[i].who], a[i].id,
			 a[i].flags, a[i].mask);
}

/* ---- attributes ---- */

static bool is_acl(const struct xattr *x)
{
	return x->space == X_SYSTEM && x->namelen == 3 && memcmp(x->name, "acl", 3) == 0;
}

static void xattr_line(struct dumper *d, unsigned depth, const struct xattr *x)
{
	char name[DUMP_NAME_ROOM];
	dump_say(d, depth, "attribute %s \"%s\", %u bytes, cookie %" PRIu64,
		 x->space == X_SYSTEM ? "of the system" : "of users",
		 dump_text(name, x->name, x->namelen), x->len, x->cookie);
}

static void xattrs_inline(struct dumper *d, const uint8_t *p)
{
	unsigned left = le32_get(p + I_XINLINE);
	const uint8_t *at = p + I_AREA + I_AREA_SIZE - left;
	struct xattr x;
	while (left && !d->full) {
		if (xattr_inline_parse(at, left, &x)) {
			dump_bad(d, 1, "attributes in the inode make no sense");
			return;
		}
		xattr_line(d, 1, &x);
		if (is_acl(&x))
			acl_dump(d, 2, x.value, x.len, p[I_TYPE] == FS_DIR);
		at += X_INLINE + x.namelen + x.len;
		left -= X_INLINE + x.namelen + x.len;
	}
}

/* Pieces of the list's attribute are put together as they pass. */
static void acl_gather(struct dumper *d, unsigned depth, uint64_t key, const uint8_t *v,
		       uint32_t len)
{
	if (key != d->acl.next || len > d->acl.want - d->acl.have)
		return;
	if (len)
		memcpy(d->acl.bytes + d->acl.have, v, len);
	d->acl.have += len;
	d->acl.next = key + 1;
	if (d->acl.have < d->acl.want)
		return;
	acl_dump(d, depth, d->acl.bytes, d->acl.want, d->acl.dir);
	d->acl.want = d->acl.have = 0;
}

static void piece_dump(struct dumper *d, unsigned depth, uint64_t key, const uint8_t *v,
		       unsigned len)
{
	struct xattr x;
	if (key & X_PIECES) {
		dump_say(d, depth + 1, "piece %u of cookie %" PRIu64 ", %u bytes",
			 (unsigned)(key & X_PIECES), key >> X_SHIFT, len);
		if (d->acl.want)
			acl_gather(d, depth + 1, key, v, len);
		return;
	}
	d->acl.want = d->acl.have = 0;
	if (xattr_head_parse(key, v, len, &x)) {
		dump_bad(d, depth, "attribute of cookie %" PRIu64 " makes no sense",
			 key >> X_SHIFT);
		return;
	}
	xattr_line(d, depth, &x);
	if (!is_acl(&x))
		return;
	if (x.len > sizeof(d->acl.bytes)) {
		dump_bad(d, depth + 1, "access control list is too long");
		return;
	}
	d->acl.want = x.len;
	d->acl.next = key;
	acl_gather(d, depth + 1, key, x.value, x.here);
}

/* ---- entries of leaves ---- */

static void extent_line(struct dumper *d, unsigned depth, uint64_t key, const uint8_t *v)
{
	uint64_t at = le64_get(v);
	uint32_t len = le32_get(v + 8), flags = le32_get(v + 12);
	if ((d->shape && !extent_is_data(d->shape, at, len)) || flags & ~EXT_FLAGS ||
	    flags == EXT_FLAGS)
		dump_bad(d, depth,
			 "file block %" PRIu64 " +%u at %" PRIu64
			 ", flags %x: no blocks for data, or of unknown kind",
			 key, len, at, flags);
	else
		dump_say(d, depth, "file block %" PRIu64 " +%u at %" PRIu64 "%s", key, len, at,
			 flags & EXT_UNWRITTEN ? ", unwritten"
			 : flags & EXT_SHARED  ? ", shared"
					       : "");
}

static void name_line(struct dumper *d, unsigned depth, uint64_t key, const uint8_t *v,
		      unsigned len)
{
	struct dirent_ref r;
	char name[DUMP_NAME_ROOM];
	if (dirent_parse(v, len, &r))
		dump_bad(d, depth, "entry %" PRIu64 " makes no sense", key);
	else
		dump_say(d, depth, "\"%s\": inode %" PRIu64 ", %s, cookie %" PRIu64,
			 dump_text(name, r.name, r.namelen), r.ino, type_name(r.type), key);
}

static void quota_line(struct dumper *d, unsigned depth, uint64_t key, const uint8_t *v,
		       unsigned len)
{
	char path[DUMP_NAME_ROOM];
	dump_say(d, depth,
		 "kind %u, id %u: used %" PRIu64 " blocks, %" PRIu64 " inodes; until %" PRIu64
		 ", %" PRIu64 "; soft %" PRIu64 ", %" PRIu64 "; hard %" PRIu64 ", %" PRIu64
		 "; \"%s\"",
		 (unsigned)(key >> 32), (unsigned)key, le64_get(v + Q_USED),
		 le64_get(v + Q_USED + 8), le64_get(v + Q_UNTIL), le64_get(v + Q_UNTIL + 8),
		 le64_get(v + Q_SOFT), le64_get(v + Q_SOFT + 8), le64_get(v + Q_HARD),
		 le64_get(v + Q_HARD + 8), dump_text(path, (const char *)v + Q_SIZE, len - Q_SIZE));
}

static void entry_dump(struct dumper *d, unsigned depth, unsigned type, uint64_t key,
		       const uint8_t *v, unsigned len)
{
	char text[DUMP_NAME_ROOM];
	switch (type) { /* lengths went through tree_node_verify() */
	case BT_EXTENTS:
		extent_line(d, depth, key, v);
		break;
	case BT_DIR:
		name_line(d, depth, key, v, len);
		break;
	case BT_SYMLINK:
		dump_say(d, depth, "target, part %" PRIu64 ": \"%s\"%s", key,
			 dump_text(text, (const char *)v, len), len > FS_NAME_MAX ? "..." : "");
		break;
	case BT_ORPHANS:
		dump_say(d, depth, "inode %" PRIu64 " is to be %s", key,
			 v[0] == ORPHAN_CUT ? "cut to its size" : "freed");
		break;
	case BT_SHARES:
		dump_say(d, depth, "blocks %" PRIu64 " +%u have %u owners", key, le32_get(v),
			 le32_get(v + 4));
		break;
	case BT_QUOTAS:
		quota_line(d, depth, key, v, len);
		break;
	default:
		piece_dump(d, depth, key, v, len);
	}
}

/* ---- trees ---- */

static void tree_dump(struct dumper *d, unsigned depth, uint64_t block, unsigned level,
		      unsigned type, uint64_t owner)
{
	uint8_t *bytes = d->nodes[level];
	const char *why = dump_fetch(d, block, type, bytes);
	if (!why && le64_get(bytes + H_OWNER) != owner)
		why = "belongs to another owner";
	if (!why && node_level(bytes) != level)
		why = "is of another level";
	if (why)
		dump_bad(d, depth, "node %" PRIu64 " of level %u: %s", block, level, why);
	else
		dump_node(d, depth, block, bytes, true);
}

void dump_node(struct dumper *d, unsigned depth, uint64_t block, const uint8_t *bytes, bool down)
{
	unsigned n = node_count(bytes), level = node_level(bytes), type = le16_get(bytes + H_TYPE);
	dump_say(d, depth, "node %" PRIu64 " of level %u, %s: %u", block, level, dump_type(type),
		 n);
	for (unsigned i = 0; i < n && !d->full; i++) {
		unsigned len;
		if (!level) {
			const uint8_t *v = leaf_value((uint8_t *)bytes, i, &len);
			entry_dump(d, depth + 1, type, leaf_key(bytes, i), v, len);
		} else if (down) {
			tree_dump(d, depth + 1, inner_child(bytes, i), level - 1, type,
				  le64_get(bytes + H_OWNER));
		} else {
			dump_say(d, depth + 1, "from key %" PRIu64 ": block %" PRIu64,
				 inner_key(bytes, i), inner_child(bytes, i));
		}
	}
}

/* ---- memos ---- */

void dump_memos(struct dumper *d, unsigned depth, const uint8_t *bytes)
{
	static const char *const kinds[MEMO_KINDS] = {
	    [MEMO_CREATE] = "create",
	    [MEMO_MKDIR] = "make directory",
	    [MEMO_SYMLINK] = "make symbolic link",
	    [MEMO_MKNOD] = "make node",
	    [MEMO_LINK] = "link",
	    [MEMO_REMOVE] = "remove",
	    [MEMO_RMDIR] = "remove directory",
	    [MEMO_RENAME] = "rename",
	    [MEMO_SETATTR] = "set attributes",
	    [MEMO_XATTR_SET] = "set extended attribute",
	    [MEMO_XATTR_REMOVE] = "remove extended attribute",
	    [MEMO_ACL_SET] = "set access control list",
	    [MEMO_CLONE] = "clone",
	    [MEMO_ALLOCATE] = "allocate",
	    [MEMO_DEALLOCATE] = "deallocate",
	};
	for (unsigned i = 0; i < ME_PER_BLOCK && !d->full; i++) {
		const uint8_t *p = bytes + H_SIZE + i * ME_SIZE;
		char key[65];
		if (!le64_get(p + ME_SEQ))
			break;
		for (unsigned k = 0; k < 32; k++)
			sprintf(key + 2 * k, "%02x", p[ME_KEY + k]);
		dump_say(d, depth, "memo %" PRIu64 ": %s, inode %" PRIu64 ", generation %u, key %s",
			 le64_get(p + ME_SEQ), kinds[le32_get(p + ME_KIND)], le64_get(p + ME_INO),
			 le32_get(p + ME_GENERATION), key);
	}
}

static void memo_blocks(struct dumper *d, uint64_t start, uint64_t len)
{
	uint8_t bytes[BS];
	for (uint64_t i = 0; i < len && !d->full; i++) {
		const char *why = dump_fetch(d, start + i, BT_MEMOS, bytes);
		if (why)
			dump_bad(d, 2, "block %" PRIu64 " of memos: %s", start + i, why);
		else
			dump_memos(d, 2, bytes);
	}
}

/* ---- inodes ---- */

static void inode_lines(struct dumper *d, uint64_t ino, const uint8_t *p)
{
	dump_say(d, 0,
		 "inode %" PRIu64 ": %s, generation %u, mode %04o, links %u, owner %u:%u, tree %u, "
		 "size %" PRIu64 ", blocks %" PRIu64 ", change %" PRIu64 "%s%s%s%s",
		 ino, type_name(p[I_TYPE]), le32_get(p + I_GENERATION), le32_get(p + I_MODE),
		 le32_get(p + I_NLINK), le32_get(p + I_UID), le32_get(p + I_GID),
		 le32_get(p + I_TREE), le64_get(p + I_FILESIZE), le64_get(p + I_BLOCKS),
		 le64_get(p + I_CHANGE), p[I_FLAGS] & IF_ACL ? ", has a list" : "",
		 p[I_FLAGS] & IF_CUT ? ", being cut" : "",
		 p[I_FLAGS] & IF_STANDIN ? ", stands in for another" : "",
		 p[I_FLAGS] & IF_VERIFIER ? ", made exclusively" : "");
	dump_say(d, 1,
		 "atime %" PRId64 ".%09u, mtime %" PRId64 ".%09u, ctime %" PRId64
		 ".%09u, btime %" PRId64 ".%09u",
		 (int64_t)le64_get(p + I_ATIME), le32_get(p + I_ATIME_NS),
		 (int64_t)le64_get(p + I_MTIME), le32_get(p + I_MTIME_NS),
		 (int64_t)le64_get(p + I_CTIME), le32_get(p + I_CTIME_NS),
		 (int64_t)le64_get(p + I_BTIME), le32_get(p + I_BTIME_NS));
	if (p[I_TYPE] == FS_DIR)
		dump_say(d, 1, "parent %" PRIu64 ", %" PRIu64 " entries", le64_get(p + I_PARENT),
			 le64_get(p + I_ENTRIES));
	if (p[I_TYPE] == FS_BLK || p[I_TYPE] == FS_CHR)
		dump_say(d, 1, "device %u:%u", le32_get(p + I_RMAJOR), le32_get(p + I_RMINOR));
}

static void inode_trees(struct dumper *d, uint64_t ino, const uint8_t *p)
{
	char text[DUMP_NAME_ROOM];
	unsigned type = tree_type(p[I_TYPE]), n = le32_get(p + I_INLINE);
	bool memos = p[I_TYPE] == MEMO_TYPE;
	for (unsigned i = 0; (p[I_TYPE] == FS_REG || memos) && i < n && !d->full; i++) {
		const uint8_t *e = p + I_AREA + i * EXT_INLINE_SIZE;
		extent_line(d, 1, le64_get(e), e + 8);
		if (memos)
			memo_blocks(d, le64_get(e + 8), le32_get(e + 16));
	}
	if (p[I_TYPE] == FS_LNK && n)
		dump_say(d, 1, "target \"%s\"%s", dump_text(text, (const char *)p + I_AREA, n),
			 n > FS_NAME_MAX ? "..." : "");
	if (le64_get(p + I_ROOT) && type)
		tree_dump(d, 1, le64_get(p + I_ROOT), le32_get(p + I_LEVEL), type,
			  inode_map_owner(p, ino));
	else if (le64_get(p + I_ROOT))
		dump_bad(d, 1, "has a tree in %" PRIu64 " though it is no kind that has one",
			 le64_get(p + I_ROOT));
	d->acl.want = d->acl.have = 0;
	d->acl.dir = p[I_TYPE] == FS_DIR;
	xattrs_inline(d, p);
	if (le64_get(p + I_XROOT))
		tree_dump(d, 1, le64_get(p + I_XROOT), le32_get(p + I_XLEVEL), BT_XATTRS, ino);
}

void dump_inode_block(struct dumper *d, uint64_t block, const uint8_t *bytes, bool trees)
{
	for (unsigned i = 0; i < INODES_PER_BLOCK && !d->full; i++) {
		const uint8_t *p = bytes + H_SIZE + i * INODE_SIZE;
		uint64_t ino =
		    d->shape ? block_ino(d->shape, block, i) : block * INODES_PER_BLOCK + i;
		if (!p[I_TYPE])
			continue;
		inode_lines(d, ino, p);
		if (trees)
			inode_trees(d, ino, p);
	}
}

void dump_inode(struct dumper *d, uint64_t ino)
{
	uint64_t block = ino_block(d->shape, ino);
	uint8_t bytes[BS];
	const uint8_t *p = bytes + H_SIZE + ino % INODES_PER_BLOCK * INODE_SIZE;
	const char *why = dump_fetch(d, block, BT_INODES, bytes);
	if (why) {
		dump_bad(d, 0, "inode %" PRIu64 ": block %" PRIu64 " %s", ino, block, why);
		return;
	}
	inode_lines(d, ino, p);
	if (p[I_TYPE])
		inode_trees(d, ino, p);
}

/* The map of a group is gone: every block that says so is an inode block. */
static void group_search(struct dumper *d, uint64_t ag, bool trees)
{
	uint8_t bytes[BS];
	for (uint32_t i = AG_META; i < ag_size(d->shape, ag) && !d->full; i++) {
		uint64_t block = ag_first(d->shape, ag) + i;
		if (!dump_fetch(d, block, BT_INODES, bytes))
			dump_inode_block(d, block, bytes, trees);
	}
}

static void group_inodes(struct dumper *d, uint64_t ag, bool trees)
{
	uint64_t first = ag_first(d->shape, ag);
	uint8_t map[BS], bytes[BS];
	const char *why = dump_fetch(d, first + AG_INODE_MAP, BT_INODE_MAP, map);
	if (why) {
		dump_bad(d, 0,
			 "inode map in %" PRIu64 ": %s: all blocks of the group are looked at",
			 first + AG_INODE_MAP, why);
		group_search(d, ag, trees);
		return;
	}
	for (uint32_t i = AG_META; i < ag_size(d->shape, ag) && !d->full; i++) {
		if (!(map[H_SIZE + i / 8] >> (i % 8) & 1))
			continue;
		why = dump_fetch(d, first + i, BT_INODES, bytes);
		if (why)
			dump_bad(d, 0, "inode block %" PRIu64 ": %s", first + i, why);
		else
			dump_inode_block(d, first + i, bytes, trees);
	}
}

void dump_inodes(struct dumper *d, bool trees)
{
	for (uint64_t ag = 0; ag < d->shape->ag_count && !d->full; ag++)
		group_inodes(d, ag, trees);
}
