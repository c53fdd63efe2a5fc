/*
 * The front door: the supervisor's own verbs, and the way to the others.
 */
#include "config.h"
#include "runtime/admin.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include "server/supervisor/activate.h"
#include "server/supervisor/gather.h"
#include "server/supervisor/supervisor.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define STATUS_EVENTS 5

/* ---- status ---- */

static void put_array(struct supervisor *s, struct admin_call *call)
{
	const struct config_array *a = &s->config->array;
	admin_table(call, "array", true);
	admin_row(call);
	admin_put_text(call, "name", "%s", a->name);
	admin_put_text(call, "version", "%s", PACKAGE_VERSION);
	admin_put_text(call, "config", "%s", s->config_path);
	admin_put_text(call, "memory", "%s", a->memory);
	admin_put_text(
	    call, "promise", "%s",
	    config_battery(s->config)
		? "acknowledged writes survive the death of any process; a flush is done when "
		  "the data is in cache memory, which the operator says survives power loss"
		: "acknowledged writes survive the death of any process; power loss takes only "
		  "what no flush (SYNCHRONIZE CACHE, FUA, NFS COMMIT) has covered");
	admin_put_number(call, "pid", (uint64_t)getpid());
	admin_put_duration(call, "uptime", env_now_ns(env_real()) - s->started_ns);
}

static void put_processes(struct supervisor *s, struct admin_call *call)
{
	struct child *c;
	admin_table(call, "processes", false);
	TAILQ_FOREACH (c, &s->children, link) {
		admin_row(call);
		admin_put_text(call, "kind", "%s", c->kind);
		admin_put_text(call, "name", "%s", c->name);
		admin_put_text(call, "state", "%s", child_state_name(c->state));
		admin_put_number(call, "pid", (uint64_t)c->pid);
		admin_put_duration(call, "since", env_realtime_ns(env_real()) - c->since_ns);
		admin_put_number(call, "restarts", c->restarts);
		admin_put_text(call, "last_end", "%s", c->why);
	}
}

static void explain_children(struct supervisor *s, struct admin_call *call)
{
	char text[320];
	struct child *c;
	TAILQ_FOREACH (c, &s->children, link)
		if (c->state != CHILD_UP) {
			gather_explain(c, text, sizeof(text));
			admin_note(call, "%s: %s", text,
				   strcmp(c->kind, "controller") == 0
				       ? "initiators and heads that use it wait"
				       : "clients of its exports wait");
		}
}

static void put_events(struct admin_call *call)
{
	struct event e[STATUS_EVENTS];
	int n = event_log_read(0, e, STATUS_EVENTS);
	admin_table(call, "events", false);
	for (int i = 0; i < n; i++) {
		admin_row(call);
		admin_put_time(call, "time", e[i].realtime_ns);
		admin_put_text(call, "kind", "%.31s", e[i].kind);
		admin_put_text(call, "text", "%.211s", e[i].text);
	}
}

static int verb_status(struct admin_call *call, void *arg)
{
	struct supervisor *s = arg;
	put_array(s, call);
	put_processes(s, call);
	explain_children(s, call);
	gather_all(s, call, "status");
	gather_merge(call);
	put_events(call);
	return 0;
}

/* ---- others of its own ---- */

static int verb_stats(struct admin_call *call, void *arg)
{
	gather_all(arg, call, "stats");
	gather_merge(call);
	return 0;
}

/* The built-in handler has put this process's own events already. */
static int verb_events(struct admin_call *call, void *arg)
{
	uint64_t count = 50;
	int rc = admin_arg_u64(call, "count", &count);
	if (rc && rc != -ENOENT)
		return rc;
	gather_left_events(arg, call);
	gather_all(arg, call, "event.list");
	gather_sort_events(call, count);
	return 0;
}

static void join(char *ret, size_t size, char **list, unsigned n)
{
	size_t at = 0;
	ret[0] = '\0';
	for (unsigned i = 0; i < n && at < size; i++)
		at += (size_t)snprintf(ret + at, size - at, "%s%s", i ? " " : "", list[i]);
}

static void put_iscsi(struct admin_call *call, const struct config_iscsi *c)
{
	char text[128];
	join(text, sizeof(text), c->chap, c->chap_count);
	admin_put_number(call, "max_connections", c->max_connections);
	admin_put_number(call, "login_timeout", c->login_timeout);
	admin_put_number(call, "nop_interval", c->nop_interval);
	admin_put_number(call, "nop_timeout", c->nop_timeout);
	admin_put_number(call, "data_timeout", c->data_timeout);
	admin_put_number(call, "logout_time", c->logout_time);
	admin_put_text(call, "chap", "%s", c->chap_count ? text : "all");
}

