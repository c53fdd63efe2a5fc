/*
 * The channel server's own structures, shared by its files. Everything here
 * belongs to the home reactor.
 */
#ifndef ISTHMUS_CHANNEL_SERVER_IMPL_H
#define ISTHMUS_CHANNEL_SERVER_IMPL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <bsd/sys/queue.h>
#include "blockcore/channel/channel_client.h"
#include "runtime/software.h"
#include "blockcore/channel/channel_seg.h"
#include "blockcore/channel/channel_server.h"
#include "proto/meta.pb-c.h"
#include "runtime/task.h"

struct channel_conn;
struct channel_exec;
struct channel_sock;
struct watch;

/* A head by name: its present segment and connection. Lives as long as either does. */
struct channel_peer {
	struct channel_server *server;
	char name[CHANNEL_NAME_MAX];
	struct task_mutex admitting; /* one hello at a time */
	unsigned users;		     /* tasks that hold or want it */
	struct channel_seg *seg;     /* NULL: none yet */
	struct channel_conn *conn;   /* NULL: not connected */
	struct waitq conn_gone;
	char addresses[CHANNEL_ADDRESSES][CHANNEL_ADDRESS_MAX]; /* where it said it serves */
	unsigned naddresses;
	TAILQ_ENTRY(channel_peer) link;
};

/* A connection, from accept to its last task's end. */
struct channel_conn {
	struct channel_server *server;
	struct channel_sock *sock;
	struct channel_peer *peer; /* while admitted */
	char head[CHANNEL_NAME_MAX], group[CHANNEL_NAME_MAX];
	char program[SOFTWARE_NAME]; /* version, as it says */
	struct channel_exec *exec;
	pid_t pid;
	bool closing;
	unsigned tasks; /* besides its main one */
	struct waitq tasks_gone;

	uint8_t *staging; /* the head's */
	_Atomic bool staging_lost;
	bool unrecorded; /* its instance is not in the metadata yet */

	bool config_due; /* the metadata changed since it was last sent */
	struct waitq tell_q;
	struct conn_volume {
		uint32_t id;
		bool due; /* its ownership changed since that was last sent */
	} volumes[CHANNEL_VOLUMES];
	unsigned nvolumes;
	uint64_t told;			    /* numbers what is sent of ownership */
	Isthmus__NasConfigApplied *applied; /* the head's last answer, NULL before */
	TAILQ_ENTRY(channel_conn) link;
};

struct channel_server {
	uint32_t magic;
	struct channel_server_opts opts;
	char *socket_path, *memory_dir;
	uint32_t *uids;
	struct reactor **reactors;
	unsigned next_reactor;
	struct reactor *home;
	uint32_t npages;
	uint64_t incarnation;
	char controller[32];
	bool battery;
	int listen_fd;
	struct watch *listen_watch;
	struct meta_watch *meta_watch;
	struct core_own_watch *own_watch;
	bool stopping;
	bool reaper_runs;
	struct waitq reaper_q; /* woken to stop */
	struct waitq gone_q;   /* a connection or the reaper ended */
	struct waitq applied_q;
	unsigned nconns;
	TAILQ_HEAD(, channel_conn) conns;
	TAILQ_HEAD(, channel_peer) peers;
	TAILQ_HEAD(, channel_seg) fenced; /* of instances whose name was taken over */
};

/* channel_conn.c: a connection's main task; arg is the struct channel_conn. */
void channel_conn_main(void *arg);
void channel_conn_close(struct channel_conn *c);
/* What heads were told may have changed: all are told again. */
void channel_conn_config_all(struct channel_server *s);
/* A volume's ownership changed. */
void channel_conn_owner(struct channel_conn *c, uint32_t volume);

/* channel_peer.c */
/* Waits. Gives the connection its segment and exec. -ERR_EPOCH_STALE: a fenced instance. */
int channel_peer_admit(struct channel_conn *c, const Isthmus__ChannelHello *hello);
/* channel_server_fence() */
int channel_peer_revoke(struct channel_server *s, const char *name, pid_t pid);
void channel_peer_leave(struct channel_conn *c);
/* The metadata changed: instances that another took over from at the partner are fenced here too.
 */
void channel_peer_fence(struct channel_server *s, const Isthmus__ArrayMeta *am);
/* At start: takes over the segments that heads of an earlier controller still have. An error: what
 * one of them holds is not known; its file stays. */
int channel_peer_restore(struct channel_server *s);
/* The task that drops what dead heads held. */
void channel_peer_reaper(void *arg);
struct channel_peer *channel_peer_find(struct channel_server *s, const char *name);
void channel_peer_free_all(struct channel_server *s);

/* channel_epoch.c */
/* Waits. The epoch of an instance of a head; old: the segment there is, or NULL. ret_recorded: it
 * stands in the metadata. -ERR_EPOCH_STALE, or why it cannot be recorded. */
int channel_epoch_take(struct channel_server *s, const Isthmus__ChannelHello *hello,
		       const struct channel_seg *old, uint64_t *ret_epoch, bool *ret_recorded);
#define INSTANCE_NOBODY UINT64_MAX
/* Waits. No instance counts any more, at either controller: this one is fenced there when it
 * returns 0. -ESRCH: it was not the last one; or why it cannot be recorded. */
int channel_epoch_revoke(struct channel_server *s, const struct channel_seg *seg,
			 uint64_t *ret_after);
/* Waits. Records what was admitted before there was a pool. -ERR_EPOCH_STALE: another came first.
 */
int channel_epoch_record(struct channel_server *s, const struct channel_seg *seg);
/* The epoch of a recorded later instance; 0: there is none. */
uint64_t channel_epoch_after(const Isthmus__ArrayMeta *am, const struct channel_seg *seg);

/* channel_config.c */
/* What this head serves, and what others do, as an own copy (protobuf-c's free). NULL: no memory.
 */
Isthmus__NasConfig *channel_config_make(struct channel_server *s, const Isthmus__ArrayMeta *am,
					const char *head, const char *group);
/* May a head of this name and group open the volume? */
bool channel_config_allows(const Isthmus__ArrayMeta *am, const char *head, const char *group,
			   uint32_t volume_id);
/* Is it the volume of programs? */
bool channel_config_program(const Isthmus__ArrayMeta *am, uint32_t volume_id);

/* channel_backup.c: waits; does what a head ordered. */
void channel_backup_order(struct channel_server *s, const char *own_group,
			  const Isthmus__ChannelBackup *order, Isthmus__ChannelBackedUp *ret,
			  char *text, size_t text_size);
/* Waits. A head's word where its state is. text: 256 bytes, why not. */
int channel_side_word(struct channel_server *s, const char *group, const char *head,
		      const Isthmus__ChannelSide *word, char *text);

#endif
