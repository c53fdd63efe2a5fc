/* See process.h. */
#include "runtime/process.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/resource.h>
#include <unistd.h>

int32_t process_self(void)
{
	return (int32_t)getpid();
}

static int read_proc(int32_t pid, const char *name, char *buf, size_t size)
{
	char path[64];
	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ssize_t n = read(fd, buf, size - 1);
	int rc = n < 0 ? -errno : n == 0 ? -ESRCH : 0;
	close(fd);
	if (rc == 0)
		buf[n] = '\0';
	return rc;
}

/* The third field of stat. NULL: it is no such text. */
static char *third_field(char *stat)
{
	char *p = strrchr(stat, ')'); /* the name before it may hold anything */
	return p && p[1] == ' ' ? p + 2 : NULL;
}

int process_look(int32_t pid, char *ret_state, uint64_t *ret_waited_ns)
{
	char buf[1024];
	if (pid <= 0)
		return -EINVAL;
	int rc = read_proc(pid, "stat", buf, sizeof(buf));
	char *p = rc ? NULL : third_field(buf);
	if (!p)
		return rc ? rc : -EINVAL;
	*ret_state = *p;
	/* Ran, waited, turns; not there in every kernel. */
	unsigned long long waited = 0;
	if (read_proc(pid, "schedstat", buf, sizeof(buf)) == 0)
		sscanf(buf, "%*u %llu", &waited);
	*ret_waited_ns = waited;
	return 0;
}

uint64_t process_started(int32_t pid)
{
	char buf[1024];
	if (pid <= 0 || read_proc(pid, "stat", buf, sizeof(buf)))
		return 0;
	char *p = third_field(buf);
	if (!p || *p == 'Z' || *p == 'X')
		return 0;
	for (int field = 3; field < 22; field++) {
		p = strchr(p, ' ');
		if (!p)
			return 0;
		p++;
	}
	return strtoull(p, NULL, 10);
}

bool process_has_ended(int pidfd)
{
	struct pollfd p = {.fd = pidfd, .events = POLLIN};
	int n;
	do
		n = poll(&p, 1, 0);
	while (n < 0 && errno == EINTR);
	return n == 1 && (p.revents & POLLIN);
}

int process_kill(int32_t pid, uint64_t started)
{
	int fd = pidfd_open((pid_t)pid, 0);
	if (fd < 0)
		return errno == ESRCH ? 0 : -errno;
	int rc = 0;
	if (process_started(pid) == started && pidfd_send_signal(fd, SIGKILL, NULL, 0) &&
	    errno != ESRCH)
		rc = -errno;
	close(fd);
	return rc;
}

unsigned process_open_files(unsigned want)
{
	struct rlimit l;
	if (getrlimit(RLIMIT_NOFILE, &l))
		return 0;
	rlim_t had = l.rlim_cur;
	if (had < want) {
		l.rlim_cur = l.rlim_max < want ? l.rlim_max : want;
		if (setrlimit(RLIMIT_NOFILE, &l))
			l.rlim_cur = had;
	}
	return l.rlim_cur > UINT32_MAX ? UINT32_MAX : (unsigned)l.rlim_cur;
}
