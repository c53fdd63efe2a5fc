/* A whole iSCSI target over volumes in memory, on reactors of its own, for tests. */
#ifndef ISTHMUS_TESTS_ISCSI_TARGET_H
#define ISTHMUS_TESTS_ISCSI_TARGET_H

#include "runtime/reactor.h"
#include "server/iscsi/iscsi.h"
#include "tests/unit/scsi/fake_volume.h"

#define TARGET_OPEN   "iqn.2026-01.org.example:open"
#define TARGET_CHAP   "iqn.2026-01.org.example:chap"
#define TARGET_MASKED "iqn.2026-01.org.example:masked"
#define HOST	      "iqn.2026-01.org.example:host"
#define CHAP_SECRET   "initiatorsecret"
#define CHAP_MUTUAL   "targetsecret1"

struct target {
	struct core *core;
	struct scsi_registry *registry;
	struct reactor *reactors[4];
	unsigned nreactors;
	struct iscsi_server *server;
	struct volume *volume; /* LUN 0 of the open target, 512-byte blocks */
	unsigned port;
};

/*
 * Targets without the network part: TARGET_OPEN has LUN 0 and asks for nothing; TARGET_CHAP wants
 * user "user" with CHAP_SECRET and shows "target" with CHAP_MUTUAL; TARGET_MASKED admits nobody.
 */
void target_make(struct target *t, uint64_t size);
void target_free(struct target *t);
/* Reactors in threads, and a portal on the loopback. */
void target_start(struct target *t, unsigned nreactors, const char *portal,
		  const struct iscsi_opts *limits);
/* The same on several; port is the first one's. */
void target_start_on(struct target *t, unsigned nreactors, const char *const *portals,
		     unsigned nportals, const struct iscsi_opts *limits);
void target_stop(struct target *t);

#endif
