/*
 * Sockets of heads. isthmusd binds them and hands them to each process that it starts as the head
 * (runtime/listen.h), so that clients who come while one is replaced by the next wait a moment
 * instead of being refused.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "runtime/err.h"
#include "runtime/log.h"
#include "server/supervisor/supervisor.h"

void sockets_close(struct child *c)
{
	while (c->nsockets)
		close(c->sockets[--c->nsockets]);
	c->listens[0] = '\0';
}

static void hold(struct child *c, int fd, const char *what, unsigned port)
{
	if (fd >= 0)
		c->sockets[c->nsockets++] = fd;
	else
		log_info("child: %s-%s: %s port=%u is not held for it: %s", c->kind, c->name, what,
			 port, err_name(fd));
}

static void hold_port(struct child *c, const char *address, unsigned port)
{
	hold(c, listen_tcp(address, (uint16_t)port), "TCP", port);
	hold(c, listen_udp(address, (uint16_t)port), "UDP", port);
}

void sockets_open(struct child *c)
{
	const struct config_head *h = config_head(c->sup->config, c->name);
	char want[sizeof(c->listens)];
	if (strcmp(c->kind, "head") != 0 || !h)
		return;
	snprintf(want, sizeof(want), "%.63s %u %u", h->address, h->nfs_port, h->mount_port);
	if (strcmp(want, c->listens) == 0)
		return;
	sockets_close(c);
	memcpy(c->listens, want, sizeof(want));
	if (h->nfs_port) /* 0: one that is free, as the head finds */
		hold_port(c, h->address, h->nfs_port);
	if (h->mount_port && h->mount_port != h->nfs_port)
		hold_port(c, h->address, h->mount_port);
}
