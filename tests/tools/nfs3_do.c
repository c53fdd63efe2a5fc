/*
 * nfs3_do SERVER PORT EXPORT UID WHAT ...: one NFSv3 operation as user and group UID; prints its
 * nfsstat3 (0: done) and, for `space`, then total and available bytes. For system tests in shell.
 *
 *   mkdir PATH          mode 0777
 *   write PATH KIB      the file is made when it is not there; FILE_SYNC
 *   remove PATH
 *   rename FROM TO
 *   space PATH          FSSTAT
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tests/tools/nfs3_client.h"

#define PIECE (64u * 1024)

static struct nc *c;

static int ended(const struct nc_res *r)
{
	if (r->rpc == NC_OK)
		return r->status;
	fprintf(stderr, "nfs3_do: no answer\n");
	exit(2);
}

/* Walks to the directory of a path, or to its object; *name is what is left. */
static int walk(struct nc_fh *at, char *path, bool whole, const char **name)
{
	for (char *slash; (slash = strchr(path, '/')) || (whole && *path);) {
		if (slash)
			*slash = '\0';
		const struct nc_res *r = nc_lookup(c, at, path);
		if (ended(r))
			return r->status;
		*at = r->fh;
		path = slash ? slash + 1 : path + strlen(path);
	}
	*name = path;
	return 0;
}

static int write_file(struct nc_fh dir, const char *name, uint32_t kib)
{
	static char data[PIECE];
	sattr3 s = sa_none();
	const struct nc_res *r = nc_create(c, &dir, name, UNCHECKED, &s);
	int status = ended(r);
	struct nc_fh f = r->fh;
	for (uint64_t off = 0; off < kib * 1024ull && !status;) {
		uint64_t rest = kib * 1024ull - off;
		uint32_t n = rest < PIECE ? (uint32_t)rest : PIECE;
		r = nc_write(c, &f, off, data, n, FILE_SYNC);
		status = ended(r);
		off += r->count;
	}
	return status;
}

static int run(const struct nc_fh *root, int n, char **arg)
{
	struct nc_fh a = *root, b = *root;
	const char *name, *to;
	sattr3 s = sa_mode(0777);
	bool space = strcmp(arg[0], "space") == 0;
	int status = walk(&a, arg[1], space, &name);
	if (status)
		return status;
	if (space)
		return ended(nc_fsstat(c, &a));
	if (strcmp(arg[0], "mkdir") == 0)
		return ended(nc_mkdir(c, &a, name, &s));
	if (strcmp(arg[0], "remove") == 0)
		return ended(nc_remove(c, &a, name));
	if (strcmp(arg[0], "write") == 0 && n == 3)
		return write_file(a, name, (uint32_t)strtoul(arg[2], NULL, 10));
	if (strcmp(arg[0], "rename") == 0 && n == 3) {
		status = walk(&b, arg[2], false, &to);
		return status ? status : ended(nc_rename(c, &a, name, &b, to));
	}
	fprintf(stderr, "nfs3_do: what is %s?\n", arg[0]);
	exit(2);
}

int main(int argc, char **argv)
{
	if (argc < 7) {
		fprintf(stderr, "usage: nfs3_do SERVER PORT EXPORT UID WHAT PATH ...\n");
		return 2;
	}
	uint32_t uid = (uint32_t)strtoul(argv[4], NULL, 10);
	c = nc_open(argv[1], atoi(argv[2]), NULL, false);
	if (!c)
		return 2;
	nc_user(c, uid, uid, 0, NULL);
	const struct nc_res *r = nc_mnt(c, argv[3]);
	if (ended(r)) {
		fprintf(stderr, "nfs3_do: cannot mount %s: %d\n", argv[3], r->status);
		return 2;
	}
	struct nc_fh root = r->fh;
	int status = run(&root, argc - 5, argv + 5);
	printf("%d\n", status);
	if (!status && strcmp(argv[5], "space") == 0)
		printf("%llu %llu\n", (unsigned long long)c->res.fsstat.tbytes,
		       (unsigned long long)c->res.fsstat.abytes);
	nc_close(c);
	return 0;
}
