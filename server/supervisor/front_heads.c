/* The front door's verbs of heads: where services run, and their processes. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "runtime/admin.h"
#include "runtime/env.h"
#include "runtime/log.h"
#include "server/supervisor/gather.h"
#include "server/supervisor/placement.h"
#include "server/supervisor/supervisor.h"

#define REPLACE_NS (60 * NS_PER_S)

/* NULL: the error is put. */
static struct child *the_head(struct supervisor *s, struct admin_call *call, const char *what,
			      const char *name)
{
	struct child *c = name ? supervisor_child(s, "head", name) : NULL;
	if (!c)
		admin_error(call, -ENOENT, "see isthmus head list", "no %s `%.31s` is configured",
			    what, name ? name : "");
	return c;
}

static int verb_restart(struct admin_call *call, void *arg)
{
	const char *name = admin_arg_text(call, "name");
	struct child *c = the_head(arg, call, "head", name);
	char why[SERVICE_WHY_LEN];
	if (!c)
		return -ENOENT;
	admin_progress(call, "replacing the process", 0, 0);
	int rc = service_replace(c, REPLACE_NS, why);
	if (rc)
		return admin_error(call, rc, "see isthmus status", "head %s: %s", name, why);
	return 0;
}

/* ---- list ---- */

static void put_services(struct supervisor *s, struct admin_call *call)
{
	struct child *c;
	admin_table(call, "services", false);
	TAILQ_FOREACH (c, &s->children, link) {
		const struct config_head *h = config_head(s->config, c->name);
		if (strcmp(c->kind, "head") != 0 || !h)
			continue;
		admin_row(call);
		admin_put_text(call, "service", "%s", c->name);
		admin_put_text(call, "runs_at", "%s", c->place);
		admin_put_text(call, "group", "%s", h->group);
		admin_put_text(call, "address", "%s", h->address);
		admin_put_number(call, "nfs_port", h->nfs_port);
		admin_put_text(call, "state", "%s", child_state_name(c->state));
		admin_put_number(call, "pid", (uint64_t)c->pid);
		admin_put_duration(call, "since", env_realtime_ns(env_real()) - c->since_ns);
		admin_put_number(call, "restarts", c->restarts);
	}
}

static void put_places(struct supervisor *s, struct admin_call *call)
{
	struct child *c;
	admin_table(call, "places", false);
	TAILQ_FOREACH (c, &s->children, link) {
		const struct config_head *h = config_head(s->config, c->name);
		if (strcmp(c->kind, "head") != 0 || !h)
			continue;
		admin_row(call);
		admin_put_text(call, "head", "%s", c->name);
		admin_put_text(call, "group", "%s", h->group);
		admin_put_text(call, "takes_services", "%s", c->disabled ? "no" : "yes");
		admin_put_number(call, "services", placement_count(s, c->name));
	}
}

static int verb_list(struct admin_call *call, void *arg)
{
	put_services(arg, call);
	put_places(arg, call);
	gather_all(arg, call, "head.list");
	gather_merge(call);
	return 0;
}

/* ---- moving ---- */

static int move(struct supervisor *s, struct admin_call *call, struct child *c, const char *head)
{
	char why[PLACE_WHY_LEN], what[96], name[sizeof(c->name)];
	memcpy(name, c->name, sizeof(name));
	snprintf(what, sizeof(what), "moving service %s to head %.31s", name, head);
	admin_progress(call, what, 0, 0);
	int rc = placement_move(s, c, head, why);
	if (rc)
		return admin_error(call, rc, "see isthmus head list",
				   "service %s cannot be moved to head %.31s: %s", name, head, why);
	return 0;
}

static int verb_move(struct admin_call *call, void *arg)
{
	const char *head = admin_arg_text(call, "head");
	struct child *c = the_head(arg, call, "service", admin_arg_text(call, "service"));
	if (!c)
		return -ENOENT;
	if (!head)
		return admin_error(call, -EINVAL, "see isthmus head list", "to which head?");
	return move(arg, call, c, head);
}

static int verb_return(struct admin_call *call, void *arg)
{
	struct child *c = the_head(arg, call, "service", admin_arg_text(call, "service"));
	return c ? move(arg, call, c, c->name) : -ENOENT;
}

