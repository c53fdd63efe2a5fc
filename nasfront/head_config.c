/*
 * Applying the configuration that the controller sends: file systems are formatted when they are
 * new, mounted, grown with their volumes, and unmounted when they are no longer ours; then exports
 * follow.
 *
 * The controller is told for each file system how it went. What could not be mounted is tried
 * again, first after RETRY_NS, then twice as long after each time, up to RETRY_MAX_NS; clients are
 * answered "ask again" meanwhile. Events tell why once, until it is for another reason.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "blockcore/channel/channel_client.h"
#include "nasfront/fs/fs.h"
#include "nasfront/head.h"
#include "runtime/bdev.h"
#include "runtime/bytes.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include "runtime/log.h"

#define RETRY_NS     (2 * NS_PER_S)
#define RETRY_MAX_NS (60 * NS_PER_S)
#define BLANK_BYTES  (64 * 1024)

static struct head_fs *fs_find(struct head *h, uint64_t id)
{
	struct head_fs *f;
	TAILQ_FOREACH (f, &h->filesystems, link)
		if (f->id == id)
			return f;
	return NULL;
}

static void fs_failed(struct head_fs *f, int rc, const char *what)
{
	if (f->code != rc)
		event_write(LOG_L_ERROR, "fs.unavailable", "file system %s: %s: %s", f->name, what,
			    err_text(rc));
	f->code = rc;
	snprintf(f->text, sizeof(f->text), "%s: %s", what, err_text(rc));
}

/* ---- unmounting ---- */

static void fs_close(struct head *h, struct head_fs *f)
{
	struct fs *fs = nfs_mount_take(h->nfs, f->id);
	f->fs = NULL;
	if (fs) {
		int rc = fs_unmount(fs);
		if (rc)
			log_warn("head: unmount fs=%s why=%s", f->name, err_name(rc));
		else
			log_info("head: unmounted fs=%s", f->name);
	}
	bdev_close(f->bdev);
	f->bdev = NULL;
}

static void fs_remove_unwanted(struct head *h)
{
	struct head_fs *f, *next;
	TAILQ_FOREACH_SAFE (f, &h->filesystems, link, next) {
		if (f->wanted)
			continue;
		fs_close(h, f);
		nfs_mount_forget(h->nfs, f->id);
		TAILQ_REMOVE(&h->filesystems, f, link);
		free(f);
	}
}

void head_config_close(struct head *h)
{
	struct head_fs *f;
	task_mutex_lock(&h->config_lock);
	env_timer_stop(h->env, &h->retry);
	TAILQ_FOREACH (f, &h->filesystems, link)
		f->wanted = false;
	fs_remove_unwanted(h);
	if (h->wanted)
		isthmus__nas_config__free_unpacked(h->wanted, NULL);
	h->wanted = NULL;
	task_mutex_unlock(&h->config_lock);
}

/* ---- mounting ---- */

/*
 * The second half of a file system's uuid is its id in the array: so what is found on a volume
 * that the array does not yet know to be formatted is told apart. Made by us before a crash: kept.
 * Left behind by what the volume's space was used for before: formatted over.
 */
static void uuid_make(struct head *h, uint64_t id, uint8_t uuid[16])
{
	env_random(h->env, uuid, 8);
	be64_put(uuid + 8, id);
}

static bool is_ours(struct fs *fs, uint64_t id)
{
	struct fs_statfs st;
	return fs_statfs(fs, &st) == 0 && be64_get(st.uuid + 8) == id;
}

static int fs_make(struct head *h, struct head_fs *f)
{
	struct fs_mkfs_opts o = {.label = f->name,
				 .root_uid = h->owner_uid,
				 .root_gid = h->owner_gid,
				 .root_mode = 0755};
	uuid_make(h, f->id, o.uuid);
	int rc = fs_mkfs(h->env, f->bdev, &o);
	if (rc == 0)
		event_write(LOG_L_NOTICE, "fs.formatted", "file system %s was made", f->name);
	return rc;
}

/* A new volume holds zeros: nobody's file system, and nothing that damage could be reported of. */
static bool is_blank(struct head_fs *f)
{
	static const uint8_t zeros[BLANK_BYTES];
	uint8_t *p = NULL;
	if (posix_memalign((void **)&p, 4096, BLANK_BYTES))
		return false;
	bool blank = f->bdev->size >= BLANK_BYTES && bdev_read(f->bdev, p, BLANK_BYTES, 0) == 0 &&
		     memcmp(p, zeros, BLANK_BYTES) == 0;
	free(p);
	return blank;
}

/* What events told of is not told again; another failure is. */
static int fs_mount_tell(struct head *h, struct head_fs *f)
{
	struct fs_opts o = {.metadata_memory = h->fs_memory, .quiet = f->mount_code != 0};
	int rc = fs_mount(&f->fs, h->env, f->bdev, &o);
	if (rc && o.quiet && rc != f->mount_code) {
		o.quiet = false;
		rc = fs_mount(&f->fs, h->env, f->bdev, &o);
	}
	f->mount_code = rc;
	return rc;
}

