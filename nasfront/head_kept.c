/*
 * For people: what the services of a group keep for their successors (`head state --records`), read
 * from the ledgers as they lie on the volumes. Any head reads all of its group's.
 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "nasfront/head.h"
#include "nasfront/piv/ledger.h"
#include "runtime/admin.h"
#include "runtime/err.h"

#define TEXT_MAX     120
#define SERVICES_MAX 64

/* ---- a record ---- */

struct row {
	const char *kind;
	char client[TEXT_MAX], owner[TEXT_MAX], what[2 * TEXT_MAX];
	const Isthmus__StateFile *file;
};

/* Printable bytes as they are, else in hexadecimal; what is too long ends with "...". */
static void put_bytes(char *to, size_t size, const ProtobufCBinaryData *b)
{
	bool text = b->len > 0;
	size_t at = 0, each;
	for (size_t i = 0; i < b->len && text; i++)
		text = isprint(b->data[i]) && b->data[i] != '\\';
	each = text ? 1 : 2;
	for (size_t i = 0; i < b->len && at + each + 4 <= size; i++)
		at += (size_t)snprintf(to + at, size - at, text ? "%c" : "%02x", b->data[i]);
	if (at < b->len * each)
		snprintf(to + at, size - at, "...");
}

static void put_id(struct row *r, uint64_t id)
{
	snprintf(r->client, sizeof(r->client), "%016" PRIx64, id);
}

static void put_client(struct row *r, const Isthmus__StateClient *c)
{
	put_id(r, c->id);
	put_bytes(r->owner, sizeof(r->owner), &c->owner);
	snprintf(r->what, sizeof(r->what), "version 4.%s, %.60s%s", c->v40 ? "0" : "1 or 4.2",
		 c->address, c->reclaim_done ? "" : ", may reclaim");
}

static void put_open(struct row *r, const Isthmus__StateOpen *o)
{
	static const char *const rights[] = {"none", "read", "write", "both"};
	r->kind = o->locks ? "lock state" : o->fh.len ? "lent" : "open";
	put_id(r, o->client);
	put_bytes(r->owner, sizeof(r->owner), &o->owner);
	r->file = o->file;
	if (o->fh.len)
		snprintf(r->what, sizeof(r->what), "%s%s", o->write ? "to write" : "to read",
			 o->revoked ? ", revoked" : "");
	else
		snprintf(r->what, sizeof(r->what), "%s, deny %s%s", rights[o->access & 3],
			 rights[o->deny & 3], o->closed ? ", closed" : "");
}

static void put_lock(struct row *r, const Isthmus__StateLock *l)
{
	char last[32] = "end";
	put_bytes(r->client, sizeof(r->client), &l->client);
	put_bytes(r->owner, sizeof(r->owner), &l->owner);
	r->file = l->file;
	if (l->last != UINT64_MAX)
		snprintf(last, sizeof(last), "%" PRIu64, l->last);
	snprintf(r->what, sizeof(r->what), "%s %" PRIu64 "..%s",
		 l->exclusive ? "exclusive" : "shared", l->first, last);
}

