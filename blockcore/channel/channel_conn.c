/*
 * One head's connection: hello, welcome, then calls in both directions until
 * either side ends it. The main task receives; a second one tells the head its
 * configuration whenever the metadata changed, and who owns a volume whenever that
 * changed; a backup runs in a third.
 */
#include "blockcore/channel/channel_exec.h"
#include "blockcore/channel/channel_server_impl.h"
#include "blockcore/channel/channel_sock.h"
#include "blockcore/control/meta.h"
#include "blockcore/core.h"
#include "blockcore/core_own.h"
#include "blockcore/volume/volume.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HELLO_NS (5 * NS_PER_S)
#define BODY(c)	 ISTHMUS__CHANNEL_MSG__BODY_##c

void channel_conn_close(struct channel_conn *c)
{
	c->closing = true;
	channel_sock_shutdown(c->sock);
	waitq_wake_all(&c->tell_q);
}

static void init_msg(Isthmus__ChannelMsg *m, uint64_t id, Isthmus__ChannelMsg__BodyCase body)
{
	isthmus__channel_msg__init(m);
	m->id = id;
	m->body_case = body;
}

static int answer_error(struct channel_conn *c, uint64_t id, int code, const char *text)
{
	Isthmus__ChannelMsg m;
	Isthmus__ChannelError e = ISTHMUS__CHANNEL_ERROR__INIT;
	init_msg(&m, id, BODY(ERROR));
	e.code = code;
	e.text = (char *)text;
	m.error = &e;
	return channel_sock_send(c->sock, &m, NULL, 0);
}

static int welcome(struct channel_conn *c, uint64_t id)
{
	struct channel_server *s = c->server;
	struct channel_seg *seg = c->peer->seg;
	Isthmus__ChannelMsg m;
	Isthmus__ChannelWelcome w = ISTHMUS__CHANNEL_WELCOME__INIT;
	int fds[CHANNEL_FDS_MAX] = {seg->fd, s->opts.cache_fd, channel_exec_event_in(c->exec),
				    channel_exec_event_out(c->exec)};
	init_msg(&m, id, BODY(WELCOME));
	m.welcome = &w;
	w.epoch = seg->epoch;
	w.incarnation = s->incarnation;
	w.controller = s->controller;
	w.battery = s->battery;
	w.channel_size = seg->geo.size;
	w.cache_size = s->opts.cache_size;
	return channel_sock_send(c->sock, &m, fds, CHANNEL_FDS_MAX);
}

/* ---- configuration ---- */

void channel_conn_config_all(struct channel_server *s)
{
	struct channel_conn *c;
	TAILQ_FOREACH (c, &s->conns, link) {
		c->config_due = true;
		waitq_wake_all(&c->tell_q);
	}
}

static int send_config(struct channel_conn *c)
{
	Isthmus__ChannelMsg m;
	Isthmus__NasConfig *cfg = channel_config_make(
	    c->server, meta_get(core_meta(c->server->opts.core)), c->head, c->group);
	if (!cfg)
		return -ENOMEM;
	init_msg(&m, 0, BODY(CONFIG));
	m.config = cfg;
	int rc = channel_sock_send(c->sock, &m, NULL, 0);
	isthmus__nas_config__free_unpacked(cfg, NULL);
	return rc;
}

/* ---- ownership ---- */

static Isthmus__ChannelPlace place_of(const struct volume *v)
{
	switch (core_volume_place(v)) {
	case CORE_HERE:
		return ISTHMUS__CHANNEL_PLACE__CHANNEL_HERE;
	case CORE_PARTNER:
		return ISTHMUS__CHANNEL_PLACE__CHANNEL_PARTNER;
	case CORE_MOVING:
		return ISTHMUS__CHANNEL_PLACE__CHANNEL_MOVING;
	case CORE_NOWHERE:
		break;
	}
	return ISTHMUS__CHANNEL_PLACE__CHANNEL_NOWHERE;
}

