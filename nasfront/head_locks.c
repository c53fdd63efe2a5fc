/* Verb head.locks: what NFS clients hold, and how the lock manager is. */
#include <string.h>
#include "nasfront/head.h"
#include "nasfront/nfs/nlm.h"
#include "nasfront/nfs4/nfs4.h"
#include "runtime/admin.h"
#include "runtime/check.h"

#define ROWS_MAX 2000

struct put {
	struct head *h;
	struct admin_call *call;
	const char *only; /* client; NULL: all */
	const struct nlm_client_info *client;
	unsigned rows, left_out;
};

static const char *fs_name(struct head *h, uint64_t id)
{
	struct head_fs *f;
	TAILQ_FOREACH (f, &h->filesystems, link)
		if (f->id == id)
			return f->name;
	return "?";
}

static bool wanted(const struct put *p, const struct nlm_client_info *c)
{
	return !p->only || strcmp(p->only, c->name) == 0 || strcmp(p->only, c->address) == 0;
}

static bool put_client(void *arg, const struct nlm_client_info *c)
{
	struct put *p = arg;
	if (!wanted(p, c))
		return true;
	admin_row(p->call);
	admin_put_text(p->call, "client", "%s", c->name);
	admin_put_text(p->call, "address", "%s", c->address);
	admin_put_number(p->call, "locks", lock_client_locks(c->locks));
	admin_put_number(p->call, "waits", lock_client_waits(c->locks));
	admin_put_flag(p->call, "monitored", c->monitored);
	return true;
}

static bool put_lock(void *arg, const struct lock_info *l)
{
	struct put *p = arg;
	if (p->rows == ROWS_MAX) {
		p->left_out++;
		return true;
	}
	p->rows++;
	admin_row(p->call);
	admin_put_text(p->call, "client", "%s", p->client->name);
	admin_put_text(p->call, "fs", "%s", fs_name(p->h, l->file.fs));
	admin_put_number(p->call, "inode", l->file.ino);
	admin_put_text(p->call, "kind", "%s", l->kind == LOCK_EXCLUSIVE ? "exclusive" : "shared");
	admin_put_text(p->call, "state", "%s", l->waits ? "waits" : "held");
	admin_put_number(p->call, "first", l->range.first);
	if (l->range.last == UINT64_MAX)
		admin_put_text(p->call, "last", "end");
	else
		admin_put_text(p->call, "last", "%llu", (unsigned long long)l->range.last);
	admin_put_number(p->call, "owner", nlm_svid(l));
	return true;
}

static bool put_locks(void *arg, const struct nlm_client_info *c)
{
	struct put *p = arg;
	p->client = c;
	if (wanted(p, c))
		lock_client_each(c->locks, put_lock, p);
	return true;
}

/* ---- NFSv4 ---- */

#define NAME_SHOWN 63

/* What a client calls itself, which may be any bytes: those that are no letters show as dots. */
static void client4_name(const struct nfs4_client_info *c, char ret[NAME_SHOWN + 1])
{
	unsigned n = MIN(c->owner_len, (uint32_t)NAME_SHOWN);
	for (unsigned i = 0; i < n; i++)
		ret[i] = (char)(c->owner[i] > ' ' && c->owner[i] < 127 ? c->owner[i] : '.');
	ret[n] = '\0';
}

static bool put_client4(void *arg, const struct nfs4_client_info *c)
{
	struct put *p = arg;
	char name[NAME_SHOWN + 1];
	client4_name(c, name);
	if (p->only && strcmp(p->only, c->address) && strcmp(p->only, name))
		return true;
	admin_row(p->call);
	admin_put_text(p->call, "client", "%s", name);
	admin_put_text(p->call, "address", "%s", c->address);
	admin_put_text(p->call, "version", "%s", c->v40 ? "4.0" : "4.1+");
	admin_put_text(p->call, "lease", "%s",
		       !c->confirmed ? "unconfirmed"
		       : c->courtesy ? "ran out"
				     : "valid");
	admin_put_number(p->call, "sessions", c->sessions);
	admin_put_number(p->call, "opens", c->opens);
	admin_put_number(p->call, "locks", c->locks);
	admin_put_number(p->call, "delegations", c->delegations);
	admin_put_text(p->call, "calls", "%s", c->path);
	admin_put_duration(p->call, "idle", c->idle_ns);
	return true;
}

