/*
 * socket_junk ROUNDS SOCKET...: connects to unix sockets (streams, or sequenced packets where the
 * name begins with "channel") and says what nobody expects: noise, absurd lengths, half frames,
 * descriptors, nothing. Some connections stay open to the end. Ends with 0 when every socket could
 * be connected to in the last round.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

static uint32_t any(uint32_t below)
{
	static uint64_t rng = 1;
	rng = rng * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(rng >> 33) % below;
}

static int junk_connect(const char *path, bool packets)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	struct timeval tv = {.tv_usec = 100000};
	int fd = socket(AF_UNIX, packets ? SOCK_SEQPACKET : SOCK_STREAM, 0);
	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
	if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0)
		return fd;
	close(fd);
	return -1;
}

static void send_with_descriptors(int fd, void *data, size_t len)
{
	union {
		struct cmsghdr head;
		char space[CMSG_SPACE(8 * sizeof(int))];
	} control;
	unsigned n = 1 + any(8);
	struct iovec v = {data, len};
	memset(&control, 0, sizeof(control));
	struct msghdr m = {.msg_iov = &v,
			   .msg_iovlen = 1,
			   .msg_control = &control,
			   .msg_controllen = CMSG_SPACE(n * sizeof(int))};
	control.head = (struct cmsghdr){.cmsg_level = SOL_SOCKET,
					.cmsg_type = SCM_RIGHTS,
					.cmsg_len = CMSG_LEN(n * sizeof(int))};
	for (unsigned i = 0; i < n; i++)
		memcpy(CMSG_DATA(&control.head) + i * sizeof(int), &(int){STDERR_FILENO},
		       sizeof(int));
	sendmsg(fd, &m, MSG_NOSIGNAL);
}

static void junk_send(int fd)
{
	static const uint32_t lengths[] = {0, 1, 7, 300, 16777216, 16777217, UINT32_MAX};
	static uint8_t buf[40000];
	uint32_t len = 1 + any(sizeof(buf) - 1), n = lengths[any(7)];
	for (uint32_t i = 0; i < len; i++)
		buf[i] = (uint8_t)any(256);
	if (any(2)) { /* a length in front, either way round */
		bool big = any(2);
		for (unsigned i = 0; i < 4; i++)
			buf[i] = (uint8_t)(n >> (big ? 24 - 8 * i : 8 * i));
		len = 4 + any(300);
	}
	if (any(4) == 0)
		send_with_descriptors(fd, buf, len);
	else
		send(fd, buf, len, MSG_NOSIGNAL);
}

int main(int argc, char **argv)
{
	unsigned rounds = argc > 2 ? (unsigned)atoi(argv[1]) : 0, failed = 0, kept = 0;
	char answer[4096];
	for (unsigned r = 0; r < rounds; r++) {
		failed = 0;
		for (int i = 2; i < argc; i++) {
			const char *slash = strrchr(argv[i], '/'),
				   *name = slash ? slash + 1 : argv[i];
			int fd = junk_connect(argv[i], strncmp(name, "channel", 7) == 0);
			failed += fd < 0;
			if (fd < 0)
				continue;
			for (unsigned k = any(4); k > 0; k--)
				junk_send(fd);
			if (any(4) == 0)
				while (recv(fd, answer, sizeof(answer), 0) > 0)
					;
			if (any(20) == 0 && kept < 30)
				kept++; /* silent from now on */
			else
				close(fd);
		}
	}
	printf("%u rounds, %u sockets refuse\n", rounds, failed);
	return rounds == 0 || failed > 0;
}
