/*
 * A head's channel as its code sees it (channel_client.h): made of an end at
 * each controller (channel_end.c), routes (channel_route.c), requests in flight
 * (channel_table.c). Here: its life, configuration, volumes, orders.
 */
#include "blockcore/channel/channel_client_impl.h"
#include "blockcore/channel/channel_sock.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BODY(c) ISTHMUS__CHANNEL_MSG__BODY_##c

void channel_ref(struct channel *c)
{
	c->refs++;
}

static void applied_free(struct channel *c)
{
	isthmus__nas_config_applied__free_unpacked(c->applied, NULL);
	c->applied = NULL;
}

void channel_unref(struct channel *c)
{
	struct channel_route *r, *next;
	CHECK(c, CHANNEL_CLIENT_MAGIC);
	if (--c->refs)
		return;
	for (unsigned i = 0; i < c->nends; i++)
		channel_end_free(&c->ends[i]);
	TAILQ_FOREACH_SAFE (r, &c->routes, link, next)
		free(r); /* of hints that nobody waited for */
	channel_table_free(c);
	channel_staging_free(c);
	applied_free(c);
	free(c->head);
	free(c->group);
	free(c->program);
	c->magic = 0;
	free(c);
}

int channel_refusal(const struct channel *c)
{
	return c->failed ? c->failed : c->closing ? -ERR_SHUTDOWN : 0;
}

/* Wakes everything that waits for what will not come. */
static void end_all(struct channel *c, int rc)
{
	channel_table_fail(c, NULL, rc);
	channel_staging_fail_all(c);
	for (unsigned i = 0; i < c->nends; i++)
		channel_end_stop(&c->ends[i]);
	waitq_wake_all(&c->up_q);
	waitq_wake_all(&c->close_q);
}

void channel_fail(struct channel *c, int rc)
{
	if (c->failed)
		return;
	log_error("channel: ended for good head=%s why=%s", c->head, err_name(rc));
	c->failed = rc;
	end_all(c, rc);
	if (c->opts.state)
		c->opts.state(c->opts.arg, -1, false);
}

/* ---- configuration ---- */

/* An own copy: the answer is kept for the other controller. */
static Isthmus__NasConfigApplied *applied_copy(const Isthmus__NasConfigApplied *a)
{
	size_t n = isthmus__nas_config_applied__get_packed_size(a);
	uint8_t *buf = malloc(n ? n : 1);
	if (!buf)
		return NULL;
	isthmus__nas_config_applied__pack(a, buf);
	Isthmus__NasConfigApplied *copy = isthmus__nas_config_applied__unpack(NULL, n, buf);
	free(buf);
	return copy;
}

static bool applied_whole(const Isthmus__NasConfigApplied *a)
{
	for (size_t i = 0; i < a->n_filesystems; i++)
		if (a->filesystems[i]->code)
			return false;
	return true;
}

/* Both controllers send the same; what was applied whole is not applied again. */
static Isthmus__NasConfigApplied *apply(struct channel *c, unsigned from,
					const Isthmus__NasConfig *cfg)
{
	if (c->applied && c->applied->seq == cfg->seq && applied_whole(c->applied) &&
	    c->applied_from != from)
		return applied_copy(c->applied);
	Isthmus__NasConfigApplied *a = malloc(sizeof(*a));
	if (!a)
		return NULL;
	isthmus__nas_config_applied__init(a);
	c->opts.config(c->opts.arg, cfg, a);
	a->seq = cfg->seq;
	applied_free(c);
	c->applied = applied_copy(a);
	c->applied_from = from;
	return a;
}

static void apply_one(struct channel_end *e, Isthmus__ChannelMsg *m)
{
	uint64_t serial = e->serial;
	Isthmus__NasConfigApplied *a = apply(e->c, e->number, m->config);
	/* A connection made since has sent the configuration anew, and gets that one's answer. */
	if (a && e->up && e->serial == serial) {
		Isthmus__ChannelMsg answer = ISTHMUS__CHANNEL_MSG__INIT;
		answer.body_case = BODY(APPLIED);
		answer.applied = a;
		channel_sock_send(e->sock, &answer, NULL, 0);
	}
	isthmus__nas_config_applied__free_unpacked(a, NULL);
}

