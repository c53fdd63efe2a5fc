/*
 * The ring of blocks that memos lie in: made, read at a mount.
 *
 * It is the extents of inode 5, a thousandth of the file system (4 to 1040 blocks). mkfs makes it;
 * so does a mount for writing of a file system that has none, where there is room: blocks set aside
 * in memory are written without memos to their places, then one body makes them the inode's.
 *
 * A mount finds the memo with the highest number, behind which the next goes, and knows all memos
 * for five minutes. A block that does not hold, and has no good copy, is left out until a check has
 * emptied it (check_memo.c): so nothing is ever written over that was not the ring's.
 */
#include "nasfront/fs/memo.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#define RUN	 64 /* blocks read or written at once */
#define SHARE	 1000
#define KNOWN_NS (300 * NS_PER_S)

uint64_t memo_ring_size(uint64_t blocks)
{
	return MIN(MAX(blocks / SHARE, (uint64_t)MEMO_BLOCKS_MIN), (uint64_t)MEMO_BLOCKS_MAX);
}

const char *memo_block_verify(const uint8_t *d)
{
	uint64_t before = 0;
	for (unsigned i = 0; i < ME_PER_BLOCK; i++) {
		const uint8_t *p = d + H_SIZE + i * ME_SIZE;
		uint64_t seq = le64_get(p + ME_SEQ);
		uint32_t kind = le32_get(p + ME_KIND);
		if (seq >= ME_SEQ_MAX || (seq && i && (!before || seq != before + 1)))
			return "memos out of order";
		if (seq ? !kind || kind >= MEMO_KINDS : kind)
			return "memo of no known kind";
		before = seq;
	}
	return NULL;
}

/* ---- making it ---- */

int memo_blank(struct fs *fs, uint64_t start, uint64_t len)
{
	uint8_t *d;
	int rc = 0;
	if (posix_memalign((void **)&d, BS, RUN * BS))
		return -ENOMEM;
	for (uint64_t at = 0, n; at < len && !rc; at += n) {
		n = MIN(len - at, (uint64_t)RUN);
		memset(d, 0, n * BS);
		for (uint64_t i = 0; i < n; i++) {
			block_header(fs, d + i * BS, start + at + i, BT_MEMOS, MEMO_INO);
			block_seal(d + i * BS, 0);
		}
		rc = bdev_write(fs->dev, d, n * BS, (start + at) * BS, 0);
	}
	free(d);
	return rc;
}

struct making {
	struct extent e[EXT_INLINE_MAX];
	unsigned n;
	uint64_t blocks;
};

static int make_body(struct fs *fs, const struct making *k)
{
	struct inode in;
	uint64_t at = 0;
	int rc = inode_holder(fs, MEMO_INO, MEMO_TYPE, &in);
	for (unsigned i = 0; i < k->n && !rc; i++) {
		rc = alloc_claim(fs, k->e[i].start, k->e[i].len);
		if (!rc)
			rc = ext_insert(&in, at, k->e[i].start, k->e[i].len, 0);
		at += k->e[i].len;
	}
	return rc;
}

/* Few pieces, as long as there are. */
static int make_reserve(struct fs *fs, struct making *k)
{
	uint64_t want = memo_ring_size(fs->blocks);
	int rc = alloc_data_avail(fs) < 2 * want ? -ENOSPC : 0;
	while (!rc && k->blocks < want && k->n < EXT_INLINE_MAX) {
		struct extent *e = &k->e[k->n];
		struct op op;
		op_begin(&op, fs, false);
		OP_LOOP(&op, rc, alloc_reserve(fs, fs->root_block + 1, want - k->blocks, e));
		op_end(&op);
		if (rc)
			break;
		k->blocks += e->len;
		k->n++;
	}
	if (rc && rc != -ENOSPC)
		return rc;
	return k->blocks < MEMO_BLOCKS_MIN ? -ENOSPC : 0;
}

