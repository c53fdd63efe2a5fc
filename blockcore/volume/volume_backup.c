/*
 * Copying a volume to its backup, chunk by chunk, only what changed.
 *
 *   1. The gate: new writes wait, and those begun are waited for. With none under
 *      way, `todo` becomes what changed since the last instant (everything, when that is not
 *      known: then chunks are compared and only different ones are written), and the gate opens.
 * That is the instant the backup is of; it costs writers as long as the longest write under way.
 *   2. The copier goes through `todo`. A write to a chunk that is still in it has the chunk
 *      copied first (volume_backup_save), so each is copied as it was at the instant.
 *   3. The backup is flushed, and its checksum joined from those of its chunks.
 *
 * A backup that fails leaves a mixture behind: `known` is cleared, so the next run compares
 * everything, and the recorded checksum does not match until one has come through.
 *
 * `changed` is marked when a write begins: what is aborted is copied in vain,
 * nothing is missed. The bitmaps are replaced only under the closed gate.
 */
#include "blockcore/volume/volume_impl.h"
#include "blockcore/volume/crc_join.h"
#include "runtime/check.h"
#include "runtime/crc32c.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define GATE_TIMEOUT (10 * NS_PER_S)
#define CHUNK	     VOLUME_BACKUP_CHUNK

static bool bit_get(const uint64_t *map, uint64_t i)
{
	return map[i / 64] >> (i % 64) & 1;
}

static void bit_set(uint64_t *map, uint64_t i)
{
	map[i / 64] |= 1ull << (i % 64);
}

static void bit_clear(uint64_t *map, uint64_t i)
{
	map[i / 64] &= ~(1ull << (i % 64));
}

static uint64_t chunk_len(const struct volume *v, uint64_t i)
{
	return MIN(CHUNK, volume_size(v) - i * CHUNK);
}

void volume_backup_init(struct volume *v)
{
	struct volume_backup *b = &v->backup;
	pthread_mutex_init(&b->lock, NULL);
	waitq_init(&b->q);
}

void volume_backup_fini(struct volume *v)
{
	struct volume_backup *b = &v->backup;
	pthread_mutex_destroy(&b->lock);
	free((void *)b->changed);
	free(b->todo);
	free(b->busy);
	free(b->crc);
}

/* With `lock` held; leaves it for the wait. */
static void backup_wait(struct volume_backup *b)
{
	struct waiter w;
	waitq_enter(&b->q, &w);
	pthread_mutex_unlock(&b->lock);
	task_park();
	pthread_mutex_lock(&b->lock);
	waitq_leave(&b->q, &w);
}

/* ---- what writers call ---- */

void volume_backup_gate_wait(struct volume *v)
{
	struct volume_backup *b = &v->backup;
	pthread_mutex_lock(&b->lock);
	while (atomic_load(&b->gate))
		backup_wait(b);
	pthread_mutex_unlock(&b->lock);
}

void volume_backup_mark(struct volume *v, uint64_t off, uint64_t len)
{
	struct volume_backup *b = &v->backup;
	if (!atomic_load_explicit(&b->tracking, memory_order_acquire) || len == 0)
		return;
	uint64_t last = MIN((off + len - 1) / CHUNK, b->nchunks - 1);
	for (uint64_t i = off / CHUNK; i <= last; i++)
		atomic_fetch_or_explicit(&b->changed[i / 64], 1ull << (i % 64),
					 memory_order_relaxed);
}

bool volume_backup_clear(struct volume *v, uint64_t off, uint64_t len)
{
	struct volume_backup *b = &v->backup;
	if (!atomic_load(&b->active))
		return true;
	bool clear = true;
	pthread_mutex_lock(&b->lock);
	uint64_t last = MIN((off + len - 1) / CHUNK, b->nchunks - 1);
	for (uint64_t i = off / CHUNK; atomic_load(&b->active) && i <= last; i++)
		if (bit_get(b->todo, i) || bit_get(b->busy, i))
			clear = false;
	pthread_mutex_unlock(&b->lock);
	return clear;
}

/* ---- one chunk ---- */

