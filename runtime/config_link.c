/*
 * The keys of a controller that has a partner: who it is, the routes between the two, how they
 * prove who they are, and what holds while one of them is away. Defaults, then checks: the two
 * sections have to fit each other, since each controller believes its own.
 */
#include "runtime/config_load.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEARTBEAT_DEFAULT 100 /* ms */
#define HEARTBEAT_MAX	  10000
#define DEAD_DEFAULT	  1000
#define DEAD_MAX	  60000
#define SHARE_DEFAULT	  30 /* per cent */
#define SHARE_MAX	  80

static const char *const paths[] = {"control", "data"};
#define GIVE_BACK_DEFAULT 5 /* s: multipathd looks at paths as often */
#define GIVE_BACK_MAX	  3600
#define ROUTES_DEFAULT	  2 /* of each path */

static yaml_node_t *section(struct config_load *l, unsigned i)
{
	yaml_node_t *root = yaml_document_get_root_node(&l->doc);
	return config_node_item(l, config_node_key(l, root, "controllers"), i);
}

static yaml_node_t *at(struct config_load *l, yaml_node_t *map, const char *key)
{
	yaml_node_t *n = config_node_key(l, map, key);
	return n ? n : map;
}

static bool is_unix(const char *s)
{
	return s[0] == '/';
}

/* ---- defaults ---- */

static char *socket_path(const struct config_file *f, const char *controller, const char *path,
			 unsigned n)
{
	char *s;
	if (asprintf(&s, "%s/link-%s-%s%u.sock", f->array.run_dir, controller, path, n) < 0)
		return NULL;
	return s;
}

static int set_word(char **s, const char *value)
{
	if (!*s)
		*s = strdup(value);
	return *s ? 0 : -ENOMEM;
}

/* No list: unix sockets in run_dir, for the two on one host. */
static int usual_links(struct config_controller *c)
{
	unsigned n = 2 * ROUTES_DEFAULT;
	c->links = calloc(n, sizeof(*c->links));
	if (!c->links)
		return -ENOMEM;
	c->links_count = n;
	for (unsigned i = 0; i < n; i++) {
		int rc = set_word(&c->links[i].path, paths[i % 2]);
		rc = rc ?: set_word(&c->links[i].local, "unix");
		rc = rc ?: set_word(&c->links[i].remote, "unix");
		if (rc)
			return rc;
	}
	return 0;
}

/* `unix` stands for a socket in run_dir: the nth of its path. */
static int expand_unix(const struct config_file *f, struct config_controller *c)
{
	for (unsigned i = 0; i < c->links_count; i++) {
		struct config_link *k = &c->links[i];
		unsigned n = 0;
		for (unsigned j = 0; j < i; j++)
			n += strcmp(c->links[j].path, k->path) == 0;
		struct {
			char **s;
			const char *whose;
		} ends[] = {{&k->local, c->name}, {&k->remote, c->partner}};
		for (unsigned e = 0; e < 2; e++) {
			if (strcmp(*ends[e].s, "unix") != 0)
				continue;
			char *s = socket_path(f, ends[e].whose, k->path, n);
			if (!s)
				return -ENOMEM;
			free(*ends[e].s);
			*ends[e].s = s;
		}
	}
	return 0;
}

int config_link_defaults(struct config_load *l, struct config_file *f, unsigned i)
{
	struct config_controller *c = &f->controllers[i];
	yaml_node_t *map = section(l, i);
	if (!config_node_key(l, map, "mirror_share"))
		c->mirror_share = SHARE_DEFAULT;
	if (!config_node_key(l, map, "link_heartbeat_ms"))
		c->link_heartbeat_ms = HEARTBEAT_DEFAULT;
	if (!config_node_key(l, map, "link_dead_ms"))
		c->link_dead_ms = DEAD_DEFAULT;
	if (!config_node_key(l, map, "give_back_delay"))
		c->give_back_delay = GIVE_BACK_DEFAULT;
	bool battery = strcmp(f->array.memory, "battery") == 0;
	int rc = set_word(&c->lone, battery ? "write-through" : "write-back");
	rc = rc ?: set_word(&c->give_back, "yes");
	if (rc || !c->partner)
		return rc;
	if (!config_node_key(l, map, "links"))
		rc = usual_links(c);
	return rc ?: expand_unix(f, c);
}

/* ---- checks ---- */

static bool same_disks(const struct config_controller *a, const struct config_controller *b)
{
	if (a->disks_count != b->disks_count)
		return false;
	for (unsigned i = 0; i < a->disks_count; i++) {
		bool found = false;
		for (unsigned j = 0; j < b->disks_count && !found; j++)
			found = strcmp(a->disks[i], b->disks[j]) == 0;
		if (!found)
			return false;
	}
	return true;
}

