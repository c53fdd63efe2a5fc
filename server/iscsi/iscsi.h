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
	unsigned max_connections; /* 0: 1024 */
	unsigned login_timeout_s; /* 0: 15 */
	unsigned nop_interval_s;  /* 0: 30; a silent peer is dropped after two */
	unsigned chap_allowed;	  /* bits of algorithms (chap.h); 0: all */
	unsigned
	    data_timeout_s; /* 0: 30; a write's data must go on coming, or the peer is dropped */
};
/* -EADDRINUSE etc. with the portal in the log. */
int iscsi_server_start(struct iscsi_server **ret, const struct iscsi_opts *o);
/* Waits. Logs sessions out (asynchronous message) and closes. */
void iscsi_server_stop(struct iscsi_server *s);

/* Ends the sessions at a target (NULL: any) of an initiator (NULL: all): a target was removed, an
 * initiator is admitted no longer. Returns how many. Never waits; any thread. */
unsigned iscsi_server_kick(struct iscsi_server *s, const char *target, const char *initiator);
/* The port the i-th portal listens on (for portals with port 0). */
unsigned iscsi_server_port(const struct iscsi_server *s, unsigned i);

struct admin_server;
/* Verbs session.list, connection statistics for `top`. */
int iscsi_admin_register(struct iscsi_server *s, struct admin_server *a);

#endif
