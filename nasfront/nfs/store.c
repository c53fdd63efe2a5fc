/* Records and their keys (nasfront/nfs/store.h). */
#include "nasfront/nfs/store.h"
#include <string.h>
#include "runtime/bytes.h"
#include "runtime/check.h"
#include "runtime/fault.h"

void store_key_begin(struct store_key *k, enum store_kind kind)
{
	k->bytes[0] = (uint8_t)kind;
	k->len = 1;
}

void store_key_bytes(struct store_key *k, const void *p, size_t len)
{
	ASSERT(len <= STORE_KEY_MAX - k->len);
	if (len)
		memcpy(k->bytes + k->len, p, len);
	k->len += (uint32_t)len;
}

void store_key_u32(struct store_key *k, uint32_t v)
{
	uint8_t b[4];
	be32_put(b, v);
	store_key_bytes(k, b, sizeof(b));
}

void store_key_u64(struct store_key *k, uint64_t v)
{
	uint8_t b[8];
	be64_put(b, v);
	store_key_bytes(k, b, sizeof(b));
}

static void charge(uint64_t *account, int64_t bytes)
{
	if (account)
		*account += (uint64_t)bytes;
}

void store_put(const struct store *s, const struct store_key *k, Isthmus__StateRecord *r,
	       uint64_t *account)
{
	uint8_t buf[STORE_RECORD_MAX];
	if (!s)
		return;
	r->version = STORE_VERSION;
	ASSERT(isthmus__state_record__get_packed_size(r) <= sizeof(buf));
	charge(account, s->put(s->arg, k->bytes, k->len, buf, isthmus__state_record__pack(r, buf)));
}

void store_drop(const struct store *s, const struct store_key *k, uint64_t *account)
{
	if (s)
		charge(account, s->drop(s->arg, k->bytes, k->len));
}

void store_sync(const struct store *s)
{
	if (!s)
		return;
	FAULT("store.before_sync");
	s->sync(s->arg);
	FAULT("store.after_sync");
}

bool store_denies(const struct store *s, uint64_t has)
{
	return s && s->room(s->arg).left <= has;
}

bool store_denies_extra(const struct store *s, uint64_t has)
{
	if (!s)
		return false;
	struct store_room r = s->room(s->arg);
	return r.left <= has || r.spare < r.all / 2;
}

void store_each(const struct store *s, enum store_kind kind, store_fn *fn, void *arg)
{
	if (s)
		s->each(s->arg, kind, fn, arg);
}
