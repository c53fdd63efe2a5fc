/* The software volume: its table, every crash between and in its writes, damage; and notes. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/bdev.h"
#include "runtime/check.h"
#include "runtime/crc32c.h"
#include "runtime/err.h"
#include "runtime/software.h"
#include "tests/sim/sim_env.h"

#define VOLUME (SOFTWARE_VOLUME_MIN)

static const char *const heads[] = {"h1", "h2"};
static char why[SOFTWARE_WHY];

static const struct program_note a_note = {
    .version = PROGRAM_NOTE_VERSION,
    .kind = PROGRAM_HEAD,
    .build = "1.0",
    .formats = {{PROGRAM_CHANNEL, 4, 4, 4}, {PROGRAM_FS, 3, 7, 7}},
};

/* ---- a table ---- */

static struct software_program program(const char *name, uint64_t off, uint64_t size)
{
	struct software_program p = {
	    .off = off, .size = size, .installed_ns = 7, .machine = EM_X86_64, .note = a_note};
	snprintf(p.name, sizeof(p.name), "%s", name);
	return p;
}

static void add(struct software_table *t, const char *name, uint64_t size)
{
	struct software_program p = program(name, 0, size);
	ck_assert_int_eq(software_place(t, size, &p.off, why), 0);
	ck_assert_int_eq(software_add(t, &p, why), 0);
}

static struct software_table two_versions(void)
{
	struct software_table t;
	software_init(&t, VOLUME);
	t.seq = 1;
	add(&t, "v1", 1000);
	add(&t, "v2", 70000);
	return t;
}

static bool decodes(struct software_table *t)
{
	static uint8_t buf[SOFTWARE_TABLE_LEN];
	struct software_table again;
	software_encode(t, buf);
	return software_decode(buf, sizeof(buf), VOLUME, &again) == 0 &&
	       memcmp(&again, t, sizeof(again)) == 0;
}

START_TEST(programs_have_a_place)
{
	struct software_table t = two_versions();
	uint64_t off;
	ck_assert_uint_eq(software_find(&t, "v1")->off, SOFTWARE_DATA_OFF);
	ck_assert_uint_eq(software_find(&t, "v2")->off, SOFTWARE_DATA_OFF + 4096);
	ck_assert(decodes(&t));
	struct software_program p = program("v1", 8 << 20, 10);
	ck_assert_int_eq(software_add(&t, &p, why), -EEXIST);
	p = program("installed", 8 << 20, 10);
	ck_assert_int_eq(software_add(&t, &p, why), -EINVAL);
	p = program("v3", SOFTWARE_DATA_OFF, 10); /* where another lies */
	ck_assert_int_eq(software_add(&t, &p, why), -EINVAL);
	ck_assert_int_eq(software_place(&t, VOLUME, &off, why), -ENOSPC);
	/* The gap of one that is removed is used again, when it is large enough. */
	ck_assert_int_eq(software_drop(&t, "v1", why), 0);
	ck_assert_int_eq(software_drop(&t, "v1", why), -ENOENT);
	ck_assert_int_eq(software_place(&t, 4096, &off, why), 0);
	ck_assert_uint_eq(off, SOFTWARE_DATA_OFF);
	ck_assert_int_eq(software_place(&t, 4097, &off, why), 0);
	ck_assert_uint_gt(off, software_find(&t, "v2")->off);
	ck_assert(decodes(&t));
}
END_TEST

START_TEST(names)
{
	ck_assert(software_name_ok("1.2-rc+3_x"));
	ck_assert(!software_name_ok(""));
	ck_assert(!software_name_ok("installed"));
	ck_assert(!software_name_ok("../x"));
	ck_assert(!software_name_ok("a b"));
	ck_assert(!software_name_ok("-x"));
	ck_assert(!software_name_ok("123456789012345678901234567890123456789012345678"));
}
END_TEST

static void steps(struct software_table *t, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		ck_assert_int_eq(software_assign(t, heads[i], why), 0);
		ck_assert(decodes(t));
	}
}

