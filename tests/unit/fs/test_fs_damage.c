/*
 * Damaged metadata never crashes anything, is found by the check and mended by its repair or
 * refused; what a checksum covers is never answered wrongly; and damage costs nothing where the
 * device has a second copy.
 *
 * FS_DAMAGE_IMAGES: damaged images in all (300), FS_DAMAGE_FIRST: the first seed (100).
 */
#include "nasfront/fs/impl.h"
#include "runtime/check.h"
#include "runtime/crc32c.h"
#include "tests/unit/fs/model.h"

static struct world w;
static struct model *m;

/* With keys: so that there are memos. */
static void plan(struct m_op *op)
{
	model_plan(m, op);
	op->keyed = m_heeds_key(op->kind);
}

static void fill_task(void *arg)
{
	world_mkfs(&w);
	world_mount(&w);
	for (int i = 0; i < 1500; i++) {
		struct m_op op;
		struct fs_fid made;
		plan(&op);
		int rc = model_run(m, w.fs, &op, &made);
		ck_assert_int_eq(rc, model_apply(m, &op, &made));
	}
	/* a directory and a file with trees */
	struct fs_fid d, f;
	char name[32];
	if (!*(bool *)arg) {
		world_unmount(&w);
		return;
	}
	ck_assert_int_eq(make_dir(w.fs, &root_fid, "tree", &d), 0);
	for (int i = 0; i < 1000; i++) {
		snprintf(name, sizeof(name), "n%d", i);
		ck_assert_int_eq(make_file(w.fs, &d, name, &f), 0);
	}
	for (uint64_t i = 0; i < 400; i++)
		ck_assert_int_eq(put(w.fs, &f, i * 8192, "x", 1, 0), 0);
	ck_assert_int_eq(fs_allocate(w.fs, NULL, &f, 100 * 4096, 300 * 4096, NULL), 0);
	struct fs_fid twin; /* that shares all of it */
	ck_assert_int_eq(make_file(w.fs, &d, "twin", &twin), 0);
	ck_assert_int_eq(fs_clone_range(w.fs, NULL, &f, 0, &twin, 0, 0, NULL), 0);
	world_unmount(&w);
}

/* ---- asking a damaged one ---- */

/* It says that something is damaged: that is no wrong answer. */
static bool owned_up(int64_t rc)
{
	return rc == -ERR_CORRUPT || rc == -ERR_MEDIUM || rc == -EIO;
}

static char lie[200];

static const char *lies(const struct m_node *x, const char *what, int64_t got, int64_t want)
{
	snprintf(lie, sizeof(lie), "inode %llu: %s %lld not %lld", (unsigned long long)x->fid.ino,
		 what, (long long)got, (long long)want);
	return lie;
}

static const char *xattrs_lie(struct fs *fs, const struct m_node *x)
{
	static uint8_t buf[FS_XATTR_MAX];
	for (int k = 0; k < M_XATTRS; k++) {
		const struct m_xattr *a = &x->xattrs[k];
		char name[256];
		uint32_t len = 0;
		int rc = fs_xattr_get(fs, NULL, &x->fid, name, m_xattr_name(k, name), buf,
				      sizeof(buf), &len);
		if (owned_up(rc))
			continue;
		if (a->used ? rc || len != a->len : rc != -ENODATA)
			return lies(x, "attribute", rc ? rc : (int64_t)len,
				    a->used ? (int64_t)a->len : -1);
		for (uint32_t i = 0; i < len; i++)
			if (buf[i] != m_xattr_byte(a->fill, i))
				return lies(x, "byte of an attribute", buf[i],
					    m_xattr_byte(a->fill, i));
	}
	return NULL;
}

