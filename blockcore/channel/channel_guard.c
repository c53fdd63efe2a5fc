/*
 * Answers SIGBUS in guarded ranges (channel_guard.h).
 *
 * The handler reads a fixed table of atomics and calls mmap(), nothing else: both are safe at any
 * instruction. A slot is free while its base is 0; base is stored last and cleared first.
 */
#include "blockcore/channel/channel_guard.h"
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "runtime/check.h"

#define RANGES 512

static struct {
	_Atomic uintptr_t base;
	_Atomic size_t len;
	_Atomic(_Atomic bool *) lost;
} ranges[RANGES];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct sigaction before;
static bool installed;

static bool map_zeros(uintptr_t base, size_t len)
{
	int prot = PROT_READ | PROT_WRITE;
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE;
#ifdef __SANITIZE_THREAD__
	/* Its mmap() counts as a write of the whole range, which others use meanwhile. */
	return syscall(SYS_mmap, base, len, prot, flags, -1, 0) >= 0;
#else
	return mmap((void *)base, len, prot, flags, -1, 0) != MAP_FAILED;
#endif
}

static bool range_replace(uintptr_t addr)
{
	for (unsigned i = 0; i < RANGES; i++) {
		uintptr_t base = atomic_load(&ranges[i].base);
		size_t len = atomic_load(&ranges[i].len);
		if (!base || addr - base >= len)
			continue;
		if (!map_zeros(base, len))
			return false;
		atomic_store(atomic_load(&ranges[i].lost), true);
		return true;
	}
	return false;
}

static void on_bus(int sig, siginfo_t *si, void *context)
{
	int saved = errno;
	/* si_addr is an address only where the kernel raised it (sigaction(2)). */
	if (si->si_code <= 0 || !range_replace((uintptr_t)si->si_addr))
		sigaction(SIGBUS, &before, NULL); /* and the access faults again */
	errno = saved;
}

static int install(void)
{
	struct sigaction sa = {.sa_sigaction = on_bus, .sa_flags = SA_SIGINFO | SA_ONSTACK};
	if (installed)
		return 0;
	sigemptyset(&sa.sa_mask);
	if (sigaction(SIGBUS, &sa, &before))
		return -errno;
	installed = true;
	return 0;
}

int channel_guard_enter(void *base, size_t len, _Atomic bool *lost)
{
	pthread_mutex_lock(&lock);
	int rc = install();
	unsigned i = 0;
	while (rc == 0 && i < RANGES && atomic_load(&ranges[i].base))
		i++;
	if (rc == 0 && i == RANGES)
		rc = -ENFILE;
	if (rc == 0) {
		atomic_store(lost, false);
		atomic_store(&ranges[i].len, len);
		atomic_store(&ranges[i].lost, lost);
		atomic_store(&ranges[i].base, (uintptr_t)base);
	}
	pthread_mutex_unlock(&lock);
	return rc;
}

void channel_guard_leave(void *base)
{
	pthread_mutex_lock(&lock);
	for (unsigned i = 0; i < RANGES; i++)
		if (atomic_load(&ranges[i].base) == (uintptr_t)base)
			atomic_store(&ranges[i].base, 0);
	pthread_mutex_unlock(&lock);
}
