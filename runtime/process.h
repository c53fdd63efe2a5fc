/* Processes of this host by number and start, so that a number used again is noticed. */
#ifndef ISTHMUS_RUNTIME_PROCESS_H
#define ISTHMUS_RUNTIME_PROCESS_H

#include <stdint.h>

/* When a process started, in clock ticks since boot (proc(5), field 22 of stat); 0: it has ended,
 * also when its parent has not yet asked for its end. Short system calls. */
uint64_t process_started(int32_t pid);
int32_t process_self(void);

#endif
