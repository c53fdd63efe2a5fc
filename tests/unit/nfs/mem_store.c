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

static void mem_put(void *arg, const void *key, size_t key_len, const void *value, size_t len)
{
	struct mem_store *m = arg;
	ASSERT(key_len <= STORE_KEY_MAX && len <= STORE_RECORD_MAX);
	pthread_mutex_lock(&lock);
	struct mem_record **at = find(&m->now, key, key_len);
	if (!*at)
		*at = calloc(1, sizeof(**at));
	(*at)->key_len = key_len;
	(*at)->len = len;
	memcpy((*at)->key, key, key_len);
	memcpy((*at)->value, value, len);
	m->puts++;
	pthread_mutex_unlock(&lock);
}

static void mem_drop(void *arg, const void *key, size_t key_len)
{
	struct mem_store *m = arg;
	pthread_mutex_lock(&lock);
	struct mem_record **at = find(&m->now, key, key_len), *r = *at;
	if (r)
		*at = r->next;
	free(r);
	pthread_mutex_unlock(&lock);
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

static void mem_each(void *arg, enum store_kind kind,
		     void (*fn)(void *fn_arg, const Isthmus__StateRecord *r), void *fn_arg)
{
	struct mem_store *m = arg;
	struct mem_record *all = copy_all(m->now); /* who is told may change them */
	for (const struct mem_record *r = all; r; r = r->next) {
		if (r->key[0] != (uint8_t)kind)
			continue;
		Isthmus__StateRecord *rec = isthmus__state_record__unpack(NULL, r->len, r->value);
		ASSERT(rec && rec->version == STORE_VERSION);
		fn(fn_arg, rec);
		isthmus__state_record__free_unpacked(rec, NULL);
	}
	free_all(&all);
}

static bool mem_full(void *arg)
{
	struct mem_store *m = arg;
	return m->full;
}

void mem_store_init(struct mem_store *m)
{
	*m = (struct mem_store){.store = {.put = mem_put,
					  .drop = mem_drop,
					  .sync = mem_sync,
					  .full = mem_full,
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
