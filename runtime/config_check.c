/*
 * Defaults of the configuration, then values, duplicates and references. Every
 * problem is told with the line it stands on, found in the libyaml tree.
 */
#include "runtime/config_load.h"
#include "runtime/admin.h"
#include "runtime/check.h"
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <grp.h>
#include <stddef.h>
#include <pwd.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#define CACHE_MIN    (4ull << 20)
#define CACHE_MAX    (1ull << 44)
#define METADATA_MIN (16ull << 20)
#define METADATA_MAX (1ull << 42)
#define REACTORS_MAX 64
#define POLL_DEFAULT 20 /* us */
#define POLL_MAX     1000
/* s: twice what a disk made for arrays takes to mend a block (7 s), and half of a host's patience
 * (30 s). */
#define DISK_TIMEOUT_DEFAULT 15
#define DISK_TIMEOUT_MIN     3
#define DISK_TIMEOUT_MAX     600
#define WATCHDOG_DEFAULT     10
#define WATCHDOG_MAX	     3600

/* ---- defaults ---- */

static int set_default(char **s, const char *value)
{
	if (*s)
		return 0;
	*s = strdup(value);
	return *s ? 0 : -ENOMEM;
}

static int array_defaults(struct config_load *l, struct config_array *a)
{
	yaml_node_t *root = yaml_document_get_root_node(&l->doc);
	if (!config_node_key(l, config_node_key(l, root, "array"), "watchdog"))
		a->watchdog = WATCHDOG_DEFAULT;
	int rc = set_default(&a->name, "isthmus");
	rc = rc ?: set_default(&a->memory, "volatile");
	rc = rc ?: set_default(&a->run_dir, "/run/isthmus");
	rc = rc ?: set_default(&a->state_dir, "/var/lib/isthmus");
	rc = rc ?: set_default(&a->admin_group, "");
	rc = rc ?: set_default(&a->log_level, "info");
	rc = rc ?: set_default(&a->watchdog_restart, "no");
	if (rc || a->memory_dir)
		return rc;
	return asprintf(&a->memory_dir, "/dev/shm/isthmus-%s", a->name) < 0 ? -ENOMEM : 0;
}

/* Section number i of the list under `key`. */
static yaml_node_t *section(struct config_load *l, const char *key, unsigned i)
{
	yaml_node_t *root = yaml_document_get_root_node(&l->doc);
	return config_node_item(l, config_node_key(l, root, key), i);
}

/* Numbers of the section `iscsi`: 0 means absent until the defaults are in. */
static const struct iscsi_number {
	const char *key;
	size_t field;
	unsigned usual, min, max;
} iscsi_numbers[] = {
    {"max_connections", offsetof(struct config_iscsi, max_connections), 1024, 1, 60000},
    {"login_timeout", offsetof(struct config_iscsi, login_timeout), 15, 1, 3600},
    {"nop_interval", offsetof(struct config_iscsi, nop_interval), 30, 1, 3600},
    {"nop_timeout", offsetof(struct config_iscsi, nop_timeout), 30, 1, 3600},
    {"data_timeout", offsetof(struct config_iscsi, data_timeout), 30, 1, 3600},
    {"logout_time", offsetof(struct config_iscsi, logout_time), 2, 1, 60},
};

static unsigned *iscsi_number(struct config_iscsi *c, const struct iscsi_number *n)
{
	return (unsigned *)(void *)((char *)c + n->field);
}

static void iscsi_defaults(struct config_load *l, struct config_iscsi *c, unsigned i)
{
	yaml_node_t *map = config_node_key(l, section(l, "controllers", i), "iscsi");
	for (unsigned k = 0; k < ARRAY_LEN(iscsi_numbers); k++)
		if (!map || !config_node_key(l, map, iscsi_numbers[k].key))
			*iscsi_number(c, &iscsi_numbers[k]) = iscsi_numbers[k].usual;
}

