/*
 * A contest: the same operation against several servers in one run,
 * interleaved round by round, medians and ratios printed. The CPU clocks of each
 * server's processes are read around every turn; where a server's disk is worked for by kernel
 * threads (contest_workers.c), theirs too, and both figures are printed.
 */
#ifndef ISTHMUS_TESTS_BENCH_CONTEST_H
#define ISTHMUS_TESTS_BENCH_CONTEST_H

#include <stdbool.h>
#include <stdint.h>

#define CONTEST_SERVERS 6
#define CONTEST_ROUNDS	15
#define CONTEST_PIDS	8
#define CONTEST_WORKERS 128

struct contest_server {
	const char *name, *url;
	int pids[CONTEST_PIDS];
	int npids;
	const char *disk;		/* name of its block device ("loop0"), or NULL */
	double ops_s[CONTEST_ROUNDS];	/* operations per second */
	double ops_cpu[CONTEST_ROUNDS]; /* operations per server CPU second */
	double ops_all[CONTEST_ROUNDS]; /* the same, the disk's kernel workers counted in */
	double busy[CONTEST_ROUNDS];	/* server CPU seconds per second, without these */
	double client[CONTEST_ROUNDS];	/* the generator's */
	void *state;			/* the generator's */
};

/* One turn: as many operations as it likes; returns how many, <0 on failure (told on stderr). */
typedef int64_t contest_turn(struct contest_server *s, void *arg);

/* Parses "NAME=URL@pid,pid,DEVICE"; the device is optional. 0, or -1 with a line on stderr. */
int contest_server_parse(struct contest_server *s, char *spec);

/* The machine's kernel workers (kworker threads) and their CPU clocks at one moment. */
struct contest_workers {
	int n;
	struct contest_worker {
		int pid;
		bool disk; /* what it did last was for the device */
		double cpu;
	} w[CONTEST_WORKERS];
};

/* Reads them. disk: a block device's name as in /sys/block. */
void contest_workers_read(struct contest_workers *ret, const char *disk);
/* CPU seconds between two readings of the workers that either found at work for the device. */
double contest_workers_cpu(const struct contest_workers *from, const struct contest_workers *to);

struct contest {
	const char *what; /* heads the table */
	uint32_t size;	  /* bytes of an operation, for the bandwidth; 0: it moves none */
	int rounds;
	contest_turn *before; /* Optional. Before each turn, not measured; returns <0 on failure */
	contest_turn *turn;
	void *arg;
};

/*
 * Runs rounds turns of each server, interleaved, after one warm-up turn each, and prints a table
 * of medians and ratios against the first server. 0, or -1 when a turn failed or a process of a
 * server has gone.
 */
int contest_run(const struct contest *c, struct contest_server *servers, int n);

double contest_now(void); /* seconds, monotonic */
/* User and system time of all of a server's processes, in seconds; -1 with a line on stderr. */
double contest_server_cpu(const struct contest_server *s);
/* The same of one process, without the line. */
double contest_process_cpu(int pid);
/*
 * A line of proc(5)'s smaps_rollup: "Pss" (a page that several processes share counts once in the
 * sum over them), "Pss_Anon" (without files and shared memory). 0: it is not there.
 */
long contest_memory_kib(int pid, const char *what);

#endif
