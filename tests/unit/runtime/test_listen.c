/* Sockets that are handed over to another process (runtime/listen.h). */
#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
#include "runtime/listen.h"

static uint16_t port_of(int fd)
{
	struct sockaddr_in sa;
	socklen_t len = sizeof(sa);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
	return ntohs(sa.sin_port);
}

/* What a process that was handed these sees; its exit status says what went wrong. */
static int successor(int *fds, bool crossed, uint16_t tcp, uint16_t udp)
{
	if (crossed) { /* each stands where the other goes */
		int high[] = {fcntl(fds[0], F_DUPFD, 100), fcntl(fds[1], F_DUPFD, 100)};
		fds[0] = dup2(high[0], LISTEN_FIRST + 1);
		fds[1] = dup2(high[1], LISTEN_FIRST);
	}
	listen_hand_over(fds, 2);
	close_range(LISTEN_FIRST + 2, ~0u, 0); /* as exec does */
	listen_inherit();
	if (listen_tcp("127.0.0.1", tcp) != LISTEN_FIRST)
		return 1;
	if (listen_udp("127.0.0.1", udp) != LISTEN_FIRST + 1)
		return 2;
	/* Each once; and never one of another address. */
	if (listen_tcp("127.0.0.1", tcp) != -EADDRINUSE)
		return 3;
	int other = listen_tcp("127.0.0.2", tcp);
	if (other < 0 || other == LISTEN_FIRST)
		return 4;
	if (!(fcntl(LISTEN_FIRST, F_GETFD) & FD_CLOEXEC))
		return 5;
	return 0;
}

START_TEST(they_are_found_by_their_address)
{
	int fds[] = {listen_tcp("127.0.0.1", 0), listen_udp("127.0.0.1", 0)}, status;
	ck_assert_int_ge(fds[0], 0);
	ck_assert_int_ge(fds[1], 0);
	uint16_t tcp = port_of(fds[0]), udp = port_of(fds[1]);
	pid_t pid = fork();
	if (pid == 0)
		_exit(successor(fds, _i, tcp, udp));
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
}
END_TEST

START_TEST(what_is_no_address_is_refused)
{
	ck_assert_int_eq(listen_tcp("nowhere", 1), -EINVAL);
	ck_assert_int_eq(listen_udp("", 1), -EINVAL);
	int fd = listen_tcp("::1", 0);
	ck_assert_int_ge(fd, 0);
	close(fd);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("listen");
	TCase *t = tcase_create("listen");
	tcase_add_loop_test(t, they_are_found_by_their_address, 0, 2);
	tcase_add_test(t, what_is_no_address_is_refused);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
