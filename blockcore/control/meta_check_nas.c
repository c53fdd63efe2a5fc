/* Validation of array metadata: head groups, file systems, exports. */
#include "blockcore/control/meta_check_impl.h"
#include "blockcore/control/meta.h"
#include "runtime/check.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- groups, file systems, exports ---- */

static const Isthmus__HeadGroup *group_named(const struct checker *k, const char *name)
{
	for (size_t i = 0; i < k->am->n_groups; i++)
		if (strcmp(k->am->groups[i]->name, name) == 0)
			return k->am->groups[i];
	return NULL;
}

int meta_check_groups(const struct checker *k)
{
	const Isthmus__ArrayMeta *am = k->am;
	if (am->n_groups > 1024)
		return meta_bad(k, "groups: %zu of them, at most 1024", am->n_groups);
	for (size_t i = 0; i < am->n_groups; i++) {
		const Isthmus__HeadGroup *g = am->groups[i];
		if (!meta_name_ok(g->name))
			return meta_bad(k, "groups.name: '%.80s' is not a name", g->name);
		if (!meta_volume_known(k, g->piv_volume))
			return meta_bad(k, "group %s: piv_volume %u is not there", g->name,
					g->piv_volume);
		if (!meta_volume_known(k, g->backup_volume) || g->backup_volume == g->piv_volume)
			return meta_bad(k, "group %s: backup_volume %u is not there or is the PIV",
					g->name, g->backup_volume);
	}
	for (size_t i = 0; i < am->n_groups; i++)
		if (am->groups[i]->backup_interval > BACKUP_INTERVAL_MAX)
			return meta_bad(k, "group %s: backup_interval is more than a year",
					am->groups[i]->name);
	for (size_t i = 0; i < am->n_groups; i++) {
		const Isthmus__HeadGroup *g = am->groups[i];
		if (MEMBERS_UNIQUE(k, g->sides, g->n_sides, Isthmus__HeadSide, head,
				   "groups.sides.head"))
			return -EINVAL;
	}
	return MEMBERS_UNIQUE(k, am->groups, am->n_groups, Isthmus__HeadGroup, name, "groups.name");
}

int meta_check_heads(const struct checker *k)
{
	const Isthmus__ArrayMeta *am = k->am;
	if (am->n_heads > META_HEADS_MAX)
		return meta_bad(k, "heads: %zu of them, at most %u", am->n_heads, META_HEADS_MAX);
	for (size_t i = 0; i < am->n_heads; i++) {
		const Isthmus__HeadInstance *h = am->heads[i];
		if (!meta_name_ok(h->head))
			return meta_bad(k, "heads[%zu].head: not a name", i);
		if (h->instance == 0 || h->epoch == 0)
			return meta_bad(k, "heads[%zu]: neither instance nor epoch may be 0", i);
	}
	return MEMBERS_UNIQUE(k, am->heads, am->n_heads, Isthmus__HeadInstance, head, "heads.head");
}

int meta_check_filesystems(const struct checker *k)
{
	const Isthmus__ArrayMeta *am = k->am;
	uint32_t *vols = meta_array(am->n_filesystems, sizeof(*vols));
	int rc = vols ? 0 : -ENOMEM;
	for (size_t i = 0; i < am->n_filesystems && rc == 0; i++) {
		const Isthmus__FileSystem *f = am->filesystems[i];
		vols[i] = f->volume_id;
		if (!meta_name_ok(f->name))
			rc = meta_bad(k, "filesystems.name: '%.80s' is not a name", f->name);
		else if (!meta_volume_known(k, f->volume_id))
			rc = meta_bad(k, "file system %s: volume %u is not there", f->name,
				      f->volume_id);
		else if (f->id == 0 || f->id >= am->next_id)
			rc = meta_bad(k, "file system %s: id %llu", f->name,
				      (unsigned long long)f->id);
		else if (*f->group && !group_named(k, f->group))
			rc = meta_bad(k, "file system %s: group '%.80s' is not there", f->name,
				      f->group);
		else if (*f->head && !meta_name_ok(f->head))
			rc = meta_bad(k, "file system %s: head '%.80s' is not a name", f->name,
				      f->head);
	}
	if (rc == 0) {
		qsort(vols, am->n_filesystems, sizeof(*vols), meta_u32_order);
		for (size_t i = 1; i < am->n_filesystems && rc == 0; i++)
			if (vols[i - 1] == vols[i])
				rc = meta_bad(k, "filesystems.volume_id: %u stands there twice",
					      vols[i]);
	}
	free(vols);
	return rc ? rc
		  : MEMBERS_UNIQUE(k, am->filesystems, am->n_filesystems, Isthmus__FileSystem, name,
				   "filesystems.name");
}

