/*
 * The world of channel tests: a controller (fake_core.h) in threads or processes, a head on this
 * thread. One world a test; what is global here belongs to the test that runs.
 */
#ifndef ISTHMUS_TESTS_CHANNEL_RIG_H
#define ISTHMUS_TESTS_CHANNEL_RIG_H

#include <check.h>
#include <stddef.h>
#include <stdint.h>
#include "blockcore/channel/channel_client.h"
#include "runtime/task.h"
#include "tests/unit/channel/fake_core.h"

#ifdef __SANITIZE_THREAD__
#define FORKS false /* it does not go on after a fork of several threads or fibers */
#else
#define FORKS true
#endif

#define KIB 1024u
#define MIB (1024 * 1024u)

struct bdev;
struct reactor;

extern struct fake_world world;
extern struct fake_server *server; /* in run_both() */
extern struct reactor *client;	   /* the head's */
extern int users_left;
extern unsigned rnd_state;

/* Runs `fn` as a task of the head's reactor until it stops that. */
void run_client(task_fn *fn);
/* The same, with a controller in threads. */
void run_both(task_fn *fn);

struct channel *open_as(const char *head, struct channel_opts o);
struct channel *open_h1(void);
struct bdev *open_vol(struct channel *c, uint32_t id);
void fill(uint8_t *p, size_t len, unsigned seed);
unsigned rnd(unsigned below);
/* What is read there by reference is what `model` has. */
void check_ref(struct bdev *b, const uint8_t *model, uint64_t off, uint32_t len);
/* A task: head h2 finds the controller in service, and every page of its cache to be had. Stops
 * the head's reactor. */
void survivor(void *arg);

/* main() of a test program: `add` adds its tests. */
int run_suite(const char *name, void (*add)(TCase *tc));

#endif
