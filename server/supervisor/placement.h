/*
 * Where services run. A service is what clients know: addresses, exports, what they have; the
 * section of the configuration with its name says all of that. A head is a place for services:
 * processors and memory, by the section with its name. Each service has the head of its own name as
 * its home, and may run at any head of its group.
 *
 * Where each runs is kept in state_dir/placement; what is not there is at home.
 */
#ifndef ISTHMUS_SERVER_PLACEMENT_H
#define ISTHMUS_SERVER_PLACEMENT_H

#include <stdbool.h>

struct child;
struct supervisor;

#define PLACE_WHY_LEN 256

/* A new child: where it runs, and whether its head takes services, as it was kept. */
void placement_restore(struct child *c);
/* The configuration was read again: who ran at a head that is gone, or of another group by now,
 * goes home. */
void placement_follow(struct supervisor *s);
/* Stable when it returns. 0 or -errno. */
int placement_save(struct supervisor *s);

/* The head of the service's group that takes services and has fewest, `but` left out. NULL: none.
 */
struct child *placement_choose(struct supervisor *s, const struct child *service, const char *but);
/* Does the service's process run where it should? One that an earlier isthmusd started may not. */
bool placement_holds(const struct child *service);
/* How many services run at the head. */
unsigned placement_count(struct supervisor *s, const char *head);
bool placement_at_home(const struct child *service);
/* May the service run there? 0, or -errno and `why`. */
int placement_check(struct supervisor *s, const struct child *service, const char *head,
		    char why[PLACE_WHY_LEN]);

/*
 * Moves a service in order (service_replace()); 0 also when it runs there already. When its process
 * does not come into service there it goes back. All wait; one at a time.
 */
int placement_move(struct supervisor *s, struct child *service, const char *head,
		   char why[PLACE_WHY_LEN]);
/* Its process ended soon after its start again and again: it is started elsewhere next. Never waits
 * for a process. */
void placement_avoid(struct child *service);

#endif
