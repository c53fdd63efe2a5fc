/* The table of the software volume (software.h): checked, looked into, changed. */
#include "runtime/software.h"
#include "runtime/check.h"
#include "runtime/crc32c.h"
#include "runtime/err.h"
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the table is written as it is");

/* ---- what may stand in it ---- */

/* A name that ends within its field; what follows its end is zeros. */
static bool name_ok(const char *s, size_t size)
{
	size_t len = strnlen(s, size);
	if (len == 0 || len == size || s[0] == '-' || s[0] == '.')
		return false;
	for (size_t i = 0; i < len; i++)
		if (!isalnum((unsigned char)s[i]) && !strchr("._+-", s[i]))
			return false;
	for (size_t i = len; i < size; i++)
		if (s[i])
			return false;
	return true;
}

static bool empty(const char *s, size_t size)
{
	for (size_t i = 0; i < size; i++)
		if (s[i])
			return false;
	return true;
}

bool software_name_ok(const char *name)
{
	char field[SOFTWARE_NAME] = "";
	size_t len = strlen(name);
	if (len >= sizeof(field) || strcmp(name, SOFTWARE_INSTALLED) == 0)
		return false;
	memcpy(field, name, len);
	return name_ok(field, sizeof(field));
}

const struct software_program *software_find(const struct software_table *t, const char *name)
{
	for (uint32_t i = 0; i < t->nprograms; i++)
		if (strcmp(t->programs[i].name, name) == 0)
			return &t->programs[i];
	return NULL;
}

static bool known(const struct software_table *t, const char *name)
{
	return strcmp(name, SOFTWARE_INSTALLED) == 0 || software_find(t, name);
}

static bool overlap(const struct software_program *a, const struct software_program *b)
{
	return a->off < b->off + b->size && b->off < a->off + a->size;
}

static bool program_ok(const struct software_table *t, uint32_t i)
{
	const struct software_program *p = &t->programs[i];
	if (!name_ok(p->name, sizeof(p->name)) || !software_name_ok(p->name))
		return false;
	if (p->off < SOFTWARE_DATA_OFF || p->off % SOFTWARE_ALIGN || p->size == 0 ||
	    p->size > SOFTWARE_PROGRAM_MAX || p->off > t->volume_size ||
	    p->size > t->volume_size - p->off || program_note_check(&p->note))
		return false;
	for (uint32_t k = 0; k < i; k++)
		if (strcmp(t->programs[k].name, p->name) == 0 || overlap(&t->programs[k], p))
			return false;
	return true;
}

static bool head_ok(const struct software_table *t, uint32_t i)
{
	const struct software_head *h = &t->heads[i];
	if (!name_ok(h->head, sizeof(h->head)) || !name_ok(h->version, sizeof(h->version)) ||
	    !name_ok(h->before, sizeof(h->before)) || !known(t, h->version) || !known(t, h->before))
		return false;
	for (uint32_t k = 0; k < i; k++)
		if (strcmp(t->heads[k].head, h->head) == 0)
			return false;
	return true;
}

static bool activation_ok(const struct software_table *t)
{
	if (t->phase == SOFTWARE_NONE)
		return empty(t->target, sizeof(t->target)) && empty(t->only, sizeof(t->only));
	return t->phase <= SOFTWARE_BACK && name_ok(t->target, sizeof(t->target)) &&
	       known(t, t->target) &&
	       (empty(t->only, sizeof(t->only)) || name_ok(t->only, sizeof(t->only)));
}

static bool table_ok(const struct software_table *t)
{
	if (t->nprograms > SOFTWARE_VERSIONS || t->nheads > SOFTWARE_HEADS || t->one_way > 1 ||
	    t->seq == 0 || t->seq == UINT64_MAX)
		return false;
	for (uint32_t i = 0; i < t->nprograms; i++)
		if (!program_ok(t, i))
			return false;
	for (uint32_t i = 0; i < t->nheads; i++)
		if (!head_ok(t, i))
			return false;
	return name_ok(t->active, sizeof(t->active)) && known(t, t->active) &&
	       (empty(t->previous, sizeof(t->previous)) ||
		(name_ok(t->previous, sizeof(t->previous)) && known(t, t->previous))) &&
	       activation_ok(t);
}

/* ---- as bytes ---- */

void software_init(struct software_table *t, uint64_t volume_size)
{
	memset(t, 0, sizeof(*t));
	t->volume_size = volume_size;
	strcpy(t->active, SOFTWARE_INSTALLED);
}

void software_encode(struct software_table *t, void *buf)
{
	memset(buf, 0, SOFTWARE_TABLE_LEN);
	t->magic = SOFTWARE_MAGIC;
	t->version = SOFTWARE_VERSION;
	t->crc = 0;
	memcpy(buf, t, sizeof(*t));
	t->crc = crc32c(buf, SOFTWARE_TABLE_LEN);
	memcpy((char *)buf + offsetof(struct software_table, crc), &t->crc, sizeof(t->crc));
}

