/*
 * One node of a tree: leaves with slots and a heap, inner nodes with pairs (layout.h).
 * Every node read from the volume went through tree_node_verify(), so what is here trusts offsets
 * and lengths inside the block; what points out of it is checked by tree.c.
 */
#include "nasfront/fs/impl.h"
#include "runtime/check.h"

#define NODE_HEAD (5 * 64) /* header and slots of a usual leaf */
#define NEAR	  8	   /* how far a good guess is off at most */

unsigned node_count(const uint8_t *d)
{
	return le16_get(d + H_COUNT);
}

unsigned node_level(const uint8_t *d)
{
	return le16_get(d + H_LEVEL);
}

static unsigned slot(const uint8_t *d, unsigned i)
{
	return le16_get(d + H_SIZE + 2 * i);
}

static unsigned heap(const uint8_t *d)
{
	unsigned h = le16_get(d + H_HEAP);
	return h ? h : BS; /* of a new leaf */
}

uint64_t leaf_key(const uint8_t *d, unsigned i)
{
	return le64_get(d + slot(d, i));
}

static unsigned entry_size(const uint8_t *d, unsigned i)
{
	return LEAF_ENTRY + le16_get(d + slot(d, i) + 8);
}

uint8_t *leaf_value(uint8_t *d, unsigned i, unsigned *ret_len)
{
	uint8_t *e = d + slot(d, i);
	*ret_len = le16_get(e + 8);
	return e + LEAF_ENTRY;
}

void node_prefetch(const uint8_t *d)
{
	for (unsigned i = 0; i < NODE_HEAD; i += 64)
		__builtin_prefetch(d + i);
}

/*
 * A seek begins at a guess (tree.c). What is read of a node of a big directory was not in the
 * processor's cache: it is fetched at once rather than one probe after the other.
 */
typedef uint64_t key_at(const uint8_t *d, unsigned i);

