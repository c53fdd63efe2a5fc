/*
 * Verbs of a head: head.state (what all heads of the group wrote), head.status, backup.run (ordered
 * over its channel), and its part of status and stats. "ping" and "event.list" are the admin
 * server's own.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "blockcore/channel/channel_client.h"
#include "nasfront/head.h"
#include "nasfront/nfs4/nfs4.h"
#include "nasfront/piv/piv.h"
#include "nasfront/rpc/gss.h"
#include "nasfront/rpc/rpc.h"
#include "nasfront/rpc/rpcbind.h"
#include "runtime/admin.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include "runtime/log.h"

/* ---- head.state ---- */

static void put_head(struct admin_call *call, const struct piv_head *s, uint64_t now)
{
	bool alive = s->time_ns + s->lease_ns > now && strcmp(s->state, "leaving");
	admin_row(call);
	admin_put_text(call, "head", "%s", s->name);
	admin_put_text(call, "state", "%s", s->state);
	admin_put_flag(call, "lease_valid", alive);
	admin_put_text(call, "address", "%s", s->address);
	admin_put_time(call, "heartbeat", s->time_ns);
	admin_put_duration(call, "lease", s->lease_ns);
	admin_put_number(call, "serves", s->nserves);
	admin_put_number(call, "clients", s->nclients);
	admin_put_number(call, "records", s->seq);
	admin_put_text(call, "instance", "%016llx", (unsigned long long)s->instance);
	admin_put_text(call, "volume", "%s", s->from_backup ? "backup" : "main");
}

static void put_serves(struct admin_call *call, const struct piv_state *s)
{
	admin_table(call, "serves", false);
	for (unsigned i = 0; i < s->count; i++)
		for (unsigned k = 0; k < s->heads[i].nserves; k++) {
			admin_row(call);
			admin_put_text(call, "head", "%s", s->heads[i].name);
			admin_put_text(call, "fs", "%s", s->heads[i].serves[k].fs);
			admin_put_text(call, "export", "%s", s->heads[i].serves[k].export_path);
		}
}

static void put_clients(struct admin_call *call, const struct piv_state *s)
{
	admin_table(call, "clients", false);
	for (unsigned i = 0; i < s->count; i++)
		for (unsigned k = 0; k < s->heads[i].nclients; k++) {
			const struct piv_client *c = &s->heads[i].clients[k];
			admin_row(call);
			admin_put_text(call, "head", "%s", s->heads[i].name);
			admin_put_text(call, "address", "%s", c->address);
			admin_put_text(call, "export", "%s", c->export_path);
			admin_put_time(call, "first_seen", c->first_ns);
			admin_put_time(call, "last_seen", c->last_ns);
		}
}

static int verb_state(struct admin_call *call, void *arg)
{
	struct head *h = arg;
	struct piv_state *s = NULL;
	int rc = -ENODEV;
	task_mutex_lock(&h->piv_lock);
	if (h->piv)
		rc = piv_state_read(h->piv_main, h->piv_backup, &s);
	bool backup = h->piv && piv_on_backup(h->piv);
	if (rc == 0 && admin_arg_flag(call, "records"))
		head_put_records(h, call);
	task_mutex_unlock(&h->piv_lock);
	if (rc == -ENODEV)
		return admin_error(call, rc, "make a head group: isthmus group create",
				   "head %s has no processor-information volume", h->config->name);
	if (rc)
		return admin_error(call, rc, NULL, "the running state cannot be read: %s",
				   err_text(rc));
	uint64_t now = env_realtime_ns(h->env);
	admin_table(call, "heads", false);
	for (unsigned i = 0; i < s->count; i++)
		put_head(call, &s->heads[i], now);
	put_serves(call, s);
	put_clients(call, s);
	if (backup)
		admin_note(call, "Head %s goes on with the backup volume.", h->config->name);
	if (s->main_rc)
		admin_note(call, "The processor-information volume: %s.", err_text(s->main_rc));
	piv_state_free(s);
	return 0;
}

/* ---- head.status ---- */

struct put {
	struct head *h;
	struct admin_call *call;
	bool totals;  /* for people; else what rates are made of */
	bool clients; /* the rows are */
};

static void put_latency(struct admin_call *call, const struct histogram *h)
{
	struct histogram_sum *s = calloc(1, sizeof(*s));
	if (!s)
		return;
	histogram_merge(s, h);
	admin_put_histogram(call, "latency", s);
	free(s);
}

