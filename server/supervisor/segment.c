/*
 * Cache segments and the control segment: files in memory_dir that outlive controllers and
 * isthmusd. The memory is reserved when the file is made: a controller that touched a page the file
 * system has no room for would die by SIGBUS.
 *
 * A file of another size than configured is replaced only when it holds no
 * dirty page; else nothing is touched and the admin is told what to do.
 */
#include "server/supervisor/supervisor.h"
#include "blockcore/cache/cache_layout.h"
#include "blockcore/control/gcm.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include "server/supervisor/pid_file.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE 4096
#define WHY  256

/* Pages of a segment that the disks do not have yet: own ones, and the partner's in the mirror
 * area. All versions of the layout so far have these fields. */
static uint64_t count_dirty(const void *p, uint64_t size)
{
	const struct cache_super *sb = p;
	uint64_t dirty = 0;
	if (size < sizeof(*sb) || memcmp(sb->magic, CACHE_MAGIC, sizeof(sb->magic)) != 0)
		return 0;
	if (sb->cbe_off > size || sb->cbe_off % sizeof(struct cbe) ||
	    sb->npages > (size - sb->cbe_off) / sizeof(struct cbe))
		return 0;
	const struct cbe *cbe = (const void *)((const char *)p + sb->cbe_off);
	for (uint32_t i = 0; i < sb->npages; i++)
		dirty += cbe[i].state == CBE_DIRTY || cbe[i].state == CBE_STAGED;
	return dirty;
}

static int dirty_pages(int fd, uint64_t size, uint64_t *ret)
{
	*ret = 0;
	if (size < PAGE)
		return 0;
	void *p = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	*ret = count_dirty(p, size);
	munmap(p, size);
	return 0;
}

static int make(const char *path, uint64_t size, char *why)
{
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	int rc = fd < 0 ? -errno : -posix_fallocate(fd, 0, (off_t)size);
	if (fd >= 0)
		close(fd);
	if (!rc)
		return 0;
	if (fd >= 0)
		unlink(path);
	snprintf(why, WHY,
		 rc == -ENOSPC ? "%s: no room for %llu KiB; make memory_dir's file system bigger "
				 "or `cache` smaller"
			       : "%s: the segment of %llu KiB cannot be made",
		 path, (unsigned long long)(size >> 10));
	return rc;
}

/* Made whole under another name: a controller that finds it finds all of it. */
static int make_control(const char *path, char *why)
{
	char tmp[120];
	snprintf(tmp, sizeof(tmp), "%.107s.new", path);
	unlink(tmp);
	int rc = make(tmp, gcm_shared_size(), why);
	if (rc)
		return rc;
	if (rename(tmp, path) == 0)
		return 0;
	rc = -errno;
	snprintf(why, WHY, "%s cannot be made: %s", path, err_text(rc));
	unlink(tmp);
	return rc;
}

/* While a partner runs that has one, a second would be another map of who owns what. */
static int make_missing_control(const struct config_file *c, const char *partner, const char *path,
				char *why)
{
	char pid_path[256];
	pid_file_path(c->array.run_dir, "controller", partner, pid_path);
	pid_t pid = pid_file_find(pid_path);
	if (!pid)
		return make_control(path, why);
	snprintf(why, WHY,
		 "%.80s is gone while controller %.40s (pid %d) runs with it: stop isthmusd in "
		 "order, which brings all data to the disks, and start it again",
		 path, partner, (int)pid);
	return -EBUSY;
}

/* It outlives controllers and isthmusd; one that is there is never replaced, since it says who
 * owns what. What it holds is judged by the controllers. */
static int control_prepare(const struct config_file *c, const char *partner, char *why)
{
	char path[108];
	struct stat st;
	config_path_control(c, path);
	if (lstat(path, &st) < 0)
		return errno == ENOENT ? make_missing_control(c, partner, path, why) : -errno;
	if (S_ISREG(st.st_mode) && (uint64_t)st.st_size == gcm_shared_size())
		return 0;
	snprintf(
	    why, WHY,
	    "%.107s is no control segment of this version; stop all controllers, remove it and "
	    "start them",
	    path);
	return -ERR_VERSION;
}

static int check_existing(int fd, const char *path, uint64_t size, char *why)
{
	struct stat st;
	uint64_t dirty;
	if (fstat(fd, &st) < 0)
		return -errno;
	if ((uint64_t)st.st_size == size)
		return 0;
	int rc = dirty_pages(fd, (uint64_t)st.st_size, &dirty);
	if (rc)
		return rc;
	if (dirty) {
		snprintf(
		    why, WHY,
		    "%.107s has %llu MiB and holds %llu pages not yet on the disks; set `cache` "
		    "back, let the controller start and stop, then change it",
		    path, (unsigned long long)(st.st_size >> 20), (unsigned long long)dirty);
		return -EBUSY;
	}
	return 1;
}

int segment_prepare(const struct config_file *c, const char *controller, char *why)
{
	const struct config_controller *k = config_controller(c, controller);
	char path[108];
	if (!k) { /* a reload has just taken it away */
		snprintf(why, WHY, "it is not in the configuration any more");
		return -ENOENT;
	}
	config_path_segment(c, controller, path);
	uint64_t size = ROUND_UP(k->cache_bytes, PAGE);
	int rc = k->partner ? control_prepare(c, k->partner, why) : 0;
	if (rc)
		return rc;
	int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 && errno == ENOENT)
		return make(path, size, why);
	if (fd < 0) {
		rc = -errno;
		bool other = rc == -EISDIR || rc == -ELOOP;
		snprintf(why, WHY, "%.107s cannot be opened: %s; %s", path, err_text(rc),
			 other ? "it is no segment: move it away" : "check its owner");
		return rc;
	}
	rc = check_existing(fd, path, size, why);
	close(fd);
	if (rc <= 0)
		return rc;
	log_notice("segment: replaced, it was clean path=%s bytes=%llu", path,
		   (unsigned long long)size);
	unlink(path);
	return make(path, size, why);
}
