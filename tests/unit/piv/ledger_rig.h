/* Two PIV volumes on simulated disks and a service on them; for test programs of the ledger. */
#ifndef ISTHMUS_TESTS_UNIT_PIV_LEDGER_RIG_H
#define ISTHMUS_TESTS_UNIT_PIV_LEDGER_RIG_H

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "nasfront/piv/ledger_layout.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include "tests/sim/sim_env.h"

#define VOLUME (4ull << 20)

static struct sim *sim;
static uint64_t seed = 7;
static struct sim_disk *disks[2];
static struct bdev *volumes[2];

static inline void format_task(void *arg)
{
	struct piv_header h;
	for (unsigned i = 0; i < 2; i++)
		ck_assert_int_eq(piv_format(volumes[i], 5, &h), 0);
}

static inline void setup(void)
{
	log_set_level(LOG_L_ERROR + 1);
	sim = sim_new(seed);
	for (unsigned i = 0; i < 2; i++) {
		disks[i] = sim_disk_new(sim, i ? "backup" : "main", VOLUME);
		volumes[i] = sim_disk_open(disks[i]);
	}
	ck_assert_int_eq(sim_run(sim, format_task, NULL), 0);
}

static inline void teardown(void)
{
	for (unsigned i = 0; i < 2; i++)
		bdev_close(volumes[i]);
	sim_free(sim);
}

static inline void faults(unsigned i, unsigned write_ppm, bool dead)
{
	struct sim_disk_faults f;
	sim_disk_get_faults(disks[i], &f);
	f.write_error_ppm = write_ppm;
	f.dead = dead;
	sim_disk_set_faults(disks[i], &f);
}

static inline struct ledger_opts opts(bool main, bool backup)
{
	return (struct ledger_opts){.env = sim_env(sim),
				    .main = main ? volumes[0] : NULL,
				    .backup = backup ? volumes[1] : NULL,
				    .group_id = 5,
				    .service = "nas1"};
}

static inline struct ledger *open_on(bool main, bool backup)
{
	struct ledger_opts o = opts(main, backup);
	struct ledger *l;
	ck_assert_int_eq(ledger_open(&l, &o), 0);
	return l;
}

static inline int open_rc(bool main, bool backup)
{
	struct ledger_opts o = opts(main, backup);
	struct ledger *l;
	int rc = ledger_open(&l, &o);
	if (rc == 0)
		ledger_abandon(l);
	return rc;
}

static inline int put(struct ledger *l, const char *key, const char *value)
{
	return ledger_put(l, key, strlen(key), value, strlen(value));
}

static inline int drop(struct ledger *l, const char *key)
{
	return ledger_drop(l, key, strlen(key));
}

static inline void is(struct ledger *l, const char *key, const char *value)
{
	size_t n;
	const char *v = ledger_get(l, key, strlen(key), &n);
	if (!value) {
		ck_assert_ptr_null(v);
		return;
	}
	ck_assert_ptr_nonnull(v);
	ck_assert_uint_eq(n, strlen(value));
	ck_assert_mem_eq(v, value, n);
}

static inline struct ledger_stats stats(struct ledger *l)
{
	struct ledger_stats s;
	ledger_get_stats(l, &s);
	return s;
}

static inline int count_one(void *arg, const void *key, size_t klen, const void *value, size_t vlen)
{
	++*(unsigned *)arg;
	return 0;
}

static inline void write_some(struct ledger *l, unsigned n)
{
	char key[32];
	for (unsigned i = 0; i < n; i++) {
		snprintf(key, sizeof(key), "record%u", i);
		ck_assert_int_eq(put(l, key, "value"), 0);
		ck_assert_int_eq(ledger_sync(l), 0);
	}
}

static inline void damage(uint8_t *at)
{
	at[70] ^= 1;
	for (unsigned i = 0; i < 2; i++)
		sim_disk_bytes_changed(disks[i], 0, VOLUME);
}

#define TASK_TEST(name)                                                                            \
	static void name##_task(void *arg);                                                        \
	START_TEST(name)                                                                           \
	{                                                                                          \
		ck_assert_int_eq(sim_run(sim, name##_task, NULL), 0);                              \
	}                                                                                          \
	END_TEST                                                                                   \
	static void name##_task(void *arg)

#endif
