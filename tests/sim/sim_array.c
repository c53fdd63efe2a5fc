/*
 * Scenario `array`: one controller's block core on simulated disks, users that
 * read, write and flush a volume all at once, and crashes: the process killed
 * (its cache segment lives on), power lost (the segment too, with `memory:
 * volatile`), or a clean stop. After each the core is opened anew and every
 * sector is read. Everything is judged by tests/sim/history.h.
 */
#include "tests/sim/scenario.h"
#include "tests/sim/history.h"
#include "tests/sim/sim_env.h"
#include "tests/sim/sim_faults.h"
#include "blockcore/core_impl.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DISKS_MAX   4
#define DISK_SIZE   DISK_SIZE_MIN
#define VOLUME_SIZE (4 * 1024 * 1024ull)
#define IO_MAX	    (64 * 1024u)
#define USERS	    8

struct array {
	struct sim *sim;
	struct history *history;
	struct sim_disk *disks[DISKS_MAX];
	const char *paths[DISKS_MAX];
	unsigned ndisks;
	const char *level;
	bool battery, redundant, verbose;
	void *segment, *snapshot;
	size_t segment_size;
	struct core *core;
	struct volume *volume;
	bool stop, dead, failed;
	bool power_loss; /* what the next crash is */
	unsigned users_left;
	struct scenario_result *result;
};

struct user {
	struct array *a;
	uint8_t *buf;
};

