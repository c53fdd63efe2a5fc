/*
 * Task management (RFC 7143 11.5). A function runs as a coroutine: tasks that
 * are waiting inside the SCSI layer when they are aborted must have come back
 * before the response says that they are gone - those of other sessions, on
 * other reactors, too.
 */
#include "server/iscsi/conn.h"
#include "runtime/check.h"
#include "runtime/log.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct tmf {
	struct conn *c; /* held */
	struct bhs req;
	struct abort_scope scope;
	struct task *task;
	_Atomic unsigned pending; /* other sessions not done yet */
};

/* Tasks of one other session on a LUN. */
struct tmf_other {
	struct session *session; /* held */
	uint8_t lun[8];
	bool tas;
	void (*done)(void *arg); /* may be NULL */
	void *arg;
};

static void other_done(struct tmf_other *o)
{
	if (o->done)
		o->done(o->arg);
	session_release(o->session);
	free(o);
}

static void other_wait(void *arg)
{
	struct tmf_other *o = arg;
	session_wait_aborted(o->session, o->lun);
	other_done(o);
}

/* On the other session's reactor. */
static void other_abort(void *arg)
{
	struct tmf_other *o = arg;
	if (o->tas)
		session_end_tasks(o->session, o->lun);
	else
		session_abort_tasks(o->session, o->lun, NULL);
	struct conn *c = TAILQ_FIRST(&o->session->conns);
	if (c)
		conn_nop_window(c);
	if (!session_aborted_left(o->session, o->lun) || task_start(other_wait, o) < 0)
		other_done(o);
}

bool conn_abort_other(void *transport, const uint8_t lun[8], bool tas, void (*done)(void *arg),
		      void *arg)
{
	struct session *s = transport;
	struct tmf_other *o = malloc(sizeof(*o));
	if (!o)
		return false;
	*o = (struct tmf_other){.session = session_hold(s), .tas = tas, .done = done, .arg = arg};
	memcpy(o->lun, lun, 8);
	if (reactor_post(s->worker->reactor, other_abort, o) == 0)
		return true;
	session_release(s);
	free(o);
	return false;
}

static void tmf_other_done(void *arg)
{
	struct tmf *tmf = arg;
	struct task *waiter = tmf->task; /* tmf is gone once pending drops */
	atomic_fetch_sub(&tmf->pending, 1);
	task_wake(waiter);
}

/* The SCSI layer names another nexus that shares an affected LU: any thread's session, or one of
 * the partner's. */
static void abort_others(struct scsi_nexus *other, const uint8_t lun[8], bool tas, void *arg)
{
	struct tmf *tmf = arg;
	atomic_fetch_add(&tmf->pending, 1);
	if (!scsi_nexus_abort(other, lun, tas, tmf_other_done, tmf))
		atomic_fetch_sub(&tmf->pending, 1);
}

static enum tmf_response abort_one(struct tmf *tmf)
{
	struct itask *t = session_find_task(tmf->c->session, be32_get(tmf->req.ref_tag));
	if (t) {
		task_abort(t);
		return TMF_COMPLETE;
	}
	/* RFC 7143 11.6.1: it may not have come yet, and is then to be ignored */
	uint32_t sn = be32_get(tmf->req.refcmdsn);
	bool before = sn_before(sn, be32_get(tmf->req.cmdsn));
	return before && window_void(tmf->c, sn) ? TMF_COMPLETE : TMF_NO_TASK;
}

static enum tmf_response on_lun(struct tmf *tmf, int what)
{
	struct scsi_nexus *n = tmf->c->session->nexus;
	if (!scsi_lun_exists(n, tmf->req.lun))
		return TMF_NO_LUN;
	session_abort_tasks(tmf->c->session, tmf->req.lun, &tmf->scope);
	if (what < 0)
		return TMF_COMPLETE;
	int rc = scsi_task_management(n, tmf->req.lun, (enum scsi_tmf)what, abort_others, tmf);
	return rc == -ENOENT ? TMF_NO_LUN : rc < 0 ? TMF_REJECTED : TMF_COMPLETE;
}

static enum tmf_response on_target(struct tmf *tmf)
{
	static const uint8_t lun0[8];
	session_abort_tasks(tmf->c->session, NULL, &tmf->scope);
	int rc = scsi_task_management(tmf->c->session->nexus, lun0, SCSI_TMF_TARGET_RESET,
				      abort_others, tmf);
	return rc < 0 && rc != -ENOENT ? TMF_REJECTED : TMF_COMPLETE;
}

