/*
 * isthmus-controller: one controller of the array: block core, iSCSI target,
 * block channels and the admin verbs of all three.
 *
 * Reactor 0 is the main thread: it opens the core, owns the array metadata and
 * the admin server; the others share connections and channels with it.
 * Order of start: reactors, segment, control memory, core, link, registry, channels, portals, admin
 * (its answer to `ping` means: in service). Order of stop: the reverse.
 */
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "blockcore/cache/cache.h"
#include "blockcore/channel/channel_server.h"
#include "blockcore/core.h"
#include "runtime/admin.h"
#include "runtime/check.h"
#include "runtime/config_file.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include "runtime/process.h"
#include "runtime/reactor.h"
#include "server/controller_partner.h"
#include "server/iscsi/iscsi.h"
#include "server/scsi/scsi.h"

#define REACTORS_MAX 64 /* the configuration allows no more */
#define HEADS_MAX    64
#define CACHE_PAGE   4096
#define FILES_BESIDE 1024	    /* descriptors that are no session's */
#define SWEEP_NS     (5 * NS_PER_S) /* what is dirty is on the disks in two of these */

struct controller {
	struct config_file *config;
	const struct config_controller *me;
	struct reactor *reactors[REACTORS_MAX];
	unsigned nreactors;
	int segment_rw, segment_ro;
	void *segment;
	size_t segment_size;
	struct partner *partner; /* NULL: none */
	struct core *core;
	struct scsi_registry *registry;
	struct channel_server *channels;
	struct iscsi_server *iscsi;
	struct admin_server *admin;
	uv_signal_t on_term, on_int;
	bool stopping;
	int exit_code;
};

static void usage(FILE *out)
{
	fprintf(out, "usage: isthmus-controller -c FILE NAME\n"
		     "Started by isthmusd for each controller of the configuration.\n");
}

static void say_config(void *arg, const char *line)
{
	fprintf(stderr, "isthmus-controller: %s\n", line);
}

/* ---- start ---- */