START_TEST(an_activation_forward)
{
	struct software_table t = two_versions();
	ck_assert_str_eq(software_of_head(&t, "h1"), "installed");
	ck_assert_int_eq(software_begin(&t, "v3", "", false, heads, 2, why), -ENOENT);
	ck_assert_int_eq(software_begin(&t, "v1", "", false, heads, 2, why), 0);
	ck_assert_int_eq(software_begin(&t, "v2", "", false, heads, 2, why), -EBUSY);
	ck_assert_int_eq(software_drop(&t, "v2", why), -EBUSY);
	steps(&t, 1);
	ck_assert_str_eq(software_of_head(&t, "h1"), "v1");
	ck_assert_str_eq(software_of_head(&t, "h2"), "installed");
	ck_assert_int_eq(software_finish(&t, why), -EINVAL); /* not all are */
	steps(&t, 2);
	ck_assert_int_eq(software_finish(&t, why), 0);
	ck_assert_str_eq(t.active, "v1");
	ck_assert_str_eq(t.previous, "installed");
	ck_assert_uint_eq(t.nheads, 0);
	ck_assert_str_eq(software_of_head(&t, "a new one"), "v1");
	ck_assert_int_eq(software_drop(&t, "v1", why), -EBUSY);
	ck_assert(decodes(&t));
}
END_TEST

START_TEST(an_activation_that_goes_back)
{
	struct software_table t = two_versions();
	/* h2 has a version of its own, and has it again afterwards. */
	ck_assert_int_eq(software_begin(&t, "v2", "h2", false, heads, 2, why), 0);
	ck_assert_int_eq(software_assign(&t, "h1", why), -EINVAL);
	ck_assert_int_eq(software_assign(&t, "h2", why), 0);
	ck_assert_int_eq(software_finish(&t, why), 0);
	ck_assert_str_eq(t.active, "installed");
	ck_assert_str_eq(software_of_head(&t, "h2"), "v2");
	ck_assert_int_eq(software_begin(&t, "v1", "", false, heads, 2, why), 0);
	steps(&t, 2);
	ck_assert_int_eq(software_back(&t, why), 0);
	ck_assert_int_eq(software_finish(&t, why), -EINVAL);
	steps(&t, 2);
	ck_assert_int_eq(software_finish(&t, why), 0);
	ck_assert_str_eq(software_of_head(&t, "h1"), "installed");
	ck_assert_str_eq(software_of_head(&t, "h2"), "v2");
	ck_assert_uint_eq(t.nheads, 1);
	ck_assert_str_eq(t.previous, "");
	ck_assert(decodes(&t));
}
END_TEST

START_TEST(one_way_it_stops)
{
	struct software_table t = two_versions();
	ck_assert_int_eq(software_begin(&t, "v1", "", true, heads, 2, why), 0);
	steps(&t, 1);
	ck_assert_int_eq(software_finish(&t, why), 0);
	ck_assert_str_eq(t.active, "installed");
	ck_assert_str_eq(software_of_head(&t, "h1"), "v1");
	ck_assert_str_eq(software_of_head(&t, "h2"), "installed");
	ck_assert(decodes(&t));
}
END_TEST

/* ---- damage ---- */

static void seal(uint8_t *buf)
{
	struct software_table *t = (void *)buf;
	t->crc = 0;
	t->crc = crc32c(buf, SOFTWARE_TABLE_LEN);
}

/* Each byte of a table: told by the checksum; and where that is made to fit, nothing out of bounds.
 */
START_TEST(every_byte)
{
	static uint8_t buf[SOFTWARE_TABLE_LEN], bad[SOFTWARE_TABLE_LEN];
	struct software_table t = two_versions(), r;
	ck_assert_int_eq(software_begin(&t, "v1", "", false, heads, 2, why), 0);
	software_encode(&t, buf);
	for (size_t i = 0; i < sizeof(buf); i++) {
		memcpy(bad, buf, sizeof(buf));
		bad[i] ^= 0x81;
		ck_assert_int_eq(software_decode(bad, sizeof(bad), VOLUME, &r), -ERR_CORRUPT);
		seal(bad);
		int rc = software_decode(bad, sizeof(bad), VOLUME, &r);
		if (rc == 0)
			ck_assert(decodes(&r));
	}
	memset(bad, 0, sizeof(bad));
	ck_assert_int_eq(software_decode(bad, sizeof(bad), VOLUME, &r), -ENODATA);
}
END_TEST

