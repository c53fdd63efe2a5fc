/*
 * The debug print: it tells what is there, of sound and of damaged file systems; it writes nothing,
 * ends, and crashes on nothing.
 */
#include <inttypes.h>
#include <sys/wait.h>
#include <unistd.h>
#include "nasfront/fs/impl.h"
#include "runtime/crc32c.h"
#include "tests/unit/fs/fs_world.h"

#define DISK (32u << 20)
#define TEXT (4u << 20)

static struct world w;
static char *text; /* what the last dump said */
static size_t len;
static uint64_t lines;

static void keep(void *arg, const char *line)
{
	size_t n = strlen(line);
	ck_assert_ptr_null(strchr(line, '\n'));
	lines++;
	if (len + n + 2 < TEXT)
		len += (size_t)sprintf(text + len, "%s\n", line);
}

/* In a task. */
static int dump(const char *what, uint64_t most)
{
	struct fs_dump_opts o = {.lines = most};
	ck_assert_int_eq(fs_dump_parse(what, &o), 0);
	len = lines = 0;
	text[0] = '\0';
	int rc = fs_dump(sim_env(w.sim), w.dev, &o, keep, NULL);
	ck_assert_uint_le(lines, (most ? most : FS_DUMP_LINES) + 1);
	ck_assert(rc == 0 || rc == -ERR_CORRUPT);
	return rc;
}

static void says(const char *what)
{
	ck_assert_msg(strstr(text, what) != NULL, "`%s` is not in:\n%.3000s", what, text);
}

static void says_not(const char *what)
{
	ck_assert_msg(strstr(text, what) == NULL, "`%s` is in:\n%.3000s", what, text);
}

/* A directory and a file with trees, attributes in the inode and in a tree, lists, quotas. */
static struct fs_fid dir, file;

static void fill(void)
{
	static char value[3000];
	static const struct fs_ace aces[] = {
	    {.type = FS_ACE_ALLOW, .who = FS_WHO_USER, .id = 77, .mask = FS_ACE_READ},
	    {.type = FS_ACE_DENY, .who = FS_WHO_EVERYONE, .mask = FS_ACE_WRITE}};
	struct fs_attr a;
	char name[32];
	world_mkfs(&w);
	world_mount(&w);
	ck_assert_int_eq(make_dir(w.fs, &root_fid, "tree", &dir), 0);
	for (int i = 0; i < 600; i++) {
		snprintf(name, sizeof(name), "n%d", i);
		ck_assert_int_eq(make_file(w.fs, &dir, name, &file), 0);
	}
	ck_assert_int_eq(make_file(w.fs, &dir, "odd\n\"name\xff", &file), 0);
	for (uint64_t i = 0; i < 300; i++)
		ck_assert_int_eq(put(w.fs, &file, i * 8192, "x", 1, 0), 0);
	ck_assert_int_eq(fs_allocate(w.fs, NULL, &file, 3 << 20, 65536, NULL), 0);
	ck_assert_int_eq(fs_xattr_set(w.fs, NULL, &dir, "small", 5, "v", 1, 0, NULL), 0);
	ck_assert_int_eq(fs_acl_set(w.fs, NULL, &dir, aces, 2, NULL), 0);
	ck_assert_int_eq(fs_xattr_set(w.fs, NULL, &file, "long", 4, value, sizeof(value), 0, NULL),
			 0);
	ck_assert_int_eq(fs_acl_set(w.fs, NULL, &file, aces, 2, NULL), 0);
	struct fs_fid twin;
	ck_assert_int_eq(make_file(w.fs, &root_fid, "twin", &twin), 0);
	ck_assert_int_eq(fs_clone_range(w.fs, NULL, &file, 0, &twin, 0, 8192, NULL), 0);
	const struct fs_once once = {{0xab, 0xcd}};
	const struct fs_cred cred = {.once = &once};
	ck_assert_int_eq(fs_mkdir(w.fs, &cred, &root_fid, "once", 4, NULL, &a, NULL), 0);
	ck_assert_int_eq(fs_symlink(w.fs, NULL, &dir, "link", 4, "to there", 8, NULL, &a, NULL), 0);
}

static void fill_task(void *arg)
{
	fill();
	world_unmount(&w);
}

static void world_begin(void)
{
	text = malloc(TEXT);
	world_new(&w, 3, DISK);
}

static void world_end(void)
{
	world_free(&w);
	free(text);
}

static uint8_t *block_at(uint64_t block)
{
	return sim_disk_bytes(w.disk) + block * BS;
}

static void changed(uint64_t block, bool seal)
{
	if (seal)
		block_seal(block_at(block), 1);
	sim_disk_bytes_changed(w.disk, block * BS, BS);
}

