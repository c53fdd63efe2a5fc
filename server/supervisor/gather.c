#include "server/supervisor/gather.h"
#include "runtime/admin.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LEFT_EVENTS  1024
#define UP_WAIT_NS   (10 * NS_PER_S)
#define GATHER_NS    (2 * NS_PER_S)
#define FORWARD_NS   (3600 * NS_PER_S) /* of silence: a hung daemon does not keep calls for ever */
#define CHILDREN_MAX 128

/* ---- one child ---- */

void gather_explain(const struct child *c, char *ret, size_t size)
{
	char when[32] = "";
	time_t t = (time_t)((c->died_ns ? c->died_ns : c->since_ns) / NS_PER_S);
	struct tm tm;
	if (localtime_r(&t, &tm))
		strftime(when, sizeof(when), "%F %T", &tm);
	switch (c->state) {
	case CHILD_WAITING:
		snprintf(ret, size, "%s %s is down since %s (%s); it is being restarted", c->kind,
			 c->name, when, c->why);
		break;
	case CHILD_REFUSED:
		snprintf(ret, size, "%s %s is not started: %s", c->kind, c->name, c->why);
		break;
	case CHILD_STARTING:
		snprintf(ret, size, "%s %s is starting, pid %d%s%s", c->kind, c->name, (int)c->pid,
			 c->why[0] ? "; before, it was " : "", c->why);
		break;
	case CHILD_HUNG:
		snprintf(ret, size,
			 "%s %s, pid %d, does not answer: it hangs, is stopped or overloaded",
			 c->kind, c->name, (int)c->pid);
		break;
	default:
		snprintf(ret, size, "%s %s is %s", c->kind, c->name, child_state_name(c->state));
	}
}

static bool coming(const struct child *c)
{
	return c->state == CHILD_STARTING || c->state == CHILD_WAITING ||
	       (c->state == CHILD_STOPPING && c->want_restart);
}

/* Children may be removed while one waits, so they are looked up by name each time. */
static struct child *wait_up(struct supervisor *s, struct admin_call *call, const char *kind,
			     const char *name)
{
	uint64_t until = env_now_ns(env_real()) + UP_WAIT_NS;
	struct child *c;
	char what[80];
	snprintf(what, sizeof(what), "waiting for %s %s", kind, name);
	while ((c = supervisor_child(s, kind, name)) && coming(c) &&
	       env_now_ns(env_real()) < until) {
		admin_progress(call, what, 0, 0);
		env_sleep_ns(env_real(), 20 * NS_PER_MS);
	}
	return c;
}

static int ask(struct supervisor *s, const char *kind, const char *name,
	       const Isthmus__AdminRequest *req, const char *verb, uint64_t timeout_ns,
	       struct admin_call *via, Isthmus__AdminReply **ret)
{
	char path[108];
	Isthmus__AdminRequest copy = *req; /* shares the arguments */
	copy.verb = (char *)verb;
	copy.destination = (char *)protobuf_c_empty_string;
	config_path_admin(s->config, kind, name, path);
	return admin_task_call(path, &copy, timeout_ns, via, ret);
}

int gather_forward(struct supervisor *s, struct admin_call *call, const char *kind,
		   const char *name, const char *verb)
{
	char text[320];
	Isthmus__AdminReply *reply;
	uint64_t until = env_now_ns(env_real()) + UP_WAIT_NS;
	int rc;
	do {
		struct child *c = wait_up(s, call, kind, name);
		if (!c)
			return admin_error(call, -ENOENT, "see isthmus status for those there are",
					   "there is no %s `%.64s`", kind, name);
		if (c->state != CHILD_UP) {
			gather_explain(c, text, sizeof(text));
			return admin_error(call, -ENOTCONN, "see isthmus event list", "%s", text);
		}
		rc = ask(s, kind, name, admin_call_request(call), verb, FORWARD_NS, call, &reply);
		/* It has just ended, which is not known here yet: nothing was asked of it. */
		if (rc == -ECONNREFUSED)
			env_sleep_ns(env_real(), 50 * NS_PER_MS);
	} while (rc == -ECONNREFUSED && env_now_ns(env_real()) < until);
	if (rc == 0)
		return admin_reply_take(call, reply);
	if (rc == -ERR_DISCONNECTED)
		return admin_error(call, rc, "look whether it was done, then say it again",
				   "%s %s went away while it worked on this", kind, name);
	return admin_error(call, rc, "see isthmus event list", "%s %s does not answer: %s", kind,
			   name, err_text(rc));
}

/* ---- all of them ---- */