START_TEST(what_cannot_be)
{
	static uint8_t buf[SOFTWARE_TABLE_LEN];
	struct software_table t = two_versions(), good = t, r;
	t.programs[1].off = t.programs[0].off;
	ck_assert(!decodes(&t));
	t = good;
	t.programs[0].size = VOLUME;
	ck_assert(!decodes(&t));
	t = good;
	t.programs[0].off = UINT64_MAX - 4095;
	ck_assert(!decodes(&t));
	t = good;
	t.nprograms = SOFTWARE_VERSIONS + 1;
	ck_assert(!decodes(&t));
	t = good;
	t.nheads = SOFTWARE_HEADS + 1;
	ck_assert(!decodes(&t));
	t = good;
	strcpy(t.active, "v9");
	ck_assert(!decodes(&t));
	t = good;
	memset(t.programs[0].name, 'x', sizeof(t.programs[0].name));
	ck_assert(!decodes(&t));
	t = good;
	software_encode(&t, buf);
	ck_assert_int_eq(software_decode(buf, sizeof(buf), VOLUME - 1, &r), -ERR_CORRUPT);
	((struct software_table *)buf)->version = 2;
	seal(buf);
	ck_assert_int_eq(software_decode(buf, sizeof(buf), VOLUME, &r), -ERR_VERSION);
}
END_TEST

/* ---- on a disk ---- */

static struct sim *sim;
static struct sim_disk *disk;
static struct bdev *bdev;

static void setup(void)
{
	sim = sim_new(11);
	disk = sim_disk_new(sim, "software", VOLUME);
	bdev = sim_disk_open(disk);
}

static void teardown(void)
{
	bdev_close(bdev);
	sim_free(sim);
}

/* What was acknowledged last, and what was asked for after it. */
static struct software_table acked, wanted;
static bool any_acked;
static uint8_t content[3][5000];

static int stored(struct software_table *t)
{
	wanted = *t;
	wanted.seq++;
	int rc = software_store(bdev, t);
	if (rc == 0) {
		acked = *t;
		any_acked = true;
	}
	return rc;
}

static int installed(struct software_table *t, const char *name, unsigned which)
{
	struct software_program p = program(name, 0, sizeof(content[0]));
	wanted = *t;
	ck_assert_int_eq(software_digest(content[which], sizeof(content[0]), p.sha256), 0);
	ck_assert_int_eq(software_place(t, p.size, &p.off, why), 0);
	ck_assert_int_eq(software_add(t, &p, why), 0);
	int rc = software_write(bdev, p.off, content[which], p.size, NULL, NULL);
	return rc ? rc : stored(t);
}

static int activated(struct software_table *t, const char *name)
{
	ck_assert_int_eq(software_begin(t, name, "", false, heads, 2, why), 0);
	int rc = stored(t);
	for (unsigned i = 0; i < 2 && rc == 0; i++) {
		ck_assert_int_eq(software_assign(t, heads[i], why), 0);
		rc = stored(t);
	}
	if (rc)
		return rc;
	ck_assert_int_eq(software_finish(t, why), 0);
	return stored(t);
}

/* All that is ever done to a volume. */
static void life(void *arg)
{
	int *rc = arg;
	struct software_table t;
	*rc = software_format(bdev, &t);
	if (*rc)
		return;
	acked = t;
	any_acked = true;
	if ((*rc = installed(&t, "v1", 0)) || (*rc = installed(&t, "v2", 1)) ||
	    (*rc = activated(&t, "v1")) || (*rc = activated(&t, "v2")))
		return;
	ck_assert_int_eq(software_drop(&t, "v1", why), 0);
	if ((*rc = stored(&t)) == 0)
		*rc = installed(&t, "v3", 2); /* where v1 was */
}

static bool same(const struct software_table *a, const struct software_table *b)
{
	struct software_table x = *a, y = *b;
	x.crc = y.crc = x.magic = y.magic = x.version = y.version = 0;
	x.volume_size = y.volume_size = 0;
	return memcmp(&x, &y, sizeof(x)) == 0;
}

