/* Verb lun.set: what of a LUN changes while it is in use; limits in lists and in `status`. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include "runtime/env.h"
#include "server/scsi/scsi_admin.h"

#define HELD_LATELY_NS (10 * NS_PER_S)

struct lun_set {
	struct one_lun which;
	bool has_read_only, read_only;
	bool has[4];
	uint64_t value[4];
};

/* In the order of struct qos_limits. */
static const struct {
	const char *arg;
	bool size;
} limit_args[4] = {
    {"iops", false}, {"iops-burst", false}, {"bandwidth", true}, {"bandwidth-burst", true}};

static int set_args(struct admin_call *c, struct lun_set *x)
{
	int err;
	*x = (struct lun_set){0};
	if ((err = arg_one_lun(c, &x->which)))
		return err;
	if ((err = arg_yes_no(c, "read-only", &x->read_only)) == -EINVAL)
		return err;
	x->has_read_only = !err;
	bool any = x->has_read_only;
	for (unsigned i = 0; i < ARRAY_LEN(limit_args); i++) {
		err = limit_args[i].size ? admin_arg_size(c, limit_args[i].arg, &x->value[i])
					 : admin_arg_u64(c, limit_args[i].arg, &x->value[i]);
		if (err == -EINVAL)
			return err;
		any |= x->has[i] = !err;
	}
	return any ? 0
		   : admin_error(c, -EINVAL, "see `isthmus help lun`", "nothing to set was given");
}

static int limits_apply(Isthmus__Volume *v, const struct lun_set *x)
{
	if (!(x->has[0] || x->has[1] || x->has[2] || x->has[3]))
		return 0;
	if (!v->limits) {
		v->limits = malloc(sizeof(*v->limits));
		if (!v->limits)
			return -ENOMEM;
		isthmus__limits__init(v->limits);
	}
	uint64_t *field[4] = {&v->limits->iops, &v->limits->iops_burst, &v->limits->bandwidth,
			      &v->limits->bandwidth_burst};
	for (unsigned i = 0; i < ARRAY_LEN(field); i++)
		if (x->has[i])
			*field[i] = x->value[i];
	for (unsigned i = 0; i < ARRAY_LEN(field); i += 2)
		if (!*field[i] && !x->has[i + 1])
			*field[i + 1] = 0; /* a limit goes with its burst */
	if (!v->limits->iops && !v->limits->iops_burst && !v->limits->bandwidth &&
	    !v->limits->bandwidth_burst) {
		isthmus__limits__free_unpacked(v->limits, NULL);
		v->limits = NULL;
	}
	return 0;
}

static int change_set(Isthmus__ArrayMeta *am, void *arg, char *why)
{
	const struct lun_set *x = arg;
	Isthmus__Target *t = meta_target(am, x->which.target);
	if (!t)
		return no_such_target(why, x->which.target);
	Isthmus__Lun *l = meta_lun(t, x->which.lun);
	Isthmus__Volume *v = l ? meta_volume(am, l->volume_id) : NULL;
	if (!v) {
		snprintf(why, WHY_SIZE, "the target has no LUN %u", x->which.lun);
		return -ENOENT;
	}
	if (x->has_read_only)
		l->read_only = x->read_only;
	return limits_apply(v, x);
}

int admin_lun_set(struct admin_call *c, void *arg)
{
	struct lun_set x;
	int err = set_args(c, &x);
	return err ? err
		   : admin_change(c, arg, change_set, &x,
				  "`isthmus lun list` shows LUNs and their limits");
}

/* ---- showing ---- */

static void limits_text(char *s, size_t size, uint64_t iops, uint64_t bandwidth)
{
	int n = 0;
	*s = 0;
	if (iops)
		n = snprintf(s, size, "%llu IOPS%s", (unsigned long long)iops,
			     bandwidth ? ", " : "");
	if (bandwidth)
		snprintf(s + n, size - (size_t)n, "%.1f MiB/s", (double)bandwidth / (1 << 20));
}

void put_limits(struct admin_call *c, const Isthmus__Limits *l)
{
	char s[80] = "";
	if (l)
		limits_text(s, sizeof(s), l->iops, l->bandwidth);
	admin_put_text(c, "limit", "%s", s);
}

static void tell_held(struct admin_call *c, const struct scsi_target *t, const struct target_lun *l,
		      uint64_t now)
{
	struct qos_stats s;
	char text[80];
	qos_stats(&l->lu->qos, &s);
	if (!s.waiting && (!s.last_ns || now - s.last_ns > HELD_LATELY_NS))
		return;
	limits_text(text, sizeof(text), s.limits.iops, s.limits.bandwidth);
	admin_note(c,
		   "LUN %u of %s is slowed by its limit (%s): %u commands wait now, %llu had to "
		   "wait, %.1f ms on average; `isthmus lun set` changes it",
		   l->number, t->iqn, text, s.waiting, (unsigned long long)s.held,
		   s.held ? (double)s.held_ns / (double)s.held / 1e6 : 0.0);
}

/* The SCSI layer's part of `status`: units whose commands were held back lately. */
int admin_scsi_status(struct admin_call *c, void *arg)
{
	struct scsi_registry *r = arg;
	uint64_t now = env_now_ns(core_env(r->core));
	for (unsigned i = 0; i < r->ntargets; i++)
		for (unsigned k = 0; k < r->targets[i]->nluns; k++)
			tell_held(c, r->targets[i], &r->targets[i]->luns[k], now);
	return 0;
}
