/*
 * oracle iscsi|nfs|nfs-unstable URL[,URL] SECONDS [THREADS]: load that remembers every answer,
 * while somebody pulls plugs; then reads everything back. Exit 0 only when each acknowledged change
 * is there.
 *
 * Each thread has its own connection and its own part: blocks of a LUN, or a directory with files.
 * A request whose answer never came is "maybe": old and new are both right. A broken connection
 * is made anew (for at most 20 s, else the run fails), by the next URL in turn (each thread begins
 * with another); the longest time without any answer is the longest pause a client saw. A status
 * that a multipath driver would hand to its user as an I/O error fails the run; unit attentions and
 * the like are tried again by the same path.
 *
 * NFS writes are FILE_SYNC or committed before they count, as a client must treat them. With
 * nfs-unstable they are UNSTABLE, never committed, and count when they are answered: what the array
 * promises where processes die one at a time. The file is cut to nothing now and then, so that
 * most writes map blocks or move its end.
 * Every 4 KiB block carries thread, block number and version, and a pattern made from them, so a
 * torn, stale or misplaced block shows.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>
#include <nfsc/libnfs.h>

#define BLOCK	      4096
#define BLOCKS	      512 /* a thread's */
#define NAMES	      64
#define THREADS_MAX   16
#define RECONNECT_MAX 20.0

struct block_state {
	uint32_t acked, issued;
};

static bool unstable;

enum name_state { NAME_ABSENT, NAME_PRESENT, NAME_MAYBE };

struct worker {
	pthread_t thread;
	const char *url; /* all of them */
	unsigned path;
	bool lives; /* the connection does, though the last request failed */
	int id;
	double until;
	uint64_t seed;
	struct block_state blocks[BLOCKS];
	enum name_state names[NAMES];
	uint32_t name_version[NAMES];
	unsigned long acked, maybe, verified, bad, reconnects;
	double last_answer, longest_pause;
	struct iscsi_context *iscsi;
	int lun;
	struct nfs_context *nfs;
	struct nfsfh *file;
	char dir[64];
};

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static uint64_t dice(struct worker *w)
{
	w->seed = w->seed * 6364136223846793005ull + 1442695040888963407ull;
	return w->seed >> 33;
}

static void answered(struct worker *w)
{
	double t = now();
	if (t - w->last_answer > w->longest_pause)
		w->longest_pause = t - w->last_answer;
	w->last_answer = t;
}

static void fill(uint8_t *buf, int id, uint32_t block, uint32_t version)
{
	uint64_t x = (uint64_t)id << 56 ^ (uint64_t)block << 32 ^ version;
	for (int i = 0; i < BLOCK; i += 16) {
		uint64_t y = (x + (uint64_t)i) * 0x9e3779b97f4a7c15ull;
		memcpy(buf + i, &x, 8);
		memcpy(buf + i + 8, &y, 8);
	}
}

/* The block must be one whole version between the last acknowledged and the last issued. */
static void judge(struct worker *w, uint32_t block, const uint8_t *got)
{
	struct block_state *b = &w->blocks[block];
	uint8_t want[BLOCK];
	uint64_t head;
	memcpy(&head, got, 8);
	uint32_t version = (uint32_t)head;
	w->verified++;
	if (b->acked == 0 && b->issued == 0)
		return;
	fill(want, w->id, block, version);
	/* Nothing acknowledged yet: what an earlier load left there, or nothing, is right too. */
	bool whole = memcmp(want, got, BLOCK) == 0;
	if (b->acked == 0 && (whole || version == 0))
		return;
	if (whole && version >= b->acked && version <= b->issued)
		return;
	w->bad++;
	fprintf(stderr,
		"oracle: thread %d block %u: acknowledged version %u, issued %u, found %u%s\n",
		w->id, block, b->acked, b->issued, version, whole ? "" : " (torn or foreign)");
}

/* ---- iSCSI ---- */

static void iscsi_drop(struct worker *w)
{
	if (w->iscsi)
		iscsi_destroy_context(w->iscsi);
	w->iscsi = NULL;
}

/* The next of the paths, in turn. */
static void next_url(struct worker *w, char *ret, size_t size)
{
	const char *p = w->url;
	unsigned n = 1;
	for (const char *c = p; *c; c++)
		n += *c == ',';
	for (unsigned skip = w->path++ % n; skip > 0; skip--)
		p = strchr(p, ',') + 1;
	snprintf(ret, size, "%.*s", (int)strcspn(p, ","), p);
}

