/*
 * isthmus-fsck [--repair | --dump WHAT [--lines N]] PATH: checks the file
 * system on a file or block device that nobody has mounted, or prints its
 * structures (`isthmus fs check --device` and `isthmus fs dump` run it).
 * Exit status: 0 sound or all repaired, 1 damaged, 2 wrong use, 3 cannot be read.
 */
#include <errno.h>
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
	struct fs_dump_opts dump;
	struct reactor *reactor;
	int status;
};

static void say(void *arg, const char *line)
{
	printf("%s\n", line);
}

#define USAGE                                                                                      \
	"usage: isthmus-fsck [--repair] PATH\n"                                                    \
	"       isthmus-fsck --dump super|journal|groups|inodes|trees|all|inode=N|block=N "        \
	"[--lines N] PATH\n"

static int told(const struct fsck *f, int rc)
{
	fprintf(stderr, "isthmus-fsck: %s: %s\n", f->path, err_text(rc));
	return 3;
}

static int dump_device(struct fsck *f)
{
	struct bdev *dev;
	int rc = env_disk_open(env_real(), f->path, ENV_DISK_RDONLY, &dev);
	if (rc)
		return told(f, rc);
	rc = fs_dump(env_real(), dev, &f->dump, say, NULL);
	bdev_close(dev);
	if (fflush(stdout) || ferror(stdout))
		return told(f, -EIO);
	return !rc ? 0 : rc == -ERR_CORRUPT ? 1 : told(f, rc);
}

static int check_device(struct fsck *f)
{
	struct bdev *dev;
	struct fs_check_report r = {0};
	int rc = env_disk_open(env_real(), f->path, f->repair ? 0 : ENV_DISK_RDONLY, &dev);
	if (rc)
		return told(f, rc);
	rc = fs_check(env_real(), dev, f->repair, say, NULL, &r);
	bdev_close(dev);
	if (rc && rc != -ERR_CORRUPT)
		return told(f, rc);
	printf("%s: %" PRIu64 " inodes, %" PRIu64 " directories, %" PRIu64 " files, %" PRIu64
	       " blocks; %" PRIu64 " errors, %" PRIu64 " repaired\n",
	       f->path, r.inodes, r.directories, r.files, r.blocks_used, r.errors, r.repaired);
	return rc ? 1 : 0;
}

static void fsck_task(void *arg)
{
	struct fsck *f = arg;
	f->status = f->dump.what ? dump_device(f) : check_device(f);
	reactor_stop(f->reactor);
}

/* False: wrong use. */
static bool option(struct fsck *f, int opt)
{
	char *end;
	switch (opt) {
	case 'r':
		f->repair = true;
		return true;
	case 'd':
		return fs_dump_parse(optarg, &f->dump) == 0;
	case 'l':
		errno = 0;
		f->dump.lines = strtoull(optarg, &end, 10);
		return *optarg >= '1' && *optarg <= '9' && !*end && !errno;
	}
	return false;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"repair", no_argument, NULL, 'r'},
						{"dump", required_argument, NULL, 'd'},
						{"lines", required_argument, NULL, 'l'},
						{"help", no_argument, NULL, 'h'},
						{NULL, 0, NULL, 0}};
	struct fsck f = {.status = 3};
	int opt;
	while ((opt = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (opt != 'h' && option(&f, opt))
			continue;
		fputs(USAGE, opt == 'h' ? stdout : stderr);
		return opt == 'h' ? 0 : 2;
	}
	if (optind + 1 != argc || (f.repair && f.dump.what) || (f.dump.lines && !f.dump.what)) {
		fputs(USAGE, stderr);
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
