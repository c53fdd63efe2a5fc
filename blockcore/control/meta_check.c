/*
 * Validation of array metadata: what all nouns need; the nouns are in meta_check_*.c. Every list is
 * checked for duplicates by sorting, so that a hostile message of 7 MiB costs no more than n log n.
 */
#include "blockcore/control/meta_check_impl.h"
#include "blockcore/control/meta.h"
#include "blockcore/control/meta_scsi.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

int meta_bad(const struct checker *k, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(k->why, META_WHY_LEN, fmt, ap);
	va_end(ap);
	return -ERR_CORRUPT;
}

bool meta_name_ok(const char *name)
{
	static const char first[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
	static const char more[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-";
	size_t n = strnlen(name, 64);
	return n > 0 && n <= 63 && strspn(name, first) > 0 && strspn(name, more) == n;
}

unsigned meta_level_copies(const char *level, unsigned ndisks)
{
	if (strcmp(level, "single") == 0)
		return ndisks == 1 ? 1 : 0;
	if (strcmp(level, "raid0") == 0)
		return ndisks >= 2 && ndisks <= META_POOL_DISKS ? 1 : 0;
	if (strcmp(level, "raid1") == 0)
		return ndisks == 2 || ndisks == 3 ? ndisks : 0;
	if (strcmp(level, "raid10") == 0)
		return ndisks >= 4 && ndisks % 2 == 0 && ndisks <= META_POOL_DISKS ? 2 : 0;
	unsigned parity = meta_level_parity(level);
	return parity && ndisks >= parity + 2 && ndisks <= META_PARITY_DISKS ? 1 : 0;
}

unsigned meta_level_parity(const char *level)
{
	if (strcmp(level, "raid5") == 0)
		return 1;
	return strcmp(level, "raid6") == 0 ? 2 : 0;
}

int meta_text_order(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

int meta_u32_order(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return (x > y) - (x < y);
}

int meta_uuid_order(const void *a, const void *b)
{
	return memcmp(*(uint8_t *const *)a, *(uint8_t *const *)b, 16);
}

void *meta_array(size_t n, size_t size)
{
	return calloc(n ? n : 1, size);
}

/* Sorts; names the first value that stands there twice. */
int meta_texts_unique(const struct checker *k, const char **v, size_t n, const char *what)
{
	qsort(v, n, sizeof(*v), meta_text_order);
	for (size_t i = 1; i < n; i++)
		if (strcmp(v[i - 1], v[i]) == 0)
			return meta_bad(k, "%s: '%.80s' stands there twice", what, v[i]);
	return 0;
}

/* The member at `off` of every message of a repeated field is a text of its own. */
int meta_member_unique(const struct checker *k, void *const *items, size_t n, size_t off,
		       const char *what)
{
	const char **v = meta_array(n, sizeof(*v));
	if (!v)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		v[i] = *(char **)((char *)items[i] + off);
	int rc = meta_texts_unique(k, v, n, what);
	free(v);
	return rc;
}
bool meta_volume_known(const struct checker *k, uint32_t id)
{
	return bsearch(&id, k->volumes, k->am->n_volumes, sizeof(id), meta_u32_order) != NULL;
}

bool meta_pool_known(const struct checker *k, const char *name)
{
	return bsearch(&name, k->pools, k->am->n_pools, sizeof(name), meta_text_order) != NULL;
}

int meta_check(const Isthmus__ArrayMeta *am, char *why)
{
	struct checker k = {.am = am, .why = why};
	if (am->version < META_VERSION_OLDEST || am->version > META_VERSION) {
		meta_bad(&k, "version: %u is not spoken here (only %d to %d)", am->version,
			 META_VERSION_OLDEST, META_VERSION);
		return -ERR_VERSION;
	}
	if (am->array_uuid.len != 16)
		return meta_bad(&k, "array_uuid: %zu bytes", am->array_uuid.len);
	if (strlen(am->array_name) > 63)
		return meta_bad(&k, "array_name: longer than 63");
	int rc = meta_check_pools(&k);
	if (rc == 0)
		rc = meta_check_volumes(&k);
	if (rc == 0)
		rc = meta_check_targets(&k);
	if (rc == 0)
		rc = meta_check_ports(&k);
	if (rc == 0)
		rc = meta_check_reservations(&k);
	if (rc == 0)
		rc = meta_check_discovery(&k);
	if (rc == 0)
		rc = meta_check_spares(&k);
	if (rc == 0)
		rc = meta_check_groups(&k);
	if (rc == 0)
		rc = meta_check_heads(&k);
	if (rc == 0)
		rc = meta_check_filesystems(&k);
	if (rc == 0)
		rc = meta_check_exports(&k);
	if (rc == -ENOMEM)
		snprintf(why, META_WHY_LEN, "%s", err_text(rc));
	free(k.pools);
	free(k.volumes);
	return rc;
}
