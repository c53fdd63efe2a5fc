/* The export table: parsing, matching of clients, squashing (nasfront/nfs/export.h). */
#include "nasfront/nfs/export.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include "nasfront/nfs/fh.h"
#include "runtime/check.h"
#include "runtime/log.h"

static const uint8_t v4_prefix[12] = {[10] = 0xff, [11] = 0xff};

struct export_addr export_addr_of(const struct sockaddr_storage *sa)
{
	struct export_addr a = {0};
	if (sa->ss_family == AF_INET) {
		memcpy(a.b, v4_prefix, 12);
		memcpy(a.b + 12, &((const struct sockaddr_in *)sa)->sin_addr, 4);
	} else if (sa->ss_family == AF_INET6) {
		memcpy(a.b, &((const struct sockaddr_in6 *)sa)->sin6_addr, 16);
	}
	return a;
}

static bool addr_in_net(const struct export_addr *a, const struct export_addr *net, unsigned prefix)
{
	unsigned bytes = prefix / 8, bits = prefix % 8;
	if (memcmp(a->b, net->b, bytes))
		return false;
	return !bits || !((a->b[bytes] ^ net->b[bytes]) >> (8 - bits));
}

/* ---- parsing ---- */

static bool addr_parse(const char *text, struct export_addr *ret, bool *ret_v4)
{
	memset(ret, 0, sizeof(*ret));
	*ret_v4 = inet_pton(AF_INET, text, ret->b + 12) == 1;
	if (*ret_v4)
		memcpy(ret->b, v4_prefix, 12);
	return *ret_v4 || inet_pton(AF_INET6, text, ret->b) == 1;
}

/* "24" or "255.255.255.0": bits, or -1. */
static int prefix_parse(const char *text, bool v4)
{
	struct in_addr mask;
	char *end;
	if (v4 && strchr(text, '.') && inet_pton(AF_INET, text, &mask) == 1) {
		uint32_t m = ntohl(mask.s_addr);
		int bits = __builtin_popcount(m);
		uint32_t want = bits ? ~0u << (32 - bits) : 0;
		return m == want ? bits : -1;
	}
	if (*text < '0' || *text > '9')
		return -1;
	unsigned long n = strtoul(text, &end, 10);
	return *end || n > (v4 ? 32 : 128) ? -1 : (int)n;
}

static bool host_name_valid(const char *s)
{
	size_t n = strlen(s);
	if (n == 0 || n > EXPORT_HOST_MAX)
		return false;
	return strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_") == n;
}

int export_rule_parse(struct export_rule *r, const char *match)
{
	char text[EXPORT_HOST_MAX + 1];
	bool v4;
	if (strlen(match) > EXPORT_HOST_MAX)
		return -EINVAL;
	if (strcmp(match, "*") == 0) {
		r->match = MATCH_ANY;
		return 0;
	}
	strcpy(text, match);
	char *slash = strchr(text, '/');
	if (slash)
		*slash++ = '\0';
	if (addr_parse(text, &r->net, &v4)) {
		int bits = slash ? prefix_parse(slash, v4) : v4 ? 32 : 128;
		if (bits < 0)
			return -EINVAL;
		r->match = MATCH_NET;
		r->prefix = (unsigned)bits + (v4 ? 96 : 0);
		return 0;
	}
	bool group = match[0] == '@';
	if (slash || !host_name_valid(match + group))
		return -EINVAL;
	r->match = group ? MATCH_NETGROUP : MATCH_NAME;
	return 0;
}

static int squash_parse(const char *s, enum export_squash *ret)
{
	if (!*s || strcmp(s, "root") == 0)
		*ret = SQUASH_ROOT;
	else if (strcmp(s, "none") == 0)
		*ret = SQUASH_NONE;
	else if (strcmp(s, "all") == 0)
		*ret = SQUASH_ALL;
	else
		return -EINVAL;
	return 0;
}

/* "none:tls:mtls"; "": all of them. Who showed a certificate is under TLS as well. */
static int xprt_parse(const char *s, unsigned *ret)
{
	static const struct {
		const char *name;
		unsigned bits;
	} kinds[] = {{"none", 1u << RPC_XPRT_NONE},
		     {"tls", 1u << RPC_XPRT_TLS | 1u << RPC_XPRT_MTLS},
		     {"mtls", 1u << RPC_XPRT_MTLS}};
	*ret = *s ? 0 : ~0u;
	while (*s) {
		size_t n = strcspn(s, ":"), i = 0;
		while (i < ARRAY_LEN(kinds) &&
		       (strlen(kinds[i].name) != n || strncmp(s, kinds[i].name, n) != 0))
			i++;
		if (i == ARRAY_LEN(kinds))
			return -EINVAL;
		*ret |= kinds[i].bits;
		s += n + (s[n] == ':');
	}
	return 0;
}

