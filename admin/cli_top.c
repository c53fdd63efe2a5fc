/*
 * What is asked again and again: `top` shows counters as rates between two
 * looks, `event list --follow` shows what is new.
 */
#include "admin/cli.h"
#include "runtime/env.h"
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define IDLE_ROWS 8 /* a longer table of top leaves out what does nothing */

static uint64_t clock_ns(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

/* ---- rates ---- */

static bool same_text(const Isthmus__AdminValue *a, const Isthmus__AdminValue *b)
{
	bool at = a && a->kind_case == ISTHMUS__ADMIN_VALUE__KIND_TEXT;
	bool bt = b && b->kind_case == ISTHMUS__ADMIN_VALUE__KIND_TEXT;
	return at == bt && (!at || strcmp(a->text, b->text) == 0);
}

/* Rows are the same thing when all their texts are. */
static bool same_row(const Isthmus__AdminRow *a, const Isthmus__AdminRow *b)
{
	if (a->n_fields != b->n_fields)
		return false;
	for (size_t i = 0; i < a->n_fields; i++)
		if (strcmp(a->fields[i]->name, b->fields[i]->name) != 0 ||
		    !same_text(a->fields[i]->value, b->fields[i]->value))
			return false;
	return true;
}

static const Isthmus__AdminRow *old_row(const Isthmus__AdminReply *old, const char *table,
					const Isthmus__AdminRow *row)
{
	for (size_t t = 0; old && t < old->n_tables; t++)
		for (size_t i = 0;
		     strcmp(old->tables[t]->name, table) == 0 && i < old->tables[t]->n_rows; i++)
			if (same_row(old->tables[t]->rows[i], row))
				return old->tables[t]->rows[i];
	return NULL;
}

static uint64_t *counter(Isthmus__AdminValue *v)
{
	if (v && v->kind_case == ISTHMUS__ADMIN_VALUE__KIND_NUMBER)
		return &v->number;
	if (v && v->kind_case == ISTHMUS__ADMIN_VALUE__KIND_BYTES)
		return &v->bytes;
	return NULL;
}

/* Counters of `now` become differences to `old` a second; those of a restarted process start anew.
 */
static void make_rates(Isthmus__AdminReply *now, const Isthmus__AdminReply *old, double seconds)
{
	for (size_t t = 0; t < now->n_tables; t++)
		for (size_t r = 0; r < now->tables[t]->n_rows; r++) {
			Isthmus__AdminRow *row = now->tables[t]->rows[r];
			const Isthmus__AdminRow *o = old_row(old, now->tables[t]->name, row);
			for (size_t i = 0; i < row->n_fields; i++) {
				uint64_t *n = counter(row->fields[i]->value);
				cli_latency_since(row->fields[i]->value,
						  o ? o->fields[i]->value : NULL);
				uint64_t *b = o ? counter(o->fields[i]->value) : NULL;
				if (!n)
					continue;
				uint64_t d = b && *b <= *n ? *n - *b : b ? *n : 0;
				*n = (uint64_t)((double)d / seconds + 0.5);
			}
		}
}

static bool idle(const Isthmus__AdminRow *row)
{
	for (size_t i = 0; i < row->n_fields; i++) {
		const uint64_t *n = counter(row->fields[i]->value);
		if (n && *n)
			return false;
	}
	return true;
}

/* Of long tables people are shown what is busy. */
static void drop_idle(Isthmus__AdminReply *r)
{
	for (size_t t = 0; t < r->n_tables; t++) {
		Isthmus__AdminTable *table = r->tables[t];
		size_t kept = 0;
		for (size_t i = 0; i < table->n_rows && table->n_rows > IDLE_ROWS; i++) {
			if (idle(table->rows[i]))
				isthmus__admin_row__free_unpacked(table->rows[i], NULL);
			else
				table->rows[kept++] = table->rows[i];
		}
		if (table->n_rows > IDLE_ROWS)
			table->n_rows = kept;
	}
}

/* A deep copy by way of the wire format. */
static Isthmus__AdminReply *copy_reply(const Isthmus__AdminReply *r)
{
	size_t n = isthmus__admin_reply__get_packed_size(r);
	uint8_t *buf = malloc(n ? n : 1);
	if (!buf)
		return NULL;
	isthmus__admin_reply__pack(r, buf);
	Isthmus__AdminReply *copy = isthmus__admin_reply__unpack(NULL, n, buf);
	free(buf);
	return copy;
}

static void drop(Isthmus__AdminReply *r)
{
	if (r)
		isthmus__admin_reply__free_unpacked(r, NULL);
}

static uint64_t number_arg(const struct cli *c, const char *name, uint64_t otherwise)
{
	const char *s = cli_arg(c, name);
	return s ? strtoull(s, NULL, 10) : otherwise;
}

static void show_rates(struct cli *c, Isthmus__AdminReply *now, double seconds, bool first)
{
	if (c->json) {
		json_t *j = cli_json(now);
		json_object_set_new(j, "seconds", json_real(seconds));
		json_dumpf(j, stdout, JSON_COMPACT);
		putchar('\n');
		json_decref(j);
	} else {
		if (isatty(1))
			printf("\033[H\033[J");
		else if (!first)
			putchar('\n');
		drop_idle(now);
		printf("a second, over %.1f s\n\n", seconds);
		cli_show(stdout, now);
	}
	fflush(stdout);
}

int cli_top(struct cli *c)
{
	uint64_t count = cli_arg(c, "once") ? 1 : number_arg(c, "count", UINT64_MAX);
	uint64_t interval = number_arg(c, "interval", 1);
	if (interval < 1 || interval > 3600)
		interval = 1;
	Isthmus__AdminReply *old = NULL;
	uint64_t last = 0;
	for (uint64_t i = 0; i <= count; i++) {
		Isthmus__AdminReply *now, *copy;
		int status = cli_call(c, "stats", false, &now);
		if (status) {
			drop(old);
			return status;
		}
		uint64_t t = clock_ns();
		copy = copy_reply(now);
		if (old && copy) {
			double seconds = (double)(t - last) / (double)NS_PER_S;
			make_rates(now, old, seconds > 0 ? seconds : 1);
			cli_latency_expand(now);
			show_rates(c, now, seconds, i == 1);
		}
		drop(now);
		drop(old);
		old = copy;
		last = t;
		if (i < count)
			sleep((unsigned)interval);
	}
	drop(old);
	return ferror(stdout) ? EXIT_FAILED : EXIT_OK;
}

/* ---- events ---- */

static uint64_t newest(const Isthmus__AdminReply *r, uint64_t after)
{
	for (size_t t = 0; t < r->n_tables; t++)
		for (size_t i = 0; i < r->tables[t]->n_rows; i++)
			for (size_t k = 0; k < r->tables[t]->rows[i]->n_fields; k++) {
				const Isthmus__AdminField *f = r->tables[t]->rows[i]->fields[k];
				if (strcmp(f->name, "time") == 0 && f->value &&
				    f->value->kind_case == ISTHMUS__ADMIN_VALUE__KIND_TIME_NS &&
				    f->value->time_ns > after)
					after = f->value->time_ns;
			}
	return after;
}

static void show_events(struct cli *c, const Isthmus__AdminReply *r)
{
	for (size_t t = 0; t < r->n_tables; t++) {
		if (c->json) {
			json_t *j = cli_json(r);
			json_t *rows = json_object_get(j, r->tables[t]->name), *row;
			size_t i;
			json_array_foreach(rows, i, row)
			{
				json_dumpf(row, stdout, JSON_COMPACT);
				putchar('\n');
			}
			json_decref(j);
		} else {
			cli_show_table(stdout, r->tables[t], false);
		}
	}
	fflush(stdout);
}

int cli_follow_events(struct cli *c)
{
	char after[32];
	uint64_t last = number_arg(c, "after", 0);
	if (!cli_arg(c, "after"))
		cli_add(c, "after", after);
	for (size_t i = 0; i < c->req.n_args; i++)
		if (strcmp(c->args[i].name, "after") == 0)
			c->args[i].value = after;
	while (!ferror(stdout)) {
		Isthmus__AdminReply *r;
		snprintf(after, sizeof(after), "%llu", (unsigned long long)last);
		int status = cli_call(c, "event.list", false, &r);
		if (status)
			return status;
		last = newest(r, last);
		show_events(c, r);
		drop(r);
		sleep(1);
	}
	return EXIT_FAILED;
}
