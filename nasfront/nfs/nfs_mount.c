/* The service as a whole, and the file systems it serves. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "nasfront/nfs/nfs_impl.h"
#include "runtime/log.h"
#include "runtime/siphash.h"

int nfs_new(struct nfs **ret, const struct nfs_opts *o)
{
	struct nfs *n = calloc(1, sizeof(*n));
	if (!n)
		return -ENOMEM;
	n->magic = NFS_MAGIC;
	n->o = *o;
	LIST_INIT(&n->mounts);
	TAILQ_INIT(&n->clients);
	TAILQ_INIT(&n->exports);
	TAILQ_INIT(&n->mounted);
	n->generation = 1;
	const Isthmus__NasConfig none = ISTHMUS__NAS_CONFIG__INIT;
	int rc = deleg_table_new(&n->delegs, o->env);
	if (rc == 0)
		rc = export_table_new(&n->table, &none, n->generation, NULL);
	if (rc == 0)
		rc = nfs_resolve_new(n);
	if (rc) {
		export_table_put(n->table);
		deleg_table_free(n->delegs);
		free(n);
		return rc;
	}
	for (unsigned i = 0; i < NFS3_PROCS; i++)
		n->ops[i].name = nfs3_procs[i].name;
	for (unsigned i = 0; i < MOUNT3_PROCS; i++)
		n->ops[NFS3_PROCS + i].name = mount3_procs[i].name;
	for (unsigned i = 0; i < ACL3_PROCS; i++)
		n->ops[NFS3_PROCS + MOUNT3_PROCS + i].name = acl3_procs[i].name;
	for (unsigned i = 0; i < RQUOTA_PROCS; i++)
		n->ops[NFS_PROCS_ALL - RQUOTA_PROCS + i].name = rquota_procs[i].name;
	n->program = (struct rpc_program){.prog = NFS_PROGRAM,
					  .vers = NFS_V3,
					  .procs = nfs3_procs,
					  .nprocs = NFS3_PROCS,
					  .arg = n,
					  .finished = nfs_finished};
	n->mount_program = (struct rpc_program){.prog = MOUNT_PROGRAM,
						.vers = MOUNT_V3,
						.procs = mount3_procs,
						.nprocs = MOUNT3_PROCS,
						.arg = n,
						.udp = true,
						.finished = mount3_finished};
	n->acl_program = (struct rpc_program){.prog = ACL_PROGRAM,
					      .vers = ACL_V3,
					      .procs = acl3_procs,
					      .nprocs = ACL3_PROCS,
					      .arg = n,
					      .finished = acl3_finished};
	for (uint32_t i = 0; i < ARRAY_LEN(n->rquota_programs); i++)
		n->rquota_programs[i] = (struct rpc_program){.prog = RQUOTA_PROGRAM,
							     .vers = i + 1,
							     .procs = rquota_procs,
							     .nprocs = RQUOTA_PROCS,
							     .arg = n,
							     .udp = true,
							     .finished = rquota_finished};
	*ret = n;
	return 0;
}

void nfs_free(struct nfs *n)
{
	if (!n)
		return;
	CHECK(n, NFS_MAGIC);
	nfs_resolve_free(n);
	struct nfs_mount *m;
	while ((m = LIST_FIRST(&n->mounts))) {
		ASSERT(!m->busy);
		LIST_REMOVE(m, link);
		free(m);
	}
	deleg_table_free(n->delegs);
	export_table_put(n->table);
	mount3_free(n);
	nfs_stats_free(n);
	n->magic = 0;
	free(n);
}

size_t nfs_area_size(void)
{
	return sizeof(struct nfs_call);
}

int nfs_serve(struct nfs *n, struct rpc_server *s)
{
	int rc = rpc_server_add(s, &n->program);
	if (rc == 0)
		rc = rpc_server_add(s, &n->mount_program);
	if (rc == 0)
		rc = rpc_server_add(s, &n->acl_program);
	for (unsigned i = 0; i < ARRAY_LEN(n->rquota_programs) && rc == 0; i++)
		rc = rpc_server_add(s, &n->rquota_programs[i]);
	return rc;
}

struct nfs_mount *nfs_mount_by_id(struct nfs *n, uint64_t id)
{
	struct nfs_mount *m;
	LIST_FOREACH (m, &n->mounts, link)
		if (m->id == id)
			return m;
	return NULL;
}

struct nfs_mount *nfs_mount_by_name(struct nfs *n, const char *name)
{
	struct nfs_mount *m;
	LIST_FOREACH (m, &n->mounts, link)
		if (strcmp(m->name, name) == 0)
			return m;
	return NULL;
}

void nfs_mount_hold(struct nfs_mount *m)
{
	m->busy++;
}

void nfs_mount_release(struct nfs_mount *m)
{
	ASSERT(m->busy);
	if (--m->busy == 0 && m->leaving)
		waitq_wake_all(&m->idle);
}

int nfs_mount_expect(struct nfs *n, uint64_t id, const char *name)
{
	struct nfs_mount *m = nfs_mount_by_id(n, id);
	if (strlen(name) >= sizeof(m->name))
		return -ENAMETOOLONG;
	if (!m) {
		m = calloc(1, sizeof(*m));
		if (!m)
			return -ENOMEM;
		m->nfs = n;
		m->id = id;
		waitq_init(&m->idle);
		LIST_INSERT_HEAD(&n->mounts, m, link);
	}
	strcpy(m->name, name);
	return 0;
}

/* ---- files that lose their name while open ---- */

