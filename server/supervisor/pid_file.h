/*
 * Pid files that can be believed: `PID STARTTIME PROGRAM`. Pid and start time
 * (field 22 of /proc/PID/stat) together name one process of this boot.
 */
#ifndef ISTHMUS_SERVER_PID_FILE_H
#define ISTHMUS_SERVER_PID_FILE_H

#include <sys/types.h>

/* Of a process of the array. */
void pid_file_path(const char *run_dir, const char *kind, const char *name, char ret[256]);
/* Of the calling process. Only system calls and the stack: may be called between fork and exec. */
int pid_file_write(const char *path, const char *program);
/* The living process the file names, 0 when there is none. */
pid_t pid_file_find(const char *path);

#endif
