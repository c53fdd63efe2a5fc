/* The supervisor: its configuration, its children, its front door. */
#ifndef ISTHMUS_SERVER_SUPERVISOR_H
#define ISTHMUS_SERVER_SUPERVISOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "runtime/config_file.h"
#include "server/supervisor/child.h"

struct admin_call;
struct admin_server;
struct reactor;

struct supervisor {
	struct config_file *config;
	const char *config_path; /* absolute */
	const char *libexec;	 /* where the daemons' programs are */
	struct reactor *reactor;
	struct admin_server *admin;
	uint64_t started_ns;
	bool stopping;
	bool activating, resuming; /* activate.c: one at a time; the last one is gone on with */
	struct waitq resume;	   /* woken to stop the looks for it */
	int lock_fd;
	struct task_mutex moving; /* placement.c: one at a time */
	unsigned losses;	  /* tasks of lease.c */
	struct waitq leases;	  /* woken when one ends, and to stop */
	TAILQ_HEAD(, child) children;
};

/* Makes run_dir, state_dir and memory_dir, and takes the lock. Tells on stderr what is wrong. */
int supervisor_prepare(struct supervisor *s);
/* In a task: opens the front door and starts (or finds) all children. */
int supervisor_start(struct supervisor *s);
/* In a task: heads, then controllers, then the front door. */
void supervisor_stop(struct supervisor *s);
/* In a task: the configuration again. */
void supervisor_reload(struct supervisor *s);

struct child *supervisor_child(struct supervisor *s, const char *kind, const char *name);
/* A section of the configuration as text. To be freed. */
char *supervisor_settings(const struct config_file *c, const char *kind, const char *name);

/* Takes the child's settings as they are now for those its next process is started with. True: they
 * had changed. */
bool supervisor_settle(struct child *c);

/* segment.c: the controller's cache segment, there and of the configured size. On failure `why`
 * (256 bytes) says what the admin must do. */
int segment_prepare(const struct config_file *c, const char *controller, char *why);

/* sockets.c: those of a head, as the configuration has them now, taken over from its process when
 * it has one. What cannot be bound is left to the head itself, which says why. */
void sockets_open(struct child *c);
void sockets_close(struct child *c);

/* address.c: all wait. Brings the address of a head's service up where the host does not have it
 * and a script can: 0, or what went wrong, with a sentence. */
int address_up(struct child *c, char why[256]);
/* Takes away what was brought up, if it was. */
void address_down(struct child *c);

/* replace.c: all wait. */
#define SERVICE_WHY_LEN 256
/*
 * child_replace(), and then as many file systems have to be mounted as were before: 0. Its errors,
 * or -EIO: fewer are when the time is over. The service runs on as it is in any case; `why` says
 * what is the matter.
 */
int service_replace(struct child *c, uint64_t timeout_ns, char why[SERVICE_WHY_LEN]);
/* How many file systems the service's process has mounted, or why it does not say. */
int service_mounted(struct supervisor *s, const char *name);

/* front.c */
int front_register(struct supervisor *s);
/* front_heads.c: the verbs of heads among them */
int front_heads_register(struct supervisor *s);

/* notify.c: the service manager (systemd), when there is one. */
void notify_start(struct supervisor *s); /* watchdog */
void notify_stop(void);
void notify_ready(void);
void notify_stopping(void);
void notify_status(struct supervisor *s);
/* Takes the service manager's variables out of what children inherit. */
void notify_hide_environment(void);

#endif
