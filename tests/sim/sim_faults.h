/*
 * Crash points (runtime/fault.h) in a simulated world: how often each was passed
 * and how often something happened there, and a way to let something happen at one of them.
 */
#ifndef ISTHMUS_TESTS_SIM_FAULTS_H
#define ISTHMUS_TESTS_SIM_FAULTS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* How many the block core has, and their names. */
unsigned sim_faults_count(void);
const char *sim_fault_name(unsigned i);
/* How many heads have, behind those; their first. 0 where it is built without. */
unsigned sim_faults_of_heads(unsigned *ret_first);
/*
 * One of the block core's whose name is wanted (NULL: any), by a random number; false: there is
 * none. Each draws a lot by its name and the number, so that a new one takes some seeds and leaves
 * all others what they were.
 */
bool sim_fault_choose(uint64_t random, bool (*wanted)(const void *arg, const char *name),
		      const void *arg, unsigned *ret);
/* Any point, those of heads too; -1: built without. There must be such a one. */
int sim_fault_find(const char *name);

/*
 * hit(arg) is called at the nth passage (1: the next) of point i from now on, once, in the task
 * that passes it; false: nobody crashed there, as what passes it is dead already or may not crash
 * now. It may arm another. One at a time; the later one counts. hit NULL: none.
 */
typedef bool sim_fault_fn(void *arg);
void sim_fault_arm(unsigned i, uint64_t nth, sim_fault_fn *hit, void *arg);
bool sim_fault_armed(void);

/* Forgets what is armed; what was counted stays over all worlds of the process. */
void sim_faults_disarm(void);
/* A table of all points, and how many of `scope` ("mirror.", "" for all) were never hit. */
unsigned sim_faults_report(FILE *out, const char *scope);

#endif
