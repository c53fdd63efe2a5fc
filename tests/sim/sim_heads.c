/*
 * Scenario `heads`: clients of NFSv3 with NLM and of NFSv4.0 and 4.1 work on files that all share
 * and on names of their own; the head that serves them dies again and again, by kill, at a crash
 * point, frozen, with the power, in order, and another takes its place. What was answered holds:
 * nobody loses a lock or an open, or gets another's; nothing is done twice; no client hears that
 * there was a takeover.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "nasfront/fs/fs.h"
#include "runtime/bdev.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include "tests/sim/heads.h"
#include "tests/sim/heads_plan.h"

void heads_fail(struct heads *w, const char *fmt, ...)
{
	va_list ap;
	if (w->failed)
		return;
	w->failed = true;
	va_start(ap, fmt);
	vsnprintf(w->result->why, sizeof(w->result->why), fmt, ap);
	va_end(ap);
	sim_stop(w->sim);
}

void heads_say(struct heads *w, const char *fmt, ...)
{
	va_list ap;
	if (!w->verbose)
		return;
	printf("  %9.3f ms  ", (double)env_now_ns(sim_env(w->sim)) / 1e6);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
}

uint64_t heads_below(struct heads *w, uint64_t n)
{
	return sim_random_below(w->sim, n);
}

void heads_sleep(struct heads *w, uint64_t ns)
{
	env_sleep_ns(sim_env(w->sim), ns);
}

void heads_pause(struct heads *w)
{
	if (w->slow)
		heads_sleep(w, NS_PER_S / 10 + heads_below(w, NS_PER_S / 2));
	else if (heads_below(w, 4) == 0)
		heads_sleep(w, heads_below(w, 4 * NS_PER_MS));
}

/* ---- the world ---- */

static void config_make(struct heads *w)
{
	static Isthmus__NasExportClient client = ISTHMUS__NAS_EXPORT_CLIENT__INIT;
	static Isthmus__NasExportClient *clients[] = {&client};
	static Isthmus__NasExport export = ISTHMUS__NAS_EXPORT__INIT, *exports[] = {&export};
	static Isthmus__NasFs fs = ISTHMUS__NAS_FS__INIT, *filesystems[] = {&fs};
	static Isthmus__NasConfig cfg = ISTHMUS__NAS_CONFIG__INIT;
	client.match = (char *)"*";
	client.read_write = true;
	client.squash = (char *)"none";
	export.id = 1;
	export.path = (char *)"/demo";
	export.fs = (char *)"fs";
	export.subdir = (char *)"/";
	export.n_clients = 1;
	export.clients = clients;
	fs.id = FS_ID;
	fs.volume_id = FS_VOLUME;
	fs.name = (char *)"fs";
	fs.formatted = true;
	cfg.seq = 1;
	cfg.n_filesystems = 1;
	cfg.filesystems = filesystems;
	cfg.n_exports = 1;
	cfg.exports = exports;
	cfg.piv_volume = PIV_VOLUME;
	cfg.backup_volume = BACKUP;
	cfg.group_id = 5;
	w->cfg = &cfg;
	w->config = (struct config_head){.name = (char *)"head",
					 .group = (char *)"group",
					 .address = (char *)"192.0.2.1",
					 .durable_state = (char *)"on",
					 .metadata_memory_bytes = 4 << 20};
}

static void format_task(void *arg)
{
	struct heads *w = arg;
	struct fs_mkfs_opts o = {.label = "fs", .root_mode = 0777};
	struct bdev *b = sim_disk_open(w->disks[FS_VOLUME]);
	int rc = fs_mkfs(sim_env(w->sim), b, &o);
	if (rc)
		heads_fail(w, "mkfs: %s", err_name(rc));
	bdev_close(b);
}

static void clients_make(struct heads *w)
{
	static const enum version versions[] = {V3, V41, V40, V41, V3};
	w->nclients = 3 + (unsigned)heads_below(w, 3);
	for (unsigned i = 0; i < w->nclients; i++) {
		struct client *c = &w->clients[i];
		char address[24];
		c->w = w;
		c->number = i;
		c->version = versions[i];
		snprintf(c->name, sizeof(c->name), "client%u.v%s", i,
			 c->version == V3    ? "3"
			 : c->version == V40 ? "4.0"
					     : "4.1");
		snprintf(address, sizeof(address), "192.0.2.%u", 10 + i);
		c->peer = sim_peer_new(w->net, address, (uint16_t)(700 + i),
				       c->version == V3 ? heads_v3_called : NULL, c);
	}
}

