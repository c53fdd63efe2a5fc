/* Replies for people: aligned tables, sizes and times with units. */
#include "admin/cli.h"
#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define COLUMNS_MAX 32
#define CELL	    512

typedef Isthmus__AdminValue value;

static void show_bytes(uint64_t n, char *ret, size_t size)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	unsigned u = 0;
	double v = (double)n;
	while (v >= 1024 && u < 6) {
		v /= 1024;
		u++;
	}
	bool whole = n == 0 || (n & ((1ull << (10 * u)) - 1)) == 0;
	snprintf(ret, size, whole ? "%.0f%s" : "%.1f%s", v, units[u]);
}

static void show_duration(uint64_t ns, char *ret, size_t size)
{
	uint64_t s = ns / 1000000000;
	if (ns < 1000)
		snprintf(ret, size, "%" PRIu64 "ns", ns);
	else if (ns < 1000000)
		snprintf(ret, size, "%" PRIu64 "us", ns / 1000);
	else if (ns < 1000000000)
		snprintf(ret, size, "%.1fms", (double)ns / 1e6);
	else if (s < 60)
		snprintf(ret, size, "%.1fs", (double)ns / 1e9);
	else if (s < 3600)
		snprintf(ret, size, "%" PRIu64 "m %02" PRIu64 "s", s / 60, s % 60);
	else if (s < 86400)
		snprintf(ret, size, "%" PRIu64 "h %02" PRIu64 "m", s / 3600, s / 60 % 60);
	else
		snprintf(ret, size, "%" PRIu64 "d %02" PRIu64 "h", s / 86400, s / 3600 % 24);
}

static void show_time(uint64_t ns, char *ret, size_t size)
{
	time_t t = (time_t)(ns / 1000000000);
	struct tm tm;
	char when[40];
	if (ns == 0) {
		snprintf(ret, size, "-");
		return;
	}
	if (!localtime_r(&t, &tm) || !strftime(when, sizeof(when), "%F %T", &tm))
		snprintf(when, sizeof(when), "?");
	snprintf(ret, size, "%s.%03u", when, (unsigned)(ns / 1000000 % 1000));
}

/* What a daemon sends is shown; it does not steer the terminal. */
static void show_text(const char *s, char *ret, size_t size)
{
	size_t n = 0;
	for (; *s && n + 1 < size; s++)
		ret[n++] = iscntrl((unsigned char)*s) ? '?' : *s;
	ret[n] = '\0';
	if (n == 0)
		snprintf(ret, size, "-");
}

void cli_value(const value *v, char *ret, size_t size)
{
	switch (v ? v->kind_case : ISTHMUS__ADMIN_VALUE__KIND__NOT_SET) {
	case ISTHMUS__ADMIN_VALUE__KIND_TEXT:
		show_text(v->text, ret, size);
		break;
	case ISTHMUS__ADMIN_VALUE__KIND_NUMBER:
		snprintf(ret, size, "%" PRIu64, v->number);
		break;
	case ISTHMUS__ADMIN_VALUE__KIND_INTEGER:
		snprintf(ret, size, "%" PRId64, v->integer);
		break;
	case ISTHMUS__ADMIN_VALUE__KIND_REAL:
		snprintf(ret, size, "%.2f", v->real);
		break;
	case ISTHMUS__ADMIN_VALUE__KIND_FLAG:
		snprintf(ret, size, "%s", v->flag ? "yes" : "no");
		break;
	case ISTHMUS__ADMIN_VALUE__KIND_BYTES:
		show_bytes(v->bytes, ret, size);
		break;
	case ISTHMUS__ADMIN_VALUE__KIND_TIME_NS:
		show_time(v->time_ns, ret, size);
		break;
	case ISTHMUS__ADMIN_VALUE__KIND_DURATION_NS:
		show_duration(v->duration_ns, ret, size);
		break;
	default:
		snprintf(ret, size, "-");
	}
}

/* ---- tables ---- */

struct column {
	const char *name;
	bool right;
	int width;
};

static bool is_quantity(const value *v)
{
	return v && v->kind_case != ISTHMUS__ADMIN_VALUE__KIND_TEXT &&
	       v->kind_case != ISTHMUS__ADMIN_VALUE__KIND_FLAG &&
	       v->kind_case != ISTHMUS__ADMIN_VALUE__KIND_TIME_NS;
}

