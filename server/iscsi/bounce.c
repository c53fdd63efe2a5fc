/*
 * Data that comes while its command cannot say yet where it goes (it waits for pages, or for its
 * unit's limit): unsolicited data, of FirstBurstLength at most. It is kept in chunks of the
 * worker's pool; what finds the pool empty is discarded, and its command ends with TASK SET FULL.
 */
#include "server/iscsi/conn.h"
#include "runtime/check.h"

void bounce_free(struct itask *t)
{
	for (unsigned i = 0; i < t->nbounce; i++)
		if (t->bounce[i].iov_base != t->cmd.data) /* the command's own */
			mem_pool_put(t->conn->worker->bounces, t->bounce[i].iov_base);
	t->nbounce = 0;
}

bool bounce_take(struct itask *t, uint32_t len)
{
	void *own = scsi_hold_data(&t->cmd, len);
	if (own) {
		t->bounce[t->nbounce++] = (struct iovec){.iov_base = own, .iov_len = len};
		return true;
	}
	for (uint32_t at = 0; at < len; at += BOUNCE_CHUNK) {
		ASSERT(t->nbounce < BOUNCE_CHUNKS);
		void *chunk = mem_pool_try_get(t->conn->worker->bounces);
		if (!chunk) {
			bounce_free(t);
			return false;
		}
		t->bounce[t->nbounce++] =
		    (struct iovec){.iov_base = chunk, .iov_len = MIN(len - at, BOUNCE_CHUNK)};
	}
	return true;
}

void bounce_move(struct itask *t, uint32_t n)
{
	for (unsigned i = 0; n > 0; i++) {
		ASSERT(i < t->nbounce);
		uint32_t piece = (uint32_t)MIN((size_t)n, t->bounce[i].iov_len);
		data_sink_copy(t, t->bounce[i].iov_base, piece, NULL);
		n -= piece;
	}
}
