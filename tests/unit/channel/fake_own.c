/* Ownership of volumes in the block core for channel tests. */
#include "tests/unit/channel/fake_impl.h"
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "blockcore/cache/cache.h"
#include "blockcore/cache/cache_layout.h"
#include "blockcore/core.h"
#include "blockcore/core_own.h"
#include "blockcore/volume/volume.h"
#include "runtime/bdev.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/task.h"

/* ---- ownership ---- */

enum core_place core_volume_place(const struct volume *v)
{
	return (enum core_place)v->place;
}

uint64_t core_volume_owner_epoch(const struct volume *v)
{
	return v->owner_epoch;
}

int core_volume_settle(struct volume *v, uint64_t timeout_ns)
{
	while (v->place == CORE_MOVING)
		env_sleep_ns(env_real(), NS_PER_MS);
	return 0;
}

uint64_t core_volume_memory_id(struct core *c, const struct volume *v)
{
	return c->meta.control->memory[v->id - 1];
}

int core_own_watch(struct core *c, void (*fn)(void *arg, struct volume *v), void *arg,
		   struct core_own_watch **ret)
{
	c->own_watch = (struct core_own_watch){.fn = fn, .arg = arg};
	*ret = &c->own_watch;
	return 0;
}

void core_own_unwatch(struct core *c, struct core_own_watch *w)
{
	w->fn = NULL;
}

static void own_tell(struct core *c, struct volume *v)
{
	if (c->own_watch.fn)
		c->own_watch.fn(c->own_watch.arg, v);
}

int fake_enter(struct volume *v)
{
	v->uses++;
	if (v->place == CORE_HERE)
		return 0;
	v->uses--;
	return -ERR_NOT_OWNER;
}

int fake_leave(struct volume *v, int rc)
{
	v->uses--;
	return rc;
}

int volume_use(struct volume *v)
{
	return fake_enter(v);
}

void volume_unuse(struct volume *v)
{
	fake_leave(v, 0);
}

static void own_take(struct fake_server *s, struct volume *v)
{
	uint64_t word = s->w->control->owner[v->id - 1];
	ck_assert_int_eq(cache_vol_attach(s->core.cache, v->id, &v->dev.b, &v->cv), 0);
	v->owner_epoch = WORD_EPOCH(word);
	v->place = CORE_HERE;
	own_tell(&s->core, v);
	s->w->control->taken[v->id - 1] = word;
}

/* As an owner gives a pool away: what runs is waited for, pages go to disk and out of the index. */
static void own_give(struct fake_server *s, struct volume *v, bool back_out)
{
	struct core *c = &s->core;
	_Atomic uint64_t *word = &s->w->control->owner[v->id - 1];
	if (v->place != CORE_HERE)
		own_take(s, v); /* it has just been given, and nobody looked yet */
	v->place = CORE_MOVING;
	own_tell(c, v);
	while (v->uses)
		env_sleep_ns(env_real(), NS_PER_MS / 4);
	if (back_out) {
		v->place = CORE_HERE;
		own_tell(c, v);
		return;
	}
	ck_assert_int_eq(cache_vol_detach(v->cv, false), 0);
	v->cv = NULL;
	*word = WORD(WORD_EPOCH(*word) + 1, !s->side);
	v->place = CORE_PARTNER;
	own_tell(c, v);
}

/* What the dead one had not written to the disks is brought there, as from the mirror area. */
static void rescue(struct fake_server *s, struct cache_super *dead)
{
	const struct cbe *cbes = (const struct cbe *)((uint8_t *)dead + dead->cbe_off);
	uint64_t newest[FAKE_VOLUMES][FAKE_VOL_SIZE / 4096] = {0};
	for (uint32_t i = 0; i < dead->npages; i++) {
		const struct cbe *e = &cbes[i];
		uint8_t *data = (uint8_t *)dead + dead->page_off + i * 4096ull;
		if (e->state != CBE_DIRTY || e->volume == 0 || e->volume > FAKE_VOLUMES)
			continue;
		if (newest[e->volume - 1][e->page] > e->generation)
			continue;
		newest[e->volume - 1][e->page] = e->generation;
		uint8_t *disk = fake_disk(s->w, e->volume) + e->page * 4096;
		for (unsigned k = 0; k < 8; k++)
			if (e->dirty & 1u << k)
				memcpy(disk + k * 512, data + k * 512, 512);
	}
}

