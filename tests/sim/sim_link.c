/*
 * Simulated pipes (tests/sim/sim_link.h). A wire is the two ends of one connection; each end has a
 * queue of what comes to it, with the time at which it does. Wires are kept until the net is freed:
 * events that are still due may look at them.
 */
#include "tests/sim/sim_link.h"
#include "tests/sim/sim_disk.h"
#include "tests/sim/sim_world.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NAME_MAX_ 108
#define BUFFER	  (256 * 1024)
#define PIECE	  (64 * 1024)
#define CUTS_MAX  16

struct piece {
	STAILQ_ENTRY(piece) link;
	uint64_t at;
	size_t len, off;
	uint8_t bytes[];
};

struct sim_port {
	TAILQ_ENTRY(sim_port) link;
	struct sim_net *net;
	struct sim_node *node;
	uint64_t life;
};

struct wire;

struct link_pipe {
	struct wire *wire;
	struct sim_port *port; /* NULL: not accepted yet */
	link_pipe_fn *fn;
	void *arg;
	STAILQ_HEAD(, piece) in;
	size_t in_bytes;
	uint64_t in_last; /* arrival of the last piece */
	uint64_t eof_at;  /* the other end has closed; 0 */
	bool closed, connected, told_full;
	int error;
};

struct wire {
	TAILQ_ENTRY(wire) link;
	struct sim_net *net;
	char names[2][NAME_MAX_];
	bool silent;
	struct link_pipe end[2]; /* connector, listener */
};

struct link_listener {
	TAILQ_ENTRY(link_listener) link;
	struct sim_port *port;
	char name[NAME_MAX_];
	link_accept_fn *fn;
	void *arg;
};

struct link_process {
	TAILQ_ENTRY(link_process) link;
	struct sim_port *port, *watcher;
	link_ended_fn *fn;
	void *arg;
	bool freed, killed;
	struct env_timer kill; /* on its way */
};

struct cut {
	char name[NAME_MAX_];
	enum sim_cut how;
};

struct sim_net {
	struct sim *sim;
	bool same_host;
	uint64_t delay_min, delay_max, kill_delay;
	TAILQ_HEAD(, sim_port) ports;
	TAILQ_HEAD(, wire) wires;
	TAILQ_HEAD(, link_listener) listeners;
	TAILQ_HEAD(, link_process) processes;
	struct cut cuts[CUTS_MAX];
	unsigned ncuts;
};

static bool gone(const struct sim_port *p)
{
	return !p || sim_node_dead(p->node) || sim_node_life(p->node) != p->life;
}

static uint64_t now_of(struct sim_net *n)
{
	return env_now_ns(sim_env(n->sim));
}

static uint64_t delay(struct sim_net *n)
{
	return n->delay_min + sim_random_below(n->sim, n->delay_max - n->delay_min + 1);
}

static struct link_pipe *other(struct link_pipe *p)
{
	return &p->wire->end[p == &p->wire->end[0]];
}

/* ---- events ---- */

static void run_readable(void *arg)
{
	struct link_pipe *p = arg;
	if (!p->closed && p->fn)
		p->fn(p->arg, LINK_EV_READABLE);
}

static void run_writable(void *arg)
{
	struct link_pipe *p = arg;
	p->connected = true;
	if (!p->closed && p->fn)
		p->fn(p->arg, LINK_EV_WRITABLE);
}

static void tell(struct link_pipe *p, enum link_event event, uint64_t after)
{
	if (p->port && !p->closed)
		sim_node_after(p->port->node, after,
			       event == LINK_EV_READABLE ? run_readable : run_writable, p);
}

/* Whatever there is, at its time. */
static void tell_incoming(struct link_pipe *p)
{
	uint64_t now = now_of(p->wire->net);
	struct piece *k = STAILQ_FIRST(&p->in);
	uint64_t at = k ? k->at : p->eof_at;
	if (k || p->eof_at || p->error)
		tell(p, LINK_EV_READABLE, at > now ? at - now : 0);
}

static void drop_incoming(struct link_pipe *p)
{
	struct piece *k;
	while ((k = STAILQ_FIRST(&p->in))) {
		STAILQ_REMOVE_HEAD(&p->in, link);
		free(k);
	}
	p->in_bytes = 0;
}

static void eof_to(struct link_pipe *p)
{
	struct sim_net *n = p->wire->net;
	if (p->eof_at || p->closed)
		return;
	p->eof_at = MAX(now_of(n) + delay(n), p->in_last);
	if (!p->wire->silent)
		tell(p, LINK_EV_READABLE, p->eof_at - now_of(n));
}

