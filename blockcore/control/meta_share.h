/*
 * One array metadata for two controllers (doc/duplex.md, Metadata).
 *
 * Who changes it holds the right to do so, has looked whether it has the newest state, writes to
 * all disks, tells the partner, which has taken the new state when the call ends, and gives the
 * right up. Between the two:
 *
 *   META_NEWS     call: head; data: the new state as on the disks, or none: it is read from there
 *   META_TRIED    call: head. A change failed: what a few disks may hold under numbers up to
 *                 `tried` never came through
 *   META_WANT     the sender waits for the right: it is to have it before the next own change
 *   META_DONE     it had it, and nothing came of it
 *   META_LABELS   call: disks were labelled or wiped: look at them again
 *
 * A state is always sent whole, so one that was missed makes no gap; an old one does nothing.
 */
#ifndef ISTHMUS_BLOCKCORE_META_SHARE_H
#define ISTHMUS_BLOCKCORE_META_SHARE_H

#include <stdbool.h>
#include <stdint.h>

struct gcm;
struct link;
struct meta;

enum meta_message { META_NEWS = 1, META_TRIED, META_WANT, META_DONE, META_LABELS };

/* Head of META_NEWS and META_TRIED; little endian. */
struct meta_head {
	uint64_t seq;
	uint64_t tried;
	uint8_t array_uuid[16];
};
_Static_assert(sizeof(struct meta_head) == 32, "head of messages on metadata");

#define META_NEWS_MAX (1024 * 1024u) /* bytes of a state that is sent; more is read from disk */

/* All on the metadata's reactor, in tasks. */
struct meta_share_ops {
	/* Required. Does not wait for who has it. 0; -EBUSY: the controller named in ret_holder
	 * (64 bytes) has it. ret_seq: given up with; ret_broken: who had it last ended with it,
	 * and may have written what nobody knows of. */
	int (*lock)(void *arg, uint64_t *ret_seq, bool *ret_broken, char *ret_holder);
	/* Required. seq: the highest number a change has used, one that failed too. */
	void (*unlock)(void *arg, uint64_t seq);
	/* Required. Waits for the partner's answer: 0 or its error; -ERR_DISCONNECTED: it is not
	 * there, or went away meanwhile. */
	int (*call)(void *arg, enum meta_message type, const void *head, uint32_t head_len,
		    const void *data, uint32_t data_len);
	/* Required. Never waits, may be lost. */
	void (*send)(void *arg, enum meta_message type);
};

/* Waits. A message of the partner; what is answered to a call. All of it is checked. */
int meta_share_take(struct meta *m, enum meta_message type, const void *head, uint32_t head_len,
		    const void *data, uint32_t data_len);

/*
 * Waits. Takes the newest state of the disks, if there is a newer one, and brings disks and
 * partner up to it: when the partner has ended (after gcm_forget(): it may have died while it
 * changed something), and when it is back. Without a partner it does nothing. why: META_WHY_LEN.
 */
int meta_refresh(struct meta *m, char *why);
/* What the next change finds on the disks counts, not what is known. Never waits. */
void meta_partner_gone(struct meta *m);
/* Waits. The partner looks at the labels of disks again. Nothing when it is not there. */
void meta_tell_labels(struct meta *m);

/* ---- over control memory and the link (meta_link.c) ---- */

struct meta_link;
/* partner: its name. The ops' arg. -ENOMEM. */
int meta_link_new(struct meta_link **ret, struct gcm *gcm, const char *partner);
void meta_link_free(struct meta_link *k);
extern const struct meta_share_ops meta_link_ops;
/* Serves LINK_SVC_META of the link for `m` from now on; NULL: no more. */
void meta_link_serve(struct meta_link *k, struct link *l, struct meta *m);

#endif
