/*
 * isthmus-head -c FILE NAME: one NAS head, in the foreground.
 *
 * Start: listeners are bound (connections queue in the kernel), the channel opened; the first
 * configuration mounts the file systems; then the admin socket answers, privileges are dropped and
 * connections accepted: the head is in service. So a client never finds a head that does not
 * know its exports yet.
 *
 * End by SIGTERM or SIGINT: nothing new is handled, replies leave, file systems are unmounted,
 * "leaving" is written, exit 0. When the head is fenced it answers nothing more and exits 3.
 */
#include <errno.h>
#include <getopt.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "blockcore/channel/channel_client.h"
#include "nasfront/head.h"
#include "nasfront/nfs/groups.h"
#include "nasfront/nfs/nlm.h"
#include "nasfront/nfs4/names.h"
#include "nasfront/nfs4/nfs4.h"
#include "nasfront/rpc/gss.h"
#include "nasfront/rpc/rpc.h"
#include "nasfront/rpc/rpc_relay.h"
#include "nasfront/rpc/rpcbind.h"
#include "runtime/admin.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include "runtime/listen.h"
#include "runtime/log.h"
#include "runtime/process.h"

#define DRAIN_NS     (5 * NS_PER_S)
#define STOP_NS	     (25 * NS_PER_S) /* the supervisor waits 30 s */
#define EXIT_FENCED  3
#define FILES_BESIDE 512 /* descriptors that are no client's */
#define RELAY_USERS  32

static void usage(FILE *f)
{
	fprintf(f, "usage: isthmus-head [--boot] -c FILE [--at HEAD] NAME\n"
		   "  -b, --boot          run the active version of the software volume instead\n"
		   "  -c, --config FILE   configuration (default /etc/isthmus/isthmus.yaml)\n"
		   "      --at HEAD       with the processors and memory of that head\n"
		   "  NAME                the service: a head's name in the configuration\n");
}

/* ---- fenced ---- */

/* Another instance owns the volumes: whatever we still say or write would be wrong. Pages held by
 * the epoch's channel are dropped by the controller. */
void head_on_fenced(void *arg)
{
	struct head *h = arg;
	if (h->fenced)
		return;
	h->fenced = true;
	if (h->rpc) /* not while it boots */
		rpc_server_mute(h->rpc);
	event_write(LOG_L_ERROR, "head.fenced", "head %s was fenced and ends", h->config->name);
	event_log_close();
	_exit(EXIT_FENCED);
}

static bool head_fenced(void *arg)
{
	struct head *h = arg;
	if (!h->fenced && channel_fenced(h->channel))
		head_on_fenced(h);
	return h->fenced;
}

/* ---- staging memory for received records ---- */

static void *staging_try_get(void *arg, size_t size)
{
	struct head *h = arg;
	return channel_staging_try_get(h->channel, size);
}

static void staging_put(void *arg, void *buf)
{
	struct head *h = arg;
	channel_staging_put(h->channel, buf);
}

/* ---- start ---- */

/* Clients see by the name that several addresses are one server's. */
static int start_nfs4(struct head *h, const char *host)
{
	snprintf(h->nfs4_name, sizeof(h->nfs4_name), "%.40s/%.20s", host, h->config->name);
	struct names_opts no = {.reactor = h->reactor,
				.env = h->env,
				.domain = h->config->nfs4_domain,
				.ttl_ns = h->config->groups_time * NS_PER_S};
	int rc = no.domain[0] ? names_new(&h->names, &no) : 0;
	struct nfs4_opts o = {.env = h->env,
			      .reactor = h->reactor,
			      .lend = strcmp(h->config->nfs4_delegations, "on") == 0,
			      .nfs = h->nfs,
			      .nlm = h->nlm,
			      .names = h->names,
			      .name = h->nfs4_name,
			      .lease_ns = h->config->lock_grace * NS_PER_S,
			      .keep = head_state_keep,
			      .arg = h};
	return rc ? rc : nfs4_new(&h->nfs4, &o);
}

