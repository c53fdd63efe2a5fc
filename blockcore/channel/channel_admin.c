/* `head.list`: channels as the controller sees them. `head.fence`: one ends, whatever its head
 * does. */
#include "blockcore/channel/channel_exec.h"
#include "blockcore/channel/channel_server_impl.h"
#include "runtime/admin.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include <errno.h>

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
		admin_put_text(call, "version", "%s", p->conn ? p->conn->program : "");
		put_counts(call, p->seg, p->conn ? p->conn->exec : NULL);
	}
	TAILQ_FOREACH (seg, &s->fenced, link) {
		put_common(s, call, seg, "fenced");
		admin_put_text(call, "version", "%s", "");
		put_counts(call, seg, NULL);
	}
	return 0;
}

static int head_fence(struct admin_call *call, void *arg)
{
	struct channel_server *s = arg;
	const char *head = admin_arg_text(call, "name");
	uint64_t pid = 0;
	int rc = admin_arg_u64(call, "pid", &pid);
	if (!head || (rc && rc != -ENOENT))
		return admin_error(call, -EINVAL, NULL, "which head?");
	rc = channel_server_fence(s, head, (pid_t)pid);
	if (rc == -ENOENT || rc == -ESRCH)
		return admin_error(call, rc, "see isthmus head list",
				   "head %s has no channel here that could be fenced", head);
	if (rc)
		return admin_error(call, rc, "see isthmus pool list",
				   "head %s cannot be fenced: %s", head, err_text(rc));
	event_write(LOG_L_WARN, "head.fenced", "head %s was fenced: it can write nothing more",
		    head);
	return 0;
}

int channel_server_admin_register(struct channel_server *s, struct admin_server *a)
{
	int rc = admin_register(a, "head.list", head_list, s);
	return rc ? rc : admin_register(a, "head.fence", head_fence, s);
}