static void break_end(struct link_pipe *p, int error)
{
	p->error = error;
	drop_incoming(p);
	tell(p, LINK_EV_READABLE, 0);
}

/* ---- cuts ---- */

static const struct cut *cut_of(struct sim_net *n, const struct wire *w)
{
	for (unsigned i = 0; i < n->ncuts; i++)
		if (strcmp(n->cuts[i].name, w->names[0]) == 0 ||
		    strcmp(n->cuts[i].name, w->names[1]) == 0)
			return &n->cuts[i];
	return NULL;
}

static void apply_cuts(struct sim_net *n, struct wire *w)
{
	const struct cut *c = cut_of(n, w);
	bool was = w->silent;
	w->silent = c && c->how == SIM_CUT_SILENT;
	if (c && c->how == SIM_CUT_RESET)
		for (int i = 0; i < 2; i++)
			break_end(&w->end[i], ECONNRESET);
	for (int i = 0; i < 2 && was && !w->silent; i++) {
		tell_incoming(&w->end[i]);
		tell(&w->end[i], LINK_EV_WRITABLE, delay(n));
	}
}

static void apply_all(struct sim_net *n)
{
	struct wire *w;
	TAILQ_FOREACH (w, &n->wires, link)
		apply_cuts(n, w);
}

void sim_net_cut(struct sim_net *n, const char *name, enum sim_cut how)
{
	sim_net_restore(n, name);
	ASSERT(n->ncuts < CUTS_MAX && strlen(name) < NAME_MAX_);
	strcpy(n->cuts[n->ncuts].name, name);
	n->cuts[n->ncuts++].how = how;
	apply_all(n);
}

void sim_net_restore(struct sim_net *n, const char *name)
{
	for (unsigned i = 0; i < n->ncuts; i++)
		if (strcmp(n->cuts[i].name, name) == 0) {
			n->cuts[i] = n->cuts[--n->ncuts];
			break;
		}
	apply_all(n);
}

void sim_net_restore_all(struct sim_net *n)
{
	n->ncuts = 0;
	apply_all(n);
}

/* ---- connecting ---- */

static struct link_listener *find_listener(struct sim_net *n, const char *name)
{
	struct link_listener *l;
	TAILQ_FOREACH (l, &n->listeners, link)
		if (strcmp(l->name, name) == 0 && !gone(l->port))
			return l;
	return NULL;
}

static int sim_listen(void *arg, const struct link_route *r, const struct link_auth *auth,
		      const char *peer, link_accept_fn *fn, void *fn_arg,
		      struct link_listener **ret, char why[LINK_WHY_MAX])
{
	struct sim_port *p = arg;
	if (gone(p))
		return -ENETDOWN;
	if (find_listener(p->net, r->local))
		return -EADDRINUSE;
	struct link_listener *l = calloc(1, sizeof(*l));
	ASSERT(l && strlen(r->local) < NAME_MAX_);
	*l = (struct link_listener){.port = p, .fn = fn, .arg = fn_arg};
	strcpy(l->name, r->local);
	TAILQ_INSERT_TAIL(&p->net->listeners, l, link);
	*ret = l;
	return 0;
}

static void sim_unlisten(struct link_listener *l)
{
	TAILQ_REMOVE(&l->port->net->listeners, l, link);
	free(l);
}

static void run_accept(void *arg)
{
	struct wire *w = arg;
	struct sim_net *n = w->net;
	struct link_listener *l = find_listener(n, w->names[1]);
	if (w->silent || w->end[0].error)
		return; /* tries again when it has waited long enough */
	if (!l) {
		break_end(&w->end[0], ECONNREFUSED);
		return;
	}
	w->end[1].port = l->port;
	w->end[1].connected = true;
	tell(&w->end[0], LINK_EV_WRITABLE, delay(n));
	l->fn(l->arg, &w->end[1]);
	if (w->end[0].closed)
		eof_to(&w->end[1]);
}

static int sim_connect(void *arg, const struct link_route *r, const struct link_auth *auth,
		       const char *peer, struct link_pipe **ret, char why[LINK_WHY_MAX])
{
	struct sim_port *p = arg;
	struct sim_net *n = p->net;
	if (gone(p))
		return -ENETDOWN;
	struct wire *w = calloc(1, sizeof(*w));
	ASSERT(w && strlen(r->local) < NAME_MAX_ && strlen(r->remote) < NAME_MAX_);
	w->net = n;
	strcpy(w->names[0], r->local);
	strcpy(w->names[1], r->remote);
	for (int i = 0; i < 2; i++) {
		w->end[i].wire = w;
		STAILQ_INIT(&w->end[i].in);
	}
	w->end[0].port = p;
	TAILQ_INSERT_TAIL(&n->wires, w, link);
	apply_cuts(n, w);
	struct link_listener *l = find_listener(n, r->remote);
	if (l)
		sim_node_after(l->port->node, delay(n), run_accept, w);
	else
		break_end(&w->end[0], ECONNREFUSED);
	*ret = &w->end[0];
	return 0;
}