/* The first block of a type, by its header. */
static uint64_t block_of(unsigned type, unsigned level, uint64_t owner)
{
	for (uint64_t b = 0; b < DISK / BS; b++) {
		const uint8_t *d = block_at(b);
		if (le32_get(d) == META_MAGIC && le64_get(d + H_BLOCK) == b &&
		    le16_get(d + H_TYPE) == type && le16_get(d + H_LEVEL) == level &&
		    le64_get(d + H_OWNER) == owner)
			return b;
	}
	ck_abort_msg("no block of type %u", type);
}

/* ---- sound ones ---- */

static void sound_task(void *arg)
{
	char want[96];
	fill_task(NULL);
	ck_assert_int_eq(dump("super", 0), 0);
	says("superblock in 0: holds");
	says("superblock in 8191: holds");
	says("label \"test\"");
	ck_assert_int_eq(dump("groups", 0), 0);
	says("block bitmap in ");
	ck_assert_int_eq(dump("journal", 0), 0);
	says("unmounted, memory ");
	says("\n0 records from ");
	ck_assert_int_eq(dump("inodes", 0), 0);
	snprintf(want, sizeof(want), "\ninode %" PRIu64 ": directory, ", dir.ino);
	says(want);
	says_not("\"n17\"");
	ck_assert_int_eq(dump("trees", 0), 0);
	says("\"n17\": inode ");
	says("\"odd\\x0a\\x22name\\xff\": inode ");
	says("target \"to there\"");
	says("kind 1, id 0: used ");
	says(" +1 have 2 owners");
	says("inode 5: memos");
	says("memo 1: make directory, inode ");
	says(", key abcd00");
	says(", shared\n");
	says("attribute of users \"small\", 1 bytes");
	says("attribute of users \"long\", 3000 bytes");
	says("file block 768 +16 at ");
	says(", unwritten");
	snprintf(want, sizeof(want), "inode=%" PRIu64, file.ino);
	ck_assert_int_eq(dump(want, 0), 0);
	says("    allow user 77, flags 0, mask 000001"); /* in the tree of attributes */
	says("piece 1 of cookie ");
	says("node ");
	says_not("\"n17\"");
	snprintf(want, sizeof(want), "block=%" PRIu64, block_of(BT_DIR, 0, dir.ino));
	ck_assert_int_eq(dump(want, 0), 0);
	says("directory, owner ");
	ck_assert_int_eq(dump("block=99999999", 0), 0);
	says("lies behind the end");
	ck_assert_int_eq(dump("all", 0), 0);
	says("superblock in 0");
	says("\"n17\"");
}

START_TEST(a_sound_one_is_told)
{
	world_begin();
	ck_assert_int_eq(sim_run(w.sim, sound_task, NULL), 0);
	world_end();
}
END_TEST

static void crash_task(void *arg)
{
	fill();
	ck_assert_int_eq(fs_commit(w.fs, &file, 0, 0, NULL), 0);
	checkpoint_run(w.fs, true);
	struct fs_fid late;
	ck_assert_int_eq(make_file(w.fs, &dir, "late", &late), 0);
	fs_abandon(w.fs);
}

static void journal_task(void *arg)
{
	ck_assert_int_eq(dump("journal", 0), 0);
	says("in use or not unmounted");
	says("\nrecord ");
	says("directory: +");
	says_not("\n0 records from ");
	/* what only the journal holds is shown as a mount would find it */
	ck_assert_int_eq(dump("trees", 0), 0);
	says("\"late\": inode ");
}

/* No journal header holds: it cannot be mounted. What lies on the device is told all the same. */
static void no_journal_task(void *arg)
{
	ck_assert_int_eq(dump("all", 0), -ERR_CORRUPT);
	says("it cannot be mounted");
	says("the journal cannot be read");
	says("\"n17\": inode ");
	says("kind 1, id 0: used ");
	says_not("\"late\"");
}

START_TEST(the_journal_counts_where_it_can)
{
	world_begin();
	ck_assert_int_eq(sim_run(w.sim, crash_task, NULL), 0);
	sim_run_for(w.sim, 60 * NS_PER_S);
	uint8_t *before = malloc(DISK);
	memcpy(before, sim_disk_bytes(w.disk), DISK);
	ck_assert_int_eq(sim_run(w.sim, journal_task, NULL), 0);
	ck_assert_int_eq(memcmp(before, sim_disk_bytes(w.disk), DISK), 0);
	free(before);
	uint64_t journal = le64_get(block_at(0) + SB_JOURNAL_START);
	for (uint64_t b = journal; b < journal + 2; b++) {
		block_at(b)[JH_TAIL] ^= 1;
		changed(b, false);
	}
	ck_assert_int_eq(sim_run(w.sim, no_journal_task, NULL), 0);
	world_end();
}
END_TEST