static int controller_defaults(struct config_load *l, struct config_file *f, unsigned i)
{
	struct config_controller *c = &f->controllers[i];
	if (!config_node_key(l, section(l, "controllers", i), "poll_us"))
		c->poll_us = POLL_DEFAULT;
	if (!config_node_key(l, section(l, "controllers", i), "disk_timeout"))
		c->disk_timeout = DISK_TIMEOUT_DEFAULT;
	int rc = set_default(&c->cache, "256MiB");
	rc = rc ?: set_default(&c->io, "uring");
	iscsi_defaults(l, &c->iscsi, i);
	rc = rc ?: config_link_defaults(l, f, i);
	/* An empty list is said on purpose: no portal. */
	if (rc || config_node_key(l, section(l, "controllers", i), "portals"))
		return rc;
	c->portals = calloc(1, sizeof(*c->portals));
	if (!c->portals)
		return -ENOMEM;
	c->portals_count = 1;
	return set_default(&c->portals[0], "0.0.0.0:3260");
}

static int head_defaults(struct config_load *l, struct config_file *c, unsigned i)
{
	struct config_head *h = &c->heads[i];
	yaml_node_t *node = section(l, "heads", i);
	if (!config_node_key(l, node, "nfs_port"))
		h->nfs_port = 2049;
	if (!config_node_key(l, node, "mount_port"))
		h->mount_port = 20048;
	if (!config_node_key(l, node, "lock_grace"))
		h->lock_grace = 45;
	if (!config_node_key(l, node, "head_lease")) /* a new process costs no grace period */
		h->head_lease = !h->durable_state || strcmp(h->durable_state, "on") == 0 ? 2 : 0;
	if (!config_node_key(l, node, "max_connections"))
		h->max_connections = 4096;
	if (!config_node_key(l, node, "groups_time"))
		h->groups_time = 300;
	int rc = set_default(&h->group, "default");
	rc = rc
		 ?: set_default(&h->controller,
				c->controllers_count == 1 ? c->controllers[0].name : "");
	rc = rc ?: set_default(&h->address, "0.0.0.0");
	rc = rc ?: set_default(&h->address_script, "");
	rc = rc ?: set_default(&h->advertise, "");
	rc = rc ?: set_default(&h->nfs4, "on");
	rc = rc ?: set_default(&h->nfs4_domain, "");
	rc = rc ?: set_default(&h->keytab, "");
	rc = rc ?: set_default(&h->principal, "");
	rc = rc ?: set_default(&h->tls_cert, "");
	rc = rc ?: set_default(&h->tls_key, "");
	rc = rc ?: set_default(&h->tls_ca, "");
	rc = rc ?: set_default(&h->tls_mutual, "off");
	rc = rc ?: set_default(&h->nfs4_delegations, "on");
	rc = rc ?: set_default(&h->durable_state, "on");
	rc = rc ?: set_default(&h->rpcbind, "auto");
	rc = rc ?: set_default(&h->groups, "client");
	rc = rc ?: set_default(&h->metadata_memory, "256MiB");
	return rc ?: set_default(&h->user, "");
}

int config_defaults(struct config_load *l, struct config_file *c)
{
	int rc = array_defaults(l, &c->array);
	for (unsigned i = 0; i < c->controllers_count && !rc; i++)
		rc = controller_defaults(l, c, i);
	for (unsigned i = 0; i < c->heads_count && !rc; i++)
		rc = head_defaults(l, c, i);
	return rc;
}

/* ---- single values; `map` is the section they stand in ---- */

static yaml_node_t *at(struct config_load *l, yaml_node_t *map, const char *key)
{
	yaml_node_t *n = config_node_key(l, map, key);
	return n ? n : map;
}

static bool name_ok(const char *s)
{
	size_t n = strlen(s);
	return n >= 1 && n <= CONFIG_NAME_MAX && s[0] != '.' && s[0] != '-' &&
	       strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") == n;
}

static void check_name(struct config_load *l, yaml_node_t *map, const char *key, const char *s)
{
	if (!name_ok(s))
		config_problem(l, at(l, map, key), "use 1 to 31 letters, digits, `_`, `-` or `.`",
			       "%s `%.64s` is not a name", key, s);
}

static bool word_in(const char *s, const char *const *words)
{
	for (; *words; words++)
		if (strcmp(s, *words) == 0)
			return true;
	return false;
}