/* Places and epochs change on this reactor alone: what is told belongs together. */
static void fill_owner(struct channel_conn *c, struct volume *v, Isthmus__ChannelOwner *o)
{
	isthmus__channel_owner__init(o);
	o->volume_id = volume_id(v);
	o->epoch = core_volume_owner_epoch(v);
	o->memory_id = core_volume_memory_id(c->server->opts.core, v);
	o->place = place_of(v);
	o->number = ++c->told;
}

static int send_owner(struct channel_conn *c, uint32_t id)
{
	Isthmus__ChannelMsg m;
	Isthmus__ChannelOwner o;
	struct volume *v = core_volume_get(c->server->opts.core, id);
	if (!v)
		return 0; /* removed: its requests are told so one by one */
	init_msg(&m, 0, BODY(OWNER));
	m.owner = &o;
	fill_owner(c, v, &o);
	core_volume_put(v);
	return channel_sock_send(c->sock, &m, NULL, 0);
}

void channel_conn_owner(struct channel_conn *c, uint32_t volume)
{
	for (unsigned i = 0; i < c->nvolumes; i++)
		if (c->volumes[i].id == volume) {
			c->volumes[i].due = true;
			waitq_wake_all(&c->tell_q);
		}
}

static struct conn_volume *owner_due(struct channel_conn *c)
{
	for (unsigned i = 0; i < c->nvolumes; i++)
		if (c->volumes[i].due)
			return &c->volumes[i];
	return NULL;
}

static void volume_enter(struct channel_conn *c, uint32_t id)
{
	for (unsigned i = 0; i < c->nvolumes; i++)
		if (c->volumes[i].id == id)
			return;
	ASSERT(c->nvolumes < CHANNEL_VOLUMES); /* channel_exec_open() says when it is full */
	c->volumes[c->nvolumes++] = (struct conn_volume){.id = id};
}

static void volume_leave(struct channel_conn *c, uint32_t id)
{
	for (unsigned i = 0; i < c->nvolumes; i++)
		if (c->volumes[i].id == id) {
			c->volumes[i] = c->volumes[--c->nvolumes];
			return;
		}
}

/* ---- telling ---- */

static int tell_config(struct channel_conn *c)
{
	int rc = 0;
	c->config_due = false;
	if (c->unrecorded && meta_get(core_meta(c->server->opts.core))->n_pools) {
		rc = channel_epoch_record(c->server, c->peer->seg);
		c->unrecorded = rc != 0;
	}
	return rc ? rc : send_config(c);
}

static int tell_owner(struct channel_conn *c, struct conn_volume *v)
{
	v->due = false;
	return send_owner(c, v->id);
}

static void tell_main(void *arg)
{
	struct channel_conn *c = arg;
	struct conn_volume *v;
	while (!c->closing) {
		int rc = 0;
		if ((v = owner_due(c)))
			rc = tell_owner(c, v);
		else if (c->config_due)
			rc = tell_config(c);
		else
			waitq_wait(&c->tell_q);
		if (rc) {
			log_error("channel: head not told head=%s why=%s", c->head, err_name(rc));
			channel_conn_close(c);
		}
	}
	if (--c->tasks == 0)
		waitq_wake_all(&c->tasks_gone);
}

static void take_applied(struct channel_conn *c, Isthmus__ChannelMsg *m)
{
	isthmus__nas_config_applied__free_unpacked(c->applied, NULL);
	c->applied = m->applied;
	m->applied = NULL;
	m->body_case = ISTHMUS__CHANNEL_MSG__BODY__NOT_SET;
	waitq_wake_all(&c->server->applied_q);
}

/* ---- calls of the head ---- */

