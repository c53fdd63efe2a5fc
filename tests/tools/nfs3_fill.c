/*
 * nfs3_fill SERVER PORT EXPORT [CLIENTS]: fills a file system with several clients at once, over
 * and over. Every byte acknowledged must read back, what fails must fail with NOSPC, what is there
 * may be overwritten, removing must work and make room. The server may be killed meanwhile.
 *
 * A file's bytes follow from client, file and place, so trying again writes the same ones. What a
 * refused WRITE left behind the acknowledged end is nobody's business.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "tests/tools/nfs3_fleet.h"

#define FILES	 400 /* a client's */
#define CLIENTS	 16
#define CHUNK	 200000
#define REFUSALS 400 /* a client's, in a round: the later ones of a few bytes only */
#define ROUNDS	 3

struct file {
	bool there;
	struct nc_fh fh;
	uint64_t size; /* acknowledged */
};

struct model {
	struct file files[FILES];
	uint64_t written, refused, verified, removed;
};

static struct model *models;
static const char *server, *path;
static int port, round_now;

static void fill(uint8_t *p, size_t n, int client, int file, uint64_t off)
{
	uint64_t seed = ((uint64_t)client << 48) ^ ((uint64_t)file << 32);
	for (size_t i = 0; i < n; i++) {
		uint64_t x = (seed + (off + i) / 8) * 0x9e3779b97f4a7c15ull;
		p[i] = (uint8_t)(x >> (8 * ((off + i) % 8)) ^ x >> 56);
	}
}

static void name_of(char *to, size_t n, int client, int file)
{
	snprintf(to, n, "client%d-file%d", client, file);
}

static bool refused(struct fleet_client *k, struct model *m, const struct nc_res *r,
		    const char *what)
{
	if (r->status == NFS3ERR_NOSPC)
		m->refused++;
	else
		fleet_bad(k, "%s failed with %d, not NOSPC", what, r->status);
	return false;
}

/* UNCHECKED, so that a second try finds what the first one made. */
static bool make(struct fleet_client *k, struct model *m, int i)
{
	char name[64];
	sattr3 s = sa_mode(0600);
	const struct nc_res *r;
	name_of(name, sizeof(name), k->id, i);
	ANSWERED(k, r, nc_create(k->c, &k->top, name, UNCHECKED, &s));
	if (r->status)
		return refused(k, m, r, "CREATE");
	m->files[i] = (struct file){.there = true, .fh = r->fh};
	return true;
}

static bool append(struct fleet_client *k, struct model *m, int i, uint32_t n, stable_how how)
{
	static uint8_t buf[CHUNK];
	struct file *f = &m->files[i];
	const struct nc_res *r;
	fill(buf, n, k->id, i, f->size);
	ANSWERED(k, r, nc_write(k->c, &f->fh, f->size, buf, n, how));
	if (r->status)
		return refused(k, m, r, "WRITE");
	if (r->count == 0 || r->count > n)
		fleet_bad(k, "WRITE of %u took %u", n, r->count);
	f->size += r->count;
	m->written += r->count;
	return true;
}

/* Until nothing fits any more, not even a byte in a new block. */
static bool fill_up(int id, void *arg)
{
	struct fleet_client k;
	struct model *m = &models[id];
	fleet_open(&k, id, server, port, path);
	k.seed += (uint64_t)round_now;
	for (int no = 0; no < REFUSALS && !k.bad;) {
		int i = (int)fleet_dice(&k, FILES);
		uint32_t n = 1 + fleet_dice(&k, CHUNK >> (16 * no / REFUSALS));
		bool ok = m->files[i].there || make(&k, m, i);
		ok = ok && append(&k, m, i, n, (stable_how)fleet_dice(&k, 3));
		no += !ok;
	}
	const struct nc_res *r;
	for (int i = 0; i < FILES; i++)
		if (m->files[i].there) {
			ANSWERED(&k, r, nc_commit(k.c, &m->files[i].fh, 0, 0));
			if (r->status)
				fleet_bad(&k, "COMMIT failed with %d", r->status);
		}
	fleet_close(&k);
	return !k.bad;
}

static void check_file(struct fleet_client *k, struct model *m, int i)
{
	static uint8_t buf[CHUNK];
	struct file *f = &m->files[i];
	const struct nc_res *r;
	for (uint64_t off = 0; off < f->size;) {
		uint32_t n = f->size - off < CHUNK ? (uint32_t)(f->size - off) : CHUNK;
		ANSWERED(k, r, nc_read(k->c, &f->fh, off, n));
		if (r->status || r->count != n) {
			fleet_bad(k, "READ of %u at %lu of %lu: status %d, %u bytes", n,
				  (unsigned long)off, (unsigned long)f->size, r->status, r->count);
			return;
		}
		fill(buf, n, k->id, i, off);
		if (memcmp(buf, k->c->data, n)) {
			fleet_bad(k, "file %d: other bytes at %lu", i, (unsigned long)off);
			return;
		}
		m->verified += n;
		off += n;
	}
	if (!f->size)
		return;
	/* The blocks are there: this needs no new ones. */
	fill(buf, 1, k->id, i, f->size - 1);
	ANSWERED(k, r, nc_write(k->c, &f->fh, f->size - 1, buf, 1, FILE_SYNC));
	if (r->status)
		fleet_bad(k, "a byte that is there cannot be written again: %d", r->status);
}