static void check_word(struct config_load *l, yaml_node_t *map, const char *key, const char *s,
		       const char *const *words, const char *remedy)
{
	if (!word_in(s, words))
		config_problem(l, at(l, map, key), remedy, "%s cannot be `%.64s`", key, s);
}

static void check_dir(struct config_load *l, yaml_node_t *map, const char *key, const char *s)
{
	if (s[0] != '/')
		config_problem(l, at(l, map, key), "write a path that starts with /",
			       "%s `%.64s` is not an absolute path", key, s);
}

static void check_size(struct config_load *l, yaml_node_t *map, const char *key, const char *s,
		       uint64_t min, uint64_t max, uint64_t *ret)
{
	uint64_t v;
	if (parse_size(s, &v)) {
		config_problem(l, at(l, map, key), "write it like 512MiB or 4G",
			       "%s `%.64s` is not a size", key, s);
		return;
	}
	if (v < min || v > max) {
		char remedy[96];
		snprintf(remedy, sizeof(remedy), "choose from %lluMiB to %lluGiB",
			 (unsigned long long)(min >> 20), (unsigned long long)(max >> 30));
		config_problem(l, at(l, map, key), remedy, "%s `%.64s` is out of bounds", key, s);
		return;
	}
	*ret = v;
}

static void check_pin(struct config_load *l, yaml_node_t *map, const int *pin, unsigned n)
{
	yaml_node_t *list = config_node_key(l, map, "pin");
	for (unsigned i = 0; i < n; i++) {
		bool twice = false;
		for (unsigned j = 0; j < i; j++)
			twice |= pin[j] == pin[i];
		if (pin[i] < 0 || pin[i] >= CPU_SETSIZE)
			config_problem(l, config_node_item(l, list, i), "see lscpu(1)",
				       "pin: there is no CPU %d", pin[i]);
		else if (twice)
			config_problem(l, config_node_item(l, list, i), "keep one of them",
				       "pin: CPU %d is listed twice", pin[i]);
	}
}

/* ---- ports ---- */

static bool wildcard(const char *a)
{
	return strcmp(a, "0.0.0.0") == 0 || strcmp(a, "::") == 0;
}

void config_port_take(struct config_load *l, struct config_ports *ps, const char *address,
		      unsigned port, const char *what, yaml_node_t *node)
{
	for (unsigned i = 0; i < ps->n; i++) {
		struct config_port *p = &ps->p[i];
		if (p->port != port || (strcmp(p->address, address) != 0 && !wildcard(p->address) &&
					!wildcard(address)))
			continue;
		config_problem(l, node, "give each a port of its own",
			       "port %u of %s is already taken by %s in line %zu", port, what,
			       p->what, p->node->start_mark.line + 1);
		return;
	}
	if (ps->n == CONFIG_PORTS_MAX)
		return;
	struct config_port *p = &ps->p[ps->n++];
	snprintf(p->address, sizeof(p->address), "%s", address);
	p->port = port;
	p->what = what;
	p->node = node;
}

static bool address_ok(const char *a)
{
	struct in6_addr buf;
	return inet_pton(AF_INET, a, &buf) == 1 || inet_pton(AF_INET6, a, &buf) == 1;
}

/* None, or labels of letters, digits, - and _ with dots between them; 255 bytes at most. */
static bool domain_ok(const char *s)
{
	size_t len = strlen(s), label = 0;
	for (const char *p = s; *p; p++) {
		bool dot = *p == '.';
		if (dot ? label == 0 : !isalnum((unsigned char)*p) && *p != '-' && *p != '_')
			return false;
		label = dot ? 0 : label + 1;
	}
	return len == 0 || (len <= 255 && label > 0);
}

/* The tag of a portal group: ",1" to ",65535" at the end. */
static bool tag_ok(const char *s)
{
	size_t digits = strspn(s, "0123456789");
	unsigned long tag = strtoul(s, NULL, 10);
	return digits > 0 && digits <= 5 && !s[digits] && tag >= 1 && tag <= 65535;
}

