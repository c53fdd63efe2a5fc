/*
 * The iSCSI target (RFC 7143): portals, connections, sessions. Commands go to
 * server/scsi through scsi.h.
 */
#ifndef ISTHMUS_SERVER_ISCSI_H
#define ISTHMUS_SERVER_ISCSI_H

#include <stdint.h>

struct iscsi_server;
struct reactor;
struct scsi_registry;

struct iscsi_opts {
	struct scsi_registry *registry;
	struct reactor **reactors; /* connections are spread over these; portals listen on [0] */
	unsigned nreactors;
	const char *const *portals; /* "0.0.0.0:3260", "[::]:3260,2": with their group's tag */
	unsigned nportals;
	/* Of the partner, each with its tag: told in discovery as well. */
	const char *const *partner_portals;
	unsigned npartner_portals;
	unsigned max_connections; /* 0: 1024 */
	unsigned login_timeout_s; /* 0: 15 */
	unsigned nop_interval_s;  /* 0: 30; a silent peer is asked for a sign of life */
	unsigned nop_timeout_s;	  /* 0: 30; and dropped when it gives none */
	unsigned
	    data_timeout_s;    /* 0: 30; a write's data must go on coming, or the peer is dropped */
	unsigned logout_s;     /* 0: 2; time to log out when asked to */
	unsigned chap_allowed; /* bits of iscsi_chap_algorithm(); 0: all */
};
/* -EADDRINUSE etc. with the portal in the log. */
int iscsi_server_start(struct iscsi_server **ret, const struct iscsi_opts *o);
/* Waits. Asks initiators to log out (asynchronous message), drops those that have not within
 * logout_s, and closes. */
void iscsi_server_stop(struct iscsi_server *s);

/* The bit of "md5", "sha1", "sha256" or "sha3-256"; 0: none of these. */
unsigned iscsi_chap_algorithm(const char *name);

/* Asks the initiators of these sessions to log out; those that have not after so many seconds are
 * dropped. Returns how many. Never waits; any thread. */
unsigned iscsi_server_ask_logout(struct iscsi_server *s, const char *target, const char *initiator,
				 unsigned seconds);
/* Ends the sessions at a target (NULL: any) of an initiator (NULL: all): a target was removed, an
 * initiator is admitted no longer. Returns how many. Never waits; any thread. */
unsigned iscsi_server_kick(struct iscsi_server *s, const char *target, const char *initiator);
/* The port the i-th portal listens on (for portals with port 0). */
unsigned iscsi_server_port(const struct iscsi_server *s, unsigned i);

struct admin_server;
/* Verbs session.list, connection statistics for `top`. */
int iscsi_admin_register(struct iscsi_server *s, struct admin_server *a);

#endif
