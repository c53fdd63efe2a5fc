/*
 * Who may mount an export, as an admin writes it: MATCH[:OPTION,OPTION…]
 *
 *   MATCH    "*", an address, a network "10.0.0.0/8" or "fd00::/8", a host name, a netgroup
 *            "@builders"; IPv6 with options goes in brackets: "[fd00::1]:rw", "[fd00::/8]:rw"
 *   OPTION   rw, ro (default), root_squash (default), no_root_squash, all_squash,
 *            anonuid=N, anongid=N (default 65534), secure, insecure (default),
 *            sec=FLAVOUR:... in order of preference, of sys (default), krb5, krb5i, krb5p,
 *            xprtsec=KIND:... of none, tls, mtls: what a connection has to be (default any)
 */
#ifndef ISTHMUS_BLOCKCORE_EXPORT_RULE_H
#define ISTHMUS_BLOCKCORE_EXPORT_RULE_H

#include <stddef.h>
#include "proto/meta.pb-c.h"

#define EXPORT_RULE_DEFAULT "*:rw,root_squash"

/* 0, -ENOMEM, or -EINVAL with why (256 bytes): a sentence that names the part. */
int export_rule_parse(const char *text, Isthmus__ExportClient **ret, char *why);
/* The reverse, for lists. */
void export_rule_format(const Isthmus__ExportClient *c, char *ret, size_t len);

#endif