/* "ADDRESS:PORT" or "[ADDRESS]:PORT", perhaps with a tag. */
static bool split_portal(const char *s, char address[64], unsigned *port)
{
	const char *colon = strrchr(s, ':');
	if (!colon)
		return false;
	size_t n = (size_t)(colon - s);
	if (s[0] == '[') {
		if (n < 2 || s[n - 1] != ']')
			return false;
		s++;
		n -= 2;
	} else if (memchr(s, ':', n)) {
		return false;
	}
	if (n == 0 || n >= 64)
		return false;
	memcpy(address, s, n);
	address[n] = '\0';
	size_t digits = strspn(colon + 1, "0123456789");
	const char *end = colon + 1 + digits;
	if (digits == 0 || digits > 5 || (*end && (*end != ',' || !tag_ok(end + 1))) ||
	    !address_ok(address))
		return false;
	*port = (unsigned)strtoul(colon + 1, NULL, 10);
	return *port >= 1 && *port <= 65535;
}

bool config_split_address(const char *s, char address[64], unsigned *port)
{
	return !strchr(s, ',') && split_portal(s, address, port);
}

/* ---- sections ---- */

static void check_array(struct config_load *l, yaml_node_t *map, const struct config_array *a)
{
	check_name(l, map, "name", a->name);
	check_word(l, map, "memory", a->memory, (const char *[]){"volatile", "battery", NULL},
		   "write `volatile`, or `battery` when the memory survives a power loss");
	check_dir(l, map, "run_dir", a->run_dir);
	check_dir(l, map, "state_dir", a->state_dir);
	check_dir(l, map, "memory_dir", a->memory_dir);
	check_word(l, map, "log_level", a->log_level,
		   (const char *[]){"debug", "info", "notice", "warn", "error", NULL},
		   "write debug, info, notice, warn or error");
	check_word(l, map, "watchdog_restart", a->watchdog_restart,
		   (const char *[]){"no", "yes", NULL},
		   "write `no` (a child that hangs is told) or `yes` (and killed)");
	if (a->watchdog > WATCHDOG_MAX)
		config_problem(l, at(l, map, "watchdog"),
			       "write seconds, at most 3600; 0 watches nothing",
			       "watchdog of %u seconds is out of range", a->watchdog);
	if (a->admin_group[0] && !getgrnam(a->admin_group))
		config_problem(l, at(l, map, "admin_group"),
			       "make it with groupadd(8), or leave the key out",
			       "admin_group `%.64s` does not exist", a->admin_group);
}

/* One names the other. That the other does not is told where its partner is: then nothing is said
 * about their disks. */
static bool are_partners(const struct config_controller *a, const struct config_controller *b)
{
	return (a->partner && strcmp(a->partner, b->name) == 0) ||
	       (b->partner && strcmp(b->partner, a->name) == 0);
}

static void check_disks(struct config_load *l, yaml_node_t *map, const struct config_file *c,
			unsigned ci)
{
	const struct config_controller *k = &c->controllers[ci];
	yaml_node_t *list = config_node_key(l, map, "disks");
	if (k->disks_count == 0)
		config_problem(l, map, "list the paths of its disks",
			       "controller `%.64s` has no disks", k->name);
	for (unsigned i = 0; i < k->disks_count; i++) {
		yaml_node_t *node = config_node_item(l, list, i);
		const char *d = k->disks[i];
		if (d[0] != '/')
			config_problem(l, node, "write a path that starts with /",
				       "disk `%.64s` is not an absolute path", d);
		for (unsigned cj = 0; cj <= ci; cj++) {
			const struct config_controller *o = &c->controllers[cj];
			if (cj != ci && are_partners(k, o))
				continue;
			unsigned n = cj == ci ? i : o->disks_count;
			for (unsigned j = 0; j < n; j++)
				if (strcmp(o->disks[j], d) == 0) {
					config_problem(
					    l, node,
					    "a disk belongs to one controller and its "
					    "partner, once each",
					    "disk `%.64s` is already listed by controller `%.64s`",
					    d, o->name);
					cj = ci;
					break;
				}
		}
	}
}

