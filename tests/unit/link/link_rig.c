#include "tests/unit/link/link_rig.h"
#include <check.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "runtime/bytes.h"
#include "runtime/env.h"

struct rig rig;
static char texts[2][LINK_ROUTES_MAX][2][108];

static void on_up(void *arg, struct link *l, const struct link_hello *peer)
{
	struct rig_end *e = arg;
	e->peer = *peer;
	e->ups++;
}

static void on_down(void *arg, struct link *l, bool died)
{
	struct rig_end *e = arg;
	e->died = died;
	e->downs++;
}

static void count(struct rig_end *e, struct link_msg *m)
{
	uint32_t n;
	const void *head = link_msg_head(m, &n);
	if (n == 8 && le64_get(head) == e->count + 1)
		e->count++;
	else
		e->broken++;
	link_done(m);
}

static void answer(struct link_msg *m)
{
	uint32_t head_len, data_len;
	const void *head = link_msg_head(m, &head_len);
	struct iovec iov = {(void *)link_msg_data(m, &data_len), 0};
	iov.iov_len = data_len;
	link_reply(m, 0, head, head_len, &iov, 1, NULL, NULL);
}

static void serve(void *arg, struct link_msg *m)
{
	struct rig_end *e = arg;
	uint32_t n;
	switch (link_msg_type(m)) {
	case RIG_COUNT:
		count(e, m);
		return;
	case RIG_NEVER:
		e->calls++;
		ck_assert_uint_lt(e->held, 64);
		e->never[e->held] = m;
		e->held++; /* seen by the test: after the entry */
		return;
	case RIG_SLOW:
		env_sleep_ns(env_real(), le32_get(link_msg_head(m, &n)) * NS_PER_MS);
		break;
	}
	e->calls++;
	answer(m);
}

void rig_options(struct rig_end *e, const char *self, const char *peer, enum link_transport t,
		 unsigned port)
{
	unsigned who = self[0] == 'b';
	e->opts = (struct link_opts){
	    .env = env_real(),
	    .self = self,
	    .peer = peer,
	    .nroutes = 4,
	    .dead_ns = 5 * NS_PER_S, /* both ends share a machine that may be busy */
	    .hello = {.version = LINK_VERSION,
		      .array_uuid = "0123456789abcde",
		      .incarnation = env_random_u64(env_real()) | 1,
		      .pages = who ? 110 : 100,
		      .page_size = 4096,
		      .memory_id = 7,
		      .segment = "/dev/shm/x"},
	    .up = on_up,
	    .down = on_down,
	    .arg = e,
	};
	for (unsigned i = 0; i < 4; i++) {
		char(*s)[108] = texts[who][i];
		for (unsigned k = 0; k < 2; k++) {
			bool is_b = (k == 0) == who;
			if (t == LINK_TCP)
				snprintf(s[k], 108, "127.0.0.1:%u", port + 2 * i + is_b);
			else
				snprintf(s[k], 108, "%s/%c%u", rig.dir, is_b ? 'b' : 'a', i);
		}
		e->opts.routes[i] =
		    (struct link_route){i % 2 ? LINK_DATA : LINK_CONTROL, t, s[0], s[1]};
	}
}

static struct reactor *new_reactor(const char *name)
{
	struct reactor *r;
	struct reactor_opts o = {.name = name, .cpu = -1, .no_uring = true};
	ck_assert_int_eq(reactor_new(&r, &o), 0);
	ck_assert_int_eq(reactor_start_thread(r), 0);
	return r;
}

void rig_setup(enum link_transport t, unsigned port)
{
	memset(&rig, 0, sizeof(rig));
	snprintf(rig.dir, sizeof(rig.dir), "/tmp/isthmus-link-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(rig.dir));
	rig_options(&rig.a, "a", "b", t, port);
	rig_options(&rig.b, "b", "a", t, port);
	rig.a.reactor = new_reactor("a");
	rig.b.reactor = new_reactor("b");
	for (unsigned i = 0; i < RIG_CALLERS; i++)
		rig.callers[i] = new_reactor("caller");
}

static void end_reactor(struct reactor *r)
{
	reactor_stop(r);
	reactor_join(r);
	reactor_free(r);
}

void rig_teardown(void)
{
	if (rig.a.link)
		rig_close(&rig.a);
	if (rig.b.link)
		rig_close(&rig.b);
	end_reactor(rig.a.reactor);
	end_reactor(rig.b.reactor);
	for (unsigned i = 0; i < RIG_CALLERS; i++)
		end_reactor(rig.callers[i]);
	ck_assert_int_eq(rmdir(rig.dir), 0);
}

struct run {
	void (*fn)(void *arg);
	void *arg;
	sem_t done;
};

static void run_task(void *arg)
{
	struct run *r = arg;
	r->fn(r->arg);
	sem_post(&r->done);
}

void rig_run(struct reactor *r, void (*fn)(void *arg), void *arg)
{
	struct run run = {.fn = fn, .arg = arg};
	sem_init(&run.done, 0, 0);
	ck_assert_int_eq(task_start_on(reactor_sched(r), run_task, &run), 0);
	while (sem_wait(&run.done))
		;
	sem_destroy(&run.done);
}

static void open_task(void *arg)
{
	struct rig_end *e = arg;
	ck_assert_int_eq(link_open(&e->link, &e->opts), 0);
	link_serve(e->link, LINK_SVC_ADMIN, serve, e);
}

void rig_open(struct rig_end *e)
{
	rig_run(e->reactor, open_task, e);
}

static void close_task(void *arg)
{
	struct rig_end *e = arg;
	rig_release(e);
	link_close(e->link);
	e->link = NULL;
}

void rig_close(struct rig_end *e)
{
	rig_run(e->reactor, close_task, e);
}

void rig_nap(void)
{
	if (task_self())
		env_sleep_ns(env_real(), NS_PER_MS);
	else
		usleep(1000);
}

void rig_both_up(void)
{
	RIG_WAIT(link_is_up(rig.a.link) && link_is_up(rig.b.link));
}

void rig_release(struct rig_end *e)
{
	while (e->held > 0)
		link_reply(e->never[--e->held], 0, NULL, 0, NULL, 0, NULL, NULL);
}
