/* See controller_partner.h. */
#include "server/controller_partner.h"
#include "blockcore/cache/cache.h"
#include "blockcore/control/gcm.h"
#include "blockcore/core.h"
#include "blockcore/link/link.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include "runtime/task.h"
#include "server/scsi/forward_wire.h"
#include "server/scsi/scsi.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PARTNER_MAGIC 0x70617274
#define PORTALS_MAX   64
#define PAGE_SIZE     4096

struct partner {
	uint32_t magic;
	const struct config_file *config;
	const struct config_controller *me, *peer;
	uint64_t incarnation;
	void *control;
	size_t control_size;
	struct gcm *gcm;
	struct core_duplex duplex;
	struct core *core;
	struct link *link;
	struct scsi_registry *registry;
	uint16_t group, peer_group;
	uint16_t peer_tags[PORTALS_MAX];
	unsigned npeer_tags;
	char portal_text[PORTALS_MAX][128], peer_portal_text[PORTALS_MAX][128];
	const char *portals[PORTALS_MAX + 1], *peer_portals[PORTALS_MAX + 1];
	bool serving, quiet, busy; /* up and down are acted on; not any more; one is being */
	struct waitq changed;
};

/* ---- control memory ---- */

static int map_control(struct partner *p)
{
	char path[108];
	struct stat st;
	config_path_control(p->config, path);
	int fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0) {
		int err = errno;
		if (fd >= 0)
			close(fd);
		log_error("cannot open the control segment path=%s error=%s; isthmusd makes it: "
			  "start the array with isthmusd",
			  path, err_name(err));
		return -err;
	}
	p->control_size = (size_t)st.st_size;
	p->control = mmap(NULL, p->control_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	int rc = p->control == MAP_FAILED ? -errno : 0;
	close(fd);
	if (rc)
		p->control = NULL;
	return rc;
}

static int open_control(struct partner *p)
{
	int rc = map_control(p);
	if (rc == 0)
		rc = gcm_shared_open(&p->gcm, env_real(), p->control, p->control_size, p->me->name,
				     p->incarnation);
	if (rc == -EBUSY)
		event_write(LOG_L_ERROR, "controller.twice",
			    "another process is controller '%s' already", p->me->name);
	return rc;
}

/* ---- the partner's segment ---- */

