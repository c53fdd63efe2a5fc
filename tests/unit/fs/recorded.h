/* What programs do to files, as they were seen to do it: sequences to crash in at every write. */
#ifndef ISTHMUS_TESTS_UNIT_FS_RECORDED_H
#define ISTHMUS_TESTS_UNIT_FS_RECORDED_H

#include "tests/unit/fs/crash.h"

/* A step; in names %d is the round. Files are found by directory and name. */
struct step {
	enum m_kind kind;
	const char *dir, *name, *dir2, *name2;
	uint64_t off, size, off2;
	bool commit; /* the write is followed by one; else it is a stable one */
};
#define STEPS_MAX 24
struct recorded {
	const char *name;
	int rounds;
	struct step once[STEPS_MAX], each[STEPS_MAX]; /* end with an empty name */
};
extern const struct recorded recorded[];
extern const unsigned recorded_count;
/* Does all of it, or until the power goes. */
void recorded_play(struct worker *w, const struct recorded *r);

#endif
