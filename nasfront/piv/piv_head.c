/* A head's state in memory, and its records (proto/piv.proto). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "nasfront/piv/piv_layout.h"
#include "runtime/bytes.h"
#include "runtime/check.h"
#include "runtime/crc32c.h"
#include "runtime/err.h"

/* What a volume holds may be anything: cut to size, always terminated. */
static void text_set(char *to, size_t size, const char *from)
{
	size_t n = from ? strnlen(from, size - 1) : 0;
	memcpy(to, from ? from : "", n);
	memset(to + n, 0, size - n);
}

void piv_head_clear(struct piv_head *h)
{
	free(h->serves);
	free(h->clients);
	free(h->monitors);
	memset(h, 0, sizeof(*h));
}

int piv_head_copy(struct piv_head *to, const struct piv_head *from)
{
	struct piv_head h = *from;
	h.serves = malloc((from->nserves + 1) * sizeof(*h.serves));
	h.clients = malloc((from->nclients + 1) * sizeof(*h.clients));
	h.monitors = malloc((from->nmonitors + 1) * sizeof(*h.monitors));
	if (!h.serves || !h.clients || !h.monitors) {
		free(h.serves);
		free(h.clients);
		free(h.monitors);
		return -ENOMEM;
	}
	if (from->nserves)
		memcpy(h.serves, from->serves, from->nserves * sizeof(*h.serves));
	if (from->nclients)
		memcpy(h.clients, from->clients, from->nclients * sizeof(*h.clients));
	if (from->nmonitors)
		memcpy(h.monitors, from->monitors, from->nmonitors * sizeof(*h.monitors));
	*to = h;
	return 0;
}

/* Room for one more of n, growing by doubling. */
static void *list_grow(void *list, unsigned n, size_t size)
{
	if (n & (n - 1))
		return list;
	return realloc(list, (n ? 2 * (size_t)n : 1) * size);
}

int piv_head_serve(struct piv_head *h, const char *fs, const char *export_path, bool gone)
{
	struct piv_serve s;
	unsigned i;
	text_set(s.fs, sizeof(s.fs), fs);
	text_set(s.export_path, sizeof(s.export_path), export_path);
	for (i = 0; i < h->nserves; i++)
		if (memcmp(&h->serves[i], &s, sizeof(s)) == 0)
			break;
	if (i < h->nserves) {
		if (gone)
			h->serves[i] = h->serves[--h->nserves];
		return 0;
	}
	if (gone)
		return 0;
	if (h->nserves >= PIV_SERVES_MAX)
		return -ENOSPC;
	struct piv_serve *list = list_grow(h->serves, h->nserves, sizeof(s));
	if (!list)
		return -ENOMEM;
	h->serves = list;
	h->serves[h->nserves++] = s;
	return 0;
}

static struct piv_client *client_find(struct piv_head *h, const struct piv_client *c)
{
	for (unsigned i = 0; i < h->nclients; i++)
		if (strcmp(h->clients[i].address, c->address) == 0 &&
		    strcmp(h->clients[i].export_path, c->export_path) == 0)
			return &h->clients[i];
	return NULL;
}

#define CLIENT_STAYS_NS (60 * 1000000000ull)

/* A full list gives up the client not seen for the longest; not if that was seen a moment ago: else
 * more clients than it has room for would take turns in it, with a write for each. */
static struct piv_client *client_slot(struct piv_head *h, uint64_t now)
{
	if (h->nclients >= PIV_CLIENTS_MAX) {
		struct piv_client *oldest = &h->clients[0];
		for (unsigned i = 1; i < h->nclients; i++)
			if (h->clients[i].last_ns < oldest->last_ns)
				oldest = &h->clients[i];
		return oldest->last_ns + CLIENT_STAYS_NS < now ? oldest : NULL;
	}
	struct piv_client *list = list_grow(h->clients, h->nclients, sizeof(*list));
	if (!list)
		return NULL;
	h->clients = list;
	return &h->clients[h->nclients++];
}

int piv_head_client(struct piv_head *h, const char *address, const char *export_path,
		    uint64_t first_ns, uint64_t last_ns, bool gone)
{
	struct piv_client c = {.first_ns = first_ns, .last_ns = last_ns};
	text_set(c.address, sizeof(c.address), address);
	text_set(c.export_path, sizeof(c.export_path), export_path);
	struct piv_client *at = client_find(h, &c);
	if (gone) {
		if (at)
			*at = h->clients[--h->nclients];
		return 0;
	}
	if (at) {
		at->last_ns = MAX(at->last_ns, last_ns);
		return 0;
	}
	at = client_slot(h, last_ns);
	if (!at)
		return h->nclients >= PIV_CLIENTS_MAX ? -ENOSPC : -ENOMEM;
	*at = c;
	return 0;
}

/* Two strings, a tag and a length before each, the same before both. */
static size_t monitor_size(const struct piv_monitor *m)
{
	return strlen(m->name) + strlen(m->address) + 10;
}

