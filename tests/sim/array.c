/* See array.h. */
#include "tests/sim/array.h"
#include "tests/sim/sim_faults.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct user {
	struct array *a;
	unsigned number;
	uint8_t *buf;
};

/* ---- made and freed ---- */

void array_init(struct array *a, struct sim *sim, bool verbose, struct scenario_result *result)
{
	*a = (struct array){
	    .sim = sim, .verbose = verbose, .result = result, .chunk = 65536, .size = VOLUME_SIZE};
	a->history = history_new(ARRAY_SIZE_MAX / HISTORY_SECTOR);
}

void array_memory(struct array *a)
{
	static const char *const names[ARRAY_DISKS_MAX] = {"d0", "d1", "d2", "d3",
							   "d4", "d5", "d6", "d7"};
	a->segment_size = (512 + sim_random_below(a->sim, 2048)) * 1024;
	a->segment_size = ROUND_UP(a->segment_size, 4096);
	for (unsigned i = 0; i < a->ndisks; i++) {
		a->paths[i] = names[i];
		a->disks[i] = sim_disk_new(a->sim, names[i], DISK_SIZE_MIN);
	}
	ASSERT(posix_memalign(&a->segment, 4096, a->segment_size) == 0);
	ASSERT(posix_memalign(&a->snapshot, 4096, a->segment_size) == 0);
	memset(a->segment, 0, a->segment_size);
	if (a->verbose)
		printf("  %s of %u disks, memory %s, cache %zu KiB\n", a->level, a->pool_disks,
		       a->battery ? "battery" : "volatile", a->segment_size / 1024);
}

void array_fini(struct array *a)
{
	sim_run_for(a->sim, 10 * NS_PER_S);
	sim_free(a->sim);
	history_free(a->history);
	free(a->segment);
	free(a->snapshot);
}

void array_fail(struct array *a, const char *fmt, ...)
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
	uint64_t sectors = a->size / HISTORY_SECTOR;
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
		array_fail(a, "write failed: %s", err_name(rc));
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
		array_fail(a, "read failed: %s", err_name(rc));
	else if (history_read(a->history, first, n, began, u->buf, why, sizeof(why)))
		array_fail(a, "%s", why);
	a->result->reads++;
}

static void user_flush(struct array *a)
{
	uint64_t sent = history_now(a->history), size = a->size;
	int rc = volume_flush(a->volume, 0, size);
	if (a->dead)
		return;
	if (rc)
		array_fail(a, "flush failed: %s", err_name(rc));
	else
		history_flushed(a->history, 0, size / 512, sent);
	a->result->flushes++;
}

static void user_task(void *arg)
{
	struct user *u = arg;
	struct array *a = u->a;
	while (!a->stop && !a->dead && !a->failed) {
		uint64_t first, n, dice = sim_random_below(a->sim, 100);
		a->began_ns[u->number] = env_now_ns(sim_env(a->sim)) + 1;
		if (dice < 50) {
			user_write(u);
		} else if (dice < 95) {
			pick_range(a, &first, &n);
			user_read(u, first, n);
		} else {
			user_flush(a);
		}
		a->began_ns[u->number] = 0;
		if (sim_random_below(a->sim, 4) == 0)
			env_sleep_ns(sim_env(a->sim), sim_random_below(a->sim, 300000));
	}
	a->users_left--;
	free(u->buf);
	free(u);
}

void array_users_start(struct array *a)
{
	a->stop = a->dead = false;
	memset(a->began_ns, 0, sizeof(a->began_ns));
	for (a->users_left = 0; a->users_left < USERS; a->users_left++) {
		struct user *u = malloc(sizeof(*u));
		ASSERT(u);
		*u = (struct user){.a = a, .number = a->users_left, .buf = malloc(IO_MAX)};
		ASSERT(u->buf && task_start(user_task, u) == 0);
	}
}

uint64_t array_oldest_ns(const struct array *a)
{
	uint64_t oldest = env_now_ns(sim_env(a->sim));
	for (unsigned i = 0; i < USERS; i++)
		if (a->began_ns[i])
			oldest = MIN(oldest, a->began_ns[i]);
	return oldest;
}

/* ---- life of the array ---- */

void array_open(void *arg)
{
	struct array *a = arg;
	struct core_opts o = {.env = sim_env(a->sim),
			      .disk_timeout_s = ARRAY_DISK_TIMEOUT_S,
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
		if (!a->dead)
			array_fail(a, "core_open: %s", err_name(rc));
		return;
	}
	if (core_watch_start(a->core))
		array_fail(a, "core_watch_start");
	a->volume = core_volume_get_by_name(a->core, "v");
}

