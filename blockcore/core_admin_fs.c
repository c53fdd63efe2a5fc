/*
 * fs.create, fs.list, fs.grow, fs.remove. A file system is a volume and a record that
 * names the head that serves it; the head formats and mounts it when it is told of the record.
 */
#include "blockcore/core_admin.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEADS_MAX   64
#define FS_SIZE_MIN (16 * 1024 * 1024ull)

static Isthmus__FileSystem *fs_find(const Isthmus__ArrayMeta *am, const char *name)
{
	for (size_t i = 0; i < am->n_filesystems; i++)
		if (strcmp(am->filesystems[i]->name, name) == 0)
			return am->filesystems[i];
	return NULL;
}

/* ---- which head ---- */

static unsigned known_heads(struct core *c, struct core_head *ret)
{
	return c->hooks.heads ? MIN(c->hooks.heads(c->hooks.arg, ret, HEADS_MAX), HEADS_MAX) : 0;
}

static unsigned load_of(const Isthmus__ArrayMeta *am, const char *head)
{
	unsigned n = 0;
	for (size_t i = 0; i < am->n_filesystems; i++)
		n += strcmp(am->filesystems[i]->head, head) == 0;
	return n;
}

static bool group_known(const Isthmus__ArrayMeta *am, const char *name)
{
	for (size_t i = 0; i < am->n_groups; i++)
		if (strcmp(am->groups[i]->name, name) == 0)
			return true;
	return false;
}

/* The named one, or of those that are up the one with the fewest file systems. */
static int choose_head(struct core *c, const char *want, struct core_head *ret, char *why)
{
	const Isthmus__ArrayMeta *am = meta_get(c->meta);
	struct core_head *heads = calloc(HEADS_MAX, sizeof(*heads));
	if (!heads)
		return -ENOMEM;
	unsigned n = known_heads(c, heads), best = n;
	for (unsigned i = 0; i < n; i++) {
		if (want ? strcmp(heads[i].name, want) != 0
			 : best < n &&
			       (heads[best].up > heads[i].up ||
				(heads[best].up == heads[i].up &&
				 load_of(am, heads[best].name) <= load_of(am, heads[i].name))))
			continue;
		best = i;
	}
	int rc = 0;
	if (best == n) {
		snprintf(why, CORE_WHY_LEN, "%s%.63s%s; heads are added in the configuration file",
			 want ? "there is no head '" : "there is no head", want ? want : "",
			 want ? "'" : "");
		rc = -ENOENT;
	} else if (!group_known(am, heads[best].group)) {
		snprintf(why, CORE_WHY_LEN,
			 "head '%.63s' is of group '%.63s', which has not been made; "
			 "`isthmus group create %.40s` makes it",
			 heads[best].name, heads[best].group, heads[best].group);
		rc = -ENOENT;
	} else {
		*ret = heads[best];
	}
	free(heads);
	return rc;
}

/* ---- create ---- */

struct fs_add {
	const char *name;
	struct core_head head;
	uint32_t volume;
};

static int change_add_fs(Isthmus__ArrayMeta *am, void *arg, char *why)
{
	const struct fs_add *a = arg;
	Isthmus__Volume *v = meta_volume_by_id(am, a->volume);
	char user[192];
	if (fs_find(am, a->name)) {
		snprintf(why, CORE_WHY_LEN, "there is a file system '%s' already", a->name);
		return -EEXIST;
	}
	if (!v)
		return -ENOENT;
	if (core_volume_user(am, v->id, user)) {
		snprintf(why, CORE_WHY_LEN, "volume '%s' is in use: %.150s", v->name, user);
		return -EBUSY;
	}
	Isthmus__FileSystem *f = malloc(sizeof(*f));
	if (!f)
		return -ENOMEM;
	isthmus__file_system__init(f);
	f->volume_id = a->volume;
	f->id = am->next_id++;
	int rc = pb_set_text(&f->name, a->name);
	if (rc == 0)
		rc = pb_set_text(&f->group, a->head.group);
	if (rc == 0)
		rc = pb_set_text(&f->head, a->head.name);
	if (rc == 0)
		rc = pb_set_text(&v->purpose, "fs");
	if (rc == 0)
		rc = pb_append(&am->filesystems, &am->n_filesystems, f);
	if (rc)
		isthmus__file_system__free_unpacked(f, NULL);
	return rc;
}

static int change_formatted(Isthmus__ArrayMeta *am, void *arg, char *why)
{
	Isthmus__FileSystem *f = fs_find(am, arg);
	if (!f)
		return -ENOENT;
	f->formatted = true;
	return 0;
}

static int change_remove_fs(Isthmus__ArrayMeta *am, void *arg, char *why)
{
	const char *name = arg;
	for (size_t i = 0; i < am->n_filesystems; i++)
		if (strcmp(am->filesystems[i]->name, name) == 0) {
			isthmus__file_system__free_unpacked(am->filesystems[i], NULL);
			pb_remove(&am->filesystems, &am->n_filesystems, i);
			return 0;
		}
	return -ENOENT;
}