static struct channel_end *next_config(struct channel *c)
{
	for (unsigned i = 0; i < c->nends && !channel_refusal(c); i++)
		if (c->ends[i].config && c->ends[i].up)
			return &c->ends[i];
	return NULL;
}

static void config_main(void *arg)
{
	struct channel *c = arg;
	struct channel_end *e;
	while ((e = next_config(c))) {
		Isthmus__ChannelMsg *m = e->config;
		e->config = NULL;
		apply_one(e, m);
		isthmus__channel_msg__free_unpacked(m, NULL);
	}
	c->config_runs = false;
	waitq_wake_all(&c->close_q);
	channel_unref(c);
}

void channel_config_start(struct channel *c)
{
	if (!next_config(c) || c->config_runs || !c->opts.config)
		return;
	channel_ref(c);
	c->config_runs = true;
	if (task_start(config_main, c)) {
		c->config_runs = false;
		channel_unref(c);
	}
}

/* ---- life ---- */

static int channel_init(struct channel *c, const struct channel_opts *opts)
{
	int rc = channel_table_new(c);
	if (rc == 0)
		rc = channel_staging_new(c);
	c->head = strdup(opts->head);
	c->group = strdup(opts->group);
	c->program = strdup(opts->program ? opts->program : "");
	if (rc == 0 && (!c->head || !c->group || !c->program))
		rc = -ENOMEM;
	for (unsigned i = 0; i < CHANNEL_ENDS && rc == 0 && opts->paths[i]; i++) {
		rc = channel_end_init(&c->ends[i], c, i, opts->paths[i]);
		c->nends++;
	}
	return rc;
}

static int channel_new(struct channel **ret, const struct channel_opts *opts)
{
	struct channel *c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->magic = CHANNEL_CLIENT_MAGIC;
	c->r = reactor_current();
	c->opts = *opts;
	c->refs = 1;
	c->staging_fd = -1;
	c->started_ms = env_realtime_ns(env_real()) / NS_PER_MS;
	TAILQ_INIT(&c->vols);
	TAILQ_INIT(&c->routes);
	waitq_init(&c->up_q);
	waitq_init(&c->close_q);
	do
		c->instance = env_random_u64(env_real());
	while (c->instance == 0);
	int rc = channel_init(c, opts);
	if (rc)
		channel_unref(c);
	else
		*ret = c;
	return rc;
}

int channel_open(struct channel **ret, const struct channel_opts *opts)
{
	struct channel *c;
	ASSERT(reactor_current() && task_self());
	if (!channel_name_valid(opts->head) || !channel_name_valid(opts->group) || !opts->paths[0])
		return -EINVAL;
	int rc = channel_new(&c, opts);
	if (rc)
		return rc;
	for (unsigned i = 0; i < c->nends && rc == 0; i++)
		rc = channel_end_start(&c->ends[i]);
	if (rc) {
		channel_close(c);
		return rc;
	}
	*ret = c;
	channel_ref(c);
	while (!c->ever_up && !channel_refusal(c))
		waitq_wait(&c->up_q);
	rc = c->ever_up ? 0 : channel_refusal(c);
	if (rc && rc != -ERR_SHUTDOWN) {
		*ret = NULL;
		channel_unref(c);
	}
	channel_unref(c);
	return rc;
}

static bool anything_runs(const struct channel *c)
{
	bool runs = c->config_runs;
	for (unsigned i = 0; i < c->nends; i++)
		runs = runs || c->ends[i].main_runs || c->ends[i].asker_runs;
	return runs;
}

void channel_close(struct channel *c)
{
	if (!c)
		return;
	CHECK(c, CHANNEL_CLIENT_MAGIC);
	c->closing = true;
	end_all(c, channel_refusal(c));
	while (anything_runs(c))
		waitq_wait(&c->close_q);
	/* Nothing is held: the controller need not wait for this process to end. */
	for (unsigned i = 0; i < c->nends; i++)
		if (c->ends[i].hdr && c->ends[i].slots_used == 0)
			atomic_store(&c->ends[i].hdr->left, 1);
	channel_unref(c);
}

