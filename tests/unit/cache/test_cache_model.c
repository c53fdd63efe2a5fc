/*
 * Random histories from seeds: many tasks read, write, flush, discard and
 * prefetch a small volume through a tiny cache, while an oracle knows every
 * version of every sector. Commit is one step in the simulator, so a read must return a version
 * that was current at some moment between its call and its return.
 *
 * Each history ends in one of four ways:
 *   calm      all is flushed; the disk holds exactly the last versions
 *   kill      the process dies (at any step; with --enable-faults also inside one), the segment
 *             and the disk live on: what was acknowledged is adopted
 *   power     memory volatile: the segment is gone, the disk loses what it had not flushed: each
 *             sector is at least as new as the last flush or FUA write that returned
 *   battery   memory battery: the disk loses what it had not flushed, the segment lives on:
 *             what was acknowledged is there
 *
 * In mirrored histories there is a partner that goes and comes back. After a kill while all that is
 * dirty has copies the own segment may be lost: the partner takes over with what is in its mirror
 * area.
 *
 * CACHE_MODEL_SEED=n runs one seed, CACHE_MODEL_SEEDS=n so many; CACHE_MODEL_MIRRORED=1: that one
 * is a mirrored history.
 */
#include <stdio.h>
#include "config.h"
#include "runtime/check.h"
#include "runtime/fault.h"
#include "runtime/log.h"
#include "blockcore/mirror/mirror.h"
#include "tests/unit/cache/cache_rig.h"

#define SECTORS	  1024 /* of the volume: 128 pages */
#define TASKS_MAX 12

enum ending { CALM, KILL, POWER, BATTERY, ENDINGS };

struct version {
	uint32_t uid;	   /* 0: zeros */
	uint64_t from, to; /* steps in which it was current */
};

struct history {
	struct version *v;
	unsigned n, cap;
	unsigned stable; /* oldest version that may be found after a power loss */
};

struct op {
	bool committing; /* its sectors may be found old or new after a kill */
	bool atomic;	 /* all of them old, or all new */
	unsigned first, n;
};

static struct {
	struct rig rig;
	uint64_t seed, step;
	enum ending ending;
	struct history sector[SECTORS];
	uint32_t next_uid;
	struct op op[TASKS_MAX];
	unsigned tasks, alive;
	int ops_each;
	bool crashed;
	void *snapshot;
	unsigned corner; /* sectors in which most happens */
	bool discarding[SECTORS];
	unsigned writers[SECTORS];
	uint64_t fault_at, faults_seen;
	uint64_t reads, writes, errors;
	/* mirrored histories */
	bool mirrored, all_copied, copied_at_crash;
	bool when_copied; /* no crash while pages lack copies */
	struct rig partner;
	void *partner_snapshot;
	uint32_t pages, partner_pages;
	uint64_t takeovers, atomics;
} M;

static uint64_t rnd(uint64_t n)
{
	return sim_random_below(M.rig.sim, n);
}

static void push(unsigned s, uint32_t uid)
{
	struct history *h = &M.sector[s];
	if (h->n == h->cap) {
		h->cap = h->cap ? h->cap * 2 : 8;
		h->v = realloc(h->v, h->cap * sizeof(*h->v));
	}
	if (h->n)
		h->v[h->n - 1].to = M.step;
	h->v[h->n++] = (struct version){uid, M.step, UINT64_MAX};
}

static void paint(void *p, unsigned sector, uint32_t uid)
{
	uint32_t *w = p;
	for (int i = 0; i < 128; i += 2) {
		w[i] = uid ? sector : 0;
		w[i + 1] = uid;
	}
}

/* The version a sector's bytes show; fails when they are not one whole version of this sector. */
static uint32_t look(const void *p, unsigned sector)
{
	const uint32_t *w = p;
	for (int i = 0; i < 128; i += 2)
		if (w[i + 1] != w[1] || w[i] != (w[1] ? sector : 0))
			ck_abort_msg("seed %llu: sector %u holds a mix or another's data "
				     "(%u/%u, %u/%u)",
				     (unsigned long long)M.seed, sector, w[0], w[1], w[i],
				     w[i + 1]);
	return w[1];
}

