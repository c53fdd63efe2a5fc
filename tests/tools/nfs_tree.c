/*
 * nfs_tree copy|verify URL DIR...: copies real trees in over NFS with libnfs
 * and compares every byte, name, link target and mode back. A copy over an
 * earlier copy is one (a name that is gone here since would show as a difference).
 *
 * WORKERS processes share the files; each has its own connection. Every file is
 * committed (fsync) before its copy counts. Ends with one line of totals.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <nfsc/libnfs.h>

#define WORKERS 4
#define CHUNK	(512 * 1024)
#define CHUNK_4 2048 /* libnfs cannot encode larger writes of version 4 */

struct entry {
	char *path;
	struct stat st;
};

static struct entry *entries;
static size_t nentries;

struct totals {
	_Atomic unsigned long files, dirs, links, bytes, bad;
};
static struct totals *totals;
static bool version4;

static void add_entry(const char *path, const struct stat *st)
{
	if (nentries % 1024 == 0)
		entries = realloc(entries, (nentries + 1024) * sizeof(*entries));
	if (!entries || !(entries[nentries].path = strdup(path))) {
		perror("nfs_tree");
		exit(1);
	}
	entries[nentries++].st = *st;
}

static void walk(const char *path)
{
	struct stat st;
	if (lstat(path, &st) < 0)
		return;
	if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode) && !S_ISLNK(st.st_mode))
		return;
	add_entry(path, &st);
	if (!S_ISDIR(st.st_mode))
		return;
	DIR *d = opendir(path);
	struct dirent *e;
	while (d && (e = readdir(d))) {
		char child[4096];
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		snprintf(child, sizeof(child), "%s/%s", path, e->d_name);
		walk(child);
	}
	if (d)
		closedir(d);
}

static struct nfs_context *mount_url(const char *url)
{
	struct nfs_context *nfs = nfs_init_context();
	struct nfs_url *u = nfs ? nfs_parse_url_dir(nfs, url) : NULL;
	if (!u || nfs_mount(nfs, u->server, u->path) != 0) {
		fprintf(stderr, "nfs_tree: cannot mount %s: %s\n", url,
			nfs ? nfs_get_error(nfs) : "no memory");
		exit(1);
	}
	nfs_destroy_url(u);
	return nfs;
}

static void complain(const struct entry *e, const char *what, struct nfs_context *nfs)
{
	fprintf(stderr, "nfs_tree: %s: %s: %s\n", e->path, what, nfs ? nfs_get_error(nfs) : "");
	totals->bad++;
}

/* ---- copy ---- */

static void make_parents(struct nfs_context *nfs, const char *path)
{
	char buf[4096];
	snprintf(buf, sizeof(buf), "%s", path);
	for (char *p = buf + 1; *p; p++) {
		if (*p != '/')
			continue;
		*p = '\0';
		nfs_mkdir(nfs, buf);
		*p = '/';
	}
}

static void copy_file(struct nfs_context *nfs, const struct entry *e, char *buf)
{
	struct nfsfh *fh = NULL;
	int fd = open(e->path, O_RDONLY);
	if (fd < 0)
		return;
	/* libnfs's creat by version 4 opens for reading only. */
	const int flags = O_CREAT | O_TRUNC | O_WRONLY, mode = e->st.st_mode & 07777;
	if ((version4 ? nfs_open2(nfs, e->path, flags, mode, &fh)
		      : nfs_creat(nfs, e->path, mode, &fh)) != 0) {
		complain(e, "create", nfs);
		close(fd);
		return;
	}
	uint64_t off = 0;
	ssize_t n;
	while ((n = read(fd, buf, version4 ? CHUNK_4 : CHUNK)) > 0) {
		if (nfs_pwrite(nfs, fh, off, (uint64_t)n, buf) != n) {
			complain(e, "write", nfs);
			break;
		}
		off += (uint64_t)n;
	}
	if (nfs_fsync(nfs, fh) != 0)
		complain(e, "commit", nfs);
	nfs_close(nfs, fh);
	close(fd);
	totals->files++;
	totals->bytes += off;
}

static void copy_link(struct nfs_context *nfs, const struct entry *e)
{
	char target[4096];
	ssize_t n = readlink(e->path, target, sizeof(target) - 1);
	if (n < 0)
		return;
	target[n] = '\0';
	int rc = nfs_symlink(nfs, target, e->path);
	if (rc == -EEXIST && nfs_unlink(nfs, e->path) == 0)
		rc = nfs_symlink(nfs, target, e->path);
	if (rc != 0)
		complain(e, "symlink", nfs);
	totals->links++;
}

static void copy_dir(struct nfs_context *nfs, const struct entry *e)
{
	int rc = nfs_mkdir2(nfs, e->path, e->st.st_mode & 07777);
	if (rc != 0 && rc != -EEXIST)
		complain(e, "mkdir", nfs);
	totals->dirs++;
}

/* ---- verify ---- */

