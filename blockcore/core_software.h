/* The software volume of the array (runtime/software.h) as its controller has it. */
#ifndef ISTHMUS_BLOCKCORE_CORE_SOFTWARE_H
#define ISTHMUS_BLOCKCORE_CORE_SOFTWARE_H

#include "blockcore/core_admin.h"
#include "runtime/software.h"

struct bdev;

/* NULL: there is none. */
const Isthmus__Volume *core_software_find(const Isthmus__ArrayMeta *am);
/*
 * The pool a new one is to lie in: of those with room that can lose a disk, else of all with room,
 * the one with most. NULL: none has. What of other controllers' pools is free is known too.
 */
const Isthmus__Pool *core_software_pool(struct core *c);
/* Waits. Makes it there: this controller's pool. */
int core_software_make(struct core *c, const char *pool, struct core_progress *p, char *why);
/* Waits. Removes it with all that is on it. */
int core_software_drop(struct core *c, char *why);
/* The volume behind its cache, as a device, and its table, which is made when there is none yet.
 * To be closed. */
int core_software_open(struct core *c, struct bdev **ret, struct software_table *t, char *why);

#endif
