/*
 * The pseudo file system (RFC 8881 7.3): directories that join all exports by their paths, so that
 * a client begins at one root. It is made of the export table and thrown away with it.
 *
 * A node's number is made of its path: a handle means the same directory after a restart. What a
 * caller may not mount it does not see, nor directories that lead to such exports only.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "nasfront/nfs4/nfs4_impl.h"
#include "runtime/siphash.h"

#define PSEUDO_ROOT 1

static void node_free(struct nfs4_pseudo *p)
{
	while (p) {
		struct nfs4_pseudo *next = p->next;
		node_free(p->child); /* as deep as a path has components */
		free(p->name);
		free(p);
		p = next;
	}
}

void nfs4_tree_put(struct nfs4_tree *t)
{
	if (!t || --t->refs)
		return;
	node_free(t->root);
	export_table_put(t->table);
	free(t);
}

/* ---- making it ---- */

static struct nfs4_pseudo *node_new(struct nfs4_tree *t, struct nfs4_pseudo *parent,
				    const char *path, const char *name, size_t len)
{
	static const uint64_t key[2] = {0x6973746872757320, 0x70736575646f6673};
	struct nfs4_pseudo *p = calloc(1, sizeof(*p)), **at;
	if (!p)
		return NULL;
	p->name = strndup(name, len);
	if (!p->name || t->count >= NFS4_PSEUDO_MAX) {
		free(p->name);
		free(p);
		return NULL;
	}
	/* 63 bits, and not a small number: those are inodes' of file systems. */
	p->id = parent ? (siphash(key, path, (size_t)(name - path) + len) >> 1) | 1ull << 62
		       : PSEUDO_ROOT;
	p->parent = parent;
	t->count++;
	if (!parent)
		return p;
	for (at = &parent->child; *at; at = &(*at)->next)
		;
	*at = p;
	return p;
}

static struct nfs4_pseudo *child_of(const struct nfs4_pseudo *p, const char *name, size_t len)
{
	for (struct nfs4_pseudo *c = p->child; c; c = c->next)
		if (strlen(c->name) == len && memcmp(c->name, name, len) == 0)
			return c;
	return NULL;
}

static int tree_add(struct nfs4_tree *t, const struct export *e)
{
	struct nfs4_pseudo *p = t->root;
	const char *at = e->path;
	while (*(at += strspn(at, "/"))) {
		size_t len = strcspn(at, "/");
		struct nfs4_pseudo *c = child_of(p, at, len);
		if (!c)
			c = node_new(t, p, e->path, at, len);
		if (!c)
			return -ENOMEM;
		p = c;
		at += len;
	}
	if (!p->exp)
		p->exp = e;
	return 0;
}

/* All of it, or NULL. What is beyond the bound is left out: such exports are mounted by path only.
 */
static struct nfs4_tree *tree_new(struct export_table *table, uint64_t generation)
{
	struct nfs4_tree *t = calloc(1, sizeof(*t));
	if (!t)
		return NULL;
	t->refs = 1;
	t->generation = generation;
	t->table = table;
	export_table_get(table);
	t->root = node_new(t, NULL, "", "", 0);
	for (unsigned i = 0; t->root && i < table->count; i++)
		if (tree_add(t, &table->exports[i]) && t->count < NFS4_PSEUDO_MAX) {
			node_free(t->root);
			t->root = NULL;
		}
	if (t->root)
		return t;
	nfs4_tree_put(t);
	return NULL;
}

/* Keeps the old one when there is no memory for the new. */
static void tree_refresh(struct nfs4 *n)
{
	uint64_t generation;
	struct export_table *table = (struct export_table *)nfs_table(n->o.nfs, &generation);
	if (n->tree && n->tree->generation == generation)
		return;
	struct nfs4_tree *t = tree_new(table, generation);
	if (!t)
		return;
	nfs4_tree_put(n->tree);
	n->tree = t;
}