/* Moves are waited for and children may go meanwhile: so one is looked up for each. */
static int move_each(struct supervisor *s, struct admin_call *call, const char *arg,
		     struct child *(*next)(struct supervisor *s, const char *arg,
					   struct child **ret_to))
{
	struct child *c, *to;
	int rc = 0;
	for (unsigned i = 0; i < 128 && !rc && (c = next(s, arg, &to)); i++)
		rc = move(s, call, c, to->name);
	return rc;
}

static bool of_group(struct supervisor *s, const struct child *c, const char *group)
{
	const struct config_head *h = config_head(s->config, c->name);
	return strcmp(c->kind, "head") == 0 && h && (!group || strcmp(h->group, group) == 0);
}

/* Home, where its head takes services; of those that cannot, one that is at a head with two more
 * than another. */
static struct child *next_to_balance(struct supervisor *s, const char *group, struct child **ret_to)
{
	struct child *c, *to;
	TAILQ_FOREACH (c, &s->children, link)
		if (of_group(s, c, group) && !placement_at_home(c) && !c->disabled) {
			*ret_to = c;
			return c;
		}
	TAILQ_FOREACH (c, &s->children, link) {
		if (!of_group(s, c, group) || !c->disabled)
			continue;
		to = placement_choose(s, c, c->place);
		if (to && (placement_count(s, to->name) + 1 < placement_count(s, c->place) ||
			   placement_at_home(c))) {
			*ret_to = to;
			return c;
		}
	}
	return NULL;
}

static int verb_balance(struct admin_call *call, void *arg)
{
	return move_each(arg, call, admin_arg_text(call, "group"), next_to_balance);
}

/* ---- maintenance ---- */

static struct child *next_to_leave(struct supervisor *s, const char *head, struct child **ret_to)
{
	struct child *c;
	TAILQ_FOREACH (c, &s->children, link)
		if (strcmp(c->kind, "head") == 0 && strcmp(c->place, head) == 0) {
			*ret_to = placement_choose(s, c, head);
			return *ret_to ? c : NULL;
		}
	return NULL;
}

static int set_disabled(struct supervisor *s, struct admin_call *call, struct child *c, bool off)
{
	bool was = c->disabled;
	c->disabled = off;
	int rc = placement_save(s);
	if (!rc)
		return 0;
	c->disabled = was;
	return admin_error(call, rc, "see isthmus event list", "that cannot be kept");
}

static int verb_disable(struct admin_call *call, void *arg)
{
	struct supervisor *s = arg;
	const char *head = admin_arg_text(call, "head");
	struct child *c = the_head(s, call, "head", head), *to;
	if (!c)
		return -ENOENT;
	if (!c->disabled && !placement_choose(s, c, head))
		return admin_error(call, -EBUSY, "add a head to the group, or enable one",
				   "head %s is the last of its group that takes services", head);
	int rc = set_disabled(s, call, c, true);
	rc = rc ? rc : move_each(s, call, head, next_to_leave);
	if (!rc && next_to_leave(s, head, &to))
		rc = admin_error(call, -EBUSY, "see isthmus head list",
				 "services still run at head %s", head);
	return rc;
}

static struct child *next_to_return(struct supervisor *s, const char *head, struct child **ret_to)
{
	struct child *c = supervisor_child(s, "head", head);
	*ret_to = c;
	return c && !placement_at_home(c) ? c : NULL;
}

static int verb_enable(struct admin_call *call, void *arg)
{
	const char *head = admin_arg_text(call, "head");
	struct child *c = the_head(arg, call, "head", head);
	int rc = c ? set_disabled(arg, call, c, false) : -ENOENT;
	return rc ? rc : move_each(arg, call, head, next_to_return);
}

int front_heads_register(struct supervisor *s)
{
	static const struct {
		const char *verb;
		admin_handler *fn;
	} own[] = {
	    {"head.list", verb_list},	    {"head.move", verb_move},
	    {"head.return", verb_return},   {"head.balance", verb_balance},
	    {"head.disable", verb_disable}, {"head.enable", verb_enable},
	    {"head.restart", verb_restart},
	};
	int rc = 0;
	for (size_t i = 0; i < sizeof(own) / sizeof(own[0]) && !rc; i++)
		rc = admin_register(s->admin, own[i].verb, own[i].fn, s);
	return rc;
}
