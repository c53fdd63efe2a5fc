/*
 * The login phase on a connection: requests go to login.c, responses back. The
 * last step makes the session, which may have to wait for an older one to end,
 * and so runs in a coroutine while nothing is read.
 */
#include "server/iscsi/conn.h"
#include "runtime/check.h"
#include "runtime/log.h"
#include <errno.h>
#include <string.h>

static struct ctl *login_send(struct conn *c, const struct bhs *rsp, const char *text, size_t len)
{
	struct ctl *k = conn_tx_ctl(c, rsp, text, (uint32_t)len);
	if (k)
		k->plain = true;
	return k;
}

static void login_fail(struct conn *c, const struct bhs *rsp)
{
	struct login *l = c->login;
	COUNT(c->worker->login_failures, 1);
	log_warn("iscsi: login refused initiator=%s target=%s peer=%s status=%02x%02x",
		 l->initiator, l->target_name, c->peer, rsp->status_class, rsp->status_detail);
	conn_event(c, EV_LOGIN_FAILED);
	login_send(c, rsp, l->reply, l->reply_len);
	conn_close_after_send(c);
}

static void login_success(struct conn *c)
{
	struct login *l = c->login;
	struct bhs rsp = l->rsp;
	be16_put(rsp.tsih, c->session->tsih);
	c->keys = l->keys;
	c->cid = l->cid;
	conn_event(c, EV_LOGIN_OK);
	login_send(c, &rsp, l->reply, l->reply_len);
	c->header_digest = c->keys.v[KEY_HEADER_DIGEST];
	c->data_digest = c->keys.v[KEY_DATA_DIGEST];
	if (c->session->nexus)
		conn_settle(c);
	COUNT(c->worker->logins, 1);
	log_info("iscsi: logged in initiator=%s target=%s peer=%s tsih=%u auth=%s",
		 c->session->initiator, l->discovery ? "(discovery)" : c->session->target_name,
		 c->peer, c->session->tsih, !l->need_auth ? "none" : "chap");
}

/* A coroutine; holds the connection. */
static void login_finish(void *arg)
{
	struct conn *c = arg;
	struct login *l = c->login;
	unsigned status = l->tsih ? session_join(c, l) : session_create(c, l);
	c->login_busy = false;
	if (c->fd >= 0 && status) {
		l->reply_len = 0;
		login_refuse(&l->rsp, &l->rsp, status);
		login_fail(c, &l->rsp);
	} else if (c->fd >= 0) {
		login_success(c);
	}
	login_free(l);
	c->login = NULL;
	conn_rx_process(c);
	conn_release(c);
}

/* Refusals that need to know other sessions. */
static unsigned login_precheck(struct conn *c, const struct bhs *b)
{
	uint16_t tsih = be16_get(b->tsih);
	if (c->surplus)
		return LOGIN_NO_RESOURCES;
	if (c->worker->stopping)
		return LOGIN_UNAVAILABLE;
	if (tsih == 0)
		return LOGIN_SUCCESS;
	return session_worker(c->worker->server, tsih, b->isid) == c->worker ? LOGIN_SUCCESS
									     : LOGIN_NO_SESSION;
}

static bool login_begin(struct conn *c, const struct bhs *b)
{
	char address[96];
	if (c->login)
		return true;
	conn_local_address(c, address, sizeof(address));
	c->login = login_new(&(struct login_opts){.registry = c->worker->server->registry,
						  .group = c->group,
						  .address = address,
						  .chap_allowed = c->worker->server->chap_allowed});
	if (!c->login) {
		conn_close(c, "no memory");
		return false;
	}
	window_init(c->window, be32_get(b->cmdsn)); /* login requests are immediate */
	c->statsn = be32_get(b->expstatsn);
	return true;
}

void conn_login_request(struct conn *c, const struct bhs *b, char *data, uint32_t len)
{
	struct text_out answer;
	conn_event(c, EV_LOGIN_REQUEST);
	if (!login_begin(c, b))
		return;
	struct login *l = c->login;
	enum login_result result = LOGIN_REFUSE;
	text_out_init(&answer, l->reply, sizeof(l->reply));
	l->rsp = (struct bhs){0};
	unsigned status = l->started ? LOGIN_SUCCESS : login_precheck(c, b);
	if (status)
		login_refuse(&l->rsp, b, status);
	else
		result = login_request(l, b, data, len, &l->rsp, &answer);
	l->reply_len = answer.len;
	switch (result) {
	case LOGIN_MORE:
		login_send(c, &l->rsp, l->reply, l->reply_len);
		return;
	case LOGIN_REFUSE:
		login_fail(c, &l->rsp);
		return;
	case LOGIN_FINAL:
		c->login_busy = true;
		conn_hold(c);
		if (task_start(login_finish, c) == 0)
			return;
		c->login_busy = false;
		l->reply_len = 0;
		login_refuse(&l->rsp, b, LOGIN_NO_RESOURCES);
		login_fail(c, &l->rsp);
		conn_release(c);
	}
}
