/*
 * Random CDBs with random data-out against volumes in memory: nothing may be read or written
 * outside of them, no page or reference may stay behind, and every answer keeps to its form.
 *
 * Input: records of  0 LUN (low bits) and nexus (bit 7)  1 control  2-17 CDB  18-19 data-out
 * length (big endian) and then the data-out. Control: bit 0 volumes miss, 1 the transport fails
 * instead of finishing, or gives up a transfer in its second part, 2 a task management function
 * first, 3 the metadata changes first, 4 no data-out is expected, 5 the volume grows first (none
 * ever shrinks), 7 background work is left alone.
 */
#include <stdlib.h>
#include "runtime/bdev.h"
#include "server/scsi/persistent.h"
#include "tests/unit/scsi/fake_volume.h"

#define RECORD_LEN 20
#define RECORDS	   64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct world {
	struct core *core;
	struct scsi_registry *registry;
	struct scsi_nexus *nexus[2];
};

static void world_open(struct world *w)
{
	w->core = fake_core_new();
	for (int i = 0; i < 3; i++)
		fake_volume_add(w->core, 2 << 20);
	w->core->volumes[0].size = 1 << 20;
	Isthmus__Target *target = fake_target_add(w->core, "iqn.2026-01.example:fuzz", true);
	fake_lun_add(target, 0, 1, "a");
	fake_lun_add(target, 1, 2, "b")->block_size = 4096;
	fake_lun_add(target, 2, 3, "c")->read_only = true;
	fake_volume_add(w->core, 2 << 20)->battery = true;
	Isthmus__Lun *other = fake_lun_add(target, 3, 4, "d");
	other->removable = other->no_unmap = true;
	target = fake_target_add(w->core, "iqn.2026-01.example:other", true);
	fake_lun_add(target, 0, 1, "a");
	ASSERT(!scsi_registry_new(&w->registry, w->core));
	struct scsi_target *t = scsi_target_get(w->registry, "iqn.2026-01.example:fuzz");
	for (int i = 0; i < 2; i++)
		ASSERT(!scsi_nexus_new(&w->nexus[i], t, "iqn.2026-01.example:host",
				       (const uint8_t[6]){(uint8_t)i}, 1));
	scsi_target_put(t);
}

static void world_close(struct world *w)
{
	for (int i = 0; i < 2; i++)
		scsi_nexus_free(w->nexus[i]);
	scsi_registry_free(w->registry);
	fake_core_free(w->core); /* checks that nothing is held */
}

static void check_answer(const struct scsi_cmd *c)
{
	ASSERT(c->status == SCSI_GOOD || c->status == SCSI_CHECK_CONDITION ||
	       c->status == SCSI_BUSY || c->status == SCSI_RESERVATION_CONFLICT);
	size_t lent = iov_bytes(c->in_iov, c->in_iovcnt);
	ASSERT(lent ? c->part_at + lent <= c->in_len : !c->in_more);
	ASSERT((c->part_at + lent < c->in_len) == c->in_more || !lent);
	if (c->status != SCSI_CHECK_CONDITION)
		return;
	ASSERT(c->in_len == 0);
	ASSERT(c->sense_len >= 8 && c->sense_len <= SCSI_SENSE_MAX);
	ASSERT(c->sense[0] == 0x72 || (c->sense[0] & 0x7f) == 0x70);
}

/* Records of reservations are whole: one holder where there is one, no key twice. */
static void check_reservations(struct world *w)
{
	const Isthmus__ArrayMeta *am = fake_meta(w->core);
	for (size_t i = 0; i < am->n_reservations; i++) {
		const Isthmus__Reservation *v = am->reservations[i];
		unsigned holders = 0;
		for (size_t k = 0; k < v->n_registrations; k++) {
			ASSERT(v->registrations[k]->key);
			holders += v->registrations[k]->holder;
		}
		ASSERT(meta_type_ok(v->type) && v->n_registrations <= META_KEYS_VOLUME);
		ASSERT(holders == (v->type && !meta_type_all(v->type)));
		ASSERT(!v->type || v->n_registrations);
	}
}

