/*
 * An iSCSI target over one volume in memory, without a block core: for measuring and testing the
 * transport alone.
 *
 *   iscsi_memory ADDRESS:PORT [SIZE_MIB [SECONDS]]
 *
 * Prints the port, runs until its time is over or standard input ends.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "tests/unit/iscsi/target.h"

int main(int argc, char **argv)
{
	struct target t;
	struct pollfd p = {.fd = STDIN_FILENO, .events = POLLIN};
	const char *portal = argc > 1 ? argv[1] : "127.0.0.1:0";
	uint64_t size = argc > 2 ? strtoull(argv[2], NULL, 10) : 256;
	int seconds = argc > 3 ? atoi(argv[3]) : -1;
	target_make(&t, size << 20);
	target_start(&t, 1, portal, NULL);
	printf("iscsi://127.0.0.1:%u/%s/0\n", t.port, TARGET_OPEN);
	fflush(stdout);
	poll(&p, 1, seconds < 0 ? -1 : seconds * 1000);
	target_stop(&t);
	target_free(&t);
	return 0;
}
