/* Calls that isthmusd passes on to a daemon: one that has just ended and starts again, one that is
 * gone. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "runtime/admin.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/reactor.h"
#include "server/supervisor/gather.h"

#define BACK_NS (300 * NS_PER_MS)

static char dir[64], front_path[108], daemon_path[108];
static struct reactor *reactor;
static struct admin_server *front, *controller;
static struct config_file config;
static struct supervisor sup;
static struct child child = {.kind = "controller", .name = "a"};
static bool comes_back;

/* ---- the daemon ---- */

static int verb_asked(struct admin_call *call, void *arg)
{
	admin_note(call, "asked %s", admin_arg_text(call, "what"));
	return 0;
}

/* Its socket file is there, and nobody listens: how a killed one leaves it. */
static void leave_socket(void)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	memcpy(sa.sun_path, daemon_path, sizeof(sa.sun_path));
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	close(fd);
}

static void daemon_start(void *arg)
{
	env_sleep_ns(env_real(), BACK_NS);
	if (!comes_back) {
		child.state = CHILD_REFUSED;
		snprintf(child.why, sizeof(child.why), "its cache segment is damaged");
		return;
	}
	ck_assert_int_eq(admin_server_new(&controller, reactor, daemon_path), 0);
	ck_assert_int_eq(admin_register(controller, "asked", verb_asked, NULL), 0);
}

/* ---- the front ---- */

static int forward(struct admin_call *call, void *arg)
{
	return gather_forward(&sup, call, "controller", "a", "asked");
}

static void setup(void)
{
	snprintf(dir, sizeof(dir), "/tmp/isthmus-gather-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	config.array.run_dir = dir;
	config_path_admin(&config, "controller", "a", daemon_path);
	snprintf(front_path, sizeof(front_path), "%s/front.sock", dir);
	struct reactor_opts o = {.name = "front", .cpu = -1};
	ck_assert_int_eq(reactor_new(&reactor, &o), 0);
	sup.config = &config;
	TAILQ_INIT(&sup.children);
	TAILQ_INSERT_TAIL(&sup.children, &child, link);
	child.state = CHILD_UP;
	ck_assert_int_eq(admin_server_new(&front, reactor, front_path), 0);
	ck_assert_int_eq(admin_register(front, "forward", forward, NULL), 0);
	leave_socket();
	ck_assert_int_eq(reactor_start_thread(reactor), 0);
}

static void stop(void *arg)
{
	if (controller)
		admin_server_free(controller);
	controller = NULL;
	admin_server_free(front);
	reactor_stop(reactor);
}

static void teardown(void)
{
	task_start_on(reactor_sched(reactor), stop, NULL);
	reactor_join(reactor);
	reactor_free(reactor);
	unlink(daemon_path);
	ck_assert_int_eq(rmdir(dir), 0);
}

static Isthmus__AdminReply *ask(void)
{
	Isthmus__AdminRequest req = ISTHMUS__ADMIN_REQUEST__INIT;
	Isthmus__AdminArg arg = ISTHMUS__ADMIN_ARG__INIT, *argp = &arg;
	Isthmus__AdminReply *reply = NULL;
	req.verb = "forward";
	req.args = &argp;
	req.n_args = 1;
	arg.name = "what";
	arg.value = "this";
	ck_assert_int_eq(admin_client_call(front_path, &req, 30 * NS_PER_S, NULL, NULL, &reply), 0);
	return reply;
}

/* ---- tests ---- */

/* isthmusd does not know yet that it has ended: the call waits for the next one, and is carried out
 * once. */
START_TEST(a_daemon_that_has_just_ended_is_waited_for)
{
	comes_back = true;
	ck_assert_int_eq(task_start_on(reactor_sched(reactor), daemon_start, NULL), 0);
	Isthmus__AdminReply *r = ask();
	ck_assert_msg(r->code == 0, "%s", r->error);
	ck_assert_uint_eq(r->n_notes, 1);
	ck_assert_str_eq(r->notes[0], "asked this");
	isthmus__admin_reply__free_unpacked(r, NULL);
}
END_TEST

/* As soon as it is known why it will not come back that is said. */
START_TEST(a_daemon_that_does_not_come_back_is_explained)
{
	comes_back = false;
	ck_assert_int_eq(task_start_on(reactor_sched(reactor), daemon_start, NULL), 0);
	Isthmus__AdminReply *r = ask();
	ck_assert_int_eq(r->code, -ENOTCONN);
	ck_assert_ptr_nonnull(strstr(r->error, "controller a"));
	ck_assert_ptr_nonnull(strstr(r->error, "its cache segment is damaged"));
	ck_assert_str_ne(r->remedy, "");
	isthmus__admin_reply__free_unpacked(r, NULL);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("gather");
	TCase *t = tcase_create("gather");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, a_daemon_that_has_just_ended_is_waited_for);
	tcase_add_test(t, a_daemon_that_does_not_come_back_is_explained);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