/* The volume it shall lie on: a given one, or a new one of its own name. */
static int fs_volume(struct core *c, struct admin_call *call, const char *name, uint32_t *ret_id,
		     bool *ret_made, char *why)
{
	const char *volume = admin_arg_text(call, "volume"), *pool = admin_arg_text(call, "pool");
	struct core_progress p = {call, "zeroing"};
	struct volume_want w = {.name = name,
				.pool = pool,
				.purpose = "fs",
				.progress = core_admin_progress,
				.arg = &p};
	int rc = admin_arg_size(call, "size", &w.size);
	if (rc && rc != -ENOENT)
		return rc;
	if (volume && !pool && rc == -ENOENT) {
		const Isthmus__Volume *v = meta_volume_find(meta_get(c->meta), volume);
		if (!v) {
			snprintf(why, CORE_WHY_LEN,
				 "there is no volume '%.80s'; see `isthmus volume list`", volume);
			return -ENOENT;
		}
		*ret_id = v->id;
		return 0;
	}
	if (volume || !pool || rc) {
		snprintf(why, CORE_WHY_LEN,
			 "where shall it lie?; give --pool and --size, or --volume");
		return -EINVAL;
	}
	if (w.size < FS_SIZE_MIN) {
		snprintf(why, CORE_WHY_LEN, "size %llu: a file system needs at least 16MiB",
			 (unsigned long long)w.size);
		return -EINVAL;
	}
	rc = core_volume_make(c, &w, ret_id, why);
	*ret_made = rc == 0;
	return rc;
}

/* The head said no: nothing of it stays. */
static int fs_undo(struct core *c, struct fs_add *a, bool made, int rc, const char *text, char *why)
{
	char ignore[CORE_WHY_LEN];
	snprintf(why, CORE_WHY_LEN, "head '%.63s': %.150s", a->head.name,
		 text[0] ? text : err_text(rc));
	if (meta_update(c->meta, change_remove_fs, (void *)a->name, ignore) == 0 && made)
		core_volume_drop(c, a->name, ignore);
	return rc;
}

static int fs_create(struct core *c, struct admin_call *call, char *why)
{
	char text[CORE_WHY_LEN];
	struct fs_add a = {.name = core_admin_text(call, "name")};
	bool made = false;
	if (!meta_name_ok(a.name)) {
		snprintf(why, CORE_WHY_LEN,
			 "'%.80s' is not a name: letters, digits, '.', '_' and '-', at most 63",
			 a.name);
		return -EINVAL;
	}
	if (fs_find(meta_get(c->meta), a.name)) {
		snprintf(why, CORE_WHY_LEN, "there is a file system '%s' already", a.name);
		return -EEXIST;
	}
	int rc = choose_head(c, admin_arg_text(call, "head"), &a.head, why);
	if (rc == 0)
		rc = fs_volume(c, call, a.name, &a.volume, &made, why);
	if (rc)
		return rc;
	rc = meta_update(c->meta, change_add_fs, &a, why);
	if (rc) {
		if (made)
			core_volume_drop(c, a.name, text);
		return rc;
	}
	bool waits = c->hooks.wait_applied != NULL;
	rc = waits ? c->hooks.wait_applied(c->hooks.arg, a.head.name, meta_get(c->meta)->seq,
					   a.name, 60 * 1000000000ull, text)
		   : -ERR_DISCONNECTED;
	if (rc == 0)
		return meta_update(c->meta, change_formatted, (void *)a.name, why);
	if (rc == -ETIMEDOUT || rc == -ERR_DISCONNECTED) {
		admin_note(call,
			   "head '%s' is not there yet; it will format and mount '%s' when it is",
			   a.head.name, a.name);
		return 0;
	}
	return fs_undo(c, &a, made, rc, text, why);
}

static int verb_create(struct admin_call *call, void *arg)
{
	char why[CORE_WHY_LEN] = "";
	int rc = fs_create(arg, call, why);
	return rc ? core_admin_fail(call, rc, why) : 0;
}

/* ---- list, remove ---- */

static int verb_list(struct admin_call *call, void *arg)
{
	struct core *c = arg;
	const Isthmus__ArrayMeta *am = meta_get(c->meta);
	struct core_head *heads = calloc(HEADS_MAX, sizeof(*heads));
	unsigned n = heads ? known_heads(c, heads) : 0;
	admin_table(call, "filesystems", false);
	for (size_t i = 0; i < am->n_filesystems; i++) {
		const Isthmus__FileSystem *f = am->filesystems[i];
		const Isthmus__Volume *v = meta_volume_by_id(am, f->volume_id);
		uint64_t exports = 0;
		bool up = false;
		for (size_t e = 0; e < am->n_exports; e++)
			exports += strcmp(am->exports[e]->fs, f->name) == 0;
		for (unsigned h = 0; h < n; h++)
			up |= heads[h].up && strcmp(heads[h].name, f->head) == 0;
		admin_row(call);
		admin_put_text(call, "fs", "%s", f->name);
		admin_put_text(call, "volume", "%s", v ? v->name : "");
		admin_put_bytes(call, "size", v ? v->size : 0);
		admin_put_text(call, "head", "%s", f->head);
		admin_put_text(call, "group", "%s", f->group);
		admin_put_text(call, "state", "%s",
			       !up	       ? "head is down"
			       : !f->formatted ? "being made"
					       : "served");
		admin_put_number(call, "exports", exports);
	}
	free(heads);
	return 0;
}

