/*
 * Targets as the metadata says once, and what an initiator may see of them. A
 * scsi_target never changes after it was made: readers hold a reference.
 *
 *   who may log in    an initiator with an access entry, or anyone when the target is open
 *   what it sees      the LUN map of its entry; without a map (or an entry) all LUNs
 *   read-only         what the LUN or the map says
 */
#include <errno.h>
#include <stdlib.h>
#include <strings.h>
#include "server/scsi/scsi_priv.h"

static int target_lun_compare(const void *a, const void *b)
{
	const struct target_lun *x = a, *y = b;
	return x->number < y->number ? -1 : x->number > y->number;
}

void target_sort(struct scsi_target *t)
{
	qsort(t->luns, t->nluns, sizeof(t->luns[0]), target_lun_compare);
}

static void initiator_free(struct target_initiator *i)
{
	free(i->iqn);
	free(i->chap_user);
	free(i->chap_secret);
	free(i->maps);
}

void scsi_target_put(struct scsi_target *t)
{
	if (!t)
		return;
	CHECK(t, SCSI_TARGET_MAGIC);
	if (atomic_fetch_sub(&t->refs, 1) != 1)
		return;
	for (unsigned i = 0; i < t->nluns; i++)
		lu_put(t->luns[i].lu);
	for (unsigned i = 0; i < t->ninitiators; i++)
		initiator_free(&t->initiators[i]);
	free(t->luns);
	free(t->initiators);
	free(t->iqn);
	free(t->groups);
	free(t->ports);
	free(t->redirect);
	free(t->chap_user);
	free(t->chap_secret);
	free(t->mutual_user);
	free(t->mutual_secret);
	t->magic = 0;
	free(t);
}

const char *scsi_target_iqn(const struct scsi_target *t)
{
	return t->iqn;
}

uint16_t target_port(const struct scsi_target *t, uint16_t tag)
{
	for (unsigned i = 0; i < t->nports; i++)
		if (t->ports[i].tag == tag)
			return t->ports[i].number;
	return 0;
}

bool scsi_target_in_group(const struct scsi_target *t, uint16_t group)
{
	for (unsigned i = 0; i < t->ngroups; i++)
		if (t->groups[i] == group)
			return true;
	return t->ngroups == 0;
}

const char *scsi_target_redirect(const struct scsi_target *t, bool *ret_permanent)
{
	if (!t->redirect[0])
		return NULL;
	*ret_permanent = t->redirect_permanent;
	return t->redirect;
}

static const struct target_initiator *target_entry(const struct scsi_target *t,
						   const char *initiator)
{
	for (unsigned i = 0; i < t->ninitiators; i++)
		if (!strcasecmp(t->initiators[i].iqn, initiator))
			return &t->initiators[i];
	return NULL;
}

int scsi_target_admit(struct scsi_target *t, const char *initiator, struct scsi_auth *ret_auth)
{
	CHECK(t, SCSI_TARGET_MAGIC);
	const struct target_initiator *e = target_entry(t, initiator);
	if (!e && !t->open)
		return -EACCES;
	bool own = e && e->chap_user[0];
	memset(ret_auth, 0, sizeof(*ret_auth));
	text_copy(ret_auth->user, own ? e->chap_user : t->chap_user, sizeof(ret_auth->user));
	text_copy(ret_auth->secret, own ? e->chap_secret : t->chap_secret,
		  sizeof(ret_auth->secret));
	text_copy(ret_auth->mutual_user, t->mutual_user, sizeof(ret_auth->mutual_user));
	text_copy(ret_auth->mutual_secret, t->mutual_secret, sizeof(ret_auth->mutual_secret));
	return 0;
}

bool target_admits(const struct scsi_target *t, const char *initiator)
{
	return t->open || target_entry(t, initiator);
}

bool target_listed(const struct scsi_target *t, const char *initiator)
{
	return t->open || t->discovery_open || target_entry(t, initiator);
}

static const struct target_lun *target_lun_find(const struct scsi_target *t, uint32_t number)
{
	struct target_lun key = {.number = number};
	return bsearch(&key, t->luns, t->nluns, sizeof(key), target_lun_compare);
}

static struct scsi_view *view_all(const struct scsi_target *t)
{
	struct scsi_view *v = view_new(t->nluns);
	for (unsigned i = 0; v && i < t->nluns; i++)
		view_add(v, t->luns[i].number, t->luns[i].lu, t->luns[i].read_only);
	return v;
}

struct scsi_view *target_view(const struct scsi_target *t, const char *initiator)
{
	const struct target_initiator *e = target_entry(t, initiator);
	if (!e && !t->open)
		return view_new(0);
	if (!e || !e->nmaps)
		return view_all(t);
	struct scsi_view *v = view_new(e->nmaps);
	for (unsigned i = 0; v && i < e->nmaps; i++) {
		const struct target_map *m = &e->maps[i];
		const struct target_lun *l = target_lun_find(t, m->target_lun);
		if (l) /* the metadata may name a LUN that was removed */
			view_add(v, m->lun, l->lu, l->read_only || m->read_only);
	}
	if (v)
		view_sort(v);
	return v;
}
