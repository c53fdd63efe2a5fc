/*
 * The core with real threads, files and the admin protocol: volumes used from
 * two other reactors while verbs change things. Every verb of the core is
 * called once with success and, where it can be, with a refusal. Run under
 * the thread sanitizer as well.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "blockcore/core.h"
#include "blockcore/volume/volume.h"
#include "runtime/admin.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include "runtime/reactor.h"

#define NDISKS	5
#define SEGMENT (16 * 1024 * 1024)
#define MIB	(1024 * 1024ull)

static char dir[64], sock[96], paths[NDISKS][96];
static const char *disks[NDISKS];
static void *segment;
static struct core *core;
static struct admin_server *server;
static struct reactor *owner, *users[2];

/* ---- running things on reactors ---- */

struct job {
	void (*fn)(void *arg);
	void *arg;
	atomic_bool done;
};

static void job_task(void *arg)
{
	struct job *j = arg;
	j->fn(j->arg);
	atomic_store(&j->done, true);
}

static void job_start(struct reactor *r, struct job *j)
{
	atomic_init(&j->done, false);
	ck_assert_int_eq(task_start_on(reactor_sched(r), job_task, j), 0);
}

static void job_wait(struct job *j)
{
	for (unsigned i = 0; i < 60000 && !atomic_load(&j->done); i++)
		usleep(1000);
	ck_assert(atomic_load(&j->done));
}

static void run_on(struct reactor *r, void (*fn)(void *), void *arg)
{
	struct job j = {.fn = fn, .arg = arg};
	job_start(r, &j);
	job_wait(&j);
}

/* ---- a client ---- */

static Isthmus__AdminReply *call(const char *verb, const char *const *args)
{
	Isthmus__AdminRequest req = ISTHMUS__ADMIN_REQUEST__INIT;
	Isthmus__AdminArg arg[16], *argv[16];
	Isthmus__AdminReply *reply = NULL;
	req.verb = (char *)verb;
	for (; args[req.n_args * 2]; req.n_args++) {
		isthmus__admin_arg__init(&arg[req.n_args]);
		arg[req.n_args].name = (char *)args[req.n_args * 2];
		arg[req.n_args].value = (char *)args[req.n_args * 2 + 1];
		argv[req.n_args] = &arg[req.n_args];
	}
	req.args = argv;
	ck_assert_int_eq(admin_client_call(sock, &req, 30 * NS_PER_S, NULL, NULL, &reply), 0);
	return reply;
}

static void expect(int code, const char *in_error, const char *verb, const char *const *args)
{
	Isthmus__AdminReply *r = call(verb, args);
	ck_assert_msg(r->code == code, "%s: %d %s", verb, r->code, r->error);
	ck_assert_msg(code == 0 || strstr(r->error, in_error), "%s: %s", verb, r->error);
	isthmus__admin_reply__free_unpacked(r, NULL);
}
#define ARGS(...)                                                                                  \
	(const char *const[])                                                                      \
	{                                                                                          \
		__VA_ARGS__, NULL                                                                  \
	}
#define OK(verb, ...)		   expect(0, "", verb, ARGS(__VA_ARGS__))
#define NO(code, error, verb, ...) expect(code, error, verb, ARGS(__VA_ARGS__))

/* The value of a field in the row whose first field has this text. */
static const char *field(Isthmus__AdminReply *r, const char *row, const char *name)
{
	for (size_t t = 0; t < r->n_tables; t++)
		for (size_t i = 0; i < r->tables[t]->n_rows; i++) {
			Isthmus__AdminRow *x = r->tables[t]->rows[i];
			if (!x->n_fields || strcmp(x->fields[0]->value->text, row) != 0)
				continue;
			for (size_t f = 0; f < x->n_fields; f++)
				if (strcmp(x->fields[f]->name, name) == 0)
					return x->fields[f]->value->text;
		}
	return "";
}

static void field_is(const char *verb, const char *row, const char *name, const char *want)
{
	Isthmus__AdminReply *r = call(verb, (const char *const[]){NULL});
	ck_assert_int_eq(r->code, 0);
	ck_assert_str_eq(field(r, row, name), want);
	isthmus__admin_reply__free_unpacked(r, NULL);
}