/* On another thread it would tell later; nobody is served yet. */
static int start_kerberos(struct head *h)
{
	const struct config_head *c = h->config;
	struct rpc_gss_opts o = {
	    .reactor = h->reactor, .env = h->env, .keytab = c->keytab, .principal = c->principal};
	char why[256];
	if (!c->keytab[0])
		return 0;
	if (rpc_gss_look(&o, why, sizeof(why)))
		event_write(LOG_L_WARN, "head.kerberos", "head %s cannot serve Kerberos yet: %s",
			    c->name, why);
	return rpc_gss_new(&h->gss, &o);
}

/* A descriptor for each connection, and what else is open. No more connections than there are
 * descriptors for: where these run out first everybody is refused, instead of one giving way. */
static void open_files(struct head *h)
{
	const struct config_head *c = h->config;
	unsigned want = c->max_connections + FILES_BESIDE, files = process_open_files(want);
	h->max_connections = c->max_connections;
	if (files >= want)
		return;
	h->max_connections = MAX(files / 2, files - MIN(files, (unsigned)FILES_BESIDE));
	h->max_connections = MAX(MIN(h->max_connections, c->max_connections), 1u);
	event_write(LOG_L_WARN, "head.files",
		    "head %s takes %u connections, not max_connections %u: it may open %u files; "
		    "raise its hard limit (LimitNOFILE=, ulimit -Hn)",
		    c->name, h->max_connections, c->max_connections, files);
}

/* ---- calls for other heads, and theirs for us ---- */

static void relay_path(void *arg, const char *head, char ret[108])
{
	const struct head *h = arg;
	config_path_admin(h->file, "relay", head, ret);
}

/* The users that the heads of this host run as. */
static unsigned relay_users(const struct head *h, uid_t *uids)
{
	unsigned n = 0;
	for (unsigned i = 0; i < h->file->heads_count && n < RELAY_USERS; i++) {
		const char *user = h->file->heads[i].user;
		const struct passwd *pw = *user ? getpwnam(user) : NULL;
		if (pw)
			uids[n++] = pw->pw_uid;
	}
	return n;
}

static int listen_relay(struct head *h)
{
	char path[108];
	uid_t uids[RELAY_USERS];
	relay_path(h, h->config->name, path);
	return rpc_server_listen_relay(h->rpc, path, uids, relay_users(h, uids));
}

static int start_listeners(struct head *h)
{
	const struct rpc_memory memory = {.try_get = staging_try_get, .put = staging_put, .arg = h};
	struct rpc_server_opts o = {.reactor = h->reactor,
				    .env = h->env,
				    .memory = &memory,
				    .area_size = MAX(nfs_area_size(), nfs4_area_size()),
				    .max_conns = h->max_connections,
				    .hold = true};
	struct nfs_opts no = {.reactor = h->reactor,
			      .env = h->env,
			      .fenced = head_fenced,
			      .on_fenced = head_on_fenced,
			      .client_seen = head_state_client_seen,
			      .relay_path = relay_path,
			      .arg = h};
	const struct config_head *c = h->config;
	char host[256] = "";
	struct nlm_opts lo = {.reactor = h->reactor,
			      .env = h->env,
			      .name = host,
			      .address = c->address,
			      .grace_ns = c->lock_grace * NS_PER_S,
			      .monitor = head_state_monitor,
			      .arg = h};
	if (gethostname(host, sizeof(host) - 1))
		strcpy(host, "localhost");
	struct groups_opts go = {
	    .reactor = h->reactor, .env = h->env, .ttl_ns = c->groups_time * NS_PER_S};
	int rc = start_kerberos(h);
	if (rc == 0 && (h->gss || config_head_groups(c)))
		rc = groups_new(&h->groups, &go);
	o.gss = h->gss;
	no.groups = h->groups;
	no.groups_gss = !config_head_groups(c);
	if (rc == 0)
		rc = nfs_new(&h->nfs, &no);
	lo.nfs = h->nfs;
	if (rc == 0)
		rc = nlm_new(&h->nlm, &lo);
	if (rc == 0 && strcmp(c->nfs4, "on") == 0)
		rc = start_nfs4(h, host);
	if (rc == 0)
		rc = rpc_server_new(&h->rpc, &o);
	if (rc == 0)
		rc = nfs_serve(h->nfs, h->rpc);
	if (rc == 0)
		rc = nlm_serve(h->nlm, h->rpc);
	if (rc == 0 && h->nfs4)
		rc = nfs4_serve(h->nfs4, h->rpc);
	if (rc == 0)
		rc = rpc_server_listen(h->rpc, c->address, (uint16_t)c->nfs_port, &h->nfs_port);
	if (rc == 0)
		rc = listen_relay(h);
	if (rc == 0)
		rc = head_tls_start(h);
	h->mount_port = h->nfs_port;
	if (rc == 0 && c->mount_port && c->mount_port != c->nfs_port)
		rc = rpc_server_listen(h->rpc, c->address, (uint16_t)c->mount_port, &h->mount_port);
	/* TCP alone serves most clients; to some their port number is taken on the other transport.
	 */
	int udp = rc ? rc : rpc_server_listen_udp(h->rpc, c->address, h->nfs_port);
	if (udp == 0 && h->mount_port != h->nfs_port)
		udp = rpc_server_listen_udp(h->rpc, c->address, h->mount_port);
	h->udp = udp == 0;
	if (udp && !rc)
		event_write(LOG_L_WARN, "head.udp",
			    "head %s serves MOUNT, quotas and locks over TCP only: UDP port %u: %s",
			    c->name, h->nfs_port, err_text(udp));
	if (rc)
		log_error("head: cannot listen address=%s port=%u why=%s", c->address, c->nfs_port,
			  err_name(rc));
	return rc;
}

