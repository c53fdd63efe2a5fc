/*
 * File systems of the array that other heads serve: absent here (RFC 7530 8, RFC 8881 11). Their
 * exports stand in the pseudo file system; a client that enters one is told where it is (a
 * referral), one that comes with a handle of a file system that has moved likewise.
 *
 *   LOOKUP, LOOKUPP, PUTFH       lead there; the caller's address has to be one that the export
 * admits GETATTR, VERIFY, NVERIFY     if they ask for fs_locations or fs_locations_info, else MOVED
 *   SECINFO of its name          the flavours of the export
 *   READDIR of what it stands in see child_object() of op_dir.c
 *   all else                     MOVED
 *
 * What is told of it: fsid (as the serving head has it: no other here is the same), where it is,
 * rdattr_error, and where the export begins mounted_on_fileid. Nothing behind a handle can be
 * checked here, and nothing else is told.
 *
 * A head that nobody has heard of since the controllers began has no address yet: DELAY.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include "nasfront/nfs4/nfs4_impl.h"

#define NFS_PORT_TEXT ".8.1" /* 2049, as a universal address ends */
#define SERVER_MAX    128

/* ---- the current object ---- */

void nfs4_absent_drop(struct nfs4_call *k)
{
	export_table_put(k->absent.table);
	k->absent = (struct nfs4_absent){.table = NULL};
}

enum nfs4_status nfs4_fh_absent(struct nfs4_call *k, const struct export *e, bool root)
{
	uint64_t generation;
	struct export_table *t = (struct export_table *)nfs_table(k->n->o.nfs, &generation);
	nfs4_fh_drop(k);
	e = export_by_id(t, e->id); /* the one in force, if e was of one before */
	if (!e || !e->head)
		return NFS4ERR_DELAY;
	if (!nfs_rule_of(k->n->o.nfs, k->req, e))
		return (enum nfs4_status)nfs_rule_refused(k->req, e);
	if (!e->head->naddresses)
		return NFS4ERR_DELAY;
	export_table_get(t);
	k->absent = (struct nfs4_absent){.table = t, .exp = e, .root = root};
	k->kind = FH_ABSENT;
	return NFS4_OK;
}

enum nfs4_status nfs4_absent_check(uint32_t op)
{
	switch (op) {
	case OP_GETATTR:
	case OP_VERIFY:
	case OP_NVERIFY:
		return NFS4_OK;
	case OP_OFFLOAD_CANCEL: /* RFC 7862 11.2: these two have no MOVED */
	case OP_OFFLOAD_STATUS:
		return NFS4ERR_BAD_STATEID;
	default:
		return NFS4ERR_MOVED;
	}
}

bool nfs4_absent_asked(const struct nfs4_call *k, const struct nfs4_bitmap *want)
{
	return bitmap_has(want, FATTR4_FS_LOCATIONS) ||
	       (k->minor && bitmap_has(want, FATTR4_FS_LOCATIONS_INFO));
}

void nfs4_absent_object(struct nfs4_call *k, struct nfs4_object *ret)
{
	const struct nfs4_pseudo *p = k->absent.root ? nfs4_pseudo_of(k->n, k->absent.exp) : NULL;
	ret->absent = k->absent.exp;
	ret->mounted_on = p ? p->id : 0;
}

void nfs4_absent_attrs(const struct nfs4_object *o, struct nfs4_bitmap *want)
{
	struct nfs4_bitmap have = {{0}};
	bitmap_set(&have, FATTR4_FSID);
	bitmap_set(&have, FATTR4_RDATTR_ERROR);
	bitmap_set(&have, FATTR4_FS_LOCATIONS);
	bitmap_set(&have, FATTR4_FS_LOCATIONS_INFO);
	if (o->mounted_on)
		bitmap_set(&have, FATTR4_MOUNTED_ON_FILEID);
	for (unsigned i = 0; i < NFS4_ATTR_WORDS; i++)
		want->w[i] &= have.w[i];
}

