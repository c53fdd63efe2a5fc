/*
 * Folders, lock, and the set of children that the configuration asks for.
 */
#include "server/supervisor/supervisor.h"
#include "runtime/admin.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include "runtime/reactor.h"
#include "server/supervisor/activate.h"
#include "server/supervisor/pid_file.h"
#include "server/supervisor/placement.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOCK_TRIES 20

/* ---- folders and lock ---- */

static int make_dir(const char *path, mode_t mode)
{
	char part[1100];
	snprintf(part, sizeof(part), "%.1024s", path);
	for (char *p = part + 1; *p; p++) {
		if (*p != '/')
			continue;
		*p = '\0';
		if (mkdir(part, 0755) < 0 && errno != EEXIST)
			return -errno;
		*p = '/';
	}
	if (mkdir(part, mode) < 0 && errno != EEXIST)
		return -errno;
	return access(path, W_OK | X_OK) < 0 ? -errno : 0;
}

static int make_dir_told(const char *key, const char *path, mode_t mode)
{
	int rc = make_dir(path, mode);
	if (rc)
		fprintf(stderr,
			"isthmusd: %s %s cannot be used: %s; make it, or name another in the "
			"configuration\n",
			key, path, err_text(rc));
	return rc;
}

/* An isthmusd that was just killed may have a fork that holds the lock until it executes. */
static int take_lock(struct supervisor *s)
{
	char path[160];
	snprintf(path, sizeof(path), "%.140s/isthmusd.lock", s->config->array.run_dir);
	s->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (s->lock_fd < 0) {
		int rc = -errno;
		fprintf(stderr, "isthmusd: %s: %s\n", path, err_text(rc));
		return rc;
	}
	for (int i = 0; i < LOCK_TRIES; i++) {
		if (flock(s->lock_fd, LOCK_EX | LOCK_NB) == 0)
			return 0;
		usleep(50000);
	}
	fprintf(stderr,
		"isthmusd: another isthmusd runs this array (%s is locked); stop it first\n", path);
	return -EBUSY;
}

int supervisor_prepare(struct supervisor *s)
{
	const struct config_array *a = &s->config->array;
	char path[160];
	int rc = make_dir_told("run_dir", a->run_dir, 0755);
	rc = rc ?: make_dir_told("state_dir", a->state_dir, 0755);
	rc = rc ?: make_dir_told("memory_dir", a->memory_dir, 0700);
	rc = rc ?: take_lock(s);
	if (rc)
		return rc;
	snprintf(path, sizeof(path), "%.140s/isthmusd.pid", a->run_dir);
	return pid_file_write(path, "isthmusd");
}

/* ---- sections as text ---- */

static void put_list(FILE *f, const char *key, char **list, unsigned n)
{
	fprintf(f, "%s=", key);
	for (unsigned i = 0; i < n; i++)
		fprintf(f, "%s,", list[i]);
}

static void put_iscsi(FILE *f, const struct config_iscsi *c)
{
	fprintf(f, "iscsi=%u,%u,%u,%u,%u,%u,", c->max_connections, c->login_timeout,
		c->nop_interval, c->nop_timeout, c->data_timeout, c->logout_time);
	put_list(f, "chap", c->chap, c->chap_count);
}

static void put_pin(FILE *f, const int *pin, unsigned n)
{
	fprintf(f, "pin=");
	for (unsigned i = 0; i < n; i++)
		fprintf(f, "%d,", pin[i]);
}

static void put_duplex(FILE *f, const struct config_controller *k)
{
	fprintf(f, "partner=%s %s %s %s %s %u %u %u %s %s %u ", k->partner, k->link_psk ?: "",
		k->link_cert ?: "", k->link_key ?: "", k->link_ca ?: "", k->link_heartbeat_ms,
		k->link_dead_ms, k->mirror_share, k->lone ?: "", k->give_back ?: "",
		k->give_back_delay);
	for (unsigned i = 0; i < k->links_count; i++)
		fprintf(f, "%s,%s,%s ", k->links[i].path, k->links[i].local, k->links[i].remote);
}