bool channel_up(const struct channel *c)
{
	for (unsigned i = 0; i < c->nends; i++)
		if (c->ends[i].up)
			return true;
	return false;
}

int channel_failed(const struct channel *c)
{
	return c->failed;
}

bool channel_fenced(const struct channel *c)
{
	for (unsigned i = 0; i < c->nends; i++)
		if (c->ends[i].hdr && atomic_load(&c->ends[i].hdr->fence) != c->epoch)
			return true;
	return c->failed == -ERR_EPOCH_STALE;
}

uint64_t channel_epoch(const struct channel *c)
{
	return c->epoch;
}

bool channel_end_info(const struct channel *c, unsigned number, struct channel_end_info *ret)
{
	const struct channel_route *r;
	if (number >= c->nends)
		return false;
	const struct channel_end *e = &c->ends[number];
	*ret = (struct channel_end_info){.up = e->up,
					 .read_hits = e->read_hits,
					 .requests = e->requests,
					 .reconnects = e->reconnects};
	memcpy(ret->controller, e->controller, sizeof(ret->controller));
	TAILQ_FOREACH (r, &c->routes, link)
		ret->volumes += r->owner == e;
	return true;
}

void channel_stats(const struct channel *c, struct channel_stats *ret)
{
	*ret = c->stats;
}

/* Waits until the channel is up. */
static int wait_up(struct channel *c)
{
	int rc;
	while ((rc = channel_refusal(c)) == 0 && !channel_up(c))
		waitq_wait(&c->up_q);
	return rc;
}

/* ---- volumes ---- */

/*
 * At every controller that is there; those that come back open it by themselves. One that has it
 * is enough: the other may not have the newest metadata yet. It has grown when all that have it
 * say so: the owner may be the last.
 */
static int open_once(struct channel *c, struct channel_route *route, struct bdev **ret)
{
	char name[96] = "", one_name[96];
	uint64_t size = 0, one_size;
	struct channel_vol *v;
	int rc = -ERR_DISCONNECTED; /* 0: one has it */
	for (unsigned i = 0; i < c->nends; i++) {
		struct channel_end *e = &c->ends[i];
		uint64_t serial = e->serial;
		int one = channel_end_open(e, route, &one_size, one_name, sizeof(one_name));
		if (one == 0 && (!e->up || e->serial != serial))
			one = -ERR_DISCONNECTED;
		if (one == 0 && (rc || one_size < size)) {
			memcpy(name, one_name, sizeof(name));
			size = one_size;
		}
		if (one == 0 || rc == -ERR_DISCONNECTED)
			rc = one;
	}
	if (rc == 0)
		rc = channel_refusal(c);
	if (rc == 0)
		rc = channel_vol_new(c, route, name, size, &v);
	if (rc == 0)
		*ret = &v->b;
	return rc;
}

int channel_volume_open(struct channel *c, uint32_t volume_id, struct bdev **ret)
{
	CHECK(c, CHANNEL_CLIENT_MAGIC);
	struct channel_route *route = channel_route_get(c, volume_id);
	int rc;
	if (!route)
		return -ENOMEM;
	channel_ref(c);
	do {
		rc = wait_up(c);
		if (rc == 0)
			rc = open_once(c, route, ret);
	} while (rc == -ERR_DISCONNECTED);
	if (rc)
		channel_route_put(c, route);
	channel_unref(c);
	return rc;
}

void channel_volume_closed(struct channel *c, struct channel_route *route)
{
	struct channel_vol *v;
	TAILQ_FOREACH (v, &c->vols, link)
		if (v->route == route)
			return; /* opened twice, and still used */
	for (unsigned i = 0; i < c->nends; i++)
		channel_end_tell_closed(&c->ends[i], route->volume);
}

/* ---- orders ---- */

static int backup_at(struct channel_end *e, const char *group, bool all, bool low_load,
		     Isthmus__ChannelBackedUp *ret)
{
	Isthmus__ChannelMsg m = ISTHMUS__CHANNEL_MSG__INIT, *answer;
	Isthmus__ChannelBackup order = ISTHMUS__CHANNEL_BACKUP__INIT;
	m.body_case = BODY(BACKUP);
	m.backup = &order;
	order.all_groups = all;
	order.low_load = low_load;
	order.group = (char *)(group ? group : "");
	int rc = channel_end_call(e, &m, BODY(BACKED_UP), &answer);
	if (rc)
		return rc;
	/* The text goes with the message; the caller owns what it got. */
	*ret = *answer->backed_up;
	answer->backed_up->text = NULL;
	isthmus__channel_msg__free_unpacked(answer, NULL);
	return 0;
}