bool export_rule_takes(const struct export_rule *r, enum rpc_xprt x)
{
	return r->xprt & 1u << x;
}

/* "krb5p:krb5:sys"; "": sys. */
static int sec_parse(struct export_rule *r, const char *s)
{
	static const char *const names[SEC_COUNT] = {"sys", "krb5", "krb5i", "krb5p"};
	if (!*s)
		s = "sys";
	for (;;) {
		size_t n = strcspn(s, ":");
		uint8_t i = 0;
		while (i < SEC_COUNT && (strlen(names[i]) != n || strncmp(names[i], s, n) != 0))
			i++;
		if (i == SEC_COUNT || (r->sec_mask & 1u << i))
			return -EINVAL;
		r->sec[r->nsec++] = i;
		r->sec_mask |= 1u << i;
		if (!s[n])
			return 0;
		s += n + 1;
	}
}

static int rule_fill(struct export_rule *r, const Isthmus__NasExportClient *c)
{
	/* With either the match stands elsewhere: who does not know of it must not find it. */
	const char *match = *c->xprtsec ? c->xprtsec_match : *c->sec ? c->sec_match : c->match;
	int rc = export_rule_parse(r, match);
	if (rc == 0)
		rc = sec_parse(r, c->sec);
	if (rc == 0)
		rc = xprt_parse(c->xprtsec, &r->xprt);
	if (rc == 0)
		rc = squash_parse(c->squash, &r->squash);
	if (rc)
		return rc;
	r->read_write = c->read_write;
	r->secure_port = c->secure_port;
	r->anon_uid = c->anon_uid;
	r->anon_gid = c->anon_gid;
	r->text = strdup(match);
	return r->text ? 0 : -ENOMEM;
}

static void export_clear(struct export *e)
{
	for (unsigned i = 0; i < e->nrules; i++)
		free(e->rules[i].text);
	free(e->rules);
	free(e->path);
	free(e->fs);
	free(e->subdir);
	memset(e, 0, sizeof(*e));
}

/* A copy that starts with one slash and ends with none. NULL: no memory. */
static char *path_clean(const char *path)
{
	size_t n = strlen(path);
	while (n > 1 && path[n - 1] == '/')
		n--;
	char *s = n ? strndup(path, n) : strdup("/");
	return s;
}

static int export_fill(struct export *e, const Isthmus__NasExport *x)
{
	const char *subdir = x->subdir && *x->subdir ? x->subdir : "/";
	if (!x->path || x->path[0] != '/' || strlen(x->path) > EXPORT_PATH_MAX ||
	    subdir[0] != '/' || strlen(subdir) > EXPORT_PATH_MAX || !x->fs || !*x->fs)
		return -EINVAL;
	e->id = x->id;
	e->path = path_clean(x->path);
	e->fs = strdup(x->fs);
	e->subdir = path_clean(subdir);
	e->rules = calloc(x->n_clients ? x->n_clients : 1, sizeof(*e->rules));
	if (!e->path || !e->fs || !e->subdir || !e->rules)
		return -ENOMEM;
	for (size_t i = 0; i < x->n_clients; i++) {
		int rc = rule_fill(&e->rules[e->nrules], x->clients[i]);
		if (rc)
			return rc;
		e->nrules++;
	}
	return 0;
}

/* ---- tables ---- */

static bool is_named(const struct export_rule *r)
{
	return r->match == MATCH_NAME || r->match == MATCH_NETGROUP;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(((const struct export_name *)a)->text, ((const struct export_name *)b)->text);
}

struct export_name *export_name_find(const struct export_table *t, const char *text)
{
	const struct export_name key = {.text = text};
	return t->nnames ? bsearch(&key, t->names, t->nnames, sizeof(key), by_text) : NULL;
}

