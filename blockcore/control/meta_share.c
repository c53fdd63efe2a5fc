/*
 * Metadata shared with a partner (meta_share.h).
 *
 * The right to change is in control memory; on one host it is given up by compare-and-swap, so who
 * waits asks again every millisecond, and says so: who had it lets the partner go first then.
 *
 * What may be newer than what is known here is looked for on the disks, with the right held, when
 *   - the right was given up with another number than is known to be used up: by a change that
 *     was not told, or one that failed and was not told,
 *   - who had it last ended with it, or the partner ended,
 *   - the partner wrote: which slot of each disk is the older one is not known any more.
 * A state found so may be on some disks only and unknown to the partner: the next change, or
 * meta_refresh() at once, writes it to all under a number of its own.
 *
 * A partner that ended may have one write left that comes late, numbered one above the newest that
 * is found. That number is not used; meta_check_slots() mends what it overwrote.
 */
#include "blockcore/control/meta_impl.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/fault.h"
#include "runtime/log.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define RIGHT_NS (10 * NS_PER_S)  /* a living partner gives it up within a change */
#define RETRY_NS (1 * NS_PER_MS)  /* between two looks at it */
#define TURN_NS	 (20 * NS_PER_MS) /* the partner that wants it is given this long to take it */

/* ---- the right to change ---- */

static void give_turn(struct meta *m)
{
	uint64_t seen = m->taken, until = env_now_ns(m->env) + TURN_NS, now;
	if (!m->wanted)
		return;
	m->wanted = false;
	while (m->taken == seen && (now = env_now_ns(m->env)) < until)
		env_waitq_wait(m->env, &m->turn, until - now);
}

static void had_turn(struct meta *m)
{
	m->taken++;
	waitq_wake_all(&m->turn);
}

static int take_right(struct meta *m, char *why)
{
	const struct meta_share_ops *o = m->opts.share;
	char holder[64] = "";
	bool broken = false;
	uint64_t until = env_now_ns(m->env) + RIGHT_NS;
	int rc;
	while ((rc = o->lock(m->opts.share_arg, &m->given, &broken, holder)) == -EBUSY) {
		if (env_now_ns(m->env) >= until) {
			snprintf(why, META_WHY_LEN,
				 "controller '%.63s' has been changing the array metadata for %llu "
				 "seconds; see `isthmus status`",
				 holder, (unsigned long long)(RIGHT_NS / NS_PER_S));
			return rc;
		}
		if (!m->asked)
			o->send(m->opts.share_arg, META_WANT);
		m->asked = true;
		env_sleep_ns(m->env, RETRY_NS);
	}
	m->unsure |= broken;
	m->partner_died |= broken;
	return rc;
}

/* ---- the newest state ---- */

/* The highest number that is known to be used up, by what came through or failed. */
static uint64_t used(const struct meta *m)
{
	return m->cur ? MAX(m->tried, m->cur->seq) : 0;
}

static int look(struct meta *m, char *why)
{
	Isthmus__ArrayMeta *found;
	int rc = meta_load_newer(m, used(m), &found, why);
	if (rc)
		return rc;
	if (found && memcmp(found->array_uuid.data, m->array_uuid, 16) != 0) {
		snprintf(why, META_WHY_LEN, "array_uuid: not the one of the labels");
		isthmus__array_meta__free_unpacked(found, NULL);
		return -ERR_CORRUPT;
	}
	if (found) {
		log_notice("metadata found on the disks seq=%llu known=%llu",
			   (unsigned long long)found->seq, (unsigned long long)m->cur->seq);
		m->mend = true;
		meta_adopt(m, found, false);
	}
	m->tried = MAX(m->tried, m->given) + m->partner_died;
	m->partner_died = m->unsure = m->behind = false;
	return 0;
}

int meta_share_enter(struct meta *m, char *why)
{
	int rc = 0;
	if (m->opts.share) {
		give_turn(m);
		rc = take_right(m, why);
		if (rc)
			return rc;
		FAULT("meta.right_taken");
	}
	task_mutex_lock(&m->state);
	if (m->opts.share && m->cur && (m->unsure || m->behind || m->given != used(m)))
		rc = look(m, why);
	if (rc)
		meta_share_leave(m);
	return rc;
}

void meta_share_leave(struct meta *m)
{
	const struct meta_share_ops *o = m->opts.share;
	task_mutex_unlock(&m->state);
	if (!o)
		return;
	FAULT("meta.before_giving_up");
	o->unlock(m->opts.share_arg, MAX(m->given, used(m)));
	if (m->asked)
		o->send(m->opts.share_arg, META_DONE);
	m->asked = false;
}

int meta_refresh(struct meta *m, char *why)
{
	CHECK(m, META_MAGIC);
	why[0] = '\0';
	if (!m->opts.share)
		return 0;
	task_mutex_lock(&m->lock);
	m->unsure = true;
	int rc = meta_share_enter(m, why);
	if (rc == 0) {
		if (m->mend)
			rc = meta_change(m, meta_change_nothing, NULL, why);
		meta_share_leave(m);
	}
	task_mutex_unlock(&m->lock);
	if (rc && !why[0])
		snprintf(why, META_WHY_LEN, "%s", err_text(rc));
	return rc;
}

