#include "runtime/err.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct {
	const char *name;
	const char *text;
	int err;
} private_errors[] = {
    [ERR_PROTO - ERR_PROTO] = {"PROTO", "the peer broke the protocol", EPROTO},
    [ERR_EPOCH_STALE - ERR_PROTO] = {"EPOCH_STALE", "fenced: a newer owner has taken over", ESTALE},
    [ERR_CORRUPT -
	ERR_PROTO] = {"CORRUPT", "damaged: checksum or self-description do not hold", EIO},
    [ERR_VERSION -
	ERR_PROTO] = {"VERSION", "a format or protocol version not spoken here", EPROTONOSUPPORT},
    [ERR_CONFIG - ERR_PROTO] = {"CONFIG", "the configuration is wrong", EINVAL},
    [ERR_MEDIUM - ERR_PROTO] = {"MEDIUM", "unrecovered read error on every copy", EIO},
    [ERR_SHUTDOWN - ERR_PROTO] = {"SHUTDOWN", "the service is being stopped", ESHUTDOWN},
    [ERR_DISCONNECTED - ERR_PROTO] = {"DISCONNECTED", "the peer went away", ENOTCONN},
    [ERR_WRITE_PROTECT - ERR_PROTO] = {"WRITE_PROTECT", "write-protected", EROFS},
    [ERR_FOREIGN - ERR_PROTO] = {"FOREIGN", "belongs to something else", EBUSY},
    [ERR_DEGRADED - ERR_PROTO] = {"DEGRADED", "refused: redundancy is not whole", EIO},
    [ERR_MISCOMPARE - ERR_PROTO] = {"MISCOMPARE", "the data compared and differed", EILSEQ},
    [ERR_NOT_OWNER - ERR_PROTO] = {"NOT_OWNER", "another controller is in charge of it", EREMOTE},
    [ERR_LEFT - ERR_PROTO] = {"LEFT", "a read was left behind with its memory", EIO},
};

_Static_assert(sizeof(private_errors) / sizeof(private_errors[0]) == ERR_LAST - ERR_PROTO,
	       "every private error has a row");

const char *err_name(int err)
{
	int e = abs(err);
	if (e >= ERR_PROTO && e < ERR_LAST)
		return private_errors[e - ERR_PROTO].name;
	const char *name = strerrorname_np(e);
	return name ? name : "UNKNOWN";
}

const char *err_text(int err)
{
	int e = abs(err);
	if (e >= ERR_PROTO && e < ERR_LAST)
		return private_errors[e - ERR_PROTO].text;
	const char *text = strerrordesc_np(e);
	return text ? text : "unknown error";
}

int err_errno(int err)
{
	int e = abs(err);
	if (e >= ERR_PROTO && e < ERR_LAST)
		return private_errors[e - ERR_PROTO].err;
	return e;
}
