#include "tests/unit/nfs4/v4_script.h"
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/check.h"

#define NAMES  64
#define OWNERS 16
#define BIG    2048

static struct v4 *clients[2];
static struct {
	char name[24];
	struct v4_fh fh;
} fhs[NAMES];
static struct {
	char name[24];
	struct v4_stateid sid;
} sids[NAMES];
static struct {
	char name[24];
	uint32_t last;
} owners[OWNERS];
static unsigned nfhs, nsids, nowners;

void v4_script_clients(struct v4 *a, struct v4 *b)
{
	clients[0] = a;
	clients[1] = b;
	nowners = 0;
}

/* ---- names ---- */

void v4_name_fh(const char *name, const struct v4_fh *fh)
{
	unsigned i;
	for (i = 0; i < nfhs && strcmp(fhs[i].name, name); i++)
		;
	ASSERT(i < NAMES && strlen(name) < sizeof(fhs[i].name));
	strcpy(fhs[i].name, name);
	fhs[i].fh = *fh;
	nfhs = MAX(nfhs, i + 1);
}

void v4_name_sid(const char *name, const struct v4_stateid *sid)
{
	unsigned i;
	for (i = 0; i < nsids && strcmp(sids[i].name, name); i++)
		;
	ASSERT(i < NAMES && strlen(name) < sizeof(sids[i].name));
	strcpy(sids[i].name, name);
	sids[i].sid = *sid;
	nsids = MAX(nsids, i + 1);
}

const struct v4_fh *v4_fh_of(const char *name)
{
	for (unsigned i = 0; i < nfhs; i++)
		if (strcmp(fhs[i].name, name) == 0)
			return &fhs[i].fh;
	fprintf(stderr, "no handle @%s\n", name);
	abort();
}

const struct v4_stateid *v4_sid_of(const char *name)
{
	for (unsigned i = 0; i < nsids; i++)
		if (strcmp(sids[i].name, name) == 0)
			return &sids[i].sid;
	fprintf(stderr, "no stateid $%s\n", name);
	abort();
}

static uint32_t *owner_of(const char *name)
{
	unsigned i;
	for (i = 0; i < nowners && strcmp(owners[i].name, name); i++)
		;
	ASSERT(i < OWNERS);
	if (i == nowners) {
		strcpy(owners[i].name, name);
		owners[i].last = 0;
		nowners++;
	}
	return &owners[i].last;
}

void v4_script_seq(const char *owner, uint32_t last)
{
	*owner_of(owner) = last;
}

/* ---- arguments ---- */

/* A run: whose number it took (version 4.0). */
struct run {
	struct v4 *c;
	uint32_t *owner;
	bool early;
};

static void put_bytes(struct v4 *c, const char *hex)
{
	for (; isxdigit((unsigned char)hex[0]) && isxdigit((unsigned char)hex[1]); hex += 2) {
		char pair[3] = {hex[0], hex[1], 0};
		uint8_t *p = xdr_take(&c->x, 1);
		*p = (uint8_t)strtoul(pair, NULL, 16);
	}
}

static void put_big(struct v4 *c, unsigned long n)
{
	static char text[BIG];
	ASSERT(n <= BIG);
	memset(text, 'a', sizeof(text));
	xdr_put_opaque(&c->x, text, (uint32_t)n);
}

static void put_arg(struct run *r, const char *w)
{
	struct v4 *c = r->c;
	const struct v4_fh *fh;
	switch (*w) {
	case '\'':
		xdr_put_opaque(&c->x, w + 1, (uint32_t)strcspn(w + 1, "'"));
		return;
	case '%':
		put_big(c, strtoul(w + 1, NULL, 0));
		return;
	case '@':
		fh = v4_fh_of(w + 1);
		xdr_put_opaque(&c->x, fh->b, fh->len);
		return;
	case '$':
		v4_stateid(c, v4_sid_of(w + 1));
		return;
	case '&':
		xdr_put_u64(&c->x, clients[w[1] == 'b']->client);
		return;
	case '+':
		r->owner = owner_of(w + 1);
		xdr_put_u32(&c->x, *r->owner + 1);
		return;
	case '=':
		xdr_put_fixed(&c->x, clients[0]->session, NFS4_SESSIONID);
		return;
	case '!':
		xdr_put_u32(&c->x, clients[0]->client_seq);
		return;
	case 'q':
		xdr_put_u64(&c->x, strtoull(w + 1, NULL, 0));
		return;
	case '#':
		put_bytes(c, w + 1);
		return;
	default:
		ASSERT(isdigit((unsigned char)*w));
		xdr_put_u32(&c->x, (uint32_t)strtoul(w, NULL, 0));
	}
}

/* The next word, or ";". Quotes keep blanks together. */
static bool word(const char **at, char to[300])
{
	const char *p = *at + strspn(*at, " ");
	size_t n = *p == '\'' ? strcspn(p + 1, "'") + 2 : *p == ';' ? 1 : strcspn(p, " ;");
	if (!n)
		return false;
	ASSERT(n < 300);
	memcpy(to, p, n);
	to[n] = 0;
	*at = p + n;
	return true;
}