/* A read that lasted from step `from` to `to` returned p. */
static void check_read(const uint8_t *p, unsigned s, uint64_t from, uint64_t to)
{
	uint32_t uid = look(p, s);
	struct history *h = &M.sector[s];
	for (unsigned i = h->n; i-- > 0;)
		if (h->v[i].uid == uid && h->v[i].from <= to && h->v[i].to >= from)
			return;
	ck_abort_msg("seed %llu step %llu: sector %u read as version %u, current is %u",
		     (unsigned long long)M.seed, (unsigned long long)M.step, s, uid,
		     h->v[h->n - 1].uid);
}

static void pick_range(unsigned *first, unsigned *n)
{
	static const unsigned sizes[] = {1, 2, 7, 8, 8, 8, 16, 24, 64, 160};
	*n = sizes[rnd(ARRAY_LEN(sizes))];
	*first = (unsigned)rnd(SECTORS - *n + 1);
	if (rnd(2))
		*first = *first / 8 * 8;
	if (rnd(2))
		*first %= M.corner; /* a hot corner */
}

static void do_read(void)
{
	unsigned first, n;
	struct cache_read r;
	pick_range(&first, &n);
	uint64_t from = ++M.step;
	int rc = rnd(4) ? cache_read(M.rig.vol, first * 512ull, n * 512, &r)
			: cache_read_try(M.rig.vol, first * 512ull, n * 512, &r);
	if (rc) {
		M.errors += rc != -EAGAIN;
		return;
	}
	uint64_t to = M.step;
	if (rnd(8) == 0)
		env_sleep_ns(sim_env(M.rig.sim), rnd(NS_PER_MS));
	M.reads++;
	unsigned s = first;
	for (int i = 0; i < r.n && !M.crashed; i++)
		for (size_t k = 0; k < r.iov[i].iov_len; k += 512)
			check_read((uint8_t *)r.iov[i].iov_base + k, s++, from, to);
	cache_read_done(M.rig.vol, &r);
}

/* The test's own exclusion of discards and writes: then a discard has one place in the order. */
static bool claim(unsigned first, unsigned n, bool discard)
{
	for (unsigned s = first; s < first + n; s++)
		if (M.discarding[s] || (discard && M.writers[s]))
			return false;
	for (unsigned s = first; s < first + n; s++) {
		M.discarding[s] = discard;
		M.writers[s] += !discard;
	}
	return true;
}

static void unclaim(unsigned first, unsigned n, bool discard)
{
	for (unsigned s = first; s < first + n; s++) {
		if (discard)
			M.discarding[s] = false;
		else
			M.writers[s]--;
	}
}

static void stable_upto(unsigned s, unsigned index)
{
	M.sector[s].stable = MAX(M.sector[s].stable, index);
}

/* All at once; nothing of it may be found without the rest. */
static void commit_atomic(struct op *op, struct cache_write *w, unsigned first, unsigned n,
			  uint32_t uid)
{
	M.step++;
	for (unsigned s = first; s < first + n; s++)
		push(s, uid);
	*op = (struct op){true, true, first, n};
	int rc = cache_write_commit_if(M.rig.vol, w, NULL, NULL);
	ck_assert_int_eq(rc, 0);
	if (M.crashed)
		return;
	op->committing = false;
	M.writes++;
	M.atomics++;
}

static void commit(struct op *op, struct cache_write *w, unsigned first, unsigned n, uint32_t uid)
{
	unsigned index[SECTORS];
	bool fua = rnd(5) == 0;
	M.step++;
	for (unsigned s = first; s < first + n; s++) {
		push(s, uid);
		index[s] = M.sector[s].n - 1;
	}
	*op = (struct op){true, false, first, n};
	int rc = cache_write_commit(M.rig.vol, w, fua);
	if (M.crashed)
		return;
	op->committing = false;
	M.writes++;
	M.errors += rc != 0;
	ck_assert(rc == 0 || fua);
	for (unsigned s = first; rc == 0 && fua && s < first + n; s++)
		stable_upto(s, index[s]);
}

