/*
 * nfs_crowd PORT EXPORT PID-FILE V4 V3 LOOK: many NFS clients with state at the running head whose
 * process number is in PID-FILE; what that holds in between is looked at in /proc, and by the shell
 * command LOOK, which gets the word for the point that is reached:
 *
 *   "modern"   V4 clients of versions 4.1 and 4.2 alone are there, and have reclaimed what they had
 *              when the head was killed
 *   "all"      V4 clients (4.0, 4.1, 4.2 in turns) and V3 clients with NLM locks
 *   "none"     all are gone
 *   "locks"    all locks are; clients of 4.0 cannot say good-bye, and go with their leases
 *
 *   1. V4 modern clients come: session with a back channel, a file open with a lock in it, one that
 *      all read. The head is killed; they reclaim, and the grace period ends as the last has.
 *      They go
 *   2. twice: V4 mixed and V3 clients come; all renew at once, several times; some have sessions of
 *      several connections; what they hold is refused to a stranger; they go:
 *      with good manners (the first time half of them just vanish), those of version 3 by unlocking
 *      or by saying that they were restarted. Memory after the second time is that after the first,
 *      connections and descriptors are as before
 */
#include <arpa/inet.h>
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include "runtime/check.h"
#include "tests/unit/nfs/nas_raw.h"
#include "tests/unit/nfs4/v4_client.h"

#define RENEWALS   5
#define TRUNKS	   4 /* connections of a session, of every TRUNKED-th client */
#define TRUNKED	   16
#define GROWTH_KIB 2048
#define GRACE_S	   60 /* more than the head's */
#define NLM_LOCK   2
#define NLM_UNLOCK 4
#define NLM_GRACE  4

#define must(c, ...)                                                                               \
	do {                                                                                       \
		if (!(c)) {                                                                        \
			fprintf(stderr, "nfs_crowd: line %d: ", __LINE__);                         \
			fprintf(stderr, __VA_ARGS__);                                              \
			fprintf(stderr, "\n");                                                     \
			exit(1);                                                                   \
		}                                                                                  \
	} while (0)

struct client4 {
	struct v4 c;
	char name[24];
	uint32_t addr, seqid; /* of its one owner, version 4.0 */
	struct v4_fh fh;
	struct v4_stateid open, lock, shared;
	uint32_t deleg_type;
	struct v4_stateid deleg;
};

struct client3 {
	struct raw r;
	char name[24];
	uint32_t addr;
};

static unsigned port, nv4, nv3;
static const char *export_path, *pid_file, *look_command;
static struct client4 *v4s;
static struct client3 *v3s;
static struct v4_fh top, shared_fh;
static uint8_t nlm_fh[FH_SIZE];
static uint32_t nsm_state = 5; /* of the clients */

/* ---- the head ---- */

static int head_pid(void)
{
	int pid = 0;
	FILE *f = fopen(pid_file, "r");
	if (f) {
		if (fscanf(f, "%d", &pid) != 1)
			pid = 0;
		fclose(f);
	}
	return pid;
}

static unsigned long head_rss(void)
{
	char path[64], line[256];
	unsigned long kib = 0;
	snprintf(path, sizeof(path), "/proc/%d/status", head_pid());
	FILE *f = fopen(path, "r");
	must(f, "the head is gone");
	while (fgets(line, sizeof(line), f))
		sscanf(line, "RssAnon: %lu", &kib);
	fclose(f);
	return kib;
}

