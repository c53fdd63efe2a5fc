/*
 * Crash points. FAULT("mirror.after_copy") names a place where a crash is an
 * interesting event; with --enable-faults the hook installed by a simulation
 * or ISTHMUS_FAULT=name[:nth] in the environment may end the process (or, in
 * the simulator, unwind the incarnation) there. Compiled out of release builds.
 */
#ifndef ISTHMUS_RUNTIME_FAULT_H
#define ISTHMUS_RUNTIME_FAULT_H

#include "config.h"

#ifdef WITH_FAULTS
typedef void fault_hook(const char *name, void *arg);
/* Called at every crash point of this process; NULL removes it. */
void fault_set_hook(fault_hook *hook, void *arg);
void fault_point(const char *name);
#define FAULT(name) fault_point(name)
#else
#define FAULT(name) ((void)0)
#endif

#endif
