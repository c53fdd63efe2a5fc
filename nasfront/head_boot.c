/*
 * Booting: the installed program of a head is its own loader. It asks a controller which version
 * the head is to run; when that is one of the software volume, it reads it through a block
 * channel of its own into sealed memory, verifies it and becomes it (fexecve), with the sockets
 * that were handed over. The process stays the same, so who watches it notices nothing.
 *
 * Whatever is in the way (the volume's owner away, a damaged program) ends with the installed
 * program in service, and an event that says why: a head always starts. While no controller
 * answers it waits: nothing could be served, and the installed program is perhaps too old.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "blockcore/channel/channel_client.h"
#include "nasfront/head.h"
#include "runtime/admin.h"
#include "runtime/bdev.h"
#include "runtime/check.h"
#include "runtime/err.h"
#include "runtime/listen.h"
#include "runtime/log.h"
#include "runtime/software.h"

#define ASK_NS	 (2 * NS_PER_S)	 /* one controller's answer */
#define READ_NS	 (10 * NS_PER_S) /* for the program, or its owner, once one did */
#define PAUSE_NS (20 * NS_PER_MS)

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U /* Linux 6.3 */
#endif

struct boot {
	struct head *h;
	struct reactor *reactor;
	char version[SOFTWARE_NAME];
	uint32_t volume;
	struct channel *channel;
	struct env_timer late;
	bool answered, is_late, closed;
	int fd; /* the program; -1: none */
	char why[SOFTWARE_WHY];
};

/* ---- which version ---- */

static int take_answer(struct boot *b, const Isthmus__AdminReply *r)
{
	const char *own = admin_reply_text(r, "assigned", "head", b->h->config->name, "version");
	const char *all = admin_reply_text(r, "software", NULL, NULL, "active");
	const Isthmus__AdminValue *id = admin_reply_value(r, "software", NULL, NULL, "volume_id");
	const char *version = *own ? own : all;
	if (r->code == -EOPNOTSUPP) /* a controller that knows of no programs */
		version = SOFTWARE_INSTALLED;
	else if (r->code)
		return r->code;
	if (!software_name_ok(version))
		version = SOFTWARE_INSTALLED;
	snprintf(b->version, sizeof(b->version), "%s", version);
	b->volume = id ? (uint32_t)id->number : 0;
	return 0;
}

static int ask_at(struct boot *b, const struct config_controller *k)
{
	Isthmus__AdminRequest req = ISTHMUS__ADMIN_REQUEST__INIT;
	Isthmus__AdminReply *reply;
	char path[108];
	req.verb = "software.list";
	config_path_admin(b->h->file, "controller", k->name, path);
	int rc = admin_task_call(path, &req, ASK_NS, NULL, &reply);
	if (rc)
		return rc;
	b->answered = true;
	rc = take_answer(b, reply);
	if (rc)
		snprintf(b->why, sizeof(b->why), "%.200s",
			 reply->error[0] ? reply->error : err_text(rc));
	isthmus__admin_reply__free_unpacked(reply, NULL);
	return rc;
}

/* The one in charge of the volume is away, or about to change. */
static bool passing(int code)
{
	return code == -ERR_NOT_OWNER || code == -ENOTCONN || code == -ERR_DISCONNECTED ||
	       code == -ERR_SHUTDOWN;
}

/* Of either controller. While none answers it is waited for: nothing could be served. */
static int find_version(struct boot *b)
{
	const struct config_controller *k = config_controller(b->h->file, b->h->config->controller);
	const struct config_controller *both[] = {k, config_partner(b->h->file, k)};
	uint64_t began = env_now_ns(b->h->env);
	snprintf(b->why, sizeof(b->why), "no controller answers");
	for (;;) {
		int said = 0, rc = 0;
		for (unsigned i = 0; i < ARRAY_LEN(both) && both[i]; i++) {
			b->answered = false;
			rc = ask_at(b, both[i]);
			if (rc == 0)
				return 0;
			said = b->answered ? rc : said;
		}
		uint64_t waited = env_now_ns(b->h->env) - began;
		if (said && (!passing(said) || waited >= READ_NS))
			return said;
		env_sleep_ns(b->h->env, PAUSE_NS);
	}
}

/* ---- the program ---- */

/* The next process, or the program that is booted, applies it. */
static void no_config(void *arg, const Isthmus__NasConfig *cfg, Isthmus__NasConfigApplied *ret)
{
}

/* What is in flight ends, whatever it waits for. */
static void close_late(void *arg)
{
	struct boot *b = arg;
	struct channel *c = b->channel;
	b->channel = NULL;
	if (c)
		channel_close(c);
	b->closed = true;
}

