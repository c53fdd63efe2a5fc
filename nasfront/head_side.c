/*
 * On which of its group's two volumes a head lives: its slot of the PIV and its ledger, together.
 *
 * The PIV decides (piv_leave(), piv_return()), the ledger asks it before each write. The
 * controllers are told before the first write to the backup (MOVING: what is there is not to be
 * overwritten, and not yet to be relied on), when all is there (ON_BACKUP), when the backup is
 * written along and all of the volume is on it (ON_BOTH), and when all is on the volume again
 * (ON_MAIN). The word stands in the array metadata and comes back with the configuration: so a
 * successor knows which volume it has to have read to know all that was promised
 * (head_side_newest()).
 *
 * A task brings it about: it has the ledger follow, says the word, tries a main volume that failed
 * again, asks for a new one when that fails too, and starts the writing along.
 */
#include <errno.h>
#include <stdlib.h>
#include "blockcore/channel/channel_client.h"
#include "nasfront/head.h"
#include "nasfront/piv/ledger.h"
#include "nasfront/piv/piv.h"
#include "runtime/bdev.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include "runtime/fault.h"
#include "runtime/log.h"

#define SOON_NS	 (500 * NS_PER_MS)
#define RETRY_NS (5 * NS_PER_S)
#define RENEW_NS (30 * NS_PER_S) /* between two wishes for a new volume */

/* ---- the word ---- */

static int say_locked(struct head *h, Isthmus__Side side, bool renew)
{
	char why[CHANNEL_WHY_LEN];
	if (h->side.told && h->side.word == side && !renew)
		return 0;
	int rc = channel_side(h->channel, side, h->piv_volume, renew, why);
	FAULT("side.told");
	if (rc == 0 || renew) {
		h->side.word = side;
		h->side.told = true;
	}
	if (rc && rc != -ERR_DISCONNECTED && rc != -ERR_SHUTDOWN && rc != h->side.refused)
		event_write(LOG_L_WARN, renew ? "piv.not_renewed" : "piv.side",
			    "head %s: %s: %.150s", h->config->name,
			    renew ? "there is no new processor-information volume"
				  : "the controller does not take where its state is",
			    why[0] ? why : err_text(rc));
	h->side.refused = rc;
	return rc;
}

static int say(struct head *h, Isthmus__Side side, bool renew)
{
	task_mutex_lock(&h->side.lock);
	int rc = say_locked(h, side, renew);
	task_mutex_unlock(&h->side.lock);
	return rc;
}

/* ---- what the PIV, the ledger and the twin ask ---- */

/* The task goes round once more, also when it is at it. */
static void look_again(struct head *h)
{
	h->side.again = true;
	waitq_wake_all(&h->side.wake);
}

static void twin_set(struct head *h, bool on)
{
	if (h->piv_main)
		piv_twin_set(h->piv_main, on);
}

static int on_leaving(void *arg)
{
	struct head *h = arg;
	int rc = 0;
	task_mutex_lock(&h->side.lock);
	/* At the open nothing is written over there: what was on both goes on. */
	bool whole = h->side.word == ISTHMUS__SIDE__ON_BACKUP ||
		     (h->side.word == ISTHMUS__SIDE__ON_BOTH && h->side.opening);
	rc = say_locked(h, whole ? ISTHMUS__SIDE__ON_BACKUP : ISTHMUS__SIDE__MOVING, false);
	if (rc == 0)
		twin_set(h, false);
	FAULT("side.leaving");
	task_mutex_unlock(&h->side.lock);
	return rc;
}

static void on_moved(void *arg)
{
	struct head *h = arg;
	FAULT("side.moved");
	h->side.retry_ns = env_now_ns(h->env) + RETRY_NS;
	look_again(h);
}

/* The backup did not take a write: it is not relied on any more. */
static int on_lost(void *arg, int why)
{
	struct head *h = arg;
	task_mutex_lock(&h->side.lock);
	bool first = h->piv_main && piv_twin_is_on(h->piv_main);
	int rc = first ? say_locked(h, ISTHMUS__SIDE__ON_MAIN, false) : 0;
	if (rc == 0)
		twin_set(h, false);
	task_mutex_unlock(&h->side.lock);
	h->side.retry_ns = env_now_ns(h->env) + RETRY_NS;
	look_again(h);
	if (first && rc == 0)
		event_write(LOG_L_WARN, "piv.copy_missing",
			    "head %s keeps its state on the group's volume alone: the backup: %s",
			    h->config->name, err_text(why));
	return rc;
}

static bool ledger_on_backup(void *arg)
{
	const struct head *h = arg;
	return piv_on_backup(h->piv);
}

static int ledger_leave(void *arg, bool backup, int why)
{
	struct head *h = arg;
	return piv_leave(h->piv, backup, why);
}

