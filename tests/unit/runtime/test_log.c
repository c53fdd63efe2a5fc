/* Log lines and the event log. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "runtime/log.h"

static char path[] = "/tmp/isthmus-test-log-XXXXXX";
static int saved_stderr;

static void capture(void)
{
	strcpy(path + strlen(path) - 6, "XXXXXX");
	int fd = mkstemp(path);
	ck_assert_int_ge(fd, 0);
	saved_stderr = dup(2);
	dup2(fd, 2);
	close(fd);
}

static char *captured(void)
{
	static char text[65536];
	dup2(saved_stderr, 2);
	int fd = open(path, O_RDONLY);
	ssize_t n = read(fd, text, sizeof(text) - 1);
	ck_assert_int_ge(n, 0);
	text[n] = 0;
	close(fd);
	unlink(path);
	return text;
}

static int count(const char *text, const char *what)
{
	int n = 0;
	for (const char *p = text; (p = strstr(p, what)); p++)
		n++;
	return n;
}

START_TEST(levels_and_ident)
{
	enum log_level l;
	ck_assert_int_eq(log_level_parse("warn", &l), 0);
	ck_assert_int_eq(l, LOG_L_WARN);
	ck_assert_int_eq(log_level_parse("loud", &l), -EINVAL);
	capture();
	log_set_ident("controller-a");
	log_set_level(LOG_L_WARN);
	log_info("pool: not shown");
	log_warn("pool: shown name=%s", "p\n<3>1");
	char *text = captured();
	ck_assert_int_eq(count(text, "not shown"), 0);
	ck_assert_int_eq(count(text, " controller-a: warn pool: shown name=p?<3>1\n"), 1);
	ck_assert_int_eq(count(text, "\n"), 1);
	ck_assert_int_eq(text[4], '-');
}
END_TEST

START_TEST(long_lines_are_cut)
{
	char big[4000];
	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = 0;
	capture();
	log_error("%s", big);
	char *text = captured();
	ck_assert_int_eq(count(text, "\n"), 1);
	ck_assert_uint_lt(strlen(text), 1025);
}
END_TEST

START_TEST(a_site_is_limited_and_tells)
{
	capture();
	struct log_site site = {0};
	for (int i = 0; i < 1000; i++)
		log_write(&site, LOG_L_ERROR, "storm");
	usleep(1100000);
	log_write(&site, LOG_L_ERROR, "storm");
	char *text = captured();
	int storms = count(text, "error storm");
	ck_assert_int_ge(storms, 11);
	ck_assert_int_le(storms, 31); /* 1000 calls may cross a second or two */
	ck_assert_int_ge(count(text, "more lines like the next were left out"), 1);
}
END_TEST

START_TEST(journal_gets_priorities)
{
	capture();
	struct stat st;
	char stream[64];
	ck_assert_int_eq(fstat(2, &st), 0);
	snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long)st.st_dev,
		 (unsigned long long)st.st_ino);
	setenv("JOURNAL_STREAM", stream, 1);
	log_error("disk: gone");
	ck_assert_str_eq(captured(), "<3>error disk: gone\n");
}
END_TEST

static char ring[] = "/tmp/isthmus-test-events-XXXXXX";

static void ring_make(void)
{
	log_set_level(LOG_L_ERROR);
	strcpy(ring + strlen(ring) - 6, "XXXXXX");
	close(mkstemp(ring));
	ck_assert_int_eq(event_log_open(ring), 0);
}

START_TEST(events_survive_reopening)
{
	struct event e[4];
	ring_make();
	ck_assert_int_eq(event_log_read(0, e, 4), 0);
	event_write(LOG_L_WARN, "disk.failed", "disk %s failed", "d0");
	event_write(LOG_L_NOTICE, "pool.degraded", "pool p1");
	event_log_close();
	ck_assert_int_eq(event_log_read(0, e, 4), 0);
	ck_assert_int_eq(event_log_open(ring), 0);
	event_write(LOG_L_INFO, "third", "x");
	ck_assert_int_eq(event_log_read(0, e, 4), 3);
	ck_assert_uint_eq(e[0].seq, 1);
	ck_assert_str_eq(e[0].kind, "disk.failed");
	ck_assert_str_eq(e[0].text, "disk d0 failed");
	ck_assert_uint_eq(e[2].seq, 3);
	ck_assert_int_eq(event_log_read(2, e, 4), 1);
	ck_assert_str_eq(e[0].kind, "third");
	ck_assert_int_eq(event_log_read(0, e, 2), 2);
	ck_assert_uint_eq(e[0].seq, 2);
	ck_assert_int_eq(event_log_read_file(ring, e, 2), 2);
	ck_assert_uint_eq(e[0].seq, 2);
	ck_assert_str_eq(e[1].kind, "third");
	ck_assert_int_eq(event_log_read_file(ring, e, 4), 3);
	ck_assert_int_eq(event_log_read_file("/nonexistent", e, 4), -ENOENT);
	event_log_close();
	unlink(ring);
}
END_TEST

START_TEST(ring_goes_round)
{
	static struct event e[2000];
	ring_make();
	for (int i = 1; i <= 1500; i++)
		event_write(LOG_L_INFO, "tick", "number %d", i);
	for (int again = 0; again < 2; again++) {
		ck_assert_int_eq(event_log_read(0, e, 2000), 1024);
		ck_assert_uint_eq(e[0].seq, 477);
		ck_assert_str_eq(e[1023].text, "number 1500");
		event_log_close();
		ck_assert_int_eq(event_log_open(ring), 0);
	}
	event_log_close();
	unlink(ring);
}
END_TEST

START_TEST(damage_costs_one_event)
{
	struct event e[8];
	ring_make();
	for (int i = 1; i <= 5; i++)
		event_write(LOG_L_INFO, "tick", "number %d", i);
	event_log_close();
	int fd = open(ring, O_RDWR);
	ck_assert_int_eq(pwrite(fd, "garbage", 7, 3 * 272 + 60), 7);
	close(fd);
	ck_assert_int_eq(event_log_open(ring), 0);
	ck_assert_int_eq(event_log_read(0, e, 8), 4);
	ck_assert_uint_eq(e[2].seq, 4);
	event_log_close();
	unlink(ring);
	ck_assert_int_eq(event_log_open("/tmp/not/there"), -ENOENT);
}
END_TEST

static void *event_thread(void *arg)
{
	for (int i = 0; i < 100; i++)
		event_write(LOG_L_INFO, "thread", "%d", i);
	return NULL;
}

START_TEST(threads_write_events)
{
	static struct event e[1000];
	pthread_t t[4];
	ring_make();
	for (int i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, event_thread, NULL);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	ck_assert_int_eq(event_log_read(0, e, 1000), 400);
	event_log_close();
	unlink(ring);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("log");
	TCase *tc = tcase_create("log");
	tcase_set_timeout(tc, 20);
	tcase_add_test(tc, levels_and_ident);
	tcase_add_test(tc, long_lines_are_cut);
	tcase_add_test(tc, a_site_is_limited_and_tells);
	tcase_add_test(tc, journal_gets_priorities);
	tcase_add_test(tc, events_survive_reopening);
	tcase_add_test(tc, ring_goes_round);
	tcase_add_test(tc, damage_costs_one_event);
	tcase_add_test(tc, threads_write_events);
	suite_add_tcase(suite, tc);
	SRunner *sr = srunner_create(suite);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
