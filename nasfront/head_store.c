/* Where the services put what a successor must know: the service's ledger on the group's PIV. */
#include <errno.h>
#include <string.h>
#include "nasfront/head.h"
#include "nasfront/nfs/nlm.h"
#include "nasfront/nfs/store.h"
#include "nasfront/nfs4/nfs4.h"
#include "nasfront/piv/ledger.h"
#include "nasfront/piv/piv.h"
#include "runtime/bytes.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include "runtime/fault.h"
#include "runtime/log.h"

/*
 * The ledger's own record, MARK_BYTES; it never grows, so there is always room for it:
 *
 *   0  u32  number of the status monitor under which it was written. What is of another number was
 *           not written by the head's last process: what that had is not in it
 *   4  u8   a record could not be put
 *   5  u8   enum head_owed: whoever is kept and has nothing here is one of them; in the grace
 *           period those who have something are, too
 *   6  u8   processes in a row that had again what is here and ended within TRIAL_NS
 */
static const char MARK[] = {STORE_PARTIAL};
#define MARK_BYTES 7
#define TRIAL_NS   (2 * NS_PER_S)
#define TRIES_MAX  10

static int put_mark(struct head *h)
{
	uint8_t v[MARK_BYTES];
	be32_put(v, h->ledger_number);
	v[4] = h->ledger_partial;
	v[5] = (uint8_t)h->ledger_owed;
	v[6] = h->ledger_tries;
	return ledger_put(h->ledger, MARK, sizeof(MARK), v, sizeof(v));
}

/* Is what the ledger holds all that the last process of this head had? */
static bool is_whole(struct head *h, const struct ledger_stats *s)
{
	size_t len;
	const uint8_t *v = ledger_get(h->ledger, MARK, sizeof(MARK), &len);
	bool volumes = head_side_newest(h, !s->unsure_main, !s->unsure_backup);
	if (!volumes || !v || len < 5 || be32_get(v) != piv_nsm_state(h->piv) || v[4])
		return false;
	h->ledger_number = be32_get(v);
	h->ledger_owed = len > 5 ? (enum head_owed)v[5] : OWED_NOTHING;
	h->ledger_tries = len > 6 ? v[6] : 0;
	return true;
}

/* Said once, until it works again. */
static void tell_failing(struct head *h, int rc)
{
	if (rc == -ERR_EPOCH_STALE)
		head_on_fenced(h);
	if (rc && !h->ledger_failing)
		event_write(
		    LOG_L_ERROR, "ledger.failing",
		    "head %s cannot keep what its clients have: %s; a restart now would make "
		    "them reclaim it",
		    h->config->name, err_text(rc));
	if (!rc && h->ledger_failing)
		event_write(LOG_L_NOTICE, "ledger.kept",
			    "head %s keeps what its clients have again", h->config->name);
	h->ledger_failing = rc != 0;
}

static uint64_t live_bytes(const struct head *h)
{
	struct ledger_stats s;
	ledger_get_stats(h->ledger, &s);
	return s.live_bytes;
}

static int64_t store_put_record(void *arg, const void *key, size_t key_len, const void *value,
				size_t len)
{
	struct head *h = arg;
	if (!h->ledger)
		return 0;
	uint64_t was = live_bytes(h);
	int rc = ledger_put(h->ledger, key, key_len, value, len);
	if (rc == 0)
		return (int64_t)(live_bytes(h) - was);
	tell_failing(h, rc);
	h->ledger_partial = true;
	put_mark(h);
	return 0;
}

static int64_t store_drop_record(void *arg, const void *key, size_t key_len)
{
	struct head *h = arg;
	if (!h->ledger)
		return 0;
	uint64_t was = live_bytes(h);
	ledger_drop(h->ledger, key, key_len);
	return (int64_t)(live_bytes(h) - was);
}

static void tell_full(struct head *h, bool full)
{
	if (full && !h->ledger_full)
		event_write(
		    LOG_L_WARN, "ledger.full",
		    "head %s takes no more clients, opens and locks: what can be kept of them "
		    "is used up; a group with larger volumes keeps more (isthmus group create "
		    "--size)",
		    h->config->name);
	h->ledger_full = full;
}

/* Three quarters are for what is new: what is there goes on changing, and its records grow. */
static struct store_room store_room(void *arg)
{
	struct head *h = arg;
	struct ledger_stats s;
	if (!h->ledger)
		return (struct store_room){UINT64_MAX, UINT64_MAX, UINT64_MAX};
	ledger_get_stats(h->ledger, &s);
	uint64_t most = s.live_max / 4 * 3;
	struct store_room r = {.all = s.live_max,
			       .left = most - MIN(most, s.live_bytes),
			       .spare = s.live_max - MIN(s.live_max, s.live_bytes)};
	tell_full(h, !r.left);
	return r;
}

#define AGAIN_NS (500 * NS_PER_MS)
#define WHOLE_NS (10 * NS_PER_S)

static int attach(struct head *h);

/* There is room again: all that is here is put, and counts. */
static void make_whole(struct head *h)
{
	h->ledger_whole_ns = env_now_ns(h->env) + WHOLE_NS;
	h->ledger_partial = false;
	attach(h);
	put_mark(h);
}

/* What clients are owed now: less than before, as time goes by. */
static enum head_owed owed_now(const struct head *h)
{
	struct nlm_status s;
	if (!h->ledger_owed)
		return OWED_NOTHING;
	nlm_status(h->nlm, &s);
	if (!s.ready || s.grace_left_ns)
		return h->ledger_owed;
	return s.to_notify ? OWED_WORD : OWED_NOTHING;
}

