/*
 * bench_iscsi [-r ROUNDS] [-t SECONDS] [-m MIB] OP NAME=iscsi://URL@pid,pid ...
 *
 * OP: randread4k, randwrite4k (queue depth 32), seqread256k, seqwrite256k (depth 8), over the
 * first MIB of the LUN, which is written once before so that reads come from the cache.
 */
#include <inttypes.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>
#include "tests/bench/contest.h"

struct shape {
	const char *name;
	bool write, random;
	uint32_t size;
	int depth;
};

static const struct shape shapes[] = {
    {"randread4k", false, true, 4096, 32},
    {"randwrite4k", true, true, 4096, 32},
    {"seqread256k", false, false, 256 * 1024, 8},
    {"seqwrite256k", true, false, 256 * 1024, 8},
};

struct client {
	struct iscsi_context *iscsi;
	int lun;
	uint32_t block_size;
	struct shape shape;
	uint64_t region, next, seed;
	double until;
	uint64_t bytes_left; /* when not timed */
	bool timed;
	int in_flight;
	int64_t ops;
	bool failed;
	uint8_t *buf;
};

struct bench {
	struct shape shape;
	double seconds;
	uint64_t region;
};

static void issue(struct client *c);

static void done(struct iscsi_context *iscsi, int status, void *command_data, void *private_data)
{
	struct client *c = private_data;
	c->in_flight--;
	c->ops++;
	if (status != SCSI_STATUS_GOOD && !c->failed) {
		fprintf(stderr, "bench_iscsi: %s\n", iscsi_get_error(iscsi));
		c->failed = true;
	}
	scsi_free_scsi_task(command_data);
	issue(c);
}

static uint64_t choose(struct client *c)
{
	uint64_t slots = c->region / c->shape.size;
	if (!c->shape.random)
		return c->next++ % slots * c->shape.size;
	c->seed = c->seed * 6364136223846793005ull + 1442695040888963407ull;
	return (c->seed >> 33) % slots * c->shape.size;
}

static bool finished(struct client *c)
{
	if (c->failed)
		return true;
	if (c->timed)
		return contest_now() >= c->until;
	if (c->bytes_left < c->shape.size)
		return true;
	c->bytes_left -= c->shape.size;
	return false;
}

static void issue(struct client *c)
{
	struct scsi_task *t;
	if (finished(c))
		return;
	uint64_t lba = choose(c) / c->block_size;
	if (c->shape.write)
		t = iscsi_write16_task(c->iscsi, c->lun, lba, c->buf, c->shape.size,
				       (int)c->block_size, 0, 0, 0, 0, 0, done, c);
	else
		t = iscsi_read16_task(c->iscsi, c->lun, lba, c->shape.size, (int)c->block_size, 0,
				      0, 0, 0, 0, done, c);
	if (t)
		c->in_flight++;
	else
		c->failed = true;
}

static int64_t pump(struct client *c)
{
	c->ops = 0;
	for (int i = 0; i < c->shape.depth; i++)
		issue(c);
	while (c->in_flight > 0) {
		struct pollfd p = {.fd = iscsi_get_fd(c->iscsi),
				   .events = (short)iscsi_which_events(c->iscsi)};
		if (poll(&p, 1, 20000) <= 0 || iscsi_service(c->iscsi, p.revents) < 0) {
			fprintf(stderr, "bench_iscsi: %s\n", iscsi_get_error(c->iscsi));
			return -1;
		}
	}
	return c->failed ? -1 : c->ops;
}

static int connect_client(struct client *c, const char *url_text)
{
	c->iscsi = iscsi_create_context("iqn.2026-01.org.isthmus:bench");
	struct iscsi_url *url = c->iscsi ? iscsi_parse_full_url(c->iscsi, url_text) : NULL;
	if (!url)
		return -1;
	iscsi_set_session_type(c->iscsi, ISCSI_SESSION_NORMAL);
	iscsi_set_header_digest(c->iscsi, ISCSI_HEADER_DIGEST_NONE);
	c->lun = url->lun;
	int rc = iscsi_full_connect_sync(c->iscsi, url->portal, url->lun);
	iscsi_destroy_url(url);
	struct scsi_task *t = rc == 0 ? iscsi_readcapacity16_sync(c->iscsi, c->lun) : NULL;
	struct scsi_readcapacity16 *cap = t ? scsi_datain_unmarshall(t) : NULL;
	if (!cap) {
		fprintf(stderr, "bench_iscsi: %s: %s\n", url_text, iscsi_get_error(c->iscsi));
		return -1;
	}
	c->block_size = cap->block_length;
	if ((cap->returned_lba + 1) * c->block_size < c->region)
		c->region = (cap->returned_lba + 1) * c->block_size;
	scsi_free_scsi_task(t);
	return 0;
}

/* Connects and writes the region once. */
static struct client *prepare(const char *url, const struct bench *b)
{
	struct client *c = calloc(1, sizeof(*c));
	if (!c || !(c->buf = malloc(1024 * 1024)))
		return NULL;
	memset(c->buf, 0xa5, 1024 * 1024);
	c->region = b->region;
	c->seed = 1;
	if (connect_client(c, url))
		return NULL;
	c->shape = (struct shape){"fill", true, false, 256 * 1024, 8};
	c->bytes_left = c->region;
	if (pump(c) < 0)
		return NULL;
	c->shape = b->shape;
	return c;
}

static int64_t turn(struct contest_server *s, void *arg)
{
	struct bench *b = arg;
	struct client *c = s->state;
	c->timed = true;
	c->until = contest_now() + b->seconds;
	return pump(c);
}

int main(int argc, char **argv)
{
	struct contest_server servers[CONTEST_SERVERS];
	struct bench b = {.seconds = 2, .region = 128ull << 20};
	int opt, rounds = 5, n = 0;
	while ((opt = getopt(argc, argv, "r:t:m:")) != -1) {
		if (opt == 'r')
			rounds = atoi(optarg);
		else if (opt == 't')
			b.seconds = atof(optarg);
		else if (opt == 'm')
			b.region = strtoull(optarg, NULL, 0) << 20;
		else
			return 2;
	}
	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]) && optind < argc; i++)
		if (strcmp(argv[optind], shapes[i].name) == 0)
			b.shape = shapes[i];
	if (!b.shape.name || argc - optind < 2) {
		fprintf(stderr, "usage: bench_iscsi [-r ROUNDS] [-t SECONDS] [-m MIB] "
				"randread4k|randwrite4k|seqread256k|seqwrite256k "
				"NAME=URL@pid,pid...\n");
		return 2;
	}
	for (int i = optind + 1; i < argc && n < CONTEST_SERVERS; i++, n++) {
		if (contest_server_parse(&servers[n], argv[i]) ||
		    !(servers[n].state = prepare(servers[n].url, &b)))
			return 1;
	}
	char what[96];
	snprintf(what, sizeof(what), "iSCSI %s, depth %d, %" PRIu64 " MiB", b.shape.name,
		 b.shape.depth, b.region >> 20);
	return contest_run(what, servers, n, rounds, turn, &b) ? 1 : 0;
}
