/*
 * What the two controllers tell each other beside commands (forward.h): task management and the
 * ends of commands, unit attentions, the state of units.
 *
 * Who ends commands of a proxy asks its front, which ends them as its own: those the owner has are
 * aborted there by that; and when the front answers, all of them are gone.
 *
 * What is told is numbered (forward_wire.h). The number is taken and sent under one lock, so that
 * numbers arrive in their order.
 */
#include <errno.h>
#include <stdlib.h>
#include "runtime/err.h"
#include "runtime/log.h"
#include "server/scsi/forward.h"

#define END_WAIT_NS (5 * NS_PER_S)

/* ---- telling ---- */

uint64_t forward_told(struct forward *f)
{
	uint64_t session = link_session(f->link);
	if (f->told_session != session) {
		f->told_session = session;
		f->told = 0;
	}
	return f->told;
}

void forward_tell(struct forward *f, const struct proxy *p, uint32_t lun, uint32_t uas)
{
	uint8_t b[FWD_ATTENTION_LEN];
	struct fwd_attention x = {.nexus = p->id, .lun = lun, .uas = uas};
	if (!uas)
		return;
	pthread_mutex_lock(&f->tell_lock);
	x.told = forward_told(f) + 1;
	fwd_attention_put(b, &x);
	/* without a link the nexus is nobody's any more */
	if (!link_send(f->link, LINK_CONTROL, LINK_SVC_SCSI, FWD_ATTENTION, b, sizeof(b), NULL, 0))
		f->told++;
	pthread_mutex_unlock(&f->tell_lock);
}

static struct fwd_unit unit_state(struct scsi_lu *lu)
{
	struct fwd_unit x = {.volume_id = lu->volume_id,
			     .block_size = lu->block_size,
			     .physical_size = lu->physical_size,
			     .removable = lu->removable,
			     .no_unmap = lu->no_unmap,
			     .write_through = lu->write_through,
			     .d_sense = lu->d_sense,
			     .swp = lu->swp,
			     .tas = lu->tas,
			     .ua_intlck = lu->ua_intlck,
			     .ejected = atomic_load(&lu->conditions) & COND_EJECTED};
	const struct scsi_nexus *by = lu->reserved_by;
	text_copy(x.serial, lu->serial, sizeof(x.serial));
	if (by) {
		x.reserved = by->proxy ? FWD_BY_RECEIVER : FWD_BY_SENDER;
		x.by = by->proxy ? by->proxy->id : by->number;
	}
	return x;
}

void forward_tell_unit(struct forward *f, struct scsi_lu *lu)
{
	uint8_t b[FWD_UNIT_LEN];
	struct volume *v = lu_volume(lu);
	if (!v || core_volume_place(v) != CORE_HERE)
		return;
	struct fwd_unit x = unit_state(lu);
	pthread_mutex_lock(&f->tell_lock);
	x.told = forward_told(f) + 1;
	fwd_unit_put(b, &x);
	if (!link_send(f->link, LINK_CONTROL, LINK_SVC_SCSI, FWD_UNIT, b, sizeof(b), NULL, 0))
		f->told++;
	pthread_mutex_unlock(&f->tell_lock);
}

void forward_tell_units(struct forward *f)
{
	struct scsi_registry *r = f->registry;
	for (unsigned i = 0; i < r->ntargets; i++)
		for (unsigned k = 0; k < r->targets[i]->nluns; k++)
			forward_tell_unit(f, r->targets[i]->luns[k].lu);
}

/* ---- hearing; on the link's reactor ---- */

static void heard(struct forward *f, uint64_t told)
{
	atomic_store(&f->heard, told);
	forward_wake(f);
}

static void hear_attention(struct forward *f, struct link_msg *m)
{
	struct fwd_attention x;
	uint32_t len;
	const void *head = link_msg_head(m, &len);
	int err = fwd_attention_get(head, len, &x);
	if (err) {
		log_error("scsi: the partner told what is no unit attention err=%s", err_name(err));
		return;
	}
	pthread_mutex_lock(&f->registry->lock);
	struct scsi_nexus *n = forward_find_nexus(f, x.nexus);
	if (n)
		nexus_ua_set(n, x.lun, x.uas);
	pthread_mutex_unlock(&f->registry->lock);
	heard(f, x.told);
}

