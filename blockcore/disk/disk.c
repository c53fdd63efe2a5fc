/*
 * Opening, labelling and states of a disk (disk.h).
 *
 *   MISSING   there is nothing underneath
 *   BLANK     both label blocks are zeros          -> ONLINE by disk_write_label()
 *   ONLINE    at least one label copy is valid     -> FAILED by disk_fail(),
 *                                                     FOREIGN by disk_set_foreign()
 *   FAILED    both copies damaged, too small, shrunk, unreadable, or disk_fail()
 *   FOREIGN   a label of another version or array, or data that is not ours
 *
 * disk_check() looks again while the disk is in use.
 *
 * Of two valid copies the higher epoch is the truth: disk_write_label() writes
 * copy 0, flushes, writes copy 1, flushes, so that one of them is whole at any instant.
 * Every state may change at any instant on any thread to FAILED; all else is
 * done by the one task that opens or configures.
 */
#include "blockcore/disk/disk_impl.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const state_names[] = {
    [DISK_BLANK] = "blank",	[DISK_ONLINE] = "online",   [DISK_FAILED] = "failed",
    [DISK_MISSING] = "missing", [DISK_FOREIGN] = "foreign",
};

const char *disk_state_name(enum disk_state s)
{
	return (unsigned)s < ARRAY_LEN(state_names) ? state_names[s] : "?";
}

__attribute__((format(printf, 3, 4))) static void set_state(struct disk *d, enum disk_state state,
							    const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	pthread_mutex_lock(&d->lock);
	vsnprintf(d->reason, sizeof(d->reason), fmt, ap);
	pthread_mutex_unlock(&d->lock);
	va_end(ap);
	atomic_store_explicit(&d->state, state, memory_order_release);
}

static uint64_t copy_offset(uint64_t size, unsigned copy)
{
	return copy == 0 ? 0 : ROUND_DOWN(size, DISK_LABEL_SIZE) - DISK_LABEL_SIZE;
}

/* What was found in one of the two places. */
struct found {
	enum label_verdict verdict;
	struct disk_label label;
	uint64_t off;
	char why[128];
};

static void read_copy(struct disk *d, uint8_t *blk, unsigned copy, uint64_t off, struct found *f)
{
	f->off = off;
	struct iovec iov = {.iov_base = blk, .iov_len = DISK_LABEL_SIZE};
	int rc = disk_call_rw(d, DISK_CALL_READ, &iov, 1, off, 0);
	if (rc) {
		f->verdict = LABEL_DAMAGED;
		snprintf(f->why, sizeof(f->why), "cannot be read: %s", err_text(rc));
		return;
	}
	f->verdict = disk_label_decode(blk, copy, &f->label, f->why);
}

static void tell_damage(struct disk *d, unsigned copy, const struct found *f)
{
	event_write(LOG_L_WARN, "disk.label_damaged", "disk %s: label copy %u at byte %llu: %s",
		    d->path, copy, (unsigned long long)f->off, f->why);
}

/* One copy is valid: decides by it, and notes what is wrong with the other. */
static void take_label(struct disk *d, struct found f[2], uint64_t actual)
{
	bool ok[2] = {f[0].verdict == LABEL_OK, f[1].verdict == LABEL_OK};
	unsigned best = !ok[0] || (ok[1] && f[1].label.epoch > f[0].label.epoch);
	unsigned other = !best;
	if (f[other].verdict == LABEL_VERSION) {
		set_state(d, DISK_FOREIGN, "%s", f[other].why);
		return;
	}
	d->label = f[best].label;
	if (actual < d->label.size) {
		set_state(d, DISK_FAILED, "the disk has %llu bytes, its label says %llu",
			  (unsigned long long)actual, (unsigned long long)d->label.size);
		return;
	}
	if (!ok[other]) {
		d->stale[other] = true;
		tell_damage(d, other, &f[other]);
	} else if (f[other].label.epoch != d->label.epoch) {
		d->stale[other] = true;
	}
	set_state(d, DISK_ONLINE, "%s", "");
}

static void no_label(struct disk *d, const struct found f[2])
{
	for (unsigned i = 0; i < 2; i++)
		if (f[i].verdict == LABEL_VERSION) {
			set_state(d, DISK_FOREIGN, "%s", f[i].why);
			return;
		}
	if (f[0].verdict == LABEL_DAMAGED || f[1].verdict == LABEL_DAMAGED) {
		tell_damage(d, 0, &f[0]);
		tell_damage(d, 1, &f[1]);
		set_state(d, DISK_FAILED, "no label copy is valid: %s; at the end: %s", f[0].why,
			  f[1].why);
	} else if (f[0].verdict == LABEL_OTHER) {
		set_state(d, DISK_FOREIGN, "%s", "holds data that is not an Isthmus disk's");
	} else {
		/* What lies in the last block of a disk that starts with zeros is no file system.
		 */
		set_state(d, DISK_BLANK, "%s", "");
	}
}

