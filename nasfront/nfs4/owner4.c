/*
 * Who owns, on the wire (RFC 8881 5.9): "name@domain" where the head has a domain and its host
 * knows a name, else the number in text. Numbers are understood always: nobody proves with AUTH_SYS
 * who he is, so there is nothing that a name would be safer for.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "nasfront/nfs4/nfs4_impl.h"

/* ---- writing ---- */

uint32_t nfs4_owner_len(const struct nfs4_call *k, const struct name *name)
{
	return name ? name->len + 1 + (uint32_t)strlen(names_domain(k->n->o.names)) : 10;
}

void nfs4_put_owner(const struct nfs4_call *k, struct xdr_out *x, const struct name *name,
		    uint32_t id)
{
	char text[16];
	if (!name) {
		snprintf(text, sizeof(text), "%u", id);
		xdr_put_string(x, text);
		return;
	}
	uint32_t len = nfs4_owner_len(k, name);
	xdr_put_u32(x, len);
	char *p = (char *)xdr_take(x, len + xdr_pad(len));
	if (!p)
		return;
	memcpy(p, name->text, name->len);
	p[name->len] = '@';
	memcpy(p + name->len + 1, names_domain(k->n->o.names), len - name->len - 1);
	memset(p + len, 0, xdr_pad(len));
}

enum nfs4_status nfs4_owner_name(const struct nfs4_call *k, bool group, uint32_t id, bool wait,
				 struct name **ret)
{
	*ret = NULL;
	if (!k->n->o.names)
		return NFS4_OK;
	int rc = names_of_id(k->n->o.names, group, id, wait, ret);
	return rc == -EAGAIN ? NFS4_AGAIN : NFS4_OK;
}

/* ---- reading ---- */

static bool get_number(const uint8_t *p, uint32_t len, uint32_t *ret)
{
	uint32_t v = 0;
	if (len == 0 || len > 10 || (len > 1 && p[0] == '0'))
		return false;
	for (uint32_t i = 0; i < len; i++) {
		uint64_t next = (uint64_t)v * 10 + (p[i] - '0');
		if (p[i] < '0' || p[i] > '9' || next > UINT32_MAX)
			return false;
		v = (uint32_t)next;
	}
	*ret = v;
	return true;
}

enum nfs4_status nfs4_get_owner(const struct nfs4_call *k, struct xdr_in *x, bool group,
				uint32_t *ret)
{
	const uint8_t *p;
	uint32_t len;
	if (!xdr_opaque(x, NFS4_OPAQUE_LIMIT, &p, &len))
		return NFS4ERR_BADXDR;
	if (get_number(p, len, ret))
		return NFS4_OK;
	if (!k->n->o.names)
		return NFS4ERR_BADOWNER;
	ASSERT(k->may_wait);
	int rc = names_to_id(k->n->o.names, group, (const char *)p, len, ret);
	/* The host cannot say: later, perhaps. */
	return rc == -ENOENT ? NFS4ERR_BADOWNER : rc ? NFS4ERR_DELAY : NFS4_OK;
}
