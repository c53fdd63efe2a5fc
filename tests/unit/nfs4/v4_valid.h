/*
 * Which errors an operation of NFSv4 may answer with, as the RFCs have it (RFC 7530 13.2, RFC 8881
 * 15.2, RFC 7862 11.2, RFC 8276): the client of the tests asserts it of every reply. And which of
 * them were seen, so that a test program can say that it has met all that can arise.
 */
#ifndef ISTHMUS_TESTS_V4_VALID_H
#define ISTHMUS_TESTS_V4_VALID_H

#include <stdbool.h>
#include <stdint.h>

#define V4_MINORS 3

/* The operation may answer so; NFS4_OK as well. Anything that is no operation: OP_ILLEGAL. */
bool v4_valid(uint32_t minor, uint32_t op, uint32_t status);
/* A compound that did not get as far as its first operation may. */
bool v4_valid_compound(uint32_t minor, uint32_t status);
/* "ACCESS"; a number in text for what is none. */
const char *v4_status_name(uint32_t status);
/* False: no error of that name. */
bool v4_status_of(const char *name, uint32_t *ret);
/* "GETATTR". NULL: the minor version has no such operation. */
const char *v4_op_name(uint32_t minor, uint32_t op);
bool v4_op_of(const char *name, uint32_t *ret);

/* From now on it is noted what is seen, by this process and those it forks. */
void v4_seen_begin(void);
void v4_seen_note(uint32_t minor, uint32_t op, uint32_t status);

/* Why an error that the RFCs list cannot arise: minor versions (bits), operation ("*": all), and
 * the errors' names. */
struct v4_never {
	unsigned minors;
	const char *op, *errors, *why;
};
#define V40    1u
#define V41    2u
#define V42    4u
#define V41_UP (V41 | V42)
#define V40_UP (V40 | V41 | V42)

/*
 * Each of these operations (names, divided by spaces) answered NFS4_OK and every error of the
 * RFC's table, but for those that have a reason in `never` (or in the reasons that hold for all);
 * and none with a reason of its own was seen after all. Says on stderr what is missing. False:
 * something is.
 */
bool v4_seen_check(const char *ops, const struct v4_never *never, unsigned count);

#endif