/* Too large for a task's stack together with what its callers hold. */
struct chunk_io {
	struct cache_read from, to;
	struct cache_write w;
};

static uint32_t crc_of(const struct cache_read *r)
{
	uint32_t s = CRC32C_INIT;
	for (int i = 0; i < r->n; i++)
		s = crc32c_add(s, r->iov[i].iov_base, r->iov[i].iov_len);
	return crc32c_end(s);
}

/* Calls fn on every piece that is contiguous in both buffers, until it says no. */
static bool walk(const struct iovec *a, const struct iovec *b, uint64_t len,
		 bool (*fn)(void *a, const void *b, size_t n))
{
	size_t ia = 0, ib = 0;
	while (len > 0) {
		size_t n = MIN(MIN(a->iov_len - ia, b->iov_len - ib), len);
		if (!fn((char *)a->iov_base + ia, (const char *)b->iov_base + ib, n))
			return false;
		len -= n;
		if ((ia += n) == a->iov_len)
			a++, ia = 0;
		if ((ib += n) == b->iov_len)
			b++, ib = 0;
	}
	return true;
}

static bool piece_equal(void *a, const void *b, size_t n)
{
	return memcmp(a, b, n) == 0;
}

static bool piece_copy(void *a, const void *b, size_t n)
{
	memcpy(a, b, n);
	return true;
}

static int chunk_write(struct volume *to, uint64_t off, uint32_t len, struct chunk_io *io)
{
	int rc = volume_write_begin(to, off, len, &io->w);
	if (rc)
		return rc;
	walk(io->w.iov, io->from.iov, len, piece_copy);
	return volume_write_commit(to, &io->w, false);
}

/* As chunk_copy(), to a backup elsewhere. */
static int chunk_copy_far(struct volume *v, uint64_t i, uint32_t *ret_crc, bool *ret_wrote)
{
	const struct volume_backup *b = &v->backup;
	uint64_t off = i * CHUNK;
	uint32_t len = (uint32_t)chunk_len(v, i);
	struct chunk_io *io = malloc(sizeof(*io));
	char *buf = malloc(2ul * CHUNK);
	int rc = io && buf ? cache_read(v->cv, off, len, &io->from) : -ENOMEM;
	if (rc == 0) {
		struct iovec to = {.iov_base = buf, .iov_len = len};
		*ret_crc = crc_of(&io->from);
		walk(&to, io->from.iov, len, piece_copy);
		cache_read_done(v->cv, &io->from);
		/* an unreadable chunk of the backup is written anew */
		*ret_wrote = !b->compare || b->far->read(b->far->arg, off, buf + CHUNK, len) ||
			     memcmp(buf, buf + CHUNK, len) != 0;
		rc = *ret_wrote ? b->far->write(b->far->arg, off, buf, len) : 0;
	}
	free(buf);
	free(io);
	return rc;
}

/* Reads past volume_read(): users' counters are not for backups, and the use is counted already. */
static int chunk_copy(struct volume *v, uint64_t i, uint32_t *ret_crc, bool *ret_wrote)
{
	struct volume_backup *b = &v->backup;
	if (b->far)
		return chunk_copy_far(v, i, ret_crc, ret_wrote);
	uint64_t off = i * CHUNK;
	uint32_t len = (uint32_t)chunk_len(v, i);
	struct chunk_io *io = malloc(sizeof(*io));
	if (!io)
		return -ENOMEM;
	bool same = false;
	int rc = cache_read(v->cv, off, len, &io->from);
	if (rc)
		goto out;
	*ret_crc = crc_of(&io->from);
	if (b->compare) {
		rc = volume_read(b->to, off, len, &io->to);
		if (rc == 0) {
			same = walk(io->from.iov, io->to.iov, len, piece_equal);
			volume_read_done(b->to, &io->to);
		}
		rc = 0; /* an unreadable chunk of the backup is written anew */
	}
	if (!same)
		rc = chunk_write(b->to, off, len, io);
	cache_read_done(v->cv, &io->from);
	*ret_wrote = !same;
out:
	free(io);
	return rc;
}

