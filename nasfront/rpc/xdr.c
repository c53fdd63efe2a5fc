/* Opaque data and strings of XDR (nasfront/rpc/xdr.h). */
#include "nasfront/rpc/xdr.h"

bool xdr_fixed(struct xdr_in *x, uint32_t len, const uint8_t **ret)
{
	if (xdr_left(x) < (uint64_t)len + xdr_pad(len))
		return false;
	*ret = x->p;
	x->p += len + xdr_pad(len);
	return true;
}

bool xdr_opaque(struct xdr_in *x, uint32_t max, const uint8_t **ret, uint32_t *ret_len)
{
	uint32_t len;
	if (!xdr_u32(x, &len) || len > max || !xdr_fixed(x, len, ret))
		return false;
	*ret_len = len;
	return true;
}

void xdr_put_fixed(struct xdr_out *x, const void *data, uint32_t len)
{
	uint32_t pad = xdr_pad(len);
	uint8_t *p = xdr_take(x, (size_t)len + pad);
	if (!p)
		return;
	if (len)
		memcpy(p, data, len);
	memset(p + len, 0, pad);
}

void xdr_put_opaque(struct xdr_out *x, const void *data, uint32_t len)
{
	xdr_put_u32(x, len);
	xdr_put_fixed(x, data, len);
}

void xdr_put_string(struct xdr_out *x, const char *s)
{
	xdr_put_opaque(x, s, (uint32_t)strlen(s));
}