/* ---- hooks ---- */

static int head_answer;

static unsigned heads(void *arg, struct core_head *ret, unsigned max)
{
	ck_assert_uint_ge(max, 2);
	ret[0] = (struct core_head){.name = "h1", .group = "g1", .up = true};
	ret[1] = (struct core_head){.name = "h2", .group = "g2", .up = false};
	return 2;
}

static int wait_applied(void *arg, const char *head, uint64_t seq, const char *fs,
			uint64_t timeout_ns, char *text)
{
	ck_assert_uint_gt(seq, 0);
	snprintf(text, 256, "%s", head_answer ? "no such luck" : "");
	return head_answer;
}

/* ---- the array ---- */

static void open_task(void *arg)
{
	ck_assert_int_eq(core_open(&core, &(struct core_opts){.env = env_real(),
							      .controller = "a",
							      .disks = disks,
							      .ndisks = NDISKS,
							      .segment = segment,
							      .segment_size = SEGMENT,
							      .array_name = "test"}),
			 0);
	core_set_hooks(core, &(struct core_hooks){.heads = heads, .wait_applied = wait_applied});
	ck_assert_int_eq(admin_server_new(&server, owner, sock), 0);
	ck_assert_int_eq(core_admin_register(core, server), 0);
}

static void close_task(void *arg)
{
	admin_server_free(server);
	ck_assert_int_eq(core_close(core), 0);
}

static struct reactor *new_reactor(const char *name)
{
	struct reactor *r;
	ck_assert_int_eq(
	    reactor_new(&r, &(struct reactor_opts){.name = name, .cpu = -1, .no_uring = true}), 0);
	ck_assert_int_eq(reactor_start_thread(r), 0);
	return r;
}

