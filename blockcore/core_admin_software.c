/*
 * software.install, software.list, software.show, software.remove, software.step
 *
 * Each verb that changes something reads the table, changes it in memory, and stores it: what
 * lies on the volume is all there is. software.step is isthmusd's: it carries an activation out
 * (server/supervisor/README.md).
 */
#include "blockcore/core_software.h"
#include "runtime/bdev.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/fault.h"
#include "runtime/file_read.h"
#include "runtime/log.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One use of the volume: opened and locked. Tables are too large for a task's stack. */
struct use {
	struct core *c;
	struct bdev *b;
	struct software_table *t;
	char why[CORE_WHY_LEN];
};
_Static_assert(CORE_WHY_LEN >= SOFTWARE_WHY, "its sentences fit");

static int use_begin(struct use *u, struct core *c)
{
	*u = (struct use){.c = c, .t = malloc(sizeof(*u->t))};
	if (!u->t)
		return -ENOMEM;
	task_mutex_lock(&c->software);
	int rc = core_software_open(c, &u->b, u->t, u->why);
	if (rc) {
		task_mutex_unlock(&c->software);
		free(u->t);
	}
	return rc;
}

static void use_end(struct use *u)
{
	bdev_close(u->b);
	task_mutex_unlock(&u->c->software);
	free(u->t);
}

static int use_store(struct use *u)
{
	int rc = software_store(u->b, u->t);
	if (rc)
		snprintf(u->why, sizeof(u->why), "the software volume cannot be written: %s",
			 err_text(rc));
	return rc;
}

/* ---- install ---- */

struct candidate {
	void *data;
	size_t size;
	struct software_program p;
};

static int refuse(char *why, int rc, const char *path, const char *what)
{
	snprintf(why, CORE_WHY_LEN, "%.100s %s", path, what);
	return rc;
}

static int examine(struct candidate *k, const char *path, char *why)
{
	uint16_t machine = 0;
	char text[128];
	int rc = program_note_find(k->data, k->size, &k->p.note, &machine);
	k->p.machine = machine;
	if (rc == -EINVAL)
		return refuse(why, rc, path, "is no program (ELF, 64 bits, little endian)");
	if (rc == -ENOENT || (rc == 0 && k->p.note.kind != PROGRAM_HEAD))
		return refuse(why, -EINVAL, path,
			      "is no isthmus-head; it does not say which formats it reads");
	if (rc)
		return refuse(why, rc, path,
			      "says of itself what this controller does not understand; update "
			      "the controllers first");
	if (machine == program_machine())
		return 0;
	snprintf(text, sizeof(text), "is built for %s, this array runs on %s",
		 program_machine_name(machine), program_machine_name(program_machine()));
	return refuse(why, -EINVAL, path, text);
}

static int take_file(struct candidate *k, struct admin_call *call, char *why)
{
	const char *path = core_admin_text(call, "path"), *name = admin_arg_text(call, "name");
	admin_progress(call, "reading the program", 0, 0);
	int rc = file_read_whole(path, SOFTWARE_PROGRAM_MAX, &k->data, &k->size, k->p.sha256);
	if (rc) {
		snprintf(why, CORE_WHY_LEN, "%.100s cannot be read: %s", path,
			 rc == -EINVAL ? "it is no file, or empty" : err_text(rc));
		return rc;
	}
	rc = examine(k, path, why);
	if (rc)
		return rc;
	k->p.size = k->size;
	snprintf(k->p.name, sizeof(k->p.name), "%s", name ? name : k->p.note.build);
	if (software_name_ok(name ? name : k->p.note.build))
		return 0;
	snprintf(why, CORE_WHY_LEN,
		 "'%.60s' is not a name of a version; letters, digits, '.', '_', '+' and '-', at "
		 "most %u, and not '%s'",
		 name ? name : k->p.note.build, SOFTWARE_NAME - 1, SOFTWARE_INSTALLED);
	return -EINVAL;
}

static int volume_there(struct core *c, struct admin_call *call, char *why)
{
	struct core_progress p = {call, "making the software volume"};
	const char *pool = admin_arg_text(call, "pool");
	char name[64];
	if (core_software_find(meta_get(c->meta)))
		return 0;
	const Isthmus__Pool *mp = pool ? NULL : core_software_pool(c);
	if (!pool && !mp) {
		snprintf(why, CORE_WHY_LEN,
			 "no pool has room for a software volume (16MiB); make one, or add disks");
		return -ENOSPC;
	}
	snprintf(name, sizeof(name), "%s", pool ? pool : mp->name);
	return core_software_make(c, name, &p, why);
}

