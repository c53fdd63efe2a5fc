/*
 * iscsi_lun write|verify URL MIB [SEED]: fills the first MIB of a LUN with a
 * pattern made from seed and address, or reads it back and compares all of it.
 * DEPTH requests are kept in flight (libiscsi, asynchronous).
 */
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>

#define DEPTH 16
#define CHUNK (256 * 1024)

struct job {
	struct iscsi_context *iscsi;
	int lun;
	bool write;
	uint64_t seed, next, end; /* chunks */
	uint32_t block_size;
	int in_flight;
	unsigned long bad;
};

struct request {
	struct job *job;
	uint64_t chunk;
	uint8_t buf[CHUNK];
};

static void fill(uint8_t *buf, uint64_t seed, uint64_t chunk)
{
	for (size_t i = 0; i < CHUNK; i += 8) {
		uint64_t x = (chunk * CHUNK + i + seed) * 0x9e3779b97f4a7c15ull;
		x ^= x >> 29;
		memcpy(buf + i, &x, 8);
	}
}

static void issue(struct request *r);

static void check_data(struct request *r, struct scsi_task *task)
{
	fill(r->buf, r->job->seed, r->chunk);
	if (task->datain.size != CHUNK || memcmp(task->datain.data, r->buf, CHUNK) != 0) {
		fprintf(stderr, "iscsi_lun: data differs at byte %llu\n",
			(unsigned long long)(r->chunk * CHUNK));
		r->job->bad++;
	}
}

static void done(struct iscsi_context *iscsi, int status, void *command_data, void *private_data)
{
	struct request *r = private_data;
	struct scsi_task *task = command_data;
	r->job->in_flight--;
	if (status != SCSI_STATUS_GOOD) {
		fprintf(stderr, "iscsi_lun: request failed: %s\n", iscsi_get_error(iscsi));
		r->job->bad++;
	} else if (!r->job->write) {
		check_data(r, task);
	}
	scsi_free_scsi_task(task);
	issue(r);
}

static void issue(struct request *r)
{
	struct job *j = r->job;
	struct scsi_task *t;
	if (j->next == j->end)
		return;
	r->chunk = j->next++;
	uint64_t lba = r->chunk * CHUNK / j->block_size;
	if (j->write) {
		fill(r->buf, j->seed, r->chunk);
		t = iscsi_write16_task(j->iscsi, j->lun, lba, r->buf, CHUNK, (int)j->block_size, 0,
				       0, 0, 0, 0, done, r);
	} else {
		t = iscsi_read16_task(j->iscsi, j->lun, lba, CHUNK, (int)j->block_size, 0, 0, 0, 0,
				      0, done, r);
	}
	if (!t) {
		fprintf(stderr, "iscsi_lun: %s\n", iscsi_get_error(j->iscsi));
		j->bad++;
		return;
	}
	j->in_flight++;
}

static void run(struct job *j)
{
	struct request *r = calloc(DEPTH, sizeof(*r));
	for (int i = 0; r && i < DEPTH; i++) {
		r[i].job = j;
		issue(&r[i]);
	}
	while (j->in_flight > 0) {
		struct pollfd p = {.fd = iscsi_get_fd(j->iscsi),
				   .events = (short)iscsi_which_events(j->iscsi)};
		if (poll(&p, 1, 30000) <= 0 || iscsi_service(j->iscsi, p.revents) < 0) {
			fprintf(stderr, "iscsi_lun: %s\n", iscsi_get_error(j->iscsi));
			j->bad++;
			break;
		}
	}
	free(r);
}

int main(int argc, char **argv)
{
	if (argc < 4) {
		fprintf(stderr, "usage: iscsi_lun write|verify URL MIB [SEED]\n");
		return 2;
	}
	struct job j = {.write = strcmp(argv[1], "write") == 0,
			.seed = argc > 4 ? strtoull(argv[4], NULL, 0) : 1,
			.end = strtoull(argv[3], NULL, 0) * 1048576 / CHUNK};
	j.iscsi = iscsi_create_context("iqn.2026-01.org.isthmus:tools");
	struct iscsi_url *url = j.iscsi ? iscsi_parse_full_url(j.iscsi, argv[2]) : NULL;
	if (!url) {
		fprintf(stderr, "iscsi_lun: not an iSCSI URL: %s\n", argv[2]);
		return 2;
	}
	iscsi_set_session_type(j.iscsi, ISCSI_SESSION_NORMAL);
	iscsi_set_header_digest(j.iscsi, ISCSI_HEADER_DIGEST_NONE_CRC32C);
	j.lun = url->lun;
	struct scsi_task *cap = NULL;
	if (iscsi_full_connect_sync(j.iscsi, url->portal, url->lun) != 0 ||
	    !(cap = iscsi_readcapacity16_sync(j.iscsi, url->lun))) {
		fprintf(stderr, "iscsi_lun: %s: %s\n", argv[2], iscsi_get_error(j.iscsi));
		return 1;
	}
	struct scsi_readcapacity16 *rc = scsi_datain_unmarshall(cap);
	j.block_size = rc ? rc->block_length : 512;
	scsi_free_scsi_task(cap);
	struct timespec t0, t1;
	clock_gettime(CLOCK_MONOTONIC, &t0);
	run(&j);
	if (j.write && !j.bad) {
		struct scsi_task *t = iscsi_synchronizecache10_sync(j.iscsi, j.lun, 0, 0, 0, 0);
		j.bad += !t || t->status != SCSI_STATUS_GOOD;
		scsi_free_scsi_task(t);
	}
	clock_gettime(CLOCK_MONOTONIC, &t1);
	double s = (double)(t1.tv_sec - t0.tv_sec) + (double)(t1.tv_nsec - t0.tv_nsec) / 1e9;
	printf("%s: %s MiB in %.1f s; %lu failures\n", j.write ? "written" : "verified", argv[3], s,
	       j.bad);
	iscsi_logout_sync(j.iscsi);
	iscsi_destroy_url(url);
	iscsi_destroy_context(j.iscsi);
	return j.bad ? 1 : 0;
}
