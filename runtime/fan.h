/*
 * Runs one function on several items at once, each in a task of its own, and
 * waits for all. The last item runs in the caller's task, and so does every item for which no
 * stack is free: nothing is queued, so callers that hold stacks never wait for ones that need
 * them. Allocates nothing but stacks. Called in a task.
 */
#ifndef ISTHMUS_RUNTIME_FAN_H
#define ISTHMUS_RUNTIME_FAN_H

#include <stddef.h>

#define FAN_MAX 64

/* items: n of them (at most FAN_MAX), each `size` bytes; fn(item) leaves its result in the item. */
void fan_run(void (*fn)(void *item), void *items, size_t size, unsigned n);

#endif
