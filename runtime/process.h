/* Processes of this host by number and start, so that a number used again is noticed. */
#ifndef ISTHMUS_RUNTIME_PROCESS_H
#define ISTHMUS_RUNTIME_PROCESS_H

#include <stdbool.h>
#include <stdint.h>

/* When a process started, in clock ticks since boot (proc(5), field 22 of stat); 0: it has ended,
 * also when its parent has not yet asked for its end. Short system calls. */
uint64_t process_started(int32_t pid);
/* Has the process of a pidfd ended (perhaps not asked for yet)? Never waits; any thread. */
bool process_has_ended(int pidfd);
int32_t process_self(void);
/* How a process's first thread is: the state's letter (proc(5)), and for how long it was ready to
 * run and had no processor, in all its life. 0 or -errno. Short system calls. */
int process_look(int32_t pid, char *ret_state, uint64_t *ret_waited_ns);
/* SIGKILL to the process of that number that started then, and to no other: it is held on to before
 * it is looked at. Never waits. 0: sent, or it has ended; -errno. */
int process_kill(int32_t pid, uint64_t started);

/* Lets this process have so many descriptors open, as far as its hard limit allows: what a shell or
 * a service manager gives at first is often 1024. Returns how many it may have. */
unsigned process_open_files(unsigned want);

#endif