static enum tmf_response tmf_execute(struct tmf *tmf)
{
	switch (tmf->req.flags & 0x7f) {
	case TMF_ABORT_TASK:
		return abort_one(tmf);
	case TMF_ABORT_TASK_SET:
		return on_lun(tmf, -1);
	case TMF_CLEAR_TASK_SET:
		return on_lun(tmf, SCSI_TMF_CLEAR_TASK_SET);
	case TMF_LU_RESET:
		return on_lun(tmf, SCSI_TMF_LU_RESET);
	case TMF_WARM_RESET:
	case TMF_COLD_RESET:
		return on_target(tmf);
	case TMF_TASK_REASSIGN:
		return TMF_NO_REASSIGN; /* needs error recovery level 2 */
	default:
		return TMF_UNSUPPORTED; /* CLEAR ACA: NormACA is 0 everywhere */
	}
}

static void tmf_answer(struct conn *c, const struct bhs *req, enum tmf_response response)
{
	struct bhs r = {.opcode = OP_TMF_RSP, .flags = PDU_FINAL, .response = (uint8_t)response};
	memcpy(r.itt, req->itt, 4);
	conn_tx_ctl(c, &r, NULL, 0);
}

/*
 * RFC 7143 4.2.3.2: commands numbered before an immediate request on several tasks are affected by
 * it, also those that other connections have not brought yet.
 */
static void wait_commands(struct tmf *tmf)
{
	struct conn *c = tmf->c;
	struct session *s = c->session;
	uint32_t sn = be32_get(tmf->req.cmdsn);
	if ((tmf->req.flags & 0x7f) == TMF_ABORT_TASK)
		return;
	if (c->tmfs_waiting++ == 0)
		c->tmf_ms = conn_now_ms(c);
	while (c->fd >= 0 && s->nconns > 1 && sn_before(s->window.exp, sn) &&
	       !sn_before(s->window.max + 1, sn))
		waitq_wait(&s->changed);
	c->tmfs_waiting--;
}

static void tmf_run(void *arg)
{
	struct tmf *tmf = arg;
	struct conn *c = tmf->c;
	tmf->task = task_self();
	wait_commands(tmf);
	if (c->fd >= 0) {
		enum tmf_response response = tmf_execute(tmf);
		session_wait_zombies(c->session);
		while (atomic_load(&tmf->pending) > 0)
			task_park();
		tmf_answer(c, &tmf->req, response);
		/* RFC 7143 4.2.3.4: a cold reset also ends the target's sessions */
		if ((tmf->req.flags & 0x7f) == TMF_COLD_RESET && response == TMF_COMPLETE &&
		    c->fd >= 0) {
			session_kill_all(c->worker->server, c->session->target_name, NULL,
					 c->session);
			session_close(c->session, c, "the target was reset");
			conn_close_after_send(c);
		}
	}
	c->window->immediate -= pdu_immediate(&tmf->req);
	c->window->busy -= !pdu_immediate(&tmf->req);
	free(tmf);
	conn_release(c);
}

void conn_tmf_request(struct conn *c, const struct bhs *b)
{
	bool immediate = pdu_immediate(b);
	if (!window_take_request(c, b))
		return;
	if (be32_get(b->itt) == PDU_NO_TAG) {
		conn_protocol_error(c, b, "task management without a task tag");
		return;
	}
	if (!c->session->nexus) {
		conn_reject(c, b, REJECT_PROTOCOL);
		return;
	}
	if (immediate && c->window->immediate >= IMMEDIATE_MAX) {
		conn_reject(c, b, REJECT_IMMEDIATE);
		return;
	}
	log_info("iscsi: task management function=%u initiator=%s target=%s", b->flags & 0x7f,
		 c->session->initiator, c->session->target_name);
	struct tmf *tmf = calloc(1, sizeof(*tmf));
	if (!tmf) {
		tmf_answer(c, b, TMF_REJECTED);
		return;
	}
	tmf->c = c;
	tmf->req = *b;
	tmf->scope =
	    (struct abort_scope){.arrival = c->session->arrivals, .cmdsn = be32_get(b->cmdsn)};
	conn_hold(c);
	c->window->immediate += immediate;
	c->window->busy += !immediate;
	if (task_start(tmf_run, tmf) == 0)
		return;
	c->window->immediate -= immediate;
	c->window->busy -= !immediate;
	tmf_answer(c, b, TMF_REJECTED);
	free(tmf);
	conn_release(c);
}
