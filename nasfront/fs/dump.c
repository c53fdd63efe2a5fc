/*
 * A debug print of what lies on the volume, for who must understand damage: superblock, journal,
 * groups, inodes with their trees, single blocks.
 *
 * It only reads. When the file system can be mounted, its journal counts as it would at a mount (in
 * memory); else every block is shown as it lies on the device, which is said first. Nothing read is
 * trusted before block_verify(): what does not hold is named and not followed, a tree's levels go
 * down by one, and every block followed costs a line, so the bound on lines bounds all work,
 * however the pointers run.
 */
#include "nasfront/fs/dump.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define LINE	(DUMP_NAME_ROOM + 512)
#define HEX_ROW 32

/* ---- lines ---- */

static void say_va(struct dumper *d, unsigned depth, const char *fmt, va_list ap)
{
	char line[LINE];
	if (d->full)
		return;
	if (!d->lines) {
		d->full = true;
		d->say(d->arg, "... there is more: ask for more lines, or for less");
		return;
	}
	d->lines--;
	int n = snprintf(line, sizeof(line), "%*s", (int)(2 * depth), "");
	vsnprintf(line + n, sizeof(line) - (size_t)n, fmt, ap);
	d->say(d->arg, line);
}

void dump_say(struct dumper *d, unsigned depth, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	say_va(d, depth, fmt, ap);
	va_end(ap);
}

void dump_bad(struct dumper *d, unsigned depth, const char *fmt, ...)
{
	va_list ap;
	d->damaged = true;
	va_start(ap, fmt);
	say_va(d, depth, fmt, ap);
	va_end(ap);
}

const char *dump_text(char to[DUMP_NAME_ROOM], const char *bytes, unsigned len)
{
	char *p = to;
	for (unsigned i = 0; i < MIN(len, (unsigned)FS_NAME_MAX); i++) {
		unsigned char c = (unsigned char)bytes[i];
		if (c >= ' ' && c < 127 && c != '\\' && c != '"')
			*p++ = (char)c;
		else
			p += sprintf(p, "\\x%02x", c);
	}
	*p = '\0';
	return to;
}

const char *dump_type(unsigned type)
{
	static const char *const names[BT_LAST] = {
	    [BT_SUPER] = "superblock",	   [BT_SUMMARY] = "summary",
	    [BT_JHEAD] = "journal header", [BT_BITMAP] = "block bitmap",
	    [BT_INODE_MAP] = "inode map",  [BT_INODE_FREE] = "map of free inodes",
	    [BT_INODES] = "inodes",	   [BT_EXTENTS] = "extents",
	    [BT_DIR] = "directory",	   [BT_SYMLINK] = "symbolic link",
	    [BT_ORPHANS] = "orphans",	   [BT_QUOTAS] = "quotas",
	    [BT_XATTRS] = "attributes",	   [BT_SHARES] = "shares",
	    [BT_MEMOS] = "memos",
	};
	return type < BT_LAST && names[type] ? names[type] : "unknown type";
}

/* ---- blocks ---- */

const char *dump_fetch(struct dumper *d, uint64_t block, unsigned type, uint8_t *to)
{
	const struct buf *b = d->fs ? meta_find(d->fs, block) : NULL;
	const uint8_t *uuid = d->shape ? d->shape->uuid : NULL;
	memset(to, 0, BS);
	if (block >= d->dev->size / BS)
		return "lies behind the end of the device";
	if (b && !b->reading) {
		memcpy(to, b->data, BS);
		return block_verify(uuid, to, block, type);
	}
	int rc = bdev_read(d->dev, d->raw, BS, block * BS);
	const char *why = rc ? "cannot be read" : block_verify(uuid, d->raw, block, type);
	if (!rc)
		memcpy(to, d->raw, BS);
	for (unsigned i = 0; why && i < 16; i++) {
		rc = bdev_read_copy(d->dev, d->raw, BS, block * BS, i);
		if (rc == -ENOENT || rc == -EOPNOTSUPP)
			break;
		if (rc || block_verify(uuid, d->raw, block, type))
			continue;
		memcpy(to, d->raw, BS);
		dump_bad(d, 0, "block %" PRIu64 " %s: copy %u holds", block, why, i);
		return NULL;
	}
	return why;
}

