/* controller.list, controller.show */
#include "blockcore/core_admin.h"
#include "blockcore/link/link.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

static const char *state_text(const struct gcm_controller *k)
{
	static const char *const names[] = {"down", "starting", "up", "leaving"};
	return !k->alive ? "down" : (unsigned)k->state < ARRAY_LEN(names) ? names[k->state] : "?";
}

static const char *mirror_text(enum mirror_state s)
{
	switch (s) {
	case MIRROR_OFF:
		return "off";
	case MIRROR_LONE:
		return "alone";
	case MIRROR_JOINING:
		return "joining";
	case MIRROR_ON:
		return "on";
	}
	return "?";
}

/* Where a write is when it is acknowledged, in the state there is now. */
static const char *promise_text(struct core *c, enum mirror_state s)
{
	if (s == MIRROR_ON)
		return "in two memories";
	if (s == MIRROR_JOINING)
		return "in two memories; what was written before is on its way to the disks";
	if (s == MIRROR_LONE && c->duplex && c->duplex->lone_write_through)
		return "on the disks: the partner is away";
	return s == MIRROR_LONE ? "in one memory: the partner is away" : "in one memory";
}

static void put_pools(struct core *c, struct admin_call *call, enum core_place place)
{
	char text[1024] = "";
	size_t at = 0;
	const struct core_pool *cp;
	TAILQ_FOREACH (cp, &c->pools, link)
		if (cp->place == place && at < sizeof(text))
			at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%s", at ? " " : "",
					       cp->name);
	admin_put_text(call, "pools", "%s", text);
}

static bool look_up(struct core *c, const char *name, struct gcm_controller *ret)
{
	int i = c->duplex ? gcm_index(c->duplex->gcm, name) : -ENOENT;
	return i >= 0 && gcm_controller(c->duplex->gcm, (uint8_t)i, ret);
}

static const char *link_text(struct core *c)
{
	char why[CORE_LINK_WHY];
	if (c->link && link_is_up(c->link))
		return "up";
	return core_link_refused(c, why) ? "refused" : "down";
}

static void put_self(struct core *c, struct admin_call *call)
{
	struct gcm_controller k;
	struct cache_stats st;
	bool known = look_up(c, c->controller, &k);
	enum mirror_state m = c->duplex ? cache_mirror_state(c->cache) : MIRROR_OFF;
	cache_stats(c->cache, &st);
	admin_row(call);
	admin_put_text(call, "controller", "%s", c->controller);
	admin_put_text(call, "state", "%s", known ? state_text(&k) : "up");
	if (known)
		admin_put_number(call, "pid", (uint64_t)k.pid);
	else
		admin_put_text(call, "pid", "%s", "");
	admin_put_text(call, "partner", "%s", c->duplex ? c->duplex->partner : "");
	admin_put_text(call, "link", "%s", c->duplex ? link_text(c) : "");
	admin_put_text(call, "mirror", "%s", mirror_text(m));
	put_pools(c, call, CORE_HERE);
	admin_put_bytes(call, "cache", (uint64_t)st.npages * 4096);
	admin_put_bytes(call, "dirty", (uint64_t)st.dirty * 4096);
	admin_put_text(call, "acknowledged", "%s", promise_text(c, m));
}

/* What is known of a partner that does not answer. */
static void put_partner(struct core *c, struct admin_call *call)
{
	struct gcm_controller k;
	bool known = look_up(c, c->duplex->partner, &k);
	admin_row(call);
	admin_put_text(call, "controller", "%s", c->duplex->partner);
	admin_put_text(call, "state", "%s", known ? state_text(&k) : "never started");
	if (known && k.alive)
		admin_put_number(call, "pid", (uint64_t)k.pid);
	else
		admin_put_text(call, "pid", "%s", "");
	admin_put_text(call, "partner", "%s", c->controller);
	admin_put_text(call, "link", "%s", link_text(c));
	admin_put_text(call, "mirror", "%s", "");
	put_pools(c, call, CORE_PARTNER);
	admin_put_text(call, "cache", "%s", "");
	admin_put_text(call, "dirty", "%s", "");
	admin_put_text(call, "acknowledged", "%s", "");
}

static int verb_list(struct admin_call *call, void *arg)
{
	struct core *c = arg;
	admin_table(call, "controllers", false);
	put_self(c, call);
	if (c->duplex)
		put_partner(c, call);
	return 0;
}

static void put_routes(struct core *c, struct admin_call *call)
{
	struct link_route_stats st;
	admin_table(call, "routes", false);
	for (unsigned i = 0; c->link && i < link_routes(c->link); i++) {
		link_stats(c->link, i, &st);
		admin_row(call);
		admin_put_number(call, "route", i);
		admin_put_text(call, "state", "%s", st.up ? "up" : "down");
		admin_put_number(call, "messages", st.messages);
		admin_put_bytes(call, "bytes", st.bytes);
		admin_put_number(call, "failovers", st.failovers);
		admin_put_number(call, "resent", st.resent);
		admin_put_duration(call, "silent", st.silent_ns);
	}
}

static int verb_show(struct admin_call *call, void *arg)
{
	struct core *c = arg;
	const char *name = core_admin_text(call, "name");
	bool self = strcmp(name, c->controller) == 0;
	bool partner = c->duplex && strcmp(name, c->duplex->partner) == 0;
	if (partner && c->link && link_is_up(c->link) && !core_admin_passed(call))
		return core_admin_pass_on(c, call);
	if (!self && !partner)
		return admin_error(call, -ENOENT, "see isthmus controller list",
				   "there is no controller '%s' in this cluster", name);
	admin_table(call, "controller", true);
	if (partner) {
		put_partner(c, call);
		return 0;
	}
	put_self(c, call);
	put_routes(c, call);
	return 0;
}

int core_admin_controller(struct core *c, struct admin_server *s)
{
	static const struct core_verb verbs[] = {
	    {"controller.list", verb_list},
	    {"controller.show", verb_show},
	};
	return core_admin_add(c, s, verbs, ARRAY_LEN(verbs));
}