static void store_sync_records(void *arg)
{
	struct head *h = arg;
	if (!h->ledger)
		return;
	if (h->ledger_partial && store_room(h).left && env_now_ns(h->env) >= h->ledger_whole_ns)
		make_whole(h);
	enum head_owed owed = owed_now(h);
	if (owed != h->ledger_owed) {
		h->ledger_owed = owed;
		put_mark(h);
	}
	h->ledger_users++;
	struct ledger *l = h->ledger; /* it may be closed meanwhile: that waits for us */
	task_yield();		      /* all that came with this call share a write */
	/* Nobody is answered before it is stable: what it says would be forgotten by a restart. */
	int rc;
	while ((rc = ledger_sync(l)) && !h->stopping && !h->fenced && h->ledger == l) {
		tell_failing(h, rc);
		env_sleep_ns(h->env, AGAIN_NS);
	}
	if (--h->ledger_users == 0)
		waitq_wake_all(&h->ledger_idle);
	tell_failing(h, rc ? rc : h->ledger_partial ? -ENOSPC : 0);
}

/* ---- life ---- */

static int attach(struct head *h)
{
	unsigned clients = 0;
	int rc = head_records_read(h);
	if (rc == 0) {
		FAULT("store.restoring");
		rc = nlm_keep_in(h->nlm, &h->store);
		int rc4 = h->nfs4 ? nfs4_keep_in(h->nfs4, &h->store, &clients) : 0;
		FAULT("store.before_waits");
		nlm_wait_again(h->nlm);
		FAULT("store.restored");
		rc = rc ? rc : rc4;
	}
	head_records_free(h);
	return rc;
}

/* ---- trials ---- */

static void trial_task(void *arg)
{
	struct head *h = arg;
	if (!h->ledger || h->stopping || !h->ledger_tries)
		return;
	h->ledger_tries = 0;
	put_mark(h);
	store_sync_records(h);
}

static void trial_over(void *arg)
{
	struct head *h = arg;
	/* Without memory for a task it counts as one that ended early. */
	task_start_on(reactor_sched(h->reactor), trial_task, h);
}

/* What is there may be what ends every process that has it again: then it is given up. Counted
 * before it is touched. */
static bool trial_begin(struct head *h)
{
	if (h->ledger_tries >= TRIES_MAX) {
		event_write(LOG_L_ERROR, "ledger.given_up",
			    "head %s ended %u times in a row with what its clients have: they have "
			    "to reclaim it",
			    h->config->name, h->ledger_tries);
		return false;
	}
	h->ledger_tries++;
	put_mark(h);
	store_sync_records(h);
	h->trial = (struct env_timer){.fn = trial_over, .arg = h};
	return true;
}

int head_store_open(struct head *h)
{
	struct ledger_opts o = {.env = h->env,
				.main = h->piv_main,
				.backup = h->piv_backup,
				.group_id = h->group_id,
				.service = h->config->name};
	h->store = (struct store){.put = store_put_record,
				  .drop = store_drop_record,
				  .sync = store_sync_records,
				  .room = store_room,
				  .each = head_records_each,
				  .arg = h};
	waitq_init(&h->ledger_idle);
	head_side_ledger_opts(h, &o);
	int rc = ledger_open(&h->ledger, &o);
	if (rc == -ERR_CORRUPT) {
		event_write(
		    LOG_L_ERROR, "ledger.damaged",
		    "what head %s kept of its clients is damaged on both volumes: they have "
		    "to reclaim it",
		    h->config->name);
		o.anew = true;
		rc = ledger_open(&h->ledger, &o);
	}
	if (rc) {
		h->ledger = NULL;
		if (rc != -ENODEV) /* that was told */
			event_write(LOG_L_ERROR, "ledger.unusable",
				    "head %s cannot keep what its clients have: %s",
				    h->config->name, err_text(rc));
		return rc;
	}
	struct ledger_stats s;
	ledger_get_stats(h->ledger, &s);
	h->ledger_tries = 0;
	h->ledger_loaded = !(h->kept || h->locking) && is_whole(h, &s);
	h->ledger_partial = false;
	h->ledger_loaded = h->ledger_loaded && trial_begin(h);
	/* What cannot be trusted is nobody's; where clients are here all of theirs is put anew. And
	 * what is not served is nobody's: others may have had it since. */
	if (!h->ledger_loaded || !h->nfs4)
		rc = head_records_clear(h, h->ledger_loaded);
	rc = rc ? rc : attach(h);
	if (rc) {
		h->ledger_loaded = false;
		head_records_clear(h, false);
		attach(h);
		event_write(
		    LOG_L_ERROR, "ledger.partial",
		    "head %s cannot use what its predecessor left of its clients, who have to "
		    "reclaim it: %s",
		    h->config->name, err_text(rc));
	}
	return 0;
}

void head_store_begin(struct head *h, uint32_t number, enum head_owed owed)
{
	h->ledger_number = number;
	if (!h->ledger)
		return;
	h->ledger_owed = owed;
	if (!h->ledger_loaded)
		h->ledger_tries = 0;
	put_mark(h);
	store_sync_records(h);
	if (h->trial.fn)
		env_timer_start(h->env, &h->trial, TRIAL_NS);
}

void head_store_close(struct head *h, bool write)
{
	struct ledger *l = h->ledger;
	if (!l)
		return;
	if (write && h->ledger_tries) { /* it did not end by what it has */
		h->ledger_tries = 0;
		put_mark(h);
	}
	h->ledger = NULL;
	if (h->trial.fn)
		env_timer_stop(h->env, &h->trial);
	h->trial.fn = NULL;
	while (h->ledger_users)
		waitq_wait(&h->ledger_idle);
	if (write)
		tell_failing(h, ledger_close(l));
	else
		ledger_abandon(l);
}
