/*
 * The controller's side of block channels: accepts heads on a unix socket,
 * gives each a channel segment, executes ring requests on the core's volumes.
 */
#ifndef ISTHMUS_BLOCKCORE_CHANNEL_SERVER_H
#define ISTHMUS_BLOCKCORE_CHANNEL_SERVER_H

#include <stdbool.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "proto/channel.pb-c.h"

struct channel_server;
struct core;
struct reactor;

struct channel_server_opts {
	struct core *core;
	const char *socket_path;
	const char *memory_dir; /* channel segments live here, so that they outlive us */
	int cache_fd;		/* of the cache segment, opened read-only: given to heads */
	uint64_t cache_size;
	bool battery;		   /* the memory policy in force, told to heads */
	struct reactor **reactors; /* channels are spread over these */
	unsigned nreactors;
	const uint32_t *uids; /* users heads may run as, besides root and our own */
	unsigned nuids;
};
/*
 * On the reactor that opened the core, before anything else may recycle cache pages (that is,
 * before targets are served): heads that outlived an earlier controller still hold some.
 */
int channel_server_start(struct channel_server **ret, const struct channel_server_opts *o);
/* Waits, in a task of the same reactor, until no request is being executed. Heads that are still
 * there keep their segments for the next controller. */
void channel_server_stop(struct channel_server *s);

/*
 * Sends each connected head its part of the array metadata now (also done by itself at connect
 * and after every change of metadata) and waits until `head` has applied sequence `seq`:
 * 0, -ETIMEDOUT, -ERR_DISCONNECTED, or the code the head gave for file system `fs` with `text`
 * (256 bytes) filled. -ENOENT: the head knows no such file system. fs NULL: only the sequence
 * counts. In a task of the reactor that started the server.
 */
int channel_server_wait_applied(struct channel_server *s, const char *head, uint64_t seq,
				const char *fs, uint64_t timeout_ns, char *text);

/* Is this head connected? On the same reactor. */
bool channel_server_head_up(const struct channel_server *s, const char *head);

/*
 * Waits, in a task of the same reactor. The head's instance counts no more, before there is
 * another: at both controllers nothing that it asks for later is carried out, and it is not
 * welcomed again. `pid`: only when it is that process's; 0: whoever it is. 0, -ENOENT: it has no
 * channel here, -ESRCH: it is another's by now, or why it cannot be recorded.
 */
int channel_server_fence(struct channel_server *s, const char *head, pid_t pid);

/* Verbs `head.list` (channels as the controller sees them) and what belongs to it. */
struct admin_server;
int channel_server_admin_register(struct channel_server *s, struct admin_server *a);

#endif
