/*
 * The interconnect between two processes: calls a second and CPU a call (both processes together),
 * 4 KiB there or back, over unix sockets, TCP on loopback, and TLS.
 *
 *   bench_link [SECONDS [FIRST_PORT]]
 */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "blockcore/link/link.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include "runtime/reactor.h"

#define SIZE  4096
#define DEPTH 256

enum { WRITE = 1, READ };

static char dir[] = "/tmp/isthmus-bench-link-XXXXXX", key_file[64];
static unsigned port = 21200, seconds = 2;
static char names[2][4][64];
static uint8_t page[SIZE];
static struct link *the_link;
static struct reactor *home, *other;
static _Atomic bool up, stop;
static _Atomic unsigned running;
static _Atomic uint64_t calls;

static void on_up(void *arg, struct link *l, const struct link_hello *peer)
{
	up = true;
}

static void nothing(void *arg)
{
}

static void serve(void *arg, struct link_msg *m)
{
	struct iovec iov = {page, SIZE};
	bool read = link_msg_type(m) == READ;
	link_reply(m, 0, NULL, 0, &iov, read, nothing, NULL);
}

static void open_link(void *arg)
{
	bool b = *(char *)arg == 'b';
	enum link_transport t = *((char *)arg + 1) == 'u' ? LINK_UNIX : LINK_TCP;
	struct link_opts o = {.env = env_real(),
			      .self = b ? "b" : "a",
			      .peer = b ? "a" : "b",
			      .nroutes = 4,
			      .hello = {.incarnation = b ? 2 : 1},
			      .up = on_up};
	if (*((char *)arg + 1) == 's')
		o.auth.psk_file = key_file;
	for (unsigned i = 0; i < 4; i++) {
		for (unsigned k = 0; k < 2; k++) {
			if (t == LINK_UNIX)
				snprintf(names[k][i], 64, "%s/%c%u", dir, 'a' + k, i);
			else
				snprintf(names[k][i], 64, "127.0.0.1:%u", port + 2 * i + k);
		}
		o.routes[i] = (struct link_route){i % 2 ? LINK_DATA : LINK_CONTROL, t, names[b][i],
						  names[!b][i]};
	}
	int rc = link_open(&the_link, &o);
	if (rc) {
		fprintf(stderr, "bench_link: %s\n", err_text(rc));
		exit(1);
	}
	link_serve(the_link, LINK_SVC_SCSI, serve, NULL);
}

static pid_t start_peer(char *who)
{
	pid_t pid = fork();
	if (pid)
		return pid;
	struct reactor_opts ro = {.name = "b", .cpu = -1, .no_uring = true, .poll_us = 20};
	who[0] = 'b';
	alarm(120);
	if (reactor_new(&home, &ro) || task_start_on(reactor_sched(home), open_link, who))
		_exit(1);
	reactor_run(home);
	_exit(0);
}

static uint64_t cpu_ns(pid_t pid)
{
	clockid_t id;
	struct timespec ts;
	if (clock_getcpuclockid(pid, &id) || clock_gettime(id, &ts))
		return 0;
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

static void caller(void *arg)
{
	uint8_t buf[SIZE];
	struct iovec iov = {buf, SIZE};
	bool read = arg != NULL;
	struct link_answer ans = {.iov = &iov, .iovcnt = read};
	memset(buf, 1, sizeof(buf));
	while (!stop) {
		int rc = link_call(the_link, LINK_DATA, LINK_SVC_SCSI, read ? READ : WRITE, NULL, 0,
				   &iov, !read, &ans, 0);
		if (rc) {
			fprintf(stderr, "bench_link: a call failed: %s\n", err_text(rc));
			exit(1);
		}
		calls++;
	}
	running--;
}

static void measure(const char *what, pid_t peer, struct reactor *r, bool read, unsigned depth)
{
	stop = false;
	for (unsigned i = 0; i < depth; i++) {
		running++;
		if (task_start_on(reactor_sched(r), caller, read ? page : NULL))
			abort();
	}
	usleep(200000);
	uint64_t n = calls, cpu = cpu_ns(getpid()) + cpu_ns(peer), t = env_now_ns(env_real());
	usleep(seconds * 1000000);
	n = calls - n;
	cpu = cpu_ns(getpid()) + cpu_ns(peer) - cpu;
	t = env_now_ns(env_real()) - t;
	stop = true;
	while (running > 0)
		usleep(1000);
	printf("%-5s %-13s %-6s depth %3u %9.0f calls/s %7.2f us CPU/call\n", what,
	       r == home ? "home" : "other reactor", read ? "read" : "write", depth,
	       (double)n * 1e9 / (double)t, n ? (double)cpu / 1e3 / (double)n : 0.0);
	fflush(stdout);
}

static void close_link(void *arg)
{
	link_close(the_link);
	*(_Atomic bool *)arg = true;
}

static void run(const char *what)
{
	char who[2] = {'a', what[0] == 'u' ? 'u' : what[1] == 'c' ? 't' : 's'};
	_Atomic bool closed = false;
	char peer_who[2] = {'b', who[1]};
	up = false;
	pid_t peer = start_peer(peer_who);
	struct reactor_opts ro = {.name = "a", .cpu = -1, .no_uring = true, .poll_us = 20};
	if (reactor_new(&home, &ro) || reactor_new(&other, &ro) || reactor_start_thread(home) ||
	    reactor_start_thread(other) || task_start_on(reactor_sched(home), open_link, who))
		abort();
	for (int i = 0; !up; i++) {
		usleep(1000);
		if (i > 5000) {
			fprintf(stderr, "bench_link: %s does not come up\n", what);
			exit(1);
		}
	}
	static const unsigned depths[] = {1, 32, DEPTH};
	for (unsigned i = 0; i < ARRAY_LEN(depths); i++) {
		measure(what, peer, home, false, depths[i]);
		measure(what, peer, home, true, depths[i]);
	}
	measure(what, peer, other, false, 32);
	task_start_on(reactor_sched(home), close_link, &closed);
	while (!closed)
		usleep(1000);
	kill(peer, SIGKILL);
	waitpid(peer, NULL, 0);
	reactor_stop(home);
	reactor_stop(other);
	reactor_join(home);
	reactor_join(other);
	reactor_free(home);
	reactor_free(other);
	for (int i = 0; i < 4; i++)
		unlink(names[0][i]);
}

int main(int argc, char **argv)
{
	if (argc > 1)
		seconds = (unsigned)atoi(argv[1]);
	if (argc > 2)
		port = (unsigned)atoi(argv[2]);
	log_set_level(getenv("V") ? LOG_L_INFO : LOG_L_ERROR);
	if (!mkdtemp(dir))
		return 1;
	snprintf(key_file, sizeof(key_file), "%s/psk", dir);
	FILE *f = fopen(key_file, "w");
	if (!f || fprintf(f, "bench:00112233445566778899aabbccddeeff\n") < 0 || fclose(f) ||
	    chmod(key_file, 0600))
		return 1;
	run("unix");
	run("tcp");
	run("tls");
	unlink(key_file);
	rmdir(dir);
	return 0;
}
