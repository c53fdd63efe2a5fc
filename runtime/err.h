/*
 * Error codes. Functions return 0 (or a count) on success and a negative code
 * on failure: a negative errno where one says exactly what happened, else one
 * of the private codes below, which name the case and are mapped to an errno,
 * sense code or nfsstat at the edge where a protocol asks for one.
 */
#ifndef ISTHMUS_RUNTIME_ERR_H
#define ISTHMUS_RUNTIME_ERR_H

enum {
	ERR_PROTO = 4096,  /* a peer broke its protocol */
	ERR_EPOCH_STALE,   /* the caller's epoch is older than the owner's: fenced */
	ERR_CORRUPT,	   /* a checksum or a self-description does not hold */
	ERR_VERSION,	   /* a format or protocol version we do not speak */
	ERR_CONFIG,	   /* the configuration is wrong; a message says where */
	ERR_MEDIUM,	   /* the data is lost on every copy (unrecovered read error) */
	ERR_SHUTDOWN,	   /* the service is being stopped */
	ERR_DISCONNECTED,  /* the peer of a channel or link went away */
	ERR_WRITE_PROTECT, /* the volume, LUN or export is read-only */
	ERR_FOREIGN,	   /* the disk or volume belongs to something else */
	ERR_DEGRADED,	   /* refused because redundancy is not whole */
	ERR_MISCOMPARE,	   /* data compared and differed */
	ERR_NOT_OWNER,	   /* another controller is in charge of the volume: ask there */
	ERR_LEFT,	   /* a read was left behind, and the memory that was lent for it */
	ERR_LAST
};

/* A short name, "EPOCH_STALE" or "ENOSPC", for logs. Never NULL. `err` may be of either sign. */
const char *err_name(int err);

/* A sentence for people. Never NULL. */
const char *err_text(int err);

/* The nearest errno (positive) of a negative code. */
int err_errno(int err);

#endif