void array_create(void *arg)
{
	struct array *a = arg;
	char why[CORE_WHY_LEN] = "";
	uint32_t id;
	array_open(a);
	if (a->failed)
		return;
	if (core_pool_create(a->core, "p", a->level, a->chunk, a->checksums, a->paths,
			     a->pool_disks, why) ||
	    core_volume_create(a->core, "p", "v", VOLUME_SIZE, &id)) {
		array_fail(a, "cannot make pool and volume: %s", why);
		return;
	}
	a->volume = core_volume_get(a->core, id);
}

void array_verify(void *arg)
{
	struct array *a = arg;
	if (!a->volume) {
		if (!a->dead)
			array_fail(a, "the volume is gone");
		return;
	}
	struct user u = {.a = a, .buf = malloc(IO_MAX)};
	ASSERT(u.buf);
	for (uint64_t s = 0; s < a->size / 512 && !a->failed && !a->dead; s += IO_MAX / 512)
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
void array_compare(void *arg)
{
	struct array *a = arg;
	uint8_t *buf = malloc(2 * IO_MAX);
	struct cache_read *r = malloc(sizeof(*r));
	ASSERT(buf && r);
	for (unsigned i = 0; unsettled(a) && i < 600; i++)
		env_sleep_ns(sim_env(a->sim), NS_PER_S);
	if (unsettled(a))
		array_fail(a, "destage or resync never ends");
	for (uint64_t off = 0; off < a->size && !a->failed; off += IO_MAX) {
		if (volume_read(a->volume, off, IO_MAX, r)) {
			array_fail(a, "read failed");
			break;
		}
		copy_iov(r->iov, r->n, buf, false);
		volume_read_done(a->volume, r);
		for (unsigned copy = 0; !a->failed; copy++) {
			int rc = volume_read_copy(a->volume, buf + IO_MAX, IO_MAX, off, copy);
			if (rc == -ENOENT)
				break;
			if (rc == 0 && memcmp(buf, buf + IO_MAX, IO_MAX) != 0)
				array_fail(a, "copy %u differs from what is read, 64 KiB at %llu",
					   copy, (unsigned long long)off);
		}
	}
	free(buf);
	free(r);
}

void array_close(void *arg)
{
	struct array *a = arg;
	core_volume_put(a->volume);
	a->volume = NULL;
	int rc = core_close(a->core);
	if (rc && !a->dead)
		array_fail(a, "core_close: %s", err_name(rc));
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

void array_run(struct array *a, task_fn *fn, const char *what)
{
	int rc = sim_run(a->sim, fn, a);
	if (rc)
		array_fail(a, "%s: %s", what,
			   rc == -EDEADLK ? "nothing can wake it" : "no end in an hour");
}

void array_users_stop(struct array *a)
{
	a->stop = true;
	for (int i = 0; i < 600 && a->users_left; i++)
		sim_run_for(a->sim, NS_PER_S);
	if (a->users_left)
		array_fail(a, "%u requests wait for ever", a->users_left);
}

/* ---- crashes ---- */

static bool memory_lives(const struct array *a)
{
	return !a->power_loss || a->battery;
}

static bool is_of(const void *module, const char *name)
{
	return strncmp(name, module, strlen(module)) == 0;
}

bool array_pick_point(struct array *a, const char *module, unsigned *ret)
{
	return sim_fault_choose(sim_random(a->sim), is_of, module, ret);
}

/* At any instruction: the memory is kept as it is now. */
void array_crash_now(void *arg)
{
	struct array *a = arg;
	memcpy(a->snapshot, a->segment, a->segment_size);
	a->dead = true;
	sim_power_off(a->sim);
	history_crash(a->history, !memory_lives(a));
	sim_stop(a->sim);
}

void array_crash_after(struct array *a)
{
	array_users_stop(a);
	array_run(a, abandon_task, "abandon");
	sim_run_for(a->sim, 10 * NS_PER_S);
	if (memory_lives(a))
		memcpy(a->segment, a->snapshot, a->segment_size);
	else
		memset(a->segment, 0, a->segment_size);
	sim_power_on(a->sim, a->power_loss ? SIM_LOSE_RANDOM : SIM_KILL, 0);
	a->dead = false;
}