/* ---- damaged ones ---- */

static void broken_task(void *arg)
{
	const uint64_t *b = arg; /* a leaf of the directory, an inode map */
	char want[96];
	ck_assert_int_eq(dump("trees", 0), -ERR_CORRUPT);
	snprintf(want, sizeof(want), "node %" PRIu64 " of level 0: checksum does not hold", b[0]);
	says(want);
	says("all blocks of the group are looked at");
	says("\ninode 2: directory");
	says("file block 768 +16 at "); /* found without the map */
	ck_assert_int_eq(dump("groups", 0), -ERR_CORRUPT);
	snprintf(want, sizeof(want), "inode map in %" PRIu64 ": checksum does not hold", b[1]);
	says(want);
	snprintf(want, sizeof(want), "block=%" PRIu64, b[0]);
	ck_assert_int_eq(dump(want, 0), -ERR_CORRUPT);
	says("checksum does not hold");
	ck_assert_int_eq(dump("super", 0), -ERR_CORRUPT);
	says("superblock in 0: checksum does not hold");
	says("superblock in 8: holds");
}

static void no_super_task(void *arg)
{
	ck_assert_int_eq(dump("all", 0), -ERR_CORRUPT);
	says("only single blocks can be shown");
	ck_assert_int_eq(dump("block=8", 0), -ERR_CORRUPT);
	says("block 8: superblock, ");
	ck_assert_int_eq(dump("block=5", 0), -ERR_CORRUPT);
	says("no metadata block");
}

START_TEST(what_does_not_hold_is_named)
{
	world_begin();
	ck_assert_int_eq(sim_run(w.sim, fill_task, NULL), 0);
	uint64_t b[] = {block_of(BT_DIR, 0, dir.ino), block_of(BT_INODE_MAP, 0, 0), 0};
	for (unsigned i = 0; i < 3; i++) {
		block_at(b[i])[200] ^= 4;
		changed(b[i], false);
	}
	ck_assert_int_eq(sim_run(w.sim, broken_task, b), 0);
	block_at(8)[200] ^= 4;
	changed(8, false);
	block_at(DISK / BS - 1)[200] ^= 4;
	changed(DISK / BS - 1, false);
	ck_assert_int_eq(sim_run(w.sim, no_super_task, NULL), 0);
	world_end();
}
END_TEST

static void fan_task(void *arg)
{
	for (uint64_t most = 1; most < 3000; most = most * 3 + 1) {
		dump("trees", most);
		ck_assert_uint_eq(lines, most + 1);
		says("... there is more");
	}
}

/* Every child of a node is the same big leaf, under right checksums: it ends with its lines. */
START_TEST(lines_bound_it)
{
	world_begin();
	ck_assert_int_eq(sim_run(w.sim, fill_task, NULL), 0);
	uint64_t inner = block_of(BT_DIR, 1, dir.ino);
	uint8_t *d = block_at(inner);
	uint64_t child = inner_child(d, 0);
	le16_put(d + H_COUNT, INNER_MAX);
	for (unsigned i = 0; i < INNER_MAX; i++) {
		le64_put(d + H_SIZE + INNER_PAIR * i, i);
		le64_put(d + H_SIZE + INNER_PAIR * i + 8, child);
	}
	changed(inner, true);
	ck_assert_int_eq(sim_run(w.sim, fan_task, NULL), 0);
	world_end();
}
END_TEST

static void random_task(void *arg)
{
	dump("all", 20000);
	dump("inode=2", 0);
}

