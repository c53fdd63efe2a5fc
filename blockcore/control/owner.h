/* Running a function on the reactor that owns something, from a task of any reactor. */
#ifndef ISTHMUS_BLOCKCORE_OWNER_H
#define ISTHMUS_BLOCKCORE_OWNER_H

struct sched;

/* Waits. fn(arg) runs in a task of `owner` (at once when that is the caller's). 0 or -ENOMEM. */
int owner_call(struct sched *owner, void (*fn)(void *arg), void *arg);

#endif
