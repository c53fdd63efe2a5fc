/*
 * Persistent reservations (SPC-4 5.12): the record of a volume, what PERSISTENT RESERVE OUT does to
 * it, and the copies commands look at. The record is in the array metadata (blockcore/control).
 */
#ifndef ISTHMUS_SERVER_SCSI_PERSISTENT_H
#define ISTHMUS_SERVER_SCSI_PERSISTENT_H

#include "blockcore/control/meta_scsi.h"
#include "server/scsi/scsi_priv.h"

/* ---- I_T nexuses by name ---- */

/* Texts are borrowed. */
struct pr_port {
	const char *initiator, *target;
	bool any_isid; /* all ports of the initiator */
	uint8_t isid[6];
	uint16_t tpgt;
};
struct pr_port pr_port_of(const struct scsi_nexus *n);
bool pr_port_is(const Isthmus__Registration *g, const struct pr_port *p);
/* The registration of a nexus: its own, or that of all ports of its initiator. NULL: none. */
Isthmus__Registration *pr_find(const Isthmus__Reservation *v, const struct pr_port *p);
/* Does it hold the reservation? */
bool pr_holds(const Isthmus__Reservation *v, const Isthmus__Registration *g);

/* ---- what the service actions do (pr_change.c): pure ---- */

enum pr_action {
	PR_REGISTER,
	PR_RESERVE,
	PR_RELEASE,
	PR_CLEAR,
	PR_PREEMPT,
	PR_PREEMPT_ABORT,
	PR_REGISTER_IGNORE,
	PR_REGISTER_MOVE,
};
struct pr_out {
	enum pr_action action;
	uint8_t type;
	uint64_t key, sa_key;
	bool aptpl, unreg, spec_i_pt;
	struct pr_port self;
	/* PR_REGISTER: the initiator at other target ports (ALL_TG_PT), which are registered or
	 * not; then other initiators (SPEC_I_PT), which are added. PR_REGISTER_MOVE: whereto. */
	struct pr_port *ports;
	unsigned nports, nothers; /* of ports, the last nothers are of SPEC_I_PT */
	unsigned room;		  /* registrations that may be added in the array */
};
enum pr_answer {
	PR_GOOD,    /* and nothing changed */
	PR_CHANGED, /* v->last says what it means to others */
	PR_CONFLICT,
	PR_BAD_TYPE,	/* INVALID FIELD IN CDB */
	PR_BAD_KEY,	/* INVALID FIELD IN PARAMETER LIST: the service action reservation key */
	PR_BAD_SPEC,	/* ... SPEC_I_PT */
	PR_BAD_PORT,	/* ... the TransportID */
	PR_BAD_RELEASE, /* INVALID RELEASE OF PERSISTENT RESERVATION */
	PR_FULL,	/* INSUFFICIENT REGISTRATION RESOURCES */
	PR_NO_MEMORY,	/* v is half changed */
};
enum pr_answer pr_apply(Isthmus__Reservation *v, const struct pr_out *x);
/* CLEAR by nobody: every registrant is told. False: no memory. */
bool pr_clear(Isthmus__Reservation *v);

/* ---- TransportIDs of iSCSI (SPC-4 7.6.4.6) ---- */

#define TRANSPORT_ID_MAX (4 + 244)
struct transport_id {
	char initiator[SCSI_NAME_MAX + 1];
	bool any_isid;
	uint8_t isid[6];
};
/* Its length in the list, 0 when it is wrong. */
unsigned transport_id_parse(const uint8_t *b, size_t len, struct transport_id *ret);
unsigned transport_id_put(uint8_t b[TRANSPORT_ID_MAX], const char *initiator, const uint8_t *isid);

/* ---- copies of the records (pr_store.c) ---- */

/* Never changed. Records that are over (another memory, no APTPL) are not among them. */
struct pr_copy {
	_Atomic unsigned refs;
	uint64_t number;
	Isthmus__Reservation *pb;
};
/* A reference; NULL: the volume has no record. */
struct pr_copy *pr_copy_get(struct scsi_registry *r, uint32_t volume_id);
void pr_copy_put(struct pr_copy *p);
/* The unit attention of nexuses that lost their registration by a change (NULL: by none). */
uint32_t pr_loss_ua(const Isthmus__ReservationChange *x);
/* With the registry lock: what a change of a record means to nexuses that are away. */
void away_changed(struct scsi_registry *r, const Isthmus__Reservation *was,
		  const Isthmus__Reservation *now);
/* With the registry lock: borrowed. */
const Isthmus__Reservation *pr_look(const struct scsi_registry *r, uint32_t volume_id);

/* On the metadata's reactor: the copies follow; what the changes mean to nexuses is done. */
int pr_follow(struct scsi_registry *r, const Isthmus__ArrayMeta *am);
void pr_store_free(struct scsi_registry *r);

/* A change under way; embedded. */
struct pr_doing {
	uint32_t volume_id;
	uint64_t number; /* the change's */
	struct task *task;
	_Atomic unsigned aborting; /* nexuses whose commands are not gone yet */
};
/* In the change function: the record, without what is over; made when there is none. NULL: no
 * memory. */
Isthmus__Reservation *pr_record(struct scsi_registry *r, Isthmus__ArrayMeta *am,
				uint32_t volume_id);
/* In the change function: the record was changed. */
void pr_changed(struct scsi_registry *r, Isthmus__Reservation *v, struct pr_doing *d);
/* Waits. After meta_update(), whether it came through or not: until aborted commands are gone. */
void pr_done(struct scsi_registry *r, struct pr_doing *d);

#endif
