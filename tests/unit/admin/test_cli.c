/* The CLI: the table of verbs, parsing by it, what is shown, and the manual page beside it. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include "admin/cli.h"
#include "runtime/check.h"
#include "runtime/histogram.h"

/* cli_call() belongs to the program; nothing here speaks to a daemon. */
int cli_call(struct cli *c, const char *verb, bool quiet, Isthmus__AdminReply **ret)
{
	return EXIT_NO_DAEMON;
}

static struct cli c;

static int parse(const char *noun, const char *verb, ...)
{
	char *argv[64];
	int n = 0;
	va_list ap;
	va_start(ap, verb);
	while ((argv[n] = va_arg(ap, char *)))
		n++;
	va_end(ap);
	cli_release(&c);
	cli_init(&c);
	const struct verb *v = verb_find(noun, verb);
	ck_assert_ptr_nonnull(v);
	return cli_parse(&c, v, n, argv);
}

static const char *list(const char *name, unsigned i)
{
	for (size_t k = 0; k < c.req.n_args; k++)
		if (strcmp(c.args[k].name, name) == 0 && i-- == 0)
			return c.args[k].value;
	return NULL;
}

START_TEST(table_is_whole)
{
	for (const struct verb *v = verb_table; v->name; v++) {
		char noun[32];
		snprintf(noun, sizeof(noun), "%.*s", (int)strcspn(v->name, "."), v->name);
		if (!(v->flags & VERB_HIDDEN))
			ck_assert_msg(noun_find(noun) != NULL, "%s has no noun", v->name);
		ck_assert_ptr_eq(verb_find_name(v->name), v);
		const char *word = verb_word(v);
		ck_assert_ptr_eq(verb_find(noun, *word ? word : NULL), v);
		bool optional = false, rest = false;
		for (const struct admin_arg *a = v->args; a->name; a++) {
			ck_assert_ptr_eq(verb_arg(v, a->name), a); /* no name twice */
			if (!(a->flags & ADMIN_POSITIONAL))
				continue;
			ck_assert_msg(!rest, "%s: nothing can follow a list", v->name);
			ck_assert_msg(!optional || !(a->flags & ADMIN_REQUIRED), "%s: %s", v->name,
				      a->name);
			optional = !(a->flags & ADMIN_REQUIRED);
			rest = a->flags & ADMIN_LIST;
		}
		if (v->route)
			ck_assert_ptr_nonnull(verb_arg(v, v->route));
	}
	for (const struct noun *n = noun_table; n->name; n++) {
		bool used = false;
		for (const struct verb *v = verb_table; v->name; v++)
			used |= verb_of_noun(v, n->name);
		ck_assert_msg(used, "%s has no verb", n->name);
	}
}
END_TEST

START_TEST(positions_and_lists)
{
	ck_assert_int_eq(parse("pool", "create", "main", "/d0", "/d1", "--level", "raid1", "/d2",
			       "--chunk=64K", NULL),
			 0);
	ck_assert_str_eq(c.req.verb, "pool.create");
	ck_assert_str_eq(c.destination, "controller");
	ck_assert_str_eq(cli_arg(&c, "name"), "main");
	ck_assert_str_eq(list("disk", 2), "/d2");
	ck_assert_ptr_null(list("disk", 3));
	ck_assert_str_eq(cli_arg(&c, "chunk"), "64K");
	ck_assert_int_eq(
	    parse("initiator", "add", "iqn.t", "iqn.i", "--lun", "0,2=1:ro", "--lun=5", NULL), 0);
	ck_assert_str_eq(list("lun", 1), "2=1:ro");
	ck_assert_str_eq(list("lun", 2), "5");
	ck_assert_int_eq(parse("export", "add", "/demo", "--fs", "f", "--client",
			       "10.0.0.0/8:rw,root_squash", "--client", "*:ro", NULL),
			 0);
	ck_assert_str_eq(list("client", 0), "10.0.0.0/8:rw,root_squash");
	ck_assert_str_eq(list("client", 1), "*:ro");
	ck_assert_int_eq(parse("pool", "remove", "--", "--odd", NULL), 0);
	ck_assert_str_eq(cli_arg(&c, "name"), "--odd");
}
END_TEST

