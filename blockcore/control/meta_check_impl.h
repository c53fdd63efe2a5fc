/* What the files of the check of the metadata share (meta_check.h). */
#ifndef ISTHMUS_BLOCKCORE_CONTROL_META_CHECK_IMPL_H
#define ISTHMUS_BLOCKCORE_CONTROL_META_CHECK_IMPL_H

#include <stddef.h>
#include <stdint.h>
#include "blockcore/control/meta_check.h"

struct checker {
	const Isthmus__ArrayMeta *am;
	char *why;
	const char **pools; /* names, sorted */
	uint32_t *volumes;  /* ids, sorted */
};

/* -ERR_CORRUPT, and says why. */
int meta_bad(const struct checker *k, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* For qsort() and bsearch(): pointers to texts, numbers, pointers to uuids. */
int meta_text_order(const void *a, const void *b);
int meta_u32_order(const void *a, const void *b);
int meta_uuid_order(const void *a, const void *b);
/* calloc() that gives something for nothing, too. */
void *meta_array(size_t n, size_t size);

/* Sorts; names the first value that stands there twice. */
int meta_texts_unique(const struct checker *k, const char **v, size_t n, const char *what);
/* The member at `off` of every message of a repeated field is a text of its own. */
int meta_member_unique(const struct checker *k, void *const *items, size_t n, size_t off,
		       const char *what);
#define MEMBERS_UNIQUE(k, field, n, type, member, what)                                            \
	meta_member_unique(k, (void *const *)(field), n, offsetof(type, member), what)

bool meta_volume_known(const struct checker *k, uint32_t id);
bool meta_pool_known(const struct checker *k, const char *name);

/* By noun. Pools first, then volumes: they leave what the others look up in the checker. */
int meta_check_pools(struct checker *k);
int meta_check_volumes(struct checker *k);
int meta_check_spares(const struct checker *k);
int meta_check_targets(const struct checker *k);
int meta_check_ports(const struct checker *k);
int meta_check_discovery(const struct checker *k);
int meta_check_reservations(const struct checker *k);
int meta_check_groups(const struct checker *k);
int meta_check_heads(const struct checker *k);
int meta_check_filesystems(const struct checker *k);
int meta_check_exports(const struct checker *k);

#endif