static void put_use(void *arg, const struct nfs_use_stats *s)
{
	struct put *p = arg;
	admin_row(p->call);
	admin_put_text(p->call, "head", "%s", p->h->config->name);
	admin_put_text(p->call, "name", "%s", s->name);
	admin_put_number(p->call, "ops", s->ops);
	admin_put_number(p->call, "errors", s->errors);
	admin_put_bytes(p->call, "read", s->read_bytes);
	admin_put_bytes(p->call, "written", s->write_bytes);
	if (p->clients)
		admin_put_number(p->call, "connections", s->connections);
	put_latency(p->call, s->latency);
	if (!p->totals)
		return;
	admin_put_time(p->call, "first", s->first_ns);
	admin_put_time(p->call, "last", s->last_ns);
}

static void put_op_row(struct put *p, const char *protocol, const char *name, uint64_t count,
		       uint64_t errors, const struct histogram *latency)
{
	if (!count)
		return;
	admin_row(p->call);
	admin_put_text(p->call, "head", "%s", p->h->config->name);
	admin_put_text(p->call, "op", "%s%s", protocol, name);
	admin_put_number(p->call, "count", count);
	admin_put_number(p->call, "errors", errors);
	put_latency(p->call, latency);
}

static void put_op(void *arg, const struct nfs_op_stats *s)
{
	put_op_row(arg, "", s->name, s->count, s->errors, &s->latency);
}

/* The operations of a compound are not timed one by one. */
static void put_op4(void *arg, const struct nfs4_op_stats *s)
{
	static const struct histogram none;
	put_op_row(arg, "v4 ", s->name, s->count, s->errors, s->latency ? s->latency : &none);
}

static void put_channel(struct head *h, struct admin_call *call)
{
	struct channel_end_info e;
	struct channel_stats s;
	channel_stats(h->channel, &s);
	admin_table(call, "channel", true);
	admin_row(call);
	admin_put_flag(call, "up", channel_up(h->channel));
	admin_put_number(call, "epoch", channel_epoch(h->channel));
	admin_put_number(call, "read_hits", s.read_hits);
	admin_put_number(call, "reads", s.reads);
	admin_put_number(call, "writes", s.writes);
	admin_put_number(call, "flushes", s.flushes);
	admin_put_number(call, "reissued", s.retries);
	admin_put_number(call, "reconnects", s.reconnects);
	admin_put_number(call, "moves", s.moves);
	admin_put_number(call, "longest_wait_us", s.waits_ns / 1000);
	admin_table(call, "channels", false);
	for (unsigned i = 0; channel_end_info(h->channel, i, &e); i++) {
		admin_row(call);
		admin_put_text(call, "controller", "%s", e.controller[0] ? e.controller : "-");
		admin_put_flag(call, "up", e.up);
		admin_put_number(call, "volumes", e.volumes);
		admin_put_number(call, "read_hits", e.read_hits);
		admin_put_number(call, "requests", e.requests);
		admin_put_number(call, "reconnects", e.reconnects);
	}
}

static void put_service(struct head *h, struct admin_call *call)
{
	struct rpc_stats s;
	rpc_server_stats(h->rpc, &s);
	admin_table(call, "head", true);
	admin_row(call);
	admin_put_text(call, "name", "%s", h->config->name);
	admin_put_text(call, "group", "%s", h->config->group);
	admin_put_text(call, "address", "%s", h->config->address);
	admin_put_number(call, "nfs_port", h->nfs_port);
	admin_put_number(call, "mount_port", h->mount_port);
	admin_put_flag(call, "rpcbind", h->rpcbind && rpcbind_registered(h->rpcbind));
	admin_put_number(call, "connections", s.connections);
	admin_put_number(call, "max_connections", h->max_connections);
	admin_put_number(call, "requests", s.requests);
	admin_put_number(call, "calls", s.calls);
	admin_put_number(call, "duplicates", s.drc_hits + s.drc_busy);
	admin_put_number(call, "buffer_waits", s.buffer_waits);
	admin_put_bytes(call, "received", s.bytes_in);
	admin_put_bytes(call, "sent", s.bytes_out);
	admin_put_text(call, "state_volume", "%s",
		       !h->piv		       ? "none"
		       : piv_on_backup(h->piv) ? "backup"
					       : "main");
}

static void put_kerberos(struct head *h, struct admin_call *call)
{
	struct rpc_gss_stats s;
	if (!h->gss)
		return;
	rpc_gss_stats(h->gss, &s);
	admin_table(call, "kerberos", true);
	admin_row(call);
	admin_put_text(call, "keytab", "%s", h->config->keytab);
	admin_put_number(call, "contexts", s.contexts);
	admin_put_number(call, "accepted", s.accepted);
	admin_put_number(call, "refused", s.refused);
	admin_put_number(call, "evicted", s.evicted);
	admin_put_number(call, "calls", s.calls);
	admin_put_number(call, "replayed", s.replayed);
	admin_put_number(call, "denied", s.denied);
}

