/*
 * Backups of processor-information volumes at a head's word: the controller
 * copies and records, the head moves no data.
 */
#include "blockcore/channel/channel_server_impl.h"
#include "blockcore/control/meta.h"
#include "blockcore/core.h"
#include "blockcore/core_own.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SETTLE_NS (10 * NS_PER_S) /* for a volume that is being moved */
#define BUSY_NS	  (60 * NS_PER_S) /* for one that somebody else has ordered */
#define AGAIN_NS  (100 * NS_PER_MS)

struct todo {
	char group[CHANNEL_NAME_MAX];
	uint32_t from, to;
};

static int backup_one(struct channel_server *s, const struct todo *t, Isthmus__ChannelBackedUp *ret,
		      char *text, size_t text_size)
{
	struct backup_result res = {0};
	if (t->from == 0 || t->to == 0) {
		snprintf(text, text_size, "group %s has no backup volume", t->group);
		return -ENOENT;
	}
	/* One that is under way may have begun before what this one is to have was written. */
	uint64_t end = env_now_ns(env_real()) + BUSY_NS;
	int rc;
	while ((rc = core_backup_run(s->opts.core, t->from, t->to, NULL, NULL, &res)) == -EBUSY &&
	       env_now_ns(env_real()) < end)
		env_sleep_ns(env_real(), AGAIN_NS);
	if (rc) {
		snprintf(text, text_size, "group %s: %s", t->group, err_text(rc));
		return rc;
	}
	ret->seq = res.seq;
	ret->bytes += res.bytes_copied;
	return 0;
}

/* The groups meant, copied out of the metadata: the copying waits. */
static size_t choose(const Isthmus__ArrayMeta *am, const char *want, bool all, struct todo **ret)
{
	size_t n = 0;
	*ret = calloc(am->n_groups + 1, sizeof(**ret));
	for (size_t i = 0; *ret && i < am->n_groups; i++) {
		const Isthmus__HeadGroup *g = am->groups[i];
		if (!all && strcmp(g->name, want) != 0)
			continue;
		struct todo *t = &(*ret)[n++];
		snprintf(t->group, sizeof(t->group), "%s", g->name);
		t->from = g->piv_volume;
		t->to = g->backup_volume;
	}
	return n;
}

/* Is this the controller to make it? The owner of the volume that is copied. */
static bool mine(struct channel_server *s, const struct todo *t)
{
	struct volume *v = core_volume_get(s->opts.core, t->from);
	if (!v)
		return true; /* there is none: anybody may say so */
	core_volume_settle(v, SETTLE_NS);
	bool here = core_volume_place(v) == CORE_HERE;
	core_volume_put(v);
	return here;
}

void channel_backup_order(struct channel_server *s, const char *own_group,
			  const Isthmus__ChannelBackup *order, Isthmus__ChannelBackedUp *ret,
			  char *text, size_t text_size)
{
	struct todo *todo;
	const char *want = order->group && order->group[0] ? order->group : own_group;
	if (order->low_load && !core_load_is_low(s->opts.core)) {
		ret->code = -EAGAIN;
		snprintf(text, text_size, "the load is not low");
		return;
	}
	size_t n = choose(meta_get(core_meta(s->opts.core)), want, order->all_groups, &todo);
	if (n == 0) {
		ret->code = todo ? -ENOENT : -ENOMEM;
		snprintf(text, text_size, todo ? "no such head group" : "out of memory");
	}
	ret->groups = (uint32_t)n;
	/* One that fails does not keep the others from being saved; the first failure is told. */
	for (size_t i = 0; i < n; i++) {
		char one[256] = "";
		if (!mine(s, &todo[i])) {
			ret->elsewhere++;
			continue;
		}
		int rc = backup_one(s, &todo[i], ret, one, sizeof(one));
		if (rc && ret->code == 0) {
			ret->code = rc;
			snprintf(text, text_size, "%s", one);
		}
	}
	free(todo);
}

int channel_side_word(struct channel_server *s, const char *group, const char *head,
		      const Isthmus__ChannelSide *word, char *text)
{
	struct core_side w = {
	    .group = group, .head = head, .piv = word->piv_volume, .side = word->side};
	text[0] = '\0';
	int rc = core_side_set(s->opts.core, &w, text);
	if (rc == 0 && word->renew)
		rc = core_piv_renew(s->opts.core, group, NULL, NULL, NULL, text);
	if (rc && !text[0])
		snprintf(text, 256, "%s", err_text(rc));
	return rc;
}