static void receive(const struct scsi_cmd *c, const uint8_t *out, size_t n)
{
	size_t total = c->part_at + iov_bytes(c->out_iov, c->out_iovcnt);
	ASSERT(total <= c->out_len);
	ASSERT(total <= c->out_expected);
	for (int i = 0, at = 0; i < c->out_iovcnt; i++) {
		uint8_t *to = c->out_iov[i].iov_base;
		for (size_t k = 0; k < c->out_iov[i].iov_len; k++)
			to[k] = n ? out[(size_t)at++ % n] : 0;
	}
}

static void world_disturb(struct world *w, uint8_t control, const uint8_t *lun)
{
	if (control & 0x04)
		scsi_task_management(w->nexus[0], lun, control >> 6 & 1, NULL, NULL);
	if (control & 0x08) {
		Isthmus__Lun *l = fake_meta(w->core)->targets[0]->luns[1];
		l->read_only = !l->read_only;
		fake_meta_changed(w->core);
	}
	if (control & 0x20)
		w->core->volumes[0].size = 2 << 20;
	for (unsigned i = 0; i < w->core->nvolumes; i++)
		w->core->volumes[i].miss = control & 0x01;
}

/* Commands run in a task, as those that wait do; what outlives them runs when they have ended. */
struct command {
	struct world *w;
	struct scsi_cmd *c;
	const uint8_t *rec, *out;
	size_t n;
	bool done;
};

static void one(void *arg)
{
	struct command *x = arg;
	struct world *w = x->w;
	struct scsi_cmd *c = x->c;
	const uint8_t *rec = x->rec, *out = x->out;
	size_t n = x->n;
	uint8_t control = rec[1];
	memset(c->lun, 0, 8);
	c->lun[1] = rec[0] & 3;
	world_disturb(w, control, c->lun);
	c->nexus = w->nexus[rec[0] >> 7];
	c->attr = rec[0] >> 2 & 3;
	memcpy(c->cdb, rec + 2, 16);
	c->cdb_len = 16;
	c->out_expected = control & 0x10 ? 0 : be16_get(rec + 18) * 16u;
	enum scsi_next next = scsi_start(c);
	if (next == SCSI_WAIT)
		next = scsi_start_wait(c);
	if (next == SCSI_DATA_OUT && (control & 0x02)) {
		scsi_fail(c, KEY_ABORTED_COMMAND, 0x4b, 0);
		next = SCSI_DONE;
	}
	while (next == SCSI_DATA_OUT || (next == SCSI_DONE && c->in_more)) {
		if (next == SCSI_DATA_OUT)
			receive(c, out, n);
		else
			check_answer(c);
		if (c->part_at && (control & 0x02)) /* given up in the middle */
			break;
		next = scsi_finish(c);
		if (next == SCSI_WAIT)
			next = scsi_finish_wait(c);
	}
	if (next == SCSI_DONE)
		check_answer(c);
	scsi_release(c);
	x->done = true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct world w;
	struct sched *s;
	ASSERT(!sched_new(&s, 64, 1 << 20, NULL, NULL));
	sched_set_current(s);
	struct scsi_cmd *c = malloc(sizeof(*c));
	memset(c, 0xdd, sizeof(*c));
	world_open(&w);
	for (int i = 0; i < RECORDS && size >= RECORD_LEN; i++) {
		size_t n = MIN(be16_get(data + 18), size - RECORD_LEN);
		struct command x = {&w, c, data, data + RECORD_LEN, n, false};
		ASSERT(!task_start(one, &x));
		if (data[1] & 0x80) /* a wipe or flush it left goes on beside the next commands */
			while (!x.done)
				sched_run_some(s, 1);
		else
			sched_run(s);
		ASSERT(x.done);
		check_reservations(&w);
		data += RECORD_LEN + n;
		size -= RECORD_LEN + n;
	}
	sched_run(s);
	world_close(&w);
	sched_set_current(NULL);
	sched_free(s);
	free(c);
	return 0;
}