static const char *node_lies(struct fs *fs, const struct m_node *x)
{
	static uint8_t buf[M_SIZE];
	struct fs_attr a;
	const char *d = NULL;
	int64_t rc = fs_getattr(fs, &x->fid, &a);
	if (rc)
		return owned_up(rc) ? NULL : lies(x, "getattr", rc, 0);
	if (a.mode != x->mode)
		return lies(x, "mode", a.mode, x->mode);
	if (x != m->nodes && (int)a.nlink != x->nlink) /* the root has a directory more */
		return lies(x, "links", a.nlink, x->nlink);
	if (!x->is_dir && a.size != x->size)
		return lies(x, "size", (int64_t)a.size, (int64_t)x->size);
	if (!x->is_link && !x->is_special)
		d = xattrs_lie(fs, x);
	if (d || !x->data)
		return d;
	rc = get(fs, &x->fid, 0, buf, sizeof(buf));
	if (owned_up(rc))
		return NULL;
	if (rc != (int64_t)x->size)
		return lies(x, "read", rc, (int64_t)x->size);
	for (uint64_t i = 0; i < x->size; i++)
		if (buf[i] != x->data[i])
			return lies(x, "byte", buf[i], x->data[i]);
	return NULL;
}

/* What it says, and not as an error, that is other than what was stored; or NULL. */
static const char *anything_lies(struct fs *fs)
{
	struct fs_attr a;
	const char *d = NULL;
	for (int i = 0; i < M_NODES && !d; i++)
		if (m->nodes[i].used)
			d = node_lies(fs, &m->nodes[i]);
	for (int i = 0; i < M_NAMES && !d; i++) {
		const struct m_name *e = &m->names[i];
		if (!e->used)
			continue;
		int rc = find(fs, &m->nodes[e->dir].fid, e->name, &a);
		if (rc ? !owned_up(rc) : a.ino != m->nodes[e->node].fid.ino)
			d = lies(&m->nodes[e->node], "looked up", rc, 0);
	}
	return d;
}

/* Operations, whatever comes back. */
static void try_all(struct fs *fs)
{
	for (int i = 0; i < 40; i++) {
		struct m_op op;
		struct fs_fid made;
		plan(&op);
		model_run(m, fs, &op, &made);
	}
}

/* ---- damage ---- */

/* Metadata blocks but the log. */
static bool is_meta(uint64_t block)
{
	const uint8_t *d = sim_disk_bytes(w.disk) + block * BS;
	return le32_get(d) == META_MAGIC && le64_get(d + H_BLOCK) == block &&
	       le16_get(d + H_TYPE) != BT_JHEAD;
}

static uint64_t pick_meta(uint64_t n)
{
	uint64_t blocks = sim_disk_size(w.disk) / BS, at = n % blocks;
	while (!is_meta(at))
		at = (at + 1) % blocks;
	return at;
}

static uint64_t any(uint64_t below)
{
	return sim_random_below(w.sim, below);
}

static uint8_t *block_at(uint64_t block)
{
	return sim_disk_bytes(w.disk) + block * BS;
}

static void block_changed(uint64_t block)
{
	sim_disk_bytes_changed(w.disk, block * BS, BS);
}

static void flip(uint64_t block, unsigned byte, unsigned bit, bool fix_crc)
{
	uint8_t *d = block_at(block);
	d[byte] ^= (uint8_t)(1 << bit);
	if (fix_crc)
		block_seal(d, 1);
	block_changed(block);
}

enum harm {
	HARM_FLIPS,
	HARM_BYTES,  /* a piece of a block is random */
	HARM_GONE,   /* a block is zeros */
	HARM_SWAP,   /* two blocks lie in each other's place */
	HARM_TORN,   /* some sectors are of another block of its type */
	HARM_SUPER,  /* one or all of the superblocks */
	HARM_HIDDEN, /* from here on checksums hold: flips */
	HARM_FIELD,  /* a field has a value that makes no sense */
	HARM_COPY,   /* a block holds what another does, under its own name */
	HARM_LOG,    /* headers and records of the journal */
	HARMS
};