void head_side_opts(struct head *h, struct piv_opts *piv)
{
	piv->leaving = on_leaving;
	piv->moved = on_moved;
	piv->arg = h;
	piv->main_id = h->piv_volume;
}

void head_side_ledger_opts(struct head *h, struct ledger_opts *o)
{
	o->on_backup = ledger_on_backup;
	o->leave = ledger_leave;
	o->side_arg = h;
}

int head_side_volume(struct head *h, struct bdev **b)
{
	struct bdev *twin;
	int rc = *b ? piv_twin_new(&twin, *b, h->piv_backup, on_lost, h) : -ENODEV;
	if (rc && *b)
		bdev_close(*b);
	*b = rc ? NULL : twin;
	return rc;
}

/* ---- what a predecessor left ---- */

bool head_side_newest(const struct head *h, bool main, bool backup)
{
	struct piv_left left;
	piv_get_left(h->piv, &left);
	bool blank =
	    left.main_rc == -ENODATA && (left.backup_rc == -ENODATA || left.backup_rc == -ENODEV);
	bool same = !left.main_id || left.main_id == h->piv_volume;
	main = main && left.main_rc == 0;
	backup = backup && left.backup_rc == 0;
	if (left.damaged)
		return false;
	switch (h->side.left) {
	case ISTHMUS__SIDE__ON_BACKUP:
		return backup;
	case ISTHMUS__SIDE__ON_BOTH:
		return main || backup;
	case ISTHMUS__SIDE__MOVING: /* what only the volume had is not on a new one */
		return main && backup && left.main_id == h->piv_volume;
	default: /* a new volume holds what the backup had */
		return (main && same) || blank;
	}
}

/* ---- the task ---- */

/* The ledger is where the PIV is. */
static int ledger_follow(struct head *h)
{
	return h->ledger ? ledger_sync(h->ledger) : 0;
}

static int on_returned(void *arg)
{
	return say(arg, ISTHMUS__SIDE__ON_MAIN, false);
}

/* The ledger has both volumes while the PIV changes over, so neither is ahead of the word. */
static int go_back(struct head *h)
{
	struct ledger_stats s = {.both = true};
	int rc = piv_prepare_main(h->piv);
	if (rc)
		return rc;
	if (h->ledger) {
		ledger_set_continuous(h->ledger, true);
		rc = ledger_sync(h->ledger);
		ledger_get_stats(h->ledger, &s);
	}
	FAULT("side.on_both");
	if (rc == 0)
		rc = s.both ? piv_return(h->piv, on_returned, h) : -EIO;
	FAULT("side.returned");
	if (h->ledger) {
		ledger_set_continuous(h->ledger, false);
		int second = ledger_sync(h->ledger);
		rc = rc ? rc : second;
	}
	return rc;
}

static void try_main(struct head *h)
{
	uint64_t now = env_now_ns(h->env);
	if (now < h->side.retry_ns)
		return;
	int rc = go_back(h);
	h->side.retry_ns = env_now_ns(h->env) + RETRY_NS;
	if (rc == 0 || !piv_on_backup(h->piv) || now < h->side.renew_ns)
		return;
	h->side.renew_ns = now + RENEW_NS;
	say(h, ISTHMUS__SIDE__ON_BACKUP, true);
}

/* Whatever is on the volume is on the backup when the backup that is ordered here is made: what is
 * written from now on goes to both. */
static void begin_both(struct head *h)
{
	Isthmus__ChannelBackedUp r;
	if (env_now_ns(h->env) < h->side.retry_ns || !h->piv_main || !h->piv_backup)
		return;
	h->side.retry_ns = env_now_ns(h->env) + RETRY_NS;
	twin_set(h, true);
	int rc = channel_backup(h->channel, NULL, false, false, &r);
	if (rc == 0) {
		rc = r.code;
		if (r.text != protobuf_c_empty_string)
			free(r.text);
	}
	task_mutex_lock(&h->side.lock);
	if (rc == 0 && piv_twin_is_on(h->piv_main))
		rc = say_locked(h, ISTHMUS__SIDE__ON_BOTH, false);
	if (rc)
		twin_set(h, false);
	task_mutex_unlock(&h->side.lock);
	if (rc == 0)
		event_write(LOG_L_INFO, "piv.on_both",
			    "head %s keeps its state on the group's volume and its backup",
			    h->config->name);
}

