/*
 * Hosts of a simulated array: initiators that reach it through a portal on each controller, and
 * use another path when one fails, as dm-multipath does.
 *
 * A path is lost when its controller dies; what was under way on it has no answer then, and is
 * tried again on another. A path that only says nothing is waited for.
 */
#ifndef ISTHMUS_TESTS_SIM_HOST_H
#define ISTHMUS_TESTS_SIM_HOST_H

#include "tests/sim/sim_node.h"
#include "server/scsi/scsi.h"

#define SIM_PORTALS_MAX 4

/* A controller's portal, kept by whoever starts and stops the controller. */
struct sim_portal {
	struct sim_node *node;
	struct scsi_registry *registry; /* NULL: not in service */
	const char *target;
	uint16_t group;
	unsigned commands; /* of hosts, in the controller */
};

struct sim_host;
struct sim_host *sim_host_new(struct sim *s, const char *iqn, struct sim_portal *portals,
			      unsigned nportals);
void sim_host_free(struct sim_host *h);
/* Its sessions through a portal end: in a task of the portal's node, before the registry is freed.
 */
void sim_host_logout(struct sim_host *h, struct sim_portal *p);

struct sim_io {
	uint8_t lun;
	uint8_t cdb[16];
	const void *out; /* data the host sends */
	uint32_t out_len;
	void *in; /* and receives */
	uint32_t in_len;

	/* What came of it. */
	uint8_t status;
	uint32_t sense;	   /* key << 16 | asc << 8 | ascq */
	unsigned attempts; /* more than one: it may have been carried out more than once */
	unsigned portal;   /* that answered */
};

/*
 * Waits, in a task of the world. first: the portal that is tried first. 0: an answer that is no
 * reason to try again (status says which); -ETIMEDOUT: none in timeout_ns, by any path; -EHOSTDOWN:
 * none, and the power is off.
 */
int sim_host_io(struct sim_host *h, struct sim_io *io, unsigned first, uint64_t timeout_ns);
/* The same on this path alone: -ENOTCONN: it was lost, and whether the command was carried out is
 * not known; -EAGAIN: answered with a status that is a reason to try again. */
int sim_host_once(struct sim_host *h, struct sim_io *io, unsigned portal, uint64_t timeout_ns);

#endif
