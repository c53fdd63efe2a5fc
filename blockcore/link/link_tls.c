/* TLS of the interconnect (link_tls.h): not there yet, and refused where it is asked for. */
#include "blockcore/link/link_tls.h"
#include <errno.h>

int link_tls_ctx_new(struct link_tls_ctx **ret, const struct link_auth *auth, const char *peer,
		     bool client)
{
	*ret = NULL;
	return auth->psk_file || auth->cert_file ? -EOPNOTSUPP : 0;
}
void link_tls_ctx_put(struct link_tls_ctx *c)
{
}
int link_tls_new(struct link_tls **ret, struct link_tls_ctx *ctx, int fd, bool client)
{
	return -EOPNOTSUPP;
}
void link_tls_free(struct link_tls *t)
{
}
ssize_t link_tls_recv(struct link_tls *t, const struct iovec *iov, int iovcnt)
{
	return -EOPNOTSUPP;
}
ssize_t link_tls_send(struct link_tls *t, const struct iovec *iov, int iovcnt)
{
	return -EOPNOTSUPP;
}
bool link_tls_ready(const struct link_tls *t)
{
	return false;
}
bool link_tls_wants_write(const struct link_tls *t)
{
	return false;
}
bool link_tls_pending(const struct link_tls *t)
{
	return false;
}
