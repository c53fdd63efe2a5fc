/* Verbs discovery.set and discovery.show: what initiators show before targets are listed. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "server/scsi/scsi_admin.h"

struct discovery_change {
	struct chap_args chap, mutual;
};

static const char *wrong(const Isthmus__DiscoveryAuth *d)
{
	if (!d->chap_user[0] != !d->chap_secret[0] || !d->mutual_user[0] != !d->mutual_secret[0])
		return "a CHAP user and its secret go together";
	if (d->mutual_user[0] && !d->chap_user[0])
		return "mutual CHAP needs a user and secret for initiators as well";
	if (d->mutual_secret[0] && !strcmp(d->chap_secret, d->mutual_secret))
		return "the secrets of the two directions must differ";
	return NULL;
}

static int change_set(Isthmus__ArrayMeta *am, void *arg, char *why)
{
	const struct discovery_change *x = arg;
	if (!am->discovery) {
		am->discovery = malloc(sizeof(*am->discovery));
		if (!am->discovery)
			return -ENOMEM;
		isthmus__discovery_auth__init(am->discovery);
	}
	Isthmus__DiscoveryAuth *d = am->discovery;
	if (chap_apply(&x->chap, &d->chap_user, &d->chap_secret) ||
	    chap_apply(&x->mutual, &d->mutual_user, &d->mutual_secret))
		return -ENOMEM;
	if (!wrong(d))
		return 0;
	snprintf(why, WHY_SIZE, "%s", wrong(d));
	return -EINVAL;
}

int admin_discovery_set(struct admin_call *c, void *arg)
{
	struct discovery_change x;
	int err = arg_chap(c, "chap-user", "chap-secret", &x.chap);
	if (!err)
		err = arg_chap(c, "mutual-user", "mutual-secret", &x.mutual);
	return err ? err : admin_change(c, arg, change_set, &x, NULL);
}

int admin_discovery_show(struct admin_call *c, void *arg)
{
	struct scsi_registry *r = arg;
	const Isthmus__DiscoveryAuth *d = meta_get(core_meta(r->core))->discovery;
	admin_table(c, "discovery", true);
	admin_row(c);
	admin_put_text(c, "chap_user", "%s", d ? d->chap_user : "");
	admin_put_text(c, "mutual_user", "%s", d ? d->mutual_user : "");
	return 0;
}
