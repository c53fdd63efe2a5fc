/*
 * The other side of bench_tcp: bytes over TCP and nothing else, as a measure of what a target
 * could reach at most.
 */
#ifndef ISTHMUS_TESTS_BENCH_STREAM_H
#define ISTHMUS_TESTS_BENCH_STREAM_H

#include <stdbool.h>
#include <stdint.h>

/* Connects to tcp://HOST:PORT and sends to it (write) or receives from it for that long, size
 * bytes a call; spin: neither side sleeps. Transfers of that size, -1 with a line on stderr. */
int64_t stream_run(const char *url, bool write, bool spin, uint32_t size, double seconds);

/* The same, but each transfer is a call that is answered before the next (exchange.h). */
int64_t stream_exchange(const char *url, bool write, uint32_t size, double seconds);

#endif
