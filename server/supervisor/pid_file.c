/* Pid files, and the processes they name (see pid_file.h). */
#include "server/supervisor/pid_file.h"
#include "runtime/process.h"
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int read_small(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ssize_t n = read(fd, buf, size - 1);
	int rc = n < 0 ? -errno : (int)n;
	close(fd);
	buf[n < 0 ? 0 : n] = '\0';
	return rc;
}

/* Is it one of our programs (or a script of that name, run by its interpreter)? */
static bool is_ours(pid_t pid)
{
	char path[64], buf[1024];
	snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)pid);
	int n = read_small(path, buf, sizeof(buf));
	const char *arg = buf;
	for (int i = 0; i < 3 && n > 0 && arg < buf + n; i++) {
		const char *slash = strrchr(arg, '/');
		if (strncmp(slash ? slash + 1 : arg, "isthmus", 7) == 0)
			return true;
		arg += strlen(arg) + 1;
	}
	return false;
}

void pid_file_path(const char *run_dir, const char *kind, const char *name, char ret[256])
{
	snprintf(ret, 256, "%.170s/%.10s-%.64s.pid", run_dir, kind, name);
}

int pid_file_write(const char *path, const char *program)
{
	char text[512], tmp[128];
	int n = snprintf(text, sizeof(text), "%d %llu %.400s\n", (int)getpid(),
			 (unsigned long long)process_started(getpid()), program);
	snprintf(tmp, sizeof(tmp), "%.110s.%d", path, (int)getpid());
	int fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0)
		return -errno;
	int rc = write(fd, text, (size_t)n) == n ? 0 : -EIO;
	close(fd);
	if (!rc && rename(tmp, path) < 0)
		rc = -errno;
	if (rc)
		unlink(tmp);
	return rc;
}

pid_t pid_file_find(const char *path)
{
	char buf[512];
	int pid;
	unsigned long long started;
	if (read_small(path, buf, sizeof(buf)) <= 0 ||
	    sscanf(buf, "%d %llu", &pid, &started) != 2 || pid <= 1 || started == 0)
		return 0;
	return process_started(pid) == started && is_ours((pid_t)pid) ? (pid_t)pid : 0;
}
