/* export.add, export.list, export.set, export.remove */
#include "blockcore/core_admin.h"
#include "blockcore/control/meta_check.h"
#include "blockcore/export_rule.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RULES_MAX 1024

static Isthmus__Export *export_find(const Isthmus__ArrayMeta *am, const char *path)
{
	for (size_t i = 0; i < am->n_exports; i++)
		if (strcmp(am->exports[i]->path, path) == 0)
			return am->exports[i];
	return NULL;
}

/* Absolute, without empty parts, "." and "..", and without a slash at the end. */
static bool path_ok(const char *p)
{
	if (*p != '/' || strlen(p) > 1023)
		return false;
	if (strcmp(p, "/") == 0)
		return true;
	while (*p) {
		p++;
		size_t n = strcspn(p, "/");
		if (n == 0 || n > 255 || strncmp(p, ".", MAX(n, 1)) == 0 ||
		    strncmp(p, "..", MAX(n, 2)) == 0)
			return false;
		for (size_t i = 0; i < n; i++)
			if ((unsigned char)p[i] < ' ' || p[i] == 0x7f)
				return false;
		p += n;
	}
	return true;
}

struct export_change {
	struct admin_call *call;
	const char *path, *fs, *subdir;
	const char *sec; /* of rules that name no flavours */
	bool clients;	 /* replace the rules */
};

/* With `always` of those that name some, too. */
static int rule_sec(Isthmus__ExportClient *r, const char *sec, bool always)
{
	return sec && (always || !*r->sec) ? pb_set_text(&r->sec, sec) : 0;
}

/* The rules of the call, or the default one. */
static int add_rules(Isthmus__Export *e, const struct export_change *x, char *why)
{
	unsigned n = 0;
	for (; n <= RULES_MAX; n++) {
		const char *text = admin_arg_list(x->call, "client", n);
		if (!text && n > 0)
			return 0;
		Isthmus__ExportClient *r;
		int rc = export_rule_parse(text ? text : EXPORT_RULE_DEFAULT, &r, why);
		if (rc)
			return rc;
		rc = rule_sec(r, x->sec, false);
		if (rc == 0)
			rc = pb_append(&e->clients, &e->n_clients, r);
		if (rc) {
			isthmus__export_client__free_unpacked(r, NULL);
			return rc;
		}
		if (!text)
			return 0;
	}
	snprintf(why, CORE_WHY_LEN, "too many client rules; at most %d", RULES_MAX);
	return -EINVAL;
}

static int change_add(Isthmus__ArrayMeta *am, void *arg, char *why)
{
	const struct export_change *x = arg;
	if (export_find(am, x->path)) {
		snprintf(why, CORE_WHY_LEN,
			 "there is an export %.100s already; see `isthmus export set`", x->path);
		return -EEXIST;
	}
	Isthmus__Export *e = malloc(sizeof(*e));
	if (!e)
		return -ENOMEM;
	isthmus__export__init(e);
	e->id = am->next_id++;
	int rc = pb_set_text(&e->path, x->path);
	if (rc == 0)
		rc = pb_set_text(&e->fs, x->fs);
	if (rc == 0)
		rc = pb_set_text(&e->subdir, x->subdir ? x->subdir : "/");
	if (rc == 0)
		rc = add_rules(e, x, why);
	if (rc == 0)
		rc = pb_append(&am->exports, &am->n_exports, e);
	if (rc)
		isthmus__export__free_unpacked(e, NULL);
	return rc;
}

static int change_set(Isthmus__ArrayMeta *am, void *arg, char *why)
{
	const struct export_change *x = arg;
	Isthmus__Export *e = export_find(am, x->path);
	if (!e)
		return -ENOENT;
	if (x->subdir && pb_set_text(&e->subdir, x->subdir))
		return -ENOMEM;
	for (size_t i = 0; i < e->n_clients && !x->clients; i++)
		if (rule_sec(e->clients[i], x->sec, true))
			return -ENOMEM;
	if (!x->clients)
		return 0;
	for (size_t i = 0; i < e->n_clients; i++)
		isthmus__export_client__free_unpacked(e->clients[i], NULL);
	e->n_clients = 0;
	return add_rules(e, x, why);
}

static int change_remove(Isthmus__ArrayMeta *am, void *arg, char *why)
{
	const struct export_change *x = arg;
	for (size_t i = 0; i < am->n_exports; i++)
		if (strcmp(am->exports[i]->path, x->path) == 0) {
			isthmus__export__free_unpacked(am->exports[i], NULL);
			pb_remove(&am->exports, &am->n_exports, i);
			return 0;
		}
	return -ENOENT;
}

/* Until the head has it: what the CLI says is done is done. */
static int wait_served(struct core *c, struct admin_call *call, const char *fs)
{
	const Isthmus__ArrayMeta *am = meta_get(c->meta);
	char head[64] = "", text[CORE_WHY_LEN];
	for (size_t i = 0; i < am->n_filesystems; i++)
		if (strcmp(am->filesystems[i]->name, fs) == 0)
			snprintf(head, sizeof(head), "%s", am->filesystems[i]->head);
	int rc = core_admin_wait_head(c, call, head, fs, text);
	if (rc)
		admin_note(call, "recorded, but head '%s' does not serve file system '%s': %s",
			   head, fs, text[0] ? text : err_text(rc));
	return 0;
}