void meta_partner_gone(struct meta *m)
{
	m->unsure = m->partner_died = true;
	m->wanted = false;
	had_turn(m);
}

/* ---- telling the partner ---- */

static struct meta_head head_of(const struct meta *m)
{
	struct meta_head h = {.seq = m->cur->seq, .tried = m->tried};
	memcpy(h.array_uuid, m->array_uuid, 16);
	return h;
}

static int call(struct meta *m, enum meta_message type, const void *data, size_t len)
{
	struct meta_head h = head_of(m);
	int rc = m->opts.share->call(m->opts.share_arg, type, &h, sizeof(h), data, (uint32_t)len);
	return rc == -ERR_DISCONNECTED || rc == -ERR_SHUTDOWN ? 0 : rc;
}

void meta_share_publish(struct meta *m, const uint8_t *payload, size_t len)
{
	if (!m->opts.share)
		return;
	FAULT("meta.before_publish");
	bool sent = len <= META_NEWS_MAX;
	int rc = call(m, META_NEWS, sent ? payload : NULL, sent ? len : 0);
	if (rc)
		event_write(LOG_L_ERROR, "meta.partner_behind",
			    "the partner has not taken change %llu of the array metadata: %s",
			    (unsigned long long)m->cur->seq, err_text(rc));
}

void meta_share_failed(struct meta *m)
{
	int rc = m->opts.share ? call(m, META_TRIED, NULL, 0) : 0;
	if (rc)
		log_warn("metadata: the partner does not know of a failed change err=%s",
			 err_name(rc));
}

void meta_tell_labels(struct meta *m)
{
	int rc = m->opts.share ? call(m, META_LABELS, NULL, 0) : 0;
	if (rc)
		log_warn("metadata: the partner has not looked at labels err=%s", err_name(rc));
}

/* ---- what the partner tells ---- */

/* *ret NULL: nothing to take, or refused. */
static int read_news(struct meta *m, const struct meta_head *h, const void *data, uint32_t len,
		     Isthmus__ArrayMeta **ret)
{
	char why[META_WHY_LEN] = "";
	Isthmus__ArrayMeta *am = NULL;
	int rc = len ? meta_decode(data, len, &am, why) : meta_load_newer(m, m->cur->seq, &am, why);
	if (rc == 0 &&
	    (!am || am->seq != h->seq || memcmp(am->array_uuid.data, m->array_uuid, 16) != 0)) {
		if (am)
			isthmus__array_meta__free_unpacked(am, NULL);
		snprintf(why, sizeof(why), "seq or array_uuid: not what its head says");
		rc = -ERR_CORRUPT;
	}
	if (rc == 0)
		*ret = am;
	else
		log_error("metadata from the partner is refused seq=%llu why=\"%s\"",
			  (unsigned long long)h->seq, why);
	return rc;
}

static int take_news(struct meta *m, const struct meta_head *h, const void *data, uint32_t len)
{
	Isthmus__ArrayMeta *am = NULL;
	int rc = 0;
	m->unsure = true;
	if (h->seq > m->cur->seq)
		rc = read_news(m, h, data, len, &am);
	if (am)
		meta_adopt(m, am, false);
	if (rc)
		m->behind = true; /* and what it missed is looked for */
	else
		m->tried = MAX(m->tried, h->tried);
	had_turn(m);
	return rc;
}

static int take_call(struct meta *m, enum meta_message type, const void *head, uint32_t head_len,
		     const void *data, uint32_t data_len)
{
	struct meta_head h;
	int rc = 0;
	if (head_len != sizeof(h) || data_len > META_NEWS_MAX)
		return -ERR_PROTO;
	memcpy(&h, head, sizeof(h));
	if (memcmp(h.array_uuid, m->array_uuid, 16) != 0)
		return -ERR_FOREIGN;
	if (h.tried < h.seq || h.tried > UINT64_MAX / 2)
		return -ERR_PROTO;
	task_mutex_lock(&m->state);
	if (type == META_NEWS)
		rc = take_news(m, &h, data, data_len);
	else if (type == META_TRIED)
		m->tried = MAX(m->tried, h.tried);
	else if (m->opts.foreign)
		m->opts.foreign(m->opts.arg, m->cur);
	task_mutex_unlock(&m->state);
	return rc;
}

int meta_share_take(struct meta *m, enum meta_message type, const void *head, uint32_t head_len,
		    const void *data, uint32_t data_len)
{
	CHECK(m, META_MAGIC);
	switch (type) {
	case META_WANT:
		m->wanted = true;
		return 0;
	case META_DONE:
		m->wanted = false;
		had_turn(m);
		return 0;
	case META_NEWS:
	case META_TRIED:
	case META_LABELS:
		return take_call(m, type, head, head_len, data, data_len);
	}
	return -ERR_PROTO;
}
