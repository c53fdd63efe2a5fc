/*
 * A call: its request's arguments, and the reply being built. Everything that
 * protobuf-c will pack is malloc'd, so that replies of other daemons can be
 * moved in and the whole be freed member by member.
 */
#include "runtime/admin_impl.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/histogram.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define CALL_MAGIC	     0x61646363
#define PROGRESS_INTERVAL_NS (100 * NS_PER_MS)

struct admin_call *admin_call_new(Isthmus__AdminFrame *frame)
{
	struct admin_call *c = calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	c->magic = CALL_MAGIC;
	c->frame = frame;
	c->req = frame->request;
	isthmus__admin_reply__init(&c->reply);
	return c;
}

/* protobuf-c frees a message together with its members: so the reply is moved to the heap. */
static void free_reply_members(Isthmus__AdminReply *r)
{
	Isthmus__AdminReply *heap = malloc(sizeof(*heap));
	if (!heap)
		return;
	*heap = *r;
	isthmus__admin_reply__free_unpacked(heap, NULL);
}

void admin_call_free(struct admin_call *c)
{
	CHECK(c, CALL_MAGIC);
	free_reply_members(&c->reply);
	isthmus__admin_frame__free_unpacked(c->frame, NULL);
	c->magic = 0;
	free(c);
}

/* ---- the request ---- */

const char *admin_call_verb(const struct admin_call *c)
{
	return c->req->verb;
}

const Isthmus__AdminRequest *admin_call_request(const struct admin_call *c)
{
	return c->req;
}

Isthmus__AdminReply *admin_call_reply(struct admin_call *c)
{
	return &c->reply;
}

const char *admin_arg_list(const struct admin_call *c, const char *name, unsigned i)
{
	CHECK(c, CALL_MAGIC);
	for (size_t k = 0; k < c->req->n_args; k++)
		if (strcmp(c->req->args[k]->name, name) == 0 && i-- == 0)
			return c->req->args[k]->value;
	return NULL;
}

const char *admin_arg_text(const struct admin_call *c, const char *name)
{
	return admin_arg_list(c, name, 0);
}

static int bad_value(struct admin_call *c, const char *name, const char *value, const char *what,
		     const char *remedy)
{
	return admin_error(c, -EINVAL, remedy, "%s: `%.64s` is not %s", name, value, what);
}

int admin_arg_u64(struct admin_call *c, const char *name, uint64_t *ret)
{
	const char *s = admin_arg_text(c, name);
	if (!s)
		return -ENOENT;
	size_t n = strspn(s, "0123456789");
	errno = 0;
	unsigned long long v = strtoull(s, NULL, 10);
	if (n == 0 || s[n] || errno)
		return bad_value(c, name, s, "a number", "write a decimal number without a unit");
	*ret = v;
	return 0;
}

int admin_arg_size(struct admin_call *c, const char *name, uint64_t *ret)
{
	const char *s = admin_arg_text(c, name);
	if (!s)
		return -ENOENT;
	if (parse_size(s, ret))
		return bad_value(c, name, s, "a size", "write it like 512MiB or 10G");
	return 0;
}

bool admin_arg_flag(const struct admin_call *c, const char *name)
{
	const char *s = admin_arg_text(c, name);
	return s &&
	       (strcasecmp(s, "true") == 0 || strcasecmp(s, "yes") == 0 || strcmp(s, "1") == 0);
}

/* ---- the reply ---- */

static char *format(struct admin_call *c, const char *fmt, va_list ap)
{
	char *s;
	if (vasprintf(&s, fmt, ap) >= 0) {
		/* protobuf strings are UTF-8 text; control characters would steer a terminal */
		for (char *p = s; *p; p++)
			if ((unsigned char)*p < 0x20 && *p != '\n')
				*p = '?';
		return s;
	}
	c->oom = true;
	return NULL;
}

/* protobuf-c's "" is a constant that its free function knows. */
static void set_string(char **field, char *value)
{
	if (*field != protobuf_c_empty_string)
		free(*field);
	*field = value;
}

static bool append(struct admin_call *c, void *array_ptr, size_t *n, void *item)
{
	void **array = *(void ***)array_ptr;
	if (!item) {
		c->oom = true;
		return false;
	}
	if ((*n & (*n - 1)) == 0) { /* full at every power of two */
		void **p = realloc(array, (*n ? *n * 2 : 1) * sizeof(*p));
		if (!p) {
			c->oom = true;
			return false;
		}
		*(void ***)array_ptr = array = p;
	}
	array[(*n)++] = item;
	return true;
}

