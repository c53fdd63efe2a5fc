/*
 * Tables of what operations of NFSv4 answer, for test_nfs4_errors.c; in files by what they are
 * about. In the world of that program are, in the export /demo:
 *
 *   @root (of all)  @demo  @dir (empty)  @full (a directory with an entry)  @file @other  @gone (a
 *   file that was removed)  @goned (a directory)  @link @fifo  @ro @rofile (the read-only export)
 *   @mine (a file of user 7, mode 0600)  @locked (a directory of user 7, mode 0700)  @sticky
 *   $rw (@file, open to read and write) $r (@file, to read) $w (@file, to write)  $rwo (@other)
 *   $lk (locks in @file)  $old (an earlier number of $rw) $new (a later one)  $closed  $bclient (of
 *   the other client)  $none (of no state)  $boot (of an earlier incarnation)  $zero  $ones
 */
#ifndef ISTHMUS_TESTS_ERRORS_ROWS_H
#define ISTHMUS_TESTS_ERRORS_ROWS_H

#include "tests/unit/nfs4/v4_script.h"

struct errors_table {
	const struct v4_row_test *rows;
	unsigned count;
};
extern const struct errors_table errors_sessions, errors_handles, errors_names, errors_attrs,
    errors_data, errors_locks;

/* An operation with arguments that are good as far as they go, for what any operation may say. */
struct errors_op {
	unsigned minors;
	const char *op, *args;
	const char *fh;	  /* what it is about; NULL: it needs none */
	const char *gone; /* what it says of @gone (or @goned, for directories' operations); NULL:
			   * it does not look at the object */
};
extern const struct errors_op errors_ops[];
extern const unsigned errors_ops_count;

#define ZEROS "#00000000000000000000000000000000"
/* Of a CREATE_SESSION, from the fore channel on. */
#define CHANNELS "0 100000 100000 4096 32 16 0 0 4096 4096 0 2 1 0 0x40000000 1 0"

/* What cannot arise. */
extern const struct v4_never errors_never[];
extern const unsigned errors_never_count;

#endif
