/*
 * The kernel's share of a server's work on its disk (contest.h).
 *
 * A loop device carries out its requests in a worker thread of the kernel, and the pages of a file
 * system are written back by another: work for the disk that no process of the server is charged
 * with. Workers are shared by everything in the kernel; each bears in its name what it did last:
 * "kworker/u8:2-loop0", "kworker/u8:1+flush-7:0" ('+': it is at it). So those count that bear the
 * device's name before a turn or after it, by their own CPU clocks, to the nanosecond. On a machine
 * with other work one of them may do something else besides, and what the kernel does for all
 * devices in common (kblockd) bears none's name: it is left out.
 */
#include "tests/bench/contest.h"
#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool first_line(const char *path, char *ret, int size)
{
	FILE *f = fopen(path, "r");
	bool ok = f && fgets(ret, size, f);
	if (f)
		fclose(f);
	if (ok)
		ret[strcspn(ret, "\n")] = '\0';
	return ok;
}

void contest_workers_read(struct contest_workers *ret, const char *disk)
{
	char path[300], name[64], flush[64] = "flush-";
	struct dirent *de;
	DIR *dir = opendir("/proc");
	ret->n = 0;
	snprintf(path, sizeof(path), "/sys/block/%s/dev", disk);
	if (!first_line(path, flush + 6, (int)sizeof(flush) - 6))
		fprintf(stderr, "contest: no block device %s\n", disk);
	while (dir && (de = readdir(dir)) && ret->n < CONTEST_WORKERS) {
		snprintf(path, sizeof(path), "/proc/%s/comm", de->d_name);
		if (!isdigit(de->d_name[0]) || !first_line(path, name, sizeof(name)) ||
		    strncmp(name, "kworker/", 8) != 0)
			continue;
		const char *what = name + strcspn(name, "-+");
		struct contest_worker *w = &ret->w[ret->n];
		w->pid = atoi(de->d_name);
		w->disk = *what && (strcmp(what + 1, disk) == 0 || strcmp(what + 1, flush) == 0);
		w->cpu = contest_process_cpu(w->pid);
		ret->n += w->cpu >= 0;
	}
	if (dir)
		closedir(dir);
}

double contest_workers_cpu(const struct contest_workers *from, const struct contest_workers *to)
{
	double sum = 0;
	for (int i = 0; i < to->n; i++) {
		const struct contest_worker *now = &to->w[i], *was = from->w;
		while (was < from->w + from->n && was->pid != now->pid)
			was++;
		bool new = was == from->w + from->n;
		if (now->disk || (!new && was->disk))
			sum += now->cpu - (new ? 0 : was->cpu);
	}
	return sum;
}
