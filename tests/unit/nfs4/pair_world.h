/* Two clients of version 4.1 and a server. */
#ifndef ISTHMUS_TESTS_PAIR_WORLD_H
#define ISTHMUS_TESTS_PAIR_WORLD_H

#include <check.h>
#include "tests/unit/nfs/nas_world.h"
#include "tests/unit/nfs4/v4_client.h"

extern struct nas nas;
extern struct v4 a, b;

void up(void);
void up_clients(void);
void down(void);
struct v4_fh at(struct v4 *c, const char *path);
/* CREATE of a directory. */
uint32_t make_dir(struct v4 *c, const struct v4_fh *dir, const char *name);
uint32_t bare(struct v4 *c, uint32_t op);

#endif
