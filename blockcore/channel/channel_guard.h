/*
 * Memory whose file another process may shrink. A head's descriptor of its channel segment allows
 * writing, so it allows ftruncate() too; a file with a name cannot be sealed against that
 * (F_SEAL_SHRINK is for memfds), and touching a page that is gone is SIGBUS. Here that signal is
 * answered: the range becomes private zeros, its `lost` flag is set, and the access goes on. What
 * is read from then on is as wrong as anything else a hostile head may write there.
 *
 * A SIGBUS outside of all ranges ends the process as before.
 */
#ifndef ISTHMUS_CHANNEL_GUARD_H
#define ISTHMUS_CHANNEL_GUARD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

/* -ENFILE: too many. `lost` lives until leave. Any thread may touch the range meanwhile. */
int channel_guard_enter(void *base, size_t len, _Atomic bool *lost);
/* Nobody touches the range any more; before it is unmapped. */
void channel_guard_leave(void *base);

#endif