static int install(struct use *u, struct candidate *k, struct admin_call *call)
{
	struct core_progress p = {call, "writing the program"};
	struct core_progress look = {call, "reading it back"};
	int rc = software_place(u->t, k->size, &k->p.off, u->why);
	k->p.installed_ns = env_realtime_ns(u->c->env);
	rc = rc ? rc : software_add(u->t, &k->p, u->why);
	if (rc)
		return rc;
	rc = software_write(u->b, k->p.off, k->data, k->size, core_admin_progress, &p);
	FAULT("software.written");
	rc = rc ? rc : software_read(u->b, &k->p, NULL, core_admin_progress, &look);
	if (rc) {
		snprintf(u->why, sizeof(u->why), "the program was not written: %s", err_text(rc));
		return rc;
	}
	return use_store(u);
}

static int verb_install(struct admin_call *call, void *arg)
{
	struct core *c = arg;
	struct candidate k = {0};
	struct use u = {0};
	char why[CORE_WHY_LEN] = "";
	int rc = take_file(&k, call, why);
	rc = rc ? rc : volume_there(c, call, why);
	if (rc == 0 && (rc = use_begin(&u, c)) == 0) {
		rc = install(&u, &k, call);
		use_end(&u);
	}
	free(k.data);
	if (rc)
		return core_admin_fail(call, rc, why[0] ? why : u.why);
	event_write(LOG_L_NOTICE, "software.install",
		    "version %s of the head program (%s) was "
		    "installed",
		    k.p.name, k.p.note.build);
	admin_table(call, "versions", false);
	admin_row(call);
	admin_put_text(call, "version", "%s", k.p.name);
	admin_put_text(call, "build", "%s", k.p.note.build);
	admin_put_bytes(call, "size", k.p.size);
	return 0;
}

/* ---- list, show ---- */

static const char *phase_name(const struct software_table *t)
{
	static const char *const names[] = {"none", "forward", "back"};
	return names[t->phase];
}

static const char *state_of(const struct software_table *t, const char *name)
{
	if (t->phase != SOFTWARE_NONE && strcmp(t->target, name) == 0)
		return "being activated";
	if (strcmp(t->active, name) == 0)
		return "active";
	for (uint32_t i = 0; i < t->nheads; i++)
		if (strcmp(t->heads[i].version, name) == 0)
			return "of some heads";
	return strcmp(t->previous, name) == 0 ? "previous" : "";
}

static void put_program(struct admin_call *call, const struct software_table *t,
			const struct software_program *p)
{
	admin_row(call);
	admin_put_text(call, "version", "%s", p->name);
	admin_put_text(call, "state", "%s", state_of(t, p->name));
	admin_put_text(call, "build", "%s", p->note.build);
	admin_put_bytes(call, "size", p->size);
	admin_put_time(call, "installed", p->installed_ns);
}

static void put_table(struct core *c, struct admin_call *call, const struct software_table *t)
{
	const Isthmus__Volume *mv = core_software_find(meta_get(c->meta));
	admin_table(call, "software", true);
	admin_row(call);
	admin_put_text(call, "volume", "%s", mv ? mv->name : "none");
	admin_put_number(call, "volume_id", mv ? mv->id : 0);
	admin_put_text(call, "active", "%s", t->active);
	admin_put_text(call, "previous", "%s", t->previous);
	admin_put_text(call, "activation", "%s", phase_name(t));
	if (t->phase != SOFTWARE_NONE) {
		admin_put_text(call, "target", "%s", t->target);
		admin_put_text(call, "only", "%s", t->only);
		admin_put_flag(call, "one_way", t->one_way);
	}
	admin_table(call, "versions", false);
	for (uint32_t i = 0; i < t->nprograms; i++)
		put_program(call, t, &t->programs[i]);
	admin_table(call, "assigned", false);
	for (uint32_t i = 0; i < t->nheads; i++) {
		admin_row(call);
		admin_put_text(call, "head", "%s", t->heads[i].head);
		admin_put_text(call, "version", "%s", t->heads[i].version);
		if (t->phase != SOFTWARE_NONE)
			admin_put_text(call, "before", "%s", t->heads[i].before);
	}
}

static int verb_list(struct admin_call *call, void *arg)
{
	struct core *c = arg;
	struct use u;
	if (!core_software_find(meta_get(c->meta))) {
		struct software_table *t = malloc(sizeof(*t));
		if (!t)
			return -ENOMEM;
		software_init(t, 0);
		put_table(c, call, t);
		free(t);
		return 0;
	}
	int rc = use_begin(&u, c);
	if (rc)
		return core_admin_fail(call, rc, u.why);
	put_table(c, call, u.t);
	use_end(&u);
	return 0;
}

static void put_formats(struct admin_call *call, const struct program_note *n)
{
	admin_table(call, "formats", false);
	for (size_t i = 0; i < PROGRAM_FORMATS; i++) {
		const struct program_format *f = &n->formats[i];
		if (!f->kind)
			continue;
		admin_row(call);
		admin_put_number(call, "kind", f->kind);
		admin_put_text(call, "format", "%s", program_format_name(f->kind));
		admin_put_number(call, "reads_from", f->read_min);
		admin_put_number(call, "reads_to", f->read_max);
		admin_put_number(call, "writes", f->write);
	}
}