static Isthmus__AdminField *text_field(const char *name, const char *text)
{
	Isthmus__AdminField *f = malloc(sizeof(*f));
	Isthmus__AdminValue *v = malloc(sizeof(*v));
	char *n = strdup(name), *t = strdup(text);
	if (!f || !v || !n || !t) {
		free(f);
		free(v);
		free(n);
		free(t);
		return NULL;
	}
	isthmus__admin_field__init(f);
	isthmus__admin_value__init(v);
	f->name = n;
	f->value = v;
	v->kind_case = ISTHMUS__ADMIN_VALUE__KIND_TEXT;
	v->text = t;
	return f;
}

static const Isthmus__AdminValue *find_field(const Isthmus__AdminRow *row, const char *name)
{
	for (size_t i = 0; i < row->n_fields; i++)
		if (strcmp(row->fields[i]->name, name) == 0)
			return row->fields[i]->value;
	return NULL;
}

static void put_first(Isthmus__AdminRow *row, const char *name, const char *text)
{
	if (find_field(row, name))
		return;
	Isthmus__AdminField *f = text_field(name, text);
	Isthmus__AdminField **p = f ? realloc(row->fields, (row->n_fields + 1) * sizeof(*p)) : NULL;
	if (!p) {
		if (f)
			isthmus__admin_field__free_unpacked(f, NULL);
		return;
	}
	memmove(p + 1, p, row->n_fields * sizeof(*p));
	p[0] = f;
	row->fields = p;
	row->n_fields++;
}

static void mark_rows(Isthmus__AdminReply *r, const char *field, const char *text)
{
	for (size_t t = 0; t < r->n_tables; t++)
		for (size_t i = 0; i < r->tables[t]->n_rows; i++)
			put_first(r->tables[t]->rows[i], field, text);
}

struct who {
	char kind[16], name[32];
};

static void mark_shared(Isthmus__AdminReply *r, const struct who *w);

static unsigned list_up(struct supervisor *s, struct who *ret)
{
	unsigned n = 0;
	struct child *c;
	TAILQ_FOREACH (c, &s->children, link)
		if (c->state == CHILD_UP && n < CHILDREN_MAX) {
			memcpy(ret[n].kind, c->kind, sizeof(ret[n].kind));
			memcpy(ret[n].name, c->name, sizeof(ret[n].name));
			n++;
		}
	return n;
}

static void take_one(struct admin_call *call, const struct who *w, const char *verb,
		     Isthmus__AdminReply *reply)
{
	if (reply->code == -EOPNOTSUPP) {
		isthmus__admin_reply__free_unpacked(reply, NULL);
		return;
	}
	if (reply->code)
		admin_note(call, "%s %s: %s", w->kind, w->name, reply->error);
	for (size_t i = 0; i < reply->n_notes; i++)
		admin_note(call, "%s %s: %s", w->kind, w->name, reply->notes[i]);
	for (size_t i = 0; i < reply->n_notes; i++)
		free(reply->notes[i]);
	reply->n_notes = 0;
	if (strcmp(verb, "event.list") == 0) {
		char from[64];
		snprintf(from, sizeof(from), "%s %s", w->kind, w->name);
		mark_rows(reply, "from", from);
	} else {
		mark_shared(reply, w);
		mark_rows(reply, w->kind, w->name);
	}
	/* Its tables are taken, its error was made a note. */
	if (reply->error != protobuf_c_empty_string)
		free(reply->error);
	reply->error = (char *)protobuf_c_empty_string;
	admin_reply_take(call, reply);
}

/* What a process that is not there has left in its event file: why it ended, above all. */
static void put_left_events(struct supervisor *s, struct admin_call *call, const struct child *c,
			    struct event *e)
{
	uint64_t count = 50, after = 0;
	char path[512];
	admin_arg_u64(call, "count", &count); /* checked by the built-in handler before */
	admin_arg_u64(call, "after", &after);
	snprintf(path, sizeof(path), "%s/events-%s-%s", s->config->array.state_dir, c->kind,
		 c->name);
	int n = event_log_read_file(path, e, (int)MIN(count, (uint64_t)LEFT_EVENTS));
	admin_table(call, "events", false);
	for (int i = 0; i < n; i++) {
		if (e[i].realtime_ns <= after)
			continue;
		admin_row(call);
		admin_put_text(call, "from", "%s %s", c->kind, c->name);
		admin_put_event(call, &e[i]);
	}
}

void gather_left_events(struct supervisor *s, struct admin_call *call)
{
	struct event *e = calloc(LEFT_EVENTS, sizeof(*e));
	struct child *c;
	TAILQ_FOREACH (c, &s->children, link)
		if (e && c->state != CHILD_UP)
			put_left_events(s, call, c, e);
	free(e);
}