/* What is written first nobody knows of until the body has ended. */
static int make_ring(struct fs *fs)
{
	struct making k = {.n = 0};
	struct op op;
	int rc = make_reserve(fs, &k);
	for (unsigned i = 0; i < k.n && !rc; i++)
		rc = memo_blank(fs, k.e[i].start, k.e[i].len);
	if (!rc)
		rc = journal_flush(fs);
	if (!rc) {
		op_begin(&op, fs, true);
		OP_LOOP(&op, rc, make_body(fs, &k));
		rc = op_commit(&op, rc);
	}
	for (unsigned i = 0; i < k.n; i++)
		alloc_unreserve(fs, k.e[i].start, k.e[i].len);
	return rc;
}

/* ---- reading it ---- */

static int known_add(struct memos *m, const uint8_t *p)
{
	if (m->nknown == m->room) {
		size_t room = MAX(2 * m->room, (size_t)256);
		struct memo_known *v = realloc(m->known, room * sizeof(*v));
		if (!v)
			return -ENOMEM;
		m->known = v;
		m->room = room;
	}
	struct memo_known *k = &m->known[m->nknown++];
	*k = (struct memo_known){.seq = le64_get(p + ME_SEQ),
				 .ino = le64_get(p + ME_INO),
				 .generation = le32_get(p + ME_GENERATION),
				 .kind = (uint8_t)le32_get(p + ME_KIND)};
	memcpy(k->key, p + ME_KEY, sizeof(k->key));
	return 0;
}

static int block_add(struct memos *m, uint64_t block, const uint8_t *d)
{
	m->blocks[m->n++] = block;
	for (unsigned i = 0; i < ME_PER_BLOCK; i++) {
		const uint8_t *p = d + H_SIZE + i * ME_SIZE;
		uint64_t seq = le64_get(p + ME_SEQ);
		if (!seq)
			break;
		int rc = known_add(m, p);
		if (rc)
			return rc;
		if (seq <= m->seq)
			continue;
		m->seq = seq;
		m->at = m->n - 1;
		m->used = i + 1;
	}
	return 0;
}

/* One that was read with others and does not hold: by itself, which says so and tries the copies.
 * False: it is lost. */
static bool block_again(struct fs *fs, uint64_t block, uint8_t *d)
{
	struct buf *b;
	if (meta_load(fs, block, BT_MEMOS, &b))
		return false;
	bool good = b->type == BT_MEMOS && b->owner == MEMO_INO;
	if (good)
		memcpy(d, b->data, BS);
	meta_unpin(b);
	return good;
}

static int extent_read(struct fs *fs, struct memos *m, const struct extent *e, uint8_t *d)
{
	for (uint64_t at = 0, n; at < e->len; at += n) {
		uint64_t first = e->start + at;
		n = MIN(e->len - at, (uint64_t)RUN);
		int rc = bdev_read(fs->dev, d, n * BS, first * BS);
		for (uint64_t i = 0; i < n; i++) {
			uint8_t *p = d + i * BS;
			bool good = !rc && !block_verify(fs->uuid, p, first + i, BT_MEMOS) &&
				    le64_get(p + H_OWNER) == MEMO_INO;
			if (!good && !block_again(fs, first + i, p))
				continue;
			int r = block_add(m, first + i, p);
			if (r)
				return r;
		}
	}
	return 0;
}

/* By key and kind; of two that are alike the later one counts. */
static int known_index(struct fs *fs, struct memos *m)
{
	m->mask = 255;
	while (m->mask < m->nknown)
		m->mask = 2 * m->mask + 1;
	m->index = calloc(m->mask + 1, sizeof(*m->index));
	if (!m->index)
		return -ENOMEM;
	for (uint32_t i = 1; i <= m->nknown; i++) {
		struct memo_known *k = &m->known[i - 1], *o = NULL;
		uint32_t *head = &m->index[memo_hash(fs, k->key) & m->mask], at = *head;
		for (; at; at = o->next) {
			o = &m->known[at - 1];
			if (o->kind == k->kind && !memcmp(o->key, k->key, sizeof(k->key)))
				break;
		}
		if (at && o->seq < k->seq) {
			uint32_t next = o->next;
			*o = *k;
			o->next = next;
		}
		if (at)
			continue;
		k->next = *head;
		*head = i;
	}
	return 0;
}

