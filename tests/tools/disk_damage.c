/*
 * disk_damage flip|count FILE MAGIC [ALSO-FILE TYPE]: damage as a disk does it, behind the array's
 * back.
 *
 * Looks at every 4 KiB of FILE for one that begins with the four bytes MAGIC ("IFSM": metadata of
 * a file system) and, with `flip`, turns over the bits of one byte in its middle. With ALSO-FILE
 * only the last one whose type (u16 at 48) is TYPE, there too: a block on both its mirrors. Prints
 * how many there are.
 */
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BLOCK  4096
#define MIDDLE 100 /* behind every header */

static bool flip(int fd, off_t at)
{
	unsigned char b;
	if (pread(fd, &b, 1, at) != 1)
		return false;
	b = (unsigned char)~b;
	return pwrite(fd, &b, 1, at) == 1;
}

int main(int argc, char **argv)
{
	static unsigned char buf[256 * BLOCK];
	bool change = argc > 3 && strcmp(argv[1], "flip") == 0;
	if (argc < 4 || strlen(argv[3]) != 4 || (!change && strcmp(argv[1], "count") != 0)) {
		fprintf(stderr, "usage: disk_damage flip|count FILE MAGIC [ALSO-FILE]\n");
		return 2;
	}
	int fd = open(argv[2], O_RDWR), also = argc > 4 ? open(argv[4], O_RDWR) : -1;
	if (fd < 0 || (argc > 4 && also < 0)) {
		perror("disk_damage");
		return 1;
	}
	unsigned long found = 0, type = argc > 5 ? strtoul(argv[5], NULL, 10) : 0;
	off_t at = 0, last = -1;
	ssize_t n;
	/* Holes of the file are stepped over: a disk file is mostly hole. */
	while ((at = lseek(fd, at, SEEK_DATA)) >= 0 &&
	       (n = pread(fd, buf, sizeof(buf), at / BLOCK * BLOCK)) > 0) {
		at = at / BLOCK * BLOCK;
		for (ssize_t i = 0; i + BLOCK <= n; i += BLOCK) {
			if (memcmp(buf + i, argv[3], 4) || (type && buf[i + 48] != type))
				continue;
			found++;
			last = at + i;
			if (change && also < 0 && !flip(fd, last + MIDDLE))
				return 1;
		}
		at += n;
	}
	if (change && also >= 0 &&
	    (last < 0 || !flip(fd, last + MIDDLE) || !flip(also, last + MIDDLE)))
		return 1;
	printf("%lu\n", found);
	return 0;
}
