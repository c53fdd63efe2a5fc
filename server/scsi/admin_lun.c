/* Verbs lun.add, list and remove. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include "server/scsi/forward.h"
#include "server/scsi/scsi_admin.h"

#define SERIAL_MAX 32

struct lun_change {
	char target[SCSI_NAME_MAX + 1];
	const char *volume, *serial; /* serial: NULL when not given */
	bool has_lun, has_block_size, has_physical, read_only, removable, no_unmap;
	uint64_t lun, block_size, physical;
	/* what became of it */
	uint32_t got_lun;
	char got_serial[SERIAL_MAX + 1];
};

/* ---- add ---- */

static Isthmus__Volume *volume_by_name(const Isthmus__ArrayMeta *am, const char *name)
{
	for (size_t i = 0; i < am->n_volumes; i++)
		if (!strcmp(am->volumes[i]->name, name))
			return am->volumes[i];
	return NULL;
}

static int volume_usable(const Isthmus__ArrayMeta *am, const Isthmus__Volume *v, char *why)
{
	const char *by = NULL;
	for (size_t i = 0; i < am->n_filesystems; i++)
		if (am->filesystems[i]->volume_id == v->id)
			by = "a file system";
	if (!strcmp(v->purpose, "fs"))
		by = "a file system";
	else if (!strncmp(v->purpose, "piv", 3))
		by = "a head group";
	else if (!strcmp(v->purpose, "software"))
		by = "the programs of heads";
	if (!by)
		return 0;
	snprintf(why, WHY_SIZE, "volume %.64s belongs to %s", v->name, by);
	return -EBUSY;
}

static bool serial_ok(const char *s)
{
	size_t n = strlen(s);
	if (!n || n > SERIAL_MAX)
		return false;
	for (size_t i = 0; i < n; i++)
		if (s[i] <= ' ' || s[i] > '~')
			return false;
	return true;
}

static void serial_of_volume(char serial[SERIAL_MAX + 1], const Isthmus__Volume *v)
{
	serial[0] = 0;
	for (size_t i = 0; i < v->uuid.len && i < SERIAL_MAX / 2; i++)
		snprintf(serial + i * 2, 3, "%02x", v->uuid.data[i]);
	if (!serial[0])
		snprintf(serial, SERIAL_MAX + 1, "volume-%u", v->id);
}

/*
 * A volume is one logical unit, however many targets show it (multipathing tells by its serial
 * number), and a serial number is of one volume.
 */
static int lun_agree(const Isthmus__ArrayMeta *am, const Isthmus__Volume *v, struct lun_change *x,
		     char *why)
{
	for (size_t i = 0; i < am->n_targets; i++) {
		for (size_t k = 0; k < am->targets[i]->n_luns; k++) {
			const Isthmus__Lun *l = am->targets[i]->luns[k];
			uint32_t bs = l->block_size ? l->block_size : 512;
			if (l->volume_id != v->id) {
				if (x->serial && !strcmp(l->serial, x->serial)) {
					snprintf(why, WHY_SIZE,
						 "serial number %s is that of LUN %u of %.160s",
						 x->serial, l->lun, am->targets[i]->iqn);
					return -EEXIST;
				}
				continue;
			}
			uint32_t physical = l->physical_size ? l->physical_size : 4096;
			if ((x->has_block_size && x->block_size != bs) ||
			    (x->has_physical && x->physical != physical) ||
			    (x->removable && !l->removable) || (x->no_unmap && !l->no_unmap) ||
			    (x->serial && strcmp(x->serial, l->serial))) {
				snprintf(
				    why, WHY_SIZE,
				    "the volume is LUN %u of %.80s with blocks of %u (%u) bytes, "
				    "serial %.32s%s%s; it is one unit",
				    l->lun, am->targets[i]->iqn, bs, physical, l->serial,
				    l->removable ? ", removable" : "",
				    l->no_unmap ? ", no-unmap" : "");
				return -EEXIST;
			}
			x->block_size = bs;
			x->physical = physical;
			x->removable = l->removable;
			x->no_unmap = l->no_unmap;
			text_copy(x->got_serial, l->serial, sizeof(x->got_serial));
		}
	}
	return 0;
}

