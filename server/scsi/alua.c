/*
 * Asymmetric logical unit access (SPC-4 5.16). A target port group is the target ports of one
 * controller; its state for a logical unit follows from who owns that:
 *
 *   the owner's group       active/optimized
 *   the others              active/non-optimized: they pass commands on
 *   while ownership moves   transitioning, all groups
 *   a group set apart       standby or unavailable, whoever owns the unit
 *   the link is cut         of the partner's units its group is active/optimized, as long as it
 *                           works, and ours unavailable (forward_cut()); of ours the other way
 *                           about. Both controllers tell the same: hosts believe either.
 *
 * The table has a row for every portal group tag. One controller is one group, which owns all; a
 * further one adds its rows (alua_add_ports()). SET TARGET PORT GROUPS moves ownership
 * (explicit), and so may the array itself (implicit). With a partner, ownership is the core's
 * (core_own.h) and moves by pool; while it moves commands are held, not refused (forward.c). The
 * PREF bit is then that of the pool's preferred owner, which an administrator sets: a host that
 * moves a pool does not change it, and multipath drivers go back by it.
 */
#include "server/scsi/alua.h"
#include <errno.h>
#include "runtime/err.h"
#include "runtime/log.h"
#include "server/scsi/forward.h"
#include "server/scsi/scsi_admin.h"

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

void alua_set_group(struct alua *a, uint16_t group)
{
	a->rows[0].group = group;
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

/* The owner may be reached by its own portals when it cannot be by the link. */
static enum alua_state reach_of(const struct scsi_registry *r, const struct alua_row *row,
				const struct scsi_lu *lu)
{
	const struct forward *f = r->forward;
	enum alua_state reach = atomic_load_explicit(&row->reach, memory_order_relaxed);
	if (__builtin_expect(!f || lu->owner != f->partner_group, 1))
		return reach;
	if (row->group == f->partner_group)
		return core_partner_ended(r->core) ? reach : ALUA_OPTIMIZED;
	return forward_cut(f) ? ALUA_UNAVAILABLE : reach;
}

static enum alua_state row_state(const struct scsi_registry *r, const struct alua_row *row,
				 const struct scsi_lu *lu)
{
	if (atomic_load_explicit(&lu->moving, memory_order_relaxed))
		return ALUA_TRANSITIONING;
	enum alua_state reach = reach_of(r, row, lu);
	if (reach != ALUA_OPTIMIZED)
		return reach;
	return lu->owner == row->group ? ALUA_OPTIMIZED : ALUA_NON_OPTIMIZED;
}

/* ---- changes ---- */

static void tell_nexus(struct scsi_nexus *n, const struct scsi_lu *lu)
{
	if (n->proxy) /* its front sees it too */
		return;
	pthread_mutex_lock(&n->lock);
	for (unsigned i = 0; i < n->view->n; i++)
		if (!lu || n->view->luns[i].lu == lu)
			itl_ua_add(&n->view->luns[i], UA_ACCESS);
	pthread_mutex_unlock(&n->lock);
}

static void tell_all_locked(struct scsi_registry *r, const struct scsi_lu *lu,
			    const struct scsi_nexus *but)
{
	struct scsi_nexus *n;
	TAILQ_FOREACH (n, &r->nexuses, link)
		if (n != but)
			tell_nexus(n, lu);
}

static void tell_all(struct scsi_registry *r, const struct scsi_lu *lu,
		     const struct scsi_nexus *but)
{
	pthread_mutex_lock(&r->lock);
	tell_all_locked(r, lu, but);
	pthread_mutex_unlock(&r->lock);
}

/* True: who owns the unit, or that it moves, is not what it was. */
static bool take_place(struct forward *f, struct scsi_lu *lu)
{
	struct volume *v = lu_volume(lu);
	enum core_place place = v ? core_volume_place(v) : CORE_NOWHERE;
	bool moving = place == CORE_MOVING || place == CORE_NOWHERE;
	uint16_t owner = place == CORE_HERE	 ? f->group
			 : place == CORE_PARTNER ? f->partner_group
						 : lu->owner;
	bool moved = atomic_exchange(&lu->owner, owner) != owner;
	return (atomic_exchange(&lu->moving, moving) && !moving) || moved;
}

void alua_place(struct scsi_registry *r, struct scsi_lu *lu)
{
	if (r->forward)
		take_place(r->forward, lu);
}

void alua_prefer(struct scsi_registry *r, struct scsi_lu *lu, const Isthmus__ArrayMeta *am)
{
	const Isthmus__Volume *v = r->forward ? meta_volume(am, lu->volume_id) : NULL;
	for (size_t i = 0; v && i < am->n_pools; i++)
		if (strcmp(am->pools[i]->name, v->pool) == 0)
			atomic_store(&lu->preferred,
				     strcmp(am->pools[i]->owner, core_controller(r->core)) == 0
					 ? r->forward->group
					 : r->forward->partner_group);
}

void alua_follow(struct scsi_registry *r, struct scsi_lu *lu)
{
	const struct scsi_nexus *by = atomic_load(&lu->mover);
	if (!take_place(r->forward, lu))
		return;
	lu->moved = by ? STATUS_EXPLICIT : STATUS_IMPLICIT;
	tell_all_locked(r, lu, by);
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
	const struct scsi_registry *r = c->nexus->registry;
	enum alua_state s = row_state(r, row_of_tag(&r->alua, c->nexus->tpgt), c->lu);
	if (__builtin_expect((c->op->flags & OP_TRANSITION) >= states[s].level, 1))
		return true;
	if (s == ALUA_TRANSITIONING && c->nexus->registry->forward)
		return true; /* it has come to rest here, or is held when that is over again */
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
		for (unsigned k = 0; k < t->nports && n < room; k++) {
			if (row_of_tag(&r->alua, t->ports[k].tag)->group != group)
				continue;
			be16_put(b + n * 4, 0);
			be16_put(b + n * 4 + 2, t->ports[k].number);
			n++;
		}
	}
	return n;
}

