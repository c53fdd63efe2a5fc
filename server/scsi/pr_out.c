/*
 * PERSISTENT RESERVE OUT (SPC-4 6.14). Parameter list:
 *
 *   0 reservation key   8 service action reservation key   20 SPEC_I_PT 3, ALL_TG_PT 2, APTPL 0
 *   24 with SPEC_I_PT: length, then TransportIDs
 *
 * of REGISTER AND MOVE:
 *
 *   0 and 8 the same   17 UNREG 1, APTPL 0   18 relative target port   20 length   24 TransportID
 *
 * The change is one of the array metadata: decided where that is owned, one after
 * the other, durable before the command is answered.
 */
#include <errno.h>
#include <stdlib.h>
#include <strings.h>
#include "runtime/log.h"
#include "runtime/task.h"
#include "server/scsi/persistent.h"
#include "server/scsi/scsi_admin.h"

#define WAITING_MAX 64 /* changes of the metadata asked for at once */
#define LIST_LEN    24
#define LIST_MAX    (64 * 1024) /* as many TransportIDs as there can be registrations */

struct request {
	struct scsi_cmd *c;
	struct pr_out out;
	bool all_tg_pt;
	uint16_t move_port;
	struct transport_id *ids; /* of the list */
	unsigned nids;
	struct pr_doing doing;
	enum pr_answer answer;
};

/* ---- start ---- */

static bool reserved(struct scsi_cmd *c)
{
	struct scsi_registry *r = c->nexus->registry;
	pthread_mutex_lock(&r->lock);
	bool by_any = c->lu->reserved_by;
	pthread_mutex_unlock(&r->lock);
	return by_any;
}

enum scsi_next op_pr_out(struct scsi_cmd *c)
{
	unsigned scope = c->cdb[2] >> 4, type = c->cdb[2] & 0x0f;
	uint32_t len = be32_get(c->cdb + 5);
	if (reserved(c)) /* SPC-2 5.5.1: beside a RESERVE, its own too */
		return cmd_status(c, SCSI_RESERVATION_CONFLICT);
	if (c->op->action == PR_RESERVE && scope)
		return cmd_bad_cdb(c, 2, 7);
	if (c->op->action == PR_RESERVE && (!type || !meta_type_ok(type)))
		return cmd_bad_cdb(c, 2, 3);
	c->out_len = len;
	if (len < LIST_LEN || len > LIST_MAX || c->out_expected < len)
		return cmd_bad_length(c);
	return cmd_data_out(c, len) ? SCSI_DATA_OUT : cmd_status(c, SCSI_BUSY);
}

enum scsi_next op_pr_out_finish(struct scsi_cmd *c)
{
	return SCSI_WAIT;
}

/* ---- the parameter list; false: the command has ended ---- */

static bool parse_ids(struct request *q, const uint8_t *b, unsigned at, unsigned len)
{
	unsigned first = at;
	q->ids = calloc(META_KEYS_VOLUME + 1, sizeof(q->ids[0]));
	if (!q->ids) {
		cmd_status(q->c, SCSI_BUSY);
		return false;
	}
	for (; at < len; q->nids++) {
		unsigned n = q->nids <= META_KEYS_VOLUME
				 ? transport_id_parse(b + at, len - at, &q->ids[q->nids])
				 : 0;
		if (!n) {
			cmd_bad_param(q->c, q->nids ? at : first, -1);
			return false;
		}
		at += n;
	}
	return true;
}

static bool parse_move(struct request *q, const uint8_t *b, unsigned len)
{
	q->out.unreg = b[17] & 0x02;
	q->out.aptpl = b[17] & 0x01;
	q->move_port = be16_get(b + 18);
	if (be32_get(b + 20) != len - LIST_LEN) {
		cmd_bad_length(q->c);
		return false;
	}
	if (!parse_ids(q, b, LIST_LEN, len))
		return false;
	if (q->nids != 1)
		cmd_bad_param(q->c, LIST_LEN, -1);
	return q->nids == 1;
}

