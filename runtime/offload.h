/* Work that blocks, done by a thread of libuv's pool while a task waits for it. */
#ifndef ISTHMUS_RUNTIME_OFFLOAD_H
#define ISTHMUS_RUNTIME_OFFLOAD_H

/* Waits; in a task of a reactor. fn(arg) runs on another thread, and has returned. */
void offload(void (*fn)(void *arg), void *arg);

#endif