static bool verify(int id, void *arg)
{
	struct fleet_client k;
	fleet_open(&k, id, server, port, path);
	for (int i = 0; i < FILES; i++)
		if (models[id].files[i].there)
			check_file(&k, &models[id], i);
	fleet_close(&k);
	return !k.bad;
}

/* Every other file, and half of those by cutting them first; at the end all. */
static bool make_room(int id, void *arg)
{
	struct fleet_client k;
	struct model *m = &models[id];
	const struct nc_res *r;
	sattr3 nothing = sa_size(0);
	char name[64];
	fleet_open(&k, id, server, port, path);
	for (int i = 0; i < FILES; i++) {
		struct file *f = &m->files[i];
		if (!f->there || (!arg && i % 2 == round_now % 2))
			continue;
		if (i % 4 < 2) {
			ANSWERED(&k, r, nc_setattr(k.c, &f->fh, &nothing, NULL));
			if (r->status)
				fleet_bad(&k, "cutting a file failed with %d", r->status);
		}
		name_of(name, sizeof(name), id, i);
		ANSWERED(&k, r, nc_remove(k.c, &k.top, name));
		if (r->status && !(k.retried && r->status == NFS3ERR_NOENT))
			fleet_bad(&k, "REMOVE failed with %d", r->status);
		m->removed += f->size;
		*f = (struct file){0};
	}
	fleet_close(&k);
	return !k.bad;
}

static FSSTAT3resok space(struct fleet_client *k)
{
	const struct nc_res *r;
	ANSWERED(k, r, nc_fsstat(k->c, &k->top));
	return r->fsstat;
}

static struct model sum(int n)
{
	struct model s = {0};
	for (int i = 0; i < n; i++) {
		s.written += models[i].written;
		s.refused += models[i].refused;
		s.verified += models[i].verified;
		s.removed += models[i].removed;
	}
	return s;
}

/* Freed blocks come back by and by. */
static bool comes_back(struct fleet_client *k, uint64_t want)
{
	for (int i = 0; i < 300; i++) {
		if (space(k).fbytes >= want)
			return true;
		usleep(100000);
	}
	fleet_bad(k, "%lu bytes are free at the end, not %lu", (unsigned long)space(k).fbytes,
		  (unsigned long)want);
	return false;
}

int main(int argc, char **argv)
{
	if (argc < 4) {
		fprintf(stderr, "usage: nfs3_fill SERVER PORT EXPORT [CLIENTS]\n");
		return 2;
	}
	server = argv[1];
	port = atoi(argv[2]);
	path = argv[3];
	int n = argc > 4 ? atoi(argv[4]) : 6;
	if (n < 1 || n > CLIENTS)
		return 2;
	models = fleet_shared(sizeof(*models) * (size_t)n);
	struct fleet_client k;
	fleet_open(&k, -1, server, port, path);
	FSSTAT3resok before = space(&k);
	unsigned failed = 0;
	for (round_now = 0; round_now < ROUNDS && !failed; round_now++) {
		struct model was = sum(n), now;
		failed += fleet_run(n, fill_up, NULL);
		now = sum(n);
		printf("round %d: %lu MiB acknowledged, %lu refusals, %lu KiB left\n", round_now,
		       (unsigned long)(now.written - was.written) >> 20,
		       (unsigned long)(now.refused - was.refused),
		       (unsigned long)space(&k).abytes >> 10);
		if (now.refused == was.refused || now.written - was.written < was.removed / 2)
			fleet_bad(&k, "what was removed made no room, or it was never full");
		failed += fleet_run(n, verify, NULL);
		if (round_now + 1 < ROUNDS)
			failed += fleet_run(n, make_room, NULL);
		for (int i = 0; i < n; i++) /* the room for the next round */
			models[i].removed = round_now + 1 < ROUNDS ? models[i].removed : 0;
	}
	failed += fleet_run(n, make_room, models);
	/* Directories and inode tables do not shrink to nothing. */
	comes_back(&k, before.fbytes - before.fbytes / 50);
	printf("%lu bytes checked, %lu calls refused for space; %u failures\n",
	       (unsigned long)sum(n).verified, (unsigned long)sum(n).refused,
	       failed + (unsigned)k.bad);
	fleet_close(&k);
	return failed || k.bad;
}