START_TEST(destinations)
{
	ck_assert_int_eq(parse("status", NULL, NULL), 0);
	ck_assert_str_eq(c.destination, "");
	ck_assert_int_eq(parse("pool", "list", "--controller", "b", NULL), 0);
	ck_assert_str_eq(c.destination, "controller:b");
	ck_assert_int_eq(parse("head", "state", NULL), 0);
	ck_assert_str_eq(c.destination, "head");
	ck_assert_int_eq(parse("head", "state", "h2", NULL), 0);
	ck_assert_str_eq(c.destination, "head:h2");
	ck_assert_int_eq(parse("backup", "run", NULL), 0);
	ck_assert_str_eq(c.destination, "controller");
	ck_assert_int_eq(parse("backup", "run", "--all", "--head", "h1", NULL), 0);
	ck_assert_str_eq(c.destination, "head:h1");
	ck_assert_str_eq(cli_arg(&c, "all"), "true");
	ck_assert_int_eq(parse("status", NULL, "--json", NULL), 0);
	ck_assert(c.json);
}
END_TEST

#define WRONG(said, ...)                                                                           \
	do {                                                                                       \
		ck_assert_int_eq(parse(__VA_ARGS__, NULL), -1);                                    \
		ck_assert_msg(strstr(c.error, said) != NULL, "`%s` lacks `%s`", c.error, said);    \
	} while (0)

START_TEST(wrong_words)
{
	WRONG("is missing", "pool", "create", "main");
	WRONG("disk is missing", "pool", "create", "main", "--level", "raid1");
	WRONG("no option --nope", "pool", "list", "--nope");
	WRONG("one word too many", "pool", "list", "x");
	WRONG("wants a value", "volume", "create", "v", "--pool");
	WRONG("not a size", "volume", "create", "v", "--pool", "p", "--size", "big");
	WRONG("not a number", "lun", "add", "t", "v", "--lun", "-1");
	WRONG("not a number", "lun", "remove", "t", "one");
	WRONG("given twice", "volume", "create", "v", "--pool", "p", "--pool", "q");
	WRONG("takes no value", "lun", "add", "t", "v", "--read-only=yes");
	WRONG("--controller does not fit", "status", NULL, "--controller", "a");
	WRONG("could be read", "target", "create", "iqn.x", "--chap-secret", "@/nonexistent");
}
END_TEST

START_TEST(many_words_are_bounded)
{
	static char *argv[4096];
	cli_release(&c);
	cli_init(&c);
	for (int i = 0; i < 4096; i++)
		argv[i] = "/disk";
	ck_assert_int_eq(cli_parse(&c, verb_find("pool", "create"), 4096, argv), -1);
}
END_TEST

START_TEST(secrets_from_files)
{
	char path[] = "/tmp/isthmus-cli-XXXXXX", at[64];
	int fd = mkstemp(path);
	ck_assert_int_ge(fd, 0);
	FILE *f = fdopen(fd, "w");
	fputs("open sesame!\nsecond line\n", f);
	fclose(f);
	snprintf(at, sizeof(at), "@%s", path);
	ck_assert_int_eq(parse("target", "create", "iqn.x", "--chap-secret", at, NULL), 0);
	ck_assert_str_eq(cli_arg(&c, "chap-secret"), "open sesame!");
	remove(path);
}
END_TEST

/* ---- showing ---- */

static Isthmus__AdminValue value(Isthmus__AdminValue__KindCase kind, uint64_t n)
{
	Isthmus__AdminValue v = ISTHMUS__ADMIN_VALUE__INIT;
	v.kind_case = kind;
	v.number = n;
	return v;
}