static bool put_deleg(void *arg, const struct nfs4_deleg_info *d)
{
	struct put *p = arg;
	if (p->only && strcmp(p->only, d->address))
		return true;
	if (p->rows == ROWS_MAX) {
		p->left_out++;
		return true;
	}
	p->rows++;
	admin_row(p->call);
	admin_put_text(p->call, "address", "%s", d->address);
	admin_put_text(p->call, "fs", "%s", fs_name(p->h, d->fs));
	admin_put_number(p->call, "inode", d->ino);
	admin_put_text(p->call, "kind", "%s", d->write ? "write" : "read");
	admin_put_text(p->call, "state", "%s",
		       d->revoked     ? "revoked"
		       : d->recall_ns ? "recalled"
				      : "lent");
	admin_put_duration(p->call, "recalled_for", d->recall_ns);
	return true;
}

static void put_nfs4(struct put *p)
{
	struct nfs4_deleg_stats s;
	nfs4_deleg_stats(p->h->nfs4, &s);
	admin_table(p->call, "lending", true);
	admin_row(p->call);
	admin_put_number(p->call, "lent", s.lent);
	admin_put_number(p->call, "recalled", s.recalled);
	admin_put_number(p->call, "revoked", s.revoked_now);
	admin_put_number(p->call, "read_grants", s.reads);
	admin_put_number(p->call, "write_grants", s.writes);
	admin_put_number(p->call, "recalls", s.recalls);
	admin_put_number(p->call, "returns", s.returns);
	admin_put_number(p->call, "revocations", s.revoked);
	admin_put_number(p->call, "calls", s.calls);
	admin_put_number(p->call, "calls_failed", s.calls_failed);
	admin_table(p->call, "nfs4_clients", false);
	nfs4_each(p->h->nfs4, put_client4, p);
	admin_table(p->call, "delegations", false);
	p->rows = 0;
	nfs4_each_deleg(p->h->nfs4, put_deleg, p);
}

static int verb_locks(struct admin_call *call, void *arg)
{
	struct head *h = arg;
	struct put p = {.h = h, .call = call, .only = admin_arg_text(call, "client")};
	struct nlm_status s;
	nlm_status(h->nlm, &s);
	admin_table(call, "locking", true);
	admin_row(call);
	admin_put_text(call, "head", "%s", h->config->name);
	admin_put_text(call, "state", "%s",
		       !s.ready		 ? "starting"
		       : s.grace_left_ns ? "grace"
					 : "granting");
	admin_put_duration(call, "grace_left", s.grace_left_ns);
	admin_put_number(call, "nsm_state", s.state);
	admin_put_number(call, "to_notify", s.to_notify);
	admin_put_number(call, "locks", s.locks.locks);
	admin_put_number(call, "waits", s.locks.waits);
	admin_put_number(call, "shares", s.locks.shares);
	admin_put_number(call, "grants", s.locks.grants);
	admin_put_number(call, "denials", s.locks.denials);
	admin_put_number(call, "deadlocks", s.locks.deadlocks);
	admin_put_number(call, "refused", s.locks.refused);
	admin_put_number(call, "callbacks", s.callbacks);
	admin_put_number(call, "callbacks_failed", s.callbacks_failed);
	admin_table(call, "clients", false);
	nlm_each(h->nlm, put_client, &p);
	admin_table(call, "locks", false);
	nlm_each(h->nlm, put_locks, &p);
	if (h->nfs4)
		put_nfs4(&p);
	if (p.left_out)
		admin_note(call, "%u more rows are not shown; use --client.", p.left_out);
	if (s.locks.refused)
		admin_note(call, "Locks were refused because there are too many.");
	return 0;
}

int head_locks_register(struct head *h)
{
	return admin_register(h->admin, "head.locks", verb_locks, h);
}