static void own_take_over(struct fake_server *s, bool lose)
{
	struct fake_control *k = s->w->control;
	int fd = open(s->w->cache_path[!s->side], O_RDWR);
	ck_assert_int_ge(fd, 0);
	struct cache_super *dead =
	    mmap(NULL, CACHE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ck_assert_ptr_ne(dead, MAP_FAILED);
	close(fd);
	cache_super_retire(dead);
	if (!lose)
		rescue(s, dead);
	munmap(dead, CACHE_BYTES);
	k->stale[!s->side] = 1; /* its pages are nobody's from here on */
	for (unsigned i = 0; i < FAKE_VOLUMES; i++) {
		if (WORD_SIDE(k->owner[i]) == s->side)
			continue;
		if (lose)
			k->memory[i] += 10000;
		k->owner[i] = WORD(WORD_EPOCH(k->owner[i]) + 1, s->side);
		own_take(s, &s->core.volumes[i]);
	}
}

static void own_obey(struct fake_server *s, int order)
{
	struct fake_control *k = s->w->control;
	struct volume *v = &s->core.volumes[(k->order_volume ? k->order_volume : 1) - 1];
	if (order == ORDER_MOVE || order == ORDER_BACK_OUT)
		own_give(s, v, order == ORDER_BACK_OUT);
	else
		own_take_over(s, order == ORDER_TAKE_OVER_LOSE);
	k->order[s->side] = ORDER_NONE;
}

/* What comes from outside: orders, the partner's changes. */
void fake_poll(void *arg)
{
	struct fake_server *s = arg;
	struct fake_control *k = s->w->control;
	while (!s->closing) {
		env_sleep_ns(env_real(), NS_PER_MS / 2);
		if (k->order[s->side])
			own_obey(s, k->order[s->side]);
		for (unsigned i = 0; i < FAKE_VOLUMES; i++)
			if (WORD_SIDE(k->owner[i]) == s->side &&
			    s->core.volumes[i].place == CORE_PARTNER)
				own_take(s, &s->core.volumes[i]);
		if (k->seen[s->side] == k->seq)
			continue;
		/* A change that waits for us has let go of the lock. */
		fake_meta_lock(k);
		fake_meta_follow(&s->core.meta);
		k->meta_lock = 0;
	}
	s->polling = false;
}

static void nap(void)
{
	if (task_self())
		env_sleep_ns(env_real(), NS_PER_MS / 2);
	else
		usleep(500);
}

unsigned fake_owner(struct fake_world *w, uint32_t volume)
{
	return WORD_SIDE(w->control->owner[volume - 1]);
}

uint64_t fake_head_epoch(struct fake_world *w, const char *head)
{
	for (unsigned i = 0; i < w->control->nheads; i++)
		if (strcmp(w->control->heads[i].head, head) == 0)
			return w->control->heads[i].epoch;
	return 0;
}

static void order(struct fake_world *w, unsigned side, int what)
{
	w->control->order[side] = what;
	while (w->control->order[side])
		nap();
}

void fake_move(struct fake_world *w, uint32_t volume, unsigned to, bool back_out)
{
	w->control->order_volume = volume;
	order(w, !to, back_out ? ORDER_BACK_OUT : ORDER_MOVE);
	struct fake_control *k = w->control;
	while (!back_out && k->lives[to] && k->taken[volume - 1] != k->owner[volume - 1])
		nap();
}

void fake_takeover(struct fake_world *w, unsigned dead, bool lose)
{
	w->control->lives[dead] = 0;
	w->control->meta_lock = 0;
	order(w, !dead, lose ? ORDER_TAKE_OVER_LOSE : ORDER_TAKE_OVER);
}
