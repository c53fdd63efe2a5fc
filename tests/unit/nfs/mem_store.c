#include "tests/unit/nfs/mem_store.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/check.h"
#include "runtime/env.h"

/* Tests look from threads of their own. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void free_all(struct mem_record **list)
{
	struct mem_record *r;
	while ((r = *list)) {
		*list = r->next;
		free(r);
	}
}

static struct mem_record **find(struct mem_record **at, const void *key, size_t len)
{
	while (*at && ((*at)->key_len != len || memcmp((*at)->key, key, len) != 0))
		at = &(*at)->next;
	return at;
}

static struct mem_record *copy_all(const struct mem_record *from)
{
	struct mem_record *list = NULL, **end = &list;
	for (; from; from = from->next) {
		*end = malloc(sizeof(**end));
		**end = *from;
		(*end)->next = NULL;
		end = &(*end)->next;
	}
	return list;
}

static int64_t size_of(const struct mem_record *r)
{
	return r && r->key_len ? (int64_t)(8 + r->key_len + r->len) : 0;
}

static int64_t mem_put(void *arg, const void *key, size_t key_len, const void *value, size_t len)
{
	struct mem_store *m = arg;
	ASSERT(key_len <= STORE_KEY_MAX && len <= STORE_RECORD_MAX);
	pthread_mutex_lock(&lock);
	struct mem_record **at = find(&m->now, key, key_len);
	if (!*at)
		*at = calloc(1, sizeof(**at));
	int64_t more = (int64_t)(8 + key_len + len) - size_of(*at);
	(*at)->key_len = key_len;
	(*at)->len = len;
	memcpy((*at)->key, key, key_len);
	memcpy((*at)->value, value, len);
	m->puts++;
	m->used += (uint64_t)more;
	pthread_mutex_unlock(&lock);
	return more;
}

static int64_t mem_drop(void *arg, const void *key, size_t key_len)
{
	struct mem_store *m = arg;
	pthread_mutex_lock(&lock);
	struct mem_record **at = find(&m->now, key, key_len), *r = *at;
	if (r)
		*at = r->next;
	int64_t less = size_of(r);
	m->used -= (uint64_t)less;
	free(r);
	pthread_mutex_unlock(&lock);
	return -less;
}

static void mem_sync(void *arg)
{
	struct mem_store *m = arg;
	m->syncs++;
	m->held++;
	while (m->hold)
		env_sleep_ns(env_real(), NS_PER_MS);
	m->held--;
	if (m->sloppy)
		return;
	free_all(&m->stable);
	m->stable = copy_all(m->now);
}

struct row {
	Isthmus__StateRecord *r;
	uint64_t bytes;
};

static int by_first(const void *a, const void *b)
{
	const struct row *x = a, *y = b;
	uint64_t p = x->r->lock->first, q = y->r->lock->first;
	return p < q ? -1 : p > q;
}

static void mem_each(void *arg, enum store_kind kind, store_fn *fn, void *fn_arg)
{
	struct mem_store *m = arg;
	unsigned n = 0, all = mem_store_count(m, kind);
	struct row *rows = calloc(all + 1, sizeof(*rows)); /* who is told may change them */
	for (const struct mem_record *r = m->now; r; r = r->next) {
		if (r->key[0] != (uint8_t)kind)
			continue;
		rows[n] = (struct row){isthmus__state_record__unpack(NULL, r->len, r->value),
				       (uint64_t)size_of(r)};
		ASSERT(rows[n].r && rows[n].r->version == STORE_VERSION);
		n++;
	}
	if (kind == STORE_LOCK)
		qsort(rows, n, sizeof(*rows), by_first);
	for (unsigned i = 0; i < n; i++) {
		fn(fn_arg, rows[i].r, rows[i].bytes);
		isthmus__state_record__free_unpacked(rows[i].r, NULL);
	}
	free(rows);
}

static struct store_room mem_room(void *arg)
{
	struct mem_store *m = arg;
	uint64_t all = m->all ? m->all : 64 << 20, left = all / 4 * 3;
	return (struct store_room){.all = all,
				   .left = m->full || m->used > left ? 0 : left - m->used,
				   .spare = m->used > all ? 0 : all - m->used};
}

void mem_store_init(struct mem_store *m)
{
	*m = (struct mem_store){.store = {.put = mem_put,
					  .drop = mem_drop,
					  .sync = mem_sync,
					  .room = mem_room,
					  .each = mem_each,
					  .arg = m}};
}

void mem_store_free(struct mem_store *m)
{
	free_all(&m->now);
	free_all(&m->stable);
}

void mem_store_crash(struct mem_store *m)
{
	free_all(&m->now);
	m->now = copy_all(m->stable);
	m->used = 0;
	for (const struct mem_record *r = m->now; r; r = r->next)
		m->used += (uint64_t)size_of(r);
}

unsigned mem_store_count(const struct mem_store *m, enum store_kind kind)
{
	unsigned n = 0;
	pthread_mutex_lock(&lock);
	for (const struct mem_record *r = m->now; r; r = r->next)
		n += r->key[0] == (uint8_t)kind;
	pthread_mutex_unlock(&lock);
	return n;
}