/* ---- where ---- */

/* pathname4: the components of an export's path. */
static void put_path(struct xdr_out *x, const char *path)
{
	uint32_t n = 0;
	uint8_t *count = xdr_take(x, 4);
	while (*(path += strspn(path, "/"))) {
		size_t len = strcspn(path, "/");
		xdr_put_opaque(x, path, (uint32_t)len);
		path += len;
		n++;
	}
	if (count)
		be32_put(count, n);
}

/*
 * The string of a server (RFC 7530 8.8, RFC 8881 11.16): an address alone where the port is NFS's,
 * else a universal address. The wildcard stands for the host, which is this one: for the address
 * that the client reached.
 */
static void put_server(const struct nfs4_call *k, struct xdr_out *x, const char *uaddr)
{
	char text[SERVER_MAX], local[INET6_ADDRSTRLEN] = "";
	const char *port = uaddr + strlen(uaddr);
	for (int dots = 0; port > uaddr && dots < 2;)
		dots += *--port == '.';
	size_t n = (size_t)(port - uaddr);
	bool any =
	    (n == 7 && memcmp(uaddr, "0.0.0.0", n) == 0) || (n == 2 && memcmp(uaddr, "::", n) == 0);
	struct sockaddr_storage ss;
	rpc_conn_local(k->req->conn, &ss);
	if (any && ss.ss_family == AF_INET)
		inet_ntop(AF_INET, &((struct sockaddr_in *)&ss)->sin_addr, local, sizeof(local));
	else if (any && ss.ss_family == AF_INET6)
		inet_ntop(AF_INET6, &((struct sockaddr_in6 *)&ss)->sin6_addr, local, sizeof(local));
	snprintf(text, sizeof(text), "%.*s%.16s", local[0] ? INET6_ADDRSTRLEN : (int)MIN(n, 64),
		 local[0] ? local : uaddr, strcmp(port, NFS_PORT_TEXT) == 0 ? "" : port);
	xdr_put_string(x, text);
}

static unsigned count_of(const struct nfs4_object *o)
{
	return o->absent ? o->absent->head->naddresses : 0;
}

static const char *path_of(const struct nfs4_object *o)
{
	return o->absent ? o->absent->path : o->exp ? o->exp->path : "";
}

/* One location: the same path at each address of that head. */
void nfs4_put_locations(const struct nfs4_call *k, struct xdr_out *x, const struct nfs4_object *o)
{
	unsigned n = count_of(o);
	put_path(x, path_of(o));
	xdr_put_u32(x, n != 0);
	if (!n)
		return;
	xdr_put_u32(x, n);
	for (unsigned i = 0; i < n; i++)
		put_server(k, x, o->absent->head->addresses[i]);
	put_path(x, path_of(o));
}

/*
 * fs_locations_info4 (RFC 8881 11.17): a server's fls_info says of what there is one copy of that
 * it may be written (FSLI4GF_WRITABLE), that all else is one with itself, and that there is no
 * other to prefer to it.
 */
void nfs4_put_locations_info(const struct nfs4_call *k, struct xdr_out *x,
			     const struct nfs4_object *o)
{
	static const uint8_t info[12] = {[0] = 0x01};
	unsigned n = count_of(o);
	xdr_put_u32(x, 0);					 /* flags */
	xdr_put_u32(x, (uint32_t)(k->n->o.lease_ns / NS_PER_S)); /* fli_valid_for */
	put_path(x, path_of(o));
	xdr_put_u32(x, n != 0);
	if (!n)
		return;
	xdr_put_u32(x, n);
	for (unsigned i = 0; i < n; i++) {
		xdr_put_u32(x, 0); /* fls_currency: the data itself, no copy that lags */
		xdr_put_opaque(x, info, sizeof(info));
		put_server(k, x, o->absent->head->addresses[i]);
	}
	put_path(x, path_of(o));
}