static void check_portals(struct config_load *l, yaml_node_t *map,
			  const struct config_controller *k, struct config_ports *ps)
{
	yaml_node_t *list = config_node_key(l, map, "portals");
	for (unsigned i = 0; i < k->portals_count; i++) {
		yaml_node_t *node = list ? config_node_item(l, list, i) : map;
		char address[64];
		unsigned port;
		if (!split_portal(k->portals[i], address, &port))
			config_problem(l, node,
				       "write ADDRESS:PORT, as 0.0.0.0:3260 or [::]:3260, perhaps "
				       "with the tag of its group, as 10.0.0.1:3260,2",
				       "portal `%.64s` is not an address and a port",
				       k->portals[i]);
		else
			config_port_take(l, ps, address, port, "a portal", node);
	}
}

static void check_iscsi(struct config_load *l, yaml_node_t *controller, struct config_iscsi *c)
{
	yaml_node_t *map = config_node_key(l, controller, "iscsi");
	if (!map)
		return;
	for (unsigned i = 0; i < ARRAY_LEN(iscsi_numbers); i++) {
		const struct iscsi_number *n = &iscsi_numbers[i];
		unsigned v = *iscsi_number(c, n);
		char remedy[64];
		snprintf(remedy, sizeof(remedy), "choose from %u to %u", n->min, n->max);
		if (v < n->min || v > n->max)
			config_problem(l, at(l, map, n->key), remedy, "%s cannot be %u", n->key, v);
	}
	yaml_node_t *chap = config_node_key(l, map, "chap");
	if (chap && c->chap_count == 0)
		config_problem(l, chap, "list at least one, or leave the key out",
			       "chap allows nothing");
	for (unsigned i = 0; i < c->chap_count; i++)
		if (!word_in(c->chap[i],
			     (const char *[]){"md5", "sha1", "sha256", "sha3-256", NULL}))
			config_problem(l, config_node_item(l, chap, i),
				       "write md5, sha1, sha256 or sha3-256",
				       "`%.64s` is no CHAP algorithm", c->chap[i]);
}

static void check_controller(struct config_load *l, yaml_node_t *map, struct config_file *c,
			     unsigned i, struct config_ports *ps)
{
	struct config_controller *k = &c->controllers[i];
	check_name(l, map, "name", k->name);
	for (unsigned j = 0; j < i; j++)
		if (strcmp(c->controllers[j].name, k->name) == 0) {
			config_problem(l, at(l, map, "name"), "give each a name of its own",
				       "there are two controllers `%.64s`", k->name);
			break;
		}
	check_size(l, map, "cache", k->cache, CACHE_MIN, CACHE_MAX, &k->cache_bytes);
	if (k->reactors > REACTORS_MAX)
		config_problem(l, at(l, map, "reactors"),
			       "choose at most 64, or 0 for the number of CPUs",
			       "%u reactors are too many", k->reactors);
	check_word(l, map, "io", k->io, (const char *[]){"uring", "threads", NULL},
		   "write `uring` or `threads`");
	if (k->poll_us > POLL_MAX)
		config_problem(l, at(l, map, "poll_us"), "choose at most 1000, or 0 for none",
			       "poll_us %u is too long", k->poll_us);
	if (k->disk_timeout < DISK_TIMEOUT_MIN || k->disk_timeout > DISK_TIMEOUT_MAX)
		config_problem(l, at(l, map, "disk_timeout"), "choose from 3 to 600 seconds",
			       "disk_timeout cannot be %u", k->disk_timeout);
	check_pin(l, map, k->pin, k->pin_count);
	check_disks(l, map, c, i);
	check_portals(l, map, k, ps);
	check_iscsi(l, map, &k->iscsi);
	config_link_check(l, c, i, ps);
}

static void check_port(struct config_load *l, yaml_node_t *map, const char *key, unsigned port,
		       const char *address, const char *what, struct config_ports *ps)
{
	if (port < 1 || port > 65535)
		config_problem(l, at(l, map, key), "choose from 1 to 65535", "%s cannot be %u", key,
			       port);
	else
		config_port_take(l, ps, address, port, what, at(l, map, key));
}