char *supervisor_settings(const struct config_file *c, const char *kind, const char *name)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);
	if (!f)
		return NULL;
	fprintf(f, "%s %s %s %s ", c->array.name, c->array.memory, c->array.log_level,
		c->array.admin_group);
	const struct config_controller *k = config_controller(c, name);
	const struct config_head *h = config_head(c, name);
	if (strcmp(kind, "controller") == 0 && k) {
		fprintf(f, "%llu %u %s %u %u ", (unsigned long long)k->cache_bytes, k->reactors,
			k->io, k->poll_us, k->disk_timeout);
		put_list(f, "disks", k->disks, k->disks_count);
		put_list(f, "portals", k->portals, k->portals_count);
		put_iscsi(f, &k->iscsi);
		put_pin(f, k->pin, k->pin_count);
		if (k->partner)
			put_duplex(f, k);
	} else if (h) {
		fprintf(f, "%s ", h->address_script);
		fprintf(f, "%s %s %s %u %u %s %llu %s ", h->group, h->controller, h->address,
			h->nfs_port, h->mount_port, h->rpcbind,
			(unsigned long long)h->metadata_memory_bytes, h->user);
		fprintf(f, "%u %u %s %s %s %s %u ", h->lock_grace, h->max_connections, h->nfs4,
			h->nfs4_domain, h->nfs4_delegations, h->groups, h->groups_time);
		fprintf(f, "%s %s %u ", h->durable_state, h->advertise, h->head_lease != 0);
		fprintf(f, "%s %s %s %s %s %s ", h->tls_cert, h->tls_key, h->tls_ca, h->tls_mutual,
			h->keytab, h->principal);
		put_pin(f, h->pin, h->pin_count);
	}
	fclose(f);
	return text;
}

/* What a service has of the head at which it runs. */
static char *place_settings(const struct config_file *c, const char *head)
{
	char *text = NULL;
	size_t len;
	const struct config_head *h = config_head(c, head);
	FILE *f = open_memstream(&text, &len);
	if (!f)
		return NULL;
	if (h) {
		fprintf(f, "at=%s %llu ", h->name, (unsigned long long)h->metadata_memory_bytes);
		put_pin(f, h->pin, h->pin_count);
	}
	fclose(f);
	return text;
}

bool supervisor_settle(struct child *c)
{
	const struct config_file *file = c->sup->config;
	char *own = supervisor_settings(file, c->kind, c->name), *place = NULL, *all = NULL;
	if (strcmp(c->place, c->name) != 0)
		place = place_settings(file, c->place);
	bool changed = own && asprintf(&all, "%s%s", own, place ? place : "") >= 0 &&
		       strcmp(all, c->settings) != 0;
	if (changed) {
		free(c->settings);
		c->settings = all;
	} else {
		free(all);
	}
	free(own);
	free(place);
	return changed;
}

/* ---- children ---- */

struct child *supervisor_child(struct supervisor *s, const char *kind, const char *name)
{
	struct child *c;
	TAILQ_FOREACH (c, &s->children, link)
		if (strcmp(c->kind, kind) == 0 && strcmp(c->name, name) == 0)
			return c;
	return NULL;
}

static int add_child(struct supervisor *s, const char *kind, const char *name)
{
	struct child *c;
	int rc = child_new(&c, s, kind, name, "");
	if (rc)
		return rc;
	placement_restore(c);
	supervisor_settle(c);
	TAILQ_INSERT_TAIL(&s->children, c, link);
	return child_run(c);
}

static int add_missing(struct supervisor *s)
{
	int rc = 0;
	for (unsigned i = 0; i < s->config->controllers_count && !rc; i++)
		if (!supervisor_child(s, "controller", s->config->controllers[i].name))
			rc = add_child(s, "controller", s->config->controllers[i].name);
	for (unsigned i = 0; i < s->config->heads_count && !rc; i++)
		if (!supervisor_child(s, "head", s->config->heads[i].name))
			rc = add_child(s, "head", s->config->heads[i].name);
	return rc;
}

