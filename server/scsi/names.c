/*
 * iSCSI names (RFC 7143 4.2.7) and CHAP secrets (9.2.1).
 *
 *   iqn.  yyyy-mm.reversed.domain[:anything]   eui. 16 hex digits   naa. 16 or 32 hex digits
 *
 * Names are at most 223 bytes of letters, digits, '-', '.' and ':' (RFC 3722 for
 * ASCII) and are folded to lower case, in which they are compared. Names of other
 * scripts are not accepted.
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include "blockcore/control/meta_check.h"
#include "server/scsi/scsi_priv.h"

#define WHY_SIZE   256
#define SECRET_MIN 12 /* 96 bits, the least without IPsec */
#define SECRET_MAX 255

#define REFUSE(...)                                                                                \
	do {                                                                                       \
		snprintf(why, WHY_SIZE, __VA_ARGS__);                                              \
		return -EINVAL;                                                                    \
	} while (0)

static bool all_hex(const char *s)
{
	return s[strspn(s, "0123456789abcdef")] == 0;
}

/* After "iqn.": a year and month, and a domain whose labels are not empty. */
static bool iqn_ok(const char *s)
{
	for (int i = 0; i < 7; i++)
		if (i == 4 ? s[i] != '-' : !isdigit((unsigned char)s[i]))
			return false;
	int month = (s[5] - '0') * 10 + s[6] - '0';
	if (month < 1 || month > 12 || s[7] != '.')
		return false;
	s += 8;
	const char *end = strchrnul(s, ':');
	if (s == end || s[0] == '.' || end[-1] == '.')
		return false;
	for (const char *p = s; p < end; p++)
		if (p[0] == '.' && p[1] == '.')
			return false;
	return end[0] == 0 || end[1] != 0;
}

int iscsi_name_check(const char *name, char *ret, char *why)
{
	size_t n = strlen(name);
	if (n > SCSI_NAME_MAX)
		REFUSE("an iSCSI name has at most %d bytes, this one has %zu", SCSI_NAME_MAX, n);
	for (size_t i = 0; i <= n; i++) {
		unsigned char ch = (unsigned char)name[i];
		if (ch && !(ch < 0x80 && (isalnum(ch) || strchr("-.:", ch))))
			REFUSE("byte %zu of the name is not a letter, a digit, '-', '.' or ':'",
			       i + 1);
		ret[i] = (char)tolower(ch);
	}
	const char *rest = ret + 4;
	if (!strncmp(ret, "iqn.", 4)) {
		if (!iqn_ok(rest))
			REFUSE("after `iqn.` come year-month, a reversed domain, and perhaps a "
			       "colon with a name");
	} else if (!strncmp(ret, "eui.", 4)) {
		if (n != 20 || !all_hex(rest))
			REFUSE("after `eui.` come 16 hexadecimal digits");
	} else if (!strncmp(ret, "naa.", 4)) {
		if ((n != 20 && n != 36) || !all_hex(rest))
			REFUSE("after `naa.` come 16 or 32 hexadecimal digits");
	} else {
		REFUSE("an iSCSI name begins with `iqn.`, `eui.` or `naa.`");
	}
	return 0;
}

static bool port_ok(const char *s)
{
	size_t n = strspn(s, "0123456789");
	unsigned long port = strtoul(s, NULL, 10);
	return n > 0 && n <= 5 && !s[n] && port >= 1 && port <= 65535;
}

bool iscsi_address_ok(const char *s)
{
	static const char host[] =
	    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-";
	char ip[INET6_ADDRSTRLEN];
	struct in6_addr in6;
	size_t n;
	if (strlen(s) > META_ADDRESS_MAX)
		return false;
	if (*s != '[') {
		n = strspn(s, host);
		return n > 0 && (!s[n] || (s[n] == ':' && port_ok(s + n + 1)));
	}
	n = strcspn(++s, "]");
	if (n >= sizeof(ip) || !s[n])
		return false;
	memcpy(ip, s, n);
	ip[n] = 0;
	s += n + 1;
	return inet_pton(AF_INET6, ip, &in6) == 1 && (!*s || (*s == ':' && port_ok(s + 1)));
}

int chap_secret_check(const char *secret, char *why)
{
	size_t n = strlen(secret);
	if (n < SECRET_MIN || n > SECRET_MAX)
		REFUSE("a CHAP secret has %d to %d bytes, this one has %zu", SECRET_MIN, SECRET_MAX,
		       n);
	return 0;
}