static struct scsi_lu *find_unit(struct scsi_registry *r, const struct fwd_unit *x)
{
	struct lu_config cfg = {.volume_id = x->volume_id,
				.block_size = x->block_size,
				.physical_size = x->physical_size,
				.removable = x->removable,
				.no_unmap = x->no_unmap,
				.serial = x->serial};
	for (unsigned i = 0; i < r->ntargets; i++)
		for (unsigned k = 0; k < r->targets[i]->nluns; k++)
			if (lu_is(r->targets[i]->luns[k].lu, &cfg))
				return r->targets[i]->luns[k].lu;
	return NULL;
}

static void unit_follow(struct forward *f, struct scsi_lu *lu, const struct fwd_unit *x)
{
	struct proxy *p = x->reserved == FWD_BY_SENDER ? proxy_find(f, x->by) : NULL;
	lu->write_through = x->write_through;
	lu->d_sense = x->d_sense;
	lu->swp = x->swp;
	lu->tas = x->tas;
	lu->ua_intlck = x->ua_intlck;
	if (x->ejected)
		atomic_fetch_or(&lu->conditions, COND_EJECTED);
	else
		atomic_fetch_and(&lu->conditions, ~COND_EJECTED);
	reservation_set(f->registry, lu,
			x->reserved == FWD_BY_RECEIVER ? forward_find_nexus(f, x->by)
			: p			       ? p->nexus
						       : NULL);
}

static void hear_unit(struct forward *f, struct link_msg *m)
{
	struct fwd_unit x;
	uint32_t len;
	const void *head = link_msg_head(m, &len);
	int err = fwd_unit_get(head, len, &x);
	if (err) {
		log_error("scsi: the partner told what is no unit's state err=%s", err_name(err));
		return;
	}
	pthread_mutex_lock(&f->registry->lock);
	struct scsi_lu *lu = find_unit(f->registry, &x);
	struct volume *v = lu ? lu_volume(lu) : NULL;
	if (v && core_volume_place(v) != CORE_HERE) /* else it is old */
		unit_follow(f, lu, &x);
	pthread_mutex_unlock(&f->registry->lock);
	heard(f, x.told);
}

/* ---- ending the commands of a proxy: the owner ---- */

struct ending {
	struct forward *forward;
	const struct proxy *proxy; /* only compared */
	struct fwd_item item;
	void (*done)(void *arg);
	void *arg;
};

static bool proxy_there(struct forward *f, const struct proxy *p)
{
	struct scsi_nexus *n;
	pthread_mutex_lock(&f->registry->lock);
	TAILQ_FOREACH (n, &f->registry->nexuses, link)
		if (n->proxy == p)
			break;
	pthread_mutex_unlock(&f->registry->lock);
	return n;
}

/* When the front is lost, its proxies go, each after its last command. */
static void wait_proxy_gone(struct ending *e)
{
	struct forward *f = e->forward;
	uint64_t by = env_now_ns(f->env) + END_WAIT_NS;
	while (proxy_there(f, e->proxy) && env_now_ns(f->env) < by)
		env_sleep_ns(f->env, NS_PER_MS);
}

static void end_task(void *arg)
{
	struct ending *e = arg;
	struct forward *f = e->forward;
	uint8_t b[FWD_ITEM_LEN];
	struct link_answer none = {0};
	fwd_item_put(b, &e->item);
	int err = link_call(f->link, LINK_CONTROL, LINK_SVC_SCSI, FWD_END, b, sizeof(b), NULL, 0,
			    &none, 0);
	if (err == -ERR_DISCONNECTED)
		wait_proxy_gone(e);
	else if (err)
		log_warn("scsi: the partner did not end commands err=%s", err_name(err));
	if (e->done)
		e->done(e->arg);
	free(e);
	atomic_fetch_sub(&f->jobs, 1);
}

