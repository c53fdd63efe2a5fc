/* See target.h. */
#include "runtime/check.h"
#include <stdlib.h>
#include <string.h>
#include "server/scsi/scsi.h"
#include "runtime/env.h"
#include "tests/unit/iscsi/target.h"

static void set(char **field, const char *value)
{
	if (*field && **field)
		free(*field);
	*field = strdup(value);
}

void target_make(struct target *t, uint64_t size)
{
	memset(t, 0, sizeof(*t));
	t->core = fake_core_new();
	t->core->env = env_real(); /* it runs in real time */
	t->volume = fake_volume_add(t->core, size);
	fake_volume_add(t->core, 1 << 20);
	Isthmus__Target *open = fake_target_add(t->core, TARGET_OPEN, true);
	fake_lun_add(open, 0, 1, "serial-1");
	Isthmus__Target *chap = fake_target_add(t->core, TARGET_CHAP, true);
	fake_lun_add(chap, 0, 2, "serial-2");
	set(&chap->chap_user, "user");
	set(&chap->chap_secret, CHAP_SECRET);
	set(&chap->mutual_user, "target");
	set(&chap->mutual_secret, CHAP_MUTUAL);
	fake_target_add(t->core, TARGET_MASKED, false);
	ASSERT(scsi_registry_new(&t->registry, t->core) == 0);
}

void target_free(struct target *t)
{
	scsi_registry_free(t->registry);
	fake_core_free(t->core);
}

void target_start(struct target *t, unsigned nreactors, const char *portal,
		  const struct iscsi_opts *limits)
{
	target_start_on(t, nreactors, &portal, 1, limits);
}

void target_start_on(struct target *t, unsigned nreactors, const char *const *portals,
		     unsigned nportals, const struct iscsi_opts *limits)
{
	struct iscsi_opts o = limits ? *limits : (struct iscsi_opts){0};
	t->nreactors = nreactors;
	for (unsigned i = 0; i < nreactors; i++) {
		struct reactor_opts ro = {.name = "test", .cpu = -1, .no_uring = true, .slot = i};
		ASSERT(reactor_new(&t->reactors[i], &ro) == 0);
	}
	o.registry = t->registry;
	o.reactors = t->reactors;
	o.nreactors = nreactors;
	o.portals = portals;
	o.nportals = nportals;
	ASSERT(iscsi_server_start(&t->server, &o) == 0);
	t->port = iscsi_server_port(t->server, 0);
	for (unsigned i = 0; i < nreactors; i++)
		ASSERT(reactor_start_thread(t->reactors[i]) == 0);
}

static void stop_task(void *arg)
{
	struct target *t = arg;
	iscsi_server_stop(t->server);
	for (unsigned i = 0; i < t->nreactors; i++)
		reactor_stop(t->reactors[i]);
}

void target_stop(struct target *t)
{
	ASSERT(task_start_on(reactor_sched(t->reactors[0]), stop_task, t) == 0);
	for (unsigned i = 0; i < t->nreactors; i++) {
		reactor_join(t->reactors[i]);
		reactor_free(t->reactors[i]);
	}
}