static bool iscsi_try(struct worker *w)
{
	char name[80], url[512];
	snprintf(name, sizeof(name), "iqn.2026-01.org.isthmus:oracle-%d", w->id);
	w->iscsi = iscsi_create_context(name);
	next_url(w, url, sizeof(url));
	struct iscsi_url *u = w->iscsi ? iscsi_parse_full_url(w->iscsi, url) : NULL;
	if (!u) {
		iscsi_drop(w);
		return false;
	}
	iscsi_set_session_type(w->iscsi, ISCSI_SESSION_NORMAL);
	iscsi_set_header_digest(w->iscsi, ISCSI_HEADER_DIGEST_NONE_CRC32C);
	iscsi_set_noautoreconnect(w->iscsi, 1);
	iscsi_set_timeout(w->iscsi, 5);
	w->lun = u->lun;
	int rc = iscsi_full_connect_sync(w->iscsi, u->portal, u->lun);
	iscsi_destroy_url(u);
	if (rc)
		iscsi_drop(w);
	return rc == 0;
}

static uint32_t iscsi_lba(const struct worker *w, uint32_t block)
{
	return ((uint32_t)w->id * BLOCKS + block) * (BLOCK / 512);
}

/*
 * What a multipath driver over the kernel's SCSI layer would do with that answer: by another path
 * (false), or once more by the same (w->lives). Anything else is an I/O error to its user.
 */
static bool iscsi_good(struct worker *w, const struct scsi_task *t, const char *what)
{
	w->lives = false;
	if (t && t->status == SCSI_STATUS_GOOD)
		return true;
	if (!t || t->status == SCSI_STATUS_ERROR || t->status == SCSI_STATUS_TIMEOUT ||
	    t->status == SCSI_STATUS_CANCELLED)
		return false;
	if (t->status == SCSI_STATUS_CHECK_CONDITION && t->sense.key == SCSI_SENSE_NOT_READY &&
	    t->sense.ascq == 0x040c) /* target port in unavailable state */
		return false;
	if (t->status == SCSI_STATUS_BUSY || t->status == SCSI_STATUS_TASK_SET_FULL ||
	    t->status == SCSI_STATUS_TASK_ABORTED ||
	    (t->status == SCSI_STATUS_CHECK_CONDITION &&
	     (t->sense.key == SCSI_SENSE_UNIT_ATTENTION || t->sense.key == SCSI_SENSE_NOT_READY ||
	      t->sense.key == SCSI_SENSE_COMMAND_ABORTED))) {
		w->lives = true;
		return false;
	}
	fprintf(stderr, "oracle: thread %d: I/O error: %s: status %#x, sense %#x, ascq %#x\n",
		w->id, what, (unsigned)t->status, (unsigned)t->sense.key, (unsigned)t->sense.ascq);
	w->bad++;
	return false;
}

static bool iscsi_write_block(struct worker *w, uint32_t block, uint8_t *buf)
{
	struct scsi_task *t = iscsi_write16_sync(w->iscsi, w->lun, iscsi_lba(w, block), buf, BLOCK,
						 512, 0, 0, 0, 0, 0);
	bool good = iscsi_good(w, t, "write");
	scsi_free_scsi_task(t);
	return good;
}

static bool iscsi_read_block(struct worker *w, uint32_t block, uint8_t *buf)
{
	struct scsi_task *t =
	    iscsi_read16_sync(w->iscsi, w->lun, iscsi_lba(w, block), BLOCK, 512, 0, 0, 0, 0, 0);
	bool good = iscsi_good(w, t, "read") && t->datain.size == BLOCK;
	if (good)
		memcpy(buf, t->datain.data, BLOCK);
	scsi_free_scsi_task(t);
	return good;
}

/* ---- NFS ---- */

static void nfs_drop(struct worker *w)
{
	if (w->nfs)
		nfs_destroy_context(w->nfs);
	w->nfs = NULL;
	w->file = NULL;
}

static bool nfs_try(struct worker *w)
{
	char path[96];
	w->nfs = nfs_init_context();
	struct nfs_url *u = w->nfs ? nfs_parse_url_dir(w->nfs, w->url) : NULL;
	if (!u)
		return false;
	nfs_set_autoreconnect(w->nfs, 0);
	nfs_set_timeout(w->nfs, 5000);
	int rc = nfs_mount(w->nfs, u->server, u->path);
	nfs_destroy_url(u);
	snprintf(path, sizeof(path), "%s/data", w->dir);
	if (rc == 0) {
		rc = nfs_mkdir(w->nfs, w->dir);
		if (rc == 0 || rc == -EEXIST)
			rc = nfs_open(w->nfs, path, O_RDWR | (unstable ? 0 : O_SYNC), &w->file);
		if (rc == -ENOENT && nfs_creat(w->nfs, path, 0644, &w->file) == 0 &&
		    nfs_close(w->nfs, w->file) == 0)
			rc = nfs_open(w->nfs, path, O_RDWR | (unstable ? 0 : O_SYNC), &w->file);
	}
	if (rc)
		nfs_drop(w);
	return rc == 0;
}

