/*
 * Logical units: a volume with a block size, a serial number and the mode
 * parameters all nexuses share. Counted references; the last lets the volume go.
 */
#include <errno.h>
#include <stdlib.h>
#include "runtime/env.h"
#include "server/scsi/forward.h"

int lu_new(struct scsi_lu **ret, struct core *core, const struct lu_config *cfg)
{
	struct scsi_lu *lu = calloc(1, sizeof(*lu));
	if (!lu)
		return -ENOMEM;
	lu->magic = SCSI_LU_MAGIC;
	lu->refs = 1;
	lu->core = core;
	lu->volume_id = cfg->volume_id;
	lu->block_size = cfg->block_size;
	lu->block_shift = (unsigned)__builtin_ctz(cfg->block_size);
	lu->physical_size = cfg->physical_size;
	lu->removable = cfg->removable;
	lu->no_unmap = cfg->no_unmap;
	lu->owner = ALUA_FIRST_GROUP;
	pthread_mutex_init(&lu->wipe_lock, NULL);
	waitq_init(&lu->wipe_wait);
	text_copy(lu->serial, cfg->serial, sizeof(lu->serial));
	lu->volume = core_volume_get(core, cfg->volume_id);
	lu->made_ns = env_now_ns(core_env(core));
	task_set_init(&lu->set);
	qos_init(&lu->qos, core_env(core));
	*ret = lu;
	return 0;
}

bool lu_is(const struct scsi_lu *lu, const struct lu_config *cfg)
{
	return lu->volume_id == cfg->volume_id && lu->block_size == cfg->block_size &&
	       lu->physical_size == cfg->physical_size && lu->removable == cfg->removable &&
	       lu->no_unmap == cfg->no_unmap &&
	       !strncmp(lu->serial, cfg->serial, sizeof(lu->serial) - 1);
}

struct scsi_lu *lu_get(struct scsi_lu *lu)
{
	CHECK(lu, SCSI_LU_MAGIC);
	atomic_fetch_add_explicit(&lu->refs, 1, memory_order_relaxed);
	return lu;
}

void lu_put(struct scsi_lu *lu)
{
	if (!lu)
		return;
	CHECK(lu, SCSI_LU_MAGIC);
	if (atomic_fetch_sub(&lu->refs, 1) != 1)
		return;
	struct volume *v = lu->volume;
	if (v)
		core_volume_put(v);
	lu_stats_free(&lu->stats);
	pthread_mutex_destroy(&lu->wipe_lock);
	qos_fini(&lu->qos);
	task_set_fini(&lu->set);
	lu->magic = 0;
	free(lu);
}

struct volume *lu_volume(struct scsi_lu *lu)
{
	struct volume *v = atomic_load_explicit(&lu->volume, memory_order_acquire);
	if (__builtin_expect(v != NULL, 1))
		return v;
	/* It may have been attached since: two that find it at once keep one reference. */
	v = core_volume_get(lu->core, lu->volume_id);
	struct volume *none = NULL;
	if (v && !atomic_compare_exchange_strong(&lu->volume, &none, v)) {
		core_volume_put(v);
		v = none;
	}
	return v;
}

uint64_t lu_blocks(struct scsi_lu *lu)
{
	struct volume *v = lu_volume(lu);
	return v ? volume_size(v) >> lu->block_shift : 0;
}

unsigned lu_features(struct scsi_lu *lu)
{
	struct volume *v = lu_volume(lu);
	return (lu->removable ? LU_REMOVABLE : 0) | (lu->no_unmap ? 0 : LU_UNMAP) |
	       (v && volume_battery(v) ? LU_ATOMIC : 0);
}

void lu_changed_locked(struct scsi_registry *r, struct scsi_lu *lu)
{
	if (r->forward)
		forward_tell_unit(r->forward, lu);
}

void lu_changed(struct scsi_registry *r, struct scsi_lu *lu)
{
	if (!r->forward)
		return;
	pthread_mutex_lock(&r->lock);
	lu_changed_locked(r, lu);
	pthread_mutex_unlock(&r->lock);
}

void lu_reset(struct scsi_lu *lu)
{
	/* SPC-4 6.10: nothing is saved, so a reset brings the default mode parameters back. */
	lu->write_through = false;
	lu->d_sense = false;
	lu->swp = false;
	lu->tas = false;
	lu->ua_intlck = INTLCK_CLEAR;
}