bool forward_end(struct forward *f, const struct proxy *p, const uint8_t lun[8], bool tas,
		 void (*done)(void *arg), void *arg)
{
	struct ending *e = malloc(sizeof(*e));
	if (!e)
		return false;
	*e = (struct ending){.forward = f,
			     .proxy = p,
			     .item = {.what = tas, .nexus = p->id},
			     .done = done,
			     .arg = arg};
	memcpy(e->item.lun, lun, 8);
	atomic_fetch_add(&f->jobs, 1);
	if (!task_start(end_task, e))
		return true;
	atomic_fetch_sub(&f->jobs, 1);
	free(e);
	return false;
}

/* ---- ...: the front ---- */

static void ended(void *arg)
{
	link_reply(arg, 0, NULL, 0, NULL, 0, NULL, NULL);
}

static void hear_end(struct forward *f, struct link_msg *m)
{
	struct scsi_registry *r = f->registry;
	struct fwd_item x;
	uint32_t len;
	const void *head = link_msg_head(m, &len);
	int err = fwd_item_get(head, len, &x);
	if (err) {
		link_reply(m, err, NULL, 0, NULL, 0, NULL, NULL);
		return;
	}
	pthread_mutex_lock(&r->lock);
	struct scsi_nexus *n = forward_find_nexus(f, x.nexus);
	bool waits = n && scsi_nexus_abort(n, x.lun, x.what & 1, ended, m);
	pthread_mutex_unlock(&r->lock);
	if (!waits)
		ended(m);
}

/* ---- task management: the front ---- */

static int tmf_call(struct forward *f, struct scsi_nexus *n, const uint8_t *b)
{
	uint8_t told[FWD_ITEM_LEN];
	struct fwd_item x;
	struct link_answer ans = {.head = told, .head_max = sizeof(told)};
	uint64_t session = link_session(f->link);
	int rc = forward_announce(f, n);
	if (!rc)
		rc = link_call(f->link, LINK_CONTROL, LINK_SVC_SCSI, FWD_TMF, b, FWD_ITEM_LEN, NULL,
			       0, &ans, 0);
	if (rc == -ENXIO)
		atomic_store(&n->known, 0);
	if (!rc)
		rc = fwd_item_get(told, ans.head_len, &x);
	if (!rc)
		forward_hear(f, x.id, session);
	return rc;
}

int forward_tmf(struct forward *f, struct scsi_nexus *n, struct scsi_lu *lu, const uint8_t lun[8],
		enum scsi_tmf what)
{
	uint8_t b[FWD_ITEM_LEN];
	struct fwd_item x = {.what = (uint8_t)what, .nexus = n->number};
	uint64_t by_ns = 0;
	memcpy(x.lun, lun, 8);
	fwd_item_put(b, &x);
	for (;;) {
		int rc = forward_where(f, lu, &by_ns, NULL);
		if (rc < 0)
			return -EIO;
		if (rc == CORE_HERE)
			return FORWARD_HERE;
		rc = tmf_call(f, n, b);
		/* once more does no harm: the tasks of an owner that is lost are gone with it */
		if (rc != -ERR_NOT_OWNER && rc != -ERR_DISCONNECTED && rc != -ENXIO &&
		    rc != -EOPNOTSUPP && rc != -EBUSY)
			return rc ? -EIO : 0;
		if (!by_ns)
			by_ns = env_now_ns(f->env) + FORWARD_HOLD_NS;
		env_sleep_ns(f->env, NS_PER_MS);
	}
}

/* ---- ...: the owner ---- */

struct managing {
	struct task *task;
	_Atomic unsigned pending;
};

static void other_ended(void *arg)
{
	struct managing *x = arg;
	struct task *waiter = x->task; /* x is gone once pending drops */
	atomic_fetch_sub(&x->pending, 1);
	task_wake(waiter);
}

static void end_other(struct scsi_nexus *other, const uint8_t lun[8], bool tas, void *arg)
{
	struct managing *x = arg;
	atomic_fetch_add(&x->pending, 1);
	if (!scsi_nexus_abort(other, lun, tas, other_ended, x))
		atomic_fetch_sub(&x->pending, 1);
}