#define K(name) ISTHMUS__ADMIN_VALUE__KIND_##name
static const struct {
	Isthmus__AdminValue__KindCase kind;
	uint64_t n;
	const char *shown;
} shown[] = {
    {K(NUMBER), 42, "42"},
    {K(BYTES), 0, "0B"},
    {K(BYTES), 1000, "1000B"},
    {K(BYTES), 1024, "1KiB"},
    {K(BYTES), 1536, "1.5KiB"},
    {K(BYTES), 3ull << 30, "3GiB"},
    {K(BYTES), UINT64_MAX, "16.0EiB"},
    {K(DURATION_NS), 191, "191ns"},
    {K(DURATION_NS), 1500, "1us"},
    {K(DURATION_NS), 2500000, "2.5ms"},
    {K(DURATION_NS), 12300000000, "12.3s"},
    {K(DURATION_NS), 3661000000000, "1h 01m"},
    {K(DURATION_NS), 90000000000000, "1d 01h"},
    {K(TIME_NS), 0, "-"},
    {K(_NOT_SET), 0, "-"},
};

START_TEST(values_are_shown)
{
	char text[128];
	for (size_t i = 0; i < ARRAY_LEN(shown); i++) {
		Isthmus__AdminValue v = value(shown[i].kind, shown[i].n);
		cli_value(&v, text, sizeof(text));
		ck_assert_str_eq(text, shown[i].shown);
	}
	cli_value(NULL, text, sizeof(text));
	ck_assert_str_eq(text, "-");
}
END_TEST

static Isthmus__AdminReply *sample(void)
{
	static Isthmus__AdminValue v[4];
	static Isthmus__AdminField f[4], *fp[2][2];
	static Isthmus__AdminRow r[2], *rp[2];
	static Isthmus__AdminTable t, *tp;
	static Isthmus__AdminReply reply;
	static char *notes[] = {"all is well"};
	v[0] = v[2] = (Isthmus__AdminValue)ISTHMUS__ADMIN_VALUE__INIT;
	v[0].kind_case = v[2].kind_case = K(TEXT);
	v[0].text = "long name here";
	v[2].text = "\033[2Jx\xff"; /* steers a terminal, and is not UTF-8 */
	v[1] = value(K(BYTES), 1024);
	v[3] = value(K(BYTES), 10ull << 30);
	for (int i = 0; i < 4; i++) {
		isthmus__admin_field__init(&f[i]);
		f[i].name = i % 2 ? "size" : "name";
		f[i].value = &v[i];
		fp[i / 2][i % 2] = &f[i];
	}
	for (int i = 0; i < 2; i++) {
		isthmus__admin_row__init(&r[i]);
		r[i].fields = fp[i];
		r[i].n_fields = 2;
		rp[i] = &r[i];
	}
	isthmus__admin_table__init(&t);
	t.name = "volumes";
	t.rows = rp;
	t.n_rows = 2;
	tp = &t;
	isthmus__admin_reply__init(&reply);
	reply.tables = &tp;
	reply.n_tables = 1;
	reply.notes = notes;
	reply.n_notes = 1;
	return &reply;
}

START_TEST(tables_are_aligned)
{
	char *text;
	size_t n;
	FILE *f = open_memstream(&text, &n);
	cli_show(f, sample());
	fclose(f);
	ck_assert_ptr_nonnull(strstr(text, "NAME             SIZE\n"));
	ck_assert_ptr_nonnull(strstr(text, "long name here   1KiB\n"));
	ck_assert_ptr_nonnull(strstr(text, "10GiB\n"));
	ck_assert_ptr_nonnull(strstr(text, "all is well\n"));
	ck_assert_ptr_null(strchr(text, '\033'));
	free(text);
}
END_TEST

START_TEST(json_has_stable_keys)
{
	json_t *j = cli_json(sample());
	json_t *rows = json_object_get(j, "volumes");
	ck_assert(json_is_array(rows));
	ck_assert_int_eq(json_integer_value(json_object_get(json_array_get(rows, 1), "size")),
			 10ll << 30);
	ck_assert_str_eq(json_string_value(json_object_get(json_array_get(rows, 0), "name")),
			 "long name here");
	ck_assert(json_is_string(json_object_get(json_array_get(rows, 1), "name")));
	ck_assert_uint_eq(json_array_size(json_object_get(j, "notes")), 1);
	char *text = json_dumps(j, 0);
	ck_assert_ptr_nonnull(text);
	free(text);
	json_decref(j);
}
END_TEST

/* ---- the manual page ---- */