static int lun_number(const Isthmus__Target *t, const Isthmus__Volume *v, struct lun_change *x,
		      char *why)
{
	for (size_t i = 0; i < t->n_luns; i++) {
		if (t->luns[i]->volume_id == v->id) {
			snprintf(why, WHY_SIZE, "the volume is LUN %u of this target already",
				 t->luns[i]->lun);
			return -EEXIST;
		}
	}
	if (x->has_lun && meta_lun(t, (uint32_t)x->lun)) {
		snprintf(why, WHY_SIZE, "the target has a LUN %u already", (unsigned)x->lun);
		return -EEXIST;
	}
	while (!x->has_lun && x->lun <= SCSI_LUN_MAX && meta_lun(t, (uint32_t)x->lun))
		x->lun++;
	if (x->lun > SCSI_LUN_MAX) {
		snprintf(why, WHY_SIZE, "a target has at most %d LUNs", SCSI_LUN_MAX + 1);
		return -ENOSPC;
	}
	x->got_lun = (uint32_t)x->lun;
	return 0;
}

static int lun_append(Isthmus__Target *t, const Isthmus__Volume *v, const struct lun_change *x)
{
	Isthmus__Lun *l = malloc(sizeof(*l));
	if (!l)
		return -ENOMEM;
	isthmus__lun__init(l);
	l->lun = x->got_lun;
	l->volume_id = v->id;
	l->read_only = x->read_only;
	l->block_size = (uint32_t)x->block_size;
	l->physical_size = (uint32_t)x->physical;
	l->removable = x->removable;
	l->no_unmap = x->no_unmap;
	if (pb_set_text(&l->serial, x->got_serial) || pb_append(&t->luns, &t->n_luns, l)) {
		isthmus__lun__free_unpacked(l, NULL);
		return -ENOMEM;
	}
	return 0;
}

static int change_add(Isthmus__ArrayMeta *am, void *arg, char *why)
{
	struct lun_change *x = arg;
	int err;
	Isthmus__Target *t = meta_target(am, x->target);
	if (!t)
		return no_such_target(why, x->target);
	Isthmus__Volume *v = volume_by_name(am, x->volume);
	if (!v) {
		snprintf(why, WHY_SIZE, "there is no volume %.64s", x->volume);
		return -ENOENT;
	}
	if ((err = volume_usable(am, v, why)) || (err = lun_number(t, v, x, why)) ||
	    (err = lun_agree(am, v, x, why)))
		return err;
	if (v->size % x->block_size) {
		snprintf(why, WHY_SIZE, "the volume's size is no multiple of %u bytes",
			 (unsigned)x->block_size);
		return -EINVAL;
	}
	if (x->serial)
		text_copy(x->got_serial, x->serial, sizeof(x->got_serial));
	else if (!x->got_serial[0])
		serial_of_volume(x->got_serial, v);
	return lun_append(t, v, x);
}

static int add_args(struct admin_call *c, struct lun_change *x)
{
	int err;
	memset(x, 0, sizeof(*x));
	if ((err = arg_name(c, "target", x->target)))
		return err;
	x->volume = admin_arg_text(c, "volume");
	if (!x->volume)
		return admin_error(c, -EINVAL, NULL, "volume is missing");
	if ((err = admin_arg_u64(c, "lun", &x->lun)) == -EINVAL)
		return err;
	x->has_lun = !err;
	if (x->lun > SCSI_LUN_MAX)
		return admin_error(c, -EINVAL, NULL, "lun: numbers are 0 to %d", SCSI_LUN_MAX);
	x->block_size = 512;
	if ((err = admin_arg_size(c, "block-size", &x->block_size)) == -EINVAL)
		return err;
	x->has_block_size = !err;
	if (x->block_size != 512 && x->block_size != 4096)
		return admin_error(c, -EINVAL, NULL, "block-size: blocks have 512 or 4096 bytes");
	x->serial = admin_arg_text(c, "serial");
	if (x->serial && !serial_ok(x->serial))
		return admin_error(c, -EINVAL, NULL,
				   "serial: 1 to %d printable characters without spaces",
				   SERIAL_MAX);
	x->physical = 4096;
	if ((err = admin_arg_size(c, "physical-size", &x->physical)) == -EINVAL)
		return err;
	x->has_physical = !err;
	if (x->physical < x->block_size || x->physical > 4096 || x->physical & (x->physical - 1))
		return admin_error(c, -EINVAL, NULL,
				   "physical-size: a power of two from the block size to 4096");
	x->read_only = admin_arg_flag(c, "read-only");
	x->removable = admin_arg_flag(c, "removable");
	x->no_unmap = admin_arg_flag(c, "no-unmap");
	return 0;
}

