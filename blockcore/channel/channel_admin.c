/* `head.list`: channels as the controller sees them. */
#include "blockcore/channel/channel_exec.h"
#include "blockcore/channel/channel_server_impl.h"
#include "runtime/admin.h"

static void put_common(struct channel_server *s, struct admin_call *call,
		       const struct channel_seg *seg, const char *state)
{
	admin_row(call);
	admin_put_text(call, "head", "%s", seg->head);
	admin_put_text(call, "group", "%s", seg->group);
	admin_put_text(call, "controller", "%s", s->controller);
	admin_put_text(call, "state", "%s", state);
	admin_put_number(call, "pid", (uint64_t)seg->pid);
	admin_put_number(call, "epoch", seg->epoch);
}

static void put_counts(struct admin_call *call, const struct channel_seg *seg,
		       struct channel_exec *exec)
{
	struct channel_exec_stats st = {0};
	if (exec)
		channel_exec_stats(exec, &st);
	admin_put_number(call, "volumes", st.volumes);
	admin_put_number(call, "requests", st.requests);
	/* Found by the head itself in the cache segment, and by us for it. */
	admin_put_number(call, "direct_hits", atomic_load(&seg->hdr->read_hits));
	admin_put_number(call, "hits", st.hits);
	admin_put_number(call, "refused", st.refused);
	/* Sent on to the other controller: the volume had just gone there. */
	admin_put_number(call, "elsewhere", st.elsewhere);
}

static int head_list(struct admin_call *call, void *arg)
{
	struct channel_server *s = arg;
	struct channel_peer *p;
	struct channel_seg *seg;
	admin_table(call, "heads", false);
	TAILQ_FOREACH (p, &s->peers, link) {
		if (!p->seg)
			continue;
		bool up = p->conn && !p->conn->closing;
		const char *state = up ? "up" : p->conn ? "leaving" : "down";
		put_common(s, call, p->seg, atomic_load(&p->seg->fenced) ? "fenced" : state);
		put_counts(call, p->seg, p->conn ? p->conn->exec : NULL);
	}
	TAILQ_FOREACH (seg, &s->fenced, link) {
		put_common(s, call, seg, "fenced");
		put_counts(call, seg, NULL);
	}
	return 0;
}

int channel_server_admin_register(struct channel_server *s, struct admin_server *a)
{
	return admin_register(a, "head.list", head_list, s);
}
