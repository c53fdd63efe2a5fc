/*
 * The errors that RFC 1813 lists for each procedure and that can arise here, each wanted of it at
 * least once by a group of nfs3_conform. The others:
 *
 *	IO		tests/system/test_nfs_damage.sh
 *	NOSPC		tests/system/test_nfs_space.sh
 *	DQUOT		tests/system/test_nfs_quota.sh
 *	JUKEBOX		while a file system is not mounted: tests/unit/nfs/test_nfs_client.c
 *	NXIO		there are no devices behind special files
 *	NOTSUPP		every procedure is there, for every kind of file
 *	SERVERFAULT	never answered by NFS; by MNT while a file system is not mounted
 *	ACCES of READLINK	reading a link takes no right but to look it up
 *	EXIST of RENAME	a name that is there is replaced, or NOTDIR, ISDIR, NOTEMPTY say why not
 *	MLINK of RENAME	of a directory, into one that has 65,000: not shown, it takes too long
 *	NOTDIR, PERM, IO and INVAL of MNT	see MNT's list: NOTDIR arises, the others do not
 */
#include <string.h>
#include "tests/tools/nfs3_conform.h"

#define HANDLE	NFS3ERR_STALE, NFS3ERR_BADHANDLE
#define MAKING	NFS3ERR_ACCES, NFS3ERR_EXIST, NFS3ERR_NOTDIR, NFS3ERR_ROFS, NFS3ERR_NAMETOOLONG
#define READING NFS3ERR_ACCES, NFS3ERR_NOTDIR, NFS3ERR_BAD_COOKIE, NFS3ERR_TOOSMALL

/* NFS3_OK ends a list: it is wanted of each as well. */
static struct row {
	const char *call;
	int status[16];
	unsigned long seen[16];
} rows[] = {
    {"getattr", {HANDLE}, {0}},
    {"setattr",
     {NFS3ERR_PERM, NFS3ERR_ACCES, NFS3ERR_INVAL, NFS3ERR_ROFS, NFS3ERR_NOT_SYNC, HANDLE},
     {0}},
    {"lookup", {NFS3ERR_NOENT, NFS3ERR_ACCES, NFS3ERR_NOTDIR, NFS3ERR_NAMETOOLONG, HANDLE}, {0}},
    {"access", {HANDLE}, {0}},
    {"readlink", {NFS3ERR_INVAL, HANDLE}, {0}},
    {"read", {NFS3ERR_ACCES, NFS3ERR_INVAL, HANDLE}, {0}},
    {"write", {NFS3ERR_ACCES, NFS3ERR_FBIG, NFS3ERR_ROFS, NFS3ERR_INVAL, HANDLE}, {0}},
    {"create", {MAKING, HANDLE}, {0}},
    {"mkdir", {MAKING, HANDLE}, {0}},
    {"symlink", {MAKING, HANDLE}, {0}},
    {"mknod", {MAKING, NFS3ERR_BADTYPE, HANDLE}, {0}},
    {"remove",
     {NFS3ERR_NOENT, NFS3ERR_ACCES, NFS3ERR_NOTDIR, NFS3ERR_NAMETOOLONG, NFS3ERR_ROFS, HANDLE},
     {0}},
    {"rmdir",
     {NFS3ERR_NOENT, NFS3ERR_ACCES, NFS3ERR_INVAL, NFS3ERR_EXIST, NFS3ERR_NOTDIR,
      NFS3ERR_NAMETOOLONG, NFS3ERR_ROFS, NFS3ERR_NOTEMPTY, HANDLE},
     {0}},
    {"rename",
     {NFS3ERR_NOENT, NFS3ERR_ACCES, NFS3ERR_XDEV, NFS3ERR_NOTDIR, NFS3ERR_ISDIR, NFS3ERR_INVAL,
      NFS3ERR_ROFS, NFS3ERR_NAMETOOLONG, NFS3ERR_NOTEMPTY, HANDLE},
     {0}},
    {"link",
     {NFS3ERR_ACCES, NFS3ERR_EXIST, NFS3ERR_XDEV, NFS3ERR_NOTDIR, NFS3ERR_INVAL, NFS3ERR_ROFS,
      NFS3ERR_MLINK, NFS3ERR_NAMETOOLONG, HANDLE},
     {0}},
    {"readdir", {READING, HANDLE}, {0}},
    {"readdirplus", {READING, HANDLE}, {0}},
    {"fsstat", {HANDLE}, {0}},
    {"fsinfo", {HANDLE}, {0}},
    {"pathconf", {HANDLE}, {0}},
    {"commit", {HANDLE}, {0}},
    {"mnt", {MNT3ERR_NOENT, MNT3ERR_ACCES, MNT3ERR_NOTDIR, MNT3ERR_NAMETOOLONG}, {0}},
};

void table_mark(const struct nc_res *r)
{
	for (struct row *t = rows; r->call && t < rows + sizeof(rows) / sizeof(rows[0]); t++)
		for (unsigned i = 0; i < 16 && strcmp(t->call, r->call) == 0; i++) {
			if (t->status[i] == r->status)
				t->seen[i]++;
			if (t->status[i] == r->status || t->status[i] == NFS3_OK)
				break;
		}
}

void table_whole(void)
{
	for (const struct row *t = rows; t < rows + sizeof(rows) / sizeof(rows[0]); t++)
		for (unsigned i = 0; i < 16; i++) {
			want(t->seen[i], "%s was never wanted of %s", status_name(t->status[i]),
			     t->call);
			if (t->status[i] == NFS3_OK)
				break;
		}
}
