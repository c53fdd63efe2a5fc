/*
 * Signs of life: a count in a file in memory that a process raises now and then, for whoever
 * watches it. To give one costs a store.
 */
#ifndef ISTHMUS_RUNTIME_BEAT_H
#define ISTHMUS_RUNTIME_BEAT_H

#include <stdbool.h>
#include <stdint.h>

#define BEAT_NS (250 * 1000000ull) /* how often one is given */

struct beat; /* the process's own, mapped */

/* Makes the file anew (another of that name is left to whoever has it). 0 or -errno. */
int beat_begin(struct beat **ret, const char *path);
/* A sign of life; `serving`: not only being started. Never waits. */
void beat_give(struct beat *b, bool serving);
/* The file stays. */
void beat_end(struct beat *b);

struct beat_seen {
	int32_t pid;
	bool serving;
	uint64_t count;
};
/* As it is now. 0, -errno, -EINVAL: it is no such file. Short system calls. */
int beat_look(const char *path, struct beat_seen *ret);

#endif
