/*
 * A head's part of the array metadata: its file systems with their exports, and the volumes of its
 * group's running state; and for the one name space of the array the exports of other heads, with
 * where those serve.
 */
#include "blockcore/control/meta.h"
#include "blockcore/channel/channel_server_impl.h"
#include "blockcore/channel/channel_sock.h"
#include "runtime/log.h"
#include <stdlib.h>
#include <string.h>

#define CONFIG_MAX (CHANNEL_MSG_MAX - 1024) /* of a message that holds nothing else */

static const Isthmus__HeadGroup *group_find(const Isthmus__ArrayMeta *am, const char *name)
{
	for (size_t i = 0; i < am->n_groups; i++)
		if (strcmp(am->groups[i]->name, name) == 0)
			return am->groups[i];
	return NULL;
}

static const Isthmus__FileSystem *fs_find(const Isthmus__ArrayMeta *am, const char *name)
{
	for (size_t i = 0; i < am->n_filesystems; i++)
		if (strcmp(am->filesystems[i]->name, name) == 0)
			return am->filesystems[i];
	return NULL;
}

/* A file system of the group may be opened by each of its heads: one may have to take it over. */
bool channel_config_allows(const Isthmus__ArrayMeta *am, const char *head, const char *group,
			   uint32_t volume_id)
{
	const Isthmus__HeadGroup *g = group_find(am, group);
	if (volume_id == 0)
		return false;
	if (g && (g->piv_volume == volume_id || g->backup_volume == volume_id))
		return true;
	for (size_t i = 0; i < am->n_filesystems; i++) {
		const Isthmus__FileSystem *fs = am->filesystems[i];
		if (fs->volume_id == volume_id &&
		    (strcmp(fs->head, head) == 0 || strcmp(fs->group, group) == 0))
			return true;
	}
	return false;
}

/* Programs may be read by every head, and written by none. */
bool channel_config_program(const Isthmus__ArrayMeta *am, uint32_t volume_id)
{
	for (size_t i = 0; i < am->n_volumes; i++)
		if (am->volumes[i]->id == volume_id)
			return strcmp(am->volumes[i]->purpose, "software") == 0;
	return false;
}

/* The message is put together in one block that borrows the metadata's strings; the caller gets a
 * copy of its own by packing and unpacking it. */
struct shallow {
	Isthmus__NasConfig cfg;
	Isthmus__NasFs *fs;
	Isthmus__NasFs **fs_ptrs;
	Isthmus__NasExport *exports;
	Isthmus__NasExport **export_ptrs;
	size_t nexports;
	Isthmus__NasExportClient *clients;
	Isthmus__NasExportClient **client_ptrs;
	size_t nclients;
	Isthmus__NasHead *heads;
	Isthmus__NasHead **head_ptrs;
	char *(*addresses)[CHANNEL_ADDRESSES];
};

static void put_fs(struct shallow *w, const Isthmus__FileSystem *fs)
{
	size_t i = w->cfg.n_filesystems++;
	isthmus__nas_fs__init(&w->fs[i]);
	w->fs[i].name = fs->name;
	w->fs[i].volume_id = fs->volume_id;
	w->fs[i].id = fs->id;
	w->fs[i].formatted = fs->formatted;
	w->fs_ptrs[i] = &w->fs[i];
}

static void put_client(struct shallow *w, const Isthmus__ExportClient *c)
{
	size_t i = w->nclients++;
	Isthmus__NasExportClient *n = &w->clients[i];
	isthmus__nas_export_client__init(n);
	/* Where an older head does not look for it, when there is what it does not know of. */
	char **match = *c->xprtsec ? &n->xprtsec_match : *c->sec ? &n->sec_match : &n->match;
	*match = c->match;
	n->sec = c->sec;
	n->xprtsec = c->xprtsec;
	n->read_write = c->read_write;
	n->squash = c->squash;
	n->anon_uid = c->anon_uid;
	n->anon_gid = c->anon_gid;
	n->secure_port = c->secure_port;
	w->client_ptrs[i] = n;
}

static Isthmus__NasExport *put_export(struct shallow *w, const Isthmus__Export *e)
{
	Isthmus__NasExport *n = w->export_ptrs[w->nexports] = &w->exports[w->nexports];
	w->nexports++;
	isthmus__nas_export__init(n);
	n->path = e->path;
	n->fs = e->fs;
	n->subdir = e->subdir;
	n->id = e->id;
	n->n_clients = e->n_clients;
	n->clients = &w->client_ptrs[w->nclients];
	for (size_t k = 0; k < e->n_clients; k++)
		put_client(w, e->clients[k]);
	return n;
}

/* Of another head's. */
static void put_elsewhere(struct shallow *w, struct channel_server *s, const Isthmus__Export *e,
			  const Isthmus__FileSystem *fs)
{
	Isthmus__NasExport *n = put_export(w, e);
	const struct channel_peer *p = channel_peer_find(s, fs->head);
	size_t i = w->cfg.n_heads;
	n->fs_id = fs->id;
	n->head = fs->head;
	w->cfg.n_elsewhere++;
	for (size_t k = 0; k < i; k++)
		if (strcmp(w->heads[k].name, fs->head) == 0)
			return;
	isthmus__nas_head__init(&w->heads[i]);
	w->heads[i].name = fs->head;
	w->heads[i].addresses = w->addresses[i];
	for (unsigned k = 0; p && k < p->naddresses; k++)
		w->addresses[i][w->heads[i].n_addresses++] = (char *)p->addresses[k];
	w->head_ptrs[i] = &w->heads[i];
	w->cfg.n_heads++;
}

