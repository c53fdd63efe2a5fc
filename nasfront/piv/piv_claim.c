/*
 * Claims of slots and regions: who has which (nasfront/piv/piv_layout.h). Regions have theirs
 * twice, so that a block that cannot be read hides no service's state.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "nasfront/piv/piv_layout.h"
#include "runtime/bdev.h"
#include "runtime/bytes.h"
#include "runtime/crc32c.h"
#include "runtime/env.h"
#include "runtime/err.h"

#define CLAIM_BYTES   80
#define CLAIM_VERSION 1

int piv_claim_read_at(struct bdev *b, uint64_t off, struct piv_claim *ret)
{
	uint8_t *p = NULL;
	if (posix_memalign((void **)&p, PIV_BLOCK, PIV_BLOCK))
		return -ENOMEM;
	int rc = bdev_read(b, p, PIV_BLOCK, off);
	memset(ret, 0, sizeof(*ret));
	if (rc == 0 && !piv_all_zero(p, PIV_BLOCK)) {
		if (le32_get(p) != PIV_CLAIM_MAGIC || le32_get(p + 80) != crc32c(p, CLAIM_BYTES) ||
		    p[16 + PIV_NAME_MAX])
			rc = -ERR_CORRUPT;
		else if (le32_get(p + 4) != CLAIM_VERSION)
			rc = -ERR_VERSION;
		else
			memcpy(ret->name, p + 16, sizeof(ret->name));
		ret->instance = le64_get(p + 8);
	}
	free(p);
	return rc;
}

int piv_claim_write_at(struct bdev *b, uint64_t off, const struct piv_claim *c)
{
	uint8_t *p = NULL;
	if (posix_memalign((void **)&p, PIV_BLOCK, PIV_BLOCK))
		return -ENOMEM;
	memset(p, 0, PIV_BLOCK);
	if (c->name[0]) {
		le32_put(p, PIV_CLAIM_MAGIC);
		le32_put(p + 4, CLAIM_VERSION);
		le64_put(p + 8, c->instance);
		memcpy(p + 16, c->name, strnlen(c->name, PIV_NAME_MAX));
		le32_put(p + 80, crc32c(p, CLAIM_BYTES));
	}
	int rc = bdev_write(b, p, PIV_BLOCK, off, 0);
	if (rc == 0)
		rc = bdev_flush(b);
	free(p);
	return rc;
}

/* The first copy that says whose it is; free when all that can be read are. */
int piv_claim_read(struct bdev *b, const struct piv_area *a, unsigned index, struct piv_claim *ret)
{
	int rc = 0;
	for (unsigned i = 0; i < a->claims; i++) {
		int one = piv_claim_read_at(b, piv_area_off(a, index) + i * PIV_BLOCK, ret);
		if (one == 0 && ret->name[0])
			return 0;
		rc = rc ? rc : one;
	}
	return rc;
}

int piv_claim_write(struct bdev *b, const struct piv_area *a, unsigned index,
		    const struct piv_claim *c)
{
	int rc = 0;
	for (unsigned i = 0; i < a->claims && rc == 0; i++)
		rc = piv_claim_write_at(b, piv_area_off(a, index) + i * PIV_BLOCK, c);
	return rc;
}

int piv_claim_find(struct bdev *b, const struct piv_area *a, const char *name,
		   struct piv_found *ret)
{
	unsigned start = a->count ? crc32c(name, strlen(name)) % a->count : 0;
	*ret = (struct piv_found){0};
	for (unsigned i = 0; i < a->count; i++) {
		unsigned index = (start + i) % a->count;
		struct piv_claim c;
		int rc = piv_claim_read(b, a, index, &c);
		if (rc && rc != -ERR_CORRUPT)
			return rc;
		if (rc == 0 && strcmp(c.name, name) == 0) {
			*ret = (struct piv_found){.index = index, .own = true, .claim = c};
			return 0;
		}
		/* A damaged claim may be anybody's: it is not taken. */
		ret->damaged |= rc != 0;
		if (rc == 0 && !c.name[0] && !ret->room) {
			ret->index = index;
			ret->room = true;
		}
	}
	return 0;
}

/* Two may find the same one free at once: the one whose claim stands has it. */
int piv_claim_take(struct env *env, struct bdev *b, const struct piv_area *a, struct piv_claim *c,
		   unsigned *ret)
{
	for (int try = 0; try < 8; try++) {
		struct piv_found f;
		struct piv_claim now;
		int rc = piv_claim_find(b, a, c->name, &f);
		if (rc == 0 && !f.own && !f.room)
			rc = -ENOSPC;
		if (rc == 0)
			rc = piv_claim_write(b, a, f.index, c);
		if (rc)
			return rc;
		*ret = f.index;
		if (f.own)
			return 0;
		env_sleep_ns(env, (20 + env_random_u64(env) % 30) * NS_PER_MS);
		rc = piv_claim_read(b, a, f.index, &now);
		if (rc)
			return rc;
		if (strcmp(now.name, c->name) == 0) {
			c->instance = now.instance;
			return 0;
		}
	}
	return -EBUSY;
}