static void do_write(struct op *op)
{
	unsigned first, n;
	struct cache_write w;
	pick_range(&first, &n);
	if (!claim(first, n, false))
		return;
	int rc = rnd(4) ? cache_write_begin(M.rig.vol, first * 512ull, n * 512, &w)
			: cache_write_try_begin(M.rig.vol, first * 512ull, n * 512, &w);
	if (rc == 0) {
		uint32_t uid = ++M.next_uid;
		unsigned s = first;
		for (int i = 0; i < w.n; i++)
			for (size_t k = 0; k < w.iov[i].iov_len; k += 512)
				paint((uint8_t *)w.iov[i].iov_base + k, s++, uid);
		ck_assert_uint_eq(s, first + n);
		if (rnd(4) == 0) {
			cache_write_received(M.rig.vol, &w, (uint32_t)rnd(n * 512 + 1));
			env_sleep_ns(sim_env(M.rig.sim), rnd(NS_PER_MS));
		}
		if (M.crashed || rnd(20) == 0)
			cache_write_abort(M.rig.vol, &w);
		else if (rnd(8) == 0)
			commit_atomic(op, &w, first, n, uid);
		else
			commit(op, &w, first, n, uid);
	}
	unclaim(first, n, false);
}

static void do_flush(void)
{
	unsigned first, n;
	unsigned index[SECTORS];
	pick_range(&first, &n);
	if (rnd(3) == 0) {
		first = 0;
		n = SECTORS;
	}
	for (unsigned s = first; s < first + n; s++)
		/* A discard that has not returned promises nothing. */
		index[s] = M.sector[s].n - 1 - (M.discarding[s] && M.sector[s].n > 1);
	int rc = cache_flush(M.rig.vol, first * 512ull, n * 512ull);
	M.errors += rc != 0;
	for (unsigned s = first; !M.crashed && rc == 0 && s < first + n; s++)
		stable_upto(s, index[s]);
}

static void do_discard(struct op *op)
{
	unsigned first, n;
	pick_range(&first, &n);
	if (!claim(first, n, true))
		return;
	M.step++;
	for (unsigned s = first; s < first + n; s++) {
		push(s, 0);
		M.sector[s].v[M.sector[s].n - 2].to = UINT64_MAX; /* until it returns */
	}
	*op = (struct op){true, false, first, n};
	/* Refused while the disk takes no data; done by halves it is not in the oracle's words. */
	while (cache_discard(M.rig.vol, first * 512ull, n * 512ull) && !M.crashed) {
		cache_flush(M.rig.vol, 0, 0);
		env_sleep_ns(sim_env(M.rig.sim), NS_PER_MS);
	}
	if (M.crashed)
		return;
	op->committing = false;
	for (unsigned s = first; s < first + n; s++)
		M.sector[s].v[M.sector[s].n - 2].to = M.step;
	M.step++;
	unclaim(first, n, true);
}

static void worker(void *arg)
{
	struct op *op = arg;
	for (int i = 0; i < M.ops_each && !M.crashed; i++) {
		unsigned what = (unsigned)rnd(100);
		if (what < 45)
			do_read();
		else if (what < 85)
			do_write(op);
		else if (what < 92)
			do_flush();
		else if (what < 95)
			do_discard(op);
		else if (what < 97)
			cache_prefetch(M.rig.vol, rnd(SECTORS) * 512, 65536);
		else
			env_sleep_ns(sim_env(M.rig.sim), rnd(5 * NS_PER_MS));
		if (rnd(3) == 0)
			task_yield();
	}
	M.alive--;
}

static void *snapshot(const struct rig *r)
{
	void *p = malloc(r->segment_size);
	memcpy(p, r->segment, r->segment_size);
	return p;
}

static void crash(void)
{
	if (M.crashed || M.ending == CALM)
		return;
	M.crashed = true;
	M.snapshot = snapshot(&M.rig);
	if (M.mirrored)
		M.partner_snapshot = snapshot(&M.partner);
	M.copied_at_crash = M.all_copied;
	sim_power_off(M.rig.sim);
}

#ifdef WITH_FAULTS
static void at_fault(const char *name, void *arg)
{
	if (M.when_copied && !M.all_copied)
		return;
	if (++M.faults_seen == M.fault_at)
		crash();
}
#endif

static void crash_timer(void *arg)
{
	crash();
}

/* ---- the partner ---- */