static void harm_flips(bool fix_crc)
{
	uint64_t n = 1 + any(3);
	for (uint64_t i = 0; i < n; i++)
		flip(pick_meta(any(UINT32_MAX)), (unsigned)any(BS), (unsigned)any(8), fix_crc);
}

static void harm_bytes(void)
{
	uint64_t block = pick_meta(any(UINT32_MAX)), from = any(BS), n = 1 + any(BS - from);
	for (uint64_t i = from; i < from + n; i++)
		block_at(block)[i] = (uint8_t)any(256);
	block_changed(block);
}

static void harm_gone(void)
{
	uint64_t block = pick_meta(any(UINT32_MAX)), n = 1 + any(3);
	for (uint64_t i = block; i < block + n && i < sim_disk_size(w.disk) / BS; i++) {
		if (!is_meta(i))
			continue;
		memset(block_at(i), 0, BS);
		block_changed(i);
	}
}

static void harm_swap(void)
{
	uint64_t a = pick_meta(any(UINT32_MAX)), b = pick_meta(any(UINT32_MAX));
	uint8_t keep[BS];
	memcpy(keep, block_at(a), BS);
	memcpy(block_at(a), block_at(b), BS);
	memcpy(block_at(b), keep, BS);
	block_changed(a);
	block_changed(b);
}

/* Another block of its type; itself when there is none near. */
static uint64_t pick_like(uint64_t block)
{
	uint64_t b = block;
	for (int i = 0; i < 200; i++) {
		b = pick_meta(any(UINT32_MAX));
		if (b != block &&
		    le16_get(block_at(b) + H_TYPE) == le16_get(block_at(block) + H_TYPE))
			return b;
	}
	return b;
}

static void harm_torn(void)
{
	uint64_t a = pick_meta(any(UINT32_MAX)), b = pick_like(a), at = any(BS / 512);
	memcpy(block_at(a) + at * 512, block_at(b) + at * 512, any(2) ? 512 : BS - at * 512);
	block_changed(a);
}

static void harm_super(void)
{
	const uint64_t last = sim_disk_size(w.disk) / BS - 1, places[] = {0, SB_COPY_BLOCK, last};
	uint64_t which = any(4);
	bool sealed = any(2);
	for (unsigned i = 0; i < 3; i++) {
		if (which < 3 && which != i)
			continue;
		uint8_t *d = block_at(places[i]);
		if (le32_get(d) != META_MAGIC)
			continue;
		le64_put(d + SB_BLOCKS + 8 * any(8), any(2) ? any(20000) : any(UINT64_MAX));
		if (sealed)
			block_seal(d, 0);
		block_changed(places[i]);
	}
}

static uint64_t hostile_value(uint64_t now)
{
	const uint64_t v[] = {0,
			      1,
			      now + 1,
			      now - 1,
			      now * 2,
			      any(sim_disk_size(w.disk) / BS),
			      pick_meta(any(UINT32_MAX)),
			      0x7fff,
			      0xffff,
			      INT32_MAX,
			      UINT32_MAX,
			      INT64_MAX,
			      UINT64_MAX,
			      1ull << 50,
			      any(UINT64_MAX)};
	return v[any(ARRAY_LEN(v))];
}