static char *read_page(void)
{
	FILE *f = fopen(MANPAGE, "r");
	ck_assert_ptr_nonnull(f);
	char *page = calloc(1, 1 << 20);
	size_t n = fread(page, 1, (1 << 20) - 1, f);
	ck_assert_uint_gt(n, 0);
	fclose(f);
	return page;
}

/* The item of a verb: from its ".It Cm pool create" to the next ".It Cm" or section. */
static char *item_of(const char *page, const char *words)
{
	char start[96];
	snprintf(start, sizeof(start), "\n.It Cm %s", words);
	const char *p = page;
	while ((p = strstr(p, start)) && p[strlen(start)] != ' ' && p[strlen(start)] != '\n')
		p++;
	if (!p)
		return NULL;
	const char *end = strstr(p + 1, "\n.It Cm "), *section = strstr(p + 1, "\n.S");
	if (!end || (section && section < end))
		end = section;
	return strndup(p, end ? (size_t)(end - p) : strlen(p));
}

START_TEST(manual_page_tells_every_verb)
{
	char *page = read_page();
	unsigned verbs = 0, items = 0;
	for (const struct verb *v = verb_table; v->name; v++) {
		if (v->flags & VERB_HIDDEN)
			continue;
		char words[64], option[64];
		snprintf(words, sizeof(words), "%s", v->name);
		if (strchr(words, '.'))
			*strchr(words, '.') = ' ';
		char *item = item_of(page, words);
		ck_assert_msg(item != NULL, "isthmus.1 lacks `%s`", words);
		for (const struct admin_arg *a = v->args; a->name; a++) {
			snprintf(option, sizeof(option),
				 a->flags & ADMIN_POSITIONAL ? " Ar %s" : " Fl -%s", a->name);
			ck_assert_msg(strstr(item, option) != NULL, "isthmus.1: `%s` lacks%s",
				      words, option);
		}
		free(item);
		verbs++;
	}
	for (const char *p = strstr(page, ".Sh VERBS"); (p = strstr(p, "\n.It Cm ")); p++)
		items++;
	ck_assert_uint_eq(items, verbs);
	free(page);
}
END_TEST

START_TEST(help_tells_every_verb)
{
	char *text;
	size_t n;
	FILE *f = open_memstream(&text, &n);
	for (const struct noun *t = noun_table; t->name; t++)
		cli_help_noun(f, t->name);
	cli_help(f);
	fclose(f);
	for (const struct verb *v = verb_table; v->name; v++)
		if (v->flags & VERB_HIDDEN)
			ck_assert_ptr_null(strstr(text, v->help));
		else
			ck_assert_ptr_nonnull(strstr(text, v->help));
	free(text);
}
END_TEST

/* A row with a name, a counter and two histograms of one bucket each. */
static Isthmus__AdminReply *with_latency(unsigned bucket, uint64_t count)
{
	static const char *const names[] = {"lun", "reads", "read_latency", "latency"};
	Isthmus__AdminReply *r = malloc(sizeof(*r));
	Isthmus__AdminTable *t = malloc(sizeof(*t));
	Isthmus__AdminRow *row = malloc(sizeof(*row));
	isthmus__admin_reply__init(r);
	isthmus__admin_table__init(t);
	isthmus__admin_row__init(row);
	t->name = strdup("luns");
	r->tables = calloc(r->n_tables = 1, sizeof(t));
	r->tables[0] = t;
	t->rows = calloc(t->n_rows = 1, sizeof(row));
	t->rows[0] = row;
	row->fields = calloc(row->n_fields = 4, sizeof(row->fields[0]));
	for (unsigned i = 0; i < 4; i++) {
		Isthmus__AdminField *f = row->fields[i] = malloc(sizeof(*f));
		isthmus__admin_field__init(f);
		f->name = strdup(names[i]);
		f->value = malloc(sizeof(*f->value));
		isthmus__admin_value__init(f->value);
		if (i < 2) {
			f->value->kind_case = ISTHMUS__ADMIN_VALUE__KIND_NUMBER;
			f->value->number = count;
			continue;
		}
		Isthmus__AdminHistogram *h = malloc(sizeof(*h));
		isthmus__admin_histogram__init(h);
		h->bucket = malloc(2 * sizeof(h->bucket[0]));
		h->count = malloc(2 * sizeof(h->count[0]));
		h->n_bucket = h->n_count = 2;
		h->bucket[0] = bucket;
		h->count[0] = count;
		h->bucket[1] = UINT32_MAX; /* what no daemon sends harms nothing */
		h->count[1] = UINT64_MAX;
		h->total_ns = count * 1000;
		f->value->kind_case = ISTHMUS__ADMIN_VALUE__KIND_HISTOGRAM;
		f->value->histogram = h;
	}
	return r;
}