static unsigned head_files(void)
{
	char path[64];
	unsigned n = 0;
	snprintf(path, sizeof(path), "/proc/%d/fd", head_pid());
	DIR *d = opendir(path);
	must(d, "the head is gone");
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void look(const char *word)
{
	char cmd[512];
	snprintf(cmd, sizeof(cmd), "%s %s %u %u", look_command, word, nv4, nv3);
	must(system(cmd) == 0, "%s", cmd);
}

/* ---- connections ---- */

/* -1: nobody listens. */
static int try_dial(uint32_t addr)
{
	struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(addr)};
	struct sockaddr_in to = {.sin_family = AF_INET,
				 .sin_port = htons((uint16_t)port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct timeval tv = {.tv_sec = 30};
	int one = 1;
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	must(fd >= 0 && bind(fd, (struct sockaddr *)&from, sizeof(from)) == 0, "socket: %s",
	     strerror(errno));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0)
		return fd;
	close(fd);
	return -1;
}

static int dial(uint32_t addr)
{
	int fd = try_dial(addr);
	must(fd >= 0, "connect: %s", strerror(errno));
	return fd;
}

/* ---- version 4 ---- */

/* An OPEN of version 4.0 waits for OPEN_CONFIRM: the first of its owner. */
static void open0(struct client4 *k, const char *name, uint32_t access, struct v4_stateid *ret,
		  struct v4_fh *ret_fh)
{
	struct v4 *c = &k->c;
	const uint8_t *p;
	v4_begin(c);
	v4_putfh(c, &top);
	v4_op(c, OP_OPEN);
	const uint32_t head[] = {k->seqid++, access, 0};
	for (unsigned i = 0; i < ARRAY_LEN(head); i++)
		xdr_put_u32(&c->x, head[i]);
	xdr_put_u64(&c->x, c->client);
	xdr_put_string(&c->x, "owner");
	const uint32_t how[] = {1, 0, 0, 0, CLAIM_NULL}; /* UNCHECKED, no attributes */
	for (unsigned i = 0; i < ARRAY_LEN(how); i++)
		xdr_put_u32(&c->x, how[i]);
	xdr_put_string(&c->x, name);
	v4_op(c, OP_GETFH);
	must(v4_send(c) == 0, "%s: OPEN of 4.0: %u", k->name, c->status);
	must(v4_res(c, OP_PUTFH) == 0 && v4_res(c, OP_OPEN) == 0, "OPEN");
	v4_get_stateid(c, ret);
	v4_u32(c);
	v4_u64(c);
	v4_u64(c);
	uint32_t flags = v4_u32(c);
	for (uint32_t n = v4_u32(c); n; n--)
		v4_u32(c);
	must(v4_u32(c) == OPEN_DELEGATE_NONE, "lent to a client that cannot be called");
	must(v4_res(c, OP_GETFH) == 0, "GETFH");
	ret_fh->len = v4_opaque(c, &p);
	memcpy(ret_fh->b, p, ret_fh->len);
	if (!(flags & OPEN4_RESULT_CONFIRM))
		return;
	v4_begin(c);
	v4_putfh(c, ret_fh);
	v4_op(c, OP_OPEN_CONFIRM);
	v4_stateid(c, ret);
	xdr_put_u32(&c->x, k->seqid++);
	must(v4_send(c) == 0, "%s: OPEN_CONFIRM: %u", k->name, c->status);
	must(v4_res(c, OP_PUTFH) == 0 && v4_res(c, OP_OPEN_CONFIRM) == 0, "OPEN_CONFIRM");
	v4_get_stateid(c, ret);
}

static uint32_t lock0(struct client4 *k, bool fresh)
{
	struct v4 *c = &k->c;
	v4_begin(c);
	v4_putfh(c, &k->fh);
	v4_op(c, OP_LOCK);
	xdr_put_u32(&c->x, WRITE_LT);
	xdr_put_bool(&c->x, false);
	xdr_put_u64(&c->x, 0);
	xdr_put_u64(&c->x, 100);
	xdr_put_bool(&c->x, fresh);
	xdr_put_u32(&c->x, k->seqid++);
	v4_stateid(c, &k->open);
	xdr_put_u32(&c->x, 0);
	xdr_put_u64(&c->x, c->client);
	xdr_put_string(&c->x, "locker");
	if (v4_send(c))
		return c->status;
	must(v4_res(c, OP_PUTFH) == 0 && v4_res(c, OP_LOCK) == 0, "LOCK");
	v4_get_stateid(c, &k->lock);
	return 0;
}

/* With sequence numbers where the version has them. */
static void unlock_and_close(struct client4 *k)
{
	struct v4 *c = &k->c;
	v4_seq(c);
	v4_putfh(c, &k->fh);
	v4_op(c, OP_LOCKU);
	xdr_put_u32(&c->x, WRITE_LT);
	xdr_put_u32(&c->x, 1); /* the second of that owner */
	v4_stateid(c, &k->lock);
	xdr_put_u64(&c->x, 0);
	xdr_put_u64(&c->x, 100);
	must(v4_send(c) == 0, "%s: LOCKU: %u", k->name, c->status);
	const struct v4_stateid *s[] = {&k->open, &k->shared};
	const struct v4_fh *fh[] = {&k->fh, &shared_fh};
	for (unsigned i = 0; i < 2; i++) {
		v4_seq(c);
		v4_putfh(c, fh[i]);
		v4_op(c, OP_CLOSE);
		xdr_put_u32(&c->x, k->seqid++);
		v4_stateid(c, s[i]);
		must(v4_send(c) == 0, "%s: CLOSE: %u", k->name, c->status);
	}
	if (k->deleg_type == OPEN_DELEGATE_READ)
		must(v4_return(c, &shared_fh, &k->deleg) == 0, "%s: DELEGRETURN", k->name);
}

static void connect4(struct client4 *k)
{
	struct v4 fresh = {.buf = k->c.buf, .reply = k->c.reply, .minor = k->c.minor};
	fresh.fd = dial(k->addr);
	fresh.xid = 1;
	fresh.listen_fd = -1;
	fresh.back = fresh.minor > 0;
	k->c = fresh;
	k->seqid = 0;
}

static void hold(struct client4 *k)
{
	struct v4 *c = &k->c;
	if (!c->minor) {
		open0(k, k->name, OPEN4_SHARE_ACCESS_BOTH, &k->open, &k->fh);
		open0(k, "shared", OPEN4_SHARE_ACCESS_READ, &k->shared, &shared_fh);
		must(lock0(k, true) == 0, "%s: LOCK: %u", k->name, c->status);
		return;
	}
	must(v4_open_file(c, &top, k->name, "owner", OPEN4_SHARE_ACCESS_BOTH, 0,
			  CREATE4_UNCHECKED + 1, &k->open, &k->fh) == 0,
	     "%s: OPEN: %u", k->name, c->status);
	if (c->deleg_type == OPEN_DELEGATE_WRITE)
		must(v4_return(c, &k->fh, &c->deleg) == 0, "%s: DELEGRETURN", k->name);
	must(v4_lock(c, &k->fh, &k->open, "locker", WRITE_LT, 0, 100, false, &k->lock) == 0,
	     "%s: LOCK: %u", k->name, c->status);
	must(v4_open_file(c, &top, "shared", "owner", OPEN4_SHARE_ACCESS_READ, 0, OPEN4_NOCREATE,
			  &k->shared, &shared_fh) == 0,
	     "%s: OPEN to read: %u", k->name, c->status);
	k->deleg_type = c->deleg_type;
	k->deleg = c->deleg;
}

static void put_renewal(struct v4 *c)
{
	v4_seq(c);
	if (!c->minor) {
		v4_op(c, OP_RENEW);
		xdr_put_u64(&c->x, c->client);
	}
	v4_put(c);
}

/* The first n, all at once. */
static void v4_renew(unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		put_renewal(&v4s[i].c);
	for (unsigned i = 0; i < n; i++)
		must(v4_get(&v4s[i].c) == 0, "%s: renewal: %u", v4s[i].name, v4s[i].c.status);
}

/* On a busy machine the others take longer than a lease. */
static void v4_renew_meanwhile(unsigned i)
{
	if (i % 100 == 99)
		v4_renew(i + 1);
}

/* All at once: they are kept by as few writes as the head can do with. */
static void v4_reclaimed(void)
{
	for (unsigned i = 0; i < nv4; i++) {
		struct v4 *c = &v4s[i].c;
		if (!c->minor)
			continue;
		v4_seq(c);
		v4_op(c, OP_RECLAIM_COMPLETE);
		xdr_put_bool(&c->x, false);
		v4_put(c);
	}
	for (unsigned i = 0; i < nv4; i++)
		must(!v4s[i].c.minor || v4_get(&v4s[i].c) == 0, "%s: RECLAIM_COMPLETE: %u",
		     v4s[i].name, v4s[i].c.status);
}

static void v4_come(unsigned from_minor)
{
	v4s = calloc(nv4, sizeof(*v4s));
	for (unsigned i = 0; i < nv4; i++) {
		struct client4 *k = &v4s[i];
		snprintf(k->name, sizeof(k->name), "client4-%u", i);
		k->addr = INADDR_LOOPBACK + 0x10000 + i;
		k->c.minor = from_minor + i % (3 - from_minor);
		k->c.buf = malloc(2 << 20);
		k->c.reply = malloc(2 << 20);
		connect4(k);
		if (!k->c.minor)
			v4_client0(&k->c, k->name);
		else
			must(v4_exchange(&k->c, k->name, 1, 0) == 0 && v4_session(&k->c) == 0,
			     "%s: %u", k->name, k->c.status);
		v4_renew_meanwhile(i);
	}
	v4_reclaimed();
	for (unsigned i = 0; i < nv4; i++) {
		hold(&v4s[i]);
		if (i % 100 == 99)
			v4_renew(nv4);
	}
}

/* A session's slots over several connections at once, as with the mount option nconnect. */
static void v4_trunk(struct client4 *k)
{
	struct v4 trunk[TRUNKS];
	for (unsigned i = 0; i < TRUNKS; i++) {
		struct v4 *t = &trunk[i];
		*t = k->c;
		t->fd = dial(k->addr);
		t->buf = malloc(2 << 20);
		t->reply = malloc(2 << 20);
		t->slot = i + 1;
		t->seq = 0;
		v4_begin(t);
		v4_op(t, OP_BIND_CONN_TO_SESSION);
		xdr_put_fixed(&t->x, t->session, NFS4_SESSIONID);
		xdr_put_u32(&t->x, CDFC4_FORE);
		xdr_put_bool(&t->x, false);
		must(v4_send(t) == 0, "%s: BIND_CONN_TO_SESSION: %u", k->name, t->status);
	}
	for (unsigned i = 0; i < TRUNKS; i++)
		put_renewal(&trunk[i]);
	for (unsigned i = 0; i < TRUNKS; i++) {
		must(v4_get(&trunk[i]) == 0, "%s: connection %u: %u", k->name, i, trunk[i].status);
		v4_close(&trunk[i]);
	}
}

static void v4_reclaim(struct client4 *k)
{
	struct v4 *c = &k->c;
	uint8_t old[NFS4_SESSIONID];
	memcpy(old, c->session, sizeof(old));
	close(c->fd);
	connect4(k);
	memcpy(c->session, old, sizeof(old));
	v4_seq(c);
	must(v4_send(c) == NFS4ERR_BADSESSION, "%s: SEQUENCE after a restart: %u", k->name,
	     c->status);
	must(v4_exchange(c, k->name, 1, 0) == 0 && v4_session(c) == 0, "%s: again: %u", k->name,
	     c->status);
	/* At first what was kept may not be known yet. */
	while (v4_reclaim_open(c, &k->fh, "owner", OPEN4_SHARE_ACCESS_BOTH, &k->open) ==
	       NFS4ERR_DELAY)
		usleep(10000);
	must(c->status == 0, "%s: OPEN reclaimed: %u", k->name, c->status);
	must(v4_lock(c, &k->fh, &k->open, "locker", WRITE_LT, 0, 100, true, &k->lock) == 0,
	     "%s: LOCK reclaimed: %u", k->name, c->status);
	c->deleg_type = k->deleg_type;
	must(v4_reclaim_open(c, &shared_fh, "owner", OPEN4_SHARE_ACCESS_READ, &k->shared) == 0,
	     "%s: OPEN to read reclaimed: %u", k->name, c->status);
	k->deleg_type = c->deleg_type;
	k->deleg = c->deleg;
}

static void v4_good_bye(struct client4 *k)
{
	struct v4 *c = &k->c;
	v4_begin(c);
	v4_op(c, OP_DESTROY_SESSION);
	xdr_put_fixed(&c->x, c->session, NFS4_SESSIONID);
	must(v4_send(c) == 0, "%s: DESTROY_SESSION: %u", k->name, c->status);
	v4_begin(c);
	v4_op(c, OP_DESTROY_CLIENTID);
	xdr_put_u64(&c->x, c->client);
	must(v4_send(c) == 0, "%s: DESTROY_CLIENTID: %u", k->name, c->status);
}

/* Half of those that can say good-bye do, or all. */
static void v4_go(bool all)
{
	for (unsigned i = 0; i < nv4; i++) {
		unlock_and_close(&v4s[i]);
		if (v4s[i].c.minor && (all || i % 2))
			v4_good_bye(&v4s[i]);
		v4_close(&v4s[i].c);
	}
	free(v4s);
}

/* A stranger: what it asks for is another's. */
static void v4_is_held(void)
{
	struct client4 *k = calloc(1, sizeof(*k));
	strcpy(k->name, "stranger");
	k->addr = INADDR_LOOPBACK;
	k->c.minor = 1;
	k->c.buf = malloc(2 << 20);
	k->c.reply = malloc(2 << 20);
	connect4(k);
	k->c.back = false;
	v4_client(&k->c, k->name);
	for (unsigned i = 0; i < nv4; i += MAX(nv4 / 50, 1u)) {
		must(v4_open_file(&k->c, &top, v4s[i].name, "o", OPEN4_SHARE_ACCESS_BOTH, 0,
				  OPEN4_NOCREATE, &k->open, &k->fh) == 0,
		     "%s: stranger's OPEN: %u", v4s[i].name, k->c.status);
		must(v4_lock(&k->c, &k->fh, &k->open, "l", WRITE_LT, 50, 1, false, &k->lock) ==
			 NFS4ERR_DENIED,
		     "%s: a stranger has its lock", v4s[i].name);
		must(v4_close_file(&k->c, &k->fh, &k->open) == 0, "CLOSE");
	}
	v4_good_bye(k);
	v4_close(&k->c);
	free(k);
}

/* ---- version 3 and its locks ---- */

static uint32_t nlm(struct client3 *k, uint32_t proc, uint64_t off, bool reclaim)
{
	struct raw *r = &k->r;
	raw_begin(r, 100021, 4, proc);
	xdr_put_opaque(&r->out, "cook", 4);
	if (proc == NLM_LOCK)
		xdr_put_bool(&r->out, false);
	if (proc == NLM_LOCK)
		xdr_put_bool(&r->out, true);
	xdr_put_string(&r->out, k->name);
	xdr_put_opaque(&r->out, nlm_fh, FH_SIZE);
	xdr_put_string(&r->out, k->name);
	xdr_put_u32(&r->out, 1);
	xdr_put_u64(&r->out, off);
	xdr_put_u64(&r->out, 1);
	if (proc == NLM_LOCK) {
		xdr_put_bool(&r->out, reclaim);
		xdr_put_u32(&r->out, 3); /* its own state */
	}
	must(raw_end(r) == 0, "%s: NLM %u is refused", k->name, proc);
	must(raw_u32(r) == 4 && raw_u32(r) == 0x636f6f6b, "%s: another's answer", k->name);
	return raw_u32(r);
}

static void v3_come(void)
{
	v3s = calloc(nv3, sizeof(*v3s));
	for (unsigned i = 0; i < nv3; i++) {
		struct client3 *k = &v3s[i];
		uint8_t dir[FH_SIZE];
		snprintf(k->name, sizeof(k->name), "client3-%u", i);
		k->addr = INADDR_LOOPBACK + 0x20000 + i;
		k->r.xid = 1;
		k->r.fd = dial(k->addr);
		must(raw_mount(&k->r, export_path, dir) == 0, "%s: MNT", k->name);
		if (!i)
			must(raw_make(&k->r, dir, "nlm", false, 0644, nlm_fh) == 0, "CREATE");
		must(nlm(k, NLM_LOCK, i, false) == 0, "%s: LOCK", k->name);
	}
}

static void v3_is_held(void)
{
	for (unsigned i = 0; i + 1 < nv3; i += MAX(nv3 / 50, 1u))
		must(nlm(&v3s[i + 1], NLM_LOCK, i, false) == 1, "%s: another has its lock",
		     v3s[i].name);
}

static void sm_notify(struct client3 *k)
{
	raw_begin(&k->r, 100024, 1, 6);
	xdr_put_string(&k->r.out, k->name);
	xdr_put_u32(&k->r.out, nsm_state); /* one number counts once */
	must(raw_end(&k->r) == 0, "%s: SM_NOTIFY", k->name);
}

static void v3_go(void)
{
	for (unsigned i = 0; i < nv3; i++) {
		if (i % 2)
			sm_notify(&v3s[i]);
		else
			must(nlm(&v3s[i], NLM_UNLOCK, i, false) == 0, "%s: UNLOCK", v3s[i].name);
		raw_close(&v3s[i].r);
	}
	free(v3s);
	nsm_state += 2;
}

/* ---- the whole ---- */

static void kill_head(void)
{
	int pid = head_pid();
	kill(pid, SIGKILL);
	for (double end = now() + 20; now() < end; usleep(10000)) {
		int fd = head_pid() == pid ? -1 : try_dial(INADDR_LOOPBACK);
		if (fd < 0)
			continue;
		close(fd);
		return;
	}
	must(false, "no head came again");
}

/* Seconds until something new is granted. */
static double grace_left(void)
{
	struct client4 *k = &v4s[0];
	struct v4_stateid s;
	struct v4_fh fh;
	double begin = now();
	uint32_t st = NFS4ERR_GRACE;
	while (st == NFS4ERR_GRACE && now() < begin + GRACE_S) {
		st = v4_open_file(&k->c, &top, "new", "owner2", OPEN4_SHARE_ACCESS_READ, 0,
				  CREATE4_UNCHECKED + 1, &s, &fh);
		if (st == NFS4ERR_GRACE)
			usleep(10000);
	}
	must(st == 0, "nothing new is granted: %u", st);
	must(v4_close_file(&k->c, &fh, &s) == 0, "CLOSE");
	if (k->c.deleg_type == OPEN_DELEGATE_READ)
		must(v4_return(&k->c, &fh, &k->c.deleg) == 0, "DELEGRETURN");
	return now() - begin;
}

static void restart_with_modern(void)
{
	unsigned long before = head_rss();
	double t = now();
	v4_come(1);
	printf("%u clients of 4.1 and 4.2 came in %.2f s, %.1f KiB of the head each\n", nv4,
	       now() - t, ((double)head_rss() - (double)before) / nv4);
	t = now();
	kill_head();
	printf("the head was killed and listened again after %.2f s; ", now() - t);
	for (unsigned i = 0; i < nv4; i++) {
		v4_reclaim(&v4s[i]);
		v4_renew_meanwhile(i);
	}
	v4_reclaimed();
	printf("all had reclaimed after %.2f s", now() - t);
	double left = grace_left();
	printf(", and the grace period ended %.2f s later\n", left);
	must(left < 1, "the grace period lasted on");
	v4_is_held();
	look("modern");
	v4_go(true);
	look("none");
}

static void crowd(bool polite, unsigned long *ret_rss)
{
	unsigned long before = head_rss();
	unsigned files = head_files();
	double t = now();
	v4_come(0);
	unsigned long with4 = head_rss();
	v3_come();
	unsigned long with3 = head_rss();
	printf("%u and %u clients came in %.2f s: %.1f KiB each of 4, %.1f of 3; ", nv4, nv3,
	       now() - t, ((double)with4 - (double)before) / nv4,
	       ((double)with3 - (double)with4) / nv3);
	t = now();
	for (unsigned i = 0; i < RENEWALS; i++)
		v4_renew(nv4);
	printf("all renewed %u times in %.3f s\n", RENEWALS, now() - t);
	for (unsigned i = 0; i < nv4; i += TRUNKED)
		if (v4s[i].c.minor)
			v4_trunk(&v4s[i]);
	v4_is_held();
	v3_is_held();
	look("all");
	v4_go(polite);
	v3_go();
	look(polite ? "locks" : "none");
	*ret_rss = head_rss();
	must(head_files() <= files, "descriptors: %u before, %u behind", files, head_files());
}

static void make_shared(void)
{
	struct client4 *k = calloc(1, sizeof(*k));
	strcpy(k->name, "first");
	k->addr = INADDR_LOOPBACK;
	k->c.minor = 1;
	k->c.buf = malloc(2 << 20);
	k->c.reply = malloc(2 << 20);
	connect4(k);
	v4_client(&k->c, k->name);
	must(v4_lookup(&k->c, export_path, &top) == 0, "LOOKUP of the export: %u", k->c.status);
	/* A head that never had shared state before waits for who may have held something. */
	uint32_t st;
	while ((st = v4_open_file(&k->c, &top, "shared", "o", OPEN4_SHARE_ACCESS_WRITE, 0,
				  CREATE4_UNCHECKED + 1, &k->open, &shared_fh)) == NFS4ERR_GRACE)
		usleep(50000);
	must(st == 0, "OPEN: %u", st);
	if (k->c.deleg_type == OPEN_DELEGATE_WRITE)
		must(v4_return(&k->c, &shared_fh, &k->c.deleg) == 0, "DELEGRETURN");
	must(v4_close_file(&k->c, &shared_fh, &k->open) == 0, "CLOSE");
	v4_good_bye(k);
	v4_close(&k->c);
	free(k);
}

START_TEST(they_come_and_go)
{
	unsigned long first, second;
	make_shared();
	sleep(2); /* its client is forgotten then: nobody waits for it after a restart */
	restart_with_modern();
	crowd(false, &first);
	crowd(true, &second);
	printf("memory of the head after the first crowd %lu KiB, after the second %lu\n", first,
	       second);
	must(second <= first + GROWTH_KIB, "memory grew");
}
END_TEST

int main(int argc, char **argv)
{
	struct rlimit l;
	must(argc == 7, "usage: nfs_crowd PORT EXPORT PID-FILE V4 V3 LOOK");
	port = (unsigned)atoi(argv[1]);
	export_path = argv[2];
	pid_file = argv[3];
	nv4 = (unsigned)atoi(argv[4]);
	nv3 = (unsigned)atoi(argv[5]);
	look_command = argv[6];
	setvbuf(stdout, NULL, _IOLBF, 0);
	getrlimit(RLIMIT_NOFILE, &l);
	l.rlim_cur = l.rlim_max;
	setrlimit(RLIMIT_NOFILE, &l);
	Suite *s = suite_create("nfs crowd");
	TCase *t = tcase_create("crowd");
	tcase_set_timeout(t, 0);
	tcase_add_test(t, they_come_and_go);
	suite_add_tcase(s, t);
	SRunner *run = srunner_create(s);
	srunner_set_fork_status(run, CK_NOFORK);
	srunner_run_all(run, CK_MINIMAL);
	int failed = srunner_ntests_failed(run);
	srunner_free(run);
	return failed ? 1 : 0;
}
