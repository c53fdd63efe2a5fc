/*
 * Histograms of replies (runtime/histogram.h) as people and programs want them: the field
 * "latency" becomes average, p50, p90, p99 and p999; "NAME_latency" becomes NAME_p50 and NAME_p99.
 * What `top` shows is of what came between two looks.
 */
#include "admin/cli.h"
#include "runtime/histogram.h"
#include <stdlib.h>
#include <string.h>

#define SUFFIX "_latency"

static const struct column {
	const char *name;
	unsigned part; /* of 1000; 0: the average */
	bool brief;    /* also of a histogram with a name */
} columns[] = {
    {"average", 0, false}, {"p50", 500, true},	 {"p90", 900, false},
    {"p99", 990, true},	   {"p999", 999, false},
};
#define COLUMNS (sizeof(columns) / sizeof(columns[0]))

static void unpack(const Isthmus__AdminHistogram *m, struct histogram_sum *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->total_ns = m->total_ns;
	for (size_t i = 0; i < m->n_bucket && i < m->n_count; i++) {
		if (m->bucket[i] >= HISTOGRAM_BUCKETS)
			continue;
		ret->n[m->bucket[i]] += m->count[i];
		ret->count += m->count[i];
	}
}

static const Isthmus__AdminHistogram *histogram(const Isthmus__AdminValue *v)
{
	return v && v->kind_case == ISTHMUS__ADMIN_VALUE__KIND_HISTOGRAM ? v->histogram : NULL;
}

void cli_latency_since(Isthmus__AdminValue *now, const Isthmus__AdminValue *old)
{
	static struct histogram_sum a, b;
	Isthmus__AdminHistogram *m = (Isthmus__AdminHistogram *)histogram(now);
	const Isthmus__AdminHistogram *o = histogram(old);
	if (!m || !o)
		return;
	unpack(m, &a);
	unpack(o, &b);
	histogram_subtract(&a, &b);
	m->total_ns = a.total_ns;
	for (size_t i = 0; i < m->n_bucket && i < m->n_count; i++)
		m->count[i] = m->bucket[i] < HISTOGRAM_BUCKETS ? a.n[m->bucket[i]] : 0;
}

static Isthmus__AdminField *field(const char *prefix, int n, const char *name, uint64_t ns)
{
	char text[80];
	Isthmus__AdminField *f = malloc(sizeof(*f));
	Isthmus__AdminValue *v = malloc(sizeof(*v));
	snprintf(text, sizeof(text), "%.*s%s%s", n, prefix, n ? "_" : "", name);
	char *copy = strdup(text);
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
	if (ns) { /* else empty: nothing was measured */
		v->kind_case = ISTHMUS__ADMIN_VALUE__KIND_DURATION_NS;
		v->duration_ns = ns;
	}
	return f;
}

/* Puts the columns of field i in its place. False: no memory, it stays. */
static bool expand(Isthmus__AdminRow *r, size_t i)
{
	static struct histogram_sum s;
	Isthmus__AdminField *was = r->fields[i], *made[COLUMNS];
	size_t name = strlen(was->name), n = 0;
	int prefix = name > strlen(SUFFIX) ? (int)(name - strlen(SUFFIX)) : 0;
	unpack(was->value->histogram, &s);
	Isthmus__AdminField **p = malloc((r->n_fields + COLUMNS) * sizeof(*p));
	for (size_t k = 0; p && k < COLUMNS; k++) {
		const struct column *c = &columns[k];
		if (prefix && !c->brief)
			continue;
		made[n] =
		    field(was->name, prefix < 48 ? prefix : 48, c->name,
			  c->part ? histogram_percentile(&s, c->part) : histogram_average(&s));
		if (made[n])
			n++;
	}
	if (!p)
		return false;
	memcpy(p, r->fields, i * sizeof(*p));
	memcpy(p + i, made, n * sizeof(*p));
	memcpy(p + i + n, r->fields + i + 1, (r->n_fields - i - 1) * sizeof(*p));
	isthmus__admin_field__free_unpacked(was, NULL);
	free(r->fields);
	r->fields = p;
	r->n_fields += n - 1;
	return true;
}

void cli_latency_expand(Isthmus__AdminReply *r)
{
	for (size_t t = 0; t < r->n_tables; t++)
		for (size_t k = 0; k < r->tables[t]->n_rows; k++) {
			Isthmus__AdminRow *row = r->tables[t]->rows[k];
			for (size_t i = 0; i < row->n_fields; i++)
				if (histogram(row->fields[i]->value) && expand(row, i))
					i--;
		}
}