static int verb_show(struct admin_call *call, void *arg)
{
	struct use u;
	char hex[65];
	const char *name = core_admin_text(call, "version");
	int rc = use_begin(&u, arg);
	if (rc)
		return core_admin_fail(call, rc, u.why);
	const struct software_program *p = software_find(u.t, name);
	if (p) {
		admin_table(call, "version", true);
		put_program(call, u.t, p);
		for (size_t i = 0; i < sizeof(p->sha256); i++)
			snprintf(hex + 2 * i, 3, "%02x", p->sha256[i]);
		admin_put_text(call, "sha256", "%s", hex);
		admin_put_text(call, "processor", "%s", program_machine_name((uint16_t)p->machine));
		put_formats(call, &p->note);
	}
	use_end(&u);
	return p ? 0
		 : admin_error(call, -ENOENT, "see isthmus software list",
			       "there is no version '%.47s'", name);
}

/* ---- remove ---- */

static int not_in_use(struct use *u)
{
	if (u->t->phase == SOFTWARE_NONE && strcmp(u->t->active, SOFTWARE_INSTALLED) == 0 &&
	    u->t->nheads == 0)
		return 0;
	snprintf(u->why, sizeof(u->why),
		 "heads boot from the software volume; isthmus software activate installed first");
	return -EBUSY;
}

static int remove_volume(struct core *c, struct admin_call *call)
{
	struct use u;
	int rc = use_begin(&u, c);
	if (rc == 0) {
		rc = not_in_use(&u);
		use_end(&u);
	} else if (admin_arg_flag(call, "force") && (rc == -ERR_CORRUPT || rc == -ERR_VERSION)) {
		rc = 0;
	}
	rc = rc ? rc : core_software_drop(c, u.why);
	if (rc)
		return core_admin_fail(call, rc, u.why);
	event_write(LOG_L_NOTICE, "software.remove", "the software volume was removed");
	return 0;
}

static int verb_remove(struct admin_call *call, void *arg)
{
	struct use u;
	const char *name = core_admin_text(call, "version");
	if (admin_arg_flag(call, "volume") != (name[0] == '\0'))
		return admin_error(call, -EINVAL, "see isthmus help software",
				   "name a version, or give --volume");
	if (!name[0])
		return remove_volume(arg, call);
	int rc = use_begin(&u, arg);
	if (rc)
		return core_admin_fail(call, rc, u.why);
	rc = software_drop(u.t, name, u.why);
	rc = rc ? rc : use_store(&u);
	use_end(&u);
	if (rc)
		return core_admin_fail(call, rc, u.why);
	event_write(LOG_L_NOTICE, "software.remove",
		    "version %.47s of the head program was removed", name);
	return 0;
}

/* ---- an activation's steps ---- */

/* Is the program on the volume what was installed? */
static int look_at(struct use *u, struct admin_call *call, const char *name)
{
	struct core_progress p = {call, "checking the program"};
	const struct software_program *x = software_find(u->t, name);
	int rc = x ? software_read(u->b, x, NULL, core_admin_progress, &p) : 0;
	if (rc)
		snprintf(u->why, sizeof(u->why),
			 "version '%.47s' on the software volume is damaged (%s); remove it, and "
			 "install it again",
			 name, err_text(rc));
	return rc;
}

static int begin(struct use *u, struct admin_call *call)
{
	const char *heads[SOFTWARE_HEADS + 1], *target = core_admin_text(call, "version");
	size_t n = 0;
	while (n <= SOFTWARE_HEADS && (heads[n] = admin_arg_list(call, "heads", (unsigned)n)))
		n++;
	int rc = look_at(u, call, target);
	return rc ? rc
		  : software_begin(u->t, target, core_admin_text(call, "head"),
				   admin_arg_flag(call, "one-way"), heads, n, u->why);
}

static int step(struct use *u, struct admin_call *call)
{
	const char *what = core_admin_text(call, "do");
	int rc = -EINVAL;
	if (strcmp(what, "begin") == 0)
		rc = begin(u, call);
	else if (strcmp(what, "assign") == 0)
		rc = software_assign(u->t, core_admin_text(call, "head"), u->why);
	else if (strcmp(what, "back") == 0)
		rc = software_back(u->t, u->why);
	else if (strcmp(what, "finish") == 0)
		rc = software_finish(u->t, u->why);
	return rc ? rc : use_store(u);
}

static int verb_step(struct admin_call *call, void *arg)
{
	struct use u;
	int rc = use_begin(&u, arg);
	if (rc == 0) {
		rc = step(&u, call);
		use_end(&u);
	}
	return rc ? core_admin_fail(call, rc, u.why) : 0;
}

int core_admin_software(struct core *c, struct admin_server *s)
{
	static const struct core_verb verbs[] = {
	    {"software.install", verb_install}, {"software.list", verb_list},
	    {"software.show", verb_show},	{"software.remove", verb_remove},
	    {"software.step", verb_step},
	};
	task_mutex_init(&c->software);
	return core_admin_add(c, s, verbs, ARRAY_LEN(verbs));
}