static int read_copies(struct disk *d, struct found f[2])
{
	uint8_t *blk;
	uint64_t actual = ROUND_DOWN(d->under->size, DISK_LABEL_SIZE);
	if (posix_memalign((void **)&blk, 4096, DISK_LABEL_SIZE))
		return -ENOMEM;
	read_copy(d, blk, 0, 0, &f[0]);
	/* A disk that grew keeps copy 1 where its end was. */
	bool grown = f[0].verdict == LABEL_OK && f[0].label.size < actual;
	read_copy(d, blk, 1, copy_offset(grown ? f[0].label.size : actual, 1), &f[1]);
	free(blk);
	return 0;
}

static int read_labels(struct disk *d)
{
	struct found f[2] = {0};
	int rc = read_copies(d, f);
	if (rc)
		return rc;
	if (f[0].verdict == LABEL_OK || f[1].verdict == LABEL_OK)
		take_label(d, f, ROUND_DOWN(d->under->size, DISK_LABEL_SIZE));
	else
		no_label(d, f);
	return 0;
}

int disk_look_again(struct disk *d)
{
	CHECK(d, DISK_MAGIC);
	char why[DISK_REASON_LEN];
	unsigned before = d->relabels;
	struct found f[2] = {0};
	enum disk_state s = disk_state(d);
	if (s == DISK_MISSING || s == DISK_FAILED || d->claimed || (before & 1))
		return 0;
	int rc = bdev_check(d->under, why);
	if (rc == 0)
		rc = read_copies(d, f);
	if (rc || d->relabels != before || d->claimed)
		return rc;
	bool ok[2] = {f[0].verdict == LABEL_OK, f[1].verdict == LABEL_OK};
	if (ok[0] || ok[1]) {
		/* One of them may be being written: what is wrong with it is its writer's. */
		const struct disk_label *l =
		    &f[!ok[0] || (ok[1] && f[1].label.epoch > f[0].label.epoch)].label;
		if (s == DISK_ONLINE && l->epoch == d->label.epoch &&
		    memcmp(l->disk_uuid, d->label.disk_uuid, 16) == 0)
			return 0;
		d->label = *l;
		d->stale[0] = d->stale[1] = false;
		set_state(d, DISK_ONLINE, "%s", "");
	} else if (s != DISK_BLANK && f[0].verdict == LABEL_BLANK && f[1].verdict == LABEL_BLANK) {
		d->label = (struct disk_label){0};
		set_state(d, DISK_BLANK, "%s", "");
	}
	return 0;
}

int disk_open(struct disk **ret, struct env *env, const char *path, struct bdev *bdev,
	      const char *why)
{
	int rc = 0;
	struct disk *d = calloc(1, sizeof(*d));
	if (!d) {
		bdev_close(bdev);
		return -ENOMEM;
	}
	d->magic = DISK_MAGIC;
	d->env = env;
	d->under = bdev;
	pthread_mutex_init(&d->lock, NULL);
	snprintf(d->path, sizeof(d->path), "%s", path);
	disk_io_init(d);
	disk_calls_init(d);
	if (!bdev)
		set_state(d, DISK_MISSING, "%s", why ? why : "not found");
	else if (bdev->size < DISK_SIZE_MIN || DISK_LABEL_SIZE % bdev->block_size)
		set_state(d, DISK_FAILED, "too small: %llu bytes, at least %llu are needed",
			  (unsigned long long)bdev->size, (unsigned long long)DISK_SIZE_MIN);
	else
		rc = read_labels(d);
	if (rc) {
		disk_close(d);
		return rc;
	}
	*ret = d;
	return 0;
}

void disk_close(struct disk *d)
{
	if (!d)
		return;
	CHECK(d, DISK_MAGIC);
	disk_calls_fini(d);
	bdev_close(d->under);
	pthread_mutex_destroy(&d->lock);
	d->magic = 0;
	free(d);
}

static int write_copy(struct disk *d, const struct disk_label *l, unsigned copy)
{
	uint8_t *blk;
	if (posix_memalign((void **)&blk, 4096, DISK_LABEL_SIZE))
		return -ENOMEM;
	if (l)
		disk_label_encode(blk, copy, l);
	else
		memset(blk, 0, DISK_LABEL_SIZE);
	uint64_t size = l ? l->size : d->label.size;
	int rc = bdev_write(&d->io, blk, DISK_LABEL_SIZE, copy_offset(size, copy), 0);
	if (rc == 0)
		rc = bdev_flush(&d->io);
	free(blk);
	return rc;
}

