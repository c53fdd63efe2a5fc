/*
 * The partner of a controller process: control memory, the link, its cache segment mapped here, and
 * who is told of its coming and going. All on the core's reactor, in tasks.
 *
 * Order of start: partner_open() (joins the control memory), core_open() with partner_duplex(),
 * partner_link() (begins to look for the partner), the rest, partner_serve() (from here on the
 * partner's coming and going is acted on). Stop: partner_quiet(), connections and channels,
 * partner_unlink(), targets, core_close(), partner_close().
 */
#ifndef ISTHMUS_SERVER_CONTROLLER_PARTNER_H
#define ISTHMUS_SERVER_CONTROLLER_PARTNER_H

#include <stdbool.h>
#include <stdint.h>
#include "blockcore/core_own.h"
#include "runtime/config_file.h"

struct core;
struct partner;
struct scsi_registry;

/* NULL in *ret where the configuration names no partner. Events say what is wrong. */
int partner_open(struct partner **ret, const struct config_file *config,
		 const struct config_controller *me);
/* For core_opts. NULL without a partner. */
const struct core_duplex *partner_duplex(const struct partner *p);
/* Waits. After core_open(). */
int partner_link(struct partner *p, struct core *core, uint32_t pages);
/* Portals as the configuration has them, each with its group's tag; NULL-ended, freed with p. */
const char *const *partner_portals(const struct partner *p);
/* The partner's. */
const char *const *partner_far_portals(const struct partner *p);
/* Right after the portals were opened: no nexus has come yet. -EEXIST: a portal group has portals
 * of both (event). */
int partner_scsi(struct partner *p, struct scsi_registry *r);
void partner_serve(struct partner *p);
/* Waits. Gives the partner what it takes; its coming and going is not acted on any more. */
void partner_quiet(struct partner *p);
void partner_unlink(struct partner *p); /* waits */
void partner_close(struct partner *p);

#endif