static int check_args(struct admin_call *call, const struct export_change *x)
{
	if (x->sec && !meta_sec_ok(x->sec))
		return admin_error(call, -EINVAL,
				   "write some of krb5p, krb5i, krb5 and sys, as krb5p:krb5i",
				   "'%.80s' are no security flavours", x->sec);
	const char *bad = !path_ok(x->path)		     ? x->path
			  : x->subdir && !path_ok(x->subdir) ? x->subdir
							     : NULL;
	if (!bad)
		return 0;
	return admin_error(call, -EINVAL, "an absolute path without '.', '..' and '//' is wanted",
			   "'%.200s' is not a path", bad);
}

static int verb_add(struct admin_call *call, void *arg)
{
	struct core *c = arg;
	char why[CORE_WHY_LEN] = "";
	struct export_change x = {.call = call,
				  .path = core_admin_text(call, "path"),
				  .fs = core_admin_text(call, "fs"),
				  .subdir = admin_arg_text(call, "subdir"),
				  .sec = admin_arg_text(call, "sec")};
	const Isthmus__ArrayMeta *am = meta_get(c->meta);
	bool known = false;
	for (size_t i = 0; i < am->n_filesystems; i++)
		known |= strcmp(am->filesystems[i]->name, x.fs) == 0;
	if (!known)
		return admin_error(call, -ENOENT, "see `isthmus fs list`",
				   "there is no file system '%s'", x.fs);
	int rc = check_args(call, &x);
	if (rc)
		return rc;
	rc = meta_update(c->meta, change_add, &x, why);
	return rc ? core_admin_fail(call, rc, why) : wait_served(c, call, x.fs);
}

static int no_export(struct admin_call *call, const char *path)
{
	return admin_error(call, -ENOENT, "see `isthmus export list`",
			   "there is no export '%.200s'", path);
}

static int change_existing(struct core *c, struct admin_call *call, struct export_change *x,
			   int (*change)(Isthmus__ArrayMeta *, void *, char *))
{
	char why[CORE_WHY_LEN] = "", fs[64];
	const Isthmus__Export *e = export_find(meta_get(c->meta), x->path);
	if (!e)
		return no_export(call, x->path);
	snprintf(fs, sizeof(fs), "%s", e->fs);
	int rc = check_args(call, x);
	if (rc)
		return rc;
	rc = meta_update(c->meta, change, x, why);
	return rc ? core_admin_fail(call, rc, why) : wait_served(c, call, fs);
}

static int verb_set(struct admin_call *call, void *arg)
{
	struct export_change x = {.call = call,
				  .path = core_admin_text(call, "path"),
				  .subdir = admin_arg_text(call, "subdir"),
				  .sec = admin_arg_text(call, "sec"),
				  .clients = admin_arg_list(call, "client", 0) != NULL};
	if (!x.subdir && !x.clients && !x.sec)
		return admin_error(call, -EINVAL, "give --subdir, --client or --sec",
				   "nothing to change");
	return change_existing(arg, call, &x, change_set);
}

static int verb_remove(struct admin_call *call, void *arg)
{
	struct export_change x = {.call = call, .path = core_admin_text(call, "path")};
	return change_existing(arg, call, &x, change_remove);
}

static void put_rules(struct admin_call *call, const Isthmus__Export *e)
{
	char text[2048], one[384];
	size_t at = 0;
	text[0] = '\0';
	for (size_t i = 0; i < e->n_clients && at + sizeof(one) + 2 < sizeof(text); i++) {
		export_rule_format(e->clients[i], one, sizeof(one));
		at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%s", i ? " " : "", one);
	}
	admin_put_text(call, "clients", "%s", text);
}

static int verb_list(struct admin_call *call, void *arg)
{
	struct core *c = arg;
	const Isthmus__ArrayMeta *am = meta_get(c->meta);
	const char *fs = admin_arg_text(call, "fs");
	admin_table(call, "exports", false);
	for (size_t i = 0; i < am->n_exports; i++) {
		const Isthmus__Export *e = am->exports[i];
		if (fs && strcmp(e->fs, fs) != 0)
			continue;
		admin_row(call);
		admin_put_text(call, "path", "%s", e->path);
		admin_put_text(call, "fs", "%s", e->fs);
		admin_put_text(call, "subdir", "%s", e->subdir[0] ? e->subdir : "/");
		put_rules(call, e);
	}
	return 0;
}

int core_admin_export(struct core *c, struct admin_server *s)
{
	static const struct core_verb verbs[] = {
	    {"export.add", verb_add},
	    {"export.list", verb_list},
	    {"export.set", verb_set},
	    {"export.remove", verb_remove},
	};
	return core_admin_add(c, s, verbs, ARRAY_LEN(verbs));
}
