/* Sequences of operations of programs: see recorded.h. */
#include "tests/unit/fs/recorded.h"
#include "runtime/check.h"

#define KIB	 1024ull
#define NAMELESS "*" /* the file without a name that is open */

#define ON(k, d, n, ...)                                                                           \
	{                                                                                          \
		.kind = k, .dir = d, .name = n, __VA_ARGS__                                        \
	}
#define TO(k, d, n, d2, n2, ...)                                                                   \
	{                                                                                          \
		.kind = k, .dir = d, .name = n, .dir2 = d2, .name2 = n2, __VA_ARGS__               \
	}

const struct recorded recorded[] = {
    {"an editor saves",
     5,
     {ON(M_MKDIR, "", "home"), ON(M_CREATE, "home", "text"),
      ON(M_WRITE, "home", "text", .size = 9000)},
     {ON(M_CREATE, "home", ".swap"), ON(M_WRITE, "home", ".swap", .size = 12288, .commit = true),
      ON(M_CREATE, "home", "text~"), ON(M_WRITE, "home", "text~", .size = 10000, .commit = true),
      ON(M_CHMOD, "home", "text~"), ON(M_XATTR_SET, "home", "text~", .size = 40),
      TO(M_RENAME, "home", "text~", "home", "text"), ON(M_REMOVE, "home", ".swap")}},
    {"mail is delivered",
     6,
     {ON(M_MKDIR, "", "tmp"), ON(M_MKDIR, "", "new"), ON(M_MKDIR, "", "cur")},
     {ON(M_CREATE, "tmp", "m%d"), ON(M_WRITE, "tmp", "m%d", .size = 5000, .commit = true),
      TO(M_LINK, "tmp", "m%d", "new", "m%d"), ON(M_REMOVE, "tmp", "m%d"),
      TO(M_RENAME, "new", "m%d", "cur", "m%d:2,S")}},
    {"a database with a log",
     5,
     {ON(M_MKDIR, "", "db"), ON(M_CREATE, "db", "data"),
      ON(M_ALLOCATE, "db", "data", .size = 64 * KIB), ON(M_CREATE, "db", "log")},
     {ON(M_WRITE, "db", "log", .off = 0, .size = 8192, .commit = true),
      ON(M_WRITE, "db", "log", .off = 8192, .size = 512, .commit = true),
      ON(M_WRITE, "db", "log", .off = 8704, .size = 3000, .commit = true),
      ON(M_WRITE, "db", "data", .off = 16 * KIB, .size = 4096),
      ON(M_WRITE, "db", "data", .off = 40 * KIB, .size = 8192, .commit = true),
      ON(M_RESIZE, "db", "log", .size = 0), ON(M_CREATE, "db", "journal"),
      ON(M_WRITE, "db", "journal", .size = 4096),
      ON(M_WRITE, "db", "data", .off = 60 * KIB, .size = 12 * KIB, .commit = true),
      ON(M_REMOVE, "db", "journal")}},
    {"an archive is unpacked",
     5,
     {ON(M_MKDIR, "", "src")},
     {ON(M_MKDIR, "src", "d%d"), ON(M_CREATE, "d%d", "a"),
      ON(M_WRITE, "d%d", "a", .size = 20000, .commit = true), ON(M_CHOWN, "d%d", "a"),
      ON(M_CHMOD, "d%d", "a"), ON(M_TIMES, "d%d", "a"), ON(M_SYMLINK, "d%d", "link"),
      ON(M_MKNOD, "d%d", "dev"), ON(M_CREATE, "d%d", "b"), TO(M_LINK, "d%d", "a", "src", "hard%d"),
      ON(M_TIMES, "src", "d%d")}},
    {"a package is upgraded",
     5,
     {ON(M_MKDIR, "", "bin"), ON(M_CREATE, "bin", "prog"),
      ON(M_WRITE, "bin", "prog", .size = 30000)},
     {ON(M_CREATE, "bin", "prog.new"),
      ON(M_WRITE, "bin", "prog.new", .size = 35000, .commit = true), ON(M_CHOWN, "bin", "prog.new"),
      ON(M_CHMOD, "bin", "prog.new"), ON(M_XATTR_SET, "bin", "prog.new", .size = 60),
      ON(M_ACL, "bin", "prog.new"), TO(M_LINK, "bin", "prog", "bin", "prog.old"),
      TO(M_RENAME, "bin", "prog.new", "bin", "prog"), ON(M_REMOVE, "bin", "prog.old")}},
    {"a machine's image with snapshots",
     6,
     {ON(M_MKDIR, "", "vm"), ON(M_CREATE, "vm", "disk"),
      ON(M_WRITE, "vm", "disk", .size = 64 * KIB),
      ON(M_PUNCH, "vm", "disk", .off = 8 * KIB, .size = 12 * KIB)},
     {ON(M_CREATE, "vm", "snap%d"), TO(M_CLONE, "vm", "disk", "vm", "snap%d", .size = 64 * KIB),
      ON(M_WRITE, "vm", "disk", .off = 20 * KIB, .size = 9000, .commit = true),
      ON(M_PUNCH, "vm", "disk", .off = 32 * KIB, .size = 4096),
      TO(M_CLONE, "vm", "snap%d", "vm", "disk", .off = 48 * KIB, .size = 8 * KIB, .off2 = 4 * KIB),
      ON(M_ALLOCATE, "vm", "disk", .off = 60 * KIB, .size = 20 * KIB),
      ON(M_WRITE, "vm", "snap%d", .off = 1000, .size = 30000),
      ON(M_RESIZE, "vm", "disk", .size = 64 * KIB)}},
    {"a tree is built and removed",
     4,
     {ON(M_MKDIR, "", "build")},
     {ON(M_MKDIR, "build", "o%d"), ON(M_CREATE, "o%d", "1.o"),
      ON(M_WRITE, "o%d", "1.o", .size = 50000, .commit = true),
      ON(M_WRITE, "o%d", "1.o", .off = 70000, .size = 20000, .commit = true),
      ON(M_PUNCH, "o%d", "1.o", .off = 8192, .size = 4096),
      ON(M_PUNCH, "o%d", "1.o", .off = 20480, .size = 4096),
      ON(M_PUNCH, "o%d", "1.o", .off = 32768, .size = 4096),
      ON(M_XATTR_SET, "o%d", "1.o", .size = 60000), ON(M_CREATE, "o%d", "2.o"),
      ON(M_WRITE, "o%d", "2.o", .size = 4000),
      ON(M_REMOVE, "o%d", "1.o"), /* by and by: an orphan */
      ON(M_REMOVE, "o%d", "2.o"), ON(M_RMDIR, "build", "o%d")}},
    {"quotas are set up",
     5,
     {ON(M_MKDIR, "", "homes")},
     {ON(M_MKDIR, "homes", "u%d"), ON(M_TREE, "homes", "u%d"),
      ON(M_TREE_LIMIT, "homes", "u%d", .size = 77),
      ON(M_LIMIT, "", "limit", .off = 1000, .size = 2000), ON(M_GRACE, "", "grace", .size = 3600),
      ON(M_CREATE, "u%d", "f"), ON(M_WRITE, "u%d", "f", .size = 9000), ON(M_CHOWN, "u%d", "f"),
      TO(M_RENAME, "homes", "u%d", "homes", "user%d"),
      ON(M_TREE_LIMIT, "homes", "user%d", .size = 0), ON(M_REMOVE, "user%d", "f"),
      ON(M_RMDIR, "homes", "user%d")}},
    {"files go while they are open",
     6,
     {ON(M_MKDIR, "", "tmp"), ON(M_CREATE, "tmp", "conf")},
     {ON(M_CREATE, "tmp", "t%d"), ON(M_OPEN, "tmp", "t%d"),
      ON(M_WRITE, "tmp", "t%d", .size = 30000, .commit = true), ON(M_REMOVE, "tmp", "t%d"),
      ON(M_WRITE, NULL, NAMELESS, .off = 40 * KIB, .size = 9000, .commit = true),
      ON(M_PUNCH, NULL, NAMELESS, .off = 4096, .size = 8192),
      ON(M_RESIZE, NULL, NAMELESS, .size = 5000),
      ON(M_WRITE, NULL, NAMELESS, .off = 60 * KIB, .size = 20000), ON(M_OPEN, "tmp", "conf"),
      ON(M_CREATE, "tmp", "conf~"), ON(M_WRITE, "tmp", "conf~", .size = 6000, .commit = true),
      ON(M_CLOSE, NULL, NAMELESS), TO(M_RENAME, "tmp", "conf~", "tmp", "conf"),
      ON(M_CREATE, "tmp", "after%d"), ON(M_CLOSE, NULL, NAMELESS)}},
    {"attributes change",
     5,
     {ON(M_MKDIR, "", "x"), ON(M_CREATE, "x", "f"), ON(M_WRITE, "x", "f", .size = 4096)},
     {ON(M_XATTR_SET, "x", "f", .size = 10), ON(M_XATTR_SET, "x", "f", .size = 300),
      ON(M_ACL, "x", "f"), ON(M_XATTR_SET, "x", "f", .size = 65536), ON(M_ACL, "", "x"),
      ON(M_XATTR_SET, "x", "f", .size = 5), ON(M_CHMOD, "x", "f"), ON(M_XATTR_DEL, "x", "f"),
      ON(M_CHOWN, "", "x")}},
};
const unsigned recorded_count = ARRAY_LEN(recorded);