static bool nfs_write_block(struct worker *w, uint32_t block, uint8_t *buf)
{
	return nfs_pwrite(w->nfs, w->file, (uint64_t)block * BLOCK, BLOCK, buf) == BLOCK;
}

static bool nfs_read_block(struct worker *w, uint32_t block, uint8_t *buf)
{
	memset(buf, 0, BLOCK);
	return nfs_pread(w->nfs, w->file, (uint64_t)block * BLOCK, BLOCK, buf) >= 0;
}

/* Cuts the file to nothing: from then on every block may be a hole. */
static bool nfs_cut(struct worker *w)
{
	for (unsigned i = 0; i < BLOCKS; i++)
		w->blocks[i].acked = 0;
	return nfs_ftruncate(w->nfs, w->file, 0) == 0;
}

/* A name's file holds its version as text; making, renaming over and removing change it. */
static void name_path(const struct worker *w, unsigned i, const char *suffix, char *ret, size_t n)
{
	snprintf(ret, n, "%s/name-%u%s", w->dir, i, suffix);
}

static bool nfs_change_name(struct worker *w, unsigned i)
{
	char path[128], tmp[128], text[32];
	struct nfsfh *fh;
	name_path(w, i, "", path, sizeof(path));
	name_path(w, i, ".new", tmp, sizeof(tmp));
	if (w->names[i] == NAME_PRESENT && dice(w) % 3 == 0) {
		w->names[i] = NAME_MAYBE;
		if (nfs_unlink(w->nfs, path) != 0)
			return false;
		w->names[i] = NAME_ABSENT;
		return true;
	}
	bool was_maybe = w->names[i] != NAME_PRESENT;
	uint32_t version = w->name_version[i] + 1;
	int n = snprintf(text, sizeof(text), "%010u", version);
	if (nfs_creat(w->nfs, tmp, 0644, &fh) != 0)
		return false;
	bool wrote = nfs_pwrite(w->nfs, fh, 0, (uint64_t)n, text) == n &&
		     (unstable || nfs_fsync(w->nfs, fh) == 0);
	nfs_close(w->nfs, fh);
	if (!wrote)
		return false;
	if (nfs_rename(w->nfs, tmp, path) != 0) {
		/* The old or the new version is right now. */
		w->names[i] = was_maybe ? NAME_MAYBE : NAME_PRESENT;
		w->name_version[i] = was_maybe ? version : version - 1;
		return false;
	}
	w->names[i] = NAME_PRESENT;
	w->name_version[i] = version;
	return true;
}

static void nfs_judge_name(struct worker *w, unsigned i)
{
	char path[128], text[16] = "";
	struct nfsfh *fh;
	name_path(w, i, "", path, sizeof(path));
	int rc = nfs_open(w->nfs, path, O_RDONLY, &fh);
	w->verified++;
	if (w->names[i] == NAME_MAYBE)
		return;
	if (rc != 0) {
		if (w->names[i] == NAME_PRESENT) {
			fprintf(stderr, "oracle: %s was made and is gone (%d)\n", path, rc);
			w->bad++;
		}
		return;
	}
	int n = nfs_pread(w->nfs, fh, 0, 10, text);
	uint32_t version = (uint32_t)strtoul(text, NULL, 10);
	nfs_close(w->nfs, fh);
	if (w->names[i] == NAME_ABSENT) {
		fprintf(stderr, "oracle: %s was removed and is there\n", path);
		w->bad++;
	} else if (n != 10 ||
		   (version != w->name_version[i] && version != w->name_version[i] + 1)) {
		fprintf(stderr, "oracle: %s holds version %u, want %u\n", path, version,
			w->name_version[i]);
		w->bad++;
	}
}

/* ---- both ---- */

struct protocol {
	bool (*connect)(struct worker *w);
	void (*drop)(struct worker *w);
	bool (*write)(struct worker *w, uint32_t block, uint8_t *buf);
	bool (*read)(struct worker *w, uint32_t block, uint8_t *buf);
	bool (*change_name)(struct worker *w, unsigned i); /* optional */
	void (*judge_name)(struct worker *w, unsigned i);
};

static const struct protocol iscsi_protocol = {
    .connect = iscsi_try,
    .drop = iscsi_drop,
    .write = iscsi_write_block,
    .read = iscsi_read_block,
};
static const struct protocol nfs_protocol = {
    .connect = nfs_try,
    .drop = nfs_drop,
    .write = nfs_write_block,
    .read = nfs_read_block,
    .change_name = nfs_change_name,
    .judge_name = nfs_judge_name,
};
static const struct protocol *protocol;

static bool connected(struct worker *w)
{
	if (w->iscsi || w->nfs)
		return true;
	double t0 = now();
	while (!protocol->connect(w)) {
		if (now() - t0 > RECONNECT_MAX) {
			fprintf(stderr, "oracle: thread %d: no service for %.0f s\n", w->id,
				RECONNECT_MAX);
			w->bad++;
			return false;
		}
		usleep(20000);
	}
	w->reconnects++;
	return true;
}

