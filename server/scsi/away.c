/*
 * Nexuses that are gone, for a while. SAM-5 6.3.4: a logical unit that retains something of a
 * nexus that was lost says I_T NEXUS LOSS OCCURRED when it is there again; one that does not takes
 * it for a new one, which begins with POWER ON. What is retained is which volumes' registrations
 * others took from it meanwhile: it is told of them after the loss (SPC-4 5.12.11).
 *
 * Kept in memory, of AWAY_MAX nexuses: the one that has been away longest is forgotten first.
 * After a start of the controller all are new. All with the registry lock.
 */
#include <stdlib.h>
#include "runtime/env.h"
#include "server/scsi/persistent.h"

#define AWAY_MAX 1024

struct away_loss {
	uint32_t volume_id, ua;
};
struct away {
	TAILQ_ENTRY(away) link;
	char *initiator, *target;
	uint8_t isid[6];
	uint16_t tpgt;
	uint64_t since_ns;
	struct away_loss *losses;
	unsigned nlosses;
};

static void away_free(struct away_list *l, struct away *a)
{
	TAILQ_REMOVE(&l->all, a, link);
	l->n--;
	free(a->initiator);
	free(a->target);
	free(a->losses);
	free(a);
}

static struct pr_port port_of(const struct away *a)
{
	struct pr_port p = {.initiator = a->initiator, .target = a->target, .tpgt = a->tpgt};
	memcpy(p.isid, a->isid, 6);
	return p;
}

static struct away *find(struct away_list *l, const struct scsi_nexus *n)
{
	struct away *a;
	TAILQ_FOREACH (a, &l->all, link)
		if (!memcmp(a->isid, n->isid, 6) && a->tpgt == n->tpgt &&
		    !strcmp(a->initiator, n->initiator) && !strcmp(a->target, n->target))
			return a;
	return NULL;
}

void away_init(struct away_list *l)
{
	l->n = 0;
	TAILQ_INIT(&l->all);
}

void away_fini(struct away_list *l)
{
	while (!TAILQ_EMPTY(&l->all))
		away_free(l, TAILQ_FIRST(&l->all));
}

void away_left(struct scsi_registry *r, const struct scsi_nexus *n)
{
	struct away_list *l = &r->away;
	struct away *a = calloc(1, sizeof(*a));
	if (!a) /* then nothing is retained */
		return;
	a->initiator = strdup(n->initiator);
	a->target = strdup(n->target);
	memcpy(a->isid, n->isid, 6);
	a->tpgt = n->tpgt;
	a->since_ns = env_now_ns(core_env(r->core));
	TAILQ_INSERT_TAIL(&l->all, a, link);
	l->n++;
	if (!a->initiator || !a->target)
		away_free(l, a);
	while (l->n > AWAY_MAX)
		away_free(l, TAILQ_FIRST(&l->all));
}

void away_back(struct scsi_registry *r, const struct scsi_nexus *n, struct scsi_view *v)
{
	struct away *a = find(&r->away, n);
	for (unsigned i = 0; i < v->n; i++) {
		struct scsi_itl *l = &v->luns[i];
		if (!a || l->lu->made_ns > a->since_ns) {
			itl_ua_add(l, UA_POWER_ON);
			continue;
		}
		itl_ua_add(l, UA_NEXUS_LOSS);
		for (unsigned k = 0; k < a->nlosses; k++)
			if (a->losses[k].volume_id == l->lu->volume_id)
				itl_ua_add(l, a->losses[k].ua);
	}
	if (a)
		away_free(&r->away, a);
}

static void lose(struct away *a, uint32_t volume_id, uint32_t ua)
{
	for (unsigned i = 0; i < a->nlosses; i++)
		if (a->losses[i].volume_id == volume_id && a->losses[i].ua == ua)
			return;
	struct away_loss *now = realloc(a->losses, (a->nlosses + 1) * sizeof(now[0]));
	if (!now)
		return;
	now[a->nlosses++] = (struct away_loss){volume_id, ua};
	a->losses = now;
}

void away_changed(struct scsi_registry *r, const Isthmus__Reservation *was,
		  const Isthmus__Reservation *now)
{
	uint32_t ua = pr_loss_ua(now ? now->last : NULL);
	struct away *a;
	if (!was || !ua)
		return;
	TAILQ_FOREACH (a, &r->away.all, link) {
		struct pr_port p = port_of(a);
		if (pr_find(was, &p) && !pr_find(now, &p))
			lose(a, now->volume_id, ua);
	}
}