int disk_repair_label(struct disk *d)
{
	CHECK(d, DISK_MAGIC);
	for (unsigned i = 0; i < 2; i++) {
		if (!d->stale[i] || disk_state(d) != DISK_ONLINE)
			continue;
		int rc = write_copy(d, &d->label, i);
		unsigned long long off = copy_offset(d->label.size, i);
		if (rc) {
			event_write(LOG_L_ERROR, "disk.label_repair_failed",
				    "disk %s: label copy %u at byte %llu: %s", d->path, i, off,
				    err_text(rc));
			return rc;
		}
		d->stale[i] = false;
		event_write(LOG_L_NOTICE, "disk.label_repaired",
			    "disk %s: label copy %u at byte %llu rewritten from the other", d->path,
			    i, off);
	}
	return 0;
}

int disk_claim(struct disk *d, const uint8_t pool[16])
{
	CHECK(d, DISK_MAGIC);
	pthread_mutex_lock(&d->calls.lock);
	bool has = d->claimed || !d->under || d->calls.unclaim;
	d->calls.unclaim = false;
	int rc = has ? 0 : bdev_claim(d->under, true);
	pthread_mutex_unlock(&d->calls.lock);
	if (rc)
		return rc;
	d->claimed = true;
	memcpy(d->claimed_for, pool, 16);
	return 0;
}

void disk_unclaim(struct disk *d)
{
	CHECK(d, DISK_MAGIC);
	pthread_mutex_lock(&d->calls.lock);
	if (d->claimed && d->under && !disk_calls_none(&d->calls))
		d->calls.unclaim = true;
	else if (d->claimed && d->under)
		bdev_claim(d->under, false);
	d->claimed = false;
	pthread_mutex_unlock(&d->calls.lock);
}

int disk_pass_claim(struct disk *from, struct disk *to)
{
	if (!from->claimed)
		return 0;
	disk_unclaim(from); /* two handles of one process shut each other out too */
	int rc = disk_claim(to, from->claimed_for);
	if (rc)
		disk_claim(from, from->claimed_for);
	return rc;
}

bool disk_claimed(const struct disk *d)
{
	return d->claimed;
}

bool disk_claimed_for(const struct disk *d, const uint8_t pool[16])
{
	return d->claimed && memcmp(d->claimed_for, pool, 16) == 0;
}

void disk_set_foreign(struct disk *d, const char *why)
{
	CHECK(d, DISK_MAGIC);
	set_state(d, DISK_FOREIGN, "%s", why);
}

/* Compares one copy on the disk with the label in memory. */
static bool copy_holds(struct disk *d, uint8_t *blk, unsigned copy, struct found *f)
{
	read_copy(d, blk, copy, copy_offset(d->label.size, copy), f);
	if (f->verdict != LABEL_OK)
		return false;
	if (f->label.epoch == d->label.epoch &&
	    memcmp(f->label.disk_uuid, d->label.disk_uuid, 16) == 0)
		return true;
	f->verdict = LABEL_OTHER;
	snprintf(f->why, sizeof(f->why), "is not the label this disk was given");
	return false;
}

/* d->stale is told: only what is new is told again, and tried to be mended. */
static int check_labels(struct disk *d, uint8_t *blk, char *why)
{
	unsigned before = d->relabels;
	struct found f[2] = {0};
	bool fresh = false;
	if (before & 1)
		return 0;
	for (unsigned i = 0; i < 2; i++) {
		bool ok = copy_holds(d, blk, i, &f[i]);
		if (d->relabels != before)
			return 0; /* it was written meanwhile: the next look sees it */
		if (disk_state(d) != DISK_ONLINE)
			return 0; /* it was given up meanwhile */
		if (ok || d->stale[i])
			continue;
		tell_damage(d, i, &f[i]);
		d->stale[i] = fresh = true;
	}
	if (f[0].verdict == LABEL_OTHER && f[1].verdict == LABEL_OTHER) {
		snprintf(why, DISK_REASON_LEN, "both its labels were overwritten");
		return -ENODEV;
	}
	/* A file that was cut and has grown again ends with zeros. */
	if (f[1].verdict == LABEL_BLANK) {
		snprintf(why, DISK_REASON_LEN, "its end was lost and reads as zeros");
		return -ENODEV;
	}
	return fresh ? disk_repair_label(d) : 0;
}

int disk_check(struct disk *d, char *why)
{
	CHECK(d, DISK_MAGIC);
	uint8_t *blk;
	if (disk_state(d) != DISK_ONLINE)
		return 0;
	int rc = bdev_check(d->under, why);
	if (rc || posix_memalign((void **)&blk, 4096, DISK_LABEL_SIZE))
		return rc;
	snprintf(why, DISK_REASON_LEN, "its label cannot be rewritten");
	rc = check_labels(d, blk, why);
	free(blk);
	return rc;
}