static struct cache_opts model_opts(bool partner)
{
	struct cache_opts o = rig_opts(partner ? &M.partner : &M.rig);
	if (!M.mirrored)
		return o;
	o.controller = partner ? "b" : "a";
	o.partner_pages = partner ? M.pages : M.partner_pages;
	o.mirror_share = 35;
	return o;
}

static void model_open(bool partner)
{
	struct rig *r = partner ? &M.partner : &M.rig;
	struct cache_opts o = model_opts(partner);
	ck_assert_int_eq(cache_open(&r->cache, &o, &r->adopted), 0);
}

static void partner_init(void)
{
	size_t size = M.rig.segment_size + rnd(60) * 4200;
	M.partner = (struct rig){.sim = M.rig.sim, .bdev = M.rig.bdev, .segment_size = size};
	M.partner.battery = M.rig.battery;
	ck_assert_int_eq(posix_memalign(&M.partner.segment, 4096, size), 0);
	memset(M.partner.segment, 0, size);
	M.pages = cache_segment_pages(M.rig.segment_size, 4096);
	M.partner_pages = cache_segment_pages(size, 4096);
}

/* What control memory is told. */
static void copied(void *arg)
{
	M.all_copied = true;
}

static void not_copied(void *arg)
{
	M.all_copied = false;
}

/* Its process starts, on the segment it left or (after a power loss there) on an empty one. */
static void partner_start(void)
{
	struct mirror_join j = {
	    .segment = M.partner.segment, .segment_size = M.partner.segment_size, .on = copied};
	if (rnd(2))
		memset(M.partner.segment, 0, M.partner.segment_size);
	model_open(true);
	cache_close(M.partner.cache, true);
	int rc = cache_mirror_join(M.rig.cache, &j);
	ck_assert(rc == 0 || M.crashed);
}

static void partner_task(void *arg)
{
	while (M.alive > 1 && !M.crashed) {
		env_sleep_ns(sim_env(M.rig.sim), rnd(4) ? rnd(20 * NS_PER_MS) : rnd(NS_PER_MS));
		if (M.crashed)
			break;
		if (cache_mirror_state(M.rig.cache) == MIRROR_LONE)
			partner_start();
		else if (rnd(8) == 0)
			cache_mirror_part(M.rig.cache, not_copied, NULL);
	}
	M.alive--;
}

static void scenario(void *arg)
{
	struct env *e = sim_env(M.rig.sim);
	bool started = M.rig.battery || M.mirrored || rnd(8);
	if (started)
		ck_assert_int_eq(cache_start(M.rig.cache), 0);
	struct env_timer t = {.fn = crash_timer};
	bool by_time = true;
#ifdef WITH_FAULTS
	by_time = rnd(3) == 0;
	M.fault_at = by_time ? 0 : 1 + rnd(M.mirrored ? 1500 : 4000);
	M.when_copied = M.mirrored && rnd(4);
	fault_set_hook(at_fault, NULL);
#endif
	if (M.ending != CALM && by_time)
		env_timer_start(e, &t, rnd(200 * NS_PER_MS));
	for (unsigned i = 0; i < M.tasks; i++)
		ck_assert_int_eq(task_start(worker, &M.op[i]), 0);
	if (M.mirrored) {
		M.alive++;
		ck_assert_int_eq(task_start(partner_task, NULL), 0);
	}
	while (M.alive) {
		env_sleep_ns(e, NS_PER_MS);
		if (!started)
			cache_flush(M.rig.vol, 0, 0);
	}
	env_timer_stop(e, &t);
	crash();
#ifdef WITH_FAULTS
	fault_set_hook(NULL, NULL);
#endif
	if (M.crashed) {
		cache_close(M.rig.cache, true);
		return;
	}
	struct sim_disk_faults none = {.latency_max_ns = 1000};
	sim_disk_set_faults(M.rig.disk, &none);
	ck_assert_int_eq(cache_close(M.rig.cache, false), 0);
}

