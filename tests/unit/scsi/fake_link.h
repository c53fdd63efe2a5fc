/* A link within one process, linked in place of the block core's: two ends, each with its
 * scheduler, perhaps on threads of their own. */
#ifndef ISTHMUS_TESTS_FAKE_LINK_H
#define ISTHMUS_TESTS_FAKE_LINK_H

#include "blockcore/link/link.h"

struct sched;
/* Not up yet. a's handlers run on sa. */
void fake_link_pair(struct link **a, struct link **b, struct sched *sa, struct sched *sb);
void fake_link_free(struct link *a, struct link *b);
/* A new session; or its end: calls under way end with -ERR_DISCONNECTED. Any thread. */
void fake_link_up(struct link *a);
void fake_link_down(struct link *a);
/* Calls from this end wait while it is so, before they are sent. */
void fake_link_stall(struct link *a, bool stall);
/* A message out of nowhere arrives at this end; waits for its end. What a call is answered. */
int fake_link_inject(struct link *at, enum link_path path, uint16_t type, bool call,
		     const void *head, uint32_t head_len, const void *data, uint32_t data_len);
/* Calls of a type sent by this end. */
unsigned fake_link_calls(const struct link *l, uint16_t type);
/* Messages that came and were not answered yet. */
unsigned fake_link_open(const struct link *l);

#endif