static void serve_tmf(struct forward *f, struct link_msg *m)
{
	struct managing job = {.task = task_self()};
	uint8_t b[FWD_ITEM_LEN];
	struct fwd_item x;
	uint32_t len;
	const void *head = link_msg_head(m, &len);
	int err = fwd_item_get(head, len, &x);
	struct proxy *p = err ? NULL : proxy_find(f, x.nexus);
	if (!err && x.what > SCSI_TMF_CLEAR_TASK_SET)
		err = -ERR_PROTO;
	if (!err && !p)
		err = -ENXIO;
	if (!err)
		err = scsi_task_management(p->nexus, x.lun, (enum scsi_tmf)x.what, end_other, &job);
	while (atomic_load(&job.pending))
		task_park();
	pthread_mutex_lock(&f->tell_lock);
	fwd_item_put(b, &(struct fwd_item){.id = forward_told(f)});
	pthread_mutex_unlock(&f->tell_lock);
	link_reply(m, err, b, sizeof(b), NULL, 0, NULL, NULL);
}

/* ---- messages ---- */

static void one_way(struct forward *f, struct link_msg *m)
{
	struct fwd_item x;
	uint32_t len;
	const void *head = link_msg_head(m, &len);
	int err = fwd_item_get(head, len, &x);
	if (err)
		log_error("scsi: a message of the partner is malformed type=%u err=%s",
			  link_msg_type(m), err_name(err));
	else if (link_msg_type(m) == FWD_GONE)
		proxy_gone(f, x.nexus);
	else if (link_msg_type(m) == FWD_DROP)
		serve_drop(f, &x);
	else
		serve_abort(f, &x);
}

static bool sent_one_way(uint16_t type)
{
	return type == FWD_GONE || type == FWD_DROP || type == FWD_ABORT || type == FWD_ATTENTION ||
	       type == FWD_UNIT;
}

/* Of a session that is over: proxies of the same numbers may be of the next one. */
static void unwanted(struct link_msg *m)
{
	if (link_msg_is_call(m))
		link_reply(m, -ERR_DISCONNECTED, NULL, 0, NULL, 0, NULL, NULL);
	else
		link_done(m);
}

static void handle(struct forward *f, struct link_msg *m)
{
	uint64_t session = link_session(f->link);
	if (!link_msg_wanted(m)) {
		unwanted(m);
		return;
	}
	if (f->proxy_session != session) { /* of another life of the link */
		proxies_gone(f);
		f->proxy_session = session;
		atomic_store(&f->heard, 0);
	}
	bool one_way_type = sent_one_way(link_msg_type(m));
	if (link_msg_is_call(m) == one_way_type) {
		log_error("scsi: a message of the partner is of no known kind type=%u",
			  link_msg_type(m));
		if (one_way_type)
			link_reply(m, -ERR_PROTO, NULL, 0, NULL, 0, NULL, NULL);
		else
			link_done(m);
		return;
	}
	switch (link_msg_type(m)) {
	case FWD_NEXUS:
		proxy_made(f, m);
		return;
	case FWD_CMD:
		serve_command(f, m);
		return;
	case FWD_MORE:
		serve_more(f, m);
		return;
	case FWD_PULL:
		forward_pull(f, m);
		return;
	case FWD_TMF:
		serve_tmf(f, m);
		return;
	case FWD_END:
		hear_end(f, m);
		return;
	case FWD_GONE:
	case FWD_DROP:
	case FWD_ABORT:
		one_way(f, m);
		break;
	case FWD_ATTENTION:
		hear_attention(f, m);
		break;
	case FWD_UNIT:
		hear_unit(f, m);
		break;
	default: /* a call of no known type */
		link_reply(m, -EOPNOTSUPP, NULL, 0, NULL, 0, NULL, NULL);
		return;
	}
	link_done(m);
}

void forward_message(void *arg, struct link_msg *m)
{
	struct forward *f = arg;
	atomic_fetch_add(&f->jobs, 1);
	handle(f, m);
	atomic_fetch_sub(&f->jobs, 1);
}
