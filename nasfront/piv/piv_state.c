/* Reading the state of a whole group from both volumes. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "nasfront/piv/piv_layout.h"
#include "runtime/bdev.h"
#include "runtime/err.h"

/* Of two slots of the same head the newer one is kept; takes head's lists. */
static int state_add(struct piv_state *s, struct piv_head *head)
{
	for (unsigned i = 0; i < s->count; i++) {
		struct piv_head *old = &s->heads[i];
		if (strcmp(old->name, head->name))
			continue;
		struct piv_head *worse = head->seq > old->seq ? old : head;
		struct piv_head drop = *worse;
		if (worse == old)
			*old = *head;
		piv_head_clear(&drop);
		return 0;
	}
	struct piv_head *list = realloc(s->heads, (s->count + 1) * sizeof(*list));
	if (!list) {
		piv_head_clear(head);
		return -ENOMEM;
	}
	s->heads = list;
	s->heads[s->count++] = *head;
	return 0;
}

/* A slot that cannot be read or decoded is passed over: the others are still told. */
static int slot_read(struct piv_state *s, struct bdev *b, const struct piv_header *h, unsigned slot,
		     bool backup)
{
	struct piv_log log = {.bdev = b, .header = *h, .slot = slot};
	struct piv_head head = {0};
	struct piv_claim claim;
	struct piv_area a = piv_slots(h);
	int rc = piv_claim_read(b, &a, slot, &claim);
	if (rc || !claim.name[0])
		return rc;
	rc = piv_log_load(&log, &head);
	if (rc) {
		piv_head_clear(&head);
		return rc;
	}
	memcpy(head.name, claim.name, sizeof(head.name));
	head.slot = slot;
	head.from_backup = backup;
	return state_add(s, &head);
}

static int volume_read(struct piv_state *s, struct bdev *b, bool backup)
{
	struct piv_header h;
	if (!b)
		return -ENODEV;
	int rc = piv_header_read(b, &h);
	if (rc)
		return rc;
	for (unsigned i = 0; i < h.slots; i++) {
		int one = slot_read(s, b, &h, i, backup);
		rc = rc ? rc : one;
	}
	return rc;
}

static int head_order(const void *a, const void *b)
{
	const struct piv_head *x = a, *y = b;
	return strcmp(x->name, y->name);
}

int piv_state_read(struct bdev *main, struct bdev *backup, struct piv_state **ret)
{
	struct piv_state *s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->main_rc = volume_read(s, main, false);
	s->backup_rc = volume_read(s, backup, true);
	if (s->main_rc && s->backup_rc && !s->count) {
		int rc = s->main_rc;
		piv_state_free(s);
		return rc;
	}
	if (s->count)
		qsort(s->heads, s->count, sizeof(*s->heads), head_order);
	*ret = s;
	return 0;
}

void piv_state_free(struct piv_state *s)
{
	if (!s)
		return;
	for (unsigned i = 0; i < s->count; i++)
		piv_head_clear(&s->heads[i]);
	free(s->heads);
	free(s);
}