/* First its own, then the others'. */
static void fill_exports(struct shallow *w, struct channel_server *s, const Isthmus__ArrayMeta *am,
			 const char *head)
{
	w->cfg.exports = w->export_ptrs;
	w->cfg.heads = w->head_ptrs;
	for (size_t i = 0; i < am->n_exports; i++) {
		const Isthmus__FileSystem *fs = fs_find(am, am->exports[i]->fs);
		if (!fs || strcmp(fs->head, head) != 0)
			continue;
		put_export(w, am->exports[i]);
		w->cfg.n_exports++;
	}
	w->cfg.elsewhere = w->export_ptrs + w->nexports;
	for (size_t i = 0; i < am->n_exports; i++) {
		const Isthmus__FileSystem *fs = fs_find(am, am->exports[i]->fs);
		if (fs && fs->head[0] && strcmp(fs->head, head) != 0)
			put_elsewhere(w, s, am->exports[i], fs);
	}
}

/* A head serves what is its own, whatever others have: what makes the message too long stays out.
 */
static void fit(Isthmus__NasConfig *cfg)
{
	size_t n = cfg->n_elsewhere;
	while (cfg->n_elsewhere && isthmus__nas_config__get_packed_size(cfg) > CONFIG_MAX)
		cfg->n_elsewhere /= 2;
	if (cfg->n_elsewhere < n)
		log_warn("channel: head not told of all exports of other heads told=%zu of=%zu",
			 cfg->n_elsewhere, n);
}

static void fill(struct shallow *w, struct channel_server *s, const Isthmus__ArrayMeta *am,
		 const char *head, const char *group)
{
	const Isthmus__HeadGroup *g = group_find(am, group);
	w->cfg.seq = am->seq;
	w->cfg.filesystems = w->fs_ptrs;
	for (size_t i = 0; i < am->n_filesystems; i++)
		if (strcmp(am->filesystems[i]->head, head) == 0)
			put_fs(w, am->filesystems[i]);
	fill_exports(w, s, am, head);
	if (g) {
		w->cfg.piv_volume = g->piv_volume;
		w->cfg.backup_volume = g->backup_volume;
		w->cfg.group_id = g->id;
		w->cfg.backup_interval = g->backup_volume ? meta_backup_interval(g) : 0;
		for (size_t i = 0; i < am->n_volumes; i++)
			if (am->volumes[i]->id == g->backup_volume)
				w->cfg.backup_time_ns = am->volumes[i]->backup_time_ns;
		w->cfg.backup_load = g->backup_load;
		w->cfg.backup_continuous = g->backup_continuous;
		for (size_t i = 0; i < g->n_sides; i++)
			if (strcmp(g->sides[i]->head, head) == 0)
				w->cfg.side = g->sides[i]->side;
	}
}

static Isthmus__NasConfig *own_copy(const Isthmus__NasConfig *cfg)
{
	size_t len = isthmus__nas_config__get_packed_size(cfg);
	uint8_t *buf = malloc(len ? len : 1);
	if (!buf)
		return NULL;
	isthmus__nas_config__pack(cfg, buf);
	Isthmus__NasConfig *copy = isthmus__nas_config__unpack(NULL, len, buf);
	free(buf);
	return copy;
}

Isthmus__NasConfig *channel_config_make(struct channel_server *s, const Isthmus__ArrayMeta *am,
					const char *head, const char *group)
{
	struct shallow w = {0};
	Isthmus__NasConfig *copy = NULL;
	size_t clients = 0;
	for (size_t i = 0; i < am->n_exports; i++)
		clients += am->exports[i]->n_clients;
	isthmus__nas_config__init(&w.cfg);
	w.fs = calloc(am->n_filesystems + 1, sizeof(*w.fs));
	w.fs_ptrs = calloc(am->n_filesystems + 1, sizeof(*w.fs_ptrs));
	w.exports = calloc(am->n_exports + 1, sizeof(*w.exports));
	w.export_ptrs = calloc(am->n_exports + 1, sizeof(*w.export_ptrs));
	w.clients = calloc(clients + 1, sizeof(*w.clients));
	w.client_ptrs = calloc(clients + 1, sizeof(*w.client_ptrs));
	w.heads = calloc(am->n_filesystems + 1, sizeof(*w.heads));
	w.head_ptrs = calloc(am->n_filesystems + 1, sizeof(*w.head_ptrs));
	w.addresses = calloc(am->n_filesystems + 1, sizeof(*w.addresses));
	if (w.fs && w.fs_ptrs && w.exports && w.export_ptrs && w.clients && w.client_ptrs &&
	    w.heads && w.head_ptrs && w.addresses) {
		fill(&w, s, am, head, group);
		fit(&w.cfg);
		copy = own_copy(&w.cfg);
	}
	free(w.fs);
	free(w.fs_ptrs);
	free(w.exports);
	free(w.export_ptrs);
	free(w.clients);
	free(w.client_ptrs);
	free(w.heads);
	free(w.head_ptrs);
	free(w.addresses);
	return copy;
}
