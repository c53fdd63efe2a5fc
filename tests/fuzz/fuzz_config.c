/* Any bytes as a configuration file: an answer, never a crash; each problem with line and remedy.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "runtime/check.h"
#include "runtime/config_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned told;

static void say(void *arg, const char *line)
{
	ASSERT(strstr(line, "; ") != NULL);
	told++;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int fd = -1;
	char path[64];
	if (fd < 0)
		fd = memfd_create("config", MFD_CLOEXEC);
	if (ftruncate(fd, 0) < 0 || pwrite(fd, data, size, 0) != (ssize_t)size)
		abort();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	struct config_file *c = NULL;
	told = 0;
	int rc = config_file_load(&c, path, say, NULL);
	ASSERT((rc == 0) == (c != NULL));
	ASSERT((rc == 0) == (told == 0));
	if (c) {
		char sock[108];
		for (unsigned i = 0; i < c->controllers_count; i++)
			config_path_segment(c, c->controllers[i].name, sock);
		for (unsigned i = 0; i < c->heads_count; i++) {
			ASSERT(config_controller(c, c->heads[i].controller));
			config_path_admin(c, "head", c->heads[i].name, sock);
		}
	}
	config_file_free(c);
	return 0;
}
