/*
 * The main volume of a PIV whose backup is written along: what is written is on both before the
 * call returns, at the same place.
 *
 * The backup is written when the main volume has it, never before. So a backup that the disk
 * control makes meanwhile does no harm: it is of an instant at which the main volume had the write,
 * or it has saved what was there before, and does not come back to it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "nasfront/piv/piv.h"
#include "runtime/bdev.h"
#include "runtime/check.h"
#include "runtime/err.h"

#define TWIN_MAGIC 0x5477696e

struct twin {
	struct bdev bdev;
	uint32_t magic;
	struct bdev *main, *backup;
	bool on;
	int (*lost)(void *arg, int why);
	void *arg;
};

static struct twin *twin_of(struct bdev *b)
{
	struct twin *t = (struct twin *)b;
	CHECK(t, TWIN_MAGIC);
	return t;
}

static int twin_readv(struct bdev *b, const struct iovec *iov, int n, uint64_t off)
{
	return bdev_readv(twin_of(b)->main, iov, n, off);
}

/* The backup did not take it: it is left out when everybody knows. */
static int twin_lose(struct twin *t, int why)
{
	if (!t->on)
		return 0;
	return why == -ERR_EPOCH_STALE ? why : t->lost(t->arg, why);
}

static int twin_writev(struct bdev *b, const struct iovec *iov, int n, uint64_t off, unsigned flags)
{
	struct twin *t = twin_of(b);
	int rc = bdev_writev(t->main, iov, n, off, flags);
	if (rc || !t->on)
		return rc;
	rc = bdev_writev(t->backup, iov, n, off, flags);
	return rc ? twin_lose(t, rc) : 0;
}

static int twin_flush(struct bdev *b)
{
	struct twin *t = twin_of(b);
	int rc = bdev_flush(t->main);
	if (rc || !t->on)
		return rc;
	rc = bdev_flush(t->backup);
	return rc ? twin_lose(t, rc) : 0;
}

static void twin_close(struct bdev *b)
{
	struct twin *t = twin_of(b);
	bdev_close(t->main);
	t->magic = 0;
	free(t);
}

static const struct bdev_ops twin_ops = {
    .readv = twin_readv, .writev = twin_writev, .flush = twin_flush, .close = twin_close};

int piv_twin_new(struct bdev **ret, struct bdev *main, struct bdev *backup,
		 int (*lost)(void *arg, int why), void *arg)
{
	struct twin *t = calloc(1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	t->magic = TWIN_MAGIC;
	t->bdev = *main; /* size, alignment, name */
	t->bdev.ops = &twin_ops;
	t->bdev.preflush = false;
	t->bdev.memory_id = 0;
	t->main = main;
	t->backup = backup;
	t->lost = lost;
	t->arg = arg;
	*ret = &t->bdev;
	return 0;
}

void piv_twin_set(struct bdev *b, bool on)
{
	struct twin *t = twin_of(b);
	t->on = on && t->backup;
}

bool piv_twin_is_on(struct bdev *b)
{
	return twin_of(b)->on;
}