int software_decode(const void *buf, size_t len, uint64_t volume_size, struct software_table *ret)
{
	static const uint32_t zero;
	const uint8_t *b = buf;
	size_t at = offsetof(struct software_table, crc), i;
	if (len != SOFTWARE_TABLE_LEN)
		return -EINVAL;
	for (i = 0; i < len && !b[i]; i++)
		;
	if (i == len)
		return -ENODATA;
	memcpy(ret, buf, sizeof(*ret));
	uint32_t crc = crc32c_add(CRC32C_INIT, b, at);
	crc = crc32c_add(crc, &zero, sizeof(zero));
	crc = crc32c_end(crc32c_add(crc, b + at + sizeof(zero), len - at - sizeof(zero)));
	if (ret->magic != SOFTWARE_MAGIC || ret->crc != crc)
		return -ERR_CORRUPT;
	if (ret->version != SOFTWARE_VERSION)
		return -ERR_VERSION;
	/* The volume may have grown since. */
	return ret->volume_size <= volume_size && table_ok(ret) ? 0 : -ERR_CORRUPT;
}

/* ---- heads ---- */

static struct software_head *head_find(struct software_table *t, const char *head)
{
	for (uint32_t i = 0; i < t->nheads; i++)
		if (strcmp(t->heads[i].head, head) == 0)
			return &t->heads[i];
	return NULL;
}

const char *software_of_head(const struct software_table *t, const char *head)
{
	const struct software_head *h = head_find((struct software_table *)t, head);
	return h ? h->version : t->active;
}

static void drop_head(struct software_table *t, uint32_t i)
{
	t->heads[i] = t->heads[--t->nheads];
	memset(&t->heads[t->nheads], 0, sizeof(t->heads[0]));
}

static void set_name(char *to, size_t size, const char *name)
{
	memset(to, 0, size);
	memcpy(to, name, MIN(strlen(name), size - 1));
}

#define SET(field, name) set_name((field), sizeof(field), (name))

/* ---- programs ---- */

static int by_place(const void *a, const void *b)
{
	const struct software_program *x = *(const struct software_program *const *)a;
	const struct software_program *y = *(const struct software_program *const *)b;
	return x->off < y->off ? -1 : x->off > y->off;
}

int software_place(const struct software_table *t, uint64_t size, uint64_t *ret_off, char *why)
{
	const struct software_program *p[SOFTWARE_VERSIONS];
	uint64_t off = SOFTWARE_DATA_OFF;
	for (uint32_t i = 0; i < t->nprograms; i++)
		p[i] = &t->programs[i];
	qsort(p, t->nprograms, sizeof(p[0]), by_place);
	for (uint32_t i = 0; i < t->nprograms && p[i]->off - off < size; i++) {
		uint64_t end = p[i]->off + p[i]->size;
		off = (end + SOFTWARE_ALIGN - 1) & ~(SOFTWARE_ALIGN - 1);
	}
	if (off > t->volume_size || size > t->volume_size - off) {
		snprintf(why, SOFTWARE_WHY,
			 "the software volume has no room for %llu bytes; remove a version",
			 (unsigned long long)size);
		return -ENOSPC;
	}
	*ret_off = off;
	return 0;
}

static int idle(const struct software_table *t, char *why)
{
	if (t->phase == SOFTWARE_NONE)
		return 0;
	snprintf(why, SOFTWARE_WHY,
		 "version '%s' is being activated; wait until that has ended (isthmus software "
		 "list)",
		 t->target);
	return -EBUSY;
}

int software_add(struct software_table *t, const struct software_program *p, char *why)
{
	int rc = idle(t, why);
	if (rc)
		return rc;
	if (software_find(t, p->name)) {
		snprintf(why, SOFTWARE_WHY,
			 "there is a version '%.47s' already; give it another --name, or remove "
			 "that first",
			 p->name);
		return -EEXIST;
	}
	if (t->nprograms == SOFTWARE_VERSIONS) {
		snprintf(why, SOFTWARE_WHY, "%u versions are installed; remove one",
			 SOFTWARE_VERSIONS);
		return -ENOSPC;
	}
	t->programs[t->nprograms++] = *p;
	if (program_ok(t, t->nprograms - 1))
		return 0;
	memset(&t->programs[--t->nprograms], 0, sizeof(*p));
	snprintf(why, SOFTWARE_WHY,
		 "'%.47s' is not a name of a version; letters, digits, '.', '_', '+' and '-', at "
		 "most %u",
		 p->name, SOFTWARE_NAME - 1);
	return -EINVAL;
}