int admin_lun_add(struct admin_call *c, void *arg)
{
	struct lun_change x;
	int err = add_args(c, &x);
	if (!err)
		err =
		    admin_change(c, arg, change_add, &x,
				 "`isthmus volume list` and `isthmus lun list` show what there is");
	if (err)
		return err;
	admin_table(c, "lun", true);
	admin_row(c);
	admin_put_text(c, "target", "%s", x.target);
	admin_put_number(c, "lun", x.got_lun);
	admin_put_text(c, "volume", "%s", x.volume);
	admin_put_text(c, "serial", "%s", x.got_serial);
	return 0;
}

/* ---- remove ---- */

/* A mask that lost its last LUN would show all of them: so a LUN that a mask names stays. */
static int lun_in_masks(const Isthmus__ArrayMeta *am, const Isthmus__Target *t, uint32_t lun,
			char *why)
{
	for (size_t i = 0; i < am->n_initiators; i++) {
		const Isthmus__Initiator *e = am->initiators[i];
		if (strcasecmp(e->target, t->iqn))
			continue;
		for (size_t k = 0; k < e->n_luns; k++) {
			if (e->luns[k]->target_lun == lun) {
				snprintf(why, WHY_SIZE, "initiator %.200s is given this LUN",
					 e->iqn);
				return -EBUSY;
			}
		}
	}
	return 0;
}

static int change_remove(Isthmus__ArrayMeta *am, void *arg, char *why)
{
	const struct one_lun *x = arg;
	Isthmus__Target *t = meta_target(am, x->target);
	if (!t)
		return no_such_target(why, x->target);
	for (size_t i = 0; i < t->n_luns; i++) {
		Isthmus__Lun *l = t->luns[i];
		if (l->lun != x->lun)
			continue;
		int err = lun_in_masks(am, t, l->lun, why);
		if (err)
			return err;
		pb_remove(&t->luns, &t->n_luns, i);
		isthmus__lun__free_unpacked(l, NULL);
		return 0;
	}
	snprintf(why, WHY_SIZE, "the target has no LUN %u", x->lun);
	return -ENOENT;
}

int admin_lun_remove(struct admin_call *c, void *arg)
{
	struct one_lun x;
	int err = arg_one_lun(c, &x);
	if (err)
		return err;
	return admin_change(
	    c, arg, change_remove, &x,
	    "`isthmus lun list` shows LUNs; `isthmus initiator set` changes what an "
	    "initiator is given");
}

/* ---- list ---- */

/* With a partner: who carries out the unit's commands, and how many wait for one who does. */
static void put_place(struct admin_call *c, struct scsi_registry *r, const char *iqn, uint32_t lun)
{
	static const char *const places[] = {[CORE_HERE] = "here",
					     [CORE_PARTNER] = "partner",
					     [CORE_MOVING] = "moving",
					     [CORE_NOWHERE] = "nowhere"};
	if (!r->forward)
		return;
	const struct target_lun *l = registry_lun(r, iqn, lun);
	struct volume *v = l ? lu_volume(l->lu) : NULL;
	admin_put_text(c, "owner", "%s", places[v ? core_volume_place(v) : CORE_NOWHERE]);
	admin_put_number(c, "held", l ? atomic_load(&l->lu->forward.held) : 0);
}

int admin_lun_list(struct admin_call *c, void *arg)
{
	struct scsi_registry *r = arg;
	const Isthmus__ArrayMeta *am = meta_get(core_meta(r->core));
	const char *only;
	int err = arg_target_filter(c, r, &only);
	if (err)
		return err;
	admin_table(c, "luns", false);
	for (size_t i = 0; i < am->n_targets; i++) {
		const Isthmus__Target *t = am->targets[i];
		if (only && strcasecmp(only, t->iqn))
			continue;
		for (size_t k = 0; k < t->n_luns; k++) {
			const Isthmus__Lun *l = t->luns[k];
			const Isthmus__Volume *v = meta_volume(am, l->volume_id);
			admin_row(c);
			admin_put_text(c, "target", "%s", t->iqn);
			admin_put_number(c, "lun", l->lun);
			admin_put_text(c, "volume", "%s", v ? v->name : "?");
			admin_put_bytes(c, "size", v ? v->size : 0);
			admin_put_number(c, "block_size", l->block_size ? l->block_size : 512);
			admin_put_number(c, "physical_size",
					 l->physical_size ? l->physical_size : 4096);
			admin_put_flag(c, "read_only", l->read_only);
			put_limits(c, v ? v->limits : NULL);
			put_place(c, r, t->iqn, l->lun);
			admin_put_flag(c, "removable", l->removable);
			admin_put_flag(c, "unmap", !l->no_unmap);
			admin_put_text(c, "serial", "%s", l->serial);
		}
	}
	return 0;
}