void gather_all(struct supervisor *s, struct admin_call *call, const char *verb)
{
	struct who *w = calloc(CHILDREN_MAX, sizeof(*w));
	unsigned n = w ? list_up(s, w) : 0;
	for (unsigned i = 0; i < n; i++) {
		Isthmus__AdminReply *reply;
		int rc = ask(s, w[i].kind, w[i].name, admin_call_request(call), verb, GATHER_NS,
			     NULL, &reply);
		if (rc == 0)
			take_one(call, &w[i], verb, reply);
		else if (rc == -ETIMEDOUT)
			admin_note(call, "%s %s does not answer: it hangs or is overloaded",
				   w[i].kind, w[i].name);
		else
			admin_note(call, "%s %s does not answer: %s", w[i].kind, w[i].name,
				   err_text(rc));
	}
	free(w);
}

/* ---- controllers that know the same ---- */

static const char *text_of(const Isthmus__AdminValue *v)
{
	return v && v->kind_case == ISTHMUS__ADMIN_VALUE__KIND_TEXT ? v->text : NULL;
}

/* Tables of which each controller tells all rows, and what they are known by. */
static const struct shared {
	const char *table, *key, *owner;
} shared_tables[] = {
    {"pools", "pool", "owner"},
    {"volumes", "volume", "owner"},
    {"disks", "disk", "owner"},
    {"bad_disks", "disk", "owner"},
    {"controllers", "controller", "controller"},
};

/* As the front door marked it, or as the row says of itself. */
static const char *teller(const Isthmus__AdminRow *row)
{
	const char *t = text_of(find_field(row, "asked"));
	return t ? t : "";
}

static bool by_owner(const Isthmus__AdminRow *row, const struct shared *x)
{
	const char *owner = text_of(find_field(row, x->owner));
	return owner && strcmp(owner, teller(row)) == 0;
}

static void drop_field(Isthmus__AdminRow *row, const char *name)
{
	for (size_t i = 0; i < row->n_fields; i++) {
		if (strcmp(row->fields[i]->name, name) != 0)
			continue;
		isthmus__admin_field__free_unpacked(row->fields[i], NULL);
		memmove(row->fields + i, row->fields + i + 1,
			(row->n_fields - i - 1) * sizeof(*row->fields));
		row->n_fields--;
		return;
	}
}

static void drop_row(Isthmus__AdminTable *t, size_t i)
{
	isthmus__admin_row__free_unpacked(t->rows[i], NULL);
	memmove(t->rows + i, t->rows + i + 1, (t->n_rows - i - 1) * sizeof(*t->rows));
	t->n_rows--;
}

/* The row of the same key before number i; -1: none. */
static ssize_t same_before(const Isthmus__AdminTable *t, size_t i, const struct shared *x)
{
	const char *key = text_of(find_field(t->rows[i], x->key));
	for (size_t k = 0; key && k < i; k++) {
		const char *have = text_of(find_field(t->rows[k], x->key));
		if (have && strcmp(have, key) == 0)
			return (ssize_t)k;
	}
	return -1;
}

static void merge_table(Isthmus__AdminTable *t, const struct shared *x)
{
	for (size_t i = 0; i < t->n_rows;) {
		ssize_t k = same_before(t, i, x);
		if (k < 0) {
			i++;
			continue;
		}
		if (by_owner(t->rows[i], x)) {
			Isthmus__AdminRow *row = t->rows[k];
			t->rows[k] = t->rows[i];
			t->rows[i] = row;
		}
		drop_row(t, i);
	}
}

static const struct shared *shared_of(const Isthmus__AdminTable *t)
{
	for (size_t i = 0; i < ARRAY_LEN(shared_tables); i++)
		if (strcmp(t->name, shared_tables[i].table) == 0 && t->n_rows &&
		    find_field(t->rows[0], shared_tables[i].owner))
			return &shared_tables[i];
	return NULL;
}

/* Who told a row that others tell too, until they are merged; such rows are nobody's own. */
static void mark_shared(Isthmus__AdminReply *r, const struct who *w)
{
	if (strcmp(w->kind, "controller") != 0)
		return;
	for (size_t i = 0; i < r->n_tables; i++)
		for (size_t k = 0; shared_of(r->tables[i]) && k < r->tables[i]->n_rows; k++)
			put_first(r->tables[i]->rows[k], "asked", w->name);
}

