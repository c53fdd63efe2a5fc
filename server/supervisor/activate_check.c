/* Whether a version can be activated (activate.h): refused before anything is done. */
#include "server/supervisor/activate.h"
#include "runtime/admin.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/file_read.h"
#include "server/supervisor/supervisor.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void take_formats(struct program_note *n, const Isthmus__AdminReply *r)
{
	for (uint32_t kind = 1; kind < PROGRAM_FORMAT_KINDS; kind++) {
		const char *name = program_format_name(kind);
		const Isthmus__AdminValue *from, *to, *w;
		from = admin_reply_value(r, "formats", "format", name, "reads_from");
		to = admin_reply_value(r, "formats", "format", name, "reads_to");
		w = admin_reply_value(r, "formats", "format", name, "writes");
		if (from && to && w)
			n->formats[kind - 1] =
			    (struct program_format){kind, (uint32_t)from->number,
						    (uint32_t)to->number, (uint32_t)w->number};
	}
}
_Static_assert(PROGRAM_FORMAT_KINDS - 1 <= PROGRAM_FORMATS, "a place for each kind");

/* Of the installed program: from its file. */
static int installed_note(struct activation *a, struct program_note *n)
{
	char path[512];
	void *file;
	size_t size;
	uint16_t machine;
	snprintf(path, sizeof(path), "%.400s/isthmus-head", a->s->libexec);
	int rc = file_read_whole(path, SOFTWARE_PROGRAM_MAX, &file, &size, NULL);
	if (rc == 0) {
		rc = program_note_find(file, size, n, &machine);
		free(file);
	}
	if (rc)
		snprintf(a->why, sizeof(a->why), "%.200s cannot be used: %s", path, err_text(rc));
	return rc;
}

static int target_note(struct activation *a, struct program_note *n)
{
	struct activate_args x = {0};
	Isthmus__AdminReply *r;
	memset(n, 0, sizeof(*n));
	if (strcmp(a->target, SOFTWARE_INSTALLED) == 0)
		return installed_note(a, n);
	activate_arg(&x, "version", a->target);
	int rc = activate_ask_any(a->s, "software.show", &x, NULL, ACTIVATE_AWAY_NS, &r);
	if (rc) {
		snprintf(a->why, sizeof(a->why), "no controller answers: %s", err_text(rc));
		return rc;
	}
	rc = r->code;
	snprintf(a->why, sizeof(a->why), "%.300s", r->error);
	snprintf(n->build, sizeof(n->build), "%.47s",
		 admin_reply_text(r, "version", NULL, NULL, "build"));
	take_formats(n, r);
	isthmus__admin_reply__free_unpacked(r, NULL);
	return rc;
}

/* Refused beforehand: what a head has written could not be read, or would not be after a roll-back.
 */
static int fits(struct activation *a, const char *head, const struct program_note *next)
{
	struct program_note now = {0};
	Isthmus__AdminReply *r;
	char why[SOFTWARE_WHY];
	int rc = activate_ask(a->s, "head", head, "head.program", NULL, ACTIVATE_HEAD_NS, NULL, &r);
	if (rc) {
		snprintf(a->why, sizeof(a->why),
			 "head %.40s is not in service (%s); heads are replaced one by one while "
			 "all serve: see isthmus status",
			 head, err_text(rc));
		return rc;
	}
	bool knows = r->code == 0;
	snprintf(now.build, sizeof(now.build), "%.47s",
		 admin_reply_text(r, "program", NULL, NULL, "build"));
	take_formats(&now, r);
	isthmus__admin_reply__free_unpacked(r, NULL);
	if (!knows)
		return 0;
	if (program_unfit(&now, next, false, why, sizeof(why))) {
		snprintf(a->why, sizeof(a->why),
			 "version %.47s cannot take over from head %.40s: %.190s", a->target, head,
			 why);
		return -ERR_VERSION;
	}
	if (a->one_way || !program_unfit(&now, next, true, why, sizeof(why)))
		return 0;
	snprintf(a->why, sizeof(a->why),
		 "there would be no way back from version %.47s for head %.40s: %.150s; --one-way "
		 "does it all the same",
		 a->target, head, why);
	return -ERR_VERSION;
}

int activate_check(struct activation *a)
{
	struct program_note next;
	struct child *c;
	unsigned n = 0;
	char name[SOFTWARE_HEAD_NAME];
	int rc = target_note(a, &next);
	for (unsigned i = 0; i < a->s->config->heads_count && rc == 0; i++) {
		snprintf(name, sizeof(name), "%.63s", a->s->config->heads[i].name);
		if (a->only[0] && strcmp(a->only, name) != 0)
			continue;
		c = supervisor_child(a->s, "head", name);
		rc = c ? fits(a, name, &next) : 0;
		n++;
	}
	if (rc == 0 && n == 0) {
		snprintf(a->why, sizeof(a->why), "there is no head %s%.60s; see isthmus status",
			 a->only[0] ? "named " : "", a->only);
		rc = -ENOENT;
	}
	return rc;
}
