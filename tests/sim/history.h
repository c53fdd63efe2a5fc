/*
 * The history of a range of sectors, each a register: which writes may have
 * been the last when a read saw what it saw. A read is legal when it returns a
 * write that began before the read's end, unless another write surely came
 * between the two. Times are any counter that grows with every event.
 *
 * Every sector's content names its write: history_fill() and history_id().
 */
#ifndef ISTHMUS_TESTS_SIM_HISTORY_H
#define ISTHMUS_TESTS_SIM_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HISTORY_SECTOR 512

struct history;

struct history *history_new(uint64_t nsectors);
void history_free(struct history *h);

/* The next write's number; its content for `n` sectors from `first`. */
uint64_t history_next_id(struct history *h);
void history_fill(uint8_t *buf, uint64_t first, uint64_t n, uint64_t id);

/* A write is on its way / was acknowledged / failed or lost its answer (it may have happened). */
void history_begin(struct history *h, uint64_t first, uint64_t n, uint64_t id);
void history_ack(struct history *h, uint64_t first, uint64_t n, uint64_t id);
/* It has no answer, and has happened by now or never will. */
void history_lost(struct history *h, uint64_t first, uint64_t n, uint64_t id);
/* It was refused: it never happens. */
void history_forget(struct history *h, uint64_t first, uint64_t n, uint64_t id);

/* A flush: history_now() before it was sent, history_flushed() when acknowledged: writes that
 * were acknowledged before are durable. */
uint64_t history_now(struct history *h);
/* Whatever is under way began then or later: what was surely replaced before it is forgotten. */
void history_horizon(struct history *h, uint64_t oldest);
void history_flushed(struct history *h, uint64_t first, uint64_t n, uint64_t sent);

/* An acknowledged write with FUA: it is durable, and so says nothing of the others. */
void history_durable(struct history *h, uint64_t first, uint64_t n, uint64_t id);

/* Checks what a read that began at `began` and just ended saw. 0, or -1 with a line in why. */
int history_read(struct history *h, uint64_t first, uint64_t n, uint64_t began, const uint8_t *buf,
		 char *why, size_t why_size);

/* All writes under way have lost their answer. power: and what was not flushed may be lost. */
void history_crash(struct history *h, bool power);

#endif