static int verb_config_show(struct admin_call *call, void *arg)
{
	struct supervisor *s = arg;
	const struct config_file *c = s->config;
	static char text[16384];
	admin_table(call, "array", true);
	admin_row(call);
	admin_put_text(call, "file", "%s", s->config_path);
	admin_put_text(call, "name", "%s", c->array.name);
	admin_put_text(call, "memory", "%s", c->array.memory);
	admin_put_text(call, "run_dir", "%s", c->array.run_dir);
	admin_put_text(call, "state_dir", "%s", c->array.state_dir);
	admin_put_text(call, "memory_dir", "%s", c->array.memory_dir);
	admin_put_text(call, "admin_group", "%s", c->array.admin_group);
	admin_put_text(call, "log_level", "%s", c->array.log_level);
	admin_put_number(call, "watchdog", c->array.watchdog);
	admin_put_text(call, "watchdog_restart", "%s", c->array.watchdog_restart);
	admin_table(call, "controllers", false);
	for (unsigned i = 0; i < c->controllers_count; i++) {
		const struct config_controller *k = &c->controllers[i];
		admin_row(call);
		admin_put_text(call, "name", "%s", k->name);
		admin_put_bytes(call, "cache", k->cache_bytes);
		admin_put_number(call, "reactors", k->reactors);
		admin_put_text(call, "io", "%s", k->io);
		join(text, sizeof(text), k->portals, k->portals_count);
		admin_put_text(call, "portals", "%s", text);
		put_iscsi(call, &k->iscsi);
		join(text, sizeof(text), k->disks, k->disks_count);
		admin_put_text(call, "disks", "%s", text);
	}
	admin_table(call, "heads", false);
	for (unsigned i = 0; i < c->heads_count; i++) {
		const struct config_head *h = &c->heads[i];
		admin_row(call);
		admin_put_text(call, "name", "%s", h->name);
		admin_put_text(call, "group", "%s", h->group);
		admin_put_text(call, "controller", "%s", h->controller);
		admin_put_text(call, "address", "%s", h->address);
		admin_put_number(call, "nfs_port", h->nfs_port);
		admin_put_number(call, "mount_port", h->mount_port);
		admin_put_text(call, "rpcbind", "%s", h->rpcbind);
		admin_put_bytes(call, "metadata_memory", h->metadata_memory_bytes);
		admin_put_number(call, "max_connections", h->max_connections);
		admin_put_text(call, "user", "%s", h->user);
	}
	return 0;
}

/* ---- to the others ---- */

static int no_default(struct admin_call *call, const char *kind)
{
	char remedy[64];
	snprintf(remedy, sizeof(remedy), "say which: --%s NAME", kind);
	return admin_error(call, -EINVAL, remedy, "there are several %ss", kind);
}

/* Both have the same metadata, and pass on what only the other can do. */
static bool partners(const struct config_file *c)
{
	return c->controllers_count == 2 && c->controllers[0].partner &&
	       strcmp(c->controllers[0].partner, c->controllers[1].name) == 0;
}

/* Of which each controller has its own part. */
static bool merged(const char *verb)
{
	static const char *const verbs[] = {
	    "pool.list",   "volume.list",  "disk.list",	     "lun.stats",
	    "lun.latency", "session.list", "session.logout", "stats",
	};
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
		if (strcmp(verbs[i], verb) == 0)
			return true;
	return false;
}

/* The only controller, of partners one that is up; of heads the one that is up. */
static int default_name(struct supervisor *s, struct admin_call *call, const char *kind,
			char ret[32])
{
	bool any = strcmp(kind, "head") == 0 || partners(s->config);
	const struct child *c, *best = NULL;
	TAILQ_FOREACH (c, &s->children, link) {
		if (strcmp(c->kind, kind) != 0)
			continue;
		if (best && !any)
			return no_default(call, kind);
		if (!best || (best->state != CHILD_UP && c->state == CHILD_UP))
			best = c;
	}
	if (!best)
		return admin_error(call, -ENOENT, "add one to the configuration",
				   "no %s is configured", kind);
	memcpy(ret, best->name, sizeof(best->name));
	return 0;
}

static int forward(struct admin_call *call, void *arg)
{
	struct supervisor *s = arg;
	const Isthmus__AdminRequest *req = admin_call_request(call);
	char kind[16] = "", name[32] = "";
	if (sscanf(req->destination, "%15[a-z]:%31s", kind, name) < 1 ||
	    (strcmp(kind, "controller") != 0 && strcmp(kind, "head") != 0))
		return admin_error(call, -EOPNOTSUPP, "see isthmus help",
				   "isthmusd does not know the verb `%.64s`%s%.64s", req->verb,
				   req->destination[0] ? " at " : "", req->destination);
	if (!name[0] && strcmp(kind, "controller") == 0 && partners(s->config) && merged(req->verb))
		return gather_merged(s, call, req->verb);
	if (!name[0]) {
		int rc = default_name(s, call, kind, name);
		if (rc)
			return rc;
	}
	return gather_forward(s, call, kind, name, req->verb);
}