/* CPUs this process may run on. */
static unsigned count_cpus(void)
{
	cpu_set_t set;
	if (sched_getaffinity(0, sizeof(set), &set) == 0)
		return (unsigned)CPU_COUNT(&set);
	return (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
}

static int start_reactors(struct controller *c)
{
	unsigned n = c->me->reactors ? c->me->reactors : MIN(count_cpus(), 4);
	for (unsigned i = 0; i < MIN(n, REACTORS_MAX); i++) {
		static char names[REACTORS_MAX][16];
		snprintf(names[i], sizeof(names[i]), "reactor-%u", i);
		struct reactor_opts o = {.name = names[i], .cpu = -1, .slot = i};
		if (c->me->pin_count)
			o.cpu = c->me->pin[i % c->me->pin_count];
		o.no_uring = c->me->io && strcmp(c->me->io, "threads") == 0;
		o.poll_us = c->me->poll_us;
		int rc = reactor_new(&c->reactors[i], &o);
		if (rc) {
			log_error("cannot make a reactor error=%s", err_name(rc));
			return rc;
		}
		c->nreactors++;
		rc = i > 0 ? reactor_start_thread(c->reactors[i]) : 0;
		if (rc)
			return rc;
	}
	return 0;
}

/* isthmusd makes the segment; it outlives this process. */
static int map_segment(struct controller *c)
{
	char path[108];
	struct stat st;
	config_path_segment(c->config, c->me->name, path);
	c->segment_rw = open(path, O_RDWR | O_CLOEXEC);
	c->segment_ro = open(path, O_RDONLY | O_CLOEXEC);
	if (c->segment_rw < 0 || c->segment_ro < 0 || fstat(c->segment_rw, &st) < 0) {
		int err = errno;
		log_error("cannot open the cache segment path=%s error=%s; isthmusd makes it: "
			  "start the array with isthmusd",
			  path, err_name(err));
		return -err;
	}
	c->segment_size = (size_t)st.st_size;
	c->segment =
	    mmap(NULL, c->segment_size, PROT_READ | PROT_WRITE, MAP_SHARED, c->segment_rw, 0);
	if (c->segment == MAP_FAILED) {
		c->segment = NULL;
		return -errno;
	}
	/* Random pages are read: where the file system has huge pages, they are used. */
	(void)madvise(c->segment, c->segment_size, MADV_HUGEPAGE);
	return 0;
}

static int open_core(struct controller *c)
{
	struct core_opts o = {
	    .env = env_real(),
	    .controller = c->me->name,
	    .disks = (const char *const *)c->me->disks,
	    .ndisks = c->me->disks_count,
	    .segment = c->segment,
	    .segment_size = c->segment_size,
	    .battery = config_battery(c->config),
	    .sweep_ns = SWEEP_NS,
	    .heads = true,
	    .disk_timeout_s = c->me->disk_timeout,
	    .array_name = c->config->array.name,
	    .duplex = partner_duplex(c->partner),
	};
	return core_open(&c->core, &o);
}

static int wait_applied(void *arg, const char *head, uint64_t seq, const char *fs,
			uint64_t timeout_ns, char *text)
{
	struct controller *c = arg;
	return channel_server_wait_applied(c->channels, head, seq, fs, timeout_ns, text);
}

/* A head has a channel to its controller and to that one's partner. */
static bool head_is_ours(const struct controller *c, const struct config_head *h)
{
	const struct config_controller *its = config_controller(c->config, h->controller);
	return its == c->me || (its && config_partner(c->config, its) == c->me);
}

/* The heads of the configuration that use this controller. */
static unsigned configured_heads(void *arg, struct core_head *ret, unsigned max)
{
	struct controller *c = arg;
	unsigned n = 0;
	for (unsigned i = 0; i < c->config->heads_count && n < max; i++) {
		const struct config_head *h = &c->config->heads[i];
		if (!head_is_ours(c, h))
			continue;
		snprintf(ret[n].name, sizeof(ret[n].name), "%s", h->name);
		snprintf(ret[n].group, sizeof(ret[n].group), "%s", h->group);
		ret[n++].up = channel_server_head_up(c->channels, h->name);
	}
	return n;
}

/* Users that heads of this controller run as (`user:` in the configuration). */
static unsigned head_users(const struct controller *c, uint32_t *uids, unsigned max)
{
	unsigned n = 0;
	for (unsigned i = 0; i < c->config->heads_count && n < max; i++) {
		const char *user = c->config->heads[i].user;
		struct passwd *pw = user && *user ? getpwnam(user) : NULL;
		if (pw)
			uids[n++] = pw->pw_uid;
	}
	return n;
}

static int start_channels(struct controller *c)
{
	char path[108];
	uint32_t uids[HEADS_MAX];
	config_path_channel(c->config, c->me->name, path);
	struct channel_server_opts o = {
	    .core = c->core,
	    .socket_path = path,
	    .memory_dir = c->config->array.memory_dir,
	    .cache_fd = c->segment_ro,
	    .cache_size = c->segment_size,
	    .battery = config_battery(c->config),
	    .uids = uids,
	    .nuids = head_users(c, uids, HEADS_MAX),
	    .reactors = c->reactors,
	    .nreactors = c->nreactors,
	};
	return channel_server_start(&c->channels, &o);
}

static int start_iscsi(struct controller *c)
{
	const struct config_iscsi *k = &c->me->iscsi;
	unsigned files = process_open_files(k->max_connections + FILES_BESIDE);
	if (files < k->max_connections + FILES_BESIDE)
		log_warn("controller: descriptors=%u are few for max_connections=%u", files,
			 k->max_connections);
	struct iscsi_opts o = {
	    .max_connections = k->max_connections,
	    .login_timeout_s = k->login_timeout,
	    .nop_interval_s = k->nop_interval,
	    .nop_timeout_s = k->nop_timeout,
	    .data_timeout_s = k->data_timeout,
	    .logout_s = k->logout_time,
	    .registry = c->registry,
	    .reactors = c->reactors,
	    .nreactors = c->nreactors,
	    .portals = (const char *const *)c->me->portals,
	    .nportals = c->me->portals_count,
	};
	if (c->partner) {
		o.portals = partner_portals(c->partner);
		o.partner_portals = partner_far_portals(c->partner);
		while (o.partner_portals[o.npartner_portals])
			o.npartner_portals++;
	}
	for (unsigned i = 0; i < k->chap_count; i++)
		o.chap_allowed |= iscsi_chap_algorithm(k->chap[i]);
	int rc = iscsi_server_start(&c->iscsi, &o);
	return rc ? rc : partner_scsi(c->partner, c->registry);
}

static int start_admin(struct controller *c)
{
	char path[108];
	config_path_admin(c->config, "controller", c->me->name, path);
	int rc = admin_server_new(&c->admin, c->reactors[0], path);
	if (rc == 0)
		rc = core_admin_register(c->core, c->admin);
	if (rc == 0)
		rc = scsi_admin_register(c->registry, c->admin);
	if (rc == 0)
		rc = iscsi_admin_register(c->iscsi, c->admin);
	if (rc == 0)
		rc = channel_server_admin_register(c->channels, c->admin);
	return rc;
}

static int start_all(struct controller *c, const char **what)
{
	int rc;
	*what = "control memory";
	if ((rc = partner_open(&c->partner, c->config, c->me)))
		return rc;
	*what = "block core";
	if ((rc = open_core(c)))
		return rc;
	*what = "link to the partner";
	if ((rc = partner_link(c->partner, c->core,
			       cache_segment_pages(c->segment_size, CACHE_PAGE))))
		return rc;
	*what = "targets";
	if ((rc = scsi_registry_new(&c->registry, c->core)))
		return rc;
	*what = "block channels";
	if ((rc = start_channels(c)))
		return rc;
	core_set_hooks(c->core, &(struct core_hooks){.heads = configured_heads,
						     .wait_applied = wait_applied,
						     .arg = c});
	*what = "iSCSI portals";
	if ((rc = start_iscsi(c)))
		return rc;
	*what = "watch of the disks";
	if ((rc = core_watch_start(c->core)))
		return rc;
	partner_serve(c->partner);
	*what = "admin socket";
	return start_admin(c);
}

/* ---- stop ---- */

static void stop_all(struct controller *c)
{
	if (c->core)
		core_admin_stop(c->core);
	if (c->admin)
		admin_server_free(c->admin);
	partner_quiet(c->partner);
	if (c->iscsi)
		iscsi_server_stop(c->iscsi);
	if (c->channels)
		channel_server_stop(c->channels);
	if (c->registry)
		scsi_partner_close(c->registry);
	partner_unlink(c->partner);
	if (c->registry)
		scsi_registry_free(c->registry);
	if (c->core) {
		int rc = core_close(c->core);
		if (rc)
			event_write(LOG_L_ERROR, "controller.stop",
				    "closed with data not on disk (%s); it stays in the cache "
				    "segment for the next start",
				    err_text(rc));
	}
	partner_close(c->partner);
}

static void stop_task(void *arg)
{
	struct controller *c = arg;
	stop_all(c);
	uv_close((uv_handle_t *)&c->on_term, NULL);
	uv_close((uv_handle_t *)&c->on_int, NULL);
	reactor_stop(c->reactors[0]);
}

static void on_signal(uv_signal_t *handle, int signum)
{
	struct controller *c = handle->data;
	if (c->stopping)
		return;
	c->stopping = true;
	log_notice("stopping signal=%d", signum);
	if (task_start(stop_task, c))
		abort();
}

static void watch_signal(struct controller *c, uv_signal_t *s, int signum)
{
	uv_signal_init(reactor_loop(c->reactors[0]), s);
	s->data = c;
	uv_signal_start(s, on_signal, signum);
}

static void start_task(void *arg)
{
	struct controller *c = arg;
	const char *what = "";
	int rc = start_all(c, &what);
	if (rc == 0) {
		watch_signal(c, &c->on_term, SIGTERM);
		watch_signal(c, &c->on_int, SIGINT);
		log_notice("in service reactors=%u cache=%zu", c->nreactors, c->segment_size);
		return;
	}
	log_error("cannot start part=\"%s\" error=%s: %s", what, err_name(rc), err_text(rc));
	c->exit_code = EXIT_FAILURE;
	stop_all(c);
	reactor_stop(c->reactors[0]);
}

static int run(struct controller *c)
{
	c->segment_rw = c->segment_ro = -1;
	if (start_reactors(c) || map_segment(c))
		return EXIT_FAILURE;
	int rc = task_start_on(reactor_sched(c->reactors[0]), start_task, c);
	if (rc)
		return EXIT_FAILURE;
	reactor_run(c->reactors[0]);
	for (unsigned i = 1; i < c->nreactors; i++) {
		reactor_stop(c->reactors[i]);
		reactor_join(c->reactors[i]);
	}
	for (unsigned i = 0; i < c->nreactors; i++)
		reactor_free(c->reactors[i]);
	munmap(c->segment, c->segment_size);
	close(c->segment_rw);
	close(c->segment_ro);
	return c->exit_code;
}

int main(int argc, char **argv)
{
	const char *file = NULL;
	int opt;
	while ((opt = getopt(argc, argv, "c:h")) != -1) {
		if (opt == 'c') {
			file = optarg;
		} else {
			usage(opt == 'h' ? stdout : stderr);
			return opt == 'h' ? 0 : 2;
		}
	}
	if (!file || optind + 1 != argc) {
		usage(stderr);
		return 2;
	}
	struct controller c = {0};
	if (config_file_load(&c.config, file, say_config, NULL))
		return EXIT_FAILURE;
	c.me = config_controller(c.config, argv[optind]);
	if (!c.me) {
		fprintf(stderr, "isthmus-controller: %s names no controller '%s'\n", file,
			argv[optind]);
		return EXIT_FAILURE;
	}
	char ident[64], events[256];
	enum log_level level;
	snprintf(ident, sizeof(ident), "controller-%s", c.me->name);
	log_set_ident(ident);
	if (log_level_parse(c.config->array.log_level, &level) == 0)
		log_set_level(level);
	snprintf(events, sizeof(events), "%s/events-%s", c.config->array.state_dir, ident);
	if (event_log_open(events))
		log_warn("cannot keep events path=%s", events);
	signal(SIGPIPE, SIG_IGN);
	int code = run(&c);
	event_log_close();
	config_file_free(c.config);
	return code;
}