/* Stops all of a kind at once (NULL: every kind) that `gone` says, and waits for them. */
static void stop_children(struct supervisor *s, const char *kind,
			  bool (*gone)(struct supervisor *s, struct child *c))
{
	struct child *c, *next;
	TAILQ_FOREACH (c, &s->children, link)
		if (strcmp(c->kind, kind) == 0 && gone(s, c))
			child_stop(c);
	TAILQ_FOREACH_SAFE (c, &s->children, link, next) {
		if (strcmp(c->kind, kind) != 0 || !c->want_stop || c->want_restart)
			continue;
		child_join(c);
		TAILQ_REMOVE(&s->children, c, link);
		child_free(c);
	}
}

static bool every(struct supervisor *s, struct child *c)
{
	return true;
}

static bool not_configured(struct supervisor *s, struct child *c)
{
	return strcmp(c->kind, "controller") == 0 ? !config_controller(s->config, c->name)
						  : !config_head(s->config, c->name);
}

int supervisor_start(struct supervisor *s)
{
	char path[160];
	s->started_ns = env_now_ns(env_real());
	task_mutex_init(&s->moving);
	snprintf(path, sizeof(path), "%.140s/events-isthmusd", s->config->array.state_dir);
	int rc = event_log_open(path);
	if (rc)
		log_warn("isthmusd: events are not kept path=%s why=%s", path, err_name(rc));
	config_path_supervisor(s->config, path);
	rc = admin_server_new(&s->admin, s->reactor, path);
	if (rc) {
		fprintf(stderr, "isthmusd: %s cannot be made: %s\n", path, err_text(rc));
		return rc;
	}
	rc = admin_server_allow_group(s->admin, s->config->array.admin_group);
	if (rc)
		fprintf(stderr, "isthmusd: admin_group %s cannot be used: %s\n",
			s->config->array.admin_group, err_text(rc));
	rc = rc ?: front_register(s);
	rc = rc ?: lease_start(s);
	rc = rc ?: add_missing(s);
	return rc ?: activate_start(s);
}

void supervisor_stop(struct supervisor *s)
{
	char path[160];
	s->stopping = true;
	stop_children(s, "head", every);
	stop_children(s, "controller", every);
	lease_stop(s);
	activate_stop(s);
	admin_server_free(s->admin);
	event_write(LOG_L_NOTICE, "isthmusd.stop", "isthmusd stopped the array in order");
	event_log_close();
	snprintf(path, sizeof(path), "%.140s/isthmusd.pid", s->config->array.run_dir);
	unlink(path);
}

/* ---- reload ---- */

static void say(void *arg, const char *line)
{
	event_write(LOG_L_ERROR, "config.wrong", "%.200s", line);
}

static bool same_place(const struct config_array *a, const struct config_array *b)
{
	return strcmp(a->run_dir, b->run_dir) == 0 && strcmp(a->state_dir, b->state_dir) == 0 &&
	       strcmp(a->memory_dir, b->memory_dir) == 0;
}

static void restart_changed(struct supervisor *s)
{
	struct child *c;
	TAILQ_FOREACH (c, &s->children, link) {
		if (supervisor_settle(c)) {
			event_write(LOG_L_NOTICE, "config.restart",
				    "%s %s is restarted: its configuration changed", c->kind,
				    c->name);
			child_restart(c);
		}
		child_kick(c);
	}
}

void supervisor_reload(struct supervisor *s)
{
	struct config_file *fresh;
	if (config_file_load(&fresh, s->config_path, say, s)) {
		event_write(LOG_L_ERROR, "config.refused",
			    "the configuration is wrong; the old one stays in force");
		return;
	}
	if (!same_place(&fresh->array, &s->config->array)) {
		event_write(LOG_L_ERROR, "config.refused",
			    "run_dir, state_dir and memory_dir cannot change while the array runs; "
			    "stop isthmusd first");
		config_file_free(fresh);
		return;
	}
	/* Nothing keeps a pointer into the old one: children have names of their own. */
	struct config_file *old = s->config;
	s->config = fresh;
	config_file_free(old);
	stop_children(s, "head", not_configured);
	stop_children(s, "controller", not_configured);
	placement_follow(s);
	restart_changed(s);
	if (add_missing(s))
		log_error("isthmusd: out of memory");
	event_write(LOG_L_NOTICE, "config.reload", "the configuration was read again");
}