void nfs_set_opens(struct nfs *n, struct lock_table *t)
{
	n->opens = t;
}

static bool file_used(void *arg, const struct fs_fid *f)
{
	const struct nfs_mount *m = arg;
	struct lock_file_key key = {.fs = m->id, .ino = f->ino, .generation = f->generation};
	struct lock_use use = {0};
	if (m->nfs->opens)
		lock_use_of(m->nfs->opens, &key, NULL, &use);
	return use.opens;
}

void nfs_file_unused(struct nfs *n, const struct lock_file_key *file)
{
	struct nfs_mount *m = nfs_mount_by_id(n, file->fs);
	struct fs_fid f = {.ino = file->ino, .generation = file->generation};
	if (m && m->fs)
		fs_unused(m->fs, &f);
}

/* The root directory is never removed, so its generation is the one mkfs gave it. */
static int find_root(struct fs *fs, struct fs_fid *ret)
{
	int rc = -ESTALE;
	for (uint32_t g = 0; g < 2 && rc == -ESTALE; g++) {
		struct fs_attr a;
		*ret = (struct fs_fid){.ino = FS_ROOT_INO, .generation = g};
		rc = fs_getattr(fs, ret, &a);
	}
	return rc;
}

int nfs_mount_add(struct nfs *n, uint64_t id, const char *name, struct fs *fs)
{
	struct fs_statfs st;
	struct fs_fid root;
	struct fh_key key;
	int rc = fs_statfs(fs, &st);
	if (rc == 0)
		rc = find_root(fs, &root);
	if (rc == 0)
		rc = fh_key_make(&key, st.uuid);
	if (rc == 0)
		rc = nfs_mount_expect(n, id, name);
	if (rc)
		return rc;
	struct nfs_mount *m = nfs_mount_by_id(n, id);
	m->key = key;
	m->root = root;
	m->dir_verifier = siphash(key.k, "directory cookies", 17);
	m->leaving = false;
	m->fs = fs;
	fs_set_used(fs, file_used, m);
	return 0;
}

struct fs *nfs_mount_take(struct nfs *n, uint64_t id)
{
	struct nfs_mount *m = nfs_mount_by_id(n, id);
	if (!m || !m->fs || m->leaving)
		return NULL;
	m->leaving = true;
	while (m->busy)
		waitq_wait(&m->idle);
	struct fs *fs = m->fs;
	fs_set_used(fs, NULL, NULL);
	m->fs = NULL;
	m->leaving = false;
	return fs;
}

void nfs_mount_forget(struct nfs *n, uint64_t id)
{
	struct nfs_mount *m = nfs_mount_by_id(n, id);
	if (!m)
		return;
	ASSERT(!m->fs && !m->busy);
	LIST_REMOVE(m, link);
	free(m);
}

struct fs *nfs_mount_get(struct nfs *n, const char *name)
{
	struct nfs_mount *m = nfs_mount_by_name(n, name);
	return m && !m->leaving ? m->fs : NULL;
}

int nfs_mount_use(struct nfs *n, const char *name, int (*fn)(void *arg, struct fs *fs), void *arg)
{
	struct nfs_mount *m = nfs_mount_by_name(n, name);
	if (!m || !m->fs || m->leaving)
		return -ENOENT;
	nfs_mount_hold(m);
	int rc = fn(arg, m->fs);
	nfs_mount_release(m);
	return rc;
}

unsigned nfs_exports_set(struct nfs *n, Isthmus__NasExport **exports, size_t count)
{
	Isthmus__NasConfig cfg = ISTHMUS__NAS_CONFIG__INIT;
	cfg.exports = exports;
	cfg.n_exports = count;
	return nfs_namespace_set(n, &cfg);
}

unsigned nfs_namespace_set(struct nfs *n, const Isthmus__NasConfig *cfg)
{
	struct export_table *t;
	unsigned bad;
	int rc = export_table_new(&t, cfg, n->generation + 1, &bad);
	if (rc) /* the old table stays in force */
		return (unsigned)(cfg->n_exports + cfg->n_elsewhere);
	struct export_table *before = n->table;
	n->table = t;
	n->generation++;
	nfs_resolve_table(n, before);
	export_table_put(before);
	return bad;
}