/* Most of them where fields lie: headers, inodes, the first and last entries of nodes. */
static void harm_field(void)
{
	static const uint8_t inode_fields[] = {
	    I_TYPE,   I_FLAGS,	I_MODE,	  I_NLINK,    I_UID,	   I_FILESIZE, I_BLOCKS,
	    I_PARENT, I_ROOT,	I_INLINE, I_LEVEL,    I_ENTRIES,   I_TREE,     I_XINLINE,
	    I_XROOT,  I_XLEVEL, I_AREA,	  I_AREA + 8, I_AREA + 16, I_AREA + 20};
	static const uint8_t memo_fields[] = {ME_SEQ, ME_KEY, ME_INO, ME_KIND};
	uint64_t block = pick_meta(any(UINT32_MAX));
	uint8_t *d = block_at(block);
	unsigned size = 1u << any(4), type = le16_get(d + H_TYPE), at;
	if (any(4) == 0)
		at = H_OWNER + (unsigned)any(H_SIZE - H_OWNER);
	else if (type == BT_INODES)
		at = H_SIZE + (unsigned)any(INODES_PER_BLOCK) * INODE_SIZE +
		     inode_fields[any(sizeof(inode_fields))];
	else if (type == BT_MEMOS)
		at = H_SIZE + (unsigned)any(ME_PER_BLOCK) * ME_SIZE + memo_fields[any(4)];
	else if (type >= BT_EXTENTS && any(2) && le16_get(d + H_HEAP) < BS)
		at = le16_get(d + H_HEAP) + (unsigned)any(BS - le16_get(d + H_HEAP));
	else
		at = H_SIZE + (unsigned)any(any(2) ? 128 : BS - H_SIZE);
	at = MIN(at & ~(size - 1), BS - size);
	uint64_t now = 0;
	memcpy(&now, d + at, size);
	now = hostile_value(now);
	memcpy(d + at, &now, size);
	block_seal(d, 1);
	block_changed(block);
}

static void harm_copy(void)
{
	uint64_t a = pick_meta(any(UINT32_MAX)), b = pick_like(a),
		 owner = le64_get(block_at(a) + H_OWNER);
	memcpy(block_at(a), block_at(b), BS);
	le64_put(block_at(a) + H_BLOCK, a);
	if (any(2))
		le64_put(block_at(a) + H_OWNER, owner);
	block_seal(block_at(a), 1);
	block_changed(a);
}

static void record_seal(uint8_t *d, uint64_t room)
{
	uint32_t length = le32_get(d + JR_LENGTH);
	if (length < JR_SIZE || length > room)
		return;
	le32_put(d + JR_CRC, 0);
	le32_put(d + JR_CRC, crc32c(d, length));
}

/* Its headers, or a record; sealed or not. */
static void harm_log(void)
{
	uint64_t start = le64_get(block_at(SB_COPY_BLOCK) + SB_JOURNAL_START),
		 n = le64_get(block_at(SB_COPY_BLOCK) + SB_JOURNAL_BLOCKS), at = start + any(2),
		 size = sim_disk_size(w.disk);
	bool seal = any(4);
	if (any(4)) {
		for (at = start + 2 + any(any(2) ? 40 : n - 2); at < start + n; at++)
			if (le32_get(block_at(at)) == JR_MAGIC)
				break;
		if (at == start + n)
			at = start;
	}
	uint8_t *d = block_at(at);
	bool record = le32_get(d) == JR_MAGIC;
	uint64_t v = hostile_value(le32_get(d + JR_LENGTH)), off = any(record ? 160 : 64);
	if (record)
		memcpy(d + (off & ~3ull), &v, any(2) ? 4 : 2);
	else
		memcpy(d + H_SIZE + (off & ~7ull), &v, 8);
	if (seal && record)
		record_seal(d, size - at * BS);
	else if (seal)
		block_seal(d, 1);
	sim_disk_bytes_changed(w.disk, at * BS, BS);
}

static void do_harm(enum harm h)
{
	switch (h) {
	case HARM_FLIPS:
	case HARM_HIDDEN:
		return harm_flips(h == HARM_HIDDEN);
	case HARM_BYTES:
		return harm_bytes();
	case HARM_GONE:
		return harm_gone();
	case HARM_SWAP:
		return harm_swap();
	case HARM_TORN:
		return harm_torn();
	case HARM_SUPER:
		return harm_super();
	case HARM_FIELD:
		return harm_field();
	case HARM_COPY:
		return harm_copy();
	default:
		return harm_log();
	}
}

static void say_nothing(void *arg, const char *line)
{
	++*(int *)arg;
}

struct image {
	enum harm harm;
	uint64_t n;
	bool surely; /* a check must find it */
};

