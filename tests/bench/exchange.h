/*
 * One call after the other over TCP, with as many bytes as iSCSI needs and nothing that iSCSI does:
 * a header of 48 bytes and, to write, the data; the answer is a header and, to read, the data. Both
 * sides spin. What a target with one command in flight could reach at most.
 */
#ifndef ISTHMUS_TESTS_BENCH_EXCHANGE_H
#define ISTHMUS_TESTS_BENCH_EXCHANGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Answers calls on fd until the client hangs up. */
void exchange_serve(int fd, bool write, char *region, size_t len, uint32_t size);

/* Calls a server of exchange_serve() on fd for that long. Calls, -1 when it hung up. */
int64_t exchange_run(int fd, bool write, char *buf, uint32_t size, double seconds);

#endif
