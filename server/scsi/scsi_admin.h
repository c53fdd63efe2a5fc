/* What the verbs target.*, lun.* and initiator.* have in common (scsi_admin.c). */
#ifndef ISTHMUS_SERVER_SCSI_ADMIN_H
#define ISTHMUS_SERVER_SCSI_ADMIN_H

#include "blockcore/control/meta.h"
#include "runtime/admin.h"
#include "server/scsi/scsi_priv.h"

#define WHY_SIZE 256

Isthmus__Target *meta_target(const Isthmus__ArrayMeta *am, const char *iqn);
Isthmus__Lun *meta_lun(const Isthmus__Target *t, uint32_t number);
Isthmus__Volume *meta_volume(const Isthmus__ArrayMeta *am, uint32_t id);
Isthmus__Initiator *meta_initiator(const Isthmus__ArrayMeta *am, const char *target,
				   const char *iqn);

/* A name argument, checked and folded; 0 or the error, which is set. */
int arg_name(struct admin_call *c, const char *arg, char name[SCSI_NAME_MAX + 1]);
/* "yes" or "no". 0; -ENOENT not given; -EINVAL, set. */
int arg_yes_no(struct admin_call *c, const char *arg, bool *ret);

/* --target of a list: NULL when not given. 0; -ENOENT, set: no such target. */
int arg_target_filter(struct admin_call *c, struct scsi_registry *r, const char **ret);
/* The arguments target and lun. 0 or the error, set. */
struct one_lun {
	char target[SCSI_NAME_MAX + 1];
	uint32_t lun;
};
int arg_one_lun(struct admin_call *c, struct one_lun *ret);

/* User and secret as given; NULL: not given. They go together. 0 or the error, set. */
struct chap_args {
	const char *user, *secret;
};
int arg_chap(struct admin_call *c, const char *user_arg, const char *secret_arg,
	     struct chap_args *ret);
int chap_apply(const struct chap_args *a, char **user, char **secret);
/* Refuses what RFC 7143 9.2.1 does: mutual CHAP alone, one secret for both ways. */
int chap_check(const Isthmus__ArrayMeta *am, const Isthmus__Target *t, char *why);

/* meta_update(); the error and the remedy go into the reply. */
int admin_change(struct admin_call *c, struct scsi_registry *r,
		 int (*change)(Isthmus__ArrayMeta *am, void *arg, char *why), void *arg,
		 const char *remedy);
int no_such_target(char *why, const char *iqn);

/* A LUN of the registry, on the metadata's reactor. NULL: none. */
const struct target_lun *registry_lun(struct scsi_registry *r, const char *iqn, uint64_t lun);

/* Sessions of a target; with initiator: of that one. */
unsigned registry_sessions(struct scsi_registry *r, const char *target, const char *initiator);

admin_handler admin_target_create, admin_target_list, admin_target_set, admin_target_remove;
admin_handler admin_lun_reservations, admin_lun_release;
admin_handler admin_lun_add, admin_lun_list, admin_lun_remove;
/* "1000 IOPS, 50.0 MiB/s" as field "limit". */
void put_limits(struct admin_call *c, const Isthmus__Limits *l);
admin_handler admin_lun_set, admin_scsi_status;
admin_handler admin_lun_stats, admin_lun_latency, admin_scsi_stats;
admin_handler admin_initiator_add, admin_initiator_list, admin_initiator_set;
admin_handler admin_initiator_remove;
admin_handler admin_discovery_set, admin_discovery_show;

#endif
