/* Metadata of the block core for channel tests: one for both controllers, and made up. */
#include "tests/unit/channel/fake_impl.h"
#include <check.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "blockcore/control/meta.h"
#include "blockcore/core.h"
#include "runtime/env.h"
#include "runtime/err.h"

/* ---- metadata: one for both ---- */

const Isthmus__ArrayMeta *meta_get(const struct meta *m)
{
	return m->am;
}

void fake_meta_lock(struct fake_control *k)
{
	while (atomic_exchange(&k->meta_lock, 1))
		env_sleep_ns(env_real(), NS_PER_MS / 4);
}

static void heads_load(struct meta *m)
{
	struct fake_control *k = m->control;
	while (m->am->n_heads)
		isthmus__head_instance__free_unpacked(m->am->heads[--m->am->n_heads], NULL);
	for (unsigned i = 0; i < k->nheads; i++) {
		Isthmus__HeadInstance *h = malloc(sizeof(*h));
		isthmus__head_instance__init(h);
		h->head = strdup(k->heads[i].head);
		h->instance = k->heads[i].instance;
		h->epoch = k->heads[i].epoch;
		ck_assert_int_eq(pb_append(&m->am->heads, &m->am->n_heads, h), 0);
	}
	m->am->n_pools = k->pools != 0;
	m->am->seq = k->seq;
}

static void heads_store(struct meta *m)
{
	struct fake_control *k = m->control;
	ck_assert_uint_le(m->am->n_heads, HEADS_MAX);
	k->nheads = (unsigned)m->am->n_heads;
	for (unsigned i = 0; i < k->nheads; i++) {
		const Isthmus__HeadInstance *h = m->am->heads[i];
		snprintf(k->heads[i].head, sizeof(k->heads[i].head), "%s", h->head);
		k->heads[i].instance = h->instance;
		k->heads[i].epoch = h->epoch;
	}
}

/* What another wrote is made ours. Under the lock. */
void fake_meta_follow(struct meta *m)
{
	if (m->control->seen[m->side] == m->control->seq)
		return;
	heads_load(m);
	if (m->watch.fn)
		m->watch.fn(m->watch.arg, m->am);
	m->control->seen[m->side] = m->am->seq;
}

int meta_update(struct meta *m, int (*change)(Isthmus__ArrayMeta *am, void *arg, char *why),
		void *arg, char *why)
{
	struct fake_control *k = m->control;
	fake_meta_lock(k);
	fake_meta_follow(m);
	int rc = change(m->am, arg, why);
	if (rc) {
		k->meta_lock = 0;
		return rc;
	}
	heads_store(m);
	uint64_t seq = ++k->seq;
	fake_meta_follow(m);
	k->meta_lock = 0;
	/* Done when the partner has taken it. */
	while (k->lives[!m->side] && k->seen[!m->side] < seq)
		env_sleep_ns(env_real(), NS_PER_MS / 4);
	return 0;
}

int meta_watch(struct meta *m, void (*fn)(void *arg, const Isthmus__ArrayMeta *am), void *arg,
	       struct meta_watch **ret)
{
	m->watch = (struct meta_watch){.fn = fn, .arg = arg};
	*ret = &m->watch;
	return 0;
}

void meta_unwatch(struct meta *m, struct meta_watch *w)
{
	w->fn = NULL;
}

static int no_change(Isthmus__ArrayMeta *am, void *arg, char *why)
{
	return 0;
}

uint64_t fake_meta_touch(void)
{
	struct meta *m = &fake_called->meta;
	char why[256];
	ck_assert_int_eq(meta_update(m, no_change, NULL, why), 0);
	return m->am->seq;
}

/* ---- metadata made up ---- */

static void put_fs(Isthmus__ArrayMeta *am, const char *name, uint32_t volume, const char *head)
{
	Isthmus__FileSystem *fs = malloc(sizeof(*fs));
	isthmus__file_system__init(fs);
	fs->name = strdup(name);
	fs->volume_id = volume;
	fs->id = volume * 10;
	fs->group = strdup("g1");
	fs->head = strdup(head);
	am->filesystems[am->n_filesystems++] = fs;
}

static void put_group(Isthmus__ArrayMeta *am, const char *name, uint32_t piv, uint32_t backup)
{
	Isthmus__HeadGroup *g = malloc(sizeof(*g));
	isthmus__head_group__init(g);
	g->name = strdup(name);
	g->piv_volume = piv;
	g->backup_volume = backup;
	g->id = piv + 1000;
	am->groups[am->n_groups++] = g;
}

static void put_export(Isthmus__ArrayMeta *am)
{
	Isthmus__Export *e = malloc(sizeof(*e));
	Isthmus__ExportClient *c = malloc(sizeof(*c));
	isthmus__export__init(e);
	isthmus__export_client__init(c);
	e->path = strdup("/one");
	e->fs = strdup("fs1");
	e->subdir = strdup("/");
	e->id = 77;
	c->match = strdup("10.0.0.0/8");
	c->squash = strdup("root");
	c->read_write = true;
	c->anon_uid = 65534;
	Isthmus__ExportClient *k = malloc(sizeof(*k));
	isthmus__export_client__init(k);
	k->match = strdup("*");
	k->squash = strdup("root");
	k->sec = strdup("krb5p:krb5");
	Isthmus__ExportClient *t = malloc(sizeof(*t));
	isthmus__export_client__init(t);
	t->match = strdup("fd00::/8");
	t->squash = strdup("root");
	t->sec = strdup("sys");
	t->xprtsec = strdup("tls:mtls");
	e->clients = malloc(3 * sizeof(*e->clients));
	e->clients[e->n_clients++] = c;
	e->clients[e->n_clients++] = k;
	e->clients[e->n_clients++] = t;
	am->exports = malloc(sizeof(*am->exports));
	am->exports[am->n_exports++] = e;
}

static void put_programs(Isthmus__ArrayMeta *am, uint32_t id)
{
	Isthmus__Volume *v = malloc(sizeof(*v));
	isthmus__volume__init(v);
	v->id = id;
	v->purpose = strdup("software");
	am->volumes = malloc(sizeof(*am->volumes));
	am->volumes[am->n_volumes++] = v;
}

Isthmus__ArrayMeta *fake_meta_make(void)
{
	Isthmus__ArrayMeta *am = malloc(sizeof(*am));
	isthmus__array_meta__init(am);
	Isthmus__Pool *pool = malloc(sizeof(*pool));
	isthmus__pool__init(pool);
	am->pools = malloc(sizeof(*am->pools));
	am->pools[0] = pool; /* counted when the world has one */
	am->filesystems = malloc(2 * sizeof(*am->filesystems));
	am->groups = malloc(2 * sizeof(*am->groups));
	put_fs(am, "fs1", 1, "h1");
	put_fs(am, "fs2", 2, "h2");
	put_group(am, "g1", 3, 4);
	put_group(am, "g2", 5, 0);
	put_export(am);
	put_programs(am, 7);
	return am;
}
