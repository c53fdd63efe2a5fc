/* Two controllers of a cluster in one process, on virtual time: the same metadata, one link; each
 * volume is at one of them. Initiators log in at either. */
#ifndef ISTHMUS_TESTS_SCSI_PAIR_H
#define ISTHMUS_TESTS_SCSI_PAIR_H

#include "server/scsi/forward.h"
#include "tests/sim/sim_env.h"
#include "tests/unit/scsi/fake_link.h"
#include "tests/unit/scsi/fixture.h"

enum { A, B };

struct side {
	struct core *core;
	struct scsi_registry *registry;
	struct link *link;
};
struct pair {
	struct sim *sim;
	struct side s[2];
	Isthmus__Target *target;
};
extern struct pair *pr;

/* LUN 0: v1, 512 bytes; 1: v2, 4096 bytes; 300: v3, read-only; 4: v4, removable, battery; all at
 * `owner`. */
void pair_setup(int owner);
void pair_teardown(void);
/* The partners' link goes down, and is up again. */
void pair_down(void);
void pair_up(void);
/* Tag 1 is at A, tag 2 at B. Its first unit attentions are taken. */
struct scsi_nexus *pair_login(int side, const char *initiator);
void pair_logout(struct scsi_nexus *n);
/* Where all volumes are. */
void pair_place(int owner);
/* Runs what is ready, for so long. */
void pair_run_for(uint64_t ns);

/* A command of its own: begun, perhaps waited for, freed. */
struct job {
	struct scsi_cmd c;
	struct scsi_nexus *nexus;
	const uint8_t *out;
	uint32_t edtl;
	bool done, waited, released;
	uint8_t status, sense[SCSI_SENSE_MAX];
	uint32_t in_len, out_len;
	uint8_t *in;
	unsigned in_iovcnt;
	LIST_ENTRY(job) link;
};
/* Task attribute of commands to come: enum scsi_attr. */
extern uint8_t job_attr;
/* Starts it; it runs as the simulation does. in: room for edtl bytes of data-in. */
struct job *job_start(struct scsi_nexus *n, uint32_t lun, const uint8_t *cdb, const void *out,
		      uint32_t edtl);
/* Until it has ended; asserts that it does. */
void job_wait(struct job *j);
void job_free(struct job *j);
/* Commands that others end are aborted, as a transport does it; until pair_teardown(). */
void pair_job_aborts(bool on);
/* The whole; the job is freed by the next. Its sense: (key << 16 | asc << 8 | ascq). */
uint8_t pair_cmd(struct scsi_nexus *n, uint32_t lun, const uint8_t *cdb, const void *out,
		 uint32_t edtl);
extern struct job *last;
uint32_t job_sense(const struct job *j);
/* A task management function by that nexus; its result. */
int pair_tmf(struct scsi_nexus *n, uint32_t lun, enum scsi_tmf what);
/* Runs fn(arg) as a task to its end. */
void pair_task(task_fn *fn, void *arg);

#endif