static bool path_ok(const char *s)
{
	size_t n = strnlen(s, 1025);
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)s[i] < ' ' || s[i] == 0x7f)
			return false;
	return n > 0 && n <= 1024 && s[0] == '/';
}

/* Words of a list, each once, with colons between. */
static bool words_ok(const char *s, const char *const *known, size_t nknown)
{
	unsigned seen = 0;
	for (;;) {
		size_t n = strcspn(s, ":"), i = 0;
		while (i < nknown && (strlen(known[i]) != n || strncmp(s, known[i], n) != 0))
			i++;
		if (i == nknown || (seen & 1u << i))
			return false;
		seen |= 1u << i;
		if (!s[n])
			return true;
		s += n + 1;
	}
}

bool meta_sec_ok(const char *sec)
{
	static const char *const flavors[] = {"sys", "krb5", "krb5i", "krb5p"};
	return words_ok(sec, flavors, ARRAY_LEN(flavors));
}

bool meta_xprtsec_ok(const char *xprtsec)
{
	static const char *const kinds[] = {"none", "tls", "mtls"};
	return words_ok(xprtsec, kinds, ARRAY_LEN(kinds));
}

static int check_export(const struct checker *k, const Isthmus__Export *e, const char **names)
{
	static const char *const squashes[] = {"none", "root", "all"};
	const char *fs = e->fs;
	if (!path_ok(e->path))
		return meta_bad(k, "exports.path: '%.80s' is not an absolute path", e->path);
	if (*e->subdir && !path_ok(e->subdir))
		return meta_bad(k, "export %.80s: subdir '%.80s' is not an absolute path", e->path,
				e->subdir);
	if (!bsearch(&fs, names, k->am->n_filesystems, sizeof(*names), meta_text_order))
		return meta_bad(k, "export %.80s: file system '%.80s' is not there", e->path,
				e->fs);
	if (e->n_clients > 4096)
		return meta_bad(k, "export %.80s: %zu clients, at most 4096", e->path,
				e->n_clients);
	for (size_t i = 0; i < e->n_clients; i++) {
		const Isthmus__ExportClient *c = e->clients[i];
		size_t s;
		for (s = 0; s < 3 && strcmp(squashes[s], c->squash) != 0; s++)
			;
		if (s == 3)
			return meta_bad(k, "export %.80s: squash '%.20s'", e->path, c->squash);
		if (!*c->match || strlen(c->match) > 255)
			return meta_bad(k, "export %.80s: clients[%zu].match", e->path, i);
		if (*c->sec && !meta_sec_ok(c->sec))
			return meta_bad(k, "export %.80s: clients[%zu].sec", e->path, i);
		if (*c->xprtsec && !meta_xprtsec_ok(c->xprtsec))
			return meta_bad(k, "export %.80s: clients[%zu].xprtsec", e->path, i);
	}
	return 0;
}

int meta_check_exports(const struct checker *k)
{
	const Isthmus__ArrayMeta *am = k->am;
	const char **names = meta_array(am->n_filesystems, sizeof(*names));
	if (!names)
		return -ENOMEM;
	for (size_t i = 0; i < am->n_filesystems; i++)
		names[i] = am->filesystems[i]->name;
	qsort(names, am->n_filesystems, sizeof(*names), meta_text_order);
	int rc = 0;
	for (size_t i = 0; i < am->n_exports && rc == 0; i++)
		rc = check_export(k, am->exports[i], names);
	free(names);
	return rc ? rc
		  : MEMBERS_UNIQUE(k, am->exports, am->n_exports, Isthmus__Export, path,
				   "exports.path");
}