static int open_volume(struct channel_conn *c, uint32_t id, struct volume **ret)
{
	struct core *core = c->server->opts.core;
	const Isthmus__ArrayMeta *am = meta_get(core_meta(core));
	bool program = channel_config_program(am, id);
	if (!program && !channel_config_allows(am, c->head, c->group, id))
		return -EACCES;
	struct volume *v = core_volume_get(core, id);
	if (!v)
		return -ENOENT;
	struct volume *mine = core_volume_get(core, id); /* for the answer */
	int rc = mine ? channel_exec_open(c->exec, v, program) : -ENOENT;
	if (rc) {
		core_volume_put(v);
		if (mine)
			core_volume_put(mine);
		return rc;
	}
	*ret = mine;
	return 0;
}

static int on_open(struct channel_conn *c, uint64_t id, const Isthmus__ChannelOpen *o)
{
	struct volume *v;
	int rc = open_volume(c, o->volume_id, &v);
	if (rc)
		return answer_error(c, id, rc, err_text(rc));
	Isthmus__ChannelMsg m;
	Isthmus__ChannelOwner owner;
	Isthmus__ChannelOpened opened = ISTHMUS__CHANNEL_OPENED__INIT;
	volume_enter(c, o->volume_id);
	init_msg(&m, id, BODY(OPENED));
	m.opened = &opened;
	opened.volume_id = o->volume_id;
	opened.name = (char *)volume_name(v);
	opened.size = volume_size(v);
	opened.uuid.data = (uint8_t *)volume_uuid(v);
	opened.uuid.len = 16;
	opened.owner = &owner;
	fill_owner(c, v, &owner);
	rc = channel_sock_send(c->sock, &m, NULL, 0);
	core_volume_put(v);
	return rc;
}

struct backup_order {
	struct channel_conn *c;
	Isthmus__ChannelMsg *m;
};

static void backup_main(void *arg)
{
	struct backup_order *o = arg;
	struct channel_conn *c = o->c;
	Isthmus__ChannelMsg m;
	Isthmus__ChannelBackedUp done = ISTHMUS__CHANNEL_BACKED_UP__INIT;
	char text[256] = "";
	channel_backup_order(c->server, c->group, o->m->backup, &done, text, sizeof(text));
	init_msg(&m, o->m->id, BODY(BACKED_UP));
	m.backed_up = &done;
	done.text = text;
	channel_sock_send(c->sock, &m, NULL, 0);
	isthmus__channel_msg__free_unpacked(o->m, NULL);
	free(o);
	if (--c->tasks == 0)
		waitq_wake_all(&c->tasks_gone);
}

/* Takes the message. */
static int on_backup(struct channel_conn *c, Isthmus__ChannelMsg *m)
{
	struct backup_order *o = malloc(sizeof(*o));
	if (o)
		*o = (struct backup_order){.c = c, .m = m};
	/* Its own task and one order: a head that floods us with them waits for the first. */
	if (!o || c->tasks > 1 || task_start(backup_main, o)) {
		int rc = answer_error(c, m->id, -EBUSY, "a backup is being made already");
		isthmus__channel_msg__free_unpacked(m, NULL);
		free(o);
		return rc;
	}
	c->tasks++;
	return 0;
}

static void side_main(void *arg)
{
	struct backup_order *o = arg;
	struct channel_conn *c = o->c;
	Isthmus__ChannelMsg m;
	Isthmus__ChannelSided done = ISTHMUS__CHANNEL_SIDED__INIT;
	char text[256] = "";
	done.code = channel_side_word(c->server, c->group, c->head, o->m->side, text);
	init_msg(&m, o->m->id, BODY(SIDED));
	m.sided = &done;
	done.text = text;
	channel_sock_send(c->sock, &m, NULL, 0);
	isthmus__channel_msg__free_unpacked(o->m, NULL);
	free(o);
	if (--c->tasks == 0)
		waitq_wake_all(&c->tasks_gone);
}

#define SIDES_MAX 8 /* of its tasks, a backup among them */

/* Takes the message. A backup may be under way: the word ends it. */
static int on_side(struct channel_conn *c, Isthmus__ChannelMsg *m)
{
	struct backup_order *o = malloc(sizeof(*o));
	if (o)
		*o = (struct backup_order){.c = c, .m = m};
	if (!o || c->tasks > SIDES_MAX || task_start(side_main, o)) {
		int rc = answer_error(c, m->id, -EBUSY, "too many words at once");
		isthmus__channel_msg__free_unpacked(m, NULL);
		free(o);
		return rc;
	}
	c->tasks++;
	return 0;
}