static void check_head_controller(struct config_load *l, yaml_node_t *map,
				  const struct config_file *c, const struct config_head *h)
{
	if (h->controller[0] == '\0')
		config_problem(l, map, "add `controller:` with the name of one",
			       "head `%.64s` does not say which controller it uses", h->name);
	else if (!config_controller(c, h->controller))
		config_problem(l, at(l, map, "controller"),
			       "name one of those listed under `controllers`",
			       "head `%.64s` uses controller `%.64s`, which does not exist",
			       h->name, h->controller);
}

/* What the files hold is told by the head: exports that want no TLS are served without. */
static void check_head_tls(struct config_load *l, yaml_node_t *map, const struct config_head *h)
{
	const struct {
		const char *key, *path;
	} files[] = {{"tls_cert", h->tls_cert}, {"tls_key", h->tls_key}, {"tls_ca", h->tls_ca}};
	for (unsigned i = 0; i < ARRAY_LEN(files); i++)
		if (files[i].path[0] && files[i].path[0] != '/')
			config_problem(l, at(l, map, files[i].key), "write an absolute path",
				       "%s `%.64s` is no path from the root", files[i].key,
				       files[i].path);
	if (!h->tls_cert[0] != !h->tls_key[0])
		config_problem(l, map, "give both of tls_cert and tls_key",
			       "head `%.64s` has one of a certificate and its key", h->name);
	if (h->tls_ca[0] && !h->tls_cert[0])
		config_problem(l, at(l, map, "tls_ca"), "give tls_cert and tls_key too",
			       "head `%.64s` has tls_ca but no certificate of its own", h->name);
	check_word(l, map, "tls_mutual", h->tls_mutual, (const char *[]){"on", "off", NULL},
		   "write on or off");
	if (config_head_tls_mutual(h) && !h->tls_ca[0])
		config_problem(l, at(l, map, "tls_mutual"),
			       "add `tls_ca:` with the certificates of who signs them",
			       "head `%.64s` asks clients for certificates it cannot check",
			       h->name);
}

static void check_head(struct config_load *l, yaml_node_t *map, struct config_file *c, unsigned i,
		       struct config_ports *ps)
{
	struct config_head *h = &c->heads[i];
	check_name(l, map, "name", h->name);
	for (unsigned j = 0; j < i; j++)
		if (strcmp(c->heads[j].name, h->name) == 0) {
			config_problem(l, at(l, map, "name"), "give each a name of its own",
				       "there are two heads `%.64s`", h->name);
			break;
		}
	check_name(l, map, "group", h->group);
	check_head_controller(l, map, c, h);
	if (!address_ok(h->address))
		config_problem(l, at(l, map, "address"),
			       "write a numeric address, as 0.0.0.0 for all",
			       "address `%.64s` is not an address", h->address);
	if (h->advertise[0] && (!address_ok(h->advertise) || wildcard(h->advertise)))
		config_problem(l, at(l, map, "advertise"),
			       "write the numeric address by which clients reach this head",
			       "advertise `%.64s` is not an address", h->advertise);
	if (h->address_script[0] &&
	    (h->address_script[0] != '/' || strlen(h->address_script) > 255))
		config_problem(l, at(l, map, "address_script"), "write an absolute path",
			       "address_script `%.64s` is not an absolute path", h->address_script);
	check_port(l, map, "nfs_port", h->nfs_port, h->address, "NFS", ps);
	if (h->mount_port)
		check_port(l, map, "mount_port", h->mount_port, h->address, "MOUNT", ps);
	if (h->lock_grace < 1 || h->lock_grace > 3600)
		config_problem(l, at(l, map, "lock_grace"), "write 1 to 3600 seconds",
			       "lock_grace of %u seconds is out of range", h->lock_grace);
	if (h->head_lease > 3600)
		config_problem(l, at(l, map, "head_lease"), "write 1 to 3600 seconds, or 0",
			       "head_lease of %u seconds is out of range", h->head_lease);
	if (h->max_connections < 1 || h->max_connections > 60000)
		config_problem(l, at(l, map, "max_connections"), "write 1 to 60000",
			       "max_connections of %u is out of range", h->max_connections);
	check_word(l, map, "nfs4", h->nfs4, (const char *[]){"on", "off", NULL}, "write on or off");
	check_word(l, map, "nfs4_delegations", h->nfs4_delegations,
		   (const char *[]){"on", "off", NULL}, "write on or off");
	check_word(l, map, "durable_state", h->durable_state, (const char *[]){"on", "off", NULL},
		   "write on or off");
	if (!domain_ok(h->nfs4_domain))
		config_problem(l, at(l, map, "nfs4_domain"),
			       "write a domain's name, as example.org, the same as on the clients",
			       "nfs4_domain `%.64s` is not a domain", h->nfs4_domain);
	config_keytab_check(l, map, h);
	check_head_tls(l, map, h);
	check_word(l, map, "rpcbind", h->rpcbind, (const char *[]){"auto", "off", NULL},
		   "write `auto` or `off`");
	check_word(l, map, "groups", h->groups, (const char *[]){"client", "server", NULL},
		   "write `client` or `server`");
	if (h->groups_time < 1 || h->groups_time > 86400)
		config_problem(l, at(l, map, "groups_time"), "write 1 to 86400 seconds",
			       "groups_time of %u seconds is out of range", h->groups_time);
	check_size(l, map, "metadata_memory", h->metadata_memory, METADATA_MIN, METADATA_MAX,
		   &h->metadata_memory_bytes);
	if (h->user[0] && !getpwnam(h->user))
		config_problem(l, at(l, map, "user"),
			       "make it with useradd(8), or leave the key out",
			       "user `%.64s` does not exist", h->user);
	check_pin(l, map, h->pin, h->pin_count);
}