static int fs_mount_any(struct head *h, struct head_fs *f)
{
	if (!f->formatted && is_blank(f)) {
		int made = fs_make(h, f);
		return made ? made : fs_mount_tell(h, f);
	}
	int rc = fs_mount_tell(h, f);
	if (f->formatted)
		return rc;
	if (rc == 0 && is_ours(f->fs, f->id))
		return 0;
	if (rc == 0)
		fs_abandon(f->fs);
	f->fs = NULL;
	if (rc == -ERR_EPOCH_STALE || rc == -ERR_SHUTDOWN)
		return rc;
	rc = fs_make(h, f);
	return rc ? rc : fs_mount_tell(h, f);
}

static void fs_open(struct head *h, struct head_fs *f)
{
	const char *what = "its volume cannot be opened";
	uint64_t start = env_now_ns(h->env);
	int rc = f->bdev ? 0 : channel_volume_open(h->channel, f->volume_id, &f->bdev);
	if (rc == 0) {
		what = "cannot be mounted";
		rc = fs_mount_any(h, f);
	}
	if (rc == 0) {
		rc = nfs_mount_add(h->nfs, f->id, f->name, f->fs);
		if (rc)
			fs_abandon(f->fs);
	}
	if (rc) {
		f->fs = NULL;
		fs_failed(f, rc, what);
		if (rc == -ERR_EPOCH_STALE)
			head_on_fenced(h);
		return;
	}
	f->code = 0;
	f->text[0] = '\0';
	f->formatted = true;
	f->since_ns = env_realtime_ns(h->env);
	log_info("head: mounted fs=%s ms=%llu", f->name,
		 (unsigned long long)((env_now_ns(h->env) - start) / NS_PER_MS));
}

/* ---- growing ---- */

/* The volume's size now. */
static int volume_size_now(struct head *h, struct head_fs *f)
{
	struct bdev *again;
	int rc = channel_volume_open(h->channel, f->volume_id, &again);
	if (rc)
		return rc;
	if (again->size > f->bdev->size)
		__atomic_store_n(&f->bdev->size, again->size, __ATOMIC_RELAXED);
	bdev_close(again);
	return 0;
}

/* A mounted file system grows with its volume. */
static void fs_follow(struct head *h, struct head_fs *f)
{
	uint64_t added = 0;
	const char *what = "its volume's size is not known";
	int rc = volume_size_now(h, f);
	if (rc == 0) {
		what = "cannot grow";
		rc = fs_grow(f->fs, &added);
	}
	if (added)
		log_info("head: grown fs=%s bytes=%llu", f->name, (unsigned long long)added);
	if (rc) {
		fs_failed(f, rc, what);
	} else {
		f->code = 0;
		f->text[0] = '\0';
	}
}

static void fs_want(struct head *h, const Isthmus__NasFs *w)
{
	struct head_fs *f = fs_find(h, w->id);
	if (f && f->volume_id != w->volume_id && f->fs)
		fs_close(h, f);
	if (!f) {
		f = calloc(1, sizeof(*f));
		if (!f)
			return;
		f->id = w->id;
		TAILQ_INSERT_TAIL(&h->filesystems, f, link);
	}
	snprintf(f->name, sizeof(f->name), "%s", w->name);
	f->volume_id = w->volume_id;
	f->formatted = f->formatted || w->formatted;
	f->wanted = true;
	int rc = nfs_mount_expect(h->nfs, f->id, f->name);
	if (rc)
		fs_failed(f, rc, "cannot be served");
	else if (!f->fs && !h->stopping)
		fs_open(h, f);
	if (rc == 0 && f->fs && !h->stopping)
		fs_follow(h, f);
}

/* ---- the whole ---- */

static Isthmus__NasConfig *config_copy(const Isthmus__NasConfig *cfg)
{
	size_t n = isthmus__nas_config__get_packed_size(cfg);
	uint8_t *buf = malloc(n ? n : 1);
	if (!buf)
		return NULL;
	isthmus__nas_config__pack(cfg, buf);
	Isthmus__NasConfig *copy = isthmus__nas_config__unpack(NULL, n, buf);
	free(buf);
	return copy;
}

/* metadata_memory is the head's: each file system has an equal part of it. */
static void memory_share(struct head *h, size_t count)
{
	struct head_fs *f;
	h->fs_memory = h->config->metadata_memory_bytes / MAX(count, (size_t)1);
	TAILQ_FOREACH (f, &h->filesystems, link)
		if (f->fs)
			fs_set_memory(f->fs, h->fs_memory);
}