struct nfs4_tree *nfs4_tree_get(struct nfs4 *n)
{
	tree_refresh(n);
	if (n->tree)
		n->tree->refs++;
	return n->tree;
}

/* ---- finding ---- */

const struct nfs4_pseudo *nfs4_pseudo_root(struct nfs4 *n)
{
	tree_refresh(n);
	return n->tree ? n->tree->root : NULL;
}

static const struct nfs4_pseudo *find_id(const struct nfs4_pseudo *p, uint64_t id)
{
	for (; p; p = p->next) {
		const struct nfs4_pseudo *c = p->id == id ? p : find_id(p->child, id);
		if (c)
			return c;
	}
	return NULL;
}

const struct nfs4_pseudo *nfs4_pseudo_find(struct nfs4 *n, uint64_t id)
{
	return find_id(nfs4_pseudo_root(n), id);
}

const struct nfs4_pseudo *nfs4_pseudo_child(const struct nfs4_pseudo *p, const char *name,
					    uint32_t len)
{
	return child_of(p, name, len);
}

const struct nfs4_pseudo *nfs4_pseudo_of(struct nfs4 *n, const struct export *e)
{
	const struct nfs4_pseudo *p = nfs4_pseudo_root(n);
	const char *at = e->path;
	while (p && *(at += strspn(at, "/"))) {
		size_t len = strcspn(at, "/");
		p = child_of(p, at, len);
		at += len;
	}
	return p && p->exp && p->exp->id == e->id ? p : NULL;
}

/* ---- who sees it ---- */

bool nfs4_pseudo_mine(struct nfs4_call *k, const struct export *e)
{
	return nfs_rule_of(k->n->o.nfs, k->req, e);
}

bool nfs4_pseudo_may_be(struct nfs4_call *k, const struct export *e)
{
	return nfs4_pseudo_mine(k, e) || nfs_rule_refused(k->req, e) == NFS3ERR_JUKEBOX;
}

static bool may_lead(struct nfs4_call *k, const struct nfs4_pseudo *p)
{
	if (p->exp && nfs4_pseudo_may_be(k, p->exp))
		return true;
	for (const struct nfs4_pseudo *c = p->child; c; c = c->next)
		if (may_lead(k, c))
			return true;
	return false;
}

enum nfs4_status nfs4_pseudo_look(struct nfs4_call *k, const struct nfs4_pseudo *p)
{
	return nfs4_pseudo_visible(k, p) ? NFS4_OK : may_lead(k, p) ? NFS4ERR_DELAY : NFS4ERR_NOENT;
}

bool nfs4_pseudo_visible(struct nfs4_call *k, const struct nfs4_pseudo *p)
{
	if (p->exp && nfs4_pseudo_mine(k, p->exp))
		return true;
	for (const struct nfs4_pseudo *c = p->child; c; c = c->next)
		if (nfs4_pseudo_visible(k, c))
			return true;
	return false;
}

bool nfs4_pseudo_wants_xprt(struct nfs4_call *k, const struct nfs4_pseudo *p)
{
	return p->exp && nfs_rule_wants_xprt(k->n->o.nfs, k->req, p->exp);
}

/* They never change but with the table. */
void nfs4_pseudo_attr(struct nfs4 *n, const struct nfs4_pseudo *p, struct fs_attr *ret)
{
	unsigned dirs = 2;
	for (const struct nfs4_pseudo *c = p->child; c; c = c->next)
		dirs++;
	*ret = (struct fs_attr){.ino = p->id,
				.type = FS_DIR,
				.mode = 0555,
				.nlink = dirs,
				.size = FS_BLOCK_SIZE,
				.used = 0,
				.change = n->born_s << 32 | n->tree->generation,
				.atime.sec = (int64_t)n->born_s,
				.mtime.sec = (int64_t)n->born_s,
				.ctime.sec = (int64_t)n->born_s,
				.btime.sec = (int64_t)n->born_s};
}
