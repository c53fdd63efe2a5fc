/*
 * Asymmetric logical unit access (SPC-4 5.16). A target port group is the target ports of one
 * controller; its state for a logical unit follows from who owns that:
 *
 *   the owner's group       active/optimized
 *   the others              active/non-optimized: they pass commands on
 *   while ownership moves   transitioning, all groups
 *   a group set apart       standby or unavailable, whoever owns the unit
 *
 * The table has a row for every portal group tag. One controller is one group, which owns all; a
 * further one adds its rows (alua_add_ports()). SET TARGET PORT GROUPS moves ownership
 * (explicit), and so may the array itself (implicit).
 */
#include "server/scsi/alua.h"

enum { T_SUP = 0x80, U_SUP = 0x08, S_SUP = 0x04, AN_SUP = 0x02, AO_SUP = 0x01 };

/* Status codes of a descriptor: why the state is what it is. */
enum { STATUS_NONE, STATUS_EXPLICIT, STATUS_IMPLICIT };

/* ---- the table ---- */

void alua_init(struct alua *a)
{
	memset(a, 0, sizeof(*a));
	alua_add_ports(a, ALUA_ANY_TAG, ALUA_FIRST_GROUP);
}

int alua_add_ports(struct alua *a, uint16_t tag, uint16_t group)
{
	unsigned n = atomic_load(&a->n);
	if (n == ALUA_ROWS)
		return -1;
	a->rows[n].tag = tag;
	a->rows[n].group = group;
	a->rows[n].reach = ALUA_OPTIMIZED;
	atomic_store(&a->n, n + 1);
	return 0;
}

static const struct alua_row *row_of_tag(const struct alua *a, uint16_t tag)
{
	unsigned n = atomic_load_explicit(&a->n, memory_order_acquire);
	for (unsigned i = 1; i < n; i++)
		if (a->rows[i].tag == tag)
			return &a->rows[i];
	return &a->rows[0];
}

static struct alua_row *row_of_group(struct alua *a, uint16_t group)
{
	for (unsigned i = 0; i < atomic_load(&a->n); i++)
		if (a->rows[i].group == group)
			return &a->rows[i];
	return NULL;
}

uint16_t alua_group(const struct scsi_nexus *n)
{
	return row_of_tag(&n->registry->alua, n->tpgt)->group;
}

static enum alua_state row_state(const struct alua_row *row, const struct scsi_lu *lu)
{
	uint8_t reach = atomic_load_explicit(&row->reach, memory_order_relaxed);
	if (atomic_load_explicit(&lu->moving, memory_order_relaxed))
		return ALUA_TRANSITIONING;
	if (reach != ALUA_OPTIMIZED)
		return (enum alua_state)reach;
	return lu->owner == row->group ? ALUA_OPTIMIZED : ALUA_NON_OPTIMIZED;
}

/* ---- changes ---- */

static void tell_nexus(struct scsi_nexus *n, const struct scsi_lu *lu)
{
	pthread_mutex_lock(&n->lock);
	for (unsigned i = 0; i < n->view->n; i++)
		if (!lu || n->view->luns[i].lu == lu)
			itl_ua_add(&n->view->luns[i], UA_ACCESS);
	pthread_mutex_unlock(&n->lock);
}

static void tell_all(struct scsi_registry *r, const struct scsi_lu *lu,
		     const struct scsi_nexus *but)
{
	struct scsi_nexus *n;
	pthread_mutex_lock(&r->lock);
	TAILQ_FOREACH (n, &r->nexuses, link)
		if (n != but)
			tell_nexus(n, lu);
	pthread_mutex_unlock(&r->lock);
}

void alua_set_moving(struct scsi_registry *r, struct scsi_lu *lu, bool moving)
{
	if (atomic_exchange(&lu->moving, moving) != moving && !moving)
		tell_all(r, lu, NULL);
}

bool alua_set_owner(struct scsi_registry *r, struct scsi_lu *lu, uint16_t group,
		    const struct scsi_nexus *by)
{
	lu->moved = by ? STATUS_EXPLICIT : STATUS_IMPLICIT;
	if (atomic_exchange(&lu->owner, group) == group)
		return false;
	tell_all(r, lu, by);
	return true;
}

void alua_set_reach(struct scsi_registry *r, uint16_t group, enum alua_state reach)
{
	struct alua *a = &r->alua;
	bool changed = false;
	for (unsigned i = 0; i < atomic_load(&a->n); i++)
		if (a->rows[i].group == group)
			changed |= atomic_exchange(&a->rows[i].reach, (uint8_t)reach) != reach;
	if (changed)
		tell_all(r, NULL, NULL);
}

/* ---- commands in each state (5.16.2.4 to 5.16.2.8) ---- */

bool alua_allows(struct scsi_cmd *c)
{
	static const struct {
		unsigned level;
		uint8_t ascq;
	} states[16] = {
	    [ALUA_STANDBY] = {OP_STANDBY, 0x0b},
	    [ALUA_UNAVAILABLE] = {OP_UNAVAILABLE, 0x0c},
	    [ALUA_TRANSITIONING] = {OP_TRANSITION, 0x0a},
	};
	enum alua_state s = row_state(row_of_tag(&c->nexus->registry->alua, c->nexus->tpgt), c->lu);
	if (__builtin_expect((c->op->flags & OP_TRANSITION) >= states[s].level, 1))
		return true;
	cmd_sense(c, KEY_NOT_READY, 0x04, states[s].ascq);
	return false;
}

