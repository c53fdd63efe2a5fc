/* Asymmetric logical unit access: target port groups and their states (alua.c). */
#ifndef ISTHMUS_SERVER_SCSI_ALUA_H
#define ISTHMUS_SERVER_SCSI_ALUA_H

#include "server/scsi/scsi_priv.h"

/* A row for the portal group tag of a further controller, whose group that is. 0; -1: no room.
 * Before sessions use it. */
int alua_add_ports(struct alua *a, uint16_t tag, uint16_t group);
/* The group of this controller, when it is not the first. Before sessions. */
void alua_set_group(struct alua *a, uint16_t group);
/* With a partner. A new unit: where its volume is. */
void alua_place(struct scsi_registry *r, struct scsi_lu *lu);
/* With the registry lock: it may have come, gone, or begun to move; nexuses are told. */
void alua_follow(struct scsi_registry *r, struct scsi_lu *lu);
/* On the metadata's reactor: whose it is to be by the metadata. */
void alua_prefer(struct scsi_registry *r, struct scsi_lu *lu, const Isthmus__ArrayMeta *am);
/* The group of a nexus's target port. */
uint16_t alua_group(const struct scsi_nexus *n);

/* Any thread, without the registry lock; nexuses are told. by: who asked; NULL: the array itself.
 * True: it was another's. */
bool alua_set_owner(struct scsi_registry *r, struct scsi_lu *lu, uint16_t group,
		    const struct scsi_nexus *by);
/* Ownership begins to move, or has come to rest. */
void alua_set_moving(struct scsi_registry *r, struct scsi_lu *lu, bool moving);
/* A group is reachable (ALUA_OPTIMIZED), or only standby or unavailable for all units. */
void alua_set_reach(struct scsi_registry *r, uint16_t group, enum alua_state reach);

#endif