int admin_error(struct admin_call *c, int code, const char *remedy, const char *fmt, ...)
{
	CHECK(c, CALL_MAGIC);
	va_list ap;
	va_start(ap, fmt);
	char *s = format(c, fmt, ap);
	va_end(ap);
	if (s)
		set_string(&c->reply.error, s);
	char *r = remedy ? strdup(remedy) : NULL;
	if (r)
		set_string(&c->reply.remedy, r);
	return code;
}

static Isthmus__AdminTable *find_table(struct admin_call *c, const char *name)
{
	for (size_t i = 0; i < c->reply.n_tables; i++)
		if (strcmp(c->reply.tables[i]->name, name) == 0)
			return c->reply.tables[i];
	return NULL;
}

void admin_table(struct admin_call *c, const char *name, bool single)
{
	CHECK(c, CALL_MAGIC);
	c->row = NULL;
	c->table = find_table(c, name);
	if (c->table)
		return;
	Isthmus__AdminTable *t = malloc(sizeof(*t));
	char *copy = strdup(name);
	if (!t || !copy) {
		free(t);
		free(copy);
		c->oom = true;
		return;
	}
	isthmus__admin_table__init(t);
	t->name = copy;
	t->single = single;
	if (append(c, &c->reply.tables, &c->reply.n_tables, t))
		c->table = t;
	else
		isthmus__admin_table__free_unpacked(t, NULL);
}

void admin_row(struct admin_call *c)
{
	CHECK(c, CALL_MAGIC);
	if (!c->table)
		return;
	Isthmus__AdminRow *r = malloc(sizeof(*r));
	if (r)
		isthmus__admin_row__init(r);
	c->row = NULL;
	if (append(c, &c->table->rows, &c->table->n_rows, r))
		c->row = r;
	else
		free(r);
}

static Isthmus__AdminField *field_new(const char *name)
{
	Isthmus__AdminField *f = malloc(sizeof(*f));
	Isthmus__AdminValue *v = malloc(sizeof(*v));
	char *copy = strdup(name);
	if (!f || !v || !copy) {
		free(f);
		free(v);
		free(copy);
		return NULL;
	}
	isthmus__admin_field__init(f);
	isthmus__admin_value__init(v);
	f->name = copy;
	f->value = v;
	return f;
}

/* The value of a new field of the current row; NULL (and oom) when there is none. */
static Isthmus__AdminValue *put(struct admin_call *c, const char *name,
				Isthmus__AdminValue__KindCase kind)
{
	CHECK(c, CALL_MAGIC);
	Isthmus__AdminRow *r = c->row;
	if (!r)
		return NULL;
	Isthmus__AdminField *f = field_new(name);
	if (!append(c, &r->fields, &r->n_fields, f)) {
		if (f)
			isthmus__admin_field__free_unpacked(f, NULL);
		return NULL;
	}
	f->value->kind_case = kind;
	return f->value;
}

void admin_put_text(struct admin_call *c, const char *name, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	char *s = format(c, fmt, ap);
	va_end(ap);
	if (!s)
		return;
	Isthmus__AdminValue *v = put(c, name, ISTHMUS__ADMIN_VALUE__KIND_TEXT);
	if (v)
		v->text = s;
	else
		free(s);
}