static bool is_zero(const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i])
			return false;
	return true;
}

static void hex_dump(struct dumper *d, const uint8_t *bytes)
{
	for (unsigned at = 0; at < BS; at += HEX_ROW) {
		char row[3 * HEX_ROW + 1];
		if (is_zero(bytes + at, HEX_ROW))
			continue;
		for (unsigned i = 0; i < HEX_ROW; i++)
			sprintf(row + 3 * i, " %02x", bytes[at + i]);
		dump_say(d, 1, "+%-4u%s", at, row);
	}
}

/* Runs of set bits. */
static void bits_dump(struct dumper *d, const uint8_t *bytes)
{
	for (unsigned i = 0, end; i < AG_BLOCKS && !d->full; i = end) {
		bool set = bytes[H_SIZE + i / 8] >> (i % 8) & 1;
		for (end = i + 1; end < AG_BLOCKS; end++)
			if ((bytes[H_SIZE + end / 8] >> (end % 8) & 1) != set)
				break;
		if (set)
			dump_say(d, 1, "set %u +%u", i, end - i);
	}
}

static void block_dump(struct dumper *d, uint64_t block)
{
	uint8_t bytes[BS];
	const char *why = dump_fetch(d, block, 0, bytes);
	unsigned type = le16_get(bytes + H_TYPE);
	if (le32_get(bytes) != META_MAGIC) {
		bool log = le32_get(bytes) == JR_MAGIC;
		dump_say(d, 0, "block %" PRIu64 ": %s", block,
			 log ? "begins like a journal record" : why);
		hex_dump(d, bytes);
		return;
	}
	dump_say(d, 0,
		 "block %" PRIu64 ": %s, owner %" PRIu64 ", sequence %" PRIu64
		 ", level %u, count %u, heap %u, garbage %u",
		 le64_get(bytes + H_BLOCK), dump_type(type), le64_get(bytes + H_OWNER),
		 le64_get(bytes + H_SEQ), le16_get(bytes + H_LEVEL), le16_get(bytes + H_COUNT),
		 le16_get(bytes + H_HEAP), le16_get(bytes + H_GARBAGE));
	if (why)
		dump_bad(d, 0, "block %" PRIu64 " %s", block, why);
	if (!why && type == BT_MEMOS)
		dump_memos(d, 1, bytes);
	else if (!why && type >= BT_EXTENTS && type <= BT_LAST_NODE)
		dump_node(d, 0, block, bytes, false);
	else if (!why && type == BT_INODES)
		dump_inode_block(d, block, bytes, false);
	else if (!why && type >= BT_BITMAP && type <= BT_INODE_FREE)
		bits_dump(d, bytes);
	else
		hex_dump(d, bytes);
}

/* ---- superblock ---- */

static void super_fields(struct dumper *d, const uint8_t *p)
{
	char text[DUMP_NAME_ROOM], uuid[33];
	for (unsigned i = 0; i < 16; i++)
		sprintf(uuid + 2 * i, "%02x", p[H_UUID + i]);
	dump_say(d, 1, "format %u, %" PRIu64 " blocks, label \"%s\"", le32_get(p + SB_VERSION),
		 le64_get(p + SB_BLOCKS),
		 dump_text(text, (const char *)p + SB_LABEL,
			   (unsigned)strnlen((const char *)p + SB_LABEL, 64)));
	dump_say(d, 1, "uuid %s, made at %" PRIu64 " s", uuid, le64_get(p + SB_BIRTH));
	dump_say(d, 1, "summary at %" PRIu64 " +%" PRIu64 ", journal at %" PRIu64 " +%" PRIu64,
		 le64_get(p + SB_SUMMARY_START), le64_get(p + SB_SUMMARY_BLOCKS),
		 le64_get(p + SB_JOURNAL_START), le64_get(p + SB_JOURNAL_BLOCKS));
	dump_say(d, 1, "%" PRIu64 " groups from %" PRIu64 ", root inodes in block %" PRIu64,
		 le64_get(p + SB_AG_COUNT), le64_get(p + SB_AG_START), le64_get(p + SB_ROOT_BLOCK));
}