static uint64_t round_of(struct head *h)
{
	bool backup = piv_on_backup(h->piv);
	if (ledger_follow(h) || piv_on_backup(h->piv) != backup)
		return SOON_NS;
	if (backup) {
		if (say(h, ISTHMUS__SIDE__ON_BACKUP, false))
			return SOON_NS;
		try_main(h);
		return SOON_NS;
	}
	bool both = h->side.told && h->side.word == ISTHMUS__SIDE__ON_BOTH && h->piv_main &&
		    piv_twin_is_on(h->piv_main);
	if (!(both && h->side.continuous) && say(h, ISTHMUS__SIDE__ON_MAIN, false))
		return SOON_NS;
	if (!h->side.continuous)
		twin_set(h, false);
	else if (!both)
		begin_both(h);
	return h->side.continuous && !both ? SOON_NS : UINT64_MAX;
}

static void side_main(void *arg)
{
	struct head *h = arg;
	while (!h->stopping && !h->fenced) {
		uint64_t wait = UINT64_MAX;
		h->side.again = false;
		if (h->side.open) {
			h->side.busy = true;
			wait = round_of(h);
			h->side.busy = false;
			waitq_wake_all(&h->side.idle);
		}
		if (h->stopping)
			continue;
		/* Volumes may be left in turns: not as fast as they can fail. */
		if (h->side.again)
			env_sleep_ns(h->env, SOON_NS);
		else if (wait == UINT64_MAX)
			waitq_wait(&h->side.wake);
		else
			env_waitq_wait(h->env, &h->side.wake, wait);
	}
	h->side.runs = false;
	waitq_wake_all(&h->side.idle);
}

void head_side_begin(struct head *h, const Isthmus__NasConfig *cfg)
{
	if (!h->side.made) {
		task_mutex_init(&h->side.lock);
		waitq_init(&h->side.wake);
		waitq_init(&h->side.idle);
		h->side.made = true;
	}
	h->side.left = h->side.word = cfg->side;
	h->side.told = true;
	h->side.opening = true;
	h->side.refused = 0;
}

/* A word that says more than the volume, as a predecessor left it: what is promised from here on is
 * on the volume alone. Waits for controllers; where they refuse, the task goes on with it. */
static void settle_main(struct head *h)
{
	int rc = -ERR_DISCONNECTED;
	while (rc == -ERR_DISCONNECTED && !h->stopping && !h->fenced && !piv_on_backup(h->piv) &&
	       h->side.word != ISTHMUS__SIDE__ON_MAIN) {
		rc = piv_sync(h->piv);
		rc = rc ? rc : ledger_follow(h);
		if (rc == 0 && !piv_on_backup(h->piv))
			rc = say(h, ISTHMUS__SIDE__ON_MAIN, false);
		if (rc == -ERR_DISCONNECTED)
			env_sleep_ns(h->env, SOON_NS);
	}
}

void head_side_open(struct head *h)
{
	settle_main(h);
	h->side.opening = false;
	/* It may be the first word about a new volume, and the ledger may still have to follow. */
	h->side.told &= h->side.word != ISTHMUS__SIDE__ON_MAIN;
	h->side.retry_ns = env_now_ns(h->env) + (piv_on_backup(h->piv) ? RETRY_NS : SOON_NS);
	h->side.open = true;
	if (!h->side.runs) {
		h->side.runs = true;
		if (task_start(side_main, h)) {
			h->side.runs = false;
			log_warn("head: no memory to watch over the volumes of its state");
		}
	}
	look_again(h);
}

void head_side_stop(struct head *h)
{
	h->side.open = false;
	while (h->side.busy)
		waitq_wait(&h->side.idle);
}

void head_side_apply(struct head *h, const Isthmus__NasConfig *cfg)
{
	h->side.continuous = cfg->backup_continuous;
	if (h->side.runs)
		look_again(h);
}

/* The ledger and the PIV leave the old volume, then the new one takes its place; the task brings
 * both there. */
int head_side_replace(struct head *h, const Isthmus__NasConfig *cfg)
{
	struct bdev *b = NULL, *old = h->piv_main;
	head_side_stop(h);
	h->piv_volume = cfg->piv_volume;
	h->side.word = cfg->side;
	h->side.told = true;
	int rc = channel_volume_open(h->channel, cfg->piv_volume, &b);
	rc = rc ? rc : head_side_volume(h, &b);
	if (rc == 0)
		rc = piv_leave(h->piv, false, -ENODEV);
	if (rc == 0)
		rc = ledger_follow(h);
	if (rc == 0)
		rc = piv_set_main(h->piv, b, cfg->piv_volume);
	if (rc == 0 && h->ledger)
		rc = ledger_set_main(h->ledger, b);
	if (rc) {
		bdev_close(b);
		return rc;
	}
	h->piv_main = b;
	bdev_close(old);
	head_side_open(h);
	h->side.retry_ns = 0;
	return 0;
}

void head_side_join(struct head *h)
{
	while (h->side.runs) {
		waitq_wake_all(&h->side.wake);
		waitq_wait(&h->side.idle);
	}
}