/* A controller that has not heard of another head yet does not make us forget where it serves. */
static void addresses_keep(struct head *h, Isthmus__NasConfig *cfg)
{
	for (size_t i = 0; h->wanted && i < cfg->n_heads; i++)
		for (size_t k = 0; !cfg->heads[i]->n_addresses && k < h->wanted->n_heads; k++) {
			Isthmus__NasHead *to = cfg->heads[i], *from = h->wanted->heads[k];
			if (strcmp(to->name, from->name) != 0)
				continue;
			to->addresses = from->addresses;
			to->n_addresses = from->n_addresses;
			from->addresses = NULL;
			from->n_addresses = 0;
		}
}

static bool apply_locked(struct head *h, const Isthmus__NasConfig *cfg)
{
	struct head_fs *f;
	bool whole = true;
	TAILQ_FOREACH (f, &h->filesystems, link)
		f->wanted = false;
	for (size_t i = 0; i < cfg->n_filesystems; i++) {
		f = fs_find(h, cfg->filesystems[i]->id);
		if (f)
			f->wanted = true;
	}
	/* Handles of what is no longer exported stop first, then file systems come and go. */
	unsigned bad = nfs_namespace_set(h->nfs, cfg);
	if (bad)
		log_error("head: exports left out count=%u", bad);
	fs_remove_unwanted(h);
	memory_share(h, cfg->n_filesystems);
	for (size_t i = 0; i < cfg->n_filesystems; i++)
		fs_want(h, cfg->filesystems[i]);
	TAILQ_FOREACH (f, &h->filesystems, link)
		whole = whole && f->fs && !f->code;
	return whole;
}

static void retry_task(void *arg)
{
	struct head *h = arg;
	task_mutex_lock(&h->config_lock);
	h->retrying = false;
	if (h->wanted && !h->stopping && !h->fenced && !apply_locked(h, h->wanted)) {
		h->retrying = true;
		h->retry_ns = MIN(2 * h->retry_ns, RETRY_MAX_NS);
		env_timer_start(h->env, &h->retry, h->retry_ns);
	}
	task_mutex_unlock(&h->config_lock);
}

static void retry_fire(void *arg)
{
	struct head *h = arg;
	if (task_start_on(reactor_sched(h->reactor), retry_task, h))
		env_timer_start(h->env, &h->retry, RETRY_NS);
}

static void retry_later(struct head *h)
{
	h->retry_ns = RETRY_NS; /* something has changed: it may help */
	if (h->retrying)
		return;
	h->retrying = true;
	h->retry = (struct env_timer){.fn = retry_fire, .arg = h};
	env_timer_start(h->env, &h->retry, RETRY_NS);
}

static void answer_fill(struct head *h, const Isthmus__NasConfig *cfg,
			Isthmus__NasConfigApplied *ret)
{
	struct head_fs *f;
	ret->seq = cfg->seq;
	ret->filesystems = calloc(cfg->n_filesystems + 1, sizeof(*ret->filesystems));
	TAILQ_FOREACH (f, &h->filesystems, link) {
		if (!ret->filesystems || ret->n_filesystems == cfg->n_filesystems)
			break;
		Isthmus__NasFsState *s = malloc(sizeof(*s));
		if (!s)
			break;
		isthmus__nas_fs_state__init(s);
		s->name = strdup(f->name);
		s->code = f->code;
		s->text = strdup(f->text);
		ret->filesystems[ret->n_filesystems++] = s;
	}
}

void head_config_apply(void *arg, const Isthmus__NasConfig *cfg, Isthmus__NasConfigApplied *ret)
{
	struct head *h = arg;
	ret->seq = cfg->seq;
	task_mutex_lock(&h->config_lock);
	if (h->stopping || h->fenced || (h->wanted && cfg->seq < h->wanted->seq)) {
		task_mutex_unlock(&h->config_lock);
		return;
	}
	Isthmus__NasConfig *copy = config_copy(cfg);
	if (copy) {
		addresses_keep(h, copy);
		if (h->wanted)
			isthmus__nas_config__free_unpacked(h->wanted, NULL);
		h->wanted = copy;
	}
	/* What clients hold is known before they are served, and before the files that only they
	 * still have would be freed. */
	bool first = !h->up && head_state_durable(h, cfg);
	if (first)
		head_state_apply(h, cfg);
	if (!apply_locked(h, copy ? copy : cfg))
		retry_later(h);
	answer_fill(h, cfg, ret);
	log_info("head: configuration applied seq=%llu filesystems=%zu exports=%zu",
		 (unsigned long long)cfg->seq, cfg->n_filesystems, cfg->n_exports);
	if (!h->up && !h->fenced)
		head_in_service(h);
	/* Else it is not waited for. */
	if (!first)
		head_state_apply(h, cfg);
	head_backup_apply(h, cfg);
	task_mutex_unlock(&h->config_lock);
}
