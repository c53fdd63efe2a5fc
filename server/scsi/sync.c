/* SYNCHRONIZE CACHE and PRE-FETCH (SBC-4 5.34, 5.14). */
#include <stdlib.h>
#include "runtime/err.h"
#include "runtime/log.h"
#include "runtime/task.h"
#include "server/scsi/scsi_priv.h"

/* Zero blocks: to the end of the medium. */
static bool sync_range(struct scsi_cmd *c, uint64_t *ret_off, uint64_t *ret_len)
{
	struct lba_range r = cdb_range(c->cdb);
	uint64_t blocks = lu_blocks(c->lu);
	if (r.lba >= blocks || r.blocks > blocks - r.lba) {
		cmd_out_of_range(c);
		return false;
	}
	*ret_off = r.lba << c->lu->block_shift;
	*ret_len = (r.blocks ? r.blocks : blocks - r.lba) << c->lu->block_shift;
	return true;
}

struct flush_job {
	struct scsi_registry *registry;
	struct scsi_lu *lu;
	uint64_t off, len;
};

static void flush_in_background(void *arg)
{
	struct flush_job *j = arg;
	int err = volume_flush(lu_volume(j->lu), j->off, j->len);
	if (err)
		log_error("scsi: flush after its command was answered failed volume=%u err=%s",
			  j->lu->volume_id, err_name(err));
	struct scsi_registry *r = j->registry;
	lu_put(j->lu);
	free(j);
	atomic_fetch_sub(&r->background, 1);
}

/* IMMED: status as soon as the CDB is found good. False: no memory, then it is waited for. */
static bool sync_immediate(struct scsi_cmd *c, uint64_t off, uint64_t len)
{
	struct flush_job *j = malloc(sizeof(*j));
	if (!j)
		return false;
	*j = (struct flush_job){c->nexus->registry, lu_get(c->lu), off, len};
	atomic_fetch_add(&j->registry->background, 1);
	if (!task_start(flush_in_background, j))
		return true;
	atomic_fetch_sub(&j->registry->background, 1);
	lu_put(j->lu);
	free(j);
	return false;
}

enum scsi_next op_sync(struct scsi_cmd *c)
{
	uint64_t off, len;
	if (!sync_range(c, &off, &len))
		return SCSI_DONE;
	if ((c->cdb[1] & 0x02) && sync_immediate(c, off, len))
		return cmd_good(c);
	return SCSI_WAIT;
}

enum scsi_next op_sync_wait(struct scsi_cmd *c)
{
	uint64_t off, len;
	if (!sync_range(c, &off, &len))
		return SCSI_DONE;
	int err = volume_flush(lu_volume(c->lu), off, len);
	return err ? cmd_error(c, err) : cmd_good(c);
}

/* GOOD rather than CONDITION MET: that all blocks fit the cache is not promised. */
enum scsi_next op_prefetch(struct scsi_cmd *c)
{
	uint64_t off, len;
	if (!sync_range(c, &off, &len))
		return SCSI_DONE;
	volume_prefetch(lu_volume(c->lu), off, MIN(len, SCSI_TRANSFER_MAX));
	return cmd_good(c);
}