void disk_set_reason(struct disk *d, const char *why)
{
	pthread_mutex_lock(&d->lock);
	snprintf(d->reason, sizeof(d->reason), "%s", why);
	pthread_mutex_unlock(&d->lock);
}

static int write_label(struct disk *d, const struct disk_label *l)
{
	enum disk_state s = disk_state(d);
	if (s != DISK_BLANK && s != DISK_ONLINE)
		return s == DISK_FOREIGN ? -ERR_FOREIGN : -EIO;
	struct disk_label n = *l;
	n.epoch = MAX(l->epoch, d->label.epoch) + 1;
	n.size = ROUND_DOWN(d->io.size, DISK_LABEL_SIZE);
	if (s == DISK_ONLINE)
		n.size = d->label.size;
	for (unsigned i = 0; i < 2; i++) {
		int rc = write_copy(d, &n, i);
		if (rc)
			return rc;
		d->label = n; /* one whole copy stands on the disk */
		d->stale[i] = false;
	}
	if (s == DISK_BLANK)
		set_state(d, DISK_ONLINE, "%s", "");
	return 0;
}

int disk_write_label(struct disk *d, const struct disk_label *l)
{
	CHECK(d, DISK_MAGIC);
	d->relabels++;
	int rc = write_label(d, l);
	d->relabels++;
	return rc;
}

int disk_wipe(struct disk *d)
{
	CHECK(d, DISK_MAGIC);
	if (!d->under)
		return -ENODEV;
	if (disk_left(d) || (disk_state(d) == DISK_FAILED && disk_in_flight(d)))
		return -EBUSY;
	/* Foreign and failed disks are wiped too, by an admin who knows: past the state. */
	d->relabels += 2; /* who reads a label this moment reads another */
	set_state(d, DISK_BLANK, "%s", "");
	uint64_t actual = ROUND_DOWN(d->io.size, DISK_LABEL_SIZE);
	bool grown = d->label.size && d->label.size < actual;
	int rc = 0;
	if (grown)
		rc = write_copy(d, NULL, 1);
	d->label = (struct disk_label){.size = actual};
	/* Last the first copy: until then the disk tells what it was. */
	if (rc == 0)
		rc = write_copy(d, NULL, 1);
	if (rc == 0)
		rc = write_copy(d, NULL, 0);
	if (rc)
		set_state(d, DISK_FAILED, "cannot be wiped: %s", err_text(rc));
	else
		d->label = (struct disk_label){0};
	return rc;
}

enum disk_state disk_state(const struct disk *d)
{
	return (enum disk_state)atomic_load_explicit(&d->state, memory_order_acquire);
}

const struct disk_label *disk_label(const struct disk *d)
{
	return &d->label;
}

const char *disk_path(const struct disk *d)
{
	return d->path;
}

uint64_t disk_data_size(const struct disk *d)
{
	uint64_t size = d->label.size ? d->label.size : ROUND_DOWN(d->io.size, DISK_LABEL_SIZE);
	return size > DISK_DATA_OFF + DISK_LABEL_SIZE ? size - DISK_DATA_OFF - DISK_LABEL_SIZE : 0;
}

void disk_fail(struct disk *d, const char *why)
{
	CHECK(d, DISK_MAGIC);
	set_state(d, DISK_FAILED, "%s", why);
	disk_leave_calls(d);
	event_write(LOG_L_ERROR, "disk.failed", "disk %s failed: %s", d->path, why);
}

void disk_reason(struct disk *d, char *ret)
{
	pthread_mutex_lock(&d->lock);
	snprintf(ret, DISK_REASON_LEN, "%s", d->reason);
	pthread_mutex_unlock(&d->lock);
}

struct bdev *disk_bdev(struct disk *d)
{
	return &d->io;
}

unsigned disk_in_flight(const struct disk *d)
{
	return atomic_load_explicit(&d->in_flight, memory_order_relaxed);
}

void disk_count_wrong(struct disk *d)
{
	atomic_fetch_add(&d->wrong_data, 1);
}

void disk_stats(const struct disk *d, struct disk_stats *ret)
{
	*ret = (struct disk_stats){
	    .reads = atomic_load(&d->reads),
	    .writes = atomic_load(&d->writes),
	    .read_bytes = atomic_load(&d->read_bytes),
	    .write_bytes = atomic_load(&d->write_bytes),
	    .flushes = atomic_load(&d->flushes),
	    .read_errors = atomic_load(&d->read_errors),
	    .write_errors = atomic_load(&d->write_errors),
	    .wrong_data = atomic_load(&d->wrong_data),
	    .in_flight = atomic_load(&d->in_flight),
	};
}
