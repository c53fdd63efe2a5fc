/*
 * Looking for work before sleeping (runtime/reactor_impl.h). To sleep and be woken costs both
 * sides: the waker an interrupt to another CPU, the sleeper the way back. Where the next request
 * comes sooner than that, it is cheaper to wait for it awake; where it does not, looking is waste.
 * Which of both it is shows in how long the reactor was idle last:
 *
 *   not longer than max_ns, and what being woken takes    the window opens
 *   longer                                                it closes
 *
 * After VAIN_MAX looks in vain in a row it stays closed for a while: what comes always a little too
 * late may come from somebody who needs this very CPU. An idle reactor's window is closed, so it
 * uses no CPU.
 */
#include "runtime/reactor_impl.h"
#include "runtime/env.h"
#include <stdatomic.h>
#include <sys/param.h>

#define WOKEN_NS (50 * NS_PER_US)
#define VAIN_MAX 8
#define REST_NS	 (20 * NS_PER_MS)

static void add(_Atomic uint64_t *n, uint64_t by)
{
	atomic_store_explicit(n, atomic_load_explicit(n, memory_order_relaxed) + by,
			      memory_order_relaxed);
}

/* Between two looks: they take locks of the kernel that the one who is waited for needs as well. */
static void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#endif
}

bool poll_look(struct poll_state *p, bool (*look)(void *arg), void *arg)
{
	if (!p->max_ns)
		return false;
	uint64_t start = env_now_ns(p->env), now = start;
	bool found = false;
	bool open = p->open && start >= p->rest_until;
	do {
		found = look(arg);
		now = env_now_ns(p->env);
		if (!found)
			relax();
	} while (!found && open && now - start < p->max_ns);
	add(&p->polled_ns, now - start);
	if (found) {
		p->vain = 0;
		add(&p->hits, 1);
		return true;
	}
	if (open && ++p->vain >= VAIN_MAX) {
		p->vain = 0;
		p->rest_until = now + REST_NS;
	}
	p->idle_since = start;
	add(&p->sleeps, 1);
	return false;
}

void poll_woken(struct poll_state *p)
{
	if (!p->idle_since)
		return;
	uint64_t idle = env_now_ns(p->env) - p->idle_since;
	p->idle_since = 0;
	p->open = idle <= p->max_ns + WOKEN_NS;
}