/* The names of all rules, each once; nobody has looked them up yet. */
static int names_fill(struct export_table *t)
{
	unsigned n = 0, i, j;
	for (i = 0; i < t->count; i++)
		for (j = 0; j < t->exports[i].nrules; j++)
			n += is_named(&t->exports[i].rules[j]);
	t->names = calloc(n ? n : 1, sizeof(*t->names));
	if (!t->names)
		return -ENOMEM;
	n = 0;
	for (i = 0; i < t->count; i++)
		for (j = 0; j < t->exports[i].nrules; j++)
			if (is_named(&t->exports[i].rules[j]))
				t->names[n++].text = t->exports[i].rules[j].text;
	qsort(t->names, n, sizeof(*t->names), by_text);
	for (i = 0; i < n; i++)
		if (!i || by_text(&t->names[i], &t->names[t->nnames - 1]))
			t->names[t->nnames++] =
			    (struct export_name){.text = t->names[i].text, .unsure = true};
	for (i = 0; i < t->count; i++)
		for (j = 0; j < t->exports[i].nrules; j++)
			if (is_named(&t->exports[i].rules[j]))
				t->exports[i].rules[j].name =
				    export_name_find(t, t->exports[i].rules[j].text);
	return 0;
}

/* Where an export with this number is, or would be put. */
static uint32_t *slot_of(const struct export_table *t, uint64_t id)
{
	uint32_t i = (uint32_t)(id * 0x9e3779b97f4a7c15ull >> 32) & (t->nslots - 1);
	while (t->slots[i] && t->exports[t->slots[i] - 1].id != id)
		i = (i + 1) & (t->nslots - 1);
	return &t->slots[i];
}

static struct export_table *table_alloc(size_t count, size_t nheads)
{
	struct export_table *t = calloc(1, sizeof(*t));
	if (!t)
		return NULL;
	t->refs = 1;
	t->nslots = 16;
	while (t->nslots < 2 * count)
		t->nslots *= 2;
	t->exports = calloc(count ? count : 1, sizeof(*t->exports));
	t->slots = calloc(t->nslots, sizeof(*t->slots));
	t->heads = calloc(nheads ? nheads : 1, sizeof(*t->heads));
	if (t->exports && t->slots && t->heads)
		return t;
	export_table_put(t);
	return NULL;
}

/* False: there is no such head. */
static bool head_fill(const struct export_table *t, struct export *e, const Isthmus__NasExport *x)
{
	for (unsigned i = 0; i < t->nheads && *x->head; i++)
		if (strcmp(t->heads[i].name, x->head) == 0)
			e->head = &t->heads[i];
	e->fs_id = x->fs_id;
	return e->head || !*x->head;
}

/* False: it is wrong, or there is one with its number. */
static bool table_add(struct export_table *t, const Isthmus__NasExport *x)
{
	struct export *e = &t->exports[t->count];
	if (export_fill(e, x) || export_by_id(t, e->id) || !head_fill(t, e, x)) {
		export_clear(e);
		return false;
	}
	*slot_of(t, e->id) = ++t->count;
	for (unsigned k = 0; k < e->nrules; k++)
		t->sec_mask |= e->rules[k].sec_mask;
	return true;
}

/* Nobody gets more than was said: an export that is not understood is none. */
static unsigned add_all(struct export_table *t, Isthmus__NasExport **exports, size_t count)
{
	unsigned bad = 0;
	for (size_t i = 0; i < count; i++) {
		if (table_add(t, exports[i]))
			continue;
		log_error("nfs: export left out, its definition is wrong path=%s",
			  exports[i]->path ? exports[i]->path : "");
		bad++;
	}
	return bad;
}

static int heads_fill(struct export_table *t, const Isthmus__NasConfig *cfg)
{
	for (size_t i = 0; i < cfg->n_heads; i++) {
		const Isthmus__NasHead *from = cfg->heads[i];
		struct export_head *h = &t->heads[t->nheads++];
		h->name = strdup(from->name);
		h->addresses = calloc(from->n_addresses + 1, sizeof(*h->addresses));
		if (!h->name || !h->addresses)
			return -ENOMEM;
		for (size_t k = 0; k < from->n_addresses; k++) {
			h->addresses[k] = strdup(from->addresses[k]);
			if (!h->addresses[k])
				return -ENOMEM;
			h->naddresses++;
		}
	}
	return 0;
}

int export_table_new(struct export_table **ret, const Isthmus__NasConfig *cfg, uint64_t generation,
		     unsigned *ret_bad)
{
	struct export_table *t = table_alloc(cfg->n_exports + cfg->n_elsewhere, cfg->n_heads);
	if (!t)
		return -ENOMEM;
	t->generation = generation;
	t->sec_mask = 1u << SEC_SYS;
	int rc = heads_fill(t, cfg);
	unsigned bad = rc ? 0 : add_all(t, cfg->exports, cfg->n_exports);
	if (rc == 0)
		bad += add_all(t, cfg->elsewhere, cfg->n_elsewhere);
	if (rc || names_fill(t)) {
		export_table_put(t);
		return -ENOMEM;
	}
	if (ret_bad)
		*ret_bad = bad;
	*ret = t;
	return 0;
}

