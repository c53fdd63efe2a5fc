/*
 * The power of simulated disks (tests/sim/sim_env.h): it goes, it comes back, and what of the
 * writes that no flush covered is there then.
 *
 * To go back to a power loss (sim_power_keep()) `frozen` holds what was stable then; what may
 * differ from it since is marked by chunks, so going back costs no more than what was written.
 */
#include "tests/sim/sim_disk_impl.h"
#include "runtime/check.h"
#include <stdlib.h>
#include <string.h>

void sim_power_init(struct sim_power *p)
{
	TAILQ_INIT(&p->unstable);
	TAILQ_INIT(&p->frozen);
}

void sim_write_free(struct sim_power *p, struct sim_write *w)
{
	TAILQ_REMOVE(&p->unstable, w, link);
	p->nunstable--;
	free(w->data);
	free(w);
}

void sim_disk_touch(struct sim_disk *d, uint64_t off, uint64_t len)
{
	if (!d->touched || !len)
		return;
	for (uint64_t i = off / CHUNK; i <= (off + len - 1) / CHUNK; i++)
		d->touched[i / 64] |= 1ull << (i % 64);
}

bool sim_power_is_off(const struct sim *s)
{
	return sim_power((struct sim *)s)->off;
}

void sim_power_off_at_write(struct sim *s, uint64_t nth)
{
	struct sim_power *p = sim_power(s);
	p->off_at = nth ? p->issued + nth : 0;
}

uint64_t sim_writes_issued(const struct sim *s)
{
	return sim_power((struct sim *)s)->issued;
}

size_t sim_unstable_writes(const struct sim *s)
{
	return sim_power((struct sim *)s)->nunstable;
}

uint32_t sim_write_survives(struct sim *s, const struct sim_write *w, enum sim_loss how, uint64_t n,
			    size_t index)
{
	if (w->completed && w->fua)
		return w->len;
	switch (how) {
	case SIM_LOSE_ALL:
		return 0;
	case SIM_LOSE_NONE:
		return w->len;
	case SIM_LOSE_PREFIX:
		return index < n ? w->len : 0;
	case SIM_LOSE_SUBSET:
		return index < 64 && (n >> index & 1) ? w->len : 0;
	case SIM_KILL:
		if (w->completed)
			return w->len;
		break;
	case SIM_LOSE_RANDOM:
		break;
	}
	uint64_t dice = sim_random_below(s, 4);
	if (dice == 0)
		return 0;
	if (dice == 1)
		return (uint32_t)sim_random_below(s, w->len / SECTOR + 1) * SECTOR;
	return w->len;
}

/* Moves every write of `from` behind those of `to`. */
static void writes_move(struct sim_writes *to, struct sim_writes *from)
{
	TAILQ_CONCAT(to, from, link);
}

void sim_frozen_drop(struct sim *s)
{
	struct sim_power *p = sim_power(s);
	struct sim_write *w;
	struct sim_disk *d;
	while ((w = TAILQ_FIRST(&p->frozen))) {
		TAILQ_REMOVE(&p->frozen, w, link);
		free(w->data);
		free(w);
	}
	TAILQ_FOREACH (d, sim_disks(s), link)
		d->is_frozen = false;
}

void sim_power_off(struct sim *s)
{
	struct sim_power *p = sim_power(s);
	if (p->off)
		return;
	p->off = true;
	p->off_at = 0;
	sim_frozen_drop(s);
	sim_disks_wake(s);
}

/* Completed writes are as they were, unflushed; those in flight end one way or another. */
static void kill_settle(struct sim *s)
{
	struct sim_power *p = sim_power(s);
	struct sim_write *w, *tmp;
	size_t index = 0;
	TAILQ_FOREACH_SAFE (w, &p->unstable, link, tmp) {
		if (w->completed)
			continue;
		w->len = sim_write_survives(s, w, SIM_KILL, 0, index++);
		memcpy(w->disk->current + w->off, w->data, w->len);
		w->completed = true;
		w->fua = false;
		if (w->len == 0)
			sim_write_free(p, w);
	}
	p->off = false;
}

void sim_power_keep(struct sim *s)
{
	sim_power(s)->keep = true;
}

