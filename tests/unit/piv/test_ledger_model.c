/*
 * The ledger against a model: worlds from seeds in which tasks put, drop and sync while volumes
 * refuse, die and come back, and everything ends by a crash, over and over.
 *
 * Every batch of changes that is made without a wait puts a record with a version number too, and
 * what all records are at each version is kept. What is read after a crash has to be exactly one of
 * these versions: that of the last sync that returned, or a later one. When a volume could not be
 * read at the open it may be an older one, until something has been synced anew.
 *
 *   LEDGER_SEEDS=2000 LEDGER_FIRST=1 tests/unit/piv/test_ledger_model
 *   LEDGER_SEEDS=1 LEDGER_FIRST=7 tests/unit/piv/test_ledger_model     tells all that happens
 */
#include <check.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "nasfront/piv/ledger_layout.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include "tests/sim/sim_env.h"

#define VOLUME	 (4ull << 20)
#define KEYS	 96
#define VERSIONS 40000
#define LIVES	 7
#define TASKS	 6
#define SEEDS	 16

/* Stamps of all records at a version; 0: not there. */
struct state {
	uint32_t stamp[KEYS];
};

struct world {
	struct sim *sim;
	uint64_t seed;
	struct sim_disk *disks[2];
	struct bdev *volumes[2];
	struct ledger *l;
	struct state now, *versions;
	bool *dead;	  /* versions that were not there at an open: they never come back */
	uint32_t version; /* the last */
	uint32_t synced;  /* what is read has to be this or later */
	bool loose;	  /* or any: a volume could not be read */
	bool whole;	  /* changes are few enough to stay together */
	bool both;	  /* synced on both volumes */
	uint32_t stamp;
	unsigned max_len, max_batch, tasks;
	bool continuous, ended, broken, verbose;
	bool died; /* a volume, since the open began */
	unsigned long syncs, failed, blind, older;
};