void export_table_get(struct export_table *t)
{
	t->refs++;
}

void export_table_put(struct export_table *t)
{
	if (!t || --t->refs)
		return;
	for (unsigned i = 0; i < t->nnames; i++)
		free(t->names[i].host);
	for (unsigned i = 0; i < t->count; i++)
		export_clear(&t->exports[i]);
	for (unsigned i = 0; i < t->nheads; i++) {
		for (unsigned k = 0; k < t->heads[i].naddresses; k++)
			free(t->heads[i].addresses[k]);
		free(t->heads[i].addresses);
		free(t->heads[i].name);
	}
	free(t->heads);
	free(t->names);
	free(t->slots);
	free(t->exports);
	free(t);
}

/* ---- finding ---- */

const struct export *export_by_id(const struct export_table *t, uint64_t id)
{
	uint32_t i = *slot_of(t, id);
	return i ? &t->exports[i - 1] : NULL;
}

const struct export *export_elsewhere(const struct export_table *t, const struct fh *fh)
{
	const struct export *e = export_by_id(t, fh->export_id);
	return e && e->head && e->fs_id == fh->fs_id ? e : NULL;
}

/* The rest of path after the whole components of `of`, or NULL. */
static const char *path_after(const char *path, const char *of)
{
	size_t n = strlen(of);
	if (strcmp(of, "/") == 0)
		n = 0;
	if (strncmp(path, of, n) || (path[n] && path[n] != '/'))
		return NULL;
	path += n;
	while (*path == '/')
		path++;
	return path;
}

const struct export *export_by_path(const struct export_table *t, const char *path,
				    const char **ret_rest)
{
	const struct export *best = NULL;
	for (unsigned i = 0; i < t->count; i++) {
		const struct export *e = &t->exports[i];
		const char *rest = path_after(path, e->path);
		if (rest && (!best || strlen(e->path) > strlen(best->path))) {
			best = e;
			*ret_rest = rest;
		}
	}
	return best;
}

static int by_bytes(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct export_addr));
}

static bool rule_matches(const struct export_rule *r, const struct export_addr *a)
{
	switch (r->match) {
	case MATCH_ANY:
		return true;
	case MATCH_NET:
		return addr_in_net(a, &r->net, r->prefix);
	case MATCH_NAME:
	case MATCH_NETGROUP:
		break;
	}
	const struct export_name *n = r->name;
	return n && n->nhost && bsearch(a, n->host, n->nhost, sizeof(*a), by_bytes);
}

const struct export_rule *export_match_rule(const struct export *e,
					    const struct sockaddr_storage *peer, bool *ret_unsure)
{
	struct export_addr a = export_addr_of(peer);
	bool unsure = false;
	for (unsigned i = 0; i < e->nrules && !unsure; i++) {
		if (rule_matches(&e->rules[i], &a))
			return &e->rules[i];
		const struct export_name *n = e->rules[i].name;
		unsure = n && n->unsure; /* it may be the first that matches */
	}
	if (ret_unsure)
		*ret_unsure = unsure;
	return NULL;
}

bool export_sec_allows(const struct export_rule *r, const struct rpc_cred *cred)
{
	unsigned sec = cred->flavor == RPC_FLAVOR_GSS ? cred->service : SEC_SYS;
	return r->sec_mask >> sec & 1;
}

/* Nobody says who he is: neither does AUTH_NONE, nor a principal that is no user of here. */
static bool nobody(const struct rpc_cred *from)
{
	return from->flavor != RPC_FLAVOR_SYS && !(from->flavor == RPC_FLAVOR_GSS && from->mapped);
}

void export_squash(const struct export_rule *r, const struct rpc_cred *from, struct fs_cred *to)
{
	to->list = NULL;
	to->nlist = 0;
	to->no_gid0 = r->squash == SQUASH_ROOT;
	if (r->squash == SQUASH_ALL || nobody(from)) {
		to->uid = r->anon_uid;
		to->gid = r->anon_gid;
		to->ngroups = 0;
		return;
	}
	bool root = r->squash == SQUASH_ROOT;
	to->uid = root && from->uid == 0 ? r->anon_uid : from->uid;
	to->gid = root && from->gid == 0 ? r->anon_gid : from->gid;
	to->ngroups = MIN(from->ngroups, (uint32_t)FS_GROUPS_MAX);
	for (uint32_t i = 0; i < to->ngroups; i++)
		to->groups[i] = root && from->groups[i] == 0 ? r->anon_gid : from->groups[i];
}