static void on_late(void *arg)
{
	struct boot *b = arg;
	b->is_late = true;
	if (task_start_on(reactor_sched(b->reactor), close_late, b))
		abort();
}

static int in_memory(struct boot *b, const void *program, size_t size)
{
	unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
	int seals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
	b->fd = memfd_create("isthmus-head", flags | MFD_EXEC);
	if (b->fd < 0 && errno == EINVAL)
		b->fd = memfd_create("isthmus-head", flags);
	for (size_t at = 0; b->fd >= 0 && at < size;) {
		ssize_t n = write(b->fd, (const char *)program + at, size - at);
		if (n < 0)
			return -errno;
		at += (size_t)n;
	}
	return b->fd < 0 || fcntl(b->fd, F_ADD_SEALS, seals) < 0 ? -errno : 0;
}

/* What runs here is what was installed: the digest is that of the table. */
static int take_program(struct boot *b, struct bdev *d, struct software_table *t)
{
	int rc = software_load(d, t);
	const struct software_program *p = rc ? NULL : software_find(t, b->version);
	if (rc == 0 && (!p || p->machine != program_machine()))
		rc = p ? -ENOEXEC : -ENOENT;
	void *program = rc ? NULL : malloc(p->size);
	if (rc == 0)
		rc = program ? software_read(d, p, program, NULL, NULL) : -ENOMEM;
	if (rc == 0)
		rc = in_memory(b, program, p->size);
	if (rc && b->fd >= 0) {
		close(b->fd);
		b->fd = -1;
	}
	free(program);
	return rc;
}

static int fetch(struct boot *b)
{
	char paths[CHANNEL_ENDS][108];
	struct bdev *d = NULL;
	struct software_table *t = malloc(sizeof(*t));
	struct channel_opts o = {.head = b->h->config->name,
				 .group = b->h->config->group,
				 .program = b->version,
				 .config = no_config,
				 .arg = b};
	head_channel_paths(b->h, paths, &o);
	b->late = (struct env_timer){.fn = on_late, .arg = b};
	env_timer_start(b->h->env, &b->late, READ_NS);
	int rc = t ? channel_open(&b->channel, &o) : -ENOMEM;
	if (rc)
		b->channel = NULL;
	if (rc == -ERR_EPOCH_STALE)
		head_on_fenced(b->h);
	rc = rc ? rc : channel_volume_open(b->channel, b->volume, &d);
	rc = rc ? rc : take_program(b, d, t);
	env_timer_stop(b->h->env, &b->late);
	while (b->is_late && !b->closed)
		env_sleep_ns(b->h->env, PAUSE_NS);
	if (d)
		bdev_close(d);
	if (b->channel)
		channel_close(b->channel);
	b->channel = NULL;
	free(t);
	if (rc)
		snprintf(b->why, sizeof(b->why), "%s",
			 b->is_late ? "the software volume does not answer" : err_text(rc));
	return rc;
}

static void boot_task(void *arg)
{
	struct boot *b = arg;
	int rc = find_version(b);
	if (rc == 0 && strcmp(b->version, SOFTWARE_INSTALLED) != 0)
		rc = fetch(b);
	if (rc)
		event_write(LOG_L_ERROR, "head.fallback",
			    "head %s runs the installed program, not version %s: %.150s",
			    b->h->config->name, b->version[0] ? b->version : "(unknown)", b->why);
	reactor_stop(b->reactor);
}

/* ---- becoming it ---- */

static void become(struct boot *b)
{
	const struct head *h = b->h;
	char *argv[] = {"isthmus-head",
			"-c",
			(char *)h->config_path,
			(char *)h->config->name,
			h->at ? "--at" : NULL,
			(char *)h->at,
			NULL};
	if (setenv(HEAD_PROGRAM_ENV, b->version, 1))
		return;
	log_notice("head: booting version=%s", b->version);
	listen_pass_on();
	fexecve(b->fd, argv, environ);
	int rc = -errno;
	unsetenv(HEAD_PROGRAM_ENV);
	event_write(LOG_L_ERROR, "head.fallback",
		    "head %s runs the installed program, not version %s: it cannot be run: %s",
		    b->h->config->name, b->version, err_text(rc));
	listen_inherit();
}

void head_boot(struct head *h)
{
	struct boot b = {.h = h, .fd = -1};
	struct reactor_opts o = {.name = "boot", .cpu = -1, .no_uring = true};
	h->env = env_real();
	unsetenv(HEAD_PROGRAM_ENV);
	if (reactor_new(&b.reactor, &o))
		return;
	if (task_start_on(reactor_sched(b.reactor), boot_task, &b) == 0)
		reactor_run(b.reactor);
	reactor_free(b.reactor);
	if (b.fd < 0)
		return;
	become(&b);
	close(b.fd);
}