static void setup(void)
{
	snprintf(dir, sizeof(dir), "/tmp/isthmus-core-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(sock, sizeof(sock), "%s/admin.sock", dir);
	for (unsigned i = 0; i < NDISKS; i++) {
		snprintf(paths[i], sizeof(paths[i]), "%s/disk%u", dir, i);
		int fd = open(paths[i], O_CREAT | O_RDWR, 0600);
		ck_assert_int_ge(fd, 0);
		ck_assert_int_eq(ftruncate(fd, 96 * MIB), 0);
		close(fd);
		disks[i] = paths[i];
	}
	ck_assert_int_eq(posix_memalign(&segment, 4096, SEGMENT), 0);
	memset(segment, 0, SEGMENT);
	owner = new_reactor("owner");
	users[0] = new_reactor("user0");
	users[1] = new_reactor("user1");
	run_on(owner, open_task, NULL);
}

static void teardown(void)
{
	run_on(owner, close_task, NULL);
	struct reactor *all[] = {owner, users[0], users[1]};
	for (unsigned i = 0; i < 3; i++) {
		reactor_stop(all[i]);
		reactor_join(all[i]);
		reactor_free(all[i]);
	}
	for (unsigned i = 0; i < NDISKS; i++)
		unlink(paths[i]);
	unlink(sock);
	rmdir(dir);
	free(segment);
}

/* ---- users ---- */

struct user {
	const char *volume;
	uint64_t first; /* its own part of the volume */
	unsigned rounds;
	int end; /* the error that ended it */
};

/* Writes, reads back, flushes and discards in its own megabyte until it is done or refused. */
static void user_fn(void *arg)
{
	struct user *u = arg;
	struct volume *v = core_volume_get_by_name(core, u->volume);
	struct cache_write *w = malloc(sizeof(*w));
	struct cache_read *r = malloc(sizeof(*r));
	for (unsigned i = 0; i < u->rounds && u->end == 0; i++) {
		uint64_t off = u->first + i * 7 % 200 * 4096;
		u->end = volume_write_begin(v, off, 8192, w);
		if (u->end)
			break;
		for (int k = 0; k < w->n; k++)
			memset(w->iov[k].iov_base, (int)(i % 251 + 1), w->iov[k].iov_len);
		u->end = volume_write_commit(v, w, i % 16 == 0);
		if (u->end == 0)
			u->end = volume_read(v, off, 8192, r);
		if (u->end)
			break;
		for (int k = 0; k < r->n; k++)
			ck_assert_uint_eq(((uint8_t *)r->iov[k].iov_base)[7], i % 251 + 1);
		volume_read_done(v, r);
		if (i % 50 == 49)
			u->end = volume_flush(v, u->first, MIB);
		if (i % 97 == 96 && u->end == 0)
			u->end = volume_discard(v, off, 4096);
		task_yield();
	}
	free(w);
	free(r);
	core_volume_put(v);
}

static const char *const levels[] = {"raid10", "raid5", "raid6"};

START_TEST(verbs_and_users)
{
	NO(-ENOENT, "no pool", "volume.create", "name", "v", "pool", "p", "size", "1M");
	NO(-ENOENT, "not configured", "pool.create", "name", "p", "disk", "/dev/nope", "level",
	   "single");
	NO(-EINVAL, "level", "pool.create", "name", "p", "disk", paths[0], "level", "raid7");
	NO(-EINVAL, "neither on nor off", "pool.create", "name", "p", "disk", paths[0], "level",
	   "single", "checksums", "perhaps");
	const char *sums = _i == 1 ? "off" : "on";
	OK("pool.create", "name", "p", "checksums", sums, "disk", paths[0], "disk", paths[1],
	   "disk", paths[2], "disk", paths[3], "level", levels[_i]);
	field_is("pool.list", "p", "state", "online");
	field_is("pool.list", "p", "checksums", sums);
	field_is("disk.list", paths[0], "pool", "p");
	field_is("disk.list", paths[4], "state", "blank");
	NO(-EBUSY, "in use by pool", "disk.wipe", "disk", paths[0]);
	OK("disk.wipe", "disk", paths[4]);
	OK("volume.create", "name", "v", "pool", "p", "size", "8M");
	NO(-EEXIST, "already", "volume.create", "name", "v", "pool", "p", "size", "8M");
	NO(-ENOSPC, "free", "volume.create", "name", "w", "pool", "p", "size", "1T");
	struct user u[2] = {{"v", 0, 600, 0}, {"v", 2 * MIB, 600, 0}};
	struct job j[2] = {{.fn = user_fn, .arg = &u[0]}, {.fn = user_fn, .arg = &u[1]}};
	job_start(users[0], &j[0]);
	job_start(users[1], &j[1]);
	OK("volume.resize", "name", "v", "size", "12M");
	NO(-EINVAL, "does not shrink", "volume.resize", "name", "v", "size", "4M");
	OK("volume.list", "pool", "p");
	OK("volume.show", "name", "v");
	OK("pool.show", "name", "p");
	expect(0, "", "status", (const char *const[]){NULL});
	expect(0, "", "stats", (const char *const[]){NULL});
	job_wait(&j[0]);
	job_wait(&j[1]);
	ck_assert_int_eq(u[0].end, 0);
	ck_assert_int_eq(u[1].end, 0);
	/* Removed under its users: they end with -ERR_SHUTDOWN, it ends. */
	u[0].rounds = u[1].rounds = 1u << 30;
	job_start(users[0], &j[0]);
	job_start(users[1], &j[1]);
	usleep(20000);
	NO(-EBUSY, "holds volume", "pool.remove", "name", "p");
	OK("volume.remove", "name", "v");
	job_wait(&j[0]);
	job_wait(&j[1]);
	ck_assert_int_eq(u[0].end, -ERR_SHUTDOWN);
	ck_assert_int_eq(u[1].end, -ERR_SHUTDOWN);
	NO(-ENOENT, "no volume", "volume.remove", "name", "v");
	OK("pool.remove", "name", "p");
	field_is("disk.list", paths[0], "state", "free");
}
END_TEST

START_TEST(groups_and_file_systems)
{
	OK("pool.create", "name", "p", "disk", paths[0], "disk", paths[1], "level", "raid1");
	NO(-ENOENT, "no head group", "backup.run", "group", "g1");
	NO(-ENOENT, "has not been made", "fs.create", "name", "f", "pool", "p", "size", "16M");
	OK("group.create", "name", "g1", "pool", "p", "size", "4M");
	NO(-EEXIST, "already", "group.create", "name", "g1", "pool", "p", "size", "4M");
	NO(-EBUSY, "head group g1", "volume.remove", "name", "g1.piv");
	NO(-EBUSY, "keeps its size", "volume.resize", "name", "g1.piv", "size", "8M");
	/* Writers at work while it is copied. */
	struct user u = {"g1.piv", 0, 400, 0};
	struct job j = {.fn = user_fn, .arg = &u};
	job_start(users[0], &j);
	for (unsigned i = 0; i < 3; i++)
		OK("backup.run", "group", "g1");
	job_wait(&j);
	ck_assert_int_eq(u.end, 0);
	expect(0, "", "backup.run", (const char *const[]){NULL});
	expect(0, "", "backup.list", (const char *const[]){NULL});
	OK("backup.status", "group", "g1");
	OK("backup.verify", "group", "g1");
	NO(-ENOENT, "no head 'h9'", "fs.create", "name", "f", "pool", "p", "size", "16M", "head",
	   "h9");
	NO(-EINVAL, "where shall it lie", "fs.create", "name", "f");
	head_answer = -EIO;
	NO(-EIO, "no such luck", "fs.create", "name", "f", "pool", "p", "size", "16M");
	NO(-ENOENT, "no volume 'f'", "volume.show", "name", "f"); /* nothing of it stayed */
	head_answer = -ETIMEDOUT;
	OK("fs.create", "name", "late", "pool", "p", "size", "16M");
	field_is("fs.list", "late", "state", "being made");
	OK("fs.remove", "name", "late");
	head_answer = 0;
	OK("fs.create", "name", "f", "pool", "p", "size", "16M");
	NO(-EEXIST, "already", "fs.create", "name", "f", "pool", "p", "size", "16M");
	field_is("fs.list", "f", "state", "served");
	field_is("fs.list", "f", "head", "h1");
	OK("volume.create", "name", "v", "pool", "p", "size", "16M");
	OK("fs.create", "name", "f2", "volume", "v");
	NO(-EBUSY, "in use", "fs.create", "name", "f3", "volume", "v");
	NO(-EBUSY, "file system", "volume.remove", "name", "v");
	OK("export.add", "path", "/demo", "fs", "f");
	NO(-EEXIST, "already", "export.add", "path", "/demo", "fs", "f");
	NO(-ENOENT, "no file system", "export.add", "path", "/x", "fs", "g");
	NO(-EINVAL, "not a path", "export.add", "path", "/x/../y", "fs", "f");
	NO(-EINVAL, "no option", "export.set", "path", "/demo", "client", "*:rw,fast");
	NO(-EINVAL, "no client", "export.set", "path", "/demo", "client", "10.0.0.0/99:rw");
	OK("export.set", "path", "/demo", "client", "10.0.0.0/8:rw,no_root_squash", "client",
	   "[fd00::1]:ro,all_squash,anonuid=5,anongid=6,secure", "subdir", "/a/b");
	field_is("export.list", "/demo", "clients",
		 "10.0.0.0/8:rw,no_root_squash "
		 "[fd00::1]:ro,all_squash,anonuid=5,anongid=6,secure");
	field_is("export.list", "/demo", "subdir", "/a/b");
	NO(-EBUSY, "exported as /demo", "fs.remove", "name", "f");
	NO(-EBUSY, "serves file system", "group.remove", "name", "g1");
	NO(-ENOENT, "no export", "export.remove", "path", "/nope");
	OK("export.remove", "path", "/demo");
	NO(-EBUSY, "may hold files", "fs.remove", "name", "f");
	OK("export.add", "path", "/demo", "fs", "f");
	OK("fs.remove", "name", "f", "force", "true");
	OK("fs.remove", "name", "f2", "force", "true");
	OK("group.remove", "name", "g1");
	OK("pool.remove", "name", "p");
}
END_TEST

int main(void)
{
	log_set_level(LOG_L_ERROR);
	Suite *s = suite_create("core_threads");
	TCase *tc = tcase_create("core_threads");
	tcase_set_timeout(tc, 180);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, verbs_and_users, 0, (int)ARRAY_LEN(levels));
	tcase_add_test(tc, groups_and_file_systems);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
