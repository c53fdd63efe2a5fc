/*
 * The portal groups of this controller, in the array metadata: with them every target port of the
 * array has a number that is its own (meta_ports.c), which both controllers know.
 *
 * They are recorded when the transport starts. Where nothing can be written then (an array without
 * pools), it is tried again after every change. With a partner the right to change the metadata may
 * have to be waited for, so a task of its own does it, for as long as it takes.
 */
#include <errno.h>
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include "runtime/task.h"
#include "server/scsi/persistent.h"
#include "server/scsi/scsi_admin.h"

static int change(Isthmus__ArrayMeta *am, void *arg, char *why)
{
	struct scsi_registry *r = arg;
	const char *name = core_controller(r->core);
	if (meta_has_groups(am, name, r->tags, r->ntags))
		return -ECANCELED;
	return meta_set_groups(am, name, !core_has_partner(r->core), r->tags, r->ntags, why);
}

static int record(struct scsi_registry *r)
{
	char why[WHY_SIZE] = "";
	int err = meta_update(core_meta(r->core), change, r, why);
	if (err == -ECANCELED)
		return 0;
	if (err == -EEXIST)
		log_error("scsi: portal groups not recorded why=\"%s\"", why);
	else if (err)
		log_info("scsi: portal groups not recorded yet err=%s why=\"%s\"", err_name(err),
			 why);
	return err;
}

static void record_later(void *arg)
{
	struct scsi_registry *r = arg;
	int err = record(r);
	while (err && err != -EEXIST && core_has_partner(r->core) && !atomic_load(&r->closing)) {
		env_sleep_ns(core_env(r->core), NS_PER_S);
		err = record(r);
	}
	atomic_store(&r->tags_recording, false);
	atomic_fetch_sub(&r->background, 1);
}

static void start_recording(struct scsi_registry *r)
{
	if (atomic_exchange(&r->tags_recording, true))
		return;
	atomic_fetch_add(&r->background, 1);
	if (task_start(record_later, r) == 0)
		return;
	atomic_fetch_sub(&r->background, 1);
	atomic_store(&r->tags_recording, false);
}

void groups_follow(struct scsi_registry *r, const Isthmus__ArrayMeta *am)
{
	if (r->tags_set && !meta_has_groups(am, core_controller(r->core), r->tags, r->ntags))
		start_recording(r);
}

int scsi_registry_set_groups(struct scsi_registry *r, const uint16_t *tags, unsigned n)
{
	r->ntags = 0;
	for (unsigned i = 0; i < n && r->ntags < SCSI_GROUPS_MAX; i++) {
		unsigned k = 0;
		while (k < r->ntags && r->tags[k] != tags[i])
			k++;
		if (k == r->ntags)
			r->tags[r->ntags++] = tags[i];
	}
	if (core_has_partner(r->core) && task_self()) {
		r->tags_set = true;
		start_recording(r);
		return 0;
	}
	atomic_store(&r->tags_recording, true); /* by the caller */
	int err = record(r);
	atomic_store(&r->tags_recording, false);
	r->tags_set = true;
	return err == -EEXIST ? err : 0;
}