/* Repaired or refused; what was repaired is sound and can be used. */
static void repair(const struct image *im)
{
	struct fs_check_report r;
	struct fs *fs;
	int lines = 0;
	int rc = fs_check(sim_env(w.sim), w.dev, true, say_nothing, &lines, &r);
	ck_assert(rc == 0 || lines > 0);
	if (rc)
		return;
	rc = fs_check(sim_env(w.sim), w.dev, false, say_stderr, NULL, &r);
	if (rc || r.errors)
		ck_abort_msg("harm %d, image %llu: not sound after its repair", im->harm,
			     (unsigned long long)im->n);
	rc = fs_mount(&fs, sim_env(w.sim), w.dev, NULL);
	if (rc)
		ck_abort_msg("harm %d, image %llu: after its repair: mount %d", im->harm,
			     (unsigned long long)im->n, rc);
	try_all(fs);
	rc = fs_unmount(fs);
	if (rc)
		ck_abort_msg("harm %d, image %llu: after its repair: unmount %d", im->harm,
			     (unsigned long long)im->n, rc);
	world_check(&w);
}

static void damaged_task(void *arg)
{
	const struct image *im = arg;
	struct fs_check_report r;
	int lines = 0;
	int rc = fs_check(sim_env(w.sim), w.dev, false, say_nothing, &lines, &r);
	ck_assert(rc == 0 || (lines > 0 && r.errors > 0));
	if (im->surely)
		ck_assert_int_ne(rc, 0);
	struct fs *fs;
	if (fs_mount(&fs, sim_env(w.sim), w.dev, NULL) == 0) {
		const char *d = anything_lies(fs);
		if (d && im->harm < HARM_HIDDEN)
			ck_abort_msg("harm %d, image %llu: %s", im->harm, (unsigned long long)im->n,
				     d);
		try_all(fs);
		fs_verify(fs, say_nothing, &lines, &r);
		fs_unmount(fs);
	}
	repair(im);
}

static uint64_t number(const char *name, uint64_t otherwise)
{
	const char *v = getenv(name);
	return v ? strtoull(v, NULL, 10) : otherwise;
}

#define CI_IMAGES 300
static uint64_t images(void)
{
	return number("FS_DAMAGE_IMAGES", CI_IMAGES);
}

/* What the workers left of the log stays in the image: it was not unmounted. */
static void fill_and_die_task(void *arg)
{
	bool trees = true;
	fill_task(&trees);
	world_mount(&w);
	for (int i = 0; i < 200; i++) {
		struct m_op op;
		struct fs_fid made;
		plan(&op);
		op.stable = true;
		int rc = model_run(m, w.fs, &op, &made);
		ck_assert_int_eq(rc, model_apply(m, &op, &made));
	}
	sim_power_off(w.sim);
	fs_abandon(w.fs);
}

static void harmed(enum harm h, uint64_t seed, uint64_t count)
{
	bool trees = true, unclean = h == HARM_LOG || seed % 2;
	world_new(&w, seed, 24 << 20);
	m = model_new(seed);
	ck_assert_int_eq(sim_run(w.sim, unclean ? fill_and_die_task : fill_task, &trees), 0);
	sim_run_for(w.sim, 60 * NS_PER_S);
	sim_power_off(w.sim);
	for (uint64_t i = 0; i < count; i++) {
		struct image im = {.harm = h, .n = seed * 1000000 + i};
		sim_power_on(w.sim, SIM_LOSE_ALL, 0);
		do_harm(h);
		im.surely = h == HARM_BYTES && !unclean;
		ck_assert_int_eq(sim_run(w.sim, damaged_task, &im), 0);
		sim_run_for(w.sim, 60 * NS_PER_S);
		sim_power_off_again(w.sim);
	}
	sim_power_on(w.sim, SIM_LOSE_ALL, 0);
	model_free(m);
	world_free(&w);
}

