/*
 * The identity of the memory behind a volume (core_own.h, core_volume_memory_id()).
 */
#include "blockcore/core_impl.h"
#include "blockcore/core_own.h"

uint64_t core_volume_memory_id(struct core *c, const struct volume *v)
{
	return core_memory_id(c);
}