/* ---- controllers ---- */

/* Those that do not answer, as this process knows them. */
static void put_absent(struct supervisor *s, struct admin_call *call)
{
	struct child *c;
	admin_table(call, "controllers", false);
	TAILQ_FOREACH (c, &s->children, link) {
		if (strcmp(c->kind, "controller") != 0 || c->state == CHILD_UP ||
		    gather_has(call, "controllers", "controller", c->name))
			continue;
		admin_row(call);
		admin_put_text(call, "controller", "%s", c->name);
		admin_put_text(call, "state", "%s", child_state_name(c->state));
		admin_put_number(call, "pid", (uint64_t)c->pid);
	}
}

static int verb_controllers(struct admin_call *call, void *arg)
{
	struct supervisor *s = arg;
	int rc = gather_merged(s, call, "controller.list");
	if (rc && rc != -ENOTCONN)
		return rc;
	put_absent(s, call);
	explain_children(s, call);
	return 0;
}

static int verb_controller(struct admin_call *call, void *arg)
{
	const char *name = admin_arg_text(call, "name");
	if (!name)
		return admin_error(call, -EINVAL, "isthmus controller show NAME",
				   "no controller is named");
	return gather_forward(arg, call, "controller", name, "controller.show");
}

/* The head that serves a file system, from the controllers' lists. */
static int find_fs_head(struct supervisor *s, struct admin_call *call, const char *fs, char ret[32])
{
	Isthmus__AdminRequest req = ISTHMUS__ADMIN_REQUEST__INIT;
	char path[108], self[108];
	req.verb = "fs.list";
	for (unsigned i = 0; i < s->config->controllers_count; i++) {
		Isthmus__AdminReply *reply;
		config_path_admin(s->config, "controller", s->config->controllers[i].name, path);
		if (admin_task_call(path, &req, 10 * NS_PER_S, NULL, &reply))
			continue;
		const char *head = gather_field(reply, "fs", fs, "head");
		snprintf(self, sizeof(self), "%s", head ? head : "");
		isthmus__admin_reply__free_unpacked(reply, NULL);
		if (self[0]) {
			snprintf(ret, 32, "%.31s", self);
			return 0;
		}
	}
	return admin_error(call, -ENOENT, "see isthmus fs list",
			   "no controller that answers has a file system `%.64s` with a head", fs);
}

static int verb_fs_check(struct admin_call *call, void *arg)
{
	struct supervisor *s = arg;
	char head[32];
	const char *name = admin_arg_text(call, "name");
	if (!name)
		return admin_error(call, -EINVAL, "isthmus fs check NAME, or --device PATH",
				   "no file system is named");
	int rc = find_fs_head(s, call, name, head);
	return rc ? rc : gather_forward(s, call, "head", head, "fs.verify");
}

/* Verbs of one file system: passed to the head that serves it. */
static int verb_of_fs(struct admin_call *call, void *arg)
{
	struct supervisor *s = arg;
	char head[32];
	const char *name = admin_arg_text(call, "fs");
	if (!name)
		return admin_error(call, -EINVAL, "see isthmus fs list", "no file system is named");
	int rc = find_fs_head(s, call, name, head);
	return rc ? rc : gather_forward(s, call, "head", head, admin_call_verb(call));
}

int front_register(struct supervisor *s)
{
	static const struct {
		const char *verb;
		admin_handler *fn;
	} own[] = {
	    {"status", verb_status},
	    {"stats", verb_stats},
	    {"event.list", verb_events},
	    {"config.show", verb_config_show},
	    {"fs.check", verb_fs_check},
	    {"quota.list", verb_of_fs},
	    {"quota.set", verb_of_fs},
	    {"quota.grace", verb_of_fs},
	    {"quota.tree", verb_of_fs},
	    {"controller.list", verb_controllers},
	    {"controller.show", verb_controller},
	};
	int rc = 0;
	for (size_t i = 0; i < sizeof(own) / sizeof(own[0]) && !rc; i++)
		rc = admin_register(s->admin, own[i].verb, own[i].fn, s);
	rc = rc ? rc : front_heads_register(s);
	rc = rc ? rc : front_software_register(s);
	return rc ? rc : admin_register_fallback(s->admin, forward, s);
}