/* The partner when the two name each other. */
static const struct config_controller *check_partner(struct config_load *l, yaml_node_t *map,
						     const struct config_file *f,
						     const struct config_controller *c)
{
	yaml_node_t *node = at(l, map, "partner");
	const struct config_controller *p = config_controller(f, c->partner);
	if (!p || p == c) {
		config_problem(l, node, "name another of those listed under `controllers`",
			       "controller `%.64s` cannot have the partner `%.64s`", c->name,
			       c->partner);
		return NULL;
	}
	if (p->partner && config_controller(f, p->partner) && strcmp(p->partner, c->name) != 0 &&
	    strcmp(p->partner, p->name) != 0) {
		config_problem(l, node, "leave the key out, or free the other of its partner first",
			       "`%.64s` cannot be the partner of `%.64s`: it has `%.64s`", p->name,
			       c->name, p->partner);
		return NULL;
	}
	if (!p->partner || strcmp(p->partner, c->name) != 0) {
		char remedy[160];
		snprintf(remedy, sizeof(remedy), "write `partner: %.31s` in the section of `%.31s`",
			 c->name, p->name);
		config_problem(l, node, remedy, "`%.64s` does not name `%.64s` as its partner",
			       p->name, c->name);
		return NULL;
	}
	if (!same_disks(c, p))
		config_problem(l, at(l, map, "disks"),
			       "list the same disks for both: each takes over those of the other",
			       "controller `%.64s` and its partner `%.64s` list other disks",
			       c->name, p->name);
	return p;
}

static void check_end(struct config_load *l, yaml_node_t *map, const char *key, const char *s,
		      const char *what, struct config_ports *ps)
{
	char address[64];
	unsigned port;
	if (is_unix(s))
		return;
	if (!config_split_address(s, address, &port))
		config_problem(l, at(l, map, key),
			       "write `unix`, or ADDRESS:PORT as 10.1.0.1:7000 or [fd00::1]:7000",
			       "%s `%.64s` is not an end of a route", key, s);
	else if (strcmp(address, "0.0.0.0") == 0 || strcmp(address, "::") == 0)
		config_problem(l, at(l, map, key), "write the address of the route's own interface",
			       "%s cannot be all addresses", key);
	else if (ps)
		config_port_take(l, ps, address, port, what, at(l, map, key));
}

static bool fits(const struct config_link *a, const struct config_link *b)
{
	return strcmp(a->path, b->path) == 0 && strcmp(a->local, b->remote) == 0 &&
	       strcmp(a->remote, b->local) == 0;
}

/* Every route of the one is a route of the other. */
static void check_other_end(struct config_load *l, yaml_node_t *node, const struct config_link *k,
			    const struct config_controller *p)
{
	for (unsigned i = 0; i < p->links_count; i++)
		if (fits(k, &p->links[i]))
			return;
	char remedy[400];
	snprintf(remedy, sizeof(remedy),
		 "add {path: %.16s, local: \"%.120s\", remote: \"%.120s\"} to the links of `%.31s`",
		 k->path, k->remote, k->local, p->name);
	config_problem(l, node, remedy, "partner `%.64s` has no such route", p->name);
}

static void check_link(struct config_load *l, yaml_node_t *node, const struct config_link *k,
		       const struct config_controller *p, struct config_ports *ps)
{
	unsigned before = l->problems;
	if (strcmp(k->path, "control") != 0 && strcmp(k->path, "data") != 0)
		config_problem(l, at(l, node, "path"), "write `control` or `data`",
			       "path cannot be `%.64s`", k->path);
	check_end(l, node, "local", k->local, "a route to the partner", ps);
	check_end(l, node, "remote", k->remote, NULL, NULL);
	if (is_unix(k->local) != is_unix(k->remote))
		config_problem(l, node, "write `unix` for both, or ADDRESS:PORT for both",
			       "the ends of this route are of two kinds");
	if (l->problems == before && p)
		check_other_end(l, node, k, p);
}

static void check_links(struct config_load *l, yaml_node_t *map, const struct config_controller *c,
			const struct config_controller *p, struct config_ports *ps)
{
	yaml_node_t *list = config_node_key(l, map, "links");
	bool have[2] = {false, false};
	for (unsigned i = 0; i < c->links_count; i++) {
		yaml_node_t *node = list ? config_node_item(l, list, i) : at(l, map, "partner");
		check_link(l, node, &c->links[i], p, ps);
		have[0] |= strcmp(c->links[i].path, paths[0]) == 0;
		have[1] |= strcmp(c->links[i].path, paths[1]) == 0;
	}
	for (unsigned i = 0; i < 2; i++)
		if (!have[i])
			config_problem(l, at(l, map, "links"),
				       "list at least one of each path, better two",
				       "links has no route of the path `%s`", paths[i]);
}