static void super_dump(struct dumper *d)
{
	uint64_t n = d->dev->size / BS;
	const uint64_t at[] = {0, SB_COPY_BLOCK, (d->shape ? d->shape->blocks : n) - 1};
	uint8_t bytes[BS], last[BS] = {0};
	for (unsigned i = 0; i < ARRAY_LEN(at); i++) {
		const char *why = dump_fetch(d, at[i], BT_SUPER, bytes);
		if (!why && !super_sound(bytes, n))
			why = "makes no sense";
		if (why)
			dump_bad(d, 0, "superblock in %" PRIu64 ": %s", at[i], why);
		else
			dump_say(d, 0, "superblock in %" PRIu64 ": holds", at[i]);
		/* one like the one before is not told again */
		if (le32_get(bytes) == META_MAGIC && memcmp(bytes + H_SIZE, last, BS - H_SIZE)) {
			memcpy(last, bytes + H_SIZE, BS - H_SIZE);
			super_fields(d, bytes);
		}
	}
}

/* ---- groups ---- */

static void map_dump(struct dumper *d, uint64_t ag, unsigned which, const char *what, bool set)
{
	uint8_t bytes[BS];
	uint64_t block = ag_first(d->shape, ag) + which;
	const char *why = dump_fetch(d, block, BT_BITMAP + which, bytes);
	unsigned n = 0;
	if (why) {
		dump_bad(d, 1, "%s in %" PRIu64 ": %s", dump_type(BT_BITMAP + which), block, why);
		return;
	}
	for (unsigned i = 0; i < ag_size(d->shape, ag); i++)
		n += (bytes[H_SIZE + i / 8] >> (i % 8) & 1) == set;
	dump_say(d, 1, "%s in %" PRIu64 ": %u %s", dump_type(BT_BITMAP + which), block, n, what);
}

static void groups_dump(struct dumper *d)
{
	uint8_t sum[BS];
	const char *why = NULL;
	for (uint64_t ag = 0; ag < d->shape->ag_count && !d->full; ag++) {
		uint64_t block = d->shape->summary_start + ag / SUM_PER_BLOCK;
		const uint8_t *s = sum + H_SIZE + ag % SUM_PER_BLOCK * SUM_SIZE;
		if (ag % SUM_PER_BLOCK == 0)
			why = dump_fetch(d, block, BT_SUMMARY, sum);
		if (why && ag % SUM_PER_BLOCK == 0)
			dump_bad(d, 0, "summary in %" PRIu64 ": %s", block, why);
		if (why)
			dump_say(d, 0, "group %" PRIu64 " at %" PRIu64 " +%u", ag,
				 ag_first(d->shape, ag), ag_size(d->shape, ag));
		else
			dump_say(d, 0,
				 "group %" PRIu64 " at %" PRIu64
				 " +%u: summary: %u blocks free, %u inodes, %u free slots",
				 ag, ag_first(d->shape, ag), ag_size(d->shape, ag),
				 le32_get(s + SUM_FREE), le32_get(s + SUM_INODES),
				 le32_get(s + SUM_FREE_SLOTS));
		map_dump(d, ag, AG_BITMAP, "free", false);
		map_dump(d, ag, AG_INODE_MAP, "inode blocks", true);
		map_dump(d, ag, AG_INODE_FREE, "with free slots", true);
	}
}

/* ---- the call ---- */

