/*
 * Whether an ArrayMeta message makes sense: names, references, ranges. Used on
 * what was read from disks (hostile until checked) and before every commit.
 */
#ifndef ISTHMUS_BLOCKCORE_META_CHECK_H
#define ISTHMUS_BLOCKCORE_META_CHECK_H

#include <stdbool.h>
#include "proto/meta.pb-c.h"

/* 3: target ports, reservations; 4: limits of volumes; 5: spares; 6: owners and epochs of pools,
 * stripe log, extents of whole rows; 7: instances of heads, memory of pools; 8: a number for each
 * target port; 9: pools of several RAID groups; 10: flavours of exports;
 * 11: security of their connections; 12: checksums of pages; 13: the software volume;
 * 14: where heads keep their state */
#define META_VERSION	    14
#define META_VERSION_OLDEST 1 /* what it lacks has the value it meant then, or is added */
#define META_WHY_LEN	    256

/* Pool.checksums */
#define META_CHECKSUMS_CRC32C 1

/* Bounds of what one array holds. */
#define META_ADDRESS_MAX   127
#define META_PORTAL_GROUPS 64
#define META_POOLS_MAX	   256
#define META_POOL_DISKS	   64
#define META_POOL_GROUPS   32
#define META_PARITY_DISKS  32
#define META_VOLUMES_MAX   65536
#define META_LUN_MAX	   16383
#define META_HEADS_MAX	   256
#define META_EXTENT_MIN	   (1024 * 1024ull)
#define META_EXTENT_MAX	   (1024 * 1024 * 1024ull)
#define META_IOPS_MAX	   1000000000ull
#define META_BANDWIDTH_MIN 65536 /* bytes a second */
#define META_BANDWIDTH_MAX (1ull << 50)
#define META_BURST_S	   3600
#define META_POOL_SIZE_MAX (1ull << 60)

/* 0 or -ERR_CORRUPT (-ERR_VERSION); why names the field and what is wrong with it. */
int meta_check(const Isthmus__ArrayMeta *am, char *why);

/* [A-Za-z0-9][A-Za-z0-9_.-]{0,62} */
bool meta_name_ok(const char *name);
/* Disks of one column; 0 when the level is unknown or cannot have so many disks. */
unsigned meta_level_copies(const char *level, unsigned ndisks);
/* "krb5p:krb5:sys": known flavours of RPC security, each once. */
bool meta_sec_ok(const char *sec);
/* "tls:mtls": kinds of connections (none, tls, mtls), each once. */
bool meta_xprtsec_ok(const char *xprtsec);
/* Chunks of a row that are parity: 1 for raid5, 2 for raid6, else 0. */
unsigned meta_level_parity(const char *level);

#endif
