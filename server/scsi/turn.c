/*
 * Commands that wait their turn in a task set (task_set.h), and what ends their waiting: their
 * turn, an abort, a unit that their nexus does not see any more, a volume that left the controller.
 */
#include "runtime/env.h"
#include "server/scsi/forward.h"

/* The volume is not here any more: a command of the partner's goes back to it. Else two
 * controllers' task sets could wait for each other. */
static bool turn_moved(const struct scsi_cmd *c)
{
	struct volume *v = c->nexus->proxy ? atomic_load(&c->lu->volume) : NULL;
	return v && core_volume_place(v) != CORE_HERE;
}

/* Registry lock, under which views change. */
static bool turn_unseen(const struct scsi_cmd *c)
{
	return !view_find_lu(c->nexus->view, c->lu);
}

static bool turn_stranded(const struct scsi_cmd *c)
{
	return turn_unseen(c) || turn_moved(c);
}

void lu_drop_stranded(struct scsi_lu *lu)
{
	task_set_drop(&lu->set, turn_stranded);
	qos_drop(&lu->qos, turn_unseen);
}

/* What its nexus sees may have changed meanwhile. False: not this unit any more. */
static bool turn_look_again(struct scsi_cmd *c)
{
	struct scsi_view *v = nexus_view(c->nexus);
	struct scsi_itl *l = view_find_lu(v, c->lu);
	if (!l) {
		view_put(v);
		return false;
	}
	view_put(c->view);
	c->view = v;
	c->itl = l;
	return true;
}

bool turn_wait(struct scsi_cmd *c)
{
	c->fwd.since_ns = env_now_ns(core_env(c->lu->core));
	bool go = !turn_moved(c) && task_set_wait(&c->lu->set, c);
	stats_mark(c, STAGE_ORDER);
	if (atomic_load(&c->aborted)) {
		cmd_status(c, SCSI_TASK_ABORTED);
		return false;
	}
	bool seen = turn_look_again(c);
	if (seen && c->nexus->proxy && (!go || turn_moved(c))) {
		c->fwd.not_owner = true;
		cmd_status(c, SCSI_BUSY);
		return false;
	}
	if (!seen || !go)
		cmd_sense(c, KEY_ILLEGAL_REQUEST, 0x25, 0x00);
	return seen && go;
}

void cmd_leave(struct scsi_cmd *c)
{
	if (c->lu)
		task_set_leave(&c->lu->set, c);
}
