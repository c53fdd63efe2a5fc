/* Admin verbs of the iSCSI target: its sessions, and counters for `isthmus top`. */
#include "server/iscsi/conn.h"
#include "runtime/admin.h"
#include <errno.h>
#include <string.h>

static const char *digest_text(const struct session *s)
{
	bool header = s->keys.v[KEY_HEADER_DIGEST], data = s->keys.v[KEY_DATA_DIGEST];
	return header && data ? "header,data" : header ? "header" : data ? "data" : "none";
}

static void put_session(struct admin_call *call, const struct session *s, uint64_t now)
{
	admin_row(call);
	admin_put_text(call, "initiator", "%s", s->initiator);
	admin_put_text(call, "target", "%s", s->discovery ? "(discovery)" : s->target_name);
	admin_put_text(call, "address", "%s", s->peer);
	admin_put_number(call, "tsih", s->tsih);
	admin_put_number(call, "connections", atomic_load(&s->nconns));
	admin_put_text(call, "digests", "%s", digest_text(s));
	admin_put_number(call, "commands", COUNTED(s->commands));
	admin_put_bytes(call, "read", COUNTED(s->bytes_in));
	admin_put_bytes(call, "written", COUNTED(s->bytes_out));
	admin_put_duration(call, "age", now > s->since_ns ? now - s->since_ns : 0);
}

static int session_list(struct admin_call *call, void *arg)
{
	struct iscsi_server *srv = arg;
	const char *target = admin_arg_text(call, "target");
	uint64_t now = env_realtime_ns(env_real());
	struct session *s;
	admin_table(call, "sessions", false);
	pthread_mutex_lock(&srv->lock);
	TAILQ_FOREACH (s, &srv->sessions, link)
		if (!target || strcmp(target, s->target_name) == 0)
			put_session(call, s, now);
	pthread_mutex_unlock(&srv->lock);
	return 0;
}

static int iscsi_stats(struct admin_call *call, void *arg)
{
	struct iscsi_server *srv = arg;
	admin_table(call, "iscsi", false);
	for (unsigned i = 0; i < srv->nworkers; i++) {
		struct worker *w = &srv->workers[i];
		admin_row(call);
		admin_put_text(call, "reactor", "%s", reactor_name(w->reactor));
		admin_put_number(call, "connections", atomic_load(&w->nconns));
		admin_put_number(call, "commands", COUNTED(w->commands));
		admin_put_bytes(call, "read", COUNTED(w->bytes_in));
		admin_put_bytes(call, "written", COUNTED(w->bytes_out));
		admin_put_number(call, "logins", COUNTED(w->logins));
		admin_put_number(call, "login_failures", COUNTED(w->login_failures));
		admin_put_number(call, "protocol_errors", COUNTED(w->protocol_errors));
		admin_put_number(call, "digest_errors", COUNTED(w->digest_errors));
	}
	return 0;
}

#define LOGOUT_WAIT_MAX 3600

static int session_logout(struct admin_call *call, void *arg)
{
	struct iscsi_server *srv = arg;
	const char *target = admin_arg_text(call, "target"),
		   *who = admin_arg_text(call, "initiator");
	uint64_t wait = 10;
	if (!target && !who && !admin_arg_flag(call, "all"))
		return admin_error(call, -EINVAL, "name --target or --initiator, or say --all",
				   "it is not said whose sessions are meant");
	int rc = admin_arg_u64(call, "wait", &wait);
	if (rc < 0 && rc != -ENOENT)
		return rc;
	if (wait > LOGOUT_WAIT_MAX)
		return admin_error(call, -EINVAL, "choose at most 3600 seconds",
				   "%llu seconds are too long", (unsigned long long)wait);
	unsigned n = wait ? iscsi_server_ask_logout(srv, target, who, (unsigned)wait)
			  : iscsi_server_kick(srv, target, who);
	admin_table(call, "logout", true);
	admin_row(call);
	admin_put_number(call, "sessions", n);
	return 0;
}

int iscsi_admin_register(struct iscsi_server *s, struct admin_server *a)
{
	int rc = admin_register(a, "session.list", session_list, s);
	if (rc == 0)
		rc = admin_register(a, "session.logout", session_logout, s);
	return rc < 0 ? rc : admin_register(a, "iscsi.stats", iscsi_stats, s);
}