static bool parse_basic(struct request *q, const uint8_t *b, unsigned len)
{
	q->out.spec_i_pt = b[20] & 0x08;
	q->all_tg_pt = b[20] & 0x04;
	q->out.aptpl = b[20] & 0x01;
	if (q->out.spec_i_pt && q->out.action != PR_REGISTER) {
		cmd_bad_param(q->c, 20, 3);
		return false;
	}
	if (!q->out.spec_i_pt) {
		if (len != LIST_LEN)
			cmd_bad_length(q->c);
		return len == LIST_LEN;
	}
	if (len < LIST_LEN + 4 || be32_get(b + LIST_LEN) != len - LIST_LEN - 4) {
		cmd_bad_length(q->c);
		return false;
	}
	return parse_ids(q, b, LIST_LEN + 4, len);
}

static bool parse(struct request *q)
{
	struct scsi_cmd *c = q->c;
	const uint8_t *b = c->inline_iov.iov_base;
	q->out.action = (enum pr_action)c->op->action;
	q->out.type = c->cdb[2] & 0x0f;
	q->out.self = pr_port_of(c->nexus);
	q->out.key = be64_get(b);
	q->out.sa_key = be64_get(b + 8);
	return q->out.action == PR_REGISTER_MOVE ? parse_move(q, b, c->out_len)
						 : parse_basic(q, b, c->out_len);
}

/* ---- the nexuses it names; on the metadata's reactor ---- */

static bool shows(const Isthmus__Target *t, uint32_t volume_id)
{
	for (size_t i = 0; i < t->n_luns; i++)
		if (t->luns[i]->volume_id == volume_id)
			return true;
	return false;
}

static bool admits(const Isthmus__ArrayMeta *am, const Isthmus__Target *t, const char *initiator)
{
	return t->open || meta_initiator(am, t->iqn, initiator);
}

static void add_port(struct pr_out *x, const struct pr_port *like, const Isthmus__Target *t,
		     uint16_t tag)
{
	struct pr_port *p = &x->ports[x->nports++];
	*p = *like;
	p->target = t->iqn;
	p->tpgt = tag;
}

/* At the other ports of a target, of all controllers. */
static bool add_ports(struct request *q, const Isthmus__Target *t, const struct pr_port *like,
		      unsigned *tried)
{
	bool self = !strcasecmp(t->iqn, q->out.self.target);
	for (size_t i = 0; i < t->n_ports; i++) {
		uint16_t tag = (uint16_t)t->ports[i]->tag;
		if (self && tag == q->out.self.tpgt)
			continue;
		if (++*tried > META_KEYS_VOLUME)
			return false;
		add_port(&q->out, like, t, tag);
	}
	return true;
}

/* This initiator port at every other target port that shows the volume to it (SPC-4 5.12.7). */
static bool add_all_ports(struct request *q, const Isthmus__ArrayMeta *am,
			  const struct pr_port *like, unsigned *tried)
{
	for (size_t i = 0; i < am->n_targets; i++) {
		const Isthmus__Target *t = am->targets[i];
		if (!shows(t, q->c->lu->volume_id))
			continue;
		if (++*tried > META_KEYS_VOLUME)
			return false;
		if (admits(am, t, like->initiator) && !add_ports(q, t, like, tried))
			return false;
	}
	return true;
}

static struct pr_port port_of_id(const struct request *q, const struct transport_id *id)
{
	struct pr_port p = q->out.self;
	p.initiator = id->initiator;
	p.any_isid = id->any_isid;
	memcpy(p.isid, id->isid, 6);
	return p;
}

static enum pr_answer name_others(struct request *q, const Isthmus__ArrayMeta *am)
{
	unsigned tried = 0;
	const Isthmus__Target *self = meta_target(am, q->out.self.target);
	if (!self)
		return PR_CONFLICT; /* it was removed: the session ends */
	if (q->all_tg_pt && !add_all_ports(q, am, &q->out.self, &tried))
		return PR_FULL;
	unsigned own = q->out.nports;
	for (unsigned i = 0; i < q->nids; i++) {
		struct pr_port p = port_of_id(q, &q->ids[i]);
		if (!admits(am, self, p.initiator))
			return PR_BAD_PORT;
		if (++tried > META_KEYS_VOLUME)
			return PR_FULL;
		add_port(&q->out, &p, self, q->out.self.tpgt);
		if (q->all_tg_pt && !add_all_ports(q, am, &p, &tried))
			return PR_FULL;
	}
	q->out.nothers = q->out.nports - own;
	return PR_GOOD;
}