/* ---- REPORT TARGET PORT GROUPS (6.37) ---- */

static bool shows(const struct scsi_target *t, const struct scsi_lu *lu)
{
	for (unsigned i = 0; i < t->nluns; i++)
		if (t->luns[i].lu->volume_id == lu->volume_id)
			return true;
	return false;
}

/* The ports of a group through which the unit is seen; registry lock. */
static unsigned put_ports(struct scsi_registry *r, const struct scsi_lu *lu, uint16_t group,
			  uint8_t *b, unsigned room)
{
	unsigned n = 0;
	for (unsigned i = 0; i < r->ntargets; i++) {
		const struct scsi_target *t = r->targets[i];
		if (!shows(t, lu))
			continue;
		for (unsigned k = 0; k < r->ntags && n < room; k++) {
			if (row_of_tag(&r->alua, r->tags[k])->group != group ||
			    !scsi_target_in_group(t, r->tags[k]))
				continue;
			be16_put(b + n * 4, 0);
			be16_put(b + n * 4 + 2, port_number(t->port, r->tags[k]));
			n++;
		}
	}
	return n;
}

static unsigned put_group(struct scsi_registry *r, const struct scsi_lu *lu,
			  const struct alua_row *row, uint8_t *b, unsigned room)
{
	memset(b, 0, 8);
	b[0] = (uint8_t)row_state(row, lu) | (lu->owner == row->group ? 0x80 : 0); /* PREF */
	b[1] = T_SUP | U_SUP | S_SUP | AN_SUP | AO_SUP;
	be16_put(b + 2, row->group);
	b[5] = lu->moved;
	b[7] = (uint8_t)put_ports(r, lu, row->group, b + 8, MIN((room - 8) / 4, 255u));
	return 8 + b[7] * 4u;
}

/* Has a row before this one the same group? */
static bool group_done(const struct alua *a, unsigned i)
{
	for (unsigned k = 0; k < i; k++)
		if (a->rows[k].group == a->rows[i].group)
			return true;
	return false;
}

enum scsi_next op_report_groups(struct scsi_cmd *c)
{
	struct scsi_registry *r = c->nexus->registry;
	bool extended = c->cdb[1] & 0x20; /* PARAMETER DATA FORMAT 001b */
	unsigned n = extended ? 8 : 4;
	memset(c->data, 0, n);
	if (extended)
		c->data[4] = 0x10; /* the format; no time is told for implicit transitions */
	pthread_mutex_lock(&r->lock);
	for (unsigned i = 0; i < atomic_load(&r->alua.n); i++)
		if (!group_done(&r->alua, i) && n + 8 <= sizeof(c->data))
			n += put_group(r, c->lu, &r->alua.rows[i], c->data + n,
				       (unsigned)sizeof(c->data) - n);
	pthread_mutex_unlock(&r->lock);
	be32_put(c->data, n - 4);
	return cmd_data_in(c, c->data, n, be32_get(c->cdb + 6));
}

/* ---- SET TARGET PORT GROUPS (6.45) ---- */

#define SET_MAX (4 + 4 * ALUA_ROWS)

enum scsi_next op_set_groups(struct scsi_cmd *c)
{
	uint32_t len = be32_get(c->cdb + 6);
	if (!len)
		return cmd_good(c);
	c->out_len = len;
	if (len < 4 || len % 4 || len > SET_MAX || c->out_expected < len)
		return cmd_bad_length(c);
	return cmd_data_out(c, len) ? SCSI_DATA_OUT : cmd_status(c, SCSI_BUSY);
}

/*
 * One group may be made active/optimized: it then owns the unit. The others can only be told to be
 * what they are then, active/non-optimized; other states an initiator cannot ask for.
 */
enum scsi_next op_set_groups_finish(struct scsi_cmd *c)
{
	struct scsi_registry *r = c->nexus->registry;
	const uint8_t *b = c->inline_iov.iov_base;
	uint16_t owner = 0;
	for (unsigned at = 4; at < c->out_len; at += 4) {
		uint16_t group = be16_get(b + at + 2);
		enum alua_state s = (enum alua_state)(b[at] & 0x0f);
		if (!row_of_group(&r->alua, group))
			return cmd_bad_param(c, at + 2, -1);
		if (s > ALUA_NON_OPTIMIZED || (s == ALUA_OPTIMIZED && owner))
			return cmd_bad_param(c, at, 3);
		if (s == ALUA_OPTIMIZED)
			owner = group;
	}
	if (!owner)
		owner = c->lu->owner;
	for (unsigned at = 4; at < c->out_len; at += 4)
		if ((b[at] & 0x0f) == ALUA_NON_OPTIMIZED && be16_get(b + at + 2) == owner)
			return cmd_bad_param(c, at, 3);
	if (c->out_len > 4)
		alua_set_owner(r, c->lu, owner, c->nexus);
	return cmd_good(c);
}