int piv_head_monitor(struct piv_head *h, const char *name, const char *address, bool gone)
{
	struct piv_monitor m = {0};
	unsigned i;
	text_set(m.name, sizeof(m.name), name);
	text_set(m.address, sizeof(m.address), address);
	m.hash = crc32c_add(CRC32C_INIT, m.name, sizeof(m.name));
	m.hash = crc32c_end(crc32c_add(m.hash, m.address, sizeof(m.address)));
	for (i = 0; i < h->nmonitors; i++)
		if (h->monitors[i].hash == m.hash && memcmp(&h->monitors[i], &m, sizeof(m)) == 0)
			break;
	if (i < h->nmonitors) {
		if (gone) {
			h->monitors[i] = h->monitors[--h->nmonitors];
			h->monitor_bytes -= monitor_size(&m);
		}
		return 0;
	}
	if (gone)
		return 0;
	if (h->nmonitors >= PIV_MONITORS_MAX)
		return -ENOSPC;
	struct piv_monitor *list = list_grow(h->monitors, h->nmonitors, sizeof(m));
	if (!list)
		return -ENOMEM;
	h->monitors = list;
	h->monitors[h->nmonitors++] = m;
	h->monitor_bytes += monitor_size(&m);
	return 0;
}

/* ---- records in ---- */

static void apply_member(struct piv_head *h, const Isthmus__PivMember *m)
{
	text_set(h->name, sizeof(h->name), m->head);
	text_set(h->state, sizeof(h->state), m->state);
	text_set(h->address, sizeof(h->address), m->address);
	h->instance = m->instance;
	h->lease_ns = m->lease_ns;
	h->nsm_state = m->nsm_state;
	h->main_id = m->main_id;
}

static int apply_checkpoint(struct piv_head *h, const Isthmus__PivCheckpoint *c)
{
	int rc = 0;
	h->nserves = h->nclients = h->nmonitors = 0;
	h->monitor_bytes = 0;
	if (c->member)
		apply_member(h, c->member);
	for (size_t i = 0; i < c->n_serves && rc != -ENOMEM; i++)
		rc = piv_head_serve(h, c->serves[i]->fs, c->serves[i]->export, false);
	for (size_t i = 0; i < c->n_clients && rc != -ENOMEM; i++)
		rc = piv_head_client(h, c->clients[i]->address, c->clients[i]->export,
				     c->clients[i]->first_ns, c->clients[i]->last_ns, false);
	for (size_t i = 0; i < c->n_monitors && rc != -ENOMEM; i++)
		rc = piv_head_monitor(h, c->monitors[i]->name, c->monitors[i]->address, false);
	return rc == -ENOMEM ? rc : 0;
}

int piv_head_apply(struct piv_head *h, const Isthmus__PivRecord *r)
{
	int rc = 0;
	if (r->version < 1 || r->version > PIV_RECORD_VERSION)
		return -ERR_VERSION;
	h->time_ns = r->time_ns;
	switch (r->body_case) {
	case ISTHMUS__PIV_RECORD__BODY_MEMBER:
		apply_member(h, r->member);
		break;
	case ISTHMUS__PIV_RECORD__BODY_SERVES:
		rc = piv_head_serve(h, r->serves->fs, r->serves->export, r->serves->gone);
		break;
	case ISTHMUS__PIV_RECORD__BODY_CLIENT:
		rc = piv_head_client(h, r->client->address, r->client->export, r->client->first_ns,
				     r->client->last_ns, r->client->gone);
		break;
	case ISTHMUS__PIV_RECORD__BODY_MONITOR:
		rc = piv_head_monitor(h, r->monitor->name, r->monitor->address, r->monitor->gone);
		break;
	case ISTHMUS__PIV_RECORD__BODY_CHECKPOINT:
		rc = apply_checkpoint(h, r->checkpoint);
		break;
	default:
		break; /* of a later version: nothing we know */
	}
	return rc == -ENOMEM ? rc : 0;
}

/* ---- records out ---- */

void piv_payload_add(struct piv_payload *p, const Isthmus__PivRecord *r)
{
	size_t n = isthmus__piv_record__get_packed_size(r);
	if (p->failed)
		return;
	if (p->len + 4 + n > p->size) {
		size_t size = 2 * (p->len + 4 + n) + 1024;
		uint8_t *data = realloc(p->data, size);
		if (!data) {
			p->failed = true;
			return;
		}
		p->data = data;
		p->size = size;
	}
	le32_put(p->data + p->len, (uint32_t)n);
	isthmus__piv_record__pack(r, p->data + p->len + 4);
	p->len += 4 + n;
}

void piv_payload_free(struct piv_payload *p)
{
	free(p->data);
	memset(p, 0, sizeof(*p));
}

static void record_init(Isthmus__PivRecord *r, const struct piv_head *h)
{
	isthmus__piv_record__init(r);
	r->version = PIV_RECORD_VERSION;
	r->seq = h->seq + 1;
	r->time_ns = h->time_ns;
}