static unsigned put_group(struct scsi_registry *r, const struct scsi_lu *lu,
			  const struct alua_row *row, uint8_t *b, unsigned room)
{
	memset(b, 0, 8);
	uint16_t preferred = atomic_load(&lu->preferred);
	b[0] = (uint8_t)row_state(r, row, lu);
	if ((preferred ? preferred : lu->owner) == row->group)
		b[0] |= 0x80; /* PREF */
	b[1] = T_SUP | U_SUP | S_SUP | AN_SUP | AO_SUP;
	be16_put(b + 2, row->group);
	b[5] = lu->moved;
	b[7] = (uint8_t)put_ports(r, lu, row->group, b + 8, MIN((room - 8) / 4, 255u));
	return 8 + b[7] * 4u;
}

/* The row of the next group, by number: every controller answers alike. NULL: there is none. */
static const struct alua_row *next_group(const struct alua *a, unsigned after)
{
	const struct alua_row *best = NULL;
	for (unsigned i = 0; i < atomic_load(&a->n); i++)
		if (a->rows[i].group > after && (!best || a->rows[i].group < best->group))
			best = &a->rows[i];
	return best;
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
	const struct alua_row *row = next_group(&r->alua, 0);
	for (; row && n + 8 <= sizeof(c->data); row = next_group(&r->alua, row->group))
		n += put_group(r, c->lu, row, c->data + n, (unsigned)sizeof(c->data) - n);
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
	if (r->forward)
		return owner == r->forward->partner_group ? SCSI_WAIT : cmd_good(c);
	if (c->out_len > 4)
		alua_set_owner(r, c->lu, owner, c->nexus);
	return cmd_good(c);
}

/* Giving a pool away is the core's work, on its reactor. */
struct giving {
	struct core *core;
	const char *pool;
	char why[WHY_SIZE];
	struct task *task;
	_Atomic bool done;
	int err;
};

static void give_task(void *arg)
{
	struct giving *g = arg;
	struct task *waiter = g->task;
	g->err = core_pool_give_held(g->core, g->pool, g->why);
	atomic_store(&g->done, true);
	task_wake(waiter);
}

struct pool_name {
	uint32_t volume_id;
	char name[128];
};

/* Never changes anything: what the metadata says is asked for where it belongs. */
static int look_pool(Isthmus__ArrayMeta *am, void *arg, char *why)
{
	struct pool_name *x = arg;
	const Isthmus__Volume *v = meta_volume(am, x->volume_id);
	if (v)
		text_copy(x->name, v->pool, sizeof(x->name));
	return v ? -ECANCELED : -ENOENT;
}

/* SPC-4 6.45: SET TARGET PORT GROUPS COMMAND FAILED */
static enum scsi_next give_failed(struct scsi_cmd *c)
{
	return cmd_sense(c, KEY_HARDWARE_ERROR, 0x67, 0x0a);
}

/* The partner's group was asked for: the pool goes there, with all its volumes. */
enum scsi_next op_set_groups_finish_wait(struct scsi_cmd *c)
{
	struct scsi_registry *r = c->nexus->registry;
	struct pool_name pool = {.volume_id = c->lu->volume_id};
	char why[256] = "";
	if (meta_update(core_meta(r->core), look_pool, &pool, why) != -ECANCELED)
		return give_failed(c);
	struct giving g = {.core = r->core, .pool = pool.name, .task = task_self()};
	atomic_store(&c->lu->mover, c->nexus);
	g.err = task_start_on(r->sched, give_task, &g);
	if (!g.err)
		while (!atomic_load(&g.done))
			task_park();
	atomic_store(&c->lu->mover, NULL);
	if (!g.err)
		return cmd_good(c);
	log_warn("scsi: a pool was not given to the partner pool=%s err=%s why=\"%s\"", pool.name,
		 err_name(g.err), g.why);
	return give_failed(c);
}
