/* Two controllers on threads of their own, each with sessions and a volume: commands, task
 * management and what is told cross each other all the time. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "blockcore/control/meta_check.h"
#include "blockcore/control/meta_scsi.h"
#include "runtime/reactor.h"
#include "server/scsi/forward.h"
#include "tests/unit/scsi/fake_link.h"
#include "tests/unit/scsi/fixture.h"

#define SESSIONS 3 /* of a side */
#define ROUNDS	 1500

struct fixture *fx;

struct side {
	struct reactor *reactor;
	struct core *core;
	struct scsi_registry *registry;
	struct link *link;
	struct scsi_nexus *nexus[SESSIONS];
};
static struct side side[2];
static _Atomic unsigned running;

/* Runs fn as a task of a side, and waits for it. */
struct step {
	void (*fn)(int s);
	int s;
	_Atomic bool done;
};

static void step_run(void *arg)
{
	struct step *x = arg;
	x->fn(x->s);
	atomic_store(&x->done, true);
}

static void on_side(int s, void (*fn)(int s))
{
	struct step x = {.fn = fn, .s = s};
	ck_assert_int_eq(task_start_on(reactor_sched(side[s].reactor), step_run, &x), 0);
	while (!atomic_load(&x.done))
		usleep(100);
}

/* ---- the controllers ---- */

static void open_side(int s)
{
	ck_assert_int_eq(scsi_registry_new(&side[s].registry, side[s].core), 0);
	scsi_registry_set_groups(side[s].registry, (const uint16_t[1]){(uint16_t)(s + 1)}, 1);
	struct scsi_partner p = {.link = side[s].link,
				 .group = (uint16_t)(s + 1),
				 .partner_group = (uint16_t)(2 - s),
				 .tags = (const uint16_t[1]){(uint16_t)(2 - s)},
				 .ntags = 1};
	ck_assert_int_eq(scsi_partner_open(side[s].registry, &p), 0);
}

static void login_side(int s)
{
	struct scsi_target *t = scsi_target_get(side[s].registry, TARGET);
	scsi_partner_up(side[s].registry);
	for (unsigned i = 0; i < SESSIONS; i++) {
		char name[64];
		snprintf(name, sizeof(name), "iqn.2026-01.example:host-%d-%u", s, i);
		ck_assert_int_eq(scsi_nexus_new(&side[s].nexus[i], t, name,
						(const uint8_t[6]){0x40}, (uint16_t)(s + 1)),
				 0);
	}
	scsi_target_put(t);
}

static void logout_side(int s)
{
	for (unsigned i = 0; i < SESSIONS; i++)
		scsi_nexus_free(side[s].nexus[i]);
}

static void close_side(int s)
{
	scsi_partner_down(side[s].registry);
	scsi_partner_close(side[s].registry);
	scsi_registry_free(side[s].registry);
}

/* ---- a session's load: 64 KiB of each volume are its own ---- */

struct load {
	int s;
	unsigned i;
	uint64_t seed;
	struct scsi_cmd cmd;
	uint8_t data[65536], in[65536];
	uint32_t written[2]; /* what the first bytes of its part hold */
};

static uint32_t rnd(struct load *l, uint32_t below)
{
	l->seed = l->seed * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(l->seed >> 33) % below;
}

static uint8_t issue(struct load *l, uint32_t lun, const uint8_t *cdb, uint32_t out)
{
	struct scsi_cmd *c = &l->cmd;
	c->nexus = side[l->s].nexus[l->i];
	lun_format(c->lun, lun);
	memset(c->cdb, 0, sizeof(c->cdb));
	memcpy(c->cdb, cdb, 16);
	c->cdb_len = 16;
	c->out_expected = out;
	c->trace.received_ns = 0;
	enum scsi_next next = scsi_start(c);
	if (next == SCSI_WAIT)
		next = scsi_start_wait(c);
	if (next == SCSI_DATA_OUT) {
		for (int i = 0, at = 0; i < c->out_iovcnt; at += (int)c->out_iov[i].iov_len, i++)
			memcpy(c->out_iov[i].iov_base, l->data + at, c->out_iov[i].iov_len);
		next = scsi_finish(c);
		if (next == SCSI_WAIT)
			next = scsi_finish_wait(c);
	}
	ck_assert_int_eq(next, SCSI_DONE);
	for (int i = 0, at = 0; i < c->in_iovcnt; at += (int)c->in_iov[i].iov_len, i++)
		memcpy(l->in + at, c->in_iov[i].iov_base, c->in_iov[i].iov_len);
	uint8_t status = c->status;
	scsi_release(c);
	return status;
}

static void end_nobody(struct scsi_nexus *other, const uint8_t lun[8], bool tas, void *arg)
{
	scsi_nexus_abort(other, lun, tas, NULL, NULL);
}