int software_drop(struct software_table *t, const char *name, char *why)
{
	const struct software_program *p = software_find(t, name);
	int rc = idle(t, why);
	if (rc)
		return rc;
	if (!p) {
		snprintf(why, SOFTWARE_WHY,
			 "there is no version '%.47s'; see isthmus software list", name);
		return -ENOENT;
	}
	bool used = strcmp(t->active, name) == 0;
	for (uint32_t i = 0; i < t->nheads; i++)
		used |= strcmp(t->heads[i].version, name) == 0;
	if (used) {
		snprintf(why, SOFTWARE_WHY, "version '%.47s' is in use; activate another first",
			 name);
		return -EBUSY;
	}
	if (strcmp(t->previous, name) == 0)
		SET(t->previous, "");
	uint32_t i = (uint32_t)(p - t->programs);
	for (uint32_t k = 0; k < t->nheads; k++)
		SET(t->heads[k].before, t->heads[k].version);
	t->programs[i] = t->programs[--t->nprograms];
	memset(&t->programs[t->nprograms], 0, sizeof(t->programs[0]));
	return 0;
}

/* ---- activation ---- */

static int put_head(struct software_table *t, const char *head, char *why)
{
	struct software_head *h = head_find(t, head);
	if (h) {
		SET(h->before, h->version);
		return 0;
	}
	if (t->nheads == SOFTWARE_HEADS) {
		snprintf(why, SOFTWARE_WHY, "there are more than %u heads", SOFTWARE_HEADS);
		return -E2BIG;
	}
	h = &t->heads[t->nheads++];
	SET(h->head, head);
	SET(h->version, t->active);
	SET(h->before, t->active);
	if (head_ok(t, t->nheads - 1))
		return 0;
	drop_head(t, t->nheads - 1);
	snprintf(why, SOFTWARE_WHY, "'%.60s' is not a name of a head", head);
	return -EINVAL;
}

int software_begin(struct software_table *t, const char *target, const char *only, bool one_way,
		   const char *const *heads, size_t n, char *why)
{
	int rc = idle(t, why);
	if (rc)
		return rc;
	if (!known(t, target)) {
		snprintf(why, SOFTWARE_WHY,
			 "there is no version '%.47s'; see isthmus software list", target);
		return -ENOENT;
	}
	/* Heads that are no more. */
	for (uint32_t i = t->nheads; i-- > 0 && !*only;) {
		size_t k;
		for (k = 0; k < n && strcmp(heads[k], t->heads[i].head) != 0; k++)
			;
		if (k == n)
			drop_head(t, i);
	}
	for (size_t i = 0; i < n; i++)
		if (!*only || strcmp(heads[i], only) == 0)
			rc = rc ? rc : put_head(t, heads[i], why);
	if (rc)
		return rc;
	SET(t->target, target);
	SET(t->only, only);
	t->one_way = one_way;
	t->phase = SOFTWARE_FORWARD;
	return 0;
}

int software_assign(struct software_table *t, const char *head, char *why)
{
	struct software_head *h = head_find(t, head);
	if (!h || t->phase == SOFTWARE_NONE || (*t->only && strcmp(t->only, head) != 0)) {
		snprintf(why, SOFTWARE_WHY, "no activation is in progress for head '%.60s'", head);
		return -EINVAL;
	}
	SET(h->version, t->phase == SOFTWARE_FORWARD ? t->target : h->before);
	return 0;
}

int software_back(struct software_table *t, char *why)
{
	if (t->phase != SOFTWARE_FORWARD) {
		snprintf(why, SOFTWARE_WHY, "no activation goes forward");
		return -EINVAL;
	}
	t->phase = SOFTWARE_BACK;
	return 0;
}

/* Have all heads that it is about what they are to have? */
static bool complete(const struct software_table *t)
{
	for (uint32_t i = 0; i < t->nheads; i++) {
		const struct software_head *h = &t->heads[i];
		if (*t->only && strcmp(t->only, h->head) != 0)
			continue;
		if (strcmp(h->version, t->phase == SOFTWARE_FORWARD ? t->target : h->before) != 0)
			return false;
	}
	return true;
}

int software_finish(struct software_table *t, char *why)
{
	if (t->phase == SOFTWARE_NONE || (!complete(t) && !t->one_way)) {
		snprintf(why, SOFTWARE_WHY, "no activation can be ended now");
		return -EINVAL;
	}
	if (t->phase == SOFTWARE_FORWARD && !*t->only && complete(t) &&
	    strcmp(t->active, t->target) != 0) {
		SET(t->previous, t->active);
		SET(t->active, t->target);
	}
	/* Those that run what all run need no entry. */
	for (uint32_t i = t->nheads; i-- > 0;) {
		SET(t->heads[i].before, t->heads[i].version);
		if (strcmp(t->heads[i].version, t->active) == 0)
			drop_head(t, i);
	}
	t->phase = SOFTWARE_NONE;
	t->one_way = 0;
	SET(t->target, "");
	SET(t->only, "");
	return 0;
}
