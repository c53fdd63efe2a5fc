/*
 * Which extents of a pool are free, and taking runs of them: first a single
 * run that is long enough, else as few as the free runs from the start give.
 */
#ifndef ISTHMUS_BLOCKCORE_EXTENT_MAP_H
#define ISTHMUS_BLOCKCORE_EXTENT_MAP_H

#include "blockcore/pool/raid.h"

struct extent_map {
	uint64_t extents;	 /* in all */
	struct extent_run *used; /* any order until extent_map_sort() */
	size_t n, cap;
};

void extent_map_init(struct extent_map *m, uint64_t extents);
void extent_map_fini(struct extent_map *m);
int extent_map_add(struct extent_map *m, uint64_t first, uint64_t count); /* -ENOMEM */
/* Sorts and joins what touches; required before the functions below. */
void extent_map_sort(struct extent_map *m);
uint64_t extent_map_free(const struct extent_map *m);
/* Runs for `count` extents; ret to be freed. near: the first run continues it where that is
 * free (growing a volume), UINT64_MAX: nowhere. -ENOSPC, -ENOMEM. */
int extent_map_find(const struct extent_map *m, uint64_t count, uint64_t near,
		    struct extent_run **ret, size_t *ret_n);

#endif