static int drop_privileges(struct head *h)
{
	const char *user = h->config->user;
	if (!user || !*user || geteuid() != 0)
		return 0;
	struct passwd *pw = getpwnam(user);
	if (!pw) {
		log_error("head: no such user user=%s", user);
		return -ENOENT;
	}
	if (initgroups(pw->pw_name, pw->pw_gid) || setgid(pw->pw_gid) || setuid(pw->pw_uid)) {
		int rc = -errno;
		log_error("head: cannot become user=%s why=%s", user, err_name(rc));
		return rc;
	}
	return 0;
}

static void start_rpcbind(struct head *h)
{
	struct rpcbind_opts o = {.reactor = h->reactor, .env = h->env};
	static const struct {
		uint32_t prog, vers;
		bool mount_port, udp;
	} rows[] = {{100003, 3, false, false}, {100227, 3, false, false}, {100005, 3, true, true},
		    {100011, 1, false, true},  {100011, 2, false, true},  {100021, 1, false, true},
		    {100021, 3, false, true},  {100021, 4, false, true},  {100024, 1, false, true}};
	for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
		uint16_t port = rows[i].mount_port ? h->mount_port : h->nfs_port;
		o.entries[o.nentries++] =
		    (struct rpcbind_entry){rows[i].prog, rows[i].vers, port, false};
		if (rows[i].udp && h->udp)
			o.entries[o.nentries++] =
			    (struct rpcbind_entry){rows[i].prog, rows[i].vers, port, true};
	}
	if (h->nfs4)
		o.entries[o.nentries++] = (struct rpcbind_entry){100003, 4, h->nfs_port, false};
	if (strcmp(h->config->rpcbind, "auto") != 0)
		return;
	int rc = rpcbind_start(&h->rpcbind, &o);
	if (rc)
		log_warn("head: rpcbind why=%s", err_name(rc));
}

static void head_end(struct head *h, int code)
{
	h->exit_code = code;
	for (unsigned i = 0; i < ARRAY_LEN(h->signals); i++)
		uv_close((uv_handle_t *)&h->signals[i], NULL);
	reactor_stop(h->reactor);
}

/* Called with the first configuration applied. */
void head_in_service(struct head *h)
{
	if (h->stopping)
		return;
	h->up = true;
	/* The admin socket lies in root's folder; no client has been heard before the drop. */
	if (head_admin_start(h) || drop_privileges(h)) {
		/* A head nobody can ask is not in service: the supervisor starts another. */
		event_log_close();
		_exit(EXIT_FAILURE);
	}
	head_lease_serving(h);
	rpc_server_accept(h->rpc);
	start_rpcbind(h);
	log_notice("head: in service name=%s address=%s nfs_port=%u mount_port=%u", h->config->name,
		   h->config->address, h->nfs_port, h->mount_port);
}