static enum pr_answer name_destination(struct request *q, const Isthmus__ArrayMeta *am)
{
	struct pr_port p = port_of_id(q, &q->ids[0]);
	for (size_t i = 0; i < am->n_targets; i++) {
		const Isthmus__Target *t = am->targets[i];
		for (size_t k = 0; k < t->n_ports; k++) {
			if (t->ports[k]->number != q->move_port || !shows(t, q->c->lu->volume_id) ||
			    !admits(am, t, p.initiator))
				continue;
			add_port(&q->out, &p, t, (uint16_t)t->ports[k]->tag);
			return PR_GOOD;
		}
	}
	return PR_BAD_PORT;
}

static enum pr_answer name_ports(struct request *q, const Isthmus__ArrayMeta *am)
{
	q->out.nports = 0;
	q->out.ports = calloc(META_KEYS_VOLUME, sizeof(q->out.ports[0]));
	if (!q->out.ports)
		return PR_NO_MEMORY;
	return q->out.action == PR_REGISTER_MOVE ? name_destination(q, am) : name_others(q, am);
}

/* ---- the change ---- */

static int change(Isthmus__ArrayMeta *am, void *arg, char *why)
{
	struct request *q = arg;
	struct scsi_registry *r = q->c->nexus->registry;
	unsigned keys = meta_keys(am);
	q->out.room = keys < META_KEYS ? META_KEYS - keys : 0;
	q->answer = name_ports(q, am);
	if (q->answer == PR_GOOD) {
		Isthmus__Reservation *v = pr_record(r, am, q->c->lu->volume_id);
		q->answer = v ? pr_apply(v, &q->out) : PR_NO_MEMORY;
		if (q->answer == PR_CHANGED)
			pr_changed(r, v, &q->doing);
	}
	free(q->out.ports);
	q->out.ports = NULL;
	return q->answer == PR_CHANGED ? 0 : -ECANCELED;
}

static enum scsi_next full(struct scsi_cmd *c)
{
	return cmd_sense(c, KEY_ILLEGAL_REQUEST, 0x55, 0x04);
}

static enum scsi_next answer(struct request *q)
{
	struct scsi_cmd *c = q->c;
	switch (q->answer) {
	case PR_GOOD:
	case PR_CHANGED:
		return cmd_good(c);
	case PR_CONFLICT:
		return cmd_status(c, SCSI_RESERVATION_CONFLICT);
	case PR_BAD_TYPE:
		return cmd_bad_cdb(c, 2, 3);
	case PR_BAD_KEY:
		return cmd_bad_param(c, 8, -1);
	case PR_BAD_SPEC:
		return cmd_bad_param(c, 20, 3);
	case PR_BAD_PORT:
		return cmd_bad_param(c, q->out.action == PR_REGISTER_MOVE ? 18 : LIST_LEN, -1);
	case PR_BAD_RELEASE:
		return cmd_sense(c, KEY_ILLEGAL_REQUEST, 0x26, 0x04);
	case PR_FULL:
		return full(c);
	case PR_NO_MEMORY:
		break;
	}
	return cmd_status(c, SCSI_BUSY);
}

static enum scsi_next carry_out(struct request *q)
{
	char why[WHY_SIZE];
	struct scsi_cmd *c = q->c;
	struct scsi_registry *r = c->nexus->registry;
	q->doing.task = task_self();
	/* They wait for each other, and the admin for them: a crowd is told to come again. */
	if (atomic_fetch_add(&r->pr_waiting, 1) >= WAITING_MAX) {
		atomic_fetch_sub(&r->pr_waiting, 1);
		return cmd_status(c, SCSI_BUSY);
	}
	int err = meta_update(core_meta(r->core), change, q, why);
	atomic_fetch_sub(&r->pr_waiting, 1);
	pr_done(r, &q->doing);
	if (!err)
		log_info("scsi: persistent reservation changed volume=%u action=\"%s\" "
			 "initiator=%s key=%llx",
			 c->lu->volume_id, c->op->name, c->nexus->initiator,
			 (unsigned long long)q->out.key);
	if (!err || err == -ECANCELED)
		return answer(q);
	log_error("scsi: persistent reservation not recorded volume=%u why=\"%s\"",
		  c->lu->volume_id, why);
	return err == -ENOSPC ? full(c) : cmd_error(c, err);
}

enum scsi_next op_pr_out_finish_wait(struct scsi_cmd *c)
{
	struct request q = {.c = c};
	if (parse(&q))
		carry_out(&q);
	free(q.ids);
	return SCSI_DONE;
}