/* Without a mount: where things lie, from the superblock alone. */
static int shape_bare(struct dumper *d, struct env *env)
{
	uint8_t sb[BS];
	if (super_read(d->dev, sb, true))
		return 0;
	d->bare = calloc(1, sizeof(*d->bare));
	if (!d->bare)
		return -ENOMEM;
	d->bare->env = env;
	d->bare->dev = d->dev;
	d->bare->read_only = d->bare->quiet = true;
	super_take(d->bare, sb);
	d->shape = d->bare;
	return 0;
}

static int open_any(struct dumper *d, struct env *env)
{
	const struct fs_opts o = {.read_only = true, .quiet = true};
	int rc = mount_raw(&d->fs, env, d->dev, &o, false);
	if (!rc) {
		d->fs->quiet = true;
		d->shape = d->fs;
		return 0;
	}
	d->fs = NULL;
	if (rc == -ENOMEM)
		return rc;
	dump_bad(d, 0, "it cannot be mounted (%s): blocks are shown as they lie on the device",
		 err_text(rc));
	return shape_bare(d, env);
}

static void run(struct dumper *d, const struct fs_dump_opts *o)
{
	if (o->what & FS_DUMP_SUPER)
		super_dump(d);
	if (o->what & FS_DUMP_BLOCK)
		block_dump(d, o->block);
	if (!(o->what & ~(FS_DUMP_SUPER | FS_DUMP_BLOCK)))
		return;
	if (!d->shape) {
		dump_bad(d, 0, "no superblock holds: only single blocks can be shown");
		return;
	}
	if (o->what & FS_DUMP_JOURNAL)
		dump_journal(d);
	if (o->what & FS_DUMP_GROUPS)
		groups_dump(d);
	if (o->what & FS_DUMP_INODE)
		dump_inode(d, o->inode);
	if (o->what & (FS_DUMP_INODES | FS_DUMP_TREES))
		dump_inodes(d, o->what & FS_DUMP_TREES);
}

int fs_dump(struct env *env, struct bdev *dev, const struct fs_dump_opts *o,
	    void (*say)(void *arg, const char *line), void *arg)
{
	struct dumper d = {.dev = dev, .say = say, .arg = arg};
	d.lines = o->lines ? o->lines : FS_DUMP_LINES;
	d.nodes = calloc(TREE_MAX_LEVEL + 1, BS);
	int rc = !d.nodes || posix_memalign((void **)&d.raw, BS, BS) ? -ENOMEM : 0;
	if (!rc && dev->size < BS)
		rc = -ERR_CORRUPT;
	if (!rc)
		rc = open_any(&d, env);
	if (!rc)
		run(&d, o);
	if (d.fs)
		fs_unmount(d.fs);
	free(d.bare);
	free(d.nodes);
	free(d.raw);
	return rc ? rc : d.damaged ? -ERR_CORRUPT : 0;
}

static bool number(const char *s, uint64_t *ret)
{
	char *end;
	if (*s < '0' || *s > '9')
		return false;
	errno = 0;
	*ret = strtoull(s, &end, 10);
	return !errno && !*end;
}

int fs_dump_parse(const char *word, struct fs_dump_opts *ret)
{
	static const struct {
		const char *word;
		unsigned what;
	} words[] = {
	    {"super", FS_DUMP_SUPER},
	    {"journal", FS_DUMP_JOURNAL},
	    {"groups", FS_DUMP_GROUPS},
	    {"inodes", FS_DUMP_INODES},
	    {"trees", FS_DUMP_TREES},
	    {"all", FS_DUMP_SUPER | FS_DUMP_JOURNAL | FS_DUMP_GROUPS | FS_DUMP_TREES},
	};
	for (unsigned i = 0; i < ARRAY_LEN(words); i++)
		if (strcmp(word, words[i].word) == 0) {
			ret->what = words[i].what;
			return 0;
		}
	if (strncmp(word, "inode=", 6) == 0 && number(word + 6, &ret->inode)) {
		ret->what = FS_DUMP_INODE;
		return 0;
	}
	if (strncmp(word, "block=", 6) == 0 && number(word + 6, &ret->block)) {
		ret->what = FS_DUMP_BLOCK;
		return 0;
	}
	return -EINVAL;
}
