/* The mirror management table: which pages of the partner's mirror area are unused. */
#include "blockcore/mirror/mirror.h"
#include <errno.h>
#include <stdlib.h>

uint32_t mirror_area_pages(uint32_t partner_pages, unsigned share)
{
	return (uint32_t)((uint64_t)partner_pages * share / 100);
}

int mirror_table_init(struct mirror_table *t, uint32_t npages)
{
	*t = (struct mirror_table){.first = MIRROR_NONE};
	if (!npages)
		return 0;
	t->next = calloc(npages, sizeof(*t->next));
	if (!t->next)
		return -ENOMEM;
	for (uint32_t i = 0; i < npages; i++)
		t->next[i] = i + 1 < npages ? i + 1 : MIRROR_NONE;
	t->first = 0;
	t->npages = t->nfree = npages;
	return 0;
}

void mirror_table_free(struct mirror_table *t)
{
	free(t->next);
	*t = (struct mirror_table){.first = MIRROR_NONE};
}

bool mirror_table_pop(struct mirror_table *t, uint32_t *ret, uint32_t n)
{
	if (t->nfree < n)
		return false;
	for (uint32_t i = 0; i < n; i++) {
		ret[i] = t->first;
		t->first = t->next[t->first];
	}
	t->nfree -= n;
	return true;
}

void mirror_table_push(struct mirror_table *t, const uint32_t *pages, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		t->next[pages[i]] = t->first;
		t->first = pages[i];
	}
	t->nfree += n;
}