static void say(struct world *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void say(struct world *w, const char *fmt, ...)
{
	va_list ap;
	if (!w->verbose)
		return;
	va_start(ap, fmt);
	printf("  %9.3f ms  ", (double)env_now_ns(sim_env(w->sim)) / 1e6);
	vprintf(fmt, ap);
	puts("");
	va_end(ap);
}

static uint64_t below(struct world *w, uint64_t n)
{
	return sim_random_below(w->sim, n);
}

static bool over(struct world *w)
{
	return w->ended || sim_power_is_off(w->sim);
}

/* ---- records ---- */

static const char version_key[] = "version";

static size_t key_of(unsigned i, char *ret)
{
	return (size_t)sprintf(ret, "%0*u", 3 + (int)(i % 5) * 9, i);
}

/* The stamp says all bytes and, with the world's limit, the length. */
static size_t value_of(const struct world *w, unsigned i, uint32_t stamp, uint8_t *ret)
{
	uint32_t x = stamp * 2654435761u + i;
	size_t len = 4 + (x >> 8) % (w->max_len - 3);
	memcpy(ret, &stamp, 4);
	for (size_t k = 4; k < len; k++)
		ret[k] = (uint8_t)(x + k);
	return len;
}

/* Few enough that a frame takes them all. */
static bool crowd(const struct world *w)
{
	for (unsigned i = 0; i < LEDGER_RINGS; i++)
		if (w->l->rings[i].state == RING_ON &&
		    w->l->rings[i].dirty_bytes + w->max_batch * (w->max_len + 64ul) + 100 >
			LEDGER_WHOLE_BYTES)
			return true;
	return false;
}

static void change_one(struct world *w)
{
	static uint8_t value[LEDGER_VALUE_MAX];
	char key[64];
	unsigned i = (unsigned)below(w, KEYS);
	size_t klen = key_of(i, key);
	if (below(w, 3) == 0) {
		int rc = ledger_drop(w->l, key, klen);
		ck_assert_int_eq(rc, w->now.stamp[i] ? 0 : -ENOENT);
		w->now.stamp[i] = 0;
		return;
	}
	uint32_t stamp = ++w->stamp;
	size_t len = value_of(w, i, stamp, value);
	int rc = ledger_put(w->l, key, klen, value, len);
	if (rc != -ENOSPC) {
		ck_assert_int_eq(rc, 0);
		w->now.stamp[i] = stamp;
	}
}

static void change_some(struct world *w)
{
	if (w->whole && crowd(w))
		return;
	for (uint64_t n = 1 + below(w, w->max_batch); n-- > 0;)
		change_one(w);
	uint32_t v = w->version + 1;
	if (v >= VERSIONS)
		return;
	int rc = ledger_put(w->l, version_key, sizeof(version_key), &v, sizeof(v));
	ck_assert(rc == 0 || rc == -ENOSPC);
	w->version = v;
	w->versions[v] = w->now;
}

/* ---- what is read ---- */

struct reading {
	struct world *w;
	struct state s;
	uint32_t version;
};

static int read_one(void *arg, const void *key, size_t klen, const void *value, size_t vlen)
{
	static uint8_t want[LEDGER_VALUE_MAX];
	struct reading *r = arg;
	char name[64];
	uint32_t stamp;
	ck_assert_uint_ge(vlen, 4);
	memcpy(&stamp, value, 4);
	if (klen == sizeof(version_key) && memcmp(key, version_key, klen) == 0) {
		r->version = stamp;
		return 0;
	}
	ck_assert_uint_lt(klen, sizeof(name));
	memcpy(name, key, klen);
	name[klen] = '\0';
	unsigned i = (unsigned)atoi(name);
	ck_assert_uint_lt(i, KEYS);
	ck_assert_uint_eq(klen, key_of(i, name));
	ck_assert_mem_eq(name, key, klen);
	ck_assert_uint_eq(vlen, value_of(r->w, i, stamp, want));
	ck_assert_mem_eq(value, want, vlen);
	ck_assert_uint_eq(r->s.stamp[i], 0);
	r->s.stamp[i] = stamp;
	return 0;
}

/* Of a world whose frames are cut anywhere: each record by itself is one of those it may be. */
static void check_each(struct world *w, const struct reading *r)
{
	for (unsigned i = 0; i < KEYS; i++) {
		bool found = false;
		for (uint32_t v = w->synced; v <= w->version && !found; v++)
			found = w->versions[v].stamp[i] == r->s.stamp[i];
		ck_assert_msg(found, "seed %lu: key %u is none that it was since version %u",
			      w->seed, i, w->synced);
	}
}

static void check_read(struct world *w, const struct reading *r, bool blind, const char *by)
{
	bool any = w->loose || (blind && !w->both);
	if (!w->whole) {
		if (!any)
			check_each(w, r);
		return;
	}
	ck_assert_uint_le(r->version, w->version);
	ck_assert_msg(memcmp(&w->versions[r->version], &r->s, sizeof(r->s)) == 0,
		      "seed %lu: not as it was at version %u (synced %u), read by %s", w->seed,
		      r->version, w->synced, by);
	ck_assert_msg(any || r->version >= w->synced,
		      "seed %lu: version %u was synced, %u is read by %s%s%s", w->seed, w->synced,
		      r->version, by, blind ? ", blind" : "", w->both ? ", both" : "");
	ck_assert_msg(any || !w->dead[r->version],
		      "seed %lu: version %u came back (synced %u), read by %s", w->seed, r->version,
		      w->synced, by);
	w->older += r->version < w->synced;
}

/* What was loaded is the state now. What a volume that was not read has beyond it may come back, as
 * long as nothing is synced. */
static void adopt(struct world *w, const struct reading *r, bool blind)
{
	if (blind && !w->both)
		w->loose = true;
	w->now = r->s;
	if (!w->whole)
		w->versions[++w->version] = r->s;
	if (blind || w->loose)
		return;
	for (uint32_t v = r->version + 1; v <= w->version && w->whole; v++)
		w->dead[v] = true;
	w->synced = w->whole ? r->version : w->version;
}

/* ---- a life ---- */

static void sync_some(struct world *w)
{
	uint32_t v = w->version;
	struct ledger_stats s;
	int rc = ledger_sync(w->l);
	if (over(w))
		return;
	if (rc) {
		w->failed++;
		return;
	}
	ledger_get_stats(w->l, &s);
	w->syncs++;
	say(w, "version %u is stable%s%s", v, s.on_backup ? ", backup" : "",
	    s.both ? ", both" : "");
	w->synced = MAX(w->synced, v);
	if (s.frames)
		w->loose = false;
	w->both = s.both;
}

static void worker(void *arg)
{
	struct world *w = arg;
	while (!over(w)) {
		change_some(w);
		if (below(w, 3))
			sync_some(w);
		else
			env_sleep_ns(sim_env(w->sim), below(w, 100000));
		if (w->failed && below(w, 2))
			env_sleep_ns(sim_env(w->sim), NS_PER_MS);
		if (below(w, 200) == 0)
			ledger_set_continuous(w->l, w->continuous = below(w, 2));
	}
	w->tasks--;
}

static bool blind(const struct world *w)
{
	struct sim_disk_faults f[2];
	for (unsigned i = 0; i < 2; i++)
		sim_disk_get_faults(w->disks[i], &f[i]);
	return f[0].dead || f[1].dead;
}

/* Another head looks. */
static void look(struct world *w)
{
	struct reading r = {.w = w};
	int rc = ledger_each(w->volumes[0], w->volumes[1], "nas", read_one, &r, NULL);
	if (rc == -ENOENT || rc == -ENODEV || over(w))
		return;
	if (rc && w->died)
		return;
	ck_assert_msg(rc == 0, "seed %lu: a look: %s", w->seed, err_name(rc));
	if (r.version || !w->synced)
		check_read(w, &r, w->died, "another");
}

static void life(void *arg)
{
	struct world *w = arg;
	struct reading r = {.w = w};
	struct ledger_opts o = {.env = sim_env(w->sim),
				.main = w->volumes[0],
				.backup = w->volumes[1],
				.service = "nas",
				.continuous = w->continuous,
				.load = read_one,
				.arg = &r};
	w->died = blind(w);
	if (below(w, 4) == 0)
		look(w);
	int rc = ledger_open(&w->l, &o);
	say(w, "opened: %s, version %u%s", err_name(rc), r.version, w->died ? ", blind" : "");
	if (rc) {
		ck_assert_msg(over(w) || w->died || w->broken, "seed %lu: cannot be opened: %s",
			      w->seed, err_name(rc));
		w->l = NULL;
		w->tasks = 0;
		return;
	}
	bool b = w->died;
	check_read(w, &r, b, "itself");
	w->blind += b;
	if (b && !w->both)
		w->loose = true;
	adopt(w, &r, b);
	struct ledger_stats s;
	ledger_get_stats(w->l, &s);
	w->both = s.both;
	unsigned n = 1 + (unsigned)below(w, TASKS);
	w->tasks = n + 1;
	for (unsigned i = 0; i < n; i++)
		ASSERT(task_start(worker, w) == 0);
	while (w->tasks > 1)
		env_sleep_ns(sim_env(w->sim), 100000);
	ledger_abandon(w->l);
	w->l = NULL;
	w->tasks = 0;
}

/* ---- worlds ---- */

static void faults(struct world *w, unsigned i, unsigned write_ppm, bool dead)
{
	struct sim_disk_faults f = {.latency_min_ns = 10000,
				    .latency_max_ns = 100000,
				    .write_error_ppm = write_ppm,
				    .dead = dead};
	sim_disk_set_faults(w->disks[i], &f);
	w->died |= dead;
	if (write_ppm || dead)
		say(w, "%s: %s", i ? "backup" : "main", dead ? "dead" : "write errors");
}

static void all_well(struct world *w)
{
	for (unsigned i = 0; i < 2; i++)
		faults(w, i, 0, false);
	w->broken = false;
}

static void break_some(struct world *w)
{
	unsigned i = below(w, 3) == 0;
	w->broken = true;
	switch (below(w, 6)) {
	case 0:
	case 1:
		faults(w, i, 1000000, false);
		break;
	case 2:
		faults(w, i, 0, true);
		break;
	case 3:
		faults(w, 0, 200000, false);
		faults(w, 1, 200000, false);
		break;
	case 4:
		faults(w, 0, 1000000, false);
		faults(w, 1, 1000000, false);
		break;
	case 5:
		all_well(w);
		break;
	}
}

static void one_life(struct world *w)
{
	static const enum sim_loss how[] = {SIM_LOSE_RANDOM, SIM_LOSE_RANDOM, SIM_LOSE_ALL,
					    SIM_LOSE_NONE,   SIM_KILL,	      SIM_KILL};
	uint64_t ns = below(w, 3) ? below(w, 4 * NS_PER_MS) : below(w, 25 * NS_PER_MS);
	bool broken = below(w, 3) == 0;
	if (!w->version) /* claims take their time */
		ns += 100 * NS_PER_MS;
	w->ended = false;
	w->failed = 0;
	w->tasks = 1;
	if (below(w, 3) == 0)
		sim_power_off_at_write(w->sim, 1 + below(w, below(w, 2) ? 12 : 200));
	if (below(w, 8) == 0)
		faults(w, (unsigned)below(w, 2), 0, w->broken = true);
	ASSERT(task_start(life, w) == 0);
	for (uint64_t t = 0; t < ns && w->tasks && !sim_power_is_off(w->sim); t += 50000) {
		if (broken && below(w, 10) == 0)
			break_some(w);
		sim_run_for(w->sim, 50000);
	}
	sim_power_off_at_write(w->sim, 0);
	w->ended = true;
	sim_power_off(w->sim);
	for (unsigned i = 0; i < 10000 && w->tasks; i++)
		sim_run_for(w->sim, NS_PER_MS);
	ck_assert_uint_eq(w->tasks, 0);
	say(w, "the end");
	sim_power_on(w->sim, how[below(w, ARRAY_LEN(how))], 0);
	if (below(w, 4)) {
		say(w, "all is well");
		all_well(w);
	}
}

static void format_task(void *arg)
{
	struct world *w = arg;
	struct piv_header h;
	for (unsigned i = 0; i < 2; i++)
		ck_assert_int_eq(piv_format(w->volumes[i], 0, &h), 0);
}

static void run_world(uint64_t seed, bool verbose)
{
	static const unsigned lens[] = {60, 60, 400, 2500, 6000};
	struct world *w = calloc(1, sizeof(*w));
	w->seed = seed;
	w->verbose = verbose;
	w->sim = sim_new(seed);
	w->versions = calloc(VERSIONS + LIVES + 1, sizeof(*w->versions));
	w->dead = calloc(VERSIONS + LIVES + 1, sizeof(*w->dead));
	w->whole = below(w, 4);
	w->max_len = lens[below(w, ARRAY_LEN(lens))];
	w->max_batch = w->max_len > 1000 ? 3 : 8;
	if (!w->whole) {
		w->max_len *= 2;
		w->max_batch *= 3;
	}
	w->continuous = below(w, 2);
	for (unsigned i = 0; i < 2; i++) {
		w->disks[i] = sim_disk_new(w->sim, i ? "backup" : "main", VOLUME);
		w->volumes[i] = sim_disk_open(w->disks[i]);
	}
	all_well(w);
	ck_assert_int_eq(sim_run(w->sim, format_task, w), 0);
	for (unsigned i = 0; i < LIVES; i++)
		one_life(w);
	if (getenv("LEDGER_SEEDS"))
		printf("seed %lu: %u versions, %lu syncs, %lu blind, %lu older%s%s\n", seed,
		       w->version, w->syncs, w->blind, w->older, w->whole ? "" : ", cut",
		       w->continuous ? ", continuous" : "");
	for (unsigned i = 0; i < 2; i++)
		bdev_close(w->volumes[i]);
	sim_free(w->sim);
	free(w->versions);
	free(w->dead);
	free(w);
}

START_TEST(what_was_synced_is_there)
{
	const char *first = getenv("LEDGER_FIRST"), *count = getenv("LEDGER_SEEDS");
	uint64_t from = first ? strtoull(first, NULL, 0) : 1;
	uint64_t n = count ? strtoull(count, NULL, 0) : SEEDS;
	log_set_level(LOG_L_ERROR + 1);
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (uint64_t i = 0; i < n; i++)
		run_world(from + i, count && n == 1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("ledger model");
	TCase *tc = tcase_create("model");
	tcase_set_timeout(tc, 0);
	tcase_add_test(tc, what_was_synced_is_there);
	suite_add_tcase(suite, tc);
	SRunner *sr = srunner_create(suite);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
