/* The MOUNT procedures of nfs3_client.h. */
#include <stdio.h>
#include "tests/tools/nfs3_client_impl.h"

static void on_mnt(struct rpc_context *rpc, int status, void *data, void *arg)
{
	struct nc *c = arg;
	mountres3 *r = data;
	int stat = status == RPC_STATUS_SUCCESS ? (int)r->fhs_status : -1;
	c->res.call = "mnt";
	if (!nc_answered(c, status, &stat) || stat)
		return;
	fhandle3 *f = &r->mountres3_u.mountinfo.fhandle;
	nfs_fh3 as = {.data = {f->fhandle3_len, f->fhandle3_val}};
	nc_take_fh(c, &as);
	c->res.count = r->mountres3_u.mountinfo.auth_flavors.auth_flavors_len;
}

static void line(struct nc *c, const char *a, const char *b)
{
	c->res.count +=
	    (uint32_t)snprintf(c->data + c->res.count, NC_DATA - c->res.count, "%s%s", a, b);
}

static void on_dump(struct rpc_context *rpc, int status, void *data, void *arg)
{
	int ok = 0;
	struct nc *c = arg;
	c->data[0] = '\0';
	if (!nc_answered(c, status, &ok))
		return;
	for (mountlist m = *(mountlist *)data; m; m = m->ml_next) {
		line(c, m->ml_hostname, " ");
		line(c, m->ml_directory, "\n");
	}
}

static void on_exports(struct rpc_context *rpc, int status, void *data, void *arg)
{
	int ok = 0;
	struct nc *c = arg;
	c->data[0] = '\0';
	if (!nc_answered(c, status, &ok))
		return;
	for (exports e = *(exports *)data; e; e = e->ex_next) {
		line(c, e->ex_dir, "");
		for (groups g = e->ex_groups; g; g = g->gr_next)
			line(c, " ", g->gr_name);
		line(c, "\n", "");
	}
}

static void on_nothing(struct rpc_context *rpc, int status, void *data, void *arg)
{
	int ok = 0;
	nc_answered(arg, status, &ok);
}

const struct nc_res *nc_mnt(struct nc *c, const char *path)
{
	CALL(c, mount3_mnt, on_mnt, (char *)path);
}

const struct nc_res *nc_umnt(struct nc *c, const char *path)
{
	CALL(c, mount3_umnt, on_nothing, (char *)path);
}

const struct nc_res *nc_mount_null(struct nc *c)
{
	DEAD(c)
	nc_begin(c);
	return nc_run(c, rpc_mount3_null_async(c->rpc, on_nothing, c));
}

const struct nc_res *nc_umntall(struct nc *c)
{
	DEAD(c)
	nc_begin(c);
	return nc_run(c, rpc_mount3_umntall_async(c->rpc, on_nothing, c));
}

const struct nc_res *nc_dump(struct nc *c)
{
	DEAD(c)
	nc_begin(c);
	return nc_run(c, rpc_mount3_dump_async(c->rpc, on_dump, c));
}

const struct nc_res *nc_exports(struct nc *c)
{
	DEAD(c)
	nc_begin(c);
	return nc_run(c, rpc_mount3_export_async(c->rpc, on_exports, c));
}
