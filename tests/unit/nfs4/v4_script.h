/*
 * Compounds of NFSv4 as text, for tables of tests: operations divided by ';', each with its
 * arguments as XDR has them.
 *
 *   PUTFH @dir; LOOKUP 'name'        12, 0x1f  a word          q12       two words
 *   'text'  %300 (so many a)  an opaque        @dir            a handle, as an opaque
 *   $open   a stateid         &a     a client's id             +o        an owner's next number
 *   #00ff   bytes             X12    an operation's number in place of its name
 *
 *   =       the session's number               !      the next number of a CREATE_SESSION
 *
 * Before the first operation: "early" (it is the first that fails), "uid=7" (who calls), "cache"
 * (the reply is to be kept), "bare" (no SEQUENCE), "b:" (the other client). All but the last
 * operation must succeed.
 */
#ifndef ISTHMUS_TESTS_V4_SCRIPT_H
#define ISTHMUS_TESTS_V4_SCRIPT_H

#include "tests/unit/nfs4/v4_client.h"
#include "tests/unit/nfs4/v4_valid.h"

/* What names in scripts mean; of the same name: replaced. */
void v4_name_fh(const char *name, const struct v4_fh *fh);
void v4_name_sid(const char *name, const struct v4_stateid *sid);
const struct v4_fh *v4_fh_of(const char *name);
const struct v4_stateid *v4_sid_of(const char *name);
/* The two clients, from now on; their owners begin to count. */
void v4_script_clients(struct v4 *a, struct v4 *b);

/* The last number an owner took, when others than scripts counted. */
void v4_script_seq(const char *owner, uint32_t last);

/* Runs one; its status. */
uint32_t v4_script(const char *text);
/* The same; must succeed. The handle of what it ends at, or the stateid it begins its result with.
 */
void v4_script_fh(const char *text, const char *name);
void v4_script_sid(const char *text, const char *name);

struct v4_row_test {
	unsigned minors; /* bits: V40, V41, V42 */
	const char *script, *status;
};
/* Runs those of the clients' minor version; how many did not answer as they should. */
unsigned v4_rows_run(const struct v4_row_test *rows, unsigned count);

#endif
