/*
 * What array metadata keeps for SCSI beside targets: the numbers of target ports, and persistent
 * reservations. Pure functions on messages.
 */
#ifndef ISTHMUS_BLOCKCORE_META_SCSI_H
#define ISTHMUS_BLOCKCORE_META_SCSI_H

#include <stdbool.h>
#include <stdint.h>
#include "proto/meta.pb-c.h"

#define META_KEYS_VOLUME 256  /* registrations of a volume */
#define META_KEYS	 4096 /* of all volumes */
#define META_TYPE_MAX	 8    /* of a persistent reservation */

/* Every target port gets its relative target port identifier (meta_ports.c). 0, -ENOMEM. */
int meta_number_ports(Isthmus__ArrayMeta *am);
/* A target's number in a portal group; 0: it has no port there. */
uint16_t meta_target_port(const Isthmus__Target *t, uint32_t tag);
/* Is the target reached through this portal group? */
bool meta_target_in_group(const Isthmus__Target *t, uint32_t tag);
/* Are these, and no others, recorded as the portal groups of a controller? */
bool meta_has_groups(const Isthmus__ArrayMeta *am, const char *controller, const uint16_t *tags,
		     unsigned n);
/* Records them. alone: there is no other controller, whatever is recorded. 0, -ENOMEM; -EEXIST: one
 * is another controller's (why: META_WHY_LEN bytes). */
int meta_set_groups(Isthmus__ArrayMeta *am, const char *controller, bool alone,
		    const uint16_t *tags, unsigned n, char *why);

/*
 * Takes away registrations through target ports that are not there or do not show the volume any
 * more, and with them what they hold; and records of volumes that are not there. 0, -ENOMEM.
 */
int meta_reservations_prune(Isthmus__ArrayMeta *am);

/* All registrations there are. */
unsigned meta_keys(const Isthmus__ArrayMeta *am);
/* NULL: the volume has no record. */
Isthmus__Reservation *meta_reservation(const Isthmus__ArrayMeta *am, uint32_t volume_id);

/* Types with one holder: 1, 3, 5, 6; with every registrant as holder: 7, 8 (SPC-4 5.12.7). */
static inline int meta_type_ok(uint32_t type)
{
	return type <= META_TYPE_MAX && type != 2 && type != 4;
}
static inline int meta_type_all(uint32_t type)
{
	return type == 7 || type == 8;
}
/* Registrants only, all registrants: those that keep their key are told of a release. */
static inline int meta_type_registrants(uint32_t type)
{
	return type >= 5;
}

#endif