static void sim_watch(struct link_pipe *p, link_pipe_fn *fn, void *arg)
{
	p->fn = fn;
	p->arg = arg;
	tell_incoming(p);
}

/* ---- bytes ---- */

static ssize_t sim_recv(struct link_pipe *p, const struct iovec *iov, int iovcnt)
{
	struct sim_net *n = p->wire->net;
	uint64_t now = now_of(n);
	struct piece *k = STAILQ_FIRST(&p->in);
	if (gone(p->port))
		return 0;
	if (p->error)
		return -p->error;
	if (p->wire->silent)
		return -EAGAIN;
	if (!k || k->at > now) {
		if (!k && p->eof_at && p->eof_at <= now)
			return 0;
		tell_incoming(p);
		return -EAGAIN;
	}
	size_t got = 0, most = 1 + sim_random_below(n->sim, PIECE);
	for (int i = 0; i < iovcnt && got < most; i++) {
		size_t at = 0;
		while (at < iov[i].iov_len && got < most && k && k->at <= now) {
			size_t m = MIN(MIN(iov[i].iov_len - at, most - got), k->len - k->off);
			memcpy((char *)iov[i].iov_base + at, k->bytes + k->off, m);
			at += m;
			got += m;
			k->off += m;
			if (k->off < k->len)
				continue;
			STAILQ_REMOVE_HEAD(&p->in, link);
			free(k);
			k = STAILQ_FIRST(&p->in);
		}
	}
	p->in_bytes -= got;
	if (other(p)->told_full && p->in_bytes < BUFFER / 2) {
		other(p)->told_full = false;
		tell(other(p), LINK_EV_WRITABLE, delay(n));
	}
	tell_incoming(p);
	return (ssize_t)got;
}

static ssize_t sim_send(struct link_pipe *p, const struct iovec *iov, int iovcnt)
{
	struct sim_net *n = p->wire->net;
	struct link_pipe *to = other(p);
	size_t len = 0;
	if (gone(p->port) || p->error)
		return p->error ? -p->error : -EPIPE;
	if (!p->connected || to->in_bytes >= BUFFER) {
		p->told_full = true;
		return -EAGAIN;
	}
	for (int i = 0; i < iovcnt; i++)
		len += iov[i].iov_len;
	size_t room = 1 + sim_random_below(n->sim, BUFFER - to->in_bytes);
	len = MIN(len, room);
	if (to->closed)
		return p->wire->silent ? (ssize_t)len : -EPIPE;
	struct piece *k = malloc(sizeof(*k) + len);
	ASSERT(k);
	*k = (struct piece){.at = MAX(now_of(n) + delay(n), to->in_last), .len = len};
	size_t at = 0;
	for (int i = 0; i < iovcnt && at < len; i++) {
		size_t m = MIN(iov[i].iov_len, len - at);
		memcpy(k->bytes + at, iov[i].iov_base, m);
		at += m;
	}
	to->in_last = k->at;
	to->in_bytes += len;
	bool first = STAILQ_EMPTY(&to->in);
	STAILQ_INSERT_TAIL(&to->in, k, link);
	if (first && !p->wire->silent)
		tell_incoming(to);
	return (ssize_t)len;
}

static void sim_close(struct link_pipe *p)
{
	p->closed = true;
	p->fn = NULL;
	drop_incoming(p);
	if (!gone(p->port))
		eof_to(other(p));
}

/* ---- processes ---- */

static struct link_process *sim_process(struct link_pipe *p)
{
	struct sim_net *n = p->wire->net;
	struct sim_port *port = other(p)->port;
	if (!n->same_host || !port || gone(p->port))
		return NULL;
	struct link_process *r = calloc(1, sizeof(*r));
	ASSERT(r);
	*r = (struct link_process){.port = port, .watcher = p->port};
	TAILQ_INSERT_TAIL(&n->processes, r, link);
	return r;
}

static void run_ended(void *arg)
{
	struct link_process *p = arg;
	if (!p->freed && p->fn) {
		link_ended_fn *fn = p->fn;
		p->fn = NULL;
		fn(p->arg);
	}
}