/* What one controller did is added to what the other did. */
static void backup_add(Isthmus__ChannelBackedUp *sum, Isthmus__ChannelBackedUp *one, uint32_t *done)
{
	sum->seq = MAX(sum->seq, one->seq);
	sum->bytes += one->bytes;
	sum->groups = MAX(sum->groups, one->groups);
	*done += one->groups - MIN(one->elsewhere, one->groups);
	if (one->code && !sum->code) {
		sum->code = one->code;
		sum->text = one->text;
	} else if (one->text != protobuf_c_empty_string) {
		free(one->text);
	}
}

/* Some volumes belong to a controller that did not answer. */
static int backup_left(Isthmus__ChannelBackedUp *sum, uint32_t done)
{
	char text[160];
	sum->elsewhere = sum->groups - done;
	snprintf(text, sizeof(text),
		 "the state of %u head group%s belongs to a controller that is away",
		 sum->elsewhere, sum->elsewhere == 1 ? "" : "s");
	sum->code = -ERR_NOT_OWNER;
	sum->text = strdup(text);
	return sum->text ? 0 : -ENOMEM;
}

static int side_at(struct channel_end *e, const Isthmus__ChannelSide *word, char *why)
{
	Isthmus__ChannelMsg m = ISTHMUS__CHANNEL_MSG__INIT, *answer;
	m.body_case = BODY(SIDE);
	m.side = (Isthmus__ChannelSide *)word;
	int rc = channel_end_call(e, &m, BODY(SIDED), &answer);
	if (rc)
		return rc;
	rc = answer->sided->code;
	if (rc)
		snprintf(why, CHANNEL_WHY_LEN, "%s", answer->sided->text);
	isthmus__channel_msg__free_unpacked(answer, NULL);
	return rc;
}

/* Either controller may be making a backup: all that are there have to hear it. */
int channel_side(struct channel *c, Isthmus__Side side, uint32_t piv_volume, bool renew, char *why)
{
	Isthmus__ChannelSide word = ISTHMUS__CHANNEL_SIDE__INIT;
	unsigned heard = 0;
	CHECK(c, CHANNEL_CLIENT_MAGIC);
	channel_ref(c);
	word.side = side;
	word.piv_volume = piv_volume;
	word.renew = renew;
	why[0] = '\0';
	int rc = wait_up(c);
	for (unsigned i = 0; i < c->nends && rc == 0; i++) {
		int at = side_at(&c->ends[i], &word, why);
		if (at != -ERR_DISCONNECTED)
			rc = at;
		heard += at == 0;
	}
	channel_unref(c);
	return rc ? rc : heard ? 0 : -ERR_DISCONNECTED;
}

int channel_backup(struct channel *c, const char *group, bool all, bool low_load,
		   Isthmus__ChannelBackedUp *ret)
{
	Isthmus__ChannelBackedUp sum, one;
	unsigned answered = 0;
	uint32_t done = 0;
	CHECK(c, CHANNEL_CLIENT_MAGIC);
	channel_ref(c);
	int rc = wait_up(c), at = 0;
	isthmus__channel_backed_up__init(&sum);
	for (unsigned i = 0; i < c->nends && rc == 0; i++) {
		at = backup_at(&c->ends[i], group, all, low_load, &one);
		if (at == 0)
			backup_add(&sum, &one, &done);
		else if (at != -ERR_DISCONNECTED)
			rc = at;
		answered += at == 0;
	}
	if (rc == 0 && !answered)
		rc = -ERR_DISCONNECTED;
	if (rc == 0 && sum.code == 0 && done < sum.groups)
		rc = backup_left(&sum, done);
	if (rc == 0)
		*ret = sum;
	else if (sum.text != protobuf_c_empty_string)
		free(sum.text);
	channel_unref(c);
	return rc;
}