#define IMAGES_A_TEST 30
START_TEST(damage_is_repaired_or_refused)
{
	harmed((enum harm)(_i % HARMS), number("FS_DAMAGE_FIRST", 100) + (uint64_t)_i / HARMS,
	       IMAGES_A_TEST);
}
END_TEST

static void twin_task(void *arg)
{
	struct fs_check_report r;
	struct fs_stats st;
	world_mount(&w);
	const char *d = model_differs(m, w.fs, true);
	if (d)
		ck_abort_msg("with a twin: %s", d);
	fs_stats(w.fs, &st);
	ck_assert_uint_gt(st.metadata_repaired, 0);
	world_unmount(&w);
	ck_assert_int_eq(fs_check(sim_env(w.sim), w.dev, false, say_stderr, NULL, &r), 0);
}

START_TEST(a_second_copy_repairs)
{
	world_new(&w, 12, 32 << 20);
	m = model_new(6);
	struct sim_disk *twin = sim_disk_new(w.sim, "twin", sim_disk_size(w.disk));
	sim_disk_set_twin(w.disk, twin);
	bool trees = false;
	ck_assert_int_eq(sim_run(w.sim, fill_task, &trees), 0);
	for (uint64_t b = 0; b < sim_disk_size(w.disk) / BS; b++)
		if (is_meta(b) && b != 0)
			flip(b, 100 + (unsigned)(b % 3000), 3, false);
	ck_assert_int_eq(sim_run(w.sim, twin_task, NULL), 0);
	model_free(m);
	world_free(&w);
}
END_TEST

static void small_task(void *arg)
{
	world_mkfs(&w);
	world_mount(&w);
	ck_assert_int_eq(make_file(w.fs, &root_fid, "f", NULL), 0);
	world_unmount(&w);
}

static void no_orphans_task(void *arg)
{
	struct fs_check_report r;
	struct fs_attr a;
	int lines = 0;
	world_mount(&w);
	env_sleep_ns(sim_env(w.sim), NS_PER_S);
	ck_assert(!w.fs->reaping);
	ck_assert_int_eq(find(w.fs, &root_fid, "f", &a), 0);
	world_unmount(&w);
	ck_assert_int_eq(fs_check(sim_env(w.sim), w.dev, true, say_nothing, &lines, &r), 0);
	ck_assert_uint_gt(r.repaired, 0);
	world_check(&w);
}

/* The tree of orphans cannot be read: who frees them gives up. */
START_TEST(orphans_that_cannot_be_read)
{
	world_new(&w, 13, 32 << 20);
	ck_assert_int_eq(sim_run(w.sim, small_task, NULL), 0);
	sim_run_for(w.sim, 60 * NS_PER_S);
	uint64_t block = le64_get(sim_disk_bytes(w.disk) + SB_ROOT_BLOCK);
	uint8_t *d = sim_disk_bytes(w.disk) + block * BS;
	le64_put(d + H_SIZE + ORPHAN_INO * INODE_SIZE + I_ROOT, UINT64_MAX);
	block_seal(d, 1);
	sim_disk_bytes_changed(w.disk, block * BS, BS);
	ck_assert_int_eq(sim_run(w.sim, no_orphans_task, NULL), 0);
	world_free(&w);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("fs_damage");
	TCase *t = tcase_create("damage");
	keep_memory();
	tcase_set_timeout(t, 600);
	tcase_add_loop_test(t, damage_is_repaired_or_refused, 0,
			    (int)((images() + IMAGES_A_TEST - 1) / IMAGES_A_TEST));
	tcase_add_test(t, a_second_copy_repairs);
	suite_add_tcase(s, t);
	t = tcase_create("orphans");
	tcase_set_timeout(t, 60);
	tcase_add_test(t, orphans_that_cannot_be_read);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	printf("%llu damaged images\n", (unsigned long long)images());
	srunner_free(r);
	return failed ? 1 : 0;
}