static void tell_ended(struct link_process *p)
{
	sim_node_after(p->watcher->node, delay(p->port->net), run_ended, p);
}

static void sim_process_watch(struct link_process *p, link_ended_fn *fn, void *arg)
{
	p->fn = fn;
	p->arg = arg;
	if (gone(p->port))
		tell_ended(p);
}

static bool sim_process_ended(struct link_process *p)
{
	return gone(p->port);
}

static void kill_lands(void *arg)
{
	struct link_process *p = arg;
	if (!gone(p->port))
		sim_node_kill(p->port->node);
}

static int sim_process_kill(struct link_process *p)
{
	struct sim_net *n = p->port->net;
	if (gone(p->port))
		return -ESRCH;
	if (gone(p->watcher)) /* the dead kill nobody */
		return -EPERM;
	if (n->kill_delay == 0) {
		sim_node_kill(p->port->node);
	} else if (!p->killed) {
		p->killed = true;
		p->kill = (struct env_timer){.fn = kill_lands, .arg = p};
		env_timer_start(sim_env(n->sim), &p->kill, n->kill_delay);
	}
	return 0;
}

static void sim_process_free(struct link_process *p)
{
	p->freed = true; /* events may still look at it */
}

const struct link_ops sim_link_ops = {
    .listen = sim_listen,
    .unlisten = sim_unlisten,
    .connect = sim_connect,
    .watch = sim_watch,
    .recv = sim_recv,
    .send = sim_send,
    .close = sim_close,
    .process = sim_process,
    .process_watch = sim_process_watch,
    .process_ended = sim_process_ended,
    .process_kill = sim_process_kill,
    .process_free = sim_process_free,
};

/* ---- life ---- */

/* The kernel closes what the dead had open: the other ends read what it had sent, then the end. */
static void on_kill(void *arg, struct sim_node *node)
{
	struct sim_net *n = arg;
	struct wire *w;
	struct link_process *p;
	TAILQ_FOREACH (w, &n->wires, link)
		for (int i = 0; i < 2; i++)
			if (w->end[i].port && w->end[i].port->node == node && !w->end[i].closed) {
				eof_to(&w->end[!i]);
				tell(&w->end[i], LINK_EV_READABLE, 0);
			}
	TAILQ_FOREACH (p, &n->processes, link)
		if (!p->freed && p->port->node == node && p->fn)
			tell_ended(p);
}

struct sim_net *sim_net_new(struct sim *s, bool same_host)
{
	struct sim_net *n = calloc(1, sizeof(*n));
	ASSERT(n);
	*n = (struct sim_net){.sim = s,
			      .same_host = same_host,
			      .delay_min = 10 * NS_PER_US,
			      .delay_max = 100 * NS_PER_US};
	TAILQ_INIT(&n->ports);
	TAILQ_INIT(&n->wires);
	TAILQ_INIT(&n->listeners);
	TAILQ_INIT(&n->processes);
	return n;
}

void sim_net_delay(struct sim_net *n, uint64_t min_ns, uint64_t max_ns)
{
	ASSERT(min_ns <= max_ns);
	n->delay_min = min_ns;
	n->delay_max = max_ns;
}

void sim_net_kill_delay(struct sim_net *n, uint64_t ns)
{
	n->kill_delay = ns;
}

void *sim_net_port(struct sim_net *n, struct sim_node *node)
{
	struct sim_port *p;
	bool known = false;
	TAILQ_FOREACH (p, &n->ports, link)
		known |= p->node == node;
	p = calloc(1, sizeof(*p));
	ASSERT(p);
	*p = (struct sim_port){.net = n, .node = node, .life = sim_node_life(node)};
	TAILQ_INSERT_TAIL(&n->ports, p, link);
	if (!known)
		sim_node_on_kill(node, on_kill, n);
	return p;
}

void sim_net_free(struct sim_net *n)
{
	struct sim_port *p;
	struct wire *w;
	struct link_process *k;
	ASSERT(TAILQ_EMPTY(&n->listeners));
	while ((w = TAILQ_FIRST(&n->wires))) {
		TAILQ_REMOVE(&n->wires, w, link);
		drop_incoming(&w->end[0]);
		drop_incoming(&w->end[1]);
		free(w);
	}
	while ((k = TAILQ_FIRST(&n->processes))) {
		TAILQ_REMOVE(&n->processes, k, link);
		free(k);
	}
	while ((p = TAILQ_FIRST(&n->ports))) {
		TAILQ_REMOVE(&n->ports, p, link);
		free(p);
	}
	free(n);
}
