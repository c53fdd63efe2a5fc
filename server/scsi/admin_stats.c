/* Verbs lun.stats and lun.latency, and the SCSI layer's part of `stats` (for top). */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include "server/scsi/scsi_admin.h"

static void put_sum(struct admin_call *c, const struct stats_sum *s)
{
	admin_put_number(c, "reads", s->ops[KIND_READ]);
	admin_put_number(c, "writes", s->ops[KIND_WRITE]);
	admin_put_number(c, "others", s->ops[KIND_OTHER]);
	admin_put_bytes(c, "read", s->bytes[KIND_READ]);
	admin_put_bytes(c, "written", s->bytes[KIND_WRITE]);
	admin_put_histogram(c, "read_latency", &s->latency[KIND_READ]);
	admin_put_histogram(c, "write_latency", &s->latency[KIND_WRITE]);
	admin_put_number(c, "errors", s->errors);
}

/* ---- logical units ---- */

struct lu_row {
	const struct scsi_target *target; /* the first that shows it */
	uint32_t lun;
	struct scsi_lu *lu;
};

/* Calls fn once for each logical unit (of one target). On the metadata's reactor, as all here. */
static void each_lu(struct scsi_registry *r, const char *only,
		    void (*fn)(struct admin_call *c, struct scsi_registry *r,
			       const struct lu_row *row),
		    struct admin_call *c)
{
	r->listing++;
	for (unsigned i = 0; i < r->ntargets; i++) {
		const struct scsi_target *t = r->targets[i];
		if (only && strcasecmp(only, t->iqn))
			continue;
		for (unsigned k = 0; k < t->nluns; k++) {
			struct lu_row row = {t, t->luns[k].number, t->luns[k].lu};
			if (row.lu->listed == r->listing)
				continue; /* another target's as well: its counters are shared */
			row.lu->listed = r->listing;
			fn(c, r, &row);
		}
	}
}

/* Commands that came here and were carried out by the partner, and the other way; what they moved.
 */
static void put_forward(struct admin_call *c, struct lu_forward *f)
{
	admin_put_number(c, "to_partner", f->sent);
	admin_put_bytes(c, "to_partner_read", f->sent_read);
	admin_put_bytes(c, "to_partner_written", f->sent_written);
	admin_put_number(c, "of_partner", f->served);
	admin_put_bytes(c, "of_partner_read", f->served_read);
	admin_put_bytes(c, "of_partner_written", f->served_written);
}

static void put_lu(struct admin_call *c, struct scsi_registry *r, const struct lu_row *row)
{
	const Isthmus__Volume *v = meta_volume(meta_get(core_meta(r->core)), row->lu->volume_id);
	struct stats_sum *s = calloc(1, sizeof(*s));
	if (!s)
		return;
	lu_stats_merge(s, &row->lu->stats);
	admin_row(c);
	admin_put_text(c, "volume", "%s", v ? v->name : "?");
	admin_put_text(c, "target", "%s", row->target->iqn);
	admin_put_text(c, "lun", "%u", row->lun);
	put_sum(c, s);
	if (r->forward)
		put_forward(c, &row->lu->forward);
	free(s);
}

/* ---- initiators: their sessions together ---- */

struct initiator_sum {
	char name[224], target[224];
	struct stats_sum sum;
};

static int initiators_gather(struct scsi_registry *r, const char *only, struct initiator_sum **ret,
			     unsigned *ret_n)
{
	struct scsi_nexus *x;
	unsigned max = 0, n = 0;
	int err = 0;
	struct initiator_sum *s = NULL;
	pthread_mutex_lock(&r->lock);
	TAILQ_FOREACH (x, &r->nexuses, link)
		max++;
	s = calloc(max + 1, sizeof(*s));
	if (!s)
		err = -ENOMEM;
	TAILQ_FOREACH (x, &r->nexuses, link) {
		unsigned i = 0;
		if (err || x->proxy || (only && strcasecmp(only, x->target)))
			continue;
		while (i < n && (strcmp(s[i].name, x->initiator) || strcmp(s[i].target, x->target)))
			i++;
		if (i == n) {
			text_copy(s[n].name, x->initiator, sizeof(s[n].name));
			text_copy(s[n++].target, x->target, sizeof(s[0].target));
		}
		stats_merge(&s[i].sum, &x->stats);
	}
	pthread_mutex_unlock(&r->lock);
	*ret = s;
	*ret_n = n;
	return err;
}

