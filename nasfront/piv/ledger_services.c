/* Which services have a region, and giving one back. */
#include <errno.h>
#include <string.h>
#include "nasfront/piv/ledger_layout.h"
#include "runtime/bdev.h"
#include "runtime/err.h"

static int regions_of(struct bdev *b, struct piv_area *ret)
{
	struct piv_header h;
	int rc = b ? piv_header_read(b, &h) : -ENODEV;
	if (rc)
		return rc;
	*ret = piv_regions(&h);
	return h.regions ? 0 : -ENODEV;
}

/* Claims that cannot be read are passed over: the others are still told. */
static int volume_services(struct bdev *b, struct bdev *told,
			   void (*fn)(void *arg, const char *service), void *arg)
{
	struct piv_area a, t;
	struct piv_found f;
	struct piv_claim c;
	int rc = regions_of(b, &a);
	bool before = rc == 0 && regions_of(told, &t) == 0;
	for (unsigned i = 0; rc == 0 && i < a.count; i++)
		if (piv_claim_read(b, &a, i, &c) == 0 && c.name[0] &&
		    !(before && piv_claim_find(told, &t, c.name, &f) == 0 && f.own))
			fn(arg, c.name);
	return rc;
}

int ledger_services(struct bdev *main, struct bdev *backup,
		    void (*fn)(void *arg, const char *service), void *arg)
{
	int rc = volume_services(main, NULL, fn, arg);
	int second = volume_services(backup, rc ? NULL : main, fn, arg);
	return second ? rc : 0;
}

int ledger_remove(struct bdev *main, struct bdev *backup, const char *service)
{
	static const struct piv_claim nobody;
	struct bdev *volumes[] = {backup, main};
	int rc = 0;
	for (unsigned i = 0; i < 2; i++) {
		struct piv_area a;
		struct piv_found f;
		int one = volumes[i] ? regions_of(volumes[i], &a) : -ENODEV;
		if (one == -ENODEV || one == -ENODATA) /* none there */
			continue;
		if (one == 0)
			one = piv_claim_find(volumes[i], &a, service, &f);
		if (one == 0 && f.own)
			one = piv_claim_write(volumes[i], &a, f.index, &nobody);
		rc = rc ? rc : one;
	}
	return rc;
}
