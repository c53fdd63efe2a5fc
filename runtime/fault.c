/* Crash points (runtime/fault.h). */
#include "runtime/fault.h"

#ifdef WITH_FAULTS
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static fault_hook *hook_fn;
static void *hook_arg;

void fault_set_hook(fault_hook *hook, void *arg)
{
	hook_fn = hook;
	hook_arg = arg;
}

/* ISTHMUS_FAULT=name or name:nth: this process kills itself at the nth passage. */
static void fault_from_environment(const char *name)
{
	static _Atomic unsigned passed;
	const char *want = getenv("ISTHMUS_FAULT");
	if (!want)
		return;
	size_t n = strcspn(want, ":");
	if (strlen(name) != n || strncmp(name, want, n) != 0)
		return;
	unsigned nth = want[n] ? (unsigned)strtoul(want + n + 1, NULL, 10) : 1;
	if (atomic_fetch_add(&passed, 1) + 1 == nth)
		kill(getpid(), SIGKILL);
}

void fault_point(const char *name)
{
	if (hook_fn)
		hook_fn(name, hook_arg);
	else
		fault_from_environment(name);
}
#endif
