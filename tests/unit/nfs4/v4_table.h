/* Operations of NFSv4 and the errors that the RFCs list for them; v4_valid.h is what asks. */
#ifndef ISTHMUS_TESTS_V4_TABLE_H
#define ISTHMUS_TESTS_V4_TABLE_H

#include "tests/unit/nfs4/v4_valid.h"

#define V4_ERRORS  113
#define V4_OPS	   77
#define V4_ILLEGAL 0 /* in place of every number that is no operation's */
#define V4_EXTRA   7

struct v4_error {
	const char *name;
	uint32_t number;
};
extern const struct v4_error v4_errors[V4_ERRORS];

/* Errors by name, divided by spaces. */
struct v4_row {
	const char *op, *errors;
};
extern const struct v4_row v4_rows40[V4_OPS], v4_rows41[V4_OPS]; /* 4.1: and those of 4.2 */

struct v4_extra {
	unsigned minors;
	uint32_t op; /* V4_ILLEGAL: all */
	const char *errors;
};
extern const struct v4_extra v4_extra[V4_EXTRA];

#endif
