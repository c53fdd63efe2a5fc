/*
 * Signs of life of the head's reactor: isthmusd sees them stop when the head is stopped, loops or
 * waits for what never comes, whatever its other threads do (server/supervisor/lease.c).
 */
#include "nasfront/head.h"
#include "runtime/beat.h"
#include "runtime/err.h"
#include "runtime/log.h"

static void give(void *arg)
{
	struct head *h = arg;
	beat_give(h->beat, h->up);
	env_timer_start(h->env, &h->beat_timer, BEAT_NS);
}

void head_lease_start(struct head *h)
{
	char path[108];
	if (!h->config->head_lease)
		return;
	config_path_beat(h->file, h->config->name, path);
	int rc = beat_begin(&h->beat, path);
	if (rc) {
		event_write(LOG_L_WARN, "head.lease",
			    "head %s has no lease: nobody sees when it hangs: %s: %s",
			    h->config->name, path, err_text(rc));
		return;
	}
	h->beat_timer = (struct env_timer){.fn = give, .arg = h};
	give(h);
}

void head_lease_serving(struct head *h)
{
	if (h->beat)
		beat_give(h->beat, true);
}

void head_lease_stop(struct head *h)
{
	env_timer_stop(h->env, &h->beat_timer);
	beat_end(h->beat);
	h->beat = NULL;
}