/* Bits flipped at random, mostly under right checksums, in structures and in journal records. */
START_TEST(whatever_lies_there_it_ends)
{
	world_begin();
	ck_assert_int_eq(sim_run(w.sim, crash_task, NULL), 0);
	sim_run_for(w.sim, 60 * NS_PER_S);
	uint8_t *good = malloc(DISK), *bad = malloc(DISK);
	memcpy(good, sim_disk_bytes(w.disk), DISK);
	uint64_t meta[DISK / BS], n = 0;
	for (uint64_t b = 0; b < DISK / BS; b++)
		if (le32_get(block_at(b)) == META_MAGIC || le32_get(block_at(b)) == JR_MAGIC)
			meta[n++] = b;
	for (int i = 0; i < 150; i++) {
		memcpy(sim_disk_bytes(w.disk), good, DISK);
		for (int k = 0; k < 12; k++) {
			uint64_t b = meta[sim_random_below(w.sim, n)];
			uint8_t *d = block_at(b);
			bool log = le32_get(d) == JR_MAGIC;
			uint64_t most = k % 2 ? BS : 256; /* headers and slots oftener */
			d[sim_random_below(w.sim, most)] ^= (uint8_t)(1u << (k % 8));
			if (log && le32_get(d + JR_LENGTH) <= BS) {
				le32_put(d + JR_CRC, 0);
				le32_put(d + JR_CRC, crc32c(d, le32_get(d + JR_LENGTH)));
			} else if (!log && k) {
				block_seal(d, 1);
			}
		}
		sim_disk_bytes_changed(w.disk, 0, DISK);
		memcpy(bad, sim_disk_bytes(w.disk), DISK);
		ck_assert_int_eq(sim_run(w.sim, random_task, NULL), 0);
		ck_assert_int_eq(memcmp(bad, sim_disk_bytes(w.disk), DISK), 0);
	}
	free(good);
	free(bad);
	world_end();
}
END_TEST

/* ---- the programs ---- */

START_TEST(words_that_are_none)
{
	static const char *const wrong[] = {"",		"supe",	    "super ",
					    "inode",	"inode=",   "inode=x",
					    "block=-1", "block=1x", "block=99999999999999999999"};
	struct fs_dump_opts o = {0};
	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		ck_assert_int_eq(fs_dump_parse(wrong[i], &o), -EINVAL);
	ck_assert_int_eq(fs_dump_parse("inode=12", &o), 0);
	ck_assert_uint_eq(o.inode, 12);
	ck_assert_uint_eq(o.what, FS_DUMP_INODE);
}
END_TEST

/* Runs it; its exit status, and its output in `text`. */
static int program(const char *fmt, const char *path)
{
	char command[1024];
	snprintf(command, sizeof(command), fmt, path);
	FILE *f = popen(command, "r");
	ck_assert_ptr_nonnull(f);
	len = fread(text, 1, TEXT - 1, f);
	text[len] = '\0';
	int st = pclose(f);
	ck_assert(WIFEXITED(st));
	return WEXITSTATUS(st);
}

START_TEST(programs_print)
{
	char path[] = "/tmp/isthmus-dump.XXXXXX";
	world_begin();
	ck_assert_int_eq(sim_run(w.sim, fill_task, NULL), 0);
	int fd = mkstemp(path);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, sim_disk_bytes(w.disk), DISK), DISK);
	ck_assert_int_eq(program(TOP "/isthmus-fsck --dump trees %s", path), 0);
	says("\"n17\": inode ");
	ck_assert_int_eq(program(TOP "/isthmus fs dump trees --device %s", path), 0);
	says("\"n17\": inode ");
	ck_assert_int_eq(program(TOP "/isthmus fs dump all --lines 5 --device %s", path), 0);
	says("... there is more");
	ck_assert_int_eq(program(TOP "/isthmus fs dump nothing --device %s 2>&1", path), 2);
	says("usage: ");
	ck_assert_int_eq(program(TOP "/isthmus --json fs dump all --device %s 2>&1", path), 2);
	ck_assert_int_eq(program(TOP "/isthmus-fsck --dump all --repair %s 2>&1", path), 2);
	ck_assert_int_eq(program(TOP "/isthmus-fsck --lines 5 %s 2>&1", path), 2);
	ck_assert_int_eq(program(TOP "/isthmus-fsck --dump all --lines 0 %s 2>&1", path), 2);
	ck_assert_int_eq(program(TOP "/isthmus-fsck --dump all %s.none 2>&1", path), 3);
	ck_assert_int_eq(program(TOP "/isthmus --complete fs dump in; true %s", path), 0);
	ck_assert_str_eq(text, "inodes\ninode=\n");
	uint64_t leaf = block_of(BT_DIR, 0, dir.ino) * BS + 99;
	ck_assert_int_eq(pwrite(fd, "damage", 6, (off_t)leaf), 6);
	ck_assert_int_eq(program(TOP "/isthmus fs dump trees --device %s", path), 1);
	says("checksum does not hold");
	close(fd);
	unlink(path);
	world_end();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("fs_dump");
	TCase *t = tcase_create("dump");
	tcase_set_timeout(t, 300);
	tcase_add_test(t, a_sound_one_is_told);
	tcase_add_test(t, the_journal_counts_where_it_can);
	tcase_add_test(t, what_does_not_hold_is_named);
	tcase_add_test(t, lines_bound_it);
	tcase_add_test(t, whatever_lies_there_it_ends);
	tcase_add_test(t, words_that_are_none);
	tcase_add_test(t, programs_print);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