#define PUT(SUFFIX, TYPE, KIND, MEMBER)                                                            \
	void admin_put_##SUFFIX(struct admin_call *c, const char *name, TYPE value)                \
	{                                                                                          \
		Isthmus__AdminValue *v = put(c, name, ISTHMUS__ADMIN_VALUE__KIND_##KIND);          \
		if (v)                                                                             \
			v->MEMBER = value;                                                         \
	}

PUT(number, uint64_t, NUMBER, number)
PUT(integer, int64_t, INTEGER, integer)
PUT(real, double, REAL, real)
PUT(flag, bool, FLAG, flag)
PUT(bytes, uint64_t, BYTES, bytes)
PUT(time, uint64_t, TIME_NS, time_ns)
PUT(duration, uint64_t, DURATION_NS, duration_ns)

void admin_put_histogram(struct admin_call *c, const char *name, const struct histogram_sum *h)
{
	Isthmus__AdminHistogram *m = malloc(sizeof(*m));
	unsigned n = 0;
	for (unsigned b = 0; b < HISTOGRAM_BUCKETS; b++)
		n += h->n[b] != 0;
	if (m) {
		isthmus__admin_histogram__init(m);
		m->total_ns = h->total_ns;
		m->bucket = calloc(n + 1, sizeof(*m->bucket));
		m->count = calloc(n + 1, sizeof(*m->count));
	}
	if (!m || !m->bucket || !m->count) {
		if (m)
			isthmus__admin_histogram__free_unpacked(m, NULL);
		c->oom = true;
		return;
	}
	for (unsigned b = 0; b < HISTOGRAM_BUCKETS; b++) {
		if (!h->n[b])
			continue;
		m->bucket[m->n_bucket++] = b;
		m->count[m->n_count++] = h->n[b];
	}
	Isthmus__AdminValue *v = put(c, name, ISTHMUS__ADMIN_VALUE__KIND_HISTOGRAM);
	if (v)
		v->histogram = m;
	else
		isthmus__admin_histogram__free_unpacked(m, NULL);
}

void admin_note(struct admin_call *c, const char *fmt, ...)
{
	CHECK(c, CALL_MAGIC);
	va_list ap;
	va_start(ap, fmt);
	char *s = format(c, fmt, ap);
	va_end(ap);
	if (s && !append(c, &c->reply.notes, &c->reply.n_notes, s))
		free(s);
}

void admin_progress(struct admin_call *c, const char *what, uint64_t done, uint64_t total)
{
	CHECK(c, CALL_MAGIC);
	uint64_t now = env_now_ns(env_real());
	if (now - c->last_progress_ns < PROGRESS_INTERVAL_NS && done != total)
		return;
	c->last_progress_ns = now;
	Isthmus__AdminProgress p = ISTHMUS__ADMIN_PROGRESS__INIT;
	p.done = done;
	p.total = total;
	p.what = (char *)what;
	admin_call_send_progress(c, &p);
}

void admin_call_finish(struct admin_call *c, int code)
{
	if (c->oom)
		code = -ENOMEM;
	c->reply.code = code;
	if (code >= 0) {
		c->reply.code = 0;
		return;
	}
	if (c->oom)
		admin_error(c, code, "free some memory", "out of memory");
	else if (c->reply.error[0] == '\0')
		admin_error(c, code, NULL, "%s", err_text(code));
}

/* ---- a reply moved in ---- */

/* protobuf-c allocates exactly; append() wants room up to the next power of two. */
static bool make_room(struct admin_call *c, Isthmus__AdminTable *t)
{
	size_t cap = 1;
	while (cap < t->n_rows)
		cap *= 2;
	void *p = realloc(t->rows, cap * sizeof(*t->rows));
	if (!p) {
		c->oom = true;
		return false;
	}
	t->rows = p;
	return true;
}

static void move_table(struct admin_call *c, Isthmus__AdminTable *from)
{
	Isthmus__AdminTable *to = find_table(c, from->name);
	if (!to) {
		if (!make_room(c, from) || !append(c, &c->reply.tables, &c->reply.n_tables, from))
			isthmus__admin_table__free_unpacked(from, NULL);
		return;
	}
	for (size_t i = 0; i < from->n_rows; i++)
		if (!append(c, &to->rows, &to->n_rows, from->rows[i]))
			isthmus__admin_row__free_unpacked(from->rows[i], NULL);
	from->n_rows = 0;
	isthmus__admin_table__free_unpacked(from, NULL);
}

int admin_reply_take(struct admin_call *c, Isthmus__AdminReply *reply)
{
	CHECK(c, CALL_MAGIC);
	int code = reply->code;
	for (size_t i = 0; i < reply->n_tables; i++)
		move_table(c, reply->tables[i]);
	reply->n_tables = 0;
	for (size_t i = 0; i < reply->n_notes; i++)
		if (!append(c, &c->reply.notes, &c->reply.n_notes, reply->notes[i]))
			free(reply->notes[i]);
	reply->n_notes = 0;
	if (reply->error[0])
		admin_error(c, code, reply->remedy[0] ? reply->remedy : NULL, "%s", reply->error);
	isthmus__admin_reply__free_unpacked(reply, NULL);
	return code > 0 ? -ERR_PROTO : code;
}

/* ---- looking into replies ---- */

static const Isthmus__AdminValue *row_value(const Isthmus__AdminRow *row, const char *field)
{
	for (size_t i = 0; i < row->n_fields; i++)
		if (strcmp(row->fields[i]->name, field) == 0)
			return row->fields[i]->value;
	return NULL;
}

static const char *value_text(const Isthmus__AdminValue *v)
{
	return v && v->kind_case == ISTHMUS__ADMIN_VALUE__KIND_TEXT ? v->text : "";
}

const Isthmus__AdminValue *admin_reply_value(const Isthmus__AdminReply *r, const char *table,
					     const char *key, const char *value, const char *field)
{
	for (size_t t = 0; t < r->n_tables; t++) {
		const Isthmus__AdminTable *tab = r->tables[t];
		for (size_t i = 0; i < tab->n_rows && strcmp(tab->name, table) == 0; i++)
			if (!key || strcmp(value_text(row_value(tab->rows[i], key)), value) == 0)
				return row_value(tab->rows[i], field);
	}
	return NULL;
}

const char *admin_reply_text(const Isthmus__AdminReply *r, const char *table, const char *key,
			     const char *value, const char *field)
{
	return value_text(admin_reply_value(r, table, key, value, field));
}