/* Of an atomic write under way all was found old, or all new. */
static void verify_atomic(const uint32_t *found)
{
	for (unsigned i = 0; i < M.tasks; i++) {
		const struct op *op = &M.op[i];
		unsigned new = 0, seen = 0;
		if (!op->committing || !op->atomic)
			continue;
		for (unsigned s = op->first; s < op->first + op->n; s++) {
			struct history *h = &M.sector[s];
			uint32_t mine = h->v[h->n - 1].uid;
			seen++;
			new += found[s] == mine;
		}
		if (new != 0 && new != seen)
			ck_abort_msg("seed %llu: %u of %u sectors of an atomic write are there",
				     (unsigned long long)M.seed, new, seen);
	}
}

static bool in_flight(unsigned s)
{
	for (unsigned i = 0; i < M.tasks; i++)
		if (M.op[i].committing && s >= M.op[i].first && s < M.op[i].first + M.op[i].n)
			return true;
	return false;
}

/* The last version, or while its commit was under way the one before. */
static bool is_current(unsigned s, uint32_t uid)
{
	struct history *h = &M.sector[s];
	if (h->v[h->n - 1].uid == uid)
		return true;
	return in_flight(s) && h->n > 1 && h->v[h->n - 2].uid == uid;
}

static bool is_stable_or_newer(unsigned s, uint32_t uid)
{
	struct history *h = &M.sector[s];
	for (unsigned i = h->stable; i < h->n; i++)
		if (h->v[i].uid == uid)
			return true;
	return false;
}

/* After the crash: every sector through a new cache. */
static void verify(void *arg)
{
	static uint32_t found[SECTORS];
	for (unsigned s = 0; s < SECTORS; s += 8) {
		struct cache_read r;
		ck_assert_int_eq(cache_read(M.rig.vol, s * 512ull, 4096, &r), 0);
		for (unsigned k = 0; k < 8; k++) {
			struct history *h = &M.sector[s + k];
			uint32_t uid = look((uint8_t *)r.iov[0].iov_base + k * 512, s + k);
			bool ok = M.ending == POWER ? is_stable_or_newer(s + k, uid)
						    : is_current(s + k, uid);
			found[s + k] = uid;
			if (!ok)
				ck_abort_msg("seed %llu ending %d: sector %u is version %u; "
					     "stable %u, last %u",
					     (unsigned long long)M.seed, M.ending, s + k, uid,
					     h->v[h->stable].uid, h->v[h->n - 1].uid);
		}
		cache_read_done(M.rig.vol, &r);
	}
	if (M.ending != POWER)
		verify_atomic(found);
	/* What is found is what there is from now on. */
	for (unsigned s = 0; s < SECTORS; s++)
		M.sector[s].v[M.sector[s].n - 1].uid = found[s];
	ck_assert_int_eq(cache_close(M.rig.cache, false), 0);
}

static bool want_any(void *arg, uint32_t volume)
{
	return true;
}

/* The partner goes on, with what is in its memory. */
static void take_over(void)
{
	uint32_t n;
	model_open(true);
	ck_assert_int_eq(cache_mirror_adopt(M.partner.cache, want_any, NULL, &n), 0);
	ck_assert_int_eq(cache_vol_attach(M.partner.cache, 1, M.rig.bdev, &M.rig.vol), 0);
	M.rig.cache = M.partner.cache;
	M.takeovers++;
}

static void reopen_and_verify(void)
{
	static const enum sim_loss loss[ENDINGS] = {
	    [KILL] = SIM_KILL, [POWER] = SIM_LOSE_RANDOM, [BATTERY] = SIM_LOSE_RANDOM};
	struct sim_disk_faults none = {.latency_max_ns = 1000};
	sim_disk_set_faults(M.rig.disk, &none);
	sim_power_on(M.rig.sim, loss[M.ending], 0);
	if (M.ending == POWER)
		memset(M.rig.segment, 0, M.rig.segment_size);
	else
		memcpy(M.rig.segment, M.snapshot, M.rig.segment_size);
	free(M.snapshot);
	if (M.mirrored)
		memcpy(M.partner.segment, M.partner_snapshot, M.partner.segment_size);
	free(M.partner_snapshot);
	if (M.mirrored && M.copied_at_crash && rnd(4)) {
		take_over();
	} else {
		model_open(false);
		ck_assert_int_eq(cache_vol_attach(M.rig.cache, 1, M.rig.bdev, &M.rig.vol), 0);
	}
	ck_assert_int_eq(sim_run(M.rig.sim, verify, NULL), 0);
}