static const value *cell(const Isthmus__AdminRow *r, const char *name)
{
	for (size_t i = 0; i < r->n_fields; i++)
		if (strcmp(r->fields[i]->name, name) == 0)
			return r->fields[i]->value;
	return NULL;
}

static void heading(const char *name, char *ret, size_t size)
{
	size_t n = 0;
	for (; *name && n + 1 < size; name++)
		ret[n++] = (char)(*name == '_' ? ' ' : toupper((unsigned char)*name));
	ret[n] = '\0';
}

/* Bytes that are not continuation bytes: the width of plain UTF-8 text. */
static int width_of(const char *s)
{
	int n = 0;
	for (; *s; s++)
		n += ((unsigned char)*s & 0xc0) != 0x80;
	return n;
}

static unsigned find_columns(const Isthmus__AdminTable *t, struct column *cols, bool header)
{
	unsigned n = 0;
	char text[CELL];
	for (size_t r = 0; r < t->n_rows; r++) {
		for (size_t i = 0; i < t->rows[r]->n_fields; i++) {
			const Isthmus__AdminField *f = t->rows[r]->fields[i];
			unsigned c = 0;
			while (c < n && strcmp(cols[c].name, f->name) != 0)
				c++;
			if (c == COLUMNS_MAX)
				continue;
			if (c == n) {
				cols[n++] = (struct column){.name = f->name,
							    .right = is_quantity(f->value)};
				heading(f->name, text, sizeof(text));
				cols[c].width = header ? width_of(text) : 0;
			}
			cli_value(f->value, text, sizeof(text));
			int w = width_of(text);
			if (w > cols[c].width)
				cols[c].width = w;
		}
	}
	return n;
}

static void put_cell(FILE *f, const struct column *c, const char *text, bool last)
{
	int pad = c->width - width_of(text);
	if (c->right && pad > 0)
		fprintf(f, "%*s", pad, "");
	fputs(text, f);
	if (!c->right && pad > 0 && !last)
		fprintf(f, "%*s", pad, "");
	fputs(last ? "\n" : "  ", f);
}

void cli_show_table(FILE *f, const Isthmus__AdminTable *t, bool header)
{
	struct column cols[COLUMNS_MAX];
	char text[CELL];
	unsigned n = find_columns(t, cols, header);
	for (unsigned c = 0; c < n && header; c++) {
		heading(cols[c].name, text, sizeof(text));
		put_cell(f, &cols[c], text, c + 1 == n);
	}
	for (size_t r = 0; r < t->n_rows; r++)
		for (unsigned c = 0; c < n; c++) {
			cli_value(cell(t->rows[r], cols[c].name), text, sizeof(text));
			put_cell(f, &cols[c], text, c + 1 == n);
		}
}

static void show_single(FILE *f, const Isthmus__AdminRow *r)
{
	char name[64], text[CELL];
	int width = 0;
	for (size_t i = 0; i < r->n_fields; i++)
		if ((int)strlen(r->fields[i]->name) > width)
			width = (int)strlen(r->fields[i]->name);
	if (width > 40)
		width = 40;
	for (size_t i = 0; i < r->n_fields; i++) {
		snprintf(name, sizeof(name), "%.60s", r->fields[i]->name);
		for (char *p = name; *p; p++)
			if (*p == '_')
				*p = ' ';
		cli_value(r->fields[i]->value, text, sizeof(text));
		fprintf(f, "%-*s  %s\n", width, name, text);
	}
}

void cli_show(FILE *f, const Isthmus__AdminReply *r)
{
	char title[64];
	for (size_t i = 0; i < r->n_tables; i++) {
		const Isthmus__AdminTable *t = r->tables[i];
		heading(t->name, title, sizeof(title));
		if (r->n_tables > 1)
			fprintf(f, "%s%s\n", i ? "\n" : "", title);
		if (t->n_rows == 0)
			fprintf(f, "(none)\n");
		else if (t->single && t->n_rows == 1)
			show_single(f, t->rows[0]);
		else
			cli_show_table(f, t, true);
	}
	for (size_t i = 0; i < r->n_notes; i++) {
		char text[CELL * 2];
		show_text(r->notes[i], text, sizeof(text));
		fprintf(f, "%s%s\n", i == 0 && r->n_tables ? "\n" : "", text);
	}
}
