/* See fixture.h. */
#include <stdlib.h>
#include <check.h>
#include "tests/unit/scsi/fixture.h"

struct fixture *fx;

struct scsi_nexus *fixture_login(const char *initiator)
{
	struct scsi_nexus *n;
	struct scsi_auth auth;
	struct scsi_target *t = scsi_target_get(fx->registry, TARGET);
	ck_assert_ptr_nonnull(t);
	ck_assert_int_eq(scsi_target_admit(t, initiator, &auth), 0);
	ck_assert_int_eq(scsi_nexus_new(&n, t, initiator, (const uint8_t[6]){0x40}, 1), 0);
	scsi_target_put(t);
	return n;
}

void fixture_logout(struct scsi_nexus *n)
{
	run_done();
	scsi_nexus_free(n);
}

static void take_attentions(struct scsi_nexus *n)
{
	uint8_t asc, ascq;
	for (unsigned i = 0; i < n->view->n; i++)
		while (nexus_ua_take(n, n->view->luns[i].number, &asc, &ascq))
			;
}

static uint64_t clock_now(struct env *e)
{
	return atomic_fetch_add(&fx->clock_ns, CLOCK_TICK) + CLOCK_TICK;
}

static uint64_t clock_realtime(struct env *e)
{
	return FAKE_REALTIME_NS;
}

static const struct env_ops clock_ops = {.now_ns = clock_now, .realtime_ns = clock_realtime};

void fixture_setup(void)
{
	fx = calloc(1, sizeof(*fx));
	fx->cmd = calloc(1, sizeof(*fx->cmd));
	fx->clock_ns = NS_PER_S;
	fx->env.ops = &clock_ops;
	fx->core = fake_core_new();
	fx->core->env = &fx->env;
	fx->v1 = fake_volume_add(fx->core, 4 << 20);
	fx->v2 = fake_volume_add(fx->core, 4 << 20);
	fx->v3 = fake_volume_add(fx->core, 1 << 20);
	fx->target = fake_target_add(fx->core, TARGET, true);
	fake_lun_add(fx->target, 0, 1, "serial-1");
	fake_lun_add(fx->target, 1, 2, "serial-2")->block_size = 4096;
	fake_lun_add(fx->target, 300, 3, "serial-3")->read_only = true;
	ck_assert_int_eq(scsi_registry_new(&fx->registry, fx->core), 0);
	fx->a = fixture_login(HOST_A);
	fx->b = fixture_login(HOST_B);
	take_attentions(fx->a);
	take_attentions(fx->b);
}

void fixture_teardown(void)
{
	run_done();
	scsi_nexus_free(fx->a);
	scsi_nexus_free(fx->b);
	scsi_registry_free(fx->registry);
	fake_core_free(fx->core);
	free(fx->cmd);
	free(fx);
	fx = NULL;
}

void run_done(void)
{
	if (fx->held) {
		struct scsi_cmd *c = fx->cmd;
		bool good = c->status == SCSI_GOOD;
		scsi_sent(c, env_now_ns(&fx->env),
			  good ? c->in_len + MIN(c->out_len, c->out_expected) : 0);
		scsi_release(c);
	}
	fx->held = false;
}

static void fill_out(const struct scsi_cmd *c, const uint8_t *out, uint32_t edtl)
{
	uint32_t n = c->part_at;
	for (int i = 0; i < c->out_iovcnt; i++) {
		ck_assert_uint_le(n + c->out_iov[i].iov_len, edtl);
		memcpy(c->out_iov[i].iov_base, out + n, c->out_iov[i].iov_len);
		n += (uint32_t)c->out_iov[i].iov_len;
	}
	ck_assert_uint_le(n, c->out_len);
}

static void take_in(const struct scsi_cmd *c)
{
	uint32_t n = c->in_iovcnt ? c->part_at : 0;
	if (!n)
		memset(fx->in, 0, 4096);
	for (int i = 0; i < c->in_iovcnt; i++) {
		memcpy(fx->in + n, c->in_iov[i].iov_base, c->in_iov[i].iov_len);
		n += (uint32_t)c->in_iov[i].iov_len;
	}
	ck_assert_int_eq(n < c->in_len, c->in_more);
	ck_assert_uint_le(n, c->in_len);
}

uint8_t run_wire(struct scsi_nexus *n, const uint8_t lun[8], const uint8_t *cdb, const void *out,
		 uint32_t edtl)
{
	struct scsi_cmd *c = fx->cmd;
	run_done();
	memset(c, 0xdd, sizeof(*c)); /* nothing may rest on zeroed memory */
	c->nexus = n;
	memcpy(c->lun, lun, 8);
	memset(c->cdb, 0, sizeof(c->cdb));
	memcpy(c->cdb, cdb, 16);
	c->cdb_len = 16;
	c->attr = fx->attr;
	c->out_expected = out ? edtl : 0;
	c->trace.received_ns = env_now_ns(&fx->env);
	fx->waited = false;
	fx->held = true;

	enum scsi_next next = scsi_start(c);
	if (next == SCSI_WAIT) {
		fx->waited = true;
		next = scsi_start_wait(c);
	}
	fx->parts = 0;
	while (next == SCSI_DATA_OUT || (next == SCSI_DONE && c->in_more)) {
		fx->parts++;
		if (next == SCSI_DATA_OUT)
			fill_out(c, out, edtl);
		else
			take_in(c);
		next = scsi_finish(c);
		if (next == SCSI_WAIT) {
			fx->waited = true;
			next = scsi_finish_wait(c);
		}
	}
	ck_assert_int_eq(next, SCSI_DONE);
	scsi_responding(c);
	take_in(c);
	uint32_t moved = out ? c->out_len : c->in_len;
	fx->residual_over = moved > edtl ? moved - edtl : 0;
	fx->residual_under = moved < edtl ? edtl - moved : 0;
	return c->status;
}

uint8_t run(struct scsi_nexus *n, uint32_t lun, const uint8_t *cdb, const void *out, uint32_t edtl)
{
	uint8_t wire[8];
	lun_format(wire, lun);
	return run_wire(n, wire, cdb, out, edtl);
}

uint32_t sense_in(const uint8_t *b)
{
	if ((b[0] & 0x7f) == 0x72)
		return (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
	ck_assert_uint_eq(b[0] & 0x7f, 0x70);
	return (uint32_t)b[2] << 16 | (uint32_t)b[12] << 8 | b[13];
}

uint32_t sense_of(void)
{
	ck_assert_uint_eq(fx->cmd->status, SCSI_CHECK_CONDITION);
	ck_assert_uint_eq(fx->cmd->in_len, 0);
	return sense_in(fx->cmd->sense);
}

int sense_field(void)
{
	const uint8_t *b = fx->cmd->sense;
	if ((b[0] & 0x7f) != 0x70 || !(b[15] & 0x80))
		return -1;
	return be16_get(b + 16);
}
