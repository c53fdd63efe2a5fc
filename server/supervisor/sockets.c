/*
 * Sockets of heads. isthmusd binds them and hands them to each process that it starts as the head
 * (runtime/listen.h), so that clients who come while one is replaced by the next wait a moment
 * instead of being refused. Those of a process that an earlier isthmusd started are taken over from
 * it, where that is allowed. What cannot be had is tried again before each start.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "runtime/check.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include "server/supervisor/supervisor.h"

enum { NFS_TCP, NFS_UDP, MOUNT_TCP, MOUNT_UDP, SOCKETS };
#define BIT(what) (1u << (what))

void sockets_close(struct child *c)
{
	while (c->nsockets)
		close(c->sockets[--c->nsockets]);
	c->unbound = 0;
	c->listens[0] = '\0';
}

/* From the process that has it, where there is one, else bound. */
static int open_one(struct child *c, const struct config_head *h, unsigned what)
{
	bool udp = what == NFS_UDP || what == MOUNT_UDP;
	uint16_t port =
	    (uint16_t)(what == NFS_TCP || what == NFS_UDP ? h->nfs_port : h->mount_port);
	if (c->pid)
		return listen_borrow(c->pidfd, udp ? SOCK_DGRAM : SOCK_STREAM, h->address, port);
	return udp ? listen_udp(h->address, port) : listen_tcp(h->address, port);
}

/* Said once for each. */
static void hold(struct child *c, const struct config_head *h, unsigned what, bool again)
{
	static const char *const names[] = {"NFS, TCP", "NFS, UDP", "MOUNT, TCP", "MOUNT, UDP"};
	int fd = open_one(c, h, what);
	if (fd >= 0) {
		c->sockets[c->nsockets++] = fd;
		c->unbound &= ~BIT(what);
	} else if (!again) {
		log_info("child: %s-%s: its socket is not held for it: %s: %s", c->kind, c->name,
			 names[what], err_name(fd));
	}
}

/* Those that a head of these settings has. */
static unsigned wanted(const struct config_head *h)
{
	unsigned all = 0;
	if (h->nfs_port) /* 0: one that is free, as the head finds */
		all |= BIT(NFS_TCP) | BIT(NFS_UDP);
	if (h->mount_port && h->mount_port != h->nfs_port)
		all |= BIT(MOUNT_TCP) | BIT(MOUNT_UDP);
	return all;
}

void sockets_open(struct child *c)
{
	const struct config_head *h = config_head(c->sup->config, c->name);
	char want[sizeof(c->listens)];
	if (strcmp(c->kind, "head") != 0 || !h)
		return;
	snprintf(want, sizeof(want), "%.63s %u %u", h->address, h->nfs_port, h->mount_port);
	bool again = strcmp(want, c->listens) == 0;
	if (!again) {
		sockets_close(c);
		memcpy(c->listens, want, sizeof(want));
		c->unbound = wanted(h);
	}
	_Static_assert(SOCKETS <= LISTEN_MAX, "all can be handed over");
	for (unsigned what = 0; what < SOCKETS; what++)
		if (c->unbound & BIT(what))
			hold(c, h, what, again);
}