static void channel_state(void *arg, int number, bool up)
{
	struct head *h = arg;
	int rc;
	log_info("head: channel number=%d up=%d", number, up);
	if (up || !h->channel)
		return;
	/* A head that nobody asks anything must end as well: another waits for its place. */
	head_fenced(h);
	rc = channel_failed(h->channel);
	if (rc && !h->stopping) {
		/* The controllers are of another version: the next start is, perhaps, of theirs. */
		log_error("head: channel ended for good why=%s", err_name(rc));
		event_log_close();
		_exit(EXIT_FAILURE);
	}
}

void head_channel_paths(struct head *h, char paths[][108], struct channel_opts *o)
{
	const struct config_controller *a = config_controller(h->file, h->config->controller);
	const struct config_controller *b = config_partner(h->file, a);
	config_path_channel(h->file, a->name, paths[0]);
	o->paths[0] = paths[0];
	if (!b)
		return;
	config_path_channel(h->file, b->name, paths[1]);
	o->paths[1] = paths[1];
}

static void start_task(void *arg)
{
	struct head *h = arg;
	char paths[CHANNEL_ENDS][108];
	head_lease_start(h);
	int rc = start_listeners(h);
	if (rc) {
		event_log_close();
		_exit(EXIT_FAILURE);
	}
	struct channel_opts o = {.head = h->config->name,
				 .group = h->config->group,
				 .program = head_program_name(),
				 .config = head_config_apply,
				 .state = channel_state,
				 .arg = h};
	const char *at = h->config->advertise[0] ? h->config->advertise : h->config->address;
	snprintf(h->served_at, sizeof(h->served_at), "%s.%u.%u", at, h->nfs_port >> 8,
		 h->nfs_port & 255);
	h->addresses[0] = h->served_at;
	o.addresses = h->addresses;
	o.naddresses = ARRAY_LEN(h->addresses);
	head_channel_paths(h, paths, &o);
	rc = channel_open(&h->channel, &o);
	if (rc == -ERR_EPOCH_STALE)
		head_on_fenced(h);
	if (rc && !h->stopping) {
		log_error("head: channel refused controller=%s why=%s", h->config->controller,
			  err_name(rc));
		event_log_close();
		_exit(EXIT_FAILURE);
	}
}

/* ---- end ---- */

/* What hangs (a controller that is away) is not waited for: the journal is replayed next time. */
static void stop_late(void *arg)
{
	log_warn("head: did not end in time, leaves without unmounting");
	event_log_close();
	_exit(EXIT_FAILURE);
}

static void stop_task(void *arg)
{
	struct head *h = arg;
	struct env_timer late = {.fn = stop_late, .arg = h};
	env_timer_start(h->env, &late, STOP_NS);
	log_notice("head: stopping name=%s", h->config->name);
	rpcbind_stop(h->rpcbind);
	if (rpc_server_stop(h->rpc, DRAIN_NS))
		log_warn("head: requests still run");
	/* Waits for a configuration being applied. */
	task_mutex_lock(&h->config_lock);
	task_mutex_unlock(&h->config_lock);
	if (h->up) {
		head_config_close(h);
		head_state_close(h);
	}
	if (h->channel)
		channel_close(h->channel);
	head_backup_join(h);
	head_side_join(h);
	admin_server_free(h->admin);
	nfs4_free(h->nfs4);
	nlm_free(h->nlm);
	head_tls_stop(h);
	rpc_server_free(h->rpc);
	rpc_gss_free(h->gss);
	nfs_free(h->nfs);
	groups_free(h->groups);
	names_free(h->names);
	env_timer_stop(h->env, &late);
	head_lease_stop(h);
	head_end(h, EXIT_SUCCESS);
}

static void on_signal(uv_signal_t *s, int signum)
{
	struct head *h = s->data;
	if (h->stopping)
		return;
	h->stopping = true;
	if (task_start_on(reactor_sched(h->reactor), stop_task, h))
		stop_late(h);
}

/* ---- main ---- */

static void say(void *arg, const char *line)
{
	fprintf(stderr, "%s\n", line);
}

