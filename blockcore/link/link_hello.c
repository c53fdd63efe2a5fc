/* What the two tell each other when a route begins, and whether they fit each other. */
#include "blockcore/link/link_impl.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

void link_hello_fill(struct link *l, unsigned route, Isthmus__LinkHello *h)
{
	const struct link_hello *o = &l->o.hello;
	struct link_path_state *p = &l->paths[l->routes[route].path];
	isthmus__link_hello__init(h);
	h->version = LINK_VERSION;
	h->controller = l->self;
	h->peer = l->peer;
	h->array_uuid.data = (uint8_t *)o->array_uuid;
	h->array_uuid.len = sizeof(o->array_uuid);
	h->incarnation = o->incarnation;
	h->pages = o->pages;
	h->page_size = o->page_size;
	h->memory_id = o->memory_id;
	h->segment = (char *)o->segment;
	h->battery = o->battery;
	h->path = l->routes[route].path;
	h->session = l->my_session;
	h->peer_session = l->peer_session;
	h->received = p->taken;
	h->credit = p->consumed + p->window;
	h->versions = (uint32_t *)o->versions;
	h->n_versions = LINK_SVC_MAX;
	h->control.data = (uint8_t *)o->control;
	h->control.len = sizeof(o->control);
}

uint32_t link_hello_pack(const Isthmus__LinkHello *h, uint8_t buf[LINK_HEAD_MAX])
{
	size_t n = isthmus__link_hello__get_packed_size(h);
	ASSERT(n <= LINK_HEAD_MAX);
	isthmus__link_hello__pack(h, buf);
	return (uint32_t)n;
}

static bool is_zero(const uint8_t *p, size_t n)
{
	while (n > 0 && *p == 0) {
		p++;
		n--;
	}
	return n == 0;
}

/* An array that is not known yet (all zeros) fits any. */
static bool same_array(struct link *l, const Isthmus__LinkHello *h)
{
	return is_zero(h->array_uuid.data, 16) || is_zero(l->o.hello.array_uuid, 16) ||
	       memcmp(h->array_uuid.data, l->o.hello.array_uuid, 16) == 0;
}

/* The one map of who owns what: two that have each their own would both own everything. */
static bool same_control(struct link *l, const Isthmus__LinkHello *h)
{
	return is_zero(h->control.data, h->control.len) || is_zero(l->o.hello.control, 16) ||
	       memcmp(h->control.data, l->o.hello.control, 16) == 0;
}

static bool well_formed(const Isthmus__LinkHello *h)
{
	return h->array_uuid.len == 16 && (h->control.len == 16 || h->control.len == 0) &&
	       h->session != 0 && h->incarnation != 0 &&
	       strlen(h->controller) < sizeof(((struct link_hello *)0)->controller) &&
	       strlen(h->segment) < sizeof(((struct link_hello *)0)->segment);
}

static const char *const services[LINK_SVC_MAX] = {
    [LINK_SVC_LINK] = "the link's own messages", [LINK_SVC_OWNER] = "ownership",
    [LINK_SVC_META] = "array metadata",		 [LINK_SVC_MIRROR] = "mirroring",
    [LINK_SVC_SCSI] = "forwarded commands",	 [LINK_SVC_ADMIN] = "administration",
    [LINK_SVC_VOLUME] = "the partner's volumes",
};

/* Each says the same things as ever only to one of its own version. */
static int check_versions(struct link *l, const Isthmus__LinkHello *h, char *text, size_t size)
{
	for (unsigned i = 0; i < LINK_SVC_MAX; i++) {
		uint32_t mine = l->o.hello.versions[i];
		uint32_t theirs = i < h->n_versions ? h->versions[i] : 0;
		if (mine == theirs)
			continue;
		snprintf(text, size,
			 "controller %s speaks version %u of %s, controller %s version %u: install "
			 "the same release on both controllers",
			 l->self, mine, services[i] ? services[i] : "a service", l->peer, theirs);
		return -ERR_VERSION;
	}
	return 0;
}

int link_hello_check(struct link *l, unsigned route, const Isthmus__LinkHello *h, char *text,
		     size_t size)
{
	if (h->version != LINK_VERSION) {
		snprintf(text, size,
			 "controller %s speaks version %u of the interconnect, controller %s "
			 "version %u: install the same release on both controllers",
			 l->self, LINK_VERSION, l->peer, h->version);
		return -ERR_VERSION;
	}
	if (!well_formed(h)) {
		snprintf(text, size, "its hello is malformed");
		return -ERR_PROTO;
	}
	if (strcmp(h->controller, l->peer) != 0 || strcmp(h->peer, l->self) != 0) {
		snprintf(text, size,
			 "controller %.63s that looks for %.63s meets %s that looks for %s: "
			 "correct `partner` and `links` in the configuration",
			 h->controller, h->peer, l->self, l->peer);
		return -ERR_FOREIGN;
	}
	int rc = check_versions(l, h, text, size);
	if (rc)
		return rc;
	if (!same_array(l, h)) {
		snprintf(text, size,
			 "controller %s belongs to another array: give both the disks of one",
			 l->peer);
		return -ERR_FOREIGN;
	}
	if (!same_control(l, h)) {
		snprintf(text, size,
			 "controllers %s and %s have control memories of their own: its file was "
			 "removed, or they have different configurations; stop the array in order "
			 "and start it again",
			 l->self, l->peer);
		return -ERR_FOREIGN;
	}
	if (h->incarnation == l->o.hello.incarnation) {
		snprintf(text, size, "the link is connected to its own end: correct `links`");
		return -ERR_FOREIGN;
	}
	if (h->path != (uint32_t)l->routes[route].path) {
		snprintf(text, size,
			 "a route of the one path meets one of the other: correct `path` or the "
			 "ends in `links`");
		return -ERR_CONFIG;
	}
	return 0;
}

void link_hello_take(const Isthmus__LinkHello *h, struct link_hello *ret)
{
	*ret = (struct link_hello){
	    .version = h->version,
	    .incarnation = h->incarnation,
	    .pages = h->pages,
	    .page_size = h->page_size,
	    .memory_id = h->memory_id,
	    .battery = h->battery,
	};
	snprintf(ret->controller, sizeof(ret->controller), "%s", h->controller);
	snprintf(ret->segment, sizeof(ret->segment), "%s", h->segment);
	memcpy(ret->array_uuid, h->array_uuid.data, sizeof(ret->array_uuid));
}
