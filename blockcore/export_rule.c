/* See export_rule.h. */
#include "blockcore/export_rule.h"
#include "blockcore/control/meta.h"
#include "blockcore/control/meta_check.h"
#include "runtime/check.h"
#include <arpa/inet.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WHY_LEN	   256
#define ANON_ID	   65534
#define MATCH_MAX  255
#define OPTION_MAX 64

static bool option_set(Isthmus__ExportClient *c, const char *o)
{
	static const struct {
		const char *name, *squash;
	} squashes[] = {{"root_squash", "root"}, {"no_root_squash", "none"}, {"all_squash", "all"}};
	for (size_t i = 0; i < ARRAY_LEN(squashes); i++)
		if (strcmp(o, squashes[i].name) == 0)
			return pb_set_text(&c->squash, squashes[i].squash) == 0;
	if (strcmp(o, "rw") == 0 || strcmp(o, "ro") == 0) {
		c->read_write = o[1] == 'w';
		return true;
	}
	if (strcmp(o, "secure") == 0 || strcmp(o, "insecure") == 0) {
		c->secure_port = o[0] == 's';
		return true;
	}
	if (strncmp(o, "sec=", 4) == 0)
		return meta_sec_ok(o + 4) && pb_set_text(&c->sec, o + 4) == 0;
	if (strncmp(o, "xprtsec=", 8) == 0)
		return meta_xprtsec_ok(o + 8) && pb_set_text(&c->xprtsec, o + 8) == 0;
	uint32_t *id = strncmp(o, "anonuid=", 8) == 0	? &c->anon_uid
		       : strncmp(o, "anongid=", 8) == 0 ? &c->anon_gid
							: NULL;
	if (!id || o[8] < '0' || o[8] > '9')
		return false;
	char *end;
	unsigned long long v = strtoull(o + 8, &end, 10);
	if (*end || v > UINT32_MAX)
		return false;
	*id = (uint32_t)v;
	return true;
}

static int options_set(Isthmus__ExportClient *c, const char *text, char *why)
{
	while (*text) {
		char o[OPTION_MAX];
		size_t n = strcspn(text, ",");
		snprintf(o, sizeof(o), "%.*s", (int)MIN(n, sizeof(o) - 1), text);
		if (n >= sizeof(o) || !option_set(c, o)) {
			snprintf(
			    why, WHY_LEN,
			    "'%s' is no option of a client rule; rw, ro, root_squash, "
			    "no_root_squash, all_squash, anonuid=N, anongid=N, secure, insecure, "
			    "sec=sys:krb5:krb5i:krb5p, xprtsec=none:tls:mtls",
			    o);
			return -EINVAL;
		}
		text += n + (text[n] == ',');
	}
	return 0;
}

/* "address/bits" */
static bool network_ok(const char *m)
{
	char addr[64], bits[4];
	uint8_t raw[16];
	const char *slash = strchr(m, '/');
	size_t n = (size_t)(slash - m);
	if (n >= sizeof(addr) || strlen(slash + 1) >= sizeof(bits) || !slash[1] ||
	    strspn(slash + 1, "0123456789") != strlen(slash + 1))
		return false;
	memcpy(addr, m, n);
	addr[n] = '\0';
	snprintf(bits, sizeof(bits), "%.3s", slash + 1);
	unsigned b = (unsigned)atoi(bits);
	if (inet_pton(AF_INET, addr, raw) == 1)
		return b <= 32;
	return inet_pton(AF_INET6, addr, raw) == 1 && b <= 128;
}

/* Heads leave an export out whose rules they do not understand: what they take, and no more. */
static bool match_ok(const char *m)
{
	static const char name[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-";
	uint8_t raw[16];
	if (strcmp(m, "*") == 0)
		return true;
	if (strchr(m, '/'))
		return network_ok(m);
	if (strchr(m, ':'))
		return inet_pton(AF_INET6, m, raw) == 1;
	if (strspn(m, "0123456789.") == strlen(m))
		return inet_pton(AF_INET, m, raw) == 1;
	m += *m == '@';
	return *m && strspn(m, name) == strlen(m);
}

/* Where the options start (behind the colon); the end of the text when there are none. */
static const char *split(const char *text, const char **match, size_t *n)
{
	const char *colon = strrchr(text, ':'), *close = strchr(text, ']');
	*match = text;
	if (text[0] == '[' && close) {
		*match = text + 1;
		*n = (size_t)(close - text - 1);
		const char *rest = strchr(close, '/') ? close : close + 1; /* "[a]/64" is refused */
		return *rest == ':' ? rest + 1 : rest;
	}
	/* An IPv6 address without brackets has colons of its own, and no options; flavours have
	 * some behind an equals sign. */
	const char *first = strchr(text, ':');
	if (first && strchr(first, '='))
		colon = first;
	if (!colon || first != colon) {
		*n = strlen(text);
		return text + *n;
	}
	*n = (size_t)(colon - text);
	return colon + 1;
}

int export_rule_parse(const char *text, Isthmus__ExportClient **ret, char *why)
{
	char m[MATCH_MAX + 1];
	const char *start;
	size_t n;
	const char *options = split(text, &start, &n);
	snprintf(m, sizeof(m), "%.*s", (int)MIN(n, sizeof(m) - 1), start);
	if (n > MATCH_MAX || !match_ok(m)) {
		snprintf(why, WHY_LEN,
			 "'%.80s' is no client; * (alone), an address, a network like 10.0.0.0/8, "
			 "a host "
			 "name or a @netgroup",
			 m);
		return -EINVAL;
	}
	Isthmus__ExportClient *c = malloc(sizeof(*c));
	if (!c)
		return -ENOMEM;
	isthmus__export_client__init(c);
	c->anon_uid = c->anon_gid = ANON_ID;
	int rc = pb_set_text(&c->match, m);
	if (rc == 0)
		rc = pb_set_text(&c->squash, "root");
	if (rc == 0)
		rc = options_set(c, options, why);
	if (rc) {
		isthmus__export_client__free_unpacked(c, NULL);
		return rc;
	}
	*ret = c;
	return 0;
}

void export_rule_format(const Isthmus__ExportClient *c, char *ret, size_t len)
{
	const char *squash = strcmp(c->squash, "none") == 0  ? "no_root_squash"
			     : strcmp(c->squash, "all") == 0 ? "all_squash"
							     : "root_squash";
	bool v6 = strchr(c->match, ':') != NULL;
	int at = snprintf(ret, len, "%s%s%s:%s,%s", v6 ? "[" : "", c->match, v6 ? "]" : "",
			  c->read_write ? "rw" : "ro", squash);
	if (at < 0 || (size_t)at >= len)
		return;
	if (c->anon_uid != ANON_ID || c->anon_gid != ANON_ID)
		at += snprintf(ret + at, len - (size_t)at, ",anonuid=%u,anongid=%u", c->anon_uid,
			       c->anon_gid);
	if (c->secure_port && (size_t)at < len)
		at += snprintf(ret + at, len - (size_t)at, ",secure");
	if (*c->sec && (size_t)at < len)
		at += snprintf(ret + at, len - (size_t)at, ",sec=%s", c->sec);
	if (*c->xprtsec && (size_t)at < len)
		snprintf(ret + at, len - (size_t)at, ",xprtsec=%s", c->xprtsec);
}
