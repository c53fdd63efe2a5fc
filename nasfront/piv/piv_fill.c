/*
 * Filling a blank PIV volume from the other one (nasfront/piv/piv_layout.h).
 *
 * Whoever finds it filled goes on to write its slot there, so nobody else may be filling it still:
 * that would put older state over it. One fills: the head whose claim stands in a block of its own.
 * It counts its claim up before each part; the others wait for the header, and where the claim does
 * not move for PIV_LEASE_NS, or is that of an earlier life, it is taken over. Before each part a
 * head sees that the claim is still its own and that there is no header.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "nasfront/piv/piv_layout.h"
#include "runtime/bdev.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/err.h"

#define FILL_BLOCKS 64
#define CLAIM_OFF   ((uint64_t)PIV_FILL_BLOCK * PIV_BLOCK)
#define LOOK_NS	    (50 * NS_PER_MS)

struct fill {
	struct env *env;
	struct bdev *from, *to;
	struct piv_claim self; /* as it was written last */
};

static bool same(const struct piv_claim *a, const struct piv_claim *b)
{
	return a->instance == b->instance && strcmp(a->name, b->name) == 0;
}

/* 0: blank. */
static int see_blank(const struct fill *f)
{
	struct piv_header h;
	int rc = piv_header_read(f->to, &h);
	return rc == -ENODATA ? 0 : rc ? rc : -EEXIST;
}

/* Two may write at once: the one whose claim stands has it. 0; -EBUSY. */
static int try_claim(struct fill *f)
{
	struct piv_claim now;
	int rc = piv_claim_write_at(f->to, CLAIM_OFF, &f->self);
	if (rc)
		return rc;
	env_sleep_ns(f->env, (20 + env_random_u64(f->env) % 30) * NS_PER_MS);
	rc = piv_claim_read_at(f->to, CLAIM_OFF, &now);
	return rc ? rc : same(&now, &f->self) ? 0 : -EBUSY;
}

/* Waits until the claim is this head's (0) or the volume has a header (-EEXIST). */
static int wait_turn(struct fill *f)
{
	struct piv_claim now, last = {0};
	uint64_t since = env_now_ns(f->env);
	int rc;
	while ((rc = see_blank(f)) == 0) {
		rc = piv_claim_read_at(f->to, CLAIM_OFF, &now);
		if (rc && rc != -ERR_CORRUPT)
			break;
		if (!same(&now, &last))
			since = env_now_ns(f->env);
		last = now;
		if (rc == 0 && now.name[0] && strcmp(now.name, f->self.name) != 0 &&
		    env_now_ns(f->env) - since < PIV_LEASE_NS) {
			env_sleep_ns(f->env, LOOK_NS);
			continue;
		}
		rc = try_claim(f);
		if (rc != -EBUSY)
			break;
	}
	return rc;
}

/* Still this head's to fill; the others see that it goes on. */
static int count_up(struct fill *f)
{
	struct piv_claim now;
	int rc = see_blank(f);
	if (rc == 0)
		rc = piv_claim_read_at(f->to, CLAIM_OFF, &now);
	if (rc == 0 && !same(&now, &f->self))
		rc = -EBUSY;
	if (rc)
		return rc;
	f->self.instance++;
	return piv_claim_write_at(f->to, CLAIM_OFF, &f->self);
}

static int copy(struct fill *f, const struct piv_header *h, uint8_t *p)
{
	uint64_t end = piv_blocks(h);
	int rc = 0;
	for (uint64_t at = PIV_FIRST_SLOT; at < end && rc == 0; at += FILL_BLOCKS) {
		size_t n = (size_t)MIN(end - at, (uint64_t)FILL_BLOCKS) * PIV_BLOCK;
		rc = bdev_read(f->from, p, n, at * PIV_BLOCK);
		if (rc == 0)
			rc = count_up(f);
		if (rc == 0)
			rc = bdev_write(f->to, p, n, at * PIV_BLOCK, 0);
	}
	if (rc == 0)
		rc = bdev_flush(f->to);
	if (rc == 0)
		rc = count_up(f);
	/* The header last: until then the volume is blank. */
	return rc ? rc : piv_header_write(f->to, h);
}

int piv_fill(struct env *env, const struct piv_claim *self, struct bdev *from, struct bdev *to,
	     const struct piv_header *h)
{
	struct fill f = {.env = env, .from = from, .to = to, .self = *self};
	uint8_t *p = NULL;
	int rc;
	if (piv_blocks(h) > to->size / PIV_BLOCK)
		return -ENOSPC;
	if (posix_memalign((void **)&p, PIV_BLOCK, FILL_BLOCKS * PIV_BLOCK))
		return -ENOMEM;
	do {
		rc = wait_turn(&f);
		if (rc == 0)
			rc = copy(&f, h, p);
	} while (rc == -EBUSY);
	free(p);
	return rc;
}