/* First entry with a key >= key. It is looked for in [lo, hi] first. */
static inline unsigned seek(const uint8_t *d, uint64_t key, unsigned lo, unsigned hi, key_at *at)
{
	unsigned n = node_count(d), step = 2 * NEAR;
	for (; lo > 0 && at(d, lo - 1) >= key; step *= 2) {
		hi = lo - 1;
		lo = hi > step ? hi - step : 0;
	}
	for (; hi < n && at(d, hi) < key; step *= 2) {
		lo = hi + 1;
		hi = MIN(lo + step, n);
	}
	while (lo < hi) {
		unsigned mid = (lo + hi) / 2;
		if (at(d, mid) < key)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

unsigned leaf_seek(const uint8_t *d, uint64_t key, unsigned guess)
{
	unsigned n = node_count(d), lo = guess > NEAR ? guess - NEAR : 0, hi = MIN(guess + NEAR, n);
	for (unsigned i = lo; i < hi; i++) /* each in a cache line of its own */
		__builtin_prefetch(d + slot(d, i));
	return seek(d, key, MIN(lo, hi), hi, leaf_key);
}

static bool value_sound(unsigned type, unsigned len)
{
	switch (type) {
	case BT_EXTENTS:
		return len == EXT_VALUE;
	case BT_DIR:
		return len > DIR_VALUE && len <= DIR_VALUE + FS_NAME_MAX;
	case BT_SYMLINK:
		return len && len <= SYMLINK_CHUNK;
	case BT_ORPHANS:
		return len == 1;
	case BT_QUOTAS:
		return len >= Q_SIZE && len <= Q_SIZE + FS_QUOTA_PATH_MAX;
	case BT_SHARES:
		return len == SHARE_VALUE;
	case BT_XATTRS:
		return len && len <= TREE_VALUE_MAX;
	}
	return false;
}

static const char *leaf_verify(const uint8_t *d)
{
	unsigned n = node_count(d), h = heap(d), sum = le16_get(d + H_GARBAGE);
	if (h > BS || H_SIZE + 2 * n > h)
		return "leaf with a wrong heap";
	for (unsigned i = 0; i < n; i++) {
		unsigned at = slot(d, i);
		if (at < h || at + LEAF_ENTRY > BS || at + entry_size(d, i) > BS)
			return "leaf entry outside its heap";
		if (!value_sound(le16_get(d + H_TYPE), entry_size(d, i) - LEAF_ENTRY))
			return "leaf entry of wrong length";
		if (i && leaf_key(d, i) <= leaf_key(d, i - 1))
			return "leaf keys out of order";
		sum += entry_size(d, i);
	}
	return sum == BS - h ? NULL : "leaf heap does not add up";
}

const char *tree_node_verify(const uint8_t *d)
{
	unsigned n = node_count(d), level = node_level(d);
	if (level > TREE_MAX_LEVEL)
		return "tree too deep";
	if (!level)
		return leaf_verify(d);
	if (!n || n > INNER_MAX)
		return "inner node with a wrong count";
	for (unsigned i = 1; i < n; i++)
		if (inner_key(d, i) <= inner_key(d, i - 1))
			return "inner keys out of order";
	return NULL;
}

/* ---- leaves ---- */

unsigned leaf_used(const uint8_t *d)
{
	return BS - heap(d) - le16_get(d + H_GARBAGE) + 2 * node_count(d);
}

bool leaf_fits(const uint8_t *d, unsigned vlen)
{
	return leaf_used(d) + LEAF_ENTRY + vlen + 2 <= BS - H_SIZE;
}

static void header_touch(struct fs *fs, struct buf *b)
{
	txn_touch(fs, b, H_COUNT, H_SIZE - H_COUNT);
}

void leaf_compact(struct fs *fs, struct buf *b)
{
	uint8_t copy[BS], *d = b->data;
	unsigned n = node_count(d), at = BS;
	memcpy(copy, d, BS);
	txn_touch(fs, b, 0, BS);
	for (unsigned i = 0; i < n; i++) {
		unsigned len = entry_size(copy, i);
		at -= len;
		memcpy(d + at, copy + slot(copy, i), len);
		le16_put(d + H_SIZE + 2 * i, (uint16_t)at);
	}
	le16_put(d + H_HEAP, (uint16_t)at);
	le16_put(d + H_GARBAGE, 0);
}

void leaf_insert(struct fs *fs, struct buf *b, unsigned i, uint64_t key, const void *v,
		 unsigned vlen)
{
	uint8_t *d = b->data;
	unsigned n = node_count(d), len = LEAF_ENTRY + vlen;
	ASSERT(leaf_fits(d, vlen) && i <= n);
	if (H_SIZE + 2 * (n + 1) + len > heap(d))
		leaf_compact(fs, b);
	unsigned at = heap(d) - len;
	header_touch(fs, b);
	txn_touch(fs, b, H_SIZE + 2 * i, 2 * (n - i + 1));
	txn_touch(fs, b, at, len);
	memmove(d + H_SIZE + 2 * (i + 1), d + H_SIZE + 2 * i, 2 * (n - i));
	le16_put(d + H_SIZE + 2 * i, (uint16_t)at);
	le64_put(d + at, key);
	le16_put(d + at + 8, (uint16_t)vlen);
	memcpy(d + at + LEAF_ENTRY, v, vlen);
	le16_put(d + H_COUNT, (uint16_t)(n + 1));
	le16_put(d + H_HEAP, (uint16_t)at);
}

void leaf_delete(struct fs *fs, struct buf *b, unsigned i)
{
	uint8_t *d = b->data;
	unsigned n = node_count(d), len = entry_size(d, i), at = slot(d, i);
	header_touch(fs, b);
	txn_touch(fs, b, H_SIZE + 2 * i, 2 * (n - i));
	memmove(d + H_SIZE + 2 * i, d + H_SIZE + 2 * (i + 1), 2 * (n - i - 1));
	le16_put(d + H_COUNT, (uint16_t)(n - 1));
	if (at == heap(d))
		le16_put(d + H_HEAP, (uint16_t)(at + len));
	else
		le16_put(d + H_GARBAGE, (uint16_t)(le16_get(d + H_GARBAGE) + len));
}

void leaf_move(struct fs *fs, struct buf *b, unsigned from, struct buf *to)
{
	unsigned n = node_count(b->data), len;
	for (unsigned i = from; i < n; i++) {
		const uint8_t *v = leaf_value(b->data, i, &len);
		leaf_insert(fs, to, node_count(to->data), leaf_key(b->data, i), v, len);
	}
	while (node_count(b->data) > from)
		leaf_delete(fs, b, node_count(b->data) - 1);
	leaf_compact(fs, b);
}

/* ---- inner nodes ---- */

uint64_t inner_key(const uint8_t *d, unsigned i)
{
	return le64_get(d + H_SIZE + INNER_PAIR * i);
}

uint64_t inner_child(const uint8_t *d, unsigned i)
{
	return le64_get(d + H_SIZE + INNER_PAIR * i + 8);
}

unsigned inner_seek(const uint8_t *d, uint64_t key, unsigned guess)
{
	unsigned n = node_count(d), lo = guess > NEAR ? guess - NEAR : 0, hi = MIN(guess + NEAR, n);
	unsigned i = key == UINT64_MAX ? n : seek(d, key + 1, MIN(lo, hi), hi, inner_key);
	return i ? i - 1 : 0;
}

void inner_set_key(struct fs *fs, struct buf *b, unsigned i, uint64_t key)
{
	txn_touch(fs, b, H_SIZE + INNER_PAIR * i, 8);
	le64_put(b->data + H_SIZE + INNER_PAIR * i, key);
}

void inner_insert(struct fs *fs, struct buf *b, unsigned i, uint64_t key, uint64_t child)
{
	uint8_t *d = b->data, *p = d + H_SIZE + INNER_PAIR * i;
	unsigned n = node_count(d);
	ASSERT(n < INNER_MAX && i <= n);
	header_touch(fs, b);
	txn_touch(fs, b, H_SIZE + INNER_PAIR * i, INNER_PAIR * (n - i + 1));
	memmove(p + INNER_PAIR, p, INNER_PAIR * (n - i));
	le64_put(p, key);
	le64_put(p + 8, child);
	le16_put(d + H_COUNT, (uint16_t)(n + 1));
}

void inner_delete(struct fs *fs, struct buf *b, unsigned i)
{
	uint8_t *d = b->data, *p = d + H_SIZE + INNER_PAIR * i;
	unsigned n = node_count(d);
	header_touch(fs, b);
	txn_touch(fs, b, H_SIZE + INNER_PAIR * i, INNER_PAIR * (n - i));
	memmove(p, p + INNER_PAIR, INNER_PAIR * (n - i - 1));
	le16_put(d + H_COUNT, (uint16_t)(n - 1));
}

void inner_move(struct fs *fs, struct buf *b, unsigned from, struct buf *to)
{
	unsigned n = node_count(b->data);
	for (unsigned i = from; i < n; i++)
		inner_insert(fs, to, node_count(to->data), inner_key(b->data, i),
			     inner_child(b->data, i));
	header_touch(fs, b);
	le16_put(b->data + H_COUNT, (uint16_t)from);
}