/* With `lock` held: copies chunk i unless it is done; waits for whoever copies it. */
static void chunk_do(struct volume *v, uint64_t i)
{
	struct volume_backup *b = &v->backup;
	while (bit_get(b->busy, i))
		backup_wait(b);
	if (!bit_get(b->todo, i))
		return;
	bit_clear(b->todo, i);
	bit_set(b->busy, i);
	pthread_mutex_unlock(&b->lock);
	uint32_t crc = 0;
	bool wrote = false;
	int rc = chunk_copy(v, i, &crc, &wrote);
	pthread_mutex_lock(&b->lock);
	bit_clear(b->busy, i);
	if (rc && !b->err)
		b->err = rc;
	b->crc[i] = crc;
	b->copied += wrote ? chunk_len(v, i) : 0;
	b->done += chunk_len(v, i);
	waitq_wake_all(&b->q);
}

void volume_backup_save(struct volume *v, uint64_t off, uint64_t len)
{
	struct volume_backup *b = &v->backup;
	if (!atomic_load(&b->active) || len == 0)
		return;
	pthread_mutex_lock(&b->lock);
	if (atomic_load(&b->active)) {
		b->savers++;
		uint64_t last = MIN((off + len - 1) / CHUNK, b->nchunks - 1);
		for (uint64_t i = off / CHUNK; i <= last; i++)
			chunk_do(v, i);
		b->savers--;
		waitq_wake_all(&b->q);
	}
	pthread_mutex_unlock(&b->lock);
}

/* ---- a run ---- */

static int bitmaps_new(struct volume *v)
{
	struct volume_backup *b = &v->backup;
	uint64_t n = (volume_size(v) + CHUNK - 1) / CHUNK, words = (n + 63) / 64;
	if (b->changed && b->nchunks == n)
		return 0;
	atomic_store(&b->tracking, false);
	free((void *)b->changed);
	free(b->todo);
	free(b->busy);
	free(b->crc);
	b->changed = calloc(words, sizeof(*b->changed));
	b->todo = calloc(words, sizeof(*b->todo));
	b->busy = calloc(words, sizeof(*b->busy));
	b->crc = calloc(n, sizeof(*b->crc));
	b->nchunks = n;
	b->known = false;
	if (!b->changed || !b->todo || !b->busy || !b->crc) {
		b->nchunks = 0;
		free((void *)b->changed);
		b->changed = NULL;
		return -ENOMEM;
	}
	return 0;
}

/* Under the closed gate, `lock` held: fixes what this run is about. */
static int take_instant(struct volume *v, struct volume *to, const struct volume_far *far)
{
	struct volume_backup *b = &v->backup;
	int rc = bitmaps_new(v);
	if (rc)
		return rc;
	if (b->to_id != to->id)
		b->known = false;
	b->to = to;
	b->far = far;
	b->to_id = to->id;
	b->compare = !b->known;
	b->known = false; /* until the run has come through */
	b->err = 0;
	b->copied = b->done = b->total = 0;
	for (uint64_t i = 0; i < b->nchunks; i++) {
		bool changed = atomic_load(&b->changed[i / 64]) >> (i % 64) & 1;
		if (b->compare || changed) {
			bit_set(b->todo, i);
			b->total += chunk_len(v, i);
		} else {
			bit_clear(b->todo, i);
		}
	}
	for (uint64_t i = 0; i < (b->nchunks + 63) / 64; i++)
		atomic_store(&b->changed[i], 0);
	atomic_store(&b->tracking, true);
	atomic_store(&b->active, true);
	return 0;
}

static int close_gate(struct volume *v)
{
	uint64_t until = env_now_ns(v->env) + GATE_TIMEOUT;
	atomic_store(&v->backup.gate, true);
	while (volume_writing(v) != 0) {
		if (env_now_ns(v->env) > until)
			return -ETIMEDOUT;
		env_sleep_ns(v->env, NS_PER_MS / 4);
	}
	return 0;
}

static void open_gate(struct volume *v)
{
	struct volume_backup *b = &v->backup;
	pthread_mutex_lock(&b->lock);
	atomic_store(&b->gate, false);
	waitq_wake_all(&b->q);
	pthread_mutex_unlock(&b->lock);
}

