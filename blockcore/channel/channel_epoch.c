/*
 * Which instance of a head counts, and the epoch of its channels: one answer
 * for both controllers, in the array metadata.
 *
 *   hello                                    epoch
 *   the instance on record                   the recorded one
 *   was never welcomed anywhere (epoch 0)    a higher one, recorded: it takes over
 *   was welcomed under an epoch that is      that one, recorded: there was no record then
 *   higher than the recorded one
 *   any other                                refused: a later instance has taken over
 *
 * An instance that is fenced before there is another (channel_epoch_revoke()) makes way to nobody:
 * INSTANCE_NOBODY, under a higher epoch.
 *
 * A change of metadata is known to both controllers before it is done, and each fences the
 * segment of the instance before when it hears of it (channel_peer_fence()). So whoever is welcomed
 * is the only one whose requests are carried out, at either.
 *
 * An array without pools cannot record anything, nor is there anything to guard: the epoch is the
 * start of the process then, and recorded when the first pool is made.
 */
#include "blockcore/channel/channel_server_impl.h"
#include "blockcore/control/meta.h"
#include "blockcore/control/meta_check.h"
#include "blockcore/core.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define AHEAD_MS (24 * 3600 * 1000ull) /* a clock may have been set back by */

struct epoch_claim {
	const char *head;
	uint64_t instance, epoch, started_ms;
	uint64_t local; /* of the segment that is there; 0: none */
	uint64_t ret;
};

static Isthmus__HeadInstance *record_find(const Isthmus__ArrayMeta *am, const char *head)
{
	for (size_t i = 0; i < am->n_heads; i++)
		if (strcmp(am->heads[i]->head, head) == 0)
			return am->heads[i];
	return NULL;
}

static uint64_t now_ms(void)
{
	return env_realtime_ns(env_real()) / NS_PER_MS;
}

/* 0: *ret_epoch is the claim's right by what is recorded. -EAGAIN: it has to be recorded. */
static int judge(const Isthmus__HeadInstance *r, const struct epoch_claim *k, uint64_t *ret_epoch)
{
	if (r && r->instance == k->instance) {
		*ret_epoch = r->epoch;
		return 0;
	}
	if (!k->epoch) {
		/* Epochs only grow, also over the life of the segments and of the metadata. */
		*ret_epoch = MAX(MAX(r ? r->epoch + 1 : 0, k->local + 1), now_ms());
		return -EAGAIN;
	}
	if (r && k->epoch <= r->epoch)
		return -ERR_EPOCH_STALE;
	if (k->epoch > now_ms() + AHEAD_MS)
		return -EINVAL;
	*ret_epoch = k->epoch;
	return -EAGAIN;
}

static int record_put(Isthmus__ArrayMeta *am, const struct epoch_claim *k, uint64_t epoch)
{
	Isthmus__HeadInstance *r = record_find(am, k->head);
	if (!r) {
		r = malloc(sizeof(*r));
		if (!r)
			return -ENOMEM;
		isthmus__head_instance__init(r);
		int rc = pb_set_text(&r->head, k->head);
		if (rc == 0)
			rc = pb_append(&am->heads, &am->n_heads, r);
		if (rc) {
			isthmus__head_instance__free_unpacked(r, NULL);
			return rc;
		}
	}
	r->instance = k->instance;
	r->epoch = epoch;
	return 0;
}

static int change_claim(Isthmus__ArrayMeta *am, void *arg, char *why)
{
	struct epoch_claim *k = arg;
	int rc = judge(record_find(am, k->head), k, &k->ret);
	return rc == -EAGAIN ? record_put(am, k, k->ret) : rc;
}

/* Nothing is recorded: by what both controllers find alike in the hello. */
static int judge_unrecorded(const struct channel_seg *old, const struct epoch_claim *k,
			    uint64_t *ret)
{
	if (old && old->instance == k->instance && (!k->epoch || k->epoch == old->epoch)) {
		*ret = old->epoch;
		return 0;
	}
	if (k->epoch) {
		*ret = k->epoch;
		if (old && old->instance != k->instance && k->epoch <= old->epoch)
			return -ERR_EPOCH_STALE;
		return k->epoch > now_ms() + AHEAD_MS ? -EINVAL : 0;
	}
	uint64_t started = k->started_ms && k->started_ms <= now_ms() ? k->started_ms : now_ms();
	*ret = MAX(old ? old->epoch + 1 : 1, started);
	return 0;
}

int channel_epoch_take(struct channel_server *s, const Isthmus__ChannelHello *hello,
		       const struct channel_seg *old, uint64_t *ret_epoch, bool *ret_recorded)
{
	struct meta *m = core_meta(s->opts.core);
	struct epoch_claim k = {.head = hello->head,
				.instance = hello->instance,
				.epoch = hello->epoch,
				.started_ms = hello->started_ms,
				.local = old ? old->epoch : 0};
	char why[META_WHY_LEN];
	*ret_recorded = meta_get(m)->n_pools > 0;
	if (!*ret_recorded)
		return judge_unrecorded(old, &k, ret_epoch);
	int rc = judge(record_find(meta_get(m), k.head), &k, ret_epoch);
	if (rc != -EAGAIN)
		return rc;
	rc = meta_update(m, change_claim, &k, why);
	if (rc && rc != -ERR_EPOCH_STALE)
		log_warn("channel: head not recorded head=%s why=%s: %s", k.head, err_name(rc),
			 why);
	*ret_epoch = k.ret;
	return rc;
}

static int change_revoke(Isthmus__ArrayMeta *am, void *arg, char *why)
{
	struct epoch_claim *k = arg, nobody = *k;
	const Isthmus__HeadInstance *r = record_find(am, k->head);
	if (r && r->instance != k->instance)
		return -ESRCH;
	k->ret = MAX(MAX(r ? r->epoch + 1 : 0, k->local + 1), now_ms());
	nobody.instance = INSTANCE_NOBODY;
	return record_put(am, &nobody, k->ret);
}

int channel_epoch_revoke(struct channel_server *s, const struct channel_seg *seg,
			 uint64_t *ret_after)
{
	struct meta *m = core_meta(s->opts.core);
	struct epoch_claim k = {.head = seg->head, .instance = seg->instance, .local = seg->epoch};
	char why[META_WHY_LEN];
	*ret_after = seg->epoch + 1;
	if (meta_get(m)->n_pools == 0)
		return 0;
	int rc = meta_update(m, change_revoke, &k, why);
	*ret_after = k.ret;
	return rc;
}

int channel_epoch_record(struct channel_server *s, const struct channel_seg *seg)
{
	Isthmus__ChannelHello hello = ISTHMUS__CHANNEL_HELLO__INIT;
	uint64_t epoch;
	bool recorded;
	hello.head = (char *)seg->head;
	hello.instance = seg->instance;
	hello.epoch = seg->epoch;
	int rc = channel_epoch_take(s, &hello, seg, &epoch, &recorded);
	return rc == 0 && epoch != seg->epoch ? -ERR_EPOCH_STALE : rc;
}

uint64_t channel_epoch_after(const Isthmus__ArrayMeta *am, const struct channel_seg *seg)
{
	const Isthmus__HeadInstance *r = record_find(am, seg->head);
	return r && r->instance != seg->instance && r->epoch > seg->epoch ? r->epoch : 0;
}