void gather_merge(struct admin_call *call)
{
	Isthmus__AdminReply *r = admin_call_reply(call);
	for (size_t i = 0; i < r->n_tables; i++) {
		Isthmus__AdminTable *t = r->tables[i];
		const struct shared *x = shared_of(t);
		if (x)
			merge_table(t, x);
		for (size_t k = 0; k < t->n_rows; k++)
			drop_field(t->rows[k], "asked");
	}
}

/* The owner says whose a row is; who told it is of no interest. */
static void forget_tellers(struct admin_call *call)
{
	Isthmus__AdminReply *r = admin_call_reply(call);
	for (size_t i = 0; i < r->n_tables; i++) {
		const struct shared *x = shared_of(r->tables[i]);
		for (size_t k = 0; x && strcmp(x->key, "controller") && k < r->tables[i]->n_rows;
		     k++)
			drop_field(r->tables[i]->rows[k], "controller");
	}
}

bool gather_has(struct admin_call *call, const char *table, const char *key, const char *value)
{
	const Isthmus__AdminReply *r = admin_call_reply(call);
	for (size_t i = 0; i < r->n_tables; i++)
		for (size_t k = 0; k < r->tables[i]->n_rows; k++) {
			const char *have = text_of(find_field(r->tables[i]->rows[k], key));
			if (strcmp(r->tables[i]->name, table) == 0 && have &&
			    strcmp(have, value) == 0)
				return true;
		}
	return false;
}

int gather_merged(struct supervisor *s, struct admin_call *call, const char *verb)
{
	struct who *w = calloc(CHILDREN_MAX, sizeof(*w));
	Isthmus__AdminReply *failed = NULL;
	unsigned n = w ? list_up(s, w) : 0, answered = 0;
	int rc = -ENOTCONN;
	for (unsigned i = 0; i < n; i++) {
		Isthmus__AdminReply *reply;
		if (strcmp(w[i].kind, "controller") != 0)
			continue;
		rc = ask(s, w[i].kind, w[i].name, admin_call_request(call), verb, FORWARD_NS, call,
			 &reply);
		if (rc) {
			admin_note(call, "controller %s does not answer: %s", w[i].name,
				   err_text(rc));
		} else if (reply->code == 0) {
			take_one(call, &w[i], verb, reply);
			answered++;
		} else if (failed) {
			isthmus__admin_reply__free_unpacked(reply, NULL);
		} else {
			failed = reply;
		}
	}
	free(w);
	forget_tellers(call);
	gather_merge(call);
	if (failed && !answered)
		return admin_reply_take(call, failed);
	if (failed)
		isthmus__admin_reply__free_unpacked(failed, NULL);
	if (answered)
		return 0;
	return admin_error(call, rc, "see isthmus status", "no controller answers");
}

/* ---- looking into replies ---- */

const char *gather_field(const Isthmus__AdminReply *r, const char *key, const char *value,
			 const char *field)
{
	for (size_t t = 0; t < r->n_tables; t++)
		for (size_t i = 0; i < r->tables[t]->n_rows; i++) {
			const Isthmus__AdminRow *row = r->tables[t]->rows[i];
			const char *have = text_of(find_field(row, key));
			if (have && strcmp(have, value) == 0)
				return text_of(find_field(row, field));
		}
	return NULL;
}

static uint64_t time_of(const Isthmus__AdminRow *row)
{
	const Isthmus__AdminValue *v = find_field(row, "time");
	return v && v->kind_case == ISTHMUS__ADMIN_VALUE__KIND_TIME_NS ? v->time_ns : 0;
}

static int by_time(const void *a, const void *b)
{
	uint64_t x = time_of(*(Isthmus__AdminRow *const *)a);
	uint64_t y = time_of(*(Isthmus__AdminRow *const *)b);
	return x < y ? -1 : x > y;
}

void gather_sort_events(struct admin_call *call, size_t count)
{
	Isthmus__AdminReply *reply = admin_call_reply(call);
	for (size_t t = 0; t < reply->n_tables; t++) {
		Isthmus__AdminTable *tab = reply->tables[t];
		if (strcmp(tab->name, "events") != 0 || tab->n_rows == 0)
			continue;
		for (size_t i = 0; i < tab->n_rows; i++)
			put_first(tab->rows[i], "from", "isthmusd");
		qsort(tab->rows, tab->n_rows, sizeof(tab->rows[0]), by_time);
		if (tab->n_rows <= count)
			continue;
		size_t drop = tab->n_rows - count;
		for (size_t i = 0; i < drop; i++)
			isthmus__admin_row__free_unpacked(tab->rows[i], NULL);
		memmove(tab->rows, tab->rows + drop, count * sizeof(tab->rows[0]));
		tab->n_rows = count;
	}
}