static struct heads *world_new(uint64_t seed, bool verbose, struct scenario_result *ret)
{
	static const uint64_t sizes[] = {0, FS_BYTES, PIV_BYTES, PIV_BYTES};
	static const char *const names[] = {NULL, "fs", "piv", "backup"};
	struct heads *w = calloc(1, sizeof(*w));
	ASSERT(w);
	w->sim = sim_new(seed);
	w->verbose = verbose;
	w->result = ret;
	w->net = sim_net_new(w->sim);
	w->array = sim_array_new(w->sim);
	for (unsigned i = FS_VOLUME; i <= BACKUP; i++) {
		w->disks[i] = sim_disk_new(w->sim, names[i], sizes[i]);
		sim_disk_memory_known(w->disks[i]);
		sim_array_volume(w->array, i, w->disks[i]);
	}
	for (unsigned i = 0; i < HEADS; i++) {
		char name[16];
		snprintf(name, sizeof(name), "head%u", i);
		w->servers[i] =
		    (struct server){.w = w, .number = i, .node = sim_node_new(w->sim, name)};
	}
	config_make(w);
	clients_make(w);
	return w;
}

static void world_free(struct heads *w)
{
	sim_array_free(w->array);
	sim_net_free(w->net);
	sim_free(w->sim);
	free(w);
}

/* ---- a run ---- */

static void prepare_task(void *arg)
{
	struct heads *w = arg;
	heads_v3_prepare(&w->clients[0]);
}

static bool clients_run(const struct heads *w)
{
	for (unsigned i = 0; i < w->nclients; i++)
		if (w->clients[i].runs)
			return true;
	return false;
}

static void start(struct heads *w)
{
	if (sim_run(w->sim, format_task, w) || w->failed)
		return;
	heads_start(w);
	int rc = sim_run(w->sim, prepare_task, w);
	if (rc)
		heads_fail(w, "files cannot be made: %s", err_name(rc));
	for (unsigned i = 0; i < w->nclients && !w->failed; i++) {
		struct client *c = &w->clients[i];
		c->runs = true;
		ASSERT(task_start(c->version == V3 ? heads_v3_client : heads_v4_client, c) == 0);
	}
}

/* Each gives up what it has and looks at what is its own; nobody is in anybody's way by then. */
static void wind_down(struct heads *w)
{
	heads_say(w, "clients end");
	w->quiet = true;
	for (uint64_t t = 0; t < PATIENCE_NS && clients_run(w) && !w->failed; t += NS_PER_MS)
		sim_run_for(w->sim, NS_PER_MS);
	if (clients_run(w))
		heads_fail(w, "a client waits for ever");
	if (!w->failed)
		heads_kill(w->now);
	for (uint64_t t = 0; t < PATIENCE_NS && !heads_all_ended(w) && !w->failed; t += NS_PER_MS)
		sim_run_for(w->sim, NS_PER_MS);
	if (!heads_all_ended(w))
		heads_fail(w, "a head never ends");
}

static void check_line(void *arg, const char *line)
{
	struct heads *w = arg;
	heads_fail(w, "the file system: %s", line);
}

static void check_task(void *arg)
{
	struct heads *w = arg;
	struct bdev *b = sim_disk_open(w->disks[FS_VOLUME]);
	struct fs_check_report r;
	int rc = fs_check(sim_env(w->sim), b, false, check_line, w, &r);
	if (rc)
		heads_fail(w, "the file system: %s", err_name(rc));
	bdev_close(b);
}

int scenario_heads(uint64_t seed, bool verbose, struct scenario_result *ret)
{
	struct heads *w = world_new(seed, verbose, ret);
	start(w);
	if (!w->failed)
		heads_plan_run(w, seed);
	if (!w->failed)
		wind_down(w);
	if (!w->failed && sim_run(w->sim, check_task, w))
		heads_fail(w, "the check of the file system does not end");
	/* A failed run leaves tasks behind: nothing can be freed in order. */
	if (w->failed)
		return -1;
	world_free(w);
	return 0;
}