static void verify_disk(void)
{
	const uint8_t *b = sim_disk_bytes(M.rig.disk);
	for (unsigned s = 0; s < SECTORS; s++)
		ck_assert_uint_eq(look(b + s * 512, s), M.sector[s].v[M.sector[s].n - 1].uid);
}

/* Calls overtake each other by far, and some fail. */
static void make_disk_uneven(unsigned ppm)
{
	struct sim_disk_faults f = {.latency_min_ns = 10000,
				    .latency_max_ns = 20000000,
				    .read_error_ppm = ppm,
				    .write_error_ppm = ppm,
				    .flush_error_ppm = ppm};
	sim_disk_set_faults(M.rig.disk, &f);
}

static void run_seed(uint64_t seed, bool mirrored)
{
	memset(&M, 0, sizeof(M));
	M.seed = seed;
	M.mirrored = mirrored;
	M.ending = (enum ending)(seed % ENDINGS);
	M.rig.battery = M.ending == BATTERY || (M.ending != POWER && seed % 17 == 0);
	rig_init(&M.rig, seed, (mirrored ? 140 : 66) + (unsigned)(seed * 7 % 150), SECTORS * 512);
	if (mirrored)
		partner_init();
	M.tasks = M.alive = 1 + (unsigned)rnd(TASKS_MAX);
	M.ops_each = 10 + (int)rnd(150);
	for (unsigned s = 0; s < SECTORS; s++)
		push(s, 0);
	M.corner = 8u << rnd(5);
	if (rnd(2))
		make_disk_uneven(rnd(2) ? (unsigned)rnd(200000) : 0);
	model_open(false);
	ck_assert_int_eq(cache_vol_attach(M.rig.cache, 1, M.rig.bdev, &M.rig.vol), 0);
	int rc = sim_run(M.rig.sim, scenario, NULL);
	if (rc) {
		struct cache_stats st;
		cache_stats(M.rig.cache, &st);
		ck_abort_msg(
		    "seed %llu: the simulation ended with %d; crashed %d, tasks %u, pages: "
		    "free %u clean %u dirty %u of %u, orphans %u",
		    (unsigned long long)seed, rc, M.crashed, M.alive, st.free, st.clean, st.dirty,
		    st.npages, st.orphans);
	}
	if (M.crashed)
		reopen_and_verify();
	verify_disk();
	for (unsigned s = 0; s < SECTORS; s++)
		free(M.sector[s].v);
	free(M.partner.segment);
	rig_free(&M.rig);
}

static uint64_t number(const char *name, uint64_t other)
{
	const char *v = getenv(name);
	return v ? strtoull(v, NULL, 0) : other;
}

static void run_seeds(bool mirrored)
{
	uint64_t one = number("CACHE_MODEL_SEED", 0), n = number("CACHE_MODEL_SEEDS", 300);
	uint64_t reads = 0, writes = 0, errors = 0, takeovers = 0, atomics = 0;
	log_set_level(LOG_L_ERROR);
	if (one && mirrored == (number("CACHE_MODEL_MIRRORED", 0) != 0))
		run_seed(one, mirrored);
	for (uint64_t seed = 1; !one && seed <= n; seed++) {
		run_seed(seed, mirrored);
		reads += M.reads;
		writes += M.writes;
		errors += M.errors;
		takeovers += M.takeovers;
		atomics += M.atomics;
	}
	if (!one) {
		ck_assert_uint_gt(reads, n * 20);
		ck_assert_uint_gt(writes, n * 20);
		ck_assert_uint_gt(errors, 0);
		ck_assert_uint_gt(atomics, n);
		ck_assert(!mirrored || takeovers > n / 10);
	}
}

START_TEST(histories_are_explained)
{
	run_seeds(false);
}
END_TEST

START_TEST(mirrored_histories_are_explained)
{
	run_seeds(true);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("cache_model");
	TCase *t = tcase_create("seeds");
	tcase_set_timeout(t, 600);
	tcase_add_test(t, histories_are_explained);
	tcase_add_test(t, mirrored_histories_are_explained);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
