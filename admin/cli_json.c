/*
 * Replies for programs. A table is an array of objects under its name (an object when it is
 * a single row by nature); sizes are bytes, times nanoseconds since 1970, durations nanoseconds.
 */
#include "admin/cli.h"
#include "runtime/err.h"
#include <stdint.h>
#include <string.h>

static json_t *number(uint64_t v)
{
	return json_integer(v > INT64_MAX ? INT64_MAX : (json_int_t)v);
}

/* jansson refuses what is not UTF-8: such bytes become '?'. */
static json_t *text(const char *s)
{
	json_t *j = json_string(s);
	if (j)
		return j;
	char buf[1024];
	size_t n = 0;
	for (; *s && n + 1 < sizeof(buf); s++)
		buf[n++] = (unsigned char)*s < 0x80 ? *s : '?';
	buf[n] = '\0';
	return json_string(buf);
}

static json_t *json_value(const Isthmus__AdminValue *v)
{
	switch (v ? v->kind_case : ISTHMUS__ADMIN_VALUE__KIND__NOT_SET) {
	case ISTHMUS__ADMIN_VALUE__KIND_TEXT:
		return text(v->text);
	case ISTHMUS__ADMIN_VALUE__KIND_NUMBER:
		return number(v->number);
	case ISTHMUS__ADMIN_VALUE__KIND_INTEGER:
		return json_integer(v->integer);
	case ISTHMUS__ADMIN_VALUE__KIND_REAL:
		return json_real(v->real); /* NULL for what JSON cannot say */
	case ISTHMUS__ADMIN_VALUE__KIND_FLAG:
		return json_boolean(v->flag);
	case ISTHMUS__ADMIN_VALUE__KIND_BYTES:
		return number(v->bytes);
	case ISTHMUS__ADMIN_VALUE__KIND_TIME_NS:
		return number(v->time_ns);
	case ISTHMUS__ADMIN_VALUE__KIND_DURATION_NS:
		return number(v->duration_ns);
	default:
		return json_null();
	}
}

static void set(json_t *object, const char *key, json_t *value)
{
	if (!value)
		value = json_null();
	if (json_object_set_new(object, key, value) < 0)
		json_object_set_new(object, "?", json_null());
}

static json_t *json_row(const Isthmus__AdminRow *r)
{
	json_t *o = json_object();
	for (size_t i = 0; i < r->n_fields; i++)
		set(o, r->fields[i]->name, json_value(r->fields[i]->value));
	return o;
}

json_t *cli_json(const Isthmus__AdminReply *r)
{
	json_t *top = json_object();
	for (size_t i = 0; i < r->n_tables; i++) {
		const Isthmus__AdminTable *t = r->tables[i];
		if (t->single && t->n_rows == 1) {
			set(top, t->name, json_row(t->rows[0]));
			continue;
		}
		json_t *rows = json_array();
		for (size_t k = 0; k < t->n_rows; k++)
			json_array_append_new(rows, json_row(t->rows[k]));
		set(top, t->name, rows);
	}
	json_t *notes = json_array();
	for (size_t i = 0; i < r->n_notes; i++)
		json_array_append_new(notes, text(r->notes[i]));
	set(top, "notes", notes);
	return top;
}

json_t *cli_json_error(int code, const char *error, const char *remedy)
{
	json_t *top = json_object();
	set(top, "error", text(error));
	set(top, "remedy", text(remedy ? remedy : ""));
	set(top, "code", text(code ? err_name(code) : ""));
	return top;
}
