/*
 * The array metadata shared over global control memory and the link (meta_share.h).
 *
 * The link may be of another reactor than the metadata: handlers hop to the metadata's, and a call
 * may be made from any. A handler's task waits for the change to be taken, so that the answer says
 * that it has been.
 */
#include "blockcore/control/gcm.h"
#include "blockcore/control/meta_impl.h"
#include "blockcore/control/owner.h"
#include "blockcore/link/link.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CALL_NS (30 * NS_PER_S) /* a partner that lives, and does not answer */

_Static_assert(META_NEWS_MAX <= LINK_DATA_MAX, "a state that is sent fits a message");

struct meta_link {
	struct gcm *gcm;
	char partner[64];
	struct link *link;
	struct meta *meta;
};

int meta_link_new(struct meta_link **ret, struct gcm *gcm, const char *partner)
{
	struct meta_link *k = calloc(1, sizeof(*k));
	if (!k)
		return -ENOMEM;
	k->gcm = gcm;
	snprintf(k->partner, sizeof(k->partner), "%s", partner);
	*ret = k;
	return 0;
}

void meta_link_free(struct meta_link *k)
{
	free(k);
}

/* ---- ops ---- */

static int link_lock(void *arg, uint64_t *ret_seq, bool *ret_broken, char *ret_holder)
{
	struct meta_link *k = arg;
	int rc = k->gcm->ops->meta_lock(k->gcm, ret_seq);
	if (rc == -EBUSY)
		snprintf(ret_holder, 64, "%s", k->partner);
	*ret_broken = rc == 0 && *ret_seq == GCM_SEQ_UNKNOWN;
	if (*ret_broken)
		*ret_seq = 0;
	return rc;
}

static void link_unlock(void *arg, uint64_t seq)
{
	struct meta_link *k = arg;
	k->gcm->ops->meta_unlock(k->gcm, seq);
}

static int link_tell(void *arg, enum meta_message type, const void *head, uint32_t head_len,
		     const void *data, uint32_t data_len)
{
	struct meta_link *k = arg;
	struct iovec iov = {.iov_base = (void *)data, .iov_len = data_len};
	struct link_answer none = {0};
	if (!k->link || !link_is_up(k->link))
		return -ERR_DISCONNECTED;
	return link_call(k->link, LINK_CONTROL, LINK_SVC_META, (uint16_t)type, head, head_len, &iov,
			 data_len ? 1 : 0, &none, CALL_NS);
}

static void link_hint(void *arg, enum meta_message type)
{
	struct meta_link *k = arg;
	if (k->link && link_is_up(k->link)) /* a hint that is lost costs a wait */
		(void)link_send(k->link, LINK_CONTROL, LINK_SVC_META, (uint16_t)type, NULL, 0, NULL,
				0);
}

const struct meta_share_ops meta_link_ops = {
    .lock = link_lock, .unlock = link_unlock, .call = link_tell, .send = link_hint};

/* ---- messages of the partner ---- */

struct taking {
	struct meta_link *k;
	struct link_msg *msg;
	int rc;
};

static void take(void *arg)
{
	struct taking *t = arg;
	uint32_t head_len, data_len;
	const void *head = link_msg_head(t->msg, &head_len);
	const void *data = link_msg_data(t->msg, &data_len);
	t->rc = t->k->meta ? meta_share_take(t->k->meta, link_msg_type(t->msg), head, head_len,
					     data, data_len)
			   : -ERR_SHUTDOWN;
}

static void on_message(void *arg, struct link_msg *msg)
{
	struct meta_link *k = arg;
	struct taking t = {.k = k, .msg = msg};
	enum meta_message type = link_msg_type(msg);
	int rc = owner_call(k->meta->owner, take, &t);
	if (type == META_WANT || type == META_DONE)
		link_done(msg);
	else
		link_reply(msg, rc ? rc : t.rc, NULL, 0, NULL, 0, NULL, NULL);
}

void meta_link_serve(struct meta_link *k, struct link *l, struct meta *m)
{
	k->link = m ? l : NULL;
	k->meta = m;
	link_serve(l, LINK_SVC_META, m ? on_message : NULL, k);
}