static int copy_all(struct volume *v, void (*progress)(void *arg, uint64_t done, uint64_t total),
		    void *arg)
{
	struct volume_backup *b = &v->backup;
	pthread_mutex_lock(&b->lock);
	for (uint64_t i = 0; i < b->nchunks && !b->err; i++) {
		if (!bit_get(b->todo, i) && !bit_get(b->busy, i))
			continue;
		chunk_do(v, i);
		uint64_t done = b->done, total = b->total;
		pthread_mutex_unlock(&b->lock);
		if (progress)
			progress(arg, done, total);
		pthread_mutex_lock(&b->lock);
	}
	atomic_store(&b->active, false);
	while (b->savers > 0)
		backup_wait(b);
	int rc = b->err;
	pthread_mutex_unlock(&b->lock);
	return rc;
}

static uint32_t join_all(struct volume *v)
{
	struct volume_backup *b = &v->backup;
	struct crc_shift whole, last;
	uint32_t crc = crc32c("", 0);
	crc_shift_init(&whole, CHUNK);
	crc_shift_init(&last, chunk_len(v, b->nchunks - 1));
	for (uint64_t i = 0; i < b->nchunks; i++)
		crc = crc_join(i + 1 < b->nchunks ? &whole : &last, crc, b->crc[i]);
	return crc;
}

static int flush(struct volume *to, const struct volume_far *far)
{
	return far ? far->flush(far->arg) : volume_flush(to, 0, volume_size(to));
}

static int run(struct volume *from, struct volume *to, const struct volume_far *far,
	       void (*progress)(void *arg, uint64_t done, uint64_t total), void *arg,
	       struct volume_backup_result *ret)
{
	struct volume_backup *b = &from->backup;
	int rc = close_gate(from);
	if (rc == 0) {
		pthread_mutex_lock(&b->lock);
		rc = take_instant(from, to, far);
		pthread_mutex_unlock(&b->lock);
	}
	open_gate(from);
	if (rc)
		return rc;
	rc = copy_all(from, progress, arg);
	if (rc == 0)
		rc = flush(to, far);
	if (rc)
		return rc;
	pthread_mutex_lock(&b->lock);
	if (b->err) { /* cancelled at last */
		pthread_mutex_unlock(&b->lock);
		return -ECANCELED;
	}
	b->known = true;
	*ret = (struct volume_backup_result){
	    .bytes_copied = b->copied, .bytes_total = volume_size(from), .crc = join_all(from)};
	pthread_mutex_unlock(&b->lock);
	return 0;
}

int volume_backup_run(struct volume *from, struct volume *to, const struct volume_far *far,
		      void (*progress)(void *arg, uint64_t done, uint64_t total), void *arg,
		      struct volume_backup_result *ret)
{
	struct volume_backup *b = &from->backup;
	if (from == to || volume_size(from) != volume_size(to))
		return -EINVAL;
	pthread_mutex_lock(&b->lock);
	bool running = b->running;
	b->running = true;
	pthread_mutex_unlock(&b->lock);
	if (running)
		return -EBUSY;
	int rc = volume_use(from);
	if (rc == 0) {
		rc = run(from, to, far, progress, arg, ret);
		volume_unuse(from);
	}
	pthread_mutex_lock(&b->lock);
	b->running = false;
	pthread_mutex_unlock(&b->lock);
	return rc;
}

void volume_backup_cancel(struct volume *v)
{
	struct volume_backup *b = &v->backup;
	do {
		pthread_mutex_lock(&b->lock);
		bool running = b->running;
		if (running && !b->err)
			b->err = -ECANCELED;
		b->known = false;
		pthread_mutex_unlock(&b->lock);
		if (!running && !b->ordered)
			return;
		env_sleep_ns(v->env, NS_PER_MS);
	} while (true);
}

bool volume_backup_progress(struct volume *v, uint64_t *ret_done, uint64_t *ret_total)
{
	struct volume_backup *b = &v->backup;
	pthread_mutex_lock(&b->lock);
	bool running = b->running;
	*ret_done = b->done;
	*ret_total = b->total;
	pthread_mutex_unlock(&b->lock);
	return running;
}