/* After a crash: the old or the new, and every program that it names is whole. */
static void look(void *arg)
{
	struct software_table t;
	int rc = software_load(bdev, &t);
	if (!any_acked) {
		ck_assert(rc == -ENODATA || (rc == 0 && t.nprograms == 0));
		return;
	}
	ck_assert_int_eq(rc, 0);
	ck_assert(same(&t, &acked) || same(&t, &wanted));
	for (uint32_t i = 0; i < t.nprograms; i++)
		ck_assert_int_eq(software_read(bdev, &t.programs[i], NULL, NULL, NULL), 0);
	/* And it goes on from there. */
	ck_assert_int_eq(software_store(bdev, &t), 0);
	ck_assert_int_eq(software_load(bdev, &t), 0);
}

static void crash_at(uint64_t write, enum sim_loss how, uint64_t n)
{
	int rc = 0;
	setup();
	any_acked = false;
	memset(&wanted, 0, sizeof(wanted));
	sim_power_off_at_write(sim, write);
	ck_assert_int_eq(sim_run(sim, life, &rc), 0);
	ck_assert_int_ne(rc, 0);
	sim_power_on(sim, how, n);
	ck_assert_int_eq(sim_run(sim, look, NULL), 0);
	teardown();
}

START_TEST(every_crash)
{
	int rc = -1;
	for (unsigned i = 0; i < 3; i++)
		memset(content[i], 'a' + (int)i, sizeof(content[0]));
	setup();
	ck_assert_int_eq(sim_run(sim, life, &rc), 0);
	ck_assert_int_eq(rc, 0);
	ck_assert_int_eq(sim_run(sim, look, NULL), 0);
	uint64_t writes = sim_writes_issued(sim) - 1; /* the look wrote one */
	teardown();
	ck_assert_uint_gt(writes, 10);
	for (uint64_t w = 1; w <= writes; w++) {
		crash_at(w, SIM_LOSE_ALL, 0);
		crash_at(w, SIM_LOSE_NONE, 0);
		crash_at(w, SIM_KILL, 0);
		for (uint64_t seed = 0; seed < 8; seed++)
			crash_at(w, SIM_LOSE_RANDOM, seed);
	}
}
END_TEST

static void lies_damaged(void *arg)
{
	struct software_table t;
	int rc;
	life(&rc);
	ck_assert_int_eq(rc, 0);
	uint64_t newest = acked.seq;
	/* Either copy alone is enough, the newer counts. */
	for (unsigned copy = 0; copy < 2; copy++) {
		uint8_t *b = sim_disk_bytes(disk) + copy * SOFTWARE_TABLE_LEN + 40;
		*b ^= 1;
		sim_disk_bytes_changed(disk, copy * SOFTWARE_TABLE_LEN, SOFTWARE_TABLE_LEN);
		ck_assert_int_eq(software_load(bdev, &t), 0);
		ck_assert(t.seq == newest || t.seq == newest - 1);
		*b ^= 1;
		sim_disk_bytes_changed(disk, copy * SOFTWARE_TABLE_LEN, SOFTWARE_TABLE_LEN);
	}
	ck_assert_int_eq(software_load(bdev, &t), 0);
	ck_assert_uint_eq(t.seq, newest);
	const struct software_program *p = software_find(&t, "v2");
	uint8_t read[sizeof(content[0])];
	ck_assert_int_eq(software_read(bdev, p, read, NULL, NULL), 0);
	ck_assert_mem_eq(read, content[1], sizeof(read));
	sim_disk_bytes(disk)[p->off + 3000] ^= 1;
	sim_disk_bytes_changed(disk, p->off, 4096);
	ck_assert_int_eq(software_read(bdev, p, NULL, NULL, NULL), -ERR_CORRUPT);
	memset(sim_disk_bytes(disk), 0x55, 2 * SOFTWARE_TABLE_LEN);
	sim_disk_bytes_changed(disk, 0, 2 * SOFTWARE_TABLE_LEN);
	ck_assert_int_eq(software_load(bdev, &t), -ERR_CORRUPT);
}

START_TEST(damaged)
{
	setup();
	ck_assert_int_eq(sim_run(sim, lies_damaged, NULL), 0);
	teardown();
}
END_TEST

/* ---- notes ---- */

struct elf {
	Elf64_Ehdr e;
	Elf64_Phdr p[2];
	struct program_elf_note other, ours;
};