/* Takes the message. */
static int on_message(struct channel_conn *c, Isthmus__ChannelMsg *m)
{
	int rc = 0;
	switch (m->body_case) {
	case BODY(OPEN):
		rc = on_open(c, m->id, m->open);
		break;
	case BODY(CLOSE):
		volume_leave(c, m->close->volume_id);
		channel_exec_close(c->exec, m->close->volume_id);
		break;
	case BODY(APPLIED):
		take_applied(c, m);
		break;
	case BODY(BACKUP):
		return on_backup(c, m);
	case BODY(SIDE):
		return on_side(c, m);
	default:
		/* A later version's message: told so, and the connection lives on. */
		rc = answer_error(c, m->id, -EOPNOTSUPP, "message not known");
	}
	isthmus__channel_msg__free_unpacked(m, NULL);
	return rc;
}

static void close_fds(int *fds)
{
	for (unsigned i = 0; i < CHANNEL_FDS_MAX; i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

static int conn_hello(struct channel_conn *c, const Isthmus__ChannelMsg *m, int staging_fd)
{
	if (m->body_case != BODY(HELLO))
		return -ERR_PROTO;
	int rc = channel_staging_map(staging_fd, &c->staging, &c->staging_lost);
	return rc ? rc : channel_peer_admit(c, m->hello);
}

static int conn_admit(struct channel_conn *c)
{
	Isthmus__ChannelMsg *m;
	int fds[CHANNEL_FDS_MAX] = {-1, -1, -1, -1};
	int rc = channel_sock_recv(c->sock, HELLO_NS, &m, fds);
	if (rc) {
		if (rc == -ERR_VERSION)
			answer_error(c, 0, rc, err_text(rc));
		return rc;
	}
	rc = conn_hello(c, m, fds[0]);
	close_fds(fds);
	if (rc)
		answer_error(c, m->id, rc, err_text(rc));
	else
		rc = welcome(c, m->id);
	isthmus__channel_msg__free_unpacked(m, NULL);
	return rc;
}

static int conn_serve(struct channel_conn *c)
{
	int rc;
	Isthmus__ChannelMsg *m;
	c->config_due = true;
	c->tasks++;
	if ((rc = task_start(tell_main, c))) {
		c->tasks--;
		return rc;
	}
	do {
		rc = channel_sock_recv(c->sock, 0, &m, NULL);
		if (rc == 0)
			rc = on_message(c, m);
	} while (rc == 0);
	return rc;
}

static void conn_end(struct channel_conn *c)
{
	struct channel_server *s = c->server;
	channel_conn_close(c);
	/* The head may come back from here on; a backup it ordered goes on meanwhile. */
	channel_peer_leave(c);
	channel_staging_unmap(c->staging);
	waitq_wake_all(&s->applied_q);
	while (c->tasks)
		waitq_wait(&c->tasks_gone);
	TAILQ_REMOVE(&s->conns, c, link);
	isthmus__nas_config_applied__free_unpacked(c->applied, NULL);
	channel_sock_free(c->sock);
	free(c);
	s->nconns--;
	waitq_wake_all(&s->gone_q);
}

void channel_conn_main(void *arg)
{
	struct channel_conn *c = arg;
	int rc = conn_admit(c);
	if (rc == 0) {
		event_write(LOG_L_NOTICE, "head.connected", "head %s connected", c->head);
		rc = conn_serve(c);
		event_write(LOG_L_NOTICE, "head.lost", "head %s: connection ended (%s)", c->head,
			    err_text(rc));
	} else {
		log_notice("channel: head not admitted head=%s pid=%d why=%s",
			   c->head[0] ? c->head : "?", (int)c->pid, err_name(rc));
	}
	conn_end(c);
}