/* The longest path each folder has to hold is known: unix sockets bound it. */
static void check_path_lengths(struct config_load *l, yaml_node_t *map, const struct config_file *c)
{
	size_t name = 0, controller = 0;
	for (unsigned i = 0; i < c->controllers_count; i++)
		controller = MAX(controller, strlen(c->controllers[i].name));
	for (unsigned i = 0; i < c->heads_count; i++)
		name = MAX(name, strlen(c->heads[i].name));
	size_t max = sizeof(((struct sockaddr_un *)0)->sun_path) - 1;
	size_t suffix = MAX(strlen("/controller-.sock") + controller, strlen("/head-.sock") + name);
	suffix = MAX(suffix, strlen("/link--control0.sock") + controller);
	size_t n = strlen(c->array.run_dir) + suffix;
	if (n > max)
		config_problem(l, at(l, map, "run_dir"), "choose a shorter path",
			       "run_dir is too long: a socket in it would have a path of %zu "
			       "bytes, unix sockets allow %zu",
			       n, max);
	n = strlen(c->array.memory_dir) +
	    MAX(strlen("/cache-.seg") + controller, strlen("/head-.beat") + name);
	if (n > max)
		config_problem(l, at(l, map, "memory_dir"), "choose a shorter path",
			       "memory_dir is too long: a path in it would have %zu bytes, "
			       "more than %zu",
			       n, max);
	if (strlen(c->array.state_dir) > 512)
		config_problem(l, at(l, map, "state_dir"), "choose a shorter path",
			       "state_dir has more than 512 bytes");
}

void config_check_values(struct config_load *l, struct config_file *c)
{
	yaml_node_t *root = yaml_document_get_root_node(&l->doc);
	struct config_ports *ps = calloc(1, sizeof(*ps));
	if (!ps) {
		config_problem(l, NULL, "free some memory", "out of memory");
		return;
	}
	yaml_node_t *array = config_node_key(l, root, "array");
	check_array(l, array, &c->array);
	yaml_node_t *list = config_node_key(l, root, "controllers");
	if (c->controllers_count == 0)
		config_problem(l, list, "list one, as in isthmus.conf(5)",
			       "there is no controller");
	for (unsigned i = 0; i < c->controllers_count; i++)
		check_controller(l, config_node_item(l, list, i), c, i, ps);
	list = config_node_key(l, root, "heads");
	for (unsigned i = 0; i < c->heads_count; i++)
		check_head(l, config_node_item(l, list, i), c, i, ps);
	check_path_lengths(l, array, c);
	free(ps);
}
