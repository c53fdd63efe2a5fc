/*
 * What the groups of nfs3_conform share: counted checks, a world of exports (made by
 * tests/system/test_nfs_conform.sh), and a scratch directory for each group.
 */
#ifndef ISTHMUS_TESTS_NFS3_CONFORM_H
#define ISTHMUS_TESTS_NFS3_CONFORM_H

#include "tests/tools/nfs3_client.h"

struct world {
	const char *server;
	int port;
	struct nc *c;	  /* root, on /demo (no_root_squash) */
	struct nc_fh top; /* of /demo */
	struct nc_fh dir; /* the group's own, empty, mode 0777 */
};

/* One check. False is returned (and a line printed) when it does not hold. */
bool want(bool ok, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* One check: the call was answered with this status. */
bool want_status(const struct nc_res *r, int status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
const char *status_name(int status);

/* Which errors each procedure was made to give: counted as they are wanted, and checked at the end.
 */
void table_mark(const struct nc_res *r);
void table_whole(void);

/* A connection more with the wcc checks of the first; ends the program when there is none. */
struct nc *world_open(const struct world *w, const char *source, bool low);
/* The root of an export; ends the program when it cannot be mounted. */
struct nc_fh world_mount(struct nc *c, const char *path);
/* Makes things in w->dir as root; they end the program when they fail. */
struct nc_fh make_file(struct world *w, const char *name, uint32_t mode);
struct nc_fh make_dir(struct world *w, const char *name, uint32_t mode);
struct nc_fh make_link(struct world *w, const char *name, const char *target);
/* The object's attributes now; zeros when there is none. */
fattr3 attr_of(struct nc *c, const struct nc_fh *f);
/* Wrong in one bit of its checksum; and of an inode that was removed. */
struct nc_fh forged(const struct nc_fh *f);
struct nc_fh stale(struct world *w);

void conform_handles(struct world *w);
void conform_attr(struct world *w);
void conform_names(struct world *w);
void conform_make(struct world *w);
void conform_rename(struct world *w);
void conform_link(struct world *w);
void conform_mlink(struct world *w);
void conform_data(struct world *w);
void conform_dirs(struct world *w);
void conform_changing_dir(struct world *w);
void conform_rights(struct world *w);
void conform_setid(struct world *w);
void conform_wire(struct world *w);
void conform_again(struct world *w);
void conform_mount(struct world *w);
void conform_squash(struct world *w);
void conform_hosts(struct world *w);
void conform_subdir(struct world *w);
void conform_live(struct world *w);

#endif
