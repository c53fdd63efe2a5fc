/*
 * A realm of Kerberos for tests: a KDC from the distribution on a port of loopback, with its
 * database, configuration and keytabs in a directory of its own. Nothing of the host's is used.
 */
#ifndef ISTHMUS_TESTS_KRB_WORLD_H
#define ISTHMUS_TESTS_KRB_WORLD_H

#include <stdint.h>
#include <sys/types.h>

#define KRB_REALM "TEST.ISTHMUS"

struct krb_world {
	char dir[64];
	char keytab[96];  /* of nfs/localhost */
	char clients[96]; /* of the users */
	pid_t kdc;
	uint16_t port;
};

/*
 * Makes it, with nfs/localhost and the users alice, bob, carol, daemon and host/client, and sets
 * KRB5_CONFIG and the like for this process. Aborts when the KDC does not come up.
 */
void krb_up(struct krb_world *w);
void krb_down(struct krb_world *w);
/* A command of /bin/sh with %s for the directory; aborts when it fails. */
void krb_shell(const struct krb_world *w, const char *command);

#endif
