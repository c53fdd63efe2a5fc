/*
 * The clock of a server in a test: the real one, and what the test has moved it on by. Timers that
 * are due after a move fire at once. So leases and time-outs of seconds pass without being waited
 * for, and may be long enough not to pass on a slow machine.
 */
#ifndef ISTHMUS_TESTS_NAS_CLOCK_H
#define ISTHMUS_TESTS_NAS_CLOCK_H

#include "runtime/env.h"

struct nas_clock;

struct nas_clock *nas_clock_new(void);
/* No timer is armed. */
void nas_clock_free(struct nas_clock *c);
struct env *nas_clock_env(struct nas_clock *c);
/* On the thread whose timers they are. */
void nas_clock_skip(struct nas_clock *c, uint64_t ns);

#endif