/* After a request that failed: the connection goes, or is asked again in a moment. */
static void fails(struct worker *w)
{
	if (w->lives)
		usleep(5000);
	else
		protocol->drop(w);
}

static bool one_block(struct worker *w)
{
	uint8_t buf[BLOCK];
	uint32_t block = (uint32_t)(dice(w) % BLOCKS);
	struct block_state *b = &w->blocks[block];
	if (dice(w) % 4 == 0) {
		if (!protocol->read(w, block, buf))
			return false;
		judge(w, block, buf);
		return true;
	}
	if (unstable && dice(w) % 256 == 0)
		return nfs_cut(w);
	fill(buf, w->id, block, ++b->issued);
	if (!protocol->write(w, block, buf)) {
		w->maybe++;
		return false;
	}
	b->acked = b->issued;
	w->acked++;
	return true;
}

static bool one_change(struct worker *w)
{
	if (!protocol->change_name || dice(w) % 4)
		return one_block(w);
	if (!protocol->change_name(w, (unsigned)(dice(w) % NAMES))) {
		w->maybe++;
		return false;
	}
	w->acked++;
	return true;
}

/* False: there is no service, and it is counted. */
static bool check_block(struct worker *w, uint32_t block)
{
	uint8_t buf[BLOCK];
	double t0 = now();
	while (connected(w)) {
		if (protocol->read(w, block, buf)) {
			judge(w, block, buf);
			return true;
		}
		fails(w);
		if (now() - t0 > RECONNECT_MAX) {
			fprintf(stderr, "oracle: thread %d: block %u cannot be read\n", w->id,
				block);
			w->bad++;
			return false;
		}
	}
	return false;
}

static volatile sig_atomic_t enough;

static void *work(void *arg)
{
	struct worker *w = arg;
	if (!connected(w))
		return NULL;
	w->last_answer = now();
	while (now() < w->until && !enough) {
		if (!connected(w))
			return NULL;
		if (one_change(w))
			answered(w);
		else
			fails(w);
	}
	for (uint32_t i = 0; i < BLOCKS; i++)
		if (!check_block(w, i))
			return NULL;
	for (unsigned i = 0; protocol->judge_name && i < NAMES; i++)
		protocol->judge_name(w, i);
	/* Many runs follow each other on one file system. */
	if (w->nfs && !w->bad && !nfs_cut(w))
		fprintf(stderr, "oracle: thread %d: its file could not be emptied\n", w->id);
	protocol->drop(w);
	return NULL;
}

static void on_term(int signum)
{
	enough = 1;
}

int main(int argc, char **argv)
{
	if (argc < 4) {
		fprintf(stderr, "usage: oracle iscsi|nfs|nfs-unstable URL[,URL] SECONDS "
				"[THREADS]\n");
		return 2;
	}
	signal(SIGTERM, on_term); /* the last checks come then */
	signal(SIGPIPE, SIG_IGN); /* libiscsi writes to what may be closed */
	unstable = strcmp(argv[1], "nfs-unstable") == 0;
	protocol = unstable || strcmp(argv[1], "nfs") == 0 ? &nfs_protocol : &iscsi_protocol;
	int n = argc > 4 ? atoi(argv[4]) : 4;
	if (n < 1 || n > THREADS_MAX)
		return 2;
	struct worker *workers = calloc((size_t)n, sizeof(*workers)), sum = {0};
	if (!workers)
		return 1;
	for (int i = 0; i < n; i++) {
		struct worker *w = &workers[i];
		w->url = argv[2];
		w->id = i;
		w->path = (unsigned)i;
		w->seed = (uint64_t)i * 7919 + (uint64_t)getpid();
		w->until = now() + atof(argv[3]);
		snprintf(w->dir, sizeof(w->dir), "/oracle.%d.%d", (int)getpid(), i);
		pthread_create(&w->thread, NULL, work, w);
	}
	for (int i = 0; i < n; i++) {
		struct worker *w = &workers[i];
		pthread_join(w->thread, NULL);
		sum.acked += w->acked, sum.maybe += w->maybe, sum.verified += w->verified;
		sum.bad += w->bad, sum.reconnects += w->reconnects;
		if (w->longest_pause > sum.longest_pause)
			sum.longest_pause = w->longest_pause;
	}
	printf("%s: %lu changes acknowledged, %lu without an answer, %lu checks, %lu wrong, "
	       "%lu connections, longest pause %.2f s\n",
	       argv[1], sum.acked, sum.maybe, sum.verified, sum.bad, sum.reconnects,
	       sum.longest_pause);
	free(workers);
	return sum.bad || !sum.acked ? 1 : 0;
}