static bool prefix(struct run *r, const char *w, uint32_t *uid, bool *bare)
{
	if (strncmp(w, "uid=", 4) == 0)
		*uid = (uint32_t)strtoul(w + 4, NULL, 0);
	else if (strcmp(w, "cache") == 0)
		r->c->cache = true;
	else if (strcmp(w, "early") == 0)
		r->early = true;
	else if (strcmp(w, "bare") == 0)
		*bare = true;
	else if (strcmp(w, "b:") == 0)
		r->c = clients[1];
	else
		return false;
	return true;
}

static void put_op(struct v4 *c, const char *w)
{
	uint32_t op;
	if (w[0] == 'X' && isdigit((unsigned char)w[1]))
		op = (uint32_t)strtoul(w + 1, NULL, 0);
	else if (!v4_op_of(w, &op)) {
		fprintf(stderr, "no operation %s\n", w);
		abort();
	}
	v4_op(c, op);
}

static void put_script(struct run *r, const char *text)
{
	char w[300];
	uint32_t uid = 0;
	bool bare = false, first = true;
	clients[0]->cache = clients[1]->cache = false;
	const char *at = text;
	while (word(&at, w) && prefix(r, w, &uid, &bare))
		text = at;
	r->c->uid = uid;
	if (bare)
		v4_begin(r->c);
	else
		v4_seq(r->c);
	while (word(&text, w)) {
		if (strcmp(w, ";") == 0)
			first = true;
		else if (first)
			put_op(r->c, w);
		else
			put_arg(r, w);
		first = strcmp(w, ";") == 0;
	}
}

/* ---- running ---- */

/* RFC 7530 9.1.7. */
static bool counts(uint32_t st)
{
	return st != NFS4ERR_STALE_CLIENTID && st != NFS4ERR_STALE_STATEID &&
	       st != NFS4ERR_BAD_STATEID && st != NFS4ERR_BAD_SEQID && st != NFS4ERR_BADXDR &&
	       st != NFS4ERR_RESOURCE && st != NFS4ERR_NOFILEHANDLE;
}

/* Results without a body, up to the last. */
static void skip_results(struct v4 *c)
{
	bool seq = c->ops[0] == OP_SEQUENCE;
	for (uint32_t i = seq; i < c->nops; i++) {
		ASSERT(v4_res(c, c->ops[i]) == 0);
		bool body = c->ops[i] == OP_GETFH || c->ops[i] == OP_GETATTR;
		if (body && i + 1 < c->nops)
			return; /* it is not to be read */
	}
}

static uint32_t run(struct run *r, const char *text)
{
	struct v4 *c = r->c;
	put_script(r, text);
	c = r->c;
	uint32_t st = v4_send(c);
	c->uid = 0;
	if (c->status && c->nres && c->nres < c->nops && !r->early) {
		fprintf(stderr, "%s: %s of operation %u\n", text, v4_status_name(c->status),
			c->ops[c->nres - 1]);
		abort();
	}
	if (st && c->minor && c->nres <= 1 && c->ops[0] == OP_SEQUENCE)
		c->seq--; /* the slot did not take it */
	if (r->owner && counts(st))
		++*r->owner;
	return st;
}

uint32_t v4_script(const char *text)
{
	struct run r = {.c = clients[0]};
	return run(&r, text);
}

static struct v4 *must(const char *text)
{
	struct run r = {.c = clients[0]};
	uint32_t st = run(&r, text);
	if (st) {
		fprintf(stderr, "%s: %s\n", text, v4_status_name(st));
		abort();
	}
	skip_results(r.c);
	return r.c;
}

void v4_script_fh(const char *text, const char *name)
{
	struct v4_fh fh;
	const uint8_t *p;
	struct v4 *c = must(text);
	fh.len = v4_opaque(c, &p);
	memcpy(fh.b, p, fh.len);
	v4_name_fh(name, &fh);
}

void v4_script_sid(const char *text, const char *name)
{
	struct v4_stateid sid;
	v4_get_stateid(must(text), &sid);
	v4_name_sid(name, &sid);
}

unsigned v4_rows_run(const struct v4_row_test *rows, unsigned count)
{
	unsigned bad = 0;
	for (unsigned i = 0; i < count; i++) {
		uint32_t want, got;
		if (!(rows[i].minors >> clients[0]->minor & 1))
			continue;
		ASSERT(v4_status_of(rows[i].status, &want));
		got = v4_script(rows[i].script);
		if (got == want)
			continue;
		fprintf(stderr, "4.%u \"%s\": %s instead of %s\n", clients[0]->minor,
			rows[i].script, v4_status_name(got), rows[i].status);
		bad++;
	}
	return bad;
}