/* The node of that name in that directory; "": the worker's own. -1: there is none. */
static int node_of(const struct model *m, int dir, const char *name)
{
	for (int i = 0; i < M_NAMES; i++)
		if (m->names[i].used && (dir < 0 || m->names[i].dir == dir) &&
		    !strcmp(m->names[i].name, name))
			return m->names[i].node;
	return -1;
}

static int nameless(const struct model *m)
{
	for (int i = 0; i < M_NODES; i++)
		if (m->nodes[i].open && !m->nodes[i].nlink)
			return i;
	return -1;
}

static int dir_of(const struct model *m, const char *fmt, int round)
{
	char name[32];
	if (!fmt || !*fmt)
		return 0;
	snprintf(name, sizeof(name), fmt, round);
	int n = node_of(m, -1, name);
	ck_assert_int_ge(n, 0);
	return n;
}

static bool names_its_object(enum m_kind k)
{
	return k == M_CHMOD || k == M_CHOWN || k == M_TIMES || k == M_ACL || k == M_XATTR_SET ||
	       k == M_XATTR_DEL || k == M_TREE || k == M_TREE_LIMIT;
}

static bool play_step(struct worker *w, const struct step *s, int round)
{
	struct model *m = w->m;
	uint64_t serial = ++m->ops;
	struct m_op op = {.kind = s->kind,
			  .off = s->off,
			  .size = s->size,
			  .off2 = s->off2,
			  .fill = (uint8_t)(1 + (serial * 7 + w->crash->seed) % 200),
			  .mode = (uint32_t)(serial * 83 % 01000),
			  .uid = (uint32_t)serial % 6,
			  .gid = (uint32_t)serial % 3,
			  .stable = !s->commit,
			  .xattr = (int)(serial % 3),
			  .serial = m->limited * 1000000000ull + serial};
	op.dir = dir_of(m, s->dir, round);
	op.dir2 = s->name2 ? dir_of(m, s->dir2, round) : 0;
	snprintf(op.name, sizeof(op.name), s->name, round);
	snprintf(op.name2, sizeof(op.name2), s->name2 ? s->name2 : "-", round);
	if (!strcmp(s->name, NAMELESS))
		op.node = nameless(m);
	else if (m_is_data(op.kind) || op.kind == M_LINK || op.kind == M_OPEN)
		op.node = node_of(m, op.dir, op.name);
	if (op.kind == M_CLOSE)
		op.fid = m->nodes[op.node].fid;
	if (op.kind == M_CLONE) { /* of the first to the second */
		op.node2 = op.node;
		op.node = node_of(m, op.dir2, op.name2);
	}
	if (op.kind == M_LINK) { /* another name of the first */
		op.dir = op.dir2;
		strcpy(op.name, op.name2);
	}
	if (names_its_object(op.kind))
		op.dir = node_of(m, op.dir, op.name);
	if (op.kind == M_XATTR_DEL && !m->nodes[op.dir].xattrs[op.xattr].used)
		return true;
	ck_assert(op.node >= 0 && op.node2 >= 0 && op.dir >= 0);
	return crash_op(w, &op, s->commit);
}

void recorded_play(struct worker *w, const struct recorded *r)
{
	w->m->grace_kind = 1; /* it is alone */
	for (const struct step *s = r->once; s->name; s++)
		if (!play_step(w, s, 0))
			return;
	for (int i = 0; i < r->rounds; i++)
		for (const struct step *s = r->each; s->name; s++)
			if (!play_step(w, s, i))
				return;
}
