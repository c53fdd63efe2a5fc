/* Channel segments as the controller keeps them (channel_seg.h). */
#include "blockcore/channel/channel_seg.h"
#include "blockcore/cache/cache.h"
#include "blockcore/channel/channel_guard.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define SEG_MAGIC 0x63736567

/* When the process started, in clock ticks since boot (proc(5), field 22); 0: it is gone. */
static uint64_t process_start(pid_t pid)
{
	char path[64], text[1024];
	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	ssize_t n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return 0;
	text[n] = 0;
	/* The name, in parentheses, may contain anything: count from its end. */
	char *p = strrchr(text, ')');
	char state;
	unsigned long long start;
	if (!p || sscanf(p + 1,
			 " %c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s "
			 "%*s %llu",
			 &state, &start) != 2)
		return 0;
	return state == 'Z' || state == 'X' ? 0 : start;
}

static int seg_map(struct channel_seg *seg, uint32_t npages, struct channel_geometry geo)
{
	seg->npages = npages;
	seg->geo = geo;
	void *p = mmap(NULL, seg->geo.size, PROT_READ | PROT_WRITE, MAP_SHARED, seg->fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	int rc = channel_guard_enter(p, seg->geo.size, &seg->lost);
	if (rc) {
		munmap(p, seg->geo.size);
		return rc;
	}
	seg->base = p;
	seg->hdr = p;
	seg->sq = (struct channel_sqe *)(seg->base + seg->geo.sq_off);
	seg->cq = (struct channel_cqe *)(seg->base + seg->geo.cq_off);
	return 0;
}

static int seg_enter_hazards(struct channel_seg *seg, struct cache *cache)
{
	seg->cache = cache;
	return cache_hazard_add(
	    cache, (const _Atomic uint32_t *)(seg->base + seg->geo.hazard_off), seg->geo.nhazards,
	    (_Atomic uint8_t *)(seg->base + seg->geo.touched_off), &seg->hazard);
}

static struct channel_seg *seg_new(const char *path)
{
	struct channel_seg *seg = calloc(1, sizeof(*seg));
	if (!seg)
		return NULL;
	seg->magic = SEG_MAGIC;
	seg->fd = -1;
	snprintf(seg->path, sizeof(seg->path), "%s", path);
	return seg;
}

static void seg_put_header(struct channel_seg *seg)
{
	struct channel_head *h = seg->hdr;
	memcpy(h->magic, CHANNEL_MAGIC, sizeof(h->magic));
	h->version = CHANNEL_VERSION;
	h->npages = seg->npages;
	h->size = seg->geo.size;
	memcpy(h->head, seg->head, sizeof(h->head));
	memcpy(h->group, seg->group, sizeof(h->group));
	h->instance = seg->instance;
	h->pid = seg->pid;
	h->pid_start = seg->pid_start;
	h->epoch = seg->epoch;
	atomic_store(&h->fence, seg->epoch);
}

int channel_seg_create(struct channel_seg **ret, struct cache *cache, uint32_t npages,
		       const char *dir, const struct channel_seg_id *id)
{
	char path[256];
	if (snprintf(path, sizeof(path), "%s/channel-%s:%s.seg", dir, id->controller, id->head) >=
	    (int)sizeof(path))
		return -ENAMETOOLONG;
	struct channel_seg *seg = seg_new(path);
	if (!seg)
		return -ENOMEM;
	snprintf(seg->head, sizeof(seg->head), "%s", id->head);
	snprintf(seg->group, sizeof(seg->group), "%s", id->group);
	seg->instance = id->instance;
	seg->epoch = id->epoch;
	seg->pid = id->pid;
	seg->pid_start = process_start(id->pid);
	unlink(path);
	seg->fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	int rc = seg->fd < 0 ? -errno : 0;
	/* Room for all of it now: memory that runs out later would be a signal, not an error. */
	if (rc == 0)
		rc = -posix_fallocate(seg->fd, 0, (off_t)channel_geometry(npages).size);
	if (rc == 0)
		rc = seg_map(seg, npages, channel_geometry(npages));
	if (rc == 0) {
		seg_put_header(seg);
		rc = seg_enter_hazards(seg, cache);
	}
	if (rc) {
		channel_seg_free(seg, seg->fd >= 0);
		return rc;
	}
	*ret = seg;
	return 0;
}

/* The header was in the head's hands: nothing of it is believed unchecked. */
static int seg_take_header(struct channel_seg *seg, uint32_t npages)
{
	struct channel_head h;
	memcpy(&h, seg->hdr, offsetof(struct channel_head, sq_tail));
	if (memcmp(h.magic, CHANNEL_MAGIC, sizeof(h.magic)) != 0 || h.version == 0 ||
	    h.version > CHANNEL_VERSION || h.npages != npages ||
	    (h.version > 2) != (seg->geo.nhazards == CHANNEL_HAZARDS))
		return -ERR_CORRUPT;
	if (!memchr(h.head, 0, sizeof(h.head)) || !memchr(h.group, 0, sizeof(h.group)) ||
	    !channel_name_valid(h.head) || !channel_name_valid(h.group) || h.pid <= 0)
		return -ERR_CORRUPT;
	memcpy(seg->head, h.head, sizeof(seg->head));
	memcpy(seg->group, h.group, sizeof(seg->group));
	seg->instance = h.instance;
	seg->epoch = h.epoch;
	seg->pid = h.pid;
	seg->pid_start = h.pid_start;
	atomic_store(&seg->fenced,
		     h.version != CHANNEL_VERSION || atomic_load(&seg->hdr->fence) != h.epoch);
	return 0;
}

int channel_seg_open(struct channel_seg **ret, struct cache *cache, uint32_t npages,
		     const char *path)
{
	struct stat st;
	struct channel_seg *seg = seg_new(path);
	if (!seg)
		return -ENOMEM;
	seg->fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	int rc = seg->fd < 0 || fstat(seg->fd, &st) ? -errno : 0;
	struct channel_geometry geo = channel_geometry(npages);
	if (rc == 0 && (size_t)st.st_size != geo.size)
		geo = channel_geometry_of(npages, CHANNEL_HAZARDS_V2);
	/* In version 1 staging memory came after the rest. */
	if (rc == 0 && (!S_ISREG(st.st_mode) || ((size_t)st.st_size != geo.size &&
						 (size_t)st.st_size != geo.size + CHANNEL_STAGING)))
		rc = -ERR_CORRUPT;
	if (rc == 0)
		rc = seg_map(seg, npages, geo);
	if (rc == 0)
		rc = seg_take_header(seg, npages);
	if (rc == 0)
		rc = seg_enter_hazards(seg, cache);
	if (rc) {
		channel_seg_free(seg, false);
		return rc;
	}
	*ret = seg;
	return 0;
}

void channel_seg_reset(struct channel_seg *seg, pid_t pid)
{
	struct channel_head *h = seg->hdr;
	seg->pid = pid;
	seg->pid_start = process_start(pid);
	seg_put_header(seg);
	atomic_store(&h->sq_tail, 0);
	atomic_store(&h->sq_head, 0);
	atomic_store(&h->cq_tail, 0);
	atomic_store(&h->cq_head, 0);
	atomic_store(&h->server_sleeping, 1);
	atomic_store(&h->client_sleeping, 1);
	atomic_store(&h->left, 0);
}

void channel_seg_fence(struct channel_seg *seg, uint64_t new_epoch)
{
	CHECK(seg, SEG_MAGIC);
	atomic_store(&seg->fenced, true);
	atomic_store(&seg->hdr->fence, new_epoch);
}

void channel_seg_retire(struct channel_seg *seg, uint64_t new_epoch)
{
	char path[sizeof(seg->path)];
	channel_seg_fence(seg, new_epoch);
	size_t stem = strlen(seg->path) - strlen(".seg");
	int n = snprintf(path, sizeof(path), "%.*s.%llx.old.seg", (int)stem, seg->path,
			 (unsigned long long)seg->epoch);
	if (n < (int)sizeof(path) && rename(seg->path, path) == 0)
		memcpy(seg->path, path, sizeof(path));
	else
		log_warn("channel: fenced segment not renamed path=%s errno=%d", seg->path, errno);
}

bool channel_seg_abandoned(const struct channel_seg *seg)
{
	CHECK(seg, SEG_MAGIC);
	if (atomic_load(&seg->hdr->left))
		return true;
	uint64_t start = process_start(seg->pid);
	return start == 0 || start != seg->pid_start;
}

bool channel_seg_lost(struct channel_seg *seg)
{
	struct stat st;
	CHECK(seg, SEG_MAGIC);
	if (!atomic_load(&seg->lost) &&
	    (fstat(seg->fd, &st) || (size_t)st.st_size != seg->geo.size))
		atomic_store(&seg->lost, true);
	return atomic_load(&seg->lost);
}

bool channel_seg_name(const char *file, const char *controller)
{
	static const char head[] = "channel-", tail[] = ".seg";
	size_t n = strlen(file), len = strlen(controller);
	if (n < strlen(head) + strlen(tail) || strncmp(file, head, strlen(head)) != 0 ||
	    strcmp(file + n - strlen(tail), tail) != 0)
		return false;
	const char *name = file + strlen(head), *colon = strchr(name, ':');
	return !colon || ((size_t)(colon - name) == len && strncmp(name, controller, len) == 0);
}

/* ---- staging memory ---- */

/* Huge pages come from a pool that may be empty: touching one would be a signal. */
static int staging_check(int fd)
{
	struct stat st;
	struct statfs fs;
	int seals = fcntl(fd, F_GET_SEALS);
	if (fd < 0 || fstat(fd, &st) || fstatfs(fd, &fs))
		return -EINVAL;
	if (!S_ISREG(st.st_mode) || fs.f_type != TMPFS_MAGIC || st.st_size != CHANNEL_STAGING)
		return -EINVAL;
	if (seals < 0 || (seals & (F_SEAL_SHRINK | F_SEAL_GROW)) != (F_SEAL_SHRINK | F_SEAL_GROW))
		return -EINVAL;
	return 0;
}

int channel_staging_map(int fd, uint8_t **ret, _Atomic bool *lost)
{
	int rc = staging_check(fd);
	if (rc)
		return rc;
	void *p = mmap(NULL, CHANNEL_STAGING, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	rc = channel_guard_enter(p, CHANNEL_STAGING, lost);
	if (rc)
		munmap(p, CHANNEL_STAGING);
	else
		*ret = p;
	return rc;
}

void channel_staging_unmap(uint8_t *staging)
{
	if (!staging)
		return;
	channel_guard_leave(staging);
	munmap(staging, CHANNEL_STAGING);
}

void channel_seg_free(struct channel_seg *seg, bool remove)
{
	if (!seg)
		return;
	CHECK(seg, SEG_MAGIC);
	seg->magic = 0;
	if (seg->hazard)
		cache_hazard_remove(seg->cache, seg->hazard);
	if (seg->base) {
		channel_guard_leave(seg->base);
		munmap(seg->base, seg->geo.size);
	}
	if (seg->fd >= 0)
		close(seg->fd);
	if (remove)
		unlink(seg->path);
	free(seg);
}
