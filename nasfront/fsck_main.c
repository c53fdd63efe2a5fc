/*
 * isthmus-fsck [--repair] PATH: checks the file system on a file or block
 * device that nobody has mounted (`isthmus fs check --device` runs it).
 * Exit status: 0 sound or all repaired, 1 damaged, 2 wrong use, 3 cannot be read.
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include "nasfront/fs/fs.h"
#include "runtime/bdev.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include "runtime/reactor.h"

struct fsck {
	const char *path;
	bool repair;
	struct reactor *reactor;
	int status;
};

static void say(void *arg, const char *line)
{
	printf("%s\n", line);
}

static int check_device(struct fsck *f)
{
	struct bdev *dev;
	struct fs_check_report r = {0};
	int rc = env_disk_open(env_real(), f->path, f->repair ? 0 : ENV_DISK_RDONLY, &dev);
	if (rc) {
		fprintf(stderr, "isthmus-fsck: %s: %s\n", f->path, err_text(rc));
		return 3;
	}
	rc = fs_check(env_real(), dev, f->repair, say, NULL, &r);
	bdev_close(dev);
	if (rc && rc != -ERR_CORRUPT) {
		fprintf(stderr, "isthmus-fsck: %s: %s\n", f->path, err_text(rc));
		return 3;
	}
	printf("%s: %" PRIu64 " inodes, %" PRIu64 " directories, %" PRIu64 " files, %" PRIu64
	       " blocks; %" PRIu64 " errors, %" PRIu64 " repaired\n",
	       f->path, r.inodes, r.directories, r.files, r.blocks_used, r.errors, r.repaired);
	return rc ? 1 : 0;
}

static void fsck_task(void *arg)
{
	struct fsck *f = arg;
	f->status = check_device(f);
	reactor_stop(f->reactor);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"repair", no_argument, NULL, 'r'},
						{"help", no_argument, NULL, 'h'},
						{NULL, 0, NULL, 0}};
	struct fsck f = {.status = 3};
	int opt;
	while ((opt = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (opt == 'r') {
			f.repair = true;
		} else {
			fprintf(opt == 'h' ? stdout : stderr,
				"usage: isthmus-fsck [--repair] PATH\n");
			return opt == 'h' ? 0 : 2;
		}
	}
	if (optind + 1 != argc) {
		fprintf(stderr, "usage: isthmus-fsck [--repair] PATH\n");
		return 2;
	}
	f.path = argv[optind];
	log_set_level(LOG_L_ERROR);
	struct reactor_opts o = {.name = "fsck", .cpu = -1};
	int rc = reactor_new(&f.reactor, &o);
	if (rc == 0)
		rc = task_start_on(reactor_sched(f.reactor), fsck_task, &f);
	if (rc) {
		fprintf(stderr, "isthmus-fsck: %s\n", err_text(rc));
		return 3;
	}
	reactor_run(f.reactor);
	reactor_free(f.reactor);
	return f.status;
}
