/*
 * Exports: paths that clients mount, and who may. A table is immutable but for the addresses of
 * host names and netgroups; a new configuration makes a new table, and calls under way keep the old
 * one by reference.
 */
#ifndef ISTHMUS_NASFRONT_EXPORT_H
#define ISTHMUS_NASFRONT_EXPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include "nasfront/fs/fs.h"
#include "nasfront/rpc/rpc.h"
#include "proto/channel.pb-c.h"

#define EXPORT_PATH_MAX 1023
#define EXPORT_HOST_MAX 255

enum export_squash { SQUASH_ROOT, SQUASH_NONE, SQUASH_ALL };
/* Flavours, numbered as services of RPCSEC_GSS are. */
enum export_sec { SEC_SYS, SEC_KRB5, SEC_KRB5I, SEC_KRB5P, SEC_COUNT };
enum export_match { MATCH_ANY, MATCH_NET, MATCH_NAME, MATCH_NETGROUP };

/* An address as 16 bytes; v4 mapped into v6. */
struct export_addr {
	uint8_t b[16];
};

/* A host, or "@" and a netgroup, of all rules of a table that say so: export_resolve.c. */
struct export_name {
	const char *text;	  /* a rule's */
	struct export_addr *host; /* what it means, in order */
	unsigned nhost;
	bool unsure;	   /* not all of it was found yet: there may be more */
	uint64_t since_ns; /* it is in a table */
	uint64_t found_ns; /* when it was looked up last, and all were found; 0: never */
};

struct export_rule {
	enum export_match match;
	struct export_addr net;	  /* MATCH_NET */
	unsigned prefix;	  /* of 128 bits */
	char *text;		  /* as configured */
	struct export_name *name; /* MATCH_NAME, MATCH_NETGROUP: the table's; NULL: in none yet */
	uint8_t sec[SEC_COUNT];	  /* enum export_sec, the preferred first */
	unsigned nsec, sec_mask;
	bool read_write, secure_port;
	unsigned xprt; /* 1 << enum rpc_xprt of connections that are admitted */
	enum export_squash squash;
	uint32_t anon_uid, anon_gid;
};

/* Another head of the array, and where it serves: universal addresses. */
struct export_head {
	char *name;
	char **addresses;
	unsigned naddresses;
};

struct export
{
	uint64_t id;
	const struct export_head *head; /* that serves it; NULL: this one */
	uint64_t fs_id;			/* of its file system; with head */
	char *path;			/* "/demo": starts with a slash, ends without (but "/") */
	char *fs;			/* name of the file system */
	char *subdir;			/* "/": its root */
	struct export_rule *rules;
	unsigned nrules;
	/* Where it begins, once somebody had to know; see nfs_export_find(). */
	bool root_known;
	struct fs_fid root;
};

struct export_table {
	unsigned refs;
	uint64_t generation;
	struct export *exports; /* its own, then those of other heads */
	unsigned count;
	struct export_head *heads;
	unsigned nheads;
	struct export_name *names; /* in order of text */
	unsigned nnames;
	uint32_t *slots;   /* hash of exports by id: 1 + index; 0: free */
	unsigned nslots;   /* a power of two, more than exports */
	unsigned sec_mask; /* of all rules, and SEC_SYS */
};

/* Of a configuration's exports, elsewhere and heads. Entries with problems are logged and left out;
 * *ret_bad (may be NULL) counts them. */
int export_table_new(struct export_table **ret, const Isthmus__NasConfig *cfg, uint64_t generation,
		     unsigned *ret_bad);
void export_table_get(struct export_table *t);
void export_table_put(struct export_table *t);

/* The name of a table with this text; NULL: none. */
struct export_name *export_name_find(const struct export_table *t, const char *text);

const struct export *export_by_id(const struct export_table *t, uint64_t id);
struct fh;
/* The export of another head that a handle is of; NULL: none. */
const struct export *export_elsewhere(const struct export_table *t, const struct fh *fh);
/* The export whose path is the longest whole-component prefix of path; *ret_rest is what follows
 * (without a leading slash). NULL: none. */
const struct export *export_by_path(const struct export_table *t, const char *path,
				    const char **ret_rest);

/* The first rule that matches the peer; NULL: no access, or with *ret_unsure (may be NULL) it
 * cannot be said before some name is looked up. */
const struct export_rule *export_match_rule(const struct export *e,
					    const struct sockaddr_storage *peer, bool *ret_unsure);
struct export_addr export_addr_of(const struct sockaddr_storage *sa);
/* "*", "10.0.0.0/8", "10.0.0.0/255.0.0.0", "fd00::/8", "192.0.2.1", a host name, "@netgroup". */
int export_rule_parse(struct export_rule *r, const char *match);

/* A connection of this kind is what the rule asks for. */
bool export_rule_takes(const struct export_rule *r, enum rpc_xprt x);
/* Does the rule take calls of this flavour? AUTH_NONE goes with AUTH_SYS (RFC 2623 2.3). */
bool export_sec_allows(const struct export_rule *r, const struct rpc_cred *cred);
/* Who acts: the call's credentials after squashing. */
void export_squash(const struct export_rule *r, const struct rpc_cred *from, struct fs_cred *to);

#endif
