/* A controller as heads see it (tests/sim/sim_channel.h). */
#include "tests/sim/sim_channel.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/bdev.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include "tests/sim/sim_world.h"

#define WORD_NS (300 * 1000) /* for a change of the metadata */

struct sim_array {
	struct sim *sim;
	struct sched *sched; /* the world's: calls are the controller's own */
	struct bdev *volumes[SIM_VOLUMES + 1];
	uint64_t epoch;
	unsigned calls; /* of all heads, under way */
	Isthmus__Side side;
	struct waitq idle;
};

struct channel {
	struct sim_array *a;
	struct sim_node *node;
	uint64_t life, epoch;
};

struct volume {
	struct bdev b;
	struct channel *c;
	struct bdev *at;
};

enum what { READ, WRITE, FLUSH, DISCARD };

struct call {
	struct volume *v;
	struct bdev *at;
	enum what what;
	const struct iovec *iov;
	int n;
	uint64_t off, len;
	unsigned flags;
	int rc;
	bool done;
	struct waitq wake;
};

struct sim_array *sim_array_new(struct sim *s)
{
	struct sim_array *a = calloc(1, sizeof(*a));
	ASSERT(a);
	a->sim = s;
	a->sched = sched_current();
	waitq_init(&a->idle);
	return a;
}

void sim_array_free(struct sim_array *a)
{
	for (unsigned i = 1; i <= SIM_VOLUMES; i++)
		bdev_close(a->volumes[i]);
	free(a);
}

void sim_array_volume(struct sim_array *a, uint32_t number, struct sim_disk *d)
{
	ASSERT(number && number <= SIM_VOLUMES);
	bdev_close(a->volumes[number]);
	a->volumes[number] = sim_disk_open(d);
}

/* ---- calls ---- */

static bool gone(const struct channel *c)
{
	return sim_node_dead(c->node) || sim_node_life(c->node) != c->life;
}

static void call_task(void *arg)
{
	struct call *k = arg;
	struct sim_array *a = k->v->c->a;
	switch (k->what) {
	case READ:
		k->rc = bdev_readv(k->at, k->iov, k->n, k->off);
		break;
	case WRITE:
		k->rc = bdev_writev(k->at, k->iov, k->n, k->off, k->flags);
		break;
	case FLUSH:
		k->rc = bdev_flush(k->at);
		break;
	case DISCARD:
		k->rc = bdev_discard(k->at, k->off, k->len);
		break;
	}
	k->done = true;
	waitq_wake_all(&k->wake);
	if (--a->calls == 0)
		waitq_wake_all(&a->idle);
}

/* Whoever dies or is fenced meanwhile does not hear how it ended. */
static int call(struct volume *v, struct call *k)
{
	struct channel *c = v->c;
	if (gone(c))
		return -EIO;
	if (c->epoch != c->a->epoch)
		return -ERR_EPOCH_STALE;
	k->v = v;
	k->at = v->at;
	waitq_init(&k->wake);
	c->a->calls++;
	ASSERT(task_start_on(c->a->sched, call_task, k) == 0);
	while (!k->done)
		waitq_wait(&k->wake);
	if (gone(c))
		return -EIO;
	return c->epoch == c->a->epoch ? k->rc : -ERR_EPOCH_STALE;
}

static struct volume *volume_of(struct bdev *b)
{
	return container_of(b, struct volume, b);
}

static int volume_readv(struct bdev *b, const struct iovec *iov, int n, uint64_t off)
{
	struct call k = {.what = READ, .iov = iov, .n = n, .off = off};
	return call(volume_of(b), &k);
}

static int volume_writev(struct bdev *b, const struct iovec *iov, int n, uint64_t off,
			 unsigned flags)
{
	struct call k = {.what = WRITE, .iov = iov, .n = n, .off = off, .flags = flags};
	return call(volume_of(b), &k);
}

static int volume_flush(struct bdev *b)
{
	struct call k = {.what = FLUSH};
	return call(volume_of(b), &k);
}

static int volume_discard(struct bdev *b, uint64_t off, uint64_t len)
{
	struct call k = {.what = DISCARD, .off = off, .len = len};
	return call(volume_of(b), &k);
}

static void volume_close(struct bdev *b)
{
	free(volume_of(b));
}

int channel_volume_open(struct channel *c, uint32_t number, struct bdev **ret)
{
	static const struct bdev_ops ops = {.readv = volume_readv,
					    .writev = volume_writev,
					    .flush = volume_flush,
					    .discard = volume_discard,
					    .close = volume_close};
	if (gone(c))
		return -EIO;
	if (c->epoch != c->a->epoch)
		return -ERR_EPOCH_STALE;
	if (!number || number > SIM_VOLUMES || !c->a->volumes[number])
		return -ENOENT;
	struct volume *v = calloc(1, sizeof(*v));
	ASSERT(v);
	v->c = c;
	v->at = c->a->volumes[number];
	v->b = *v->at;
	v->b.ops = &ops;
	*ret = &v->b;
	return 0;
}

/* ---- channels ---- */

struct channel *sim_channel_open(struct sim_array *a, struct sim_node *n)
{
	struct channel *c = calloc(1, sizeof(*c));
	ASSERT(c);
	*c = (struct channel){.a = a, .node = n, .life = sim_node_life(n), .epoch = ++a->epoch};
	while (a->calls)
		waitq_wait(&a->idle);
	return c;
}

void sim_channel_free(struct channel *c)
{
	free(c);
}

bool channel_fenced(const struct channel *c)
{
	return c->epoch != c->a->epoch;
}

int channel_backup(struct channel *c, const char *group, bool all, bool low_load,
		   Isthmus__ChannelBackedUp *ret)
{
	return -ERR_DISCONNECTED;
}

Isthmus__Side sim_array_side(const struct sim_array *a)
{
	return a->side;
}

int channel_side(struct channel *c, Isthmus__Side side, uint32_t piv_volume, bool renew, char *why)
{
	why[0] = '\0';
	env_sleep_ns(sim_node_env(c->node), WORD_NS);
	if (gone(c))
		return -ERR_SHUTDOWN;
	if (c->epoch != c->a->epoch)
		return -ERR_EPOCH_STALE;
	c->a->side = side;
	return renew ? -ENOSPC : 0;
}
