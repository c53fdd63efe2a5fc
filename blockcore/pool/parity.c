/* See parity.h. Coefficients and tables are made once a pool; what a decode needs is made for it.
 */
#include "blockcore/pool/parity.h"
#include <errno.h>
#include <isa-l/erasure_code.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/check.h"

struct parity {
	unsigned k, m;
	uint8_t coef[PARITY_MAX][PARITY_ELEMS]; /* parity j, data i */
	uint8_t *tables;			/* k * m of them */
};

int parity_new(struct parity **ret, unsigned k, unsigned m)
{
	if (k == 0 || m == 0 || m > PARITY_MAX || k + m > PARITY_ELEMS)
		return -EINVAL;
	struct parity *c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->k = k;
	c->m = m;
	if (posix_memalign((void **)&c->tables, 64, (size_t)k * m * PARITY_TABLE)) {
		free(c);
		return -ENOMEM;
	}
	uint8_t g = 1;
	for (unsigned i = 0; i < k; i++, g = gf_mul(g, 2)) {
		c->coef[0][i] = 1;
		c->coef[1][i] = g;
	}
	for (unsigned j = 0; j < m; j++)
		ec_init_tables((int)k, 1, c->coef[j], c->tables + (size_t)j * k * PARITY_TABLE);
	*ret = c;
	return 0;
}

void parity_free(struct parity *c)
{
	if (!c)
		return;
	free(c->tables);
	free(c);
}

void parity_encode(const struct parity *c, size_t len, uint8_t *const data[],
		   uint8_t *const parity[])
{
	ec_encode_data((int)len, (int)c->k, (int)c->m, c->tables, (uint8_t **)data,
		       (uint8_t **)parity);
}

void parity_update(const struct parity *c, size_t len, unsigned i, uint8_t *delta,
		   uint8_t *const parity[])
{
	ec_encode_data_update((int)len, (int)c->k, (int)c->m, (int)i, c->tables, delta,
			      (uint8_t **)parity);
}

void parity_xor(uint8_t *restrict to, const uint8_t *restrict from, size_t len)
{
	for (size_t i = 0; i < len; i++)
		to[i] ^= from[i];
}

int parity_locate(const struct parity *c, size_t len, const uint8_t *p, const uint8_t *q)
{
	for (unsigned e = 0; e < c->k; e++) {
		size_t i = 0;
		while (i < len && gf_mul(p[i], c->coef[1][e]) == q[i])
			i++;
		if (i == len)
			return (int)e;
	}
	return -1;
}

/* The row of the generator that makes an element from the data. */
static void generator_row(const struct parity *c, unsigned e, uint8_t *row)
{
	memset(row, 0, c->k);
	if (e < c->k)
		row[e] = 1;
	else
		memcpy(row, c->coef[e - c->k], c->k);
}

/* One data element is missing and P is there: what is left XORed is that element. */
static bool decode_by_xor(const struct parity *c, size_t len, uint64_t have, uint64_t want,
			  uint8_t *const elem[])
{
	uint64_t data = (1ull << c->k) - 1;
	if ((want & (want - 1)) || !(want & data) || (have | want | ~data) != UINT64_MAX ||
	    !(have >> c->k & 1))
		return false;
	unsigned e = (unsigned)__builtin_ctzll(want);
	memcpy(elem[e], elem[c->k], len);
	for (unsigned i = 0; i < c->k; i++)
		if (i != e)
			parity_xor(elem[e], elem[i], len);
	return true;
}

/* from = row * inverse: how the element comes from the sources. */
static void combine(const struct parity *c, struct parity_work *w)
{
	for (unsigned s = 0; s < c->k; s++) {
		uint8_t sum = 0;
		for (unsigned i = 0; i < c->k; i++)
			sum ^= gf_mul(w->row[i], w->inverse[i * c->k + s]);
		w->from[s] = sum;
	}
}

int parity_decode(const struct parity *c, struct parity_work *w, size_t len, uint64_t have,
		  uint64_t want, uint8_t *const elem[])
{
	uint8_t *src[PARITY_ELEMS];
	unsigned n = 0;
	if ((unsigned)__builtin_popcountll(have) < c->k)
		return -EINVAL;
	if (decode_by_xor(c, len, have, want, elem))
		return 0;
	for (unsigned e = 0; e < c->k + c->m && n < c->k; e++) {
		if (!(have >> e & 1))
			continue;
		src[n] = elem[e];
		generator_row(c, e, w->chosen + n * c->k);
		n++;
	}
	/* Any k rows of this generator are independent (m <= 2, powers of 2 all differ). */
	int rc = gf_invert_matrix(w->chosen, w->inverse, (int)c->k) ? -EINVAL : 0;
	for (unsigned e = 0; e < c->k + c->m && rc == 0; e++) {
		uint8_t *out[1] = {elem[e]};
		if (!(want >> e & 1))
			continue;
		generator_row(c, e, w->row);
		combine(c, w);
		ec_init_tables((int)c->k, 1, w->from, w->tables);
		ec_encode_data((int)len, (int)c->k, 1, w->tables, src, out);
	}
	return rc;
}