/* -1: go on; else the exit status. */
static int parse_options(struct head *h, int argc, char **argv, const char **ret_name)
{
	static const struct option longs[] = {
	    {"boot", no_argument, NULL, 'b'},
	    {"config", required_argument, NULL, 'c'},
	    {"at", required_argument, NULL, 'a'},
	    {"help", no_argument, NULL, 'h'},
	    {NULL, 0, NULL, 0},
	};
	int opt;
	h->config_path = "/etc/isthmus/isthmus.yaml";
	while ((opt = getopt_long(argc, argv, "bc:h", longs, NULL)) != -1) {
		switch (opt) {
		case 'b':
			h->boot = true;
			break;
		case 'c':
			h->config_path = optarg;
			break;
		case 'a':
			h->at = optarg;
			break;
		case 'h':
			usage(stdout);
			return EXIT_SUCCESS;
		default:
			usage(stderr);
			return 2;
		}
	}
	if (optind + 1 != argc) {
		usage(stderr);
		return 2;
	}
	*ret_name = argv[optind];
	return -1;
}

static void open_logs(struct head *h)
{
	char text[512];
	enum log_level level;
	snprintf(text, sizeof(text), "head-%s", h->config->name);
	log_set_ident(text);
	if (log_level_parse(h->file->array.log_level, &level) == 0)
		log_set_level(level);
	snprintf(text, sizeof(text), "%s/events-head-%s", h->file->array.state_dir,
		 h->config->name);
	int rc = event_log_open(text);
	if (rc)
		log_warn("head: events are not kept path=%s why=%s", text, err_name(rc));
}

static int head_init(struct head *h)
{
	struct reactor_opts o = {.name = h->config->name,
				 .cpu = h->config->pin_count ? h->config->pin[0] : -1};
	static const int signals[] = {SIGTERM, SIGINT};
	TAILQ_INIT(&h->filesystems);
	TAILQ_INIT(&h->served);
	task_mutex_init(&h->config_lock);
	task_mutex_init(&h->piv_lock);
	h->env = env_real();
	env_random(h->env, &h->instance, sizeof(h->instance));
	int rc = reactor_new(&h->reactor, &o);
	if (rc)
		return rc;
	for (unsigned i = 0; i < ARRAY_LEN(signals); i++) {
		uv_signal_init(reactor_loop(h->reactor), &h->signals[i]);
		h->signals[i].data = h;
		uv_signal_start(&h->signals[i], on_signal, signals[i]);
	}
	return task_start_on(reactor_sched(h->reactor), start_task, h);
}

/* The service's own section, with what is its place's of another: processors and memory. */
static const struct config_head *placed(struct head *h, const char *name)
{
	static struct config_head own;
	const struct config_head *service = config_head(h->file, name);
	const struct config_head *at = h->at ? config_head(h->file, h->at) : service;
	if (!service || !at) {
		fprintf(stderr, "isthmus-head: %s has no head named %s\n", h->config_path,
			service ? h->at : name);
		return NULL;
	}
	own = *service;
	own.pin = at->pin;
	own.pin_count = at->pin_count;
	own.metadata_memory = at->metadata_memory;
	own.metadata_memory_bytes = at->metadata_memory_bytes;
	return &own;
}

int main(int argc, char **argv)
{
	static struct head h;
	const char *name;
	listen_inherit();
	int rc = parse_options(&h, argc, argv, &name);
	if (rc >= 0)
		return rc;
	if (config_file_load(&h.file, h.config_path, say, NULL))
		return EXIT_FAILURE;
	h.owner_uid = getuid();
	h.owner_gid = getgid();
	h.config = placed(&h, name);
	if (!h.config)
		return EXIT_FAILURE;
	signal(SIGPIPE, SIG_IGN);
	open_logs(&h);
	if (h.boot)
		head_boot(&h);
	open_files(&h);
	rc = head_init(&h);
	if (rc) {
		fprintf(stderr, "isthmus-head: %s\n", err_text(rc));
		return EXIT_FAILURE;
	}
	reactor_run(h.reactor);
	reactor_free(h.reactor);
	config_file_free(h.file);
	event_log_close();
	return h.exit_code;
}
