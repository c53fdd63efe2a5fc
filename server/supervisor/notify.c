/* The service manager's protocol: READY, STATUS, STOPPING, WATCHDOG (sd_notify(3)). */
#include "server/supervisor/supervisor.h"
#include "runtime/env.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>

/* What children must not inherit is kept here for our own calls. */
static struct {
	char socket[256];
	uint64_t interval_ns;
	struct env_timer timer;
} notify;

static void send_state(const char *state)
{
	if (!notify.socket[0])
		return;
	setenv("NOTIFY_SOCKET", notify.socket, 1);
	sd_notify(0, state);
	unsetenv("NOTIFY_SOCKET");
}

void notify_hide_environment(void)
{
	uint64_t usec = 0;
	if (sd_watchdog_enabled(0, &usec) > 0)
		notify.interval_ns = usec * 1000 / 2;
	const char *s = getenv("NOTIFY_SOCKET");
	if (s && strlen(s) < sizeof(notify.socket))
		strcpy(notify.socket, s);
	unsetenv("NOTIFY_SOCKET");
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_PID");
}

static void on_watchdog(void *arg)
{
	send_state("WATCHDOG=1");
	env_timer_start(env_real(), &notify.timer, notify.interval_ns);
}

void notify_start(struct supervisor *s)
{
	notify.timer.fn = on_watchdog;
	if (notify.interval_ns)
		env_timer_start(env_real(), &notify.timer, notify.interval_ns);
}

void notify_stop(void)
{
	env_timer_stop(env_real(), &notify.timer);
}

void notify_ready(void)
{
	send_state("READY=1");
}

void notify_stopping(void)
{
	send_state("STOPPING=1");
}

void notify_status(struct supervisor *s)
{
	char text[512];
	size_t n = (size_t)snprintf(text, sizeof(text), "STATUS=");
	struct child *c;
	TAILQ_FOREACH (c, &s->children, link)
		if (n < sizeof(text))
			n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s %s %s",
					      c == TAILQ_FIRST(&s->children) ? "" : ", ", c->kind,
					      c->name, child_state_name(c->state));
	send_state(text);
}