static struct elf an_elf(void)
{
	struct elf f = {
	    .e = {.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB},
		  .e_type = ET_DYN,
		  .e_machine = EM_AARCH64,
		  .e_phoff = offsetof(struct elf, p),
		  .e_phentsize = sizeof(Elf64_Phdr),
		  .e_phnum = 2},
	    .p = {{.p_type = PT_LOAD},
		  {.p_type = PT_NOTE,
		   .p_offset = offsetof(struct elf, other),
		   .p_filesz = 2 * sizeof(struct program_elf_note)}},
	    .other = {PROGRAM_NOTE_HEAD, "Another", {0}},
	    .ours = {PROGRAM_NOTE_HEAD, PROGRAM_NOTE_NAME, a_note},
	};
	return f;
}

START_TEST(notes_are_found)
{
	struct elf f = an_elf();
	struct program_note n;
	uint16_t machine = 0;
	ck_assert_int_eq(program_note_find(&f, sizeof(f), &n, &machine), 0);
	ck_assert_uint_eq(machine, EM_AARCH64);
	ck_assert_mem_eq(&n, &a_note, sizeof(n));
	/* Cut anywhere, and every byte another: never out of bounds (the sanitizer looks). */
	for (size_t len = 0; len < sizeof(f); len++) {
		void *cut = malloc(len ? len : 1);
		memcpy(cut, &f, len);
		ck_assert_int_ne(program_note_find(cut, len, &n, &machine), 0);
		free(cut);
	}
	for (size_t i = 0; i < sizeof(f); i++)
		for (unsigned x = 1; x < 256; x = x * 2 + 1) {
			struct elf *bad = malloc(sizeof(*bad));
			*bad = f;
			((uint8_t *)bad)[i] ^= (uint8_t)x;
			program_note_find(bad, sizeof(*bad), &n, &machine);
			free(bad);
		}
	f.ours.note.version = 9;
	ck_assert_int_eq(program_note_find(&f, sizeof(f), &n, &machine), -ERR_VERSION);
	f = an_elf();
	f.ours.note.formats[1].read_min = 8;
	ck_assert_int_eq(program_note_find(&f, sizeof(f), &n, &machine), -ERR_CORRUPT);
	f = an_elf();
	f.ours.name[0] = 'i';
	ck_assert_int_eq(program_note_find(&f, sizeof(f), &n, &machine), -ENOENT);
}
END_TEST

START_TEST(what_can_take_over)
{
	struct program_note now = a_note, next = a_note;
	ck_assert(!program_unfit(&now, &next, false, why, sizeof(why)));
	ck_assert(!program_unfit(&now, &next, true, why, sizeof(why)));
	/* It writes a newer one: it may take over, and there is no way back. */
	next.formats[1] = (struct program_format){PROGRAM_FS, 3, 8, 8};
	ck_assert(!program_unfit(&now, &next, false, why, sizeof(why)));
	ck_assert(program_unfit(&now, &next, true, why, sizeof(why)));
	/* It reads the newer one, and still writes the old: both ways. */
	next.formats[1].write = 7;
	ck_assert(!program_unfit(&now, &next, true, why, sizeof(why)));
	next.formats[1] = (struct program_format){PROGRAM_FS, 8, 8, 8};
	ck_assert(program_unfit(&now, &next, false, why, sizeof(why)));
	ck_assert_ptr_nonnull(strstr(why, "file-system"));
	/* Another channel protocol is no other than that of the controllers. */
	next = a_note;
	next.formats[0] = (struct program_format){PROGRAM_CHANNEL, 5, 5, 5};
	ck_assert(program_unfit(&now, &next, false, why, sizeof(why)));
	memset(&next.formats[0], 0, sizeof(next.formats[0]));
	ck_assert(program_unfit(&now, &next, false, why, sizeof(why)));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("software");
	TCase *t = tcase_create("all");
	tcase_set_timeout(t, 60);
	tcase_add_test(t, programs_have_a_place);
	tcase_add_test(t, names);
	tcase_add_test(t, an_activation_forward);
	tcase_add_test(t, an_activation_that_goes_back);
	tcase_add_test(t, one_way_it_stops);
	tcase_add_test(t, every_byte);
	tcase_add_test(t, what_cannot_be);
	tcase_add_test(t, every_crash);
	tcase_add_test(t, damaged);
	tcase_add_test(t, notes_are_found);
	tcase_add_test(t, what_can_take_over);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
