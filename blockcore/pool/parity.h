/*
 * The code of RAID 5 and 6: k data elements and m parity elements of a row, any k of which
 * give all others. P is the XOR of the data; Q the sum of data[i] * 2^i in GF(2^8) with
 * polynomial 0x11d. Bytes are coded one by one: any length, any alignment. By ISA-L.
 *
 * Elements are numbered: 0..k-1 data, k P, k+1 Q.
 */
#ifndef ISTHMUS_BLOCKCORE_PARITY_H
#define ISTHMUS_BLOCKCORE_PARITY_H

#include <stddef.h>
#include <stdint.h>

#define PARITY_MAX   2
#define PARITY_ELEMS 64

#define PARITY_TABLE 32 /* bytes of an ISA-L table for one coefficient */

struct parity;

/* Work space of a decode: too much for a task's stack. */
struct parity_work {
	uint8_t tables[PARITY_ELEMS * PARITY_TABLE] __attribute__((aligned(64)));
	uint8_t chosen[PARITY_ELEMS * PARITY_ELEMS];  /* generator rows of the sources */
	uint8_t inverse[PARITY_ELEMS * PARITY_ELEMS]; /* sources -> data */
	uint8_t row[PARITY_ELEMS], from[PARITY_ELEMS];
};

/* k + m at most PARITY_ELEMS, m 1 or 2. -EINVAL, -ENOMEM. */
int parity_new(struct parity **ret, unsigned k, unsigned m);
void parity_free(struct parity *c);

/* Makes all parity elements of data[0..k-1]. */
void parity_encode(const struct parity *c, size_t len, uint8_t *const data[],
		   uint8_t *const parity[]);
/* Adds a change of data element i (old XOR new) to all parity elements. */
void parity_update(const struct parity *c, size_t len, unsigned i, uint8_t *delta,
		   uint8_t *const parity[]);
/*
 * Makes the elements in the mask `want` from elements in the mask `have` (at least k of
 * them; others are ignored). elem[] is by element number. -EINVAL: have is too few.
 */
int parity_decode(const struct parity *c, struct parity_work *w, size_t len, uint64_t have,
		  uint64_t want, uint8_t *const elem[]);
/*
 * Two parity elements only. p, q: what is there XOR what the data make. The one data element whose
 * change explains both, in all bytes; -1: none does. The change is p.
 */
int parity_locate(const struct parity *c, size_t len, const uint8_t *p, const uint8_t *q);
/* to ^= from */
void parity_xor(uint8_t *to, const uint8_t *from, size_t len);

#endif
