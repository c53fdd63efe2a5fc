/*
 * What array metadata keeps for SCSI beside targets: the numbers of target ports, and persistent
 * reservations. Pure functions on messages.
 */
#ifndef ISTHMUS_BLOCKCORE_META_SCSI_H
#define ISTHMUS_BLOCKCORE_META_SCSI_H

#include <stdint.h>
#include "proto/meta.pb-c.h"

#define META_KEYS_VOLUME 256  /* registrations of a volume */
#define META_KEYS	 4096 /* of all volumes */
#define META_TYPE_MAX	 8    /* of a persistent reservation */

/* Every target without a relative target port identifier gets the lowest free one. 0, -ENOMEM. */
int meta_number_ports(Isthmus__ArrayMeta *am);

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