static const Isthmus__AdminValue *column(const Isthmus__AdminReply *r, const char *name)
{
	const Isthmus__AdminRow *row = r->tables[0]->rows[0];
	for (size_t i = 0; i < row->n_fields; i++)
		if (strcmp(row->fields[i]->name, name) == 0)
			return row->fields[i]->value;
	return NULL;
}

START_TEST(histograms_become_percentiles)
{
	Isthmus__AdminReply *r = with_latency(20, 10);
	cli_latency_expand(r);
	ck_assert_uint_eq(r->tables[0]->rows[0]->n_fields, 2 + 2 + 5);
	ck_assert_uint_eq(column(r, "reads")->number, 10);
	ck_assert_uint_eq(column(r, "read_p50")->duration_ns, histogram_edge(20));
	ck_assert_uint_eq(column(r, "read_p99")->duration_ns, histogram_edge(20));
	ck_assert_uint_eq(column(r, "average")->duration_ns, 1000);
	ck_assert_uint_eq(column(r, "p999")->duration_ns, histogram_edge(20));
	ck_assert_ptr_null(column(r, "latency"));
	isthmus__admin_reply__free_unpacked(r, NULL);
	/* of nothing there is none */
	r = with_latency(20, 0);
	cli_latency_expand(r);
	ck_assert_int_eq(column(r, "p50")->kind_case, ISTHMUS__ADMIN_VALUE__KIND__NOT_SET);
	isthmus__admin_reply__free_unpacked(r, NULL);
}
END_TEST

START_TEST(top_shows_what_came_between)
{
	Isthmus__AdminReply *old = with_latency(20, 10), *now = with_latency(20, 14);
	Isthmus__AdminReply *other = with_latency(90, 3);
	Isthmus__AdminRow *row = now->tables[0]->rows[0];
	cli_latency_since(row->fields[3]->value, old->tables[0]->rows[0]->fields[3]->value);
	ck_assert_uint_eq(row->fields[3]->value->histogram->count[0], 4);
	ck_assert_uint_eq(row->fields[3]->value->histogram->total_ns, 4000);
	/* a process that began anew: all of it */
	row = other->tables[0]->rows[0];
	cli_latency_since(row->fields[3]->value, old->tables[0]->rows[0]->fields[3]->value);
	ck_assert_uint_eq(row->fields[3]->value->histogram->count[0], 3);
	cli_latency_expand(other);
	ck_assert_uint_eq(column(other, "p50")->duration_ns, histogram_edge(90));
	isthmus__admin_reply__free_unpacked(old, NULL);
	isthmus__admin_reply__free_unpacked(now, NULL);
	isthmus__admin_reply__free_unpacked(other, NULL);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("cli");
	TCase *t = tcase_create("cli");
	tcase_add_test(t, table_is_whole);
	tcase_add_test(t, positions_and_lists);
	tcase_add_test(t, destinations);
	tcase_add_test(t, wrong_words);
	tcase_add_test(t, many_words_are_bounded);
	tcase_add_test(t, secrets_from_files);
	tcase_add_test(t, values_are_shown);
	tcase_add_test(t, tables_are_aligned);
	tcase_add_test(t, json_has_stable_keys);
	tcase_add_test(t, manual_page_tells_every_verb);
	tcase_add_test(t, histograms_become_percentiles);
	tcase_add_test(t, top_shows_what_came_between);
	tcase_add_test(t, help_tells_every_verb);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	cli_release(&c);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