static int map_segment(void *arg, const struct link_hello *h, void **ret, uint64_t *ret_size)
{
	struct stat st;
	int fd = open(h->segment, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return -errno;
	int rc = fstat(fd, &st) < 0 ? -errno : S_ISREG(st.st_mode) ? 0 : -EINVAL;
	void *m = rc ? MAP_FAILED
		     : mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (rc == 0 && m == MAP_FAILED)
		rc = -errno;
	close(fd);
	if (rc)
		return rc;
	(void)madvise(m, (size_t)st.st_size, MADV_HUGEPAGE);
	*ret = m;
	*ret_size = (uint64_t)st.st_size;
	return 0;
}

static void unmap_segment(void *arg, void *segment, uint64_t size)
{
	munmap(segment, (size_t)size);
}

/* ---- portals ---- */

/* A portal that says no group is of its controller's: the two have different ones. */
static const char *with_tag(char text[128], const char *portal, uint16_t usual)
{
	if (strrchr(portal, ','))
		snprintf(text, 128, "%s", portal);
	else
		snprintf(text, 128, "%s,%u", portal, usual);
	return text;
}

static void peer_portal(struct partner *p, unsigned i)
{
	const char *text = with_tag(p->peer_portal_text[i], p->peer->portals[i], p->peer_group);
	uint16_t tag = (uint16_t)strtoul(strrchr(text, ',') + 1, NULL, 10);
	unsigned k = 0;
	while (k < p->npeer_tags && p->peer_tags[k] != tag)
		k++;
	if (k == p->npeer_tags)
		p->peer_tags[p->npeer_tags++] = tag;
	p->peer_portals[i] = text;
}

static void set_portals(struct partner *p)
{
	unsigned n = MIN(p->me->portals_count, (unsigned)PORTALS_MAX);
	p->group = strcmp(p->me->name, p->peer->name) < 0 ? 1 : 2;
	p->peer_group = 3 - p->group;
	for (unsigned i = 0; i < n; i++)
		p->portals[i] = with_tag(p->portal_text[i], p->me->portals[i], p->group);
	for (unsigned i = 0; i < p->peer->portals_count && i < PORTALS_MAX; i++)
		peer_portal(p, i);
}

const char *const *partner_portals(const struct partner *p)
{
	return p->portals;
}

const char *const *partner_far_portals(const struct partner *p)
{
	return p->peer_portals;
}

/* ---- opening ---- */

int partner_open(struct partner **ret, const struct config_file *config,
		 const struct config_controller *me)
{
	const struct config_controller *peer = config_partner(config, me);
	*ret = NULL;
	if (!peer)
		return 0;
	struct partner *p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	p->magic = PARTNER_MAGIC;
	p->config = config;
	p->me = me;
	p->peer = peer;
	waitq_init(&p->changed);
	do
		env_random(env_real(), &p->incarnation, sizeof(p->incarnation));
	while (!p->incarnation);
	set_portals(p);
	int rc = open_control(p);
	if (rc) {
		partner_close(p);
		return rc;
	}
	p->duplex = (struct core_duplex){
	    .gcm = p->gcm,
	    .partner = peer->name,
	    .mirror_share = me->mirror_share,
	    .lone_write_through = config_lone_write_through(me),
	    .give_back = config_give_back(me),
	    .give_back_delay_ns = me->give_back_delay * NS_PER_S,
	    .partner_pages = cache_segment_pages(ROUND_UP(peer->cache_bytes, PAGE_SIZE), PAGE_SIZE),
	    .map = map_segment,
	    .unmap = unmap_segment,
	};
	*ret = p;
	return 0;
}

const struct core_duplex *partner_duplex(const struct partner *p)
{
	return p ? &p->duplex : NULL;
}

/* ---- coming and going ---- */

/* False: quiet. */
static bool begin(struct partner *p)
{
	while (!p->serving && !p->quiet)
		waitq_wait(&p->changed);
	p->busy = true;
	return !p->quiet;
}

static void end(struct partner *p)
{
	p->busy = false;
	waitq_wake_all(&p->changed);
}

static void link_up(void *arg, struct link *l, const struct link_hello *peer)
{
	struct partner *p = arg;
	if (begin(p)) {
		int rc = core_partner_up(p->core, l, peer);
		if (rc)
			log_error("partner: it is there, and cannot be used err=%s", err_name(rc));
		scsi_partner_memory(p->registry, peer->memory_id);
		scsi_partner_up(p->registry);
	}
	end(p);
}

static void link_down(void *arg, struct link *l, bool died)
{
	struct partner *p = arg;
	bool serving = begin(p);
	/* First: what the partner forwarded and had no answer for is sent again by hosts, here. */
	if (serving)
		scsi_partner_down(p->registry);
	/* Also when this one is being stopped: writes wait for the partner's answers. */
	int rc = core_partner_down(p->core, l, died);
	if (rc && serving)
		log_error("partner: it is gone, and not all is taken over err=%s", err_name(rc));
	end(p);
}

static int set_routes(struct partner *p, struct link_opts *o)
{
	for (unsigned i = 0; i < p->me->links_count; i++) {
		const struct config_link *k = &p->me->links[i];
		if (o->nroutes == LINK_ROUTES_MAX)
			return -E2BIG;
		o->routes[o->nroutes++] = (struct link_route){
		    .path = strcmp(k->path, "data") == 0 ? LINK_DATA : LINK_CONTROL,
		    .transport = config_link_unix(k) ? LINK_UNIX : LINK_TCP,
		    .local = k->local,
		    .remote = k->remote,
		};
	}
	return 0;
}

int partner_link(struct partner *p, struct core *core, uint32_t pages)
{
	if (!p)
		return 0;
	CHECK(p, PARTNER_MAGIC);
	struct link_opts o = {
	    .env = env_real(),
	    .self = p->me->name,
	    .peer = p->peer->name,
	    .auth = {.psk_file = p->me->link_psk,
		     .cert_file = p->me->link_cert,
		     .key_file = p->me->link_key,
		     .ca_file = p->me->link_ca},
	    .heartbeat_ns = p->me->link_heartbeat_ms * NS_PER_MS,
	    .dead_ns = p->me->link_dead_ms * NS_PER_MS,
	    .up = link_up,
	    .down = link_down,
	    .arg = p,
	};
	o.hello = (struct link_hello){
	    .version = LINK_VERSION,
	    .incarnation = p->incarnation,
	    .pages = pages,
	    .page_size = PAGE_SIZE,
	    .memory_id = cache_memory_id(core_cache(core)),
	    .battery = config_battery(p->config),
	};
	core_link_versions(o.hello.versions);
	memcpy(o.hello.control, p->gcm->id, sizeof(o.hello.control));
	o.hello.versions[LINK_SVC_SCSI] = FWD_VERSION;
	snprintf(o.hello.controller, sizeof(o.hello.controller), "%s", p->me->name);
	memcpy(o.hello.array_uuid, core_array_uuid(core), 16);
	config_path_segment(p->config, p->me->name, o.hello.segment);
	p->core = core;
	int rc = set_routes(p, &o);
	if (rc == 0)
		rc = link_open(&p->link, &o);
	if (rc == 0)
		core_set_link(core, p->link);
	return rc;
}

int partner_scsi(struct partner *p, struct scsi_registry *r)
{
	if (!p)
		return 0;
	CHECK(p, PARTNER_MAGIC);
	p->registry = r;
	int rc = scsi_partner_open(r, &(struct scsi_partner){.link = p->link,
							     .group = p->group,
							     .partner_group = p->peer_group,
							     .tags = p->peer_tags,
							     .ntags = p->npeer_tags});
	if (rc == -EEXIST)
		event_write(LOG_L_ERROR, "config.portals",
			    "a portal group has portals of both controllers; give those of '%s' "
			    "and '%s' different tags",
			    p->me->name, p->peer->name);
	return rc;
}

void partner_serve(struct partner *p)
{
	if (!p)
		return;
	gcm_set_state(p->gcm, GCM_UP);
	p->serving = true;
	waitq_wake_all(&p->changed);
}

void partner_quiet(struct partner *p)
{
	if (!p)
		return;
	gcm_set_state(p->gcm, GCM_LEAVING);
	if (p->core)
		core_leave(p->core);
	p->quiet = true;
	waitq_wake_all(&p->changed);
	while (p->busy)
		waitq_wait(&p->changed);
}

void partner_unlink(struct partner *p)
{
	if (!p || !p->link)
		return;
	core_set_link(p->core, NULL);
	link_close(p->link);
	p->link = NULL;
}

void partner_close(struct partner *p)
{
	if (!p)
		return;
	CHECK(p, PARTNER_MAGIC);
	partner_unlink(p);
	if (p->gcm)
		p->gcm->ops->close(p->gcm);
	if (p->control)
		munmap(p->control, p->control_size);
	p->magic = 0;
	free(p);
}