/* Calls fn() for each run of chunks that is marked, and takes the marks off. */
static void touched_each(struct sim_disk *d, void (*fn)(struct sim_disk *, uint64_t, uint64_t))
{
	uint64_t chunks = (d->size + CHUNK - 1) / CHUNK;
	for (uint64_t i = 0; i < chunks; i++) {
		if (!d->touched[i / 64]) {
			i |= 63;
			continue;
		}
		if (!(d->touched[i / 64] >> (i % 64) & 1))
			continue;
		uint64_t off = i * CHUNK;
		fn(d, off, MIN((uint64_t)CHUNK, d->size - off));
	}
	memset(d->touched, 0, (chunks + 63) / 64 * sizeof(uint64_t));
}

/* What happens to the writes from here on happens to copies: `frozen` keeps the old ones. */
static void writes_copy(struct sim_power *p)
{
	struct sim_write *w, *c;
	TAILQ_FOREACH (w, &p->unstable, link) {
		c = malloc(sizeof(*c));
		ASSERT(c);
		*c = *w;
		c->data = malloc(w->len ? w->len : 1);
		ASSERT(c->data);
		memcpy(c->data, w->data, w->len);
		TAILQ_INSERT_TAIL(&p->frozen, c, link);
		sim_disk_touch(w->disk, w->off, w->len);
	}
}

static void freeze_chunk(struct sim_disk *d, uint64_t off, uint64_t len)
{
	memcpy(d->frozen + off, d->stable + off, len);
}

static void thaw_chunk(struct sim_disk *d, uint64_t off, uint64_t len)
{
	memcpy(d->stable + off, d->frozen + off, len);
	memcpy(d->current + off, d->frozen + off, len);
}

static void freeze(struct sim_disk *d)
{
	if (!d->touched) {
		d->frozen = malloc(d->size);
		d->touched = calloc((d->size / CHUNK + 64) / 64, sizeof(uint64_t));
		ASSERT(d->frozen && d->touched);
		memcpy(d->frozen, d->stable, d->size);
	} else {
		touched_each(d, freeze_chunk);
	}
	d->is_frozen = true;
	d->frozen_memory_id = d->memory_id;
}

void sim_power_on(struct sim *s, enum sim_loss how, uint64_t n)
{
	struct sim_power *p = sim_power(s);
	struct sim_disk *d;
	struct sim_write *w;
	size_t index = 0;
	ASSERT(p->off);
	TAILQ_FOREACH (d, sim_disks(s), link) {
		if (p->keep)
			freeze(d);
		if (d->memory_id && how != SIM_KILL)
			sim_disk_memory_known(d);
	}
	if (how == SIM_KILL) {
		if (p->keep)
			writes_copy(p);
		kill_settle(s);
		return;
	}
	/* Current and stable differ only where there are unstable writes. */
	TAILQ_FOREACH (w, &p->unstable, link) {
		memcpy(w->disk->current + w->off, w->disk->stable + w->off, w->len);
		sim_disk_touch(w->disk, w->off, w->len);
	}
	TAILQ_FOREACH (w, &p->unstable, link) {
		uint32_t len = sim_write_survives(s, w, how, n, index++);
		memcpy(w->disk->current + w->off, w->data, len);
	}
	TAILQ_FOREACH (w, &p->unstable, link)
		memcpy(w->disk->stable + w->off, w->disk->current + w->off, w->len);
	writes_move(&p->frozen, &p->unstable);
	if (!p->keep)
		sim_frozen_drop(s);
	p->nunstable = 0;
	p->off = false;
}

void sim_power_off_again(struct sim *s)
{
	struct sim_power *p = sim_power(s);
	struct sim_disk *d;
	ASSERT(!p->off);
	while (!TAILQ_EMPTY(&p->unstable))
		sim_write_free(p, TAILQ_FIRST(&p->unstable));
	TAILQ_FOREACH (d, sim_disks(s), link) {
		ASSERT(d->is_frozen); /* sim_power_keep() */
		touched_each(d, thaw_chunk);
		sim_disk_memory_set(d, d->frozen_memory_id);
		d->is_frozen = false;
	}
	writes_move(&p->unstable, &p->frozen);
	struct sim_write *w;
	TAILQ_FOREACH (w, &p->unstable, link) {
		p->nunstable++;
		sim_disk_touch(w->disk, w->off, w->len);
		if (w->completed)
			memcpy(w->disk->current + w->off, w->data, w->len);
	}
	p->off = true;
}