static void known_free(struct memos *m)
{
	free(m->known);
	free(m->index);
	m->known = NULL;
	m->index = NULL;
	m->nknown = m->room = 0;
}

static void known_timer_fire(void *arg)
{
	struct memos *m = arg;
	m->timer_on = false;
	known_free(m);
}

/* Where the next memo goes, and what is known. */
static int ring_begin(struct fs *fs, struct memos *m)
{
	if (!m->n)
		return 0;
	if (!m->seq)
		m->at = m->n - 1;
	else if (meta_load(fs, m->blocks[m->at], BT_MEMOS, &m->b))
		m->b = NULL; /* another one is begun */
	int rc = m->nknown ? known_index(fs, m) : 0;
	if (rc || !m->nknown)
		return rc;
	m->timer = (struct env_timer){.fn = known_timer_fire, .arg = m};
	m->timer_on = true;
	env_timer_start(fs->env, &m->timer, KNOWN_NS);
	return 0;
}

/* The inode's extents: they are in it, whole and sane. */
static int extents_of(const struct inode *in, struct making *k)
{
	unsigned n = IN32(in, I_INLINE);
	if (IN_TYPE(in) != MEMO_TYPE || IN64(in, I_ROOT) || n > EXT_INLINE_MAX)
		return -ERR_CORRUPT;
	for (; k->n < n; k->n++) {
		const uint8_t *p = in->p + I_AREA + k->n * EXT_INLINE_SIZE;
		struct extent e = {le64_get(p + 8), le32_get(p + 16)};
		if (le32_get(p + 20) || !extent_is_data(in->fs, e.start, e.len))
			return -ERR_CORRUPT;
		k->e[k->n] = e;
		k->blocks += e.len;
	}
	return k->blocks <= MEMO_BLOCKS_MAX ? 0 : -ERR_CORRUPT;
}

static int ring_read(struct fs *fs, const struct making *k)
{
	struct memos *m = calloc(1, sizeof(*m));
	uint8_t *d;
	if (!m)
		return -ENOMEM;
	fs->memos = m;
	m->blocks = calloc(k->blocks + 1, sizeof(*m->blocks));
	if (!m->blocks || posix_memalign((void **)&d, BS, RUN * BS))
		return -ENOMEM;
	int rc = 0;
	for (unsigned i = 0; i < k->n && !rc; i++)
		rc = extent_read(fs, m, &k->e[i], d);
	free(d);
	return rc ? rc : ring_begin(fs, m);
}

static void none(struct fs *fs, const char *why)
{
	event_write(LOG_L_WARN, "fs.memos",
		    "%s: %s: calls that clients send again after a crash may be carried out twice",
		    fs->dev->name, why);
}

int memo_start(struct fs *fs)
{
	struct making k = {.n = 0};
	struct inode in;
	if (fs->read_only)
		return 0;
	int rc = inode_get(fs, MEMO_INO, &in); /* of a block that is pinned */
	if (rc == -ESTALE || (!rc && IN_TYPE(&in) == MEMO_TYPE && !IN64(&in, I_BLOCKS))) {
		rc = make_ring(fs);
		if (!rc)
			rc = inode_get(fs, MEMO_INO, &in);
	}
	if (!rc)
		rc = extents_of(&in, &k);
	if (!rc)
		return ring_read(fs, &k);
	if (rc != -ENOSPC && rc != -ERR_CORRUPT)
		return rc;
	none(fs, rc == -ENOSPC ? "there is no room for memos" : "the ring of memos is damaged");
	return 0;
}

void memo_stop(struct fs *fs)
{
	if (fs->memos && fs->memos->timer_on)
		env_timer_stop(fs->env, &fs->memos->timer);
	if (fs->memos)
		fs->memos->timer_on = false;
}

void memo_free(struct fs *fs)
{
	if (!fs->memos)
		return;
	known_free(fs->memos);
	free(fs->memos->blocks);
	free(fs->memos);
}