static void member_init(Isthmus__PivMember *m, const struct piv_head *h)
{
	isthmus__piv_member__init(m);
	m->head = (char *)h->name;
	m->instance = h->instance;
	m->state = (char *)h->state;
	m->lease_ns = h->lease_ns;
	m->address = (char *)h->address;
	m->nsm_state = h->nsm_state;
	m->main_id = h->main_id;
}

static void serve_init(Isthmus__PivServes *m, const struct piv_serve *s, bool gone)
{
	isthmus__piv_serves__init(m);
	m->fs = (char *)s->fs;
	m->export = (char *)s->export_path;
	m->gone = gone;
}

static void client_init(Isthmus__PivClient *m, const struct piv_client *c, bool gone)
{
	isthmus__piv_client__init(m);
	m->address = (char *)c->address;
	m->export = (char *)c->export_path;
	m->first_ns = c->first_ns;
	m->last_ns = c->last_ns;
	m->gone = gone;
}

void piv_payload_member(struct piv_payload *p, const struct piv_head *h)
{
	Isthmus__PivRecord r;
	Isthmus__PivMember m;
	record_init(&r, h);
	member_init(&m, h);
	r.body_case = ISTHMUS__PIV_RECORD__BODY_MEMBER;
	r.member = &m;
	piv_payload_add(p, &r);
}

void piv_payload_serve(struct piv_payload *p, const struct piv_head *h, const struct piv_serve *s,
		       bool gone)
{
	Isthmus__PivRecord r;
	Isthmus__PivServes m;
	record_init(&r, h);
	serve_init(&m, s, gone);
	r.body_case = ISTHMUS__PIV_RECORD__BODY_SERVES;
	r.serves = &m;
	piv_payload_add(p, &r);
}

void piv_payload_client(struct piv_payload *p, const struct piv_head *h, const struct piv_client *c,
			bool gone)
{
	Isthmus__PivRecord r;
	Isthmus__PivClient m;
	record_init(&r, h);
	client_init(&m, c, gone);
	r.body_case = ISTHMUS__PIV_RECORD__BODY_CLIENT;
	r.client = &m;
	piv_payload_add(p, &r);
}

static void monitor_init(Isthmus__PivMonitor *m, const struct piv_monitor *from, bool gone)
{
	isthmus__piv_monitor__init(m);
	m->name = (char *)from->name;
	m->address = (char *)from->address;
	m->gone = gone;
}

void piv_payload_monitor(struct piv_payload *p, const struct piv_head *h,
			 const struct piv_monitor *m, bool gone)
{
	Isthmus__PivRecord r;
	Isthmus__PivMonitor k;
	record_init(&r, h);
	monitor_init(&k, m, gone);
	r.body_case = ISTHMUS__PIV_RECORD__BODY_MONITOR;
	r.monitor = &k;
	piv_payload_add(p, &r);
}

void piv_payload_checkpoint(struct piv_payload *p, const struct piv_head *h)
{
	Isthmus__PivRecord r;
	Isthmus__PivCheckpoint c;
	Isthmus__PivMember m;
	unsigned n = h->nserves + h->nclients + h->nmonitors;
	Isthmus__PivServes *s = calloc(h->nserves + 1, sizeof(*s));
	Isthmus__PivClient *k = calloc(h->nclients + 1, sizeof(*k));
	Isthmus__PivMonitor *mon = calloc(h->nmonitors + 1, sizeof(*mon));
	void **ptr = calloc(n + 1, sizeof(*ptr));
	if (s && k && mon && ptr) {
		record_init(&r, h);
		isthmus__piv_checkpoint__init(&c);
		member_init(&m, h);
		c.member = &m;
		c.n_serves = h->nserves;
		c.serves = (Isthmus__PivServes **)ptr;
		c.n_clients = h->nclients;
		c.clients = (Isthmus__PivClient **)(ptr + h->nserves);
		for (unsigned i = 0; i < h->nserves; i++) {
			serve_init(&s[i], &h->serves[i], false);
			c.serves[i] = &s[i];
		}
		for (unsigned i = 0; i < h->nclients; i++) {
			client_init(&k[i], &h->clients[i], false);
			c.clients[i] = &k[i];
		}
		c.n_monitors = h->nmonitors;
		c.monitors = (Isthmus__PivMonitor **)(ptr + h->nserves + h->nclients);
		for (unsigned i = 0; i < h->nmonitors; i++) {
			monitor_init(&mon[i], &h->monitors[i], false);
			c.monitors[i] = &mon[i];
		}
		r.body_case = ISTHMUS__PIV_RECORD__BODY_CHECKPOINT;
		r.checkpoint = &c;
		piv_payload_add(p, &r);
	} else {
		p->failed = true;
	}
	free(s);
	free(k);
	free(mon);
	free(ptr);
}