static int put_initiators(struct scsi_registry *r, struct admin_call *c, const char *only)
{
	struct initiator_sum *s;
	unsigned n;
	int err = initiators_gather(r, only, &s, &n);
	admin_table(c, "initiators", false);
	for (unsigned i = 0; !err && i < n; i++) {
		admin_row(c);
		admin_put_text(c, "initiator", "%s", s[i].name);
		admin_put_text(c, "target", "%s", s[i].target);
		put_sum(c, &s[i].sum);
	}
	free(s);
	return err;
}

static int put_all(struct scsi_registry *r, struct admin_call *c, const char *only)
{
	admin_table(c, "luns", false);
	each_lu(r, only, put_lu, c);
	return put_initiators(r, c, only);
}

int admin_lun_stats(struct admin_call *c, void *arg)
{
	const char *only;
	int err = arg_target_filter(c, arg, &only);
	return err ? err : put_all(arg, c, only);
}

int admin_scsi_stats(struct admin_call *c, void *arg)
{
	return put_all(arg, c, NULL);
}

/* ---- lun.latency ---- */

const struct target_lun *registry_lun(struct scsi_registry *r, const char *iqn, uint64_t lun)
{
	for (unsigned i = 0; i < r->ntargets; i++)
		for (unsigned k = 0; k < r->targets[i]->nluns; k++)
			if (!strcasecmp(r->targets[i]->iqn, iqn) &&
			    r->targets[i]->luns[k].number == lun)
				return &r->targets[i]->luns[k];
	return NULL;
}

static uint64_t kind_total(const struct stages_sum *s, enum stats_kind k)
{
	uint64_t total = 0;
	for (unsigned g = 0; g < SCSI_STAGES; g++)
		total += s->stages[k][g].total_ns;
	return total;
}

static void put_stages(struct admin_call *c, const struct stages_sum *s, enum stats_kind k)
{
	uint64_t total = kind_total(s, k);
	for (unsigned g = 0; g < SCSI_STAGES; g++) {
		if (!s->stages[k][g].total_ns)
			continue; /* no command was ever in it */
		admin_row(c);
		admin_put_text(c, "operation", "%s", stats_kind_name(k));
		admin_put_text(c, "stage", "%s", stats_stage_name(g));
		admin_put_text(c, "share", "%.0f%%",
			       total ? 100.0 * (double)s->stages[k][g].total_ns / (double)total
				     : 0.0);
		admin_put_histogram(c, "latency", &s->stages[k][g]);
		admin_put_text(c, "what", "%s", stats_stage_help(g));
	}
}

static void put_totals(struct admin_call *c, const struct stats_sum *t, const struct stages_sum *s)
{
	admin_table(c, "commands", false);
	for (unsigned k = 0; k < KINDS; k++) {
		admin_row(c);
		admin_put_text(c, "operation", "%s", stats_kind_name(k));
		admin_put_number(c, "commands", t->ops[k]);
		admin_put_number(c, "sampled", s->samples[k]);
		admin_put_histogram(c, "latency", &t->latency[k]);
	}
}

/* The stage that took most of each kind's time, in a sentence. */
static void explain(struct admin_call *c, const struct stages_sum *s)
{
	for (unsigned k = 0; k < KINDS; k++) {
		uint64_t total = kind_total(s, k);
		unsigned most = 0;
		for (unsigned g = 1; g < SCSI_STAGES; g++)
			if (s->stages[k][g].total_ns > s->stages[k][most].total_ns)
				most = g;
		if (k != KIND_OTHER && total)
			admin_note(c, "Of a %s, %.0f %% of the time is %s: %s.", stats_kind_name(k),
				   100.0 * (double)s->stages[k][most].total_ns / (double)total,
				   stats_stage_name(most), stats_stage_help(most));
	}
}

int admin_lun_latency(struct admin_call *c, void *arg)
{
	struct scsi_registry *r = arg;
	struct one_lun which;
	int err = arg_one_lun(c, &which);
	if (err)
		return err;
	const struct target_lun *l = registry_lun(r, which.target, which.lun);
	if (!l)
		return admin_error(c, -ENOENT, "`isthmus lun list` shows LUNs",
				   "there is no LUN %u of %.200s", which.lun, which.target);
	struct stages_sum *s = calloc(1, sizeof(*s));
	struct stats_sum *t = calloc(1, sizeof(*t));
	if (s && t) {
		lu_stages_merge(s, &l->lu->stats);
		lu_stats_merge(t, &l->lu->stats);
		put_totals(c, t, s);
		admin_table(c, "stages", false);
		for (unsigned k = 0; k < KINDS; k++)
			put_stages(c, s, k);
		explain(c, s);
	} else {
		err = -ENOMEM;
	}
	free(s);
	free(t);
	return err;
}
