/* Logical bytes of a pool <-> bytes of its columns (formula in pool.h). */
#include "blockcore/pool/pool_impl.h"

struct column_range pool_map_piece(const struct raid *p, uint64_t off, uint64_t len)
{
	if (p->columns == 1)
		return (struct column_range){0, off, len};
	uint64_t k = off / p->chunk, in = off % p->chunk;
	return (struct column_range){
	    .column = (unsigned)(k % p->columns),
	    .off = k / p->columns * p->chunk + in,
	    .len = MIN(len, p->chunk - in),
	};
}

/* Offset in the column of the first byte at or after logical `off` that lies in it. */
static uint64_t column_ceil(const struct raid *p, unsigned column, uint64_t off)
{
	uint64_t k = off / p->chunk;
	uint64_t row = k / p->columns;
	unsigned c = (unsigned)(k % p->columns);
	if (c < column)
		return row * p->chunk;
	if (c == column)
		return row * p->chunk + off % p->chunk;
	return (row + 1) * p->chunk;
}

struct column_range pool_map_column(const struct raid *p, unsigned column, uint64_t off,
				    uint64_t len)
{
	if (p->columns == 1)
		return (struct column_range){0, off, len};
	uint64_t first = column_ceil(p, column, off);
	return (struct column_range){column, first, column_ceil(p, column, off + len) - first};
}

uint64_t pool_map_logical(const struct raid *p, unsigned column, uint64_t off)
{
	if (p->columns == 1)
		return off;
	return (off / p->chunk * p->columns + column) * p->chunk + off % p->chunk;
}

void pool_map_span(const struct raid *p, uint64_t off, uint64_t len, uint64_t *ret_first,
		   uint64_t *ret_end)
{
	uint64_t end = off + len;
	if (p->data > 1) {
		off = off / p->chunk * p->chunk * p->data;
		end = ROUND_UP(end, p->chunk) * p->data;
	}
	*ret_first = MIN(off, p->io.size);
	*ret_end = MIN(end, p->io.size);
}
