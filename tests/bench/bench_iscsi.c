/*
 * bench_iscsi [options] NAME=URL@pid,pid ...
 *
 *   -s BYTES    of an operation (4096; k and m are understood)   -q DEPTH  in flight (32)
 *   -c N        connections, each with that depth (1)            -w PERCENT writes (0)
 *   -S          sequential, not random                           -p  the client spins
 *   -d header,data                                               digests
 *   -m MIB      from the start of the LUN (128), written once before, so that reads come from
 *               the target's memory
 *   -k          writes a pattern and checks every byte that is read
 *   -r ROUNDS   interleaved turns of each (5)     -t SECONDS each (2)     -n OPS  ends a turn early
 *
 * URL: iscsi://HOST:PORT/TARGET/LUN, or tcp://HOST:PORT of bench_tcp: the same bytes without
 * iSCSI, the most that this machine's TCP carries; with a depth of 1 in calls that are answered.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "tests/bench/contest.h"
#include "tests/bench/initiator.h"
#include "tests/bench/stream.h"

#define CONNECTIONS_MAX 32

struct bench {
	struct initiator_load load;
	unsigned connections;
	bool header_digest, data_digest;
};

/* One server under test: connections, or a stream. */
struct rival {
	struct initiator *in[CONNECTIONS_MAX];
	bool stream;
};

static int fill(struct rival *r, const struct bench *b)
{
	struct initiator_load all = {.size = 256 * 1024,
				     .depth = 8,
				     .write_percent = 100,
				     .check = b->load.check,
				     .region = b->load.region};
	all.ops = all.region / all.size;
	return initiator_run(r->in, 1, &all) < 0 ? -1 : 0;
}

static struct rival *prepare(const char *url, struct bench *b)
{
	struct rival *r = calloc(1, sizeof(*r));
	if (!r)
		return NULL;
	r->stream = strncmp(url, "tcp://", 6) == 0;
	for (unsigned i = 0; i < b->connections && !r->stream; i++) {
		struct initiator_opts o = {url, i, b->header_digest, b->data_digest};
		if (initiator_open(&r->in[i], &o))
			return NULL;
		if (b->load.region > initiator_capacity(r->in[i]))
			b->load.region = initiator_capacity(r->in[i]);
	}
	return r->stream || fill(r, b) == 0 ? r : NULL;
}

static int64_t turn(struct contest_server *s, void *arg)
{
	struct bench *b = arg;
	struct rival *r = s->state;
	if (r->stream) {
		bool write = b->load.write_percent >= 50;
		if (b->load.depth == 1)
			return stream_exchange(s->url, write, b->load.size, b->load.seconds);
		return stream_run(s->url, write, b->load.spin, b->load.size, b->load.seconds);
	}
	return initiator_run(r->in, b->connections, &b->load);
}

static uint32_t parse_size(const char *text)
{
	char *end;
	unsigned long n = strtoul(text, &end, 0);
	return (uint32_t)(*end == 'k' ? n << 10 : *end == 'm' ? n << 20 : n);
}

static int usage(void)
{
	fprintf(stderr,
		"usage: bench_iscsi [-s SIZE] [-q DEPTH] [-c CONNECTIONS] [-w WRITE-PERCENT] [-S]\n"
		"    [-p] [-d header,data] [-m MIB] [-k] [-r ROUNDS] [-t SECONDS] [-n OPS]\n"
		"    NAME=URL@pid,pid...\n");
	return 2;
}

static int option(struct bench *b, int *rounds, int opt, const char *arg)
{
	switch (opt) {
	case 's':
		b->load.size = parse_size(arg);
		return 0;
	case 'q':
		b->load.depth = (unsigned)atoi(arg);
		return 0;
	case 'c':
		b->connections = (unsigned)atoi(arg);
		return b->connections == 0 || b->connections > CONNECTIONS_MAX;
	case 'w':
		b->load.write_percent = (unsigned)atoi(arg);
		return b->load.write_percent > 100;
	case 'S':
		b->load.random = false;
		return 0;
	case 'p':
		b->load.spin = true;
		return 0;
	case 'd':
		b->header_digest = strstr(arg, "header");
		b->data_digest = strstr(arg, "data");
		return !b->header_digest && !b->data_digest;
	case 'm':
		b->load.region = strtoull(arg, NULL, 0) << 20;
		return 0;
	case 'k':
		b->load.check = true;
		return 0;
	case 'r':
		*rounds = atoi(arg);
		return *rounds < 1;
	case 't':
		b->load.seconds = atof(arg);
		return b->load.seconds <= 0;
	case 'n':
		b->load.ops = strtoull(arg, NULL, 0);
		return 0;
	}
	return -1;
}

static void describe(const struct bench *b, char *ret, size_t size)
{
	const struct initiator_load *l = &b->load;
	char mix[24] = "";
	if (l->write_percent % 100)
		snprintf(mix, sizeof(mix), " (%u %% writes)", l->write_percent);
	snprintf(ret, size, "iSCSI %u KiB %s %s%s, %u x %u in flight%s%s", l->size >> 10,
		 l->random ? "random" : "sequential",
		 mix[0]		    ? "mixed"
		 : l->write_percent ? "write"
				    : "read",
		 mix, b->connections, l->depth,
		 b->header_digest || b->data_digest ? ", digests" : "",
		 l->spin ? ", spinning client" : "");
}

int main(int argc, char **argv)
{
	struct contest_server servers[CONTEST_SERVERS];
	struct bench b = {
	    .connections = 1,
	    .load = {
		.size = 4096, .depth = 32, .random = true, .region = 128ull << 20, .seconds = 2}};
	int opt, rounds = 5, n = 0;
	char what[160];
	while ((opt = getopt(argc, argv, "s:q:c:w:Spd:m:kr:t:n:")) != -1)
		if (option(&b, &rounds, opt, optarg))
			return usage();
	if (optind == argc)
		return usage();
	for (int i = optind; i < argc && n < CONTEST_SERVERS; i++, n++)
		if (contest_server_parse(&servers[n], argv[i]) ||
		    !(servers[n].state = prepare(servers[n].url, &b)))
			return 1;
	describe(&b, what, sizeof(what));
	struct contest c = {
	    .what = what, .size = b.load.size, .rounds = rounds, .turn = turn, .arg = &b};
	return contest_run(&c, servers, n) ? 1 : 0;
}