static void check_file(struct config_load *l, yaml_node_t *map, const char *key, const char *s)
{
	if (s && s[0] != '/')
		config_problem(l, at(l, map, key), "write a path that starts with /",
			       "%s `%.64s` is not an absolute path", key, s);
}

static void check_auth(struct config_load *l, yaml_node_t *map, const struct config_controller *c,
		       const struct config_controller *p)
{
	unsigned certs = !!c->link_cert + !!c->link_key + !!c->link_ca;
	check_file(l, map, "link_psk", c->link_psk);
	check_file(l, map, "link_cert", c->link_cert);
	check_file(l, map, "link_key", c->link_key);
	check_file(l, map, "link_ca", c->link_ca);
	if (certs != 0 && certs != 3)
		config_problem(l, map, "give all three of link_cert, link_key and link_ca",
			       "the certificates of controller `%.64s` are not complete", c->name);
	if (c->link_psk && certs)
		config_problem(l, at(l, map, "link_psk"), "keep link_psk or the certificates",
			       "controller `%.64s` has a key and certificates for its links",
			       c->name);
	if (p && (!!c->link_psk != !!p->link_psk || !!c->link_cert != !!p->link_cert))
		config_problem(l, map, "configure link_psk, or link_cert and its like, for both",
			       "`%.64s` and its partner `%.64s` prove who they are in two ways",
			       c->name, p->name);
}

static void check_times(struct config_load *l, yaml_node_t *map, const struct config_controller *c)
{
	if (c->link_heartbeat_ms < 1 || c->link_heartbeat_ms > HEARTBEAT_MAX)
		config_problem(l, at(l, map, "link_heartbeat_ms"), "choose from 1 to 10000",
			       "link_heartbeat_ms cannot be %u", c->link_heartbeat_ms);
	if (c->link_dead_ms > DEAD_MAX)
		config_problem(l, at(l, map, "link_dead_ms"), "choose at most 60000",
			       "link_dead_ms cannot be %u", c->link_dead_ms);
	else if (c->link_dead_ms < 3 * c->link_heartbeat_ms)
		config_problem(
		    l, at(l, map, "link_dead_ms"),
		    "choose at least three times link_heartbeat_ms: one late sign of life "
		    "is no death",
		    "link_dead_ms %u is too short", c->link_dead_ms);
	if (c->mirror_share < 1 || c->mirror_share > SHARE_MAX)
		config_problem(l, at(l, map, "mirror_share"), "choose from 1 to 80 per cent",
			       "mirror_share cannot be %u", c->mirror_share);
}

/* Keys that say nothing without a partner. */
static void check_no_partner(struct config_load *l, yaml_node_t *map,
			     const struct config_controller *c)
{
	static const char *const keys[] = {"links",	   "link_psk",	     "link_cert",
					   "link_key",	   "link_ca",	     "link_heartbeat_ms",
					   "link_dead_ms", "mirror_share",   "lone",
					   "give_back",	   "give_back_delay"};
	for (unsigned i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		yaml_node_t *node = config_node_key(l, map, keys[i]);
		if (node)
			config_problem(l, node, "name its partner, or leave the key out",
				       "controller `%.64s` has `%s` but no `partner`", c->name,
				       keys[i]);
	}
}

void config_link_check(struct config_load *l, struct config_file *f, unsigned i,
		       struct config_ports *ps)
{
	const struct config_controller *c = &f->controllers[i];
	yaml_node_t *map = section(l, i);
	if (!c->partner) {
		check_no_partner(l, map, c);
		return;
	}
	const struct config_controller *p = check_partner(l, map, f, c);
	check_links(l, map, c, p, ps);
	check_auth(l, map, c, p);
	check_times(l, map, c);
	if (strcmp(c->lone, "write-back") != 0 && strcmp(c->lone, "write-through") != 0)
		config_problem(l, at(l, map, "lone"), "write `write-back` or `write-through`",
			       "lone cannot be `%.64s`", c->lone);
	if (strcmp(c->give_back, "yes") != 0 && strcmp(c->give_back, "no") != 0)
		config_problem(l, at(l, map, "give_back"), "write `yes` or `no`",
			       "give_back cannot be `%.64s`", c->give_back);
	if (c->give_back_delay > GIVE_BACK_MAX)
		config_problem(l, at(l, map, "give_back_delay"), "choose from 0 to 3600 seconds",
			       "give_back_delay cannot be %u", c->give_back_delay);
}

/* ---- what others ask ---- */

const struct config_controller *config_partner(const struct config_file *f,
					       const struct config_controller *c)
{
	return c->partner ? config_controller(f, c->partner) : NULL;
}

bool config_lone_write_through(const struct config_controller *c)
{
	return strcmp(c->lone, "write-through") == 0;
}

bool config_give_back(const struct config_controller *c)
{
	return strcmp(c->give_back, "yes") == 0;
}

bool config_link_unix(const struct config_link *k)
{
	return is_unix(k->local);
}