/* The volume grows, then the head that serves it has the file system follow. */
static int verb_grow(struct admin_call *call, void *arg)
{
	struct core *c = arg;
	const Isthmus__ArrayMeta *am = meta_get(c->meta);
	const char *name = core_admin_text(call, "name");
	const Isthmus__FileSystem *f = fs_find(am, name);
	const Isthmus__Volume *v = f ? meta_volume_by_id(am, f->volume_id) : NULL;
	char why[CORE_WHY_LEN] = "", volume[64], head[64], text[CORE_WHY_LEN] = "";
	uint64_t size;
	int rc = admin_arg_size(call, "size", &size);
	if (rc)
		return rc == -ENOENT ? admin_error(call, -EINVAL, "give --size", "how large?") : rc;
	if (!v) {
		snprintf(why, sizeof(why), "there is no file system '%.80s'; see `isthmus fs list`",
			 name);
		return core_admin_fail(call, -ENOENT, why);
	}
	snprintf(volume, sizeof(volume), "%s", v->name);
	snprintf(head, sizeof(head), "%s", f->head);
	rc = core_volume_extend(c, volume, size, why);
	if (rc)
		return core_admin_fail(call, rc, why);
	rc = core_admin_wait_head(c, call, head, name, text);
	if (rc) {
		snprintf(why, sizeof(why),
			 "volume '%s' has grown, the file system not yet: head '%s': %.60s", volume,
			 head, text[0] ? text : err_text(rc));
		return core_admin_fail(call, rc, why);
	}
	return 0;
}

/* With its exports when forced. */
static int change_remove_fs_and_exports(Isthmus__ArrayMeta *am, void *arg, char *why)
{
	for (size_t i = am->n_exports; i-- > 0;)
		if (strcmp(am->exports[i]->fs, arg) == 0) {
			isthmus__export__free_unpacked(am->exports[i], NULL);
			pb_remove(&am->exports, &am->n_exports, i);
		}
	return change_remove_fs(am, arg, why);
}

static int fs_remove(struct core *c, struct admin_call *call, char *why)
{
	const char *name = core_admin_text(call, "name");
	const Isthmus__ArrayMeta *am = meta_get(c->meta);
	const Isthmus__FileSystem *f = fs_find(am, name);
	char volume[64], head[64], text[CORE_WHY_LEN];
	if (!f) {
		snprintf(why, CORE_WHY_LEN,
			 "there is no file system '%.80s'; see `isthmus fs list`", name);
		return -ENOENT;
	}
	bool force = admin_arg_flag(call, "force");
	for (size_t i = 0; i < am->n_exports && !force; i++)
		if (strcmp(am->exports[i]->fs, name) == 0) {
			snprintf(
			    why, CORE_WHY_LEN,
			    "file system '%s' is exported as %.100s; remove the export first, or "
			    "say --force",
			    name, am->exports[i]->path);
			return -EBUSY;
		}
	if (!force && f->formatted) {
		snprintf(why, CORE_WHY_LEN,
			 "file system '%s' may hold files, which would be lost; --force removes it "
			 "all the same",
			 name);
		return -EBUSY;
	}
	const Isthmus__Volume *v = meta_volume_by_id(am, f->volume_id);
	snprintf(volume, sizeof(volume), "%s", v->name);
	snprintf(head, sizeof(head), "%s", f->head);
	int rc = meta_update(c->meta, change_remove_fs_and_exports, (void *)name, why);
	if (rc)
		return rc;
	core_admin_wait_head(c, call, head, NULL, text); /* it lets go of the volume */
	return core_volume_drop(c, volume, why);
}

static int verb_remove(struct admin_call *call, void *arg)
{
	char why[CORE_WHY_LEN] = "";
	int rc = fs_remove(arg, call, why);
	return rc ? core_admin_fail(call, rc, why) : 0;
}

int core_admin_fs(struct core *c, struct admin_server *s)
{
	static const struct core_verb verbs[] = {
	    {"fs.create", verb_create},
	    {"fs.list", verb_list},
	    {"fs.grow", verb_grow},
	    {"fs.remove", verb_remove},
	};
	return core_admin_add(c, s, verbs, ARRAY_LEN(verbs));
}