static void fail(struct array *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void fail(struct array *a, const char *fmt, ...)
{
	va_list ap;
	if (a->failed)
		return;
	a->failed = true;
	va_start(ap, fmt);
	vsnprintf(a->result->why, sizeof(a->result->why), fmt, ap);
	va_end(ap);
}

/* ---- users ---- */

static void copy_iov(const struct iovec *iov, int n, uint8_t *buf, bool to_iov)
{
	for (int i = 0; i < n; i++) {
		memcpy(to_iov ? iov[i].iov_base : (void *)buf,
		       to_iov ? (void *)buf : iov[i].iov_base, iov[i].iov_len);
		buf += iov[i].iov_len;
	}
}

static void pick_range(struct array *a, uint64_t *first, uint64_t *n)
{
	uint64_t sectors = VOLUME_SIZE / HISTORY_SECTOR;
	/* Half of all requests go to a small hot range, so that they meet. */
	if (sim_random_below(a->sim, 2))
		sectors /= 32;
	*n = 1 + sim_random_below(a->sim, sim_random_below(a->sim, 4) ? 16 : IO_MAX / 512);
	*first = sim_random_below(a->sim, sectors - MIN(*n, sectors - 1));
}

static void user_write(struct user *u)
{
	struct array *a = u->a;
	uint64_t first, n, id = history_next_id(a->history);
	bool fua = sim_random_below(a->sim, 8) == 0;
	struct cache_write *w = malloc(sizeof(*w));
	ASSERT(w);
	pick_range(a, &first, &n);
	history_fill(u->buf, first, n, id);
	history_begin(a->history, first, n, id);
	int rc = volume_write_begin(a->volume, first * 512, (uint32_t)n * 512, w);
	if (rc == 0) {
		copy_iov(w->iov, w->n, u->buf, true);
		rc = volume_write_commit(a->volume, w, fua);
	}
	free(w);
	if (a->dead)
		return;
	if (rc) {
		fail(a, "write failed: %s", err_name(rc));
		return;
	}
	history_ack(a->history, first, n, id);
	if (fua)
		history_durable(a->history, first, n, id);
	a->result->writes++;
}

static void user_read(struct user *u, uint64_t first, uint64_t n)
{
	struct array *a = u->a;
	struct cache_read *r = malloc(sizeof(*r));
	char why[160];
	ASSERT(r);
	uint64_t began = history_now(a->history);
	int rc = volume_read(a->volume, first * 512, (uint32_t)n * 512, r);
	if (rc == 0) {
		copy_iov(r->iov, r->n, u->buf, false);
		volume_read_done(a->volume, r);
	}
	free(r);
	if (a->dead)
		return;
	if (rc)
		fail(a, "read failed: %s", err_name(rc));
	else if (history_read(a->history, first, n, began, u->buf, why, sizeof(why)))
		fail(a, "%s", why);
	a->result->reads++;
}

static void user_flush(struct array *a)
{
	uint64_t sent = history_now(a->history);
	int rc = volume_flush(a->volume, 0, VOLUME_SIZE);
	if (a->dead)
		return;
	if (rc)
		fail(a, "flush failed: %s", err_name(rc));
	else
		history_flushed(a->history, 0, VOLUME_SIZE / 512, sent);
	a->result->flushes++;
}

static void user_task(void *arg)
{
	struct user *u = arg;
	struct array *a = u->a;
	while (!a->stop && !a->dead && !a->failed) {
		uint64_t first, n, dice = sim_random_below(a->sim, 100);
		if (dice < 50) {
			user_write(u);
		} else if (dice < 95) {
			pick_range(a, &first, &n);
			user_read(u, first, n);
		} else {
			user_flush(a);
		}
		if (sim_random_below(a->sim, 4) == 0)
			env_sleep_ns(sim_env(a->sim), sim_random_below(a->sim, 300000));
	}
	a->users_left--;
	free(u->buf);
	free(u);
}

static void start_users(struct array *a)
{
	a->stop = a->dead = false;
	for (a->users_left = 0; a->users_left < USERS; a->users_left++) {
		struct user *u = malloc(sizeof(*u));
		ASSERT(u);
		*u = (struct user){.a = a, .buf = malloc(IO_MAX)};
		ASSERT(u->buf && task_start(user_task, u) == 0);
	}
}

/* ---- life of the array ---- */

static void open_task(void *arg)
{
	struct array *a = arg;
	struct core_opts o = {.env = sim_env(a->sim),
			      .controller = "a",
			      .disks = a->paths,
			      .ndisks = a->ndisks,
			      .segment = a->segment,
			      .segment_size = a->segment_size,
			      .battery = a->battery,
			      .array_name = "sim"};
	int rc = core_open(&a->core, &o);
	if (rc) {
		a->core = NULL;
		fail(a, "core_open: %s", err_name(rc));
		return;
	}
	if (core_watch_start(a->core))
		fail(a, "core_watch_start");
	a->volume = core_volume_get_by_name(a->core, "v");
}

static void create_task(void *arg)
{
	struct array *a = arg;
	char why[CORE_WHY_LEN] = "";
	uint32_t id;
	open_task(a);
	if (a->failed)
		return;
	if (core_pool_create(a->core, "p", a->level, 65536, a->paths, a->ndisks, why) ||
	    core_volume_create(a->core, "p", "v", VOLUME_SIZE, &id)) {
		fail(a, "cannot make pool and volume: %s", why);
		return;
	}
	a->volume = core_volume_get(a->core, id);
}

static void verify_task(void *arg)
{
	struct array *a = arg;
	if (!a->volume) {
		fail(a, "the volume is gone");
		return;
	}
	struct user u = {.a = a, .buf = malloc(IO_MAX)};
	ASSERT(u.buf);
	for (uint64_t s = 0; s < VOLUME_SIZE / 512 && !a->failed; s += IO_MAX / 512)
		user_read(&u, s, IO_MAX / 512);
	free(u.buf);
}

/* Copies are not equal yet: dirty pages, or a resync. */
static bool unsettled(struct array *a)
{
	struct core_pool *cp = TAILQ_FIRST(&a->core->pools);
	struct cache_stats s;
	cache_stats(core_cache(a->core), &s);
	return s.dirty > 0 || cp->resyncing || pool_resync_needed(cp->pool);
}

/* Every redundancy copy holds what is read, once all is quiet. */
static void compare_task(void *arg)
{
	struct array *a = arg;
	uint8_t *buf = malloc(2 * IO_MAX);
	struct cache_read *r = malloc(sizeof(*r));
	ASSERT(buf && r);
	for (unsigned i = 0; unsettled(a) && i < 600; i++)
		env_sleep_ns(sim_env(a->sim), NS_PER_S);
	if (unsettled(a))
		fail(a, "destage or resync never ends");
	for (uint64_t off = 0; off < VOLUME_SIZE && !a->failed; off += IO_MAX) {
		if (volume_read(a->volume, off, IO_MAX, r)) {
			fail(a, "read failed");
			break;
		}
		copy_iov(r->iov, r->n, buf, false);
		volume_read_done(a->volume, r);
		for (unsigned copy = 0; !a->failed; copy++) {
			int rc = volume_read_copy(a->volume, buf + IO_MAX, IO_MAX, off, copy);
			if (rc == -ENOENT)
				break;
			if (rc == 0 && memcmp(buf, buf + IO_MAX, IO_MAX) != 0)
				fail(a, "copy %u differs from what is read, 64 KiB at %llu", copy,
				     (unsigned long long)off);
		}
	}
	free(buf);
	free(r);
}

static void close_task(void *arg)
{
	struct array *a = arg;
	core_volume_put(a->volume);
	a->volume = NULL;
	int rc = core_close(a->core);
	if (rc)
		fail(a, "core_close: %s", err_name(rc));
	a->core = NULL;
}

static void abandon_task(void *arg)
{
	struct array *a = arg;
	if (a->volume)
		core_volume_put(a->volume);
	a->volume = NULL;
	if (a->core)
		core_abandon(a->core);
	a->core = NULL;
}

static void run_task(struct array *a, task_fn *fn, const char *what)
{
	int rc = sim_run(a->sim, fn, a);
	if (rc)
		fail(a, "%s: %s", what,
		     rc == -EDEADLK ? "nothing can wake it" : "no end in an hour");
}

static void stop_users(struct array *a)
{
	a->stop = true;
	for (int i = 0; i < 600 && a->users_left; i++)
		sim_run_for(a->sim, NS_PER_S);
	if (a->users_left)
		fail(a, "%u requests wait for ever", a->users_left);
}

/* ---- crashes ---- */

static bool memory_lives(const struct array *a)
{
	return !a->power_loss || a->battery;
}

/* At any instruction: the memory is kept as it is now. */
static void crash_now(void *arg)
{
	struct array *a = arg;
	memcpy(a->snapshot, a->segment, a->segment_size);
	a->dead = true;
	sim_power_off(a->sim);
	history_crash(a->history, !memory_lives(a));
	sim_stop(a->sim);
}

static void crash_aftermath(struct array *a)
{
	stop_users(a);
	run_task(a, abandon_task, "abandon");
	sim_run_for(a->sim, 10 * NS_PER_S);
	if (memory_lives(a))
		memcpy(a->segment, a->snapshot, a->segment_size);
	else
		memset(a->segment, 0, a->segment_size);
	sim_power_on(a->sim, a->power_loss ? SIM_LOSE_RANDOM : SIM_KILL, 0);
	a->dead = false;
}

/* One disk of a redundant pool has a latent error somewhere in its data. Not while copies may
 * differ: an error in the one that was read would rightly show the other. */
static void damage(struct array *a)
{
	if (!a->redundant || sim_random_below(a->sim, 3) ||
	    pool_resync_needed(TAILQ_FIRST(&a->core->pools)->pool))
		return;
	uint64_t off = DISK_DATA_OFF + sim_random_below(a->sim, VOLUME_SIZE / 4096) * 4096;
	sim_disk_bad_range(a->disks[0], off, 4096);
}

/* Under load for a while, at most until the crash at a fault point, if one is to be. */
static void run_load(struct array *a, bool at_point)
{
	if (at_point && sim_faults_count())
		sim_fault_arm((unsigned)sim_random_below(a->sim, sim_faults_count()),
			      1 + sim_random_below(a->sim, 50), crash_now, a);
	sim_run_for(a->sim, 1000000 + sim_random_below(a->sim, 40 * NS_PER_MS));
	sim_faults_disarm();
}

static void one_round(struct array *a, unsigned round)
{
	static const char *const kinds[] = {"kill", "power", "stop"};
	uint64_t kind = sim_random_below(a->sim, 5);
	unsigned k = kind < 2 ? 0 : kind < 4 ? 1 : 2;
	a->power_loss = k == 1;
	if (sim_random_below(a->sim, 3) == 0) /* write-intent maps are swept meanwhile */
		sim_run_for(a->sim, 120 * NS_PER_S);
	start_users(a);
	damage(a);
	run_load(a, k != 2 && sim_random_below(a->sim, 2));
	if (a->verbose)
		printf("  round %u: %s after %llu writes\n", round, kinds[k],
		       (unsigned long long)a->result->writes);
	if (k == 2) {
		stop_users(a);
		run_task(a, close_task, "close");
	} else {
		if (!a->dead)
			crash_now(a);
		crash_aftermath(a);
		a->result->crashes++;
	}
	if (!a->failed)
		run_task(a, open_task, "open");
	if (!a->failed)
		run_task(a, verify_task, "verify");
	if (!a->failed && sim_random_below(a->sim, 2))
		run_task(a, compare_task, "compare");
}

static void choose(struct array *a)
{
	static const struct {
		const char *level;
		unsigned disks;
		bool redundant;
	} levels[] = {{"single", 1, false},
		      {"raid0", 2, false},
		      {"raid1", 2, true},
		      {"raid10", 4, true},
		      /* A bad block and a crash in the same row are two faults. */
		      {"raid5", 3, false},
		      {"raid5", 4, false},
		      {"raid6", 4, false}};
	static const char *const names[DISKS_MAX] = {"d0", "d1", "d2", "d3"};
	uint64_t l = sim_random_below(a->sim, ARRAY_LEN(levels));
	a->level = levels[l].level;
	a->ndisks = levels[l].disks;
	a->redundant = levels[l].redundant;
	a->battery = sim_random_below(a->sim, 3) == 0;
	a->segment_size = (512 + sim_random_below(a->sim, 2048)) * 1024;
	a->segment_size = ROUND_UP(a->segment_size, 4096);
	for (unsigned i = 0; i < a->ndisks; i++) {
		a->paths[i] = names[i];
		a->disks[i] = sim_disk_new(a->sim, names[i], DISK_SIZE);
	}
	ASSERT(posix_memalign(&a->segment, 4096, a->segment_size) == 0);
	ASSERT(posix_memalign(&a->snapshot, 4096, a->segment_size) == 0);
	memset(a->segment, 0, a->segment_size);
	if (a->verbose)
		printf("  %s, memory %s, cache %zu KiB\n", a->level,
		       a->battery ? "battery" : "volatile", a->segment_size / 1024);
}

int scenario_array(uint64_t seed, bool verbose, struct scenario_result *ret)
{
	struct array a = {.verbose = verbose, .result = ret};
	a.sim = sim_new(seed);
	a.history = history_new(VOLUME_SIZE / HISTORY_SECTOR);
	choose(&a);
	run_task(&a, create_task, "create");
	for (unsigned r = 0; r < 4 && !a.failed; r++)
		one_round(&a, r);
	/* A failed run leaves tasks behind: nothing can be freed in order. */
	if (a.failed)
		return -1;
	run_task(&a, close_task, "close");
	sim_run_for(a.sim, 10 * NS_PER_S);
	sim_free(a.sim);
	history_free(a.history);
	free(a.segment);
	free(a.snapshot);
	return a.failed ? -1 : 0;
}