static void one(struct load *l, uint32_t round)
{
	uint32_t lun = rnd(l, 2), bs = lun ? 4096 : 512;
	uint32_t at = ((uint32_t)l->s * SESSIONS + l->i) * 65536 / bs;
	uint32_t bytes = rnd(l, 2) ? 65536 : 4096;
	uint8_t lun_bytes[8];
	switch (rnd(l, 16)) {
	case 0: /* MODE SELECT: the others are told */
		memset(l->data, 0, 16);
		l->data[4] = l->data[5] = 0x0a;
		l->data[6] = rnd(l, 2) ? 4 : 0;
		l->data[14] = 0xff;
		issue(l, lun, CDB(0x15, 0x10, 0, 0, 16), 16);
		return;
	case 1:
		lun_format(lun_bytes, lun);
		scsi_task_management(side[l->s].nexus[l->i], lun_bytes, SCSI_TMF_LU_RESET,
				     end_nobody, NULL);
		return;
	case 2:
		issue(l, lun, CDB(0x12, 1, 0x83, 1, 0), 0);
		return;
	case 3:
	case 4:
	case 5:
	case 6:
	case 7:
	case 8:
		memset(l->data, (int)round, bytes);
		be32_put(l->data, round);
		if (issue(l, lun, CDB(0x2a, 0, BE32(at), 0, BE16(bytes / bs)), bytes) == SCSI_GOOD)
			l->written[lun] = round;
		return;
	default:
		if (issue(l, lun, CDB(0x28, 0, BE32(at), 0, BE16(bytes / bs)), 0) == SCSI_GOOD)
			ck_assert_uint_eq(be32_get(l->in), l->written[lun]);
	}
}

static void load_run(void *arg)
{
	struct load *l = arg;
	for (uint32_t i = 1; i <= ROUNDS; i++) {
		one(l, i);
		if (i % 16 == 0)
			task_yield();
	}
	atomic_fetch_sub(&running, 1);
}

START_TEST(two_threads)
{
	static struct load loads[2][SESSIONS];
	side[0].core = fake_core_new();
	fake_volume_add(side[0].core, 1 << 20);
	fake_volume_add(side[0].core, 1 << 20);
	Isthmus__Target *t = fake_target_add(side[0].core, TARGET, true);
	fake_lun_add(t, 0, 1, "serial-1");
	fake_lun_add(t, 1, 2, "serial-2")->block_size = 4096;
	/* Recorded before there are threads: the metadata is not to change under them. */
	char why[META_WHY_LEN];
	for (uint16_t tag = 1; tag <= 2; tag++)
		ck_assert_int_eq(meta_set_groups(side[0].core->meta->am, tag == 1 ? "a" : "b",
						 false, &tag, 1, why),
				 0);
	side[1].core = fake_core_join(side[0].core);
	fake_core_place(side[0].core, 2, CORE_PARTNER);
	for (int s = 0; s < 2; s++) {
		struct reactor_opts o = {.name = s ? "b" : "a", .cpu = -1, .slot = (unsigned)s};
		ck_assert_int_eq(reactor_new(&side[s].reactor, &o), 0);
		ck_assert_int_eq(reactor_start_thread(side[s].reactor), 0);
	}
	fake_link_pair(&side[0].link, &side[1].link, reactor_sched(side[0].reactor),
		       reactor_sched(side[1].reactor));
	on_side(0, open_side);
	on_side(1, open_side);
	fake_link_up(side[0].link);
	on_side(0, login_side);
	on_side(1, login_side);
	running = 2 * SESSIONS;
	for (int s = 0; s < 2; s++)
		for (unsigned i = 0; i < SESSIONS; i++) {
			loads[s][i] = (struct load){.s = s, .i = i, .seed = (uint64_t)s * 10 + i};
			ck_assert_int_eq(
			    task_start_on(reactor_sched(side[s].reactor), load_run, &loads[s][i]),
			    0);
		}
	while (atomic_load(&running))
		usleep(1000);
	struct lu_forward *f = &view_find(side[0].nexus[0]->view, 1)->lu->forward;
	ck_assert_uint_gt(f->sent, ROUNDS / 2);
	on_side(0, logout_side);
	on_side(1, logout_side);
	fake_link_down(side[0].link);
	on_side(0, close_side);
	on_side(1, close_side);
	usleep(20000);
	for (int s = 0; s < 2; s++) {
		reactor_stop(side[s].reactor);
		reactor_join(side[s].reactor);
		reactor_free(side[s].reactor);
	}
	fake_link_free(side[0].link, side[1].link);
	fake_core_free(side[1].core);
	fake_core_free(side[0].core);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("forward threads");
	TCase *tc = tcase_create("forward threads");
	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, two_threads);
	suite_add_tcase(suite, tc);
	SRunner *sr = srunner_create(suite);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