static bool row_of(const Isthmus__StateRecord *s, struct row *r)
{
	switch (s->body_case) {
	case ISTHMUS__STATE_RECORD__BODY_CLIENT:
		r->kind = "client";
		put_client(r, s->client);
		return true;
	case ISTHMUS__STATE_RECORD__BODY_SESSION:
		r->kind = "session";
		put_id(r, s->session->client);
		put_bytes(r->owner, sizeof(r->owner), &s->session->id);
		snprintf(r->what, sizeof(r->what), "%u slots", s->session->slots);
		return true;
	case ISTHMUS__STATE_RECORD__BODY_SLOT:
		r->kind = "slot";
		put_bytes(r->owner, sizeof(r->owner), &s->slot->session);
		snprintf(r->what, sizeof(r->what), "%u: call %u, reply of %zu bytes", s->slot->slot,
			 s->slot->seq, s->slot->reply.len);
		return true;
	case ISTHMUS__STATE_RECORD__BODY_OWNER:
		r->kind = "owner";
		put_id(r, s->owner->client);
		put_bytes(r->owner, sizeof(r->owner), &s->owner->name);
		r->file = s->owner->file;
		snprintf(r->what, sizeof(r->what), "call %u", s->owner->seq);
		return true;
	case ISTHMUS__STATE_RECORD__BODY_OPEN:
		put_open(r, s->open);
		return true;
	case ISTHMUS__STATE_RECORD__BODY_LOCK:
		r->kind = "lock";
		put_lock(r, s->lock);
		return true;
	case ISTHMUS__STATE_RECORD__BODY_SHARE:
		r->kind = "share";
		put_bytes(r->client, sizeof(r->client), &s->share->client);
		put_bytes(r->owner, sizeof(r->owner), &s->share->owner);
		r->file = s->share->file;
		snprintf(r->what, sizeof(r->what), "access %u, deny %u", s->share->access,
			 s->share->deny);
		return true;
	case ISTHMUS__STATE_RECORD__BODY_HOST:
		r->kind = "host";
		snprintf(r->client, sizeof(r->client), "%.100s", s->host->name);
		snprintf(r->what, sizeof(r->what), "%.100s, state %u", s->host->address,
			 s->host->state);
		return true;
	case ISTHMUS__STATE_RECORD__BODY_WAIT:
		r->kind = "wait";
		put_bytes(r->client, sizeof(r->client), &s->wait->client);
		put_bytes(r->owner, sizeof(r->owner), &s->wait->oh);
		r->file = s->wait->file;
		snprintf(r->what, sizeof(r->what), "%s %" PRIu64 "+%" PRIu64,
			 s->wait->exclusive ? "exclusive" : "shared", s->wait->off, s->wait->len);
		return true;
	default: /* the service's own */
		return false;
	}
}

/* ---- a service ---- */

struct telling {
	struct admin_call *call;
	const char *service;
	uint64_t unknown;
};

static int tell_record(void *arg, const void *key, size_t klen, const void *value, size_t vlen)
{
	struct telling *t = arg;
	if (*(const uint8_t *)key == STORE_PARTIAL)
		return 0;
	struct row r = {0};
	Isthmus__StateRecord *s = isthmus__state_record__unpack(NULL, vlen, value);
	if (!s || s->version != STORE_VERSION) {
		t->unknown++;
	} else if (row_of(s, &r)) {
		admin_row(t->call);
		admin_put_text(t->call, "head", "%s", t->service);
		admin_put_text(t->call, "kind", "%s", r.kind);
		admin_put_text(t->call, "client", "%s", r.client);
		admin_put_text(t->call, "owner", "%s", r.owner);
		if (r.file)
			admin_put_text(t->call, "file", "%" PRIu64 ":%" PRIu64, r.file->fs,
				       r.file->ino);
		else
			admin_put_text(t->call, "file", "%s", "");
		admin_put_text(t->call, "what", "%s", r.what);
	}
	if (s)
		isthmus__state_record__free_unpacked(s, NULL);
	return 0;
}

struct services {
	char names[SERVICES_MAX][64];
	unsigned n;
};

static void add_service(void *arg, const char *service)
{
	struct services *s = arg;
	if (s->n < SERVICES_MAX)
		snprintf(s->names[s->n++], sizeof(s->names[0]), "%s", service);
}

void head_put_records(struct head *h, struct admin_call *call)
{
	struct services *s = calloc(1, sizeof(*s));
	int rc = s ? ledger_services(h->piv_main, h->piv_backup, add_service, s) : -ENOMEM;
	admin_table(call, "records", false);
	for (unsigned i = 0; rc == 0 && i < s->n; i++) {
		struct telling t = {.call = call, .service = s->names[i]};
		int one = ledger_each(h->piv_main, h->piv_backup, t.service, tell_record, &t, NULL);
		if (one)
			admin_note(call, "What head %s keeps of its clients: %s.", t.service,
				   err_text(one));
		if (t.unknown)
			admin_note(call, "%" PRIu64 " records of head %s are of another version.",
				   t.unknown, t.service);
	}
	if (rc)
		admin_note(call, "What heads keep of their clients: %s.", err_text(rc));
	free(s);
}
