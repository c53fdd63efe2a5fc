/*
 * The interconnect of simulated controllers (blockcore/link/link_ops.h): pipes between nodes on
 * virtual time. What is sent arrives after a delay from the seed, in order, in pieces of any size;
 * a sender sees buffers run full. Routes are cut and restored by name; a killed node's pipes end
 * at the other side, with what it had sent before; nothing that it does later is seen.
 */
#ifndef ISTHMUS_TESTS_SIM_LINK_H
#define ISTHMUS_TESTS_SIM_LINK_H

#include "blockcore/link/link_ops.h"
#include "tests/sim/sim_node.h"

struct sim_net;

/* same_host: who talks to a node knows its process, and can kill it. */
struct sim_net *sim_net_new(struct sim *s, bool same_host);
/* All links must be closed; before or after sim_free(). */
void sim_net_free(struct sim_net *n);
/* Default 10 to 100 us. */
void sim_net_delay(struct sim_net *n, uint64_t min_ns, uint64_t max_ns);

/* A kill lands so long after it was sent, as a signal to another CPU does. Default: at once. */
void sim_net_kill_delay(struct sim_net *n, uint64_t ns);

/* link_opts.ops and .ops_arg of a link that runs in this life of the node; routes are of the
 * transport LINK_SIM and any names. */
extern const struct link_ops sim_link_ops;
void *sim_net_port(struct sim_net *n, struct sim_node *node);

enum sim_cut {
	SIM_CUT_RESET,	/* pipes break at once, at both ends; what was on its way is lost */
	SIM_CUT_SILENT, /* nothing arrives any more, not even that the other end closed */
};
/* The route one of whose ends has this name: pipes that are, and pipes to be. */
void sim_net_cut(struct sim_net *n, const char *name, enum sim_cut how);
/* What silence held back arrives. */
void sim_net_restore(struct sim_net *n, const char *name);
void sim_net_restore_all(struct sim_net *n);

#endif