static void verify_file(struct nfs_context *nfs, const struct entry *e, char *buf)
{
	struct nfsfh *fh = NULL;
	struct nfs_stat_64 st;
	int fd = open(e->path, O_RDONLY);
	if (fd < 0)
		return;
	if (nfs_open(nfs, e->path, O_RDONLY, &fh) != 0) {
		complain(e, "open", nfs);
		close(fd);
		return;
	}
	if (nfs_fstat64(nfs, fh, &st) != 0 || st.nfs_size != (uint64_t)e->st.st_size ||
	    (st.nfs_mode & 07777) != (e->st.st_mode & 07777))
		complain(e, "size or mode differ", nfs);
	uint64_t off = 0;
	ssize_t n;
	while ((n = read(fd, buf, version4 ? CHUNK_4 : CHUNK)) > 0) {
		int got = nfs_pread(nfs, fh, off, (uint64_t)n, buf + CHUNK);
		if (got != n || memcmp(buf, buf + CHUNK, (size_t)n) != 0) {
			complain(e, "content differs", nfs);
			break;
		}
		off += (uint64_t)n;
	}
	nfs_close(nfs, fh);
	close(fd);
	totals->files++;
	totals->bytes += off;
}

static void verify_link(struct nfs_context *nfs, const struct entry *e)
{
	char want[4096], got[4096] = "";
	ssize_t n = readlink(e->path, want, sizeof(want) - 1);
	if (n < 0)
		return;
	want[n] = '\0';
	int rc = nfs_readlink(nfs, e->path, got, sizeof(got));
	/* Of version 4 the library ends no target whose length is a multiple of four. */
	bool endless = version4 && n % 4 == 0;
	if (rc != 0 || (endless ? strncmp(want, got, (size_t)n) : strcmp(want, got)) != 0)
		complain(e, "link target differs", nfs);
	totals->links++;
}

/* Version 4 does not tell of them. */
static bool is_dot(const char *name)
{
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* As many entries on both sides, or something was left over or lost. */
static void verify_dir(struct nfs_context *nfs, const struct entry *e)
{
	struct nfsdir *nd;
	long want = 0, got = 0;
	DIR *d = opendir(e->path);
	struct dirent *h;
	struct nfsdirent *n;
	while (d && (h = readdir(d)))
		want += !is_dot(h->d_name);
	if (d)
		closedir(d);
	if (nfs_opendir(nfs, e->path, &nd) != 0) {
		complain(e, "opendir", nfs);
		return;
	}
	while ((n = nfs_readdir(nfs, nd)))
		got += !is_dot(n->name);
	nfs_closedir(nfs, nd);
	if (want != got)
		complain(e, "number of entries differs", nfs);
	totals->dirs++;
}

static void run_worker(const char *url, int worker, bool copy)
{
	struct nfs_context *nfs = mount_url(url);
	char *buf = malloc(2 * CHUNK);
	for (size_t i = (size_t)worker; buf && i < nentries; i += WORKERS) {
		const struct entry *e = &entries[i];
		if (S_ISREG(e->st.st_mode))
			(copy ? copy_file : verify_file)(nfs, e, buf);
		else if (S_ISLNK(e->st.st_mode))
			(copy ? copy_link : verify_link)(nfs, e);
		else if (!copy)
			verify_dir(nfs, e);
	}
	free(buf);
	nfs_umount(nfs);
	nfs_destroy_context(nfs);
}

int main(int argc, char **argv)
{
	bool copy = argc > 1 && strcmp(argv[1], "copy") == 0;
	if (argc < 4 || (!copy && strcmp(argv[1], "verify") != 0)) {
		fprintf(stderr, "usage: nfs_tree copy|verify URL DIR...\n");
		return 2;
	}
	totals =
	    mmap(NULL, sizeof(*totals), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (totals == MAP_FAILED)
		return 1;
	version4 = strstr(argv[2], "version=4");
	for (int i = 3; i < argc; i++)
		walk(argv[i]);
	struct timespec t0, t1;
	clock_gettime(CLOCK_MONOTONIC, &t0);
	if (copy) {
		struct nfs_context *nfs = mount_url(argv[2]);
		for (int i = 3; i < argc; i++)
			make_parents(nfs, argv[i]);
		for (size_t i = 0; i < nentries; i++)
			if (S_ISDIR(entries[i].st.st_mode))
				copy_dir(nfs, &entries[i]);
		nfs_destroy_context(nfs);
	}
	for (int w = 0; w < WORKERS; w++) {
		pid_t pid = fork();
		if (pid == 0) {
			run_worker(argv[2], w, copy);
			_exit(0);
		}
	}
	int status;
	while (wait(&status) > 0)
		totals->bad += status != 0;
	clock_gettime(CLOCK_MONOTONIC, &t1);
	double s = (double)(t1.tv_sec - t0.tv_sec) + (double)(t1.tv_nsec - t0.tv_nsec) / 1e9;
	printf("%s: %lu files, %lu directories, %lu links, %.1f MiB in %.1f s; %lu differences\n",
	       copy ? "copied" : "compared", totals->files, totals->dirs, totals->links,
	       (double)totals->bytes / 1048576, s, totals->bad);
	return totals->bad ? 1 : 0;
}