static int verb_head_status(struct admin_call *call, void *arg)
{
	struct head *h = arg;
	struct put p = {.h = h, .call = call, .totals = true};
	put_service(h, call);
	put_channel(h, call);
	put_kerberos(h, call);
	head_put_filesystems(h, call);
	head_put_metadata(h, call);
	admin_table(call, "exports", false);
	nfs_stats_exports(h->nfs, put_use, &p);
	admin_table(call, "clients", false);
	p.clients = true;
	nfs_stats_clients(h->nfs, put_use, &p);
	admin_table(call, "operations", false);
	nfs_stats_ops(h->nfs, put_op, &p);
	if (h->nfs4)
		nfs4_stats_ops(h->nfs4, put_op4, &p);
	return 0;
}

/* Controllers that are away, and what it means. */
static void put_waiting(struct head *h, struct admin_call *call)
{
	struct channel_end_info e;
	if (!channel_up(h->channel)) {
		admin_note(call, "Head %s waits for controller %s.", h->config->name,
			   h->config->controller);
		return;
	}
	for (unsigned i = 0; channel_end_info(h->channel, i, &e); i++)
		if (!e.up)
			admin_note(call, "Head %s has no channel to controller %s.",
				   h->config->name, e.controller[0] ? e.controller : "(partner)");
}

/* The head's rows of `isthmus status`: what it has mounted, and what is wrong. */
static int verb_status(struct admin_call *call, void *arg)
{
	struct head *h = arg;
	head_put_filesystems(h, call);
	put_waiting(h, call);
	if (h->piv && piv_on_backup(h->piv))
		admin_note(call, "Head %s keeps its state on the backup volume.", h->config->name);
	return 0;
}

/* Counters, for rates. */
static int verb_stats(struct admin_call *call, void *arg)
{
	struct head *h = arg;
	struct put p = {.h = h, .call = call};
	admin_table(call, "exports", false);
	nfs_stats_exports(h->nfs, put_use, &p);
	admin_table(call, "clients", false);
	nfs_stats_clients(h->nfs, put_use, &p);
	admin_table(call, "operations", false);
	nfs_stats_ops(h->nfs, put_op, &p);
	if (h->nfs4)
		nfs4_stats_ops(h->nfs4, put_op4, &p);
	return 0;
}

/* `backup run --head NAME`: this head gives the order over its channel; the disk control copies. */
static int verb_backup_run(struct admin_call *call, void *arg)
{
	struct head *h = arg;
	const char *group = admin_arg_text(call, "group");
	bool all = admin_arg_flag(call, "all");
	Isthmus__ChannelBackedUp r;
	int rc = channel_backup(h->channel, group, all, false, &r);
	if (rc)
		return admin_error(call, rc, "see isthmus status",
				   "head %s cannot order a backup: %s", h->config->name,
				   err_text(rc));
	if (r.code) {
		admin_error(call, r.code, "see isthmus backup status", "%s", r.text);
	} else {
		admin_table(call, "backups", false);
		admin_row(call);
		admin_put_text(call, "group", "%s",
			       all     ? "(all)"
			       : group ? group
				       : h->config->group);
		admin_put_text(call, "ordered_by", "%s", h->config->name);
		if (!all)
			admin_put_number(call, "backup", r.seq);
		admin_put_bytes(call, "copied", r.bytes);
	}
	rc = r.code;
	if (r.text != protobuf_c_empty_string)
		free(r.text);
	return rc;
}

int head_admin_start(struct head *h)
{
	static const struct {
		const char *verb;
		admin_handler *fn;
	} verbs[] = {
	    {"head.state", verb_state},	     {"head.status", verb_head_status},
	    {"backup.run", verb_backup_run}, {"status", verb_status},
	    {"stats", verb_stats},
	};
	char path[108];
	config_path_admin(h->file, "head", h->config->name, path);
	int rc = admin_server_new(&h->admin, h->reactor, path);
	if (rc) {
		log_error("head: admin socket path=%s why=%s", path, err_name(rc));
		return rc;
	}
	if (*h->file->array.admin_group &&
	    admin_server_allow_group(h->admin, h->file->array.admin_group))
		log_warn("head: no such group admin_group=%s", h->file->array.admin_group);
	for (unsigned i = 0; i < ARRAY_LEN(verbs) && rc == 0; i++)
		rc = admin_register(h->admin, verbs[i].verb, verbs[i].fn, h);
	if (!rc)
		rc = head_program_register(h);
	if (!rc)
		rc = head_quota_register(h);
	if (rc == 0)
		rc = head_locks_register(h);
	return rc ? rc : head_verify_register(h);
}
