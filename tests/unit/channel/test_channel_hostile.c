/* Heads that keep to no rule: they harm themselves, never the controller or another head. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include "blockcore/channel/channel_layout.h"
#include "blockcore/channel/channel_sock.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/reactor.h"
#include "tests/unit/channel/channel_rig.h"

struct raw {
	struct channel_sock *sock;
	int fds[CHANNEL_FDS_MAX];
	int staging;
	uint8_t *base;
	struct channel_geometry geo;
	uint64_t epoch;
};

static int staging_make(off_t size, unsigned flags, int seals)
{
	int fd = memfd_create("hostile", MFD_CLOEXEC | MFD_ALLOW_SEALING | flags);
	if (fd < 0)
		return -1;
	ck_assert_int_eq(ftruncate(fd, size), 0);
	if (seals)
		ck_assert_int_eq(fcntl(fd, F_ADD_SEALS, seals), 0);
	return fd;
}

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW)

static int raw_connect_with(struct raw *r, uint64_t instance, uint64_t epoch, int staging)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	Isthmus__ChannelMsg m = ISTHMUS__CHANNEL_MSG__INIT, *answer;
	Isthmus__ChannelHello hello = ISTHMUS__CHANNEL_HELLO__INIT;
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	strcpy(sa.sun_path, world.socket[0]);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	ck_assert_int_eq(channel_sock_new(&r->sock, client, fd), 0);
	m.body_case = ISTHMUS__CHANNEL_MSG__BODY_HELLO;
	m.hello = &hello;
	hello.head = "h1";
	hello.group = "g1";
	hello.instance = instance;
	hello.epoch = epoch;
	hello.started_ms = rnd(2) ? 0 : UINT64_MAX;
	ck_assert_int_eq(channel_sock_send(r->sock, &m, &staging, staging >= 0), 0);
	int rc = channel_sock_recv(r->sock, 0, &answer, r->fds);
	if (rc || answer->body_case != ISTHMUS__CHANNEL_MSG__BODY_WELCOME) {
		if (rc == 0)
			isthmus__channel_msg__free_unpacked(answer, NULL);
		channel_sock_free(r->sock);
		return -1;
	}
	r->epoch = answer->welcome->epoch;
	size_t size = answer->welcome->channel_size;
	r->base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, r->fds[0], 0);
	ck_assert_ptr_ne(r->base, MAP_FAILED);
	r->geo.size = size;
	r->geo.sq_off = 4096;
	isthmus__channel_msg__free_unpacked(answer, NULL);
	return 0;
}

static int raw_connect(struct raw *r, uint64_t instance)
{
	int fd = staging_make(CHANNEL_STAGING, 0, SEALS);
	int rc = raw_connect_with(r, instance, 0, fd);
	r->staging = fd;
	if (rc)
		close(fd);
	return rc;
}

static void raw_close(struct raw *r)
{
	close(r->staging);
	munmap(r->base, r->geo.size);
	for (int i = 0; i < CHANNEL_FDS_MAX; i++)
		close(r->fds[i]);
	channel_sock_shutdown(r->sock);
	channel_sock_free(r->sock);
}

static void raw_open(struct raw *r)
{
	Isthmus__ChannelMsg m = ISTHMUS__CHANNEL_MSG__INIT;
	Isthmus__ChannelOpen o = ISTHMUS__CHANNEL_OPEN__INIT;
	m.body_case = ISTHMUS__CHANNEL_MSG__BODY_OPEN;
	m.open = &o;
	o.volume_id = 1;
	channel_sock_send(r->sock, &m, NULL, 0);
	env_sleep_ns(env_real(), 2 * NS_PER_MS);
}

/* ... and it is open. */
static void raw_open_wait(struct raw *r)
{
	bool opened = false;
	raw_open(r);
	while (!opened) {
		Isthmus__ChannelMsg *m;
		ck_assert_int_eq(channel_sock_recv(r->sock, 30 * NS_PER_S, &m, NULL), 0);
		opened = m->body_case == ISTHMUS__CHANNEL_MSG__BODY_OPENED;
		isthmus__channel_msg__free_unpacked(m, NULL);
	}
}

/* Entries between noise and nearly right. */
static void hostile_entries(struct raw *r)
{
	struct channel_sqe *sq = (struct channel_sqe *)(r->base + r->geo.sq_off);
	for (unsigned i = 0; i < CHANNEL_ENTRIES; i++) {
		uint8_t noise[sizeof(*sq)];
		fill(noise, sizeof(noise), rnd(1u << 20));
		memcpy(&sq[i], noise, sizeof(noise));
		if (rnd(8))
			sq[i].epoch = r->epoch;
		if (rnd(8))
			sq[i].volume = 1;
		if (rnd(4))
			sq[i].op = (uint8_t)rnd(8);
		if (rnd(4))
			sq[i].off = rnd(FAKE_VOL_SIZE / 512 + 10) * 512ull;
		if (rnd(4))
			sq[i].len = rnd(2100) * 512ull;
		if (rnd(4))
			sq[i].staging = rnd(CHANNEL_STAGING + 1000);
		if (!rnd(16))
			sq[i].staging = UINT32_MAX - rnd(2000);
		if (rnd(4))
			sq[i].owner_epoch = 1;
	}
}

static void hostile_step(struct raw *r)
{
	struct channel_head *h = (struct channel_head *)r->base;
	static const uint64_t one = 1;
	uint8_t noise[64];
	switch (rnd(12)) {
	case 0: /* the whole page, header and indices */
		for (unsigned i = 0; i < 64; i++)
			r->base[rnd(4096)] = (uint8_t)rnd(256);
		break;
	case 1:
		atomic_store(&h->sq_tail, rnd(1u << 24) * 97);
		break;
	case 2:
		atomic_store(&h->cq_head, rnd(1u << 24) * 97);
		break;
	case 3:
		fill(noise, sizeof(noise), rnd(1u << 20));
		(void)!send(channel_sock_fd(r->sock), noise, 1 + rnd(63), MSG_NOSIGNAL);
		break;
	case 4:
		hostile_entries(r);
		break;
	case 5: /* hazards name pages that are none */
		for (unsigned i = 0; i < CHANNEL_HAZARDS; i++)
			memset(r->base + channel_geometry(0).hazard_off + i * 4, (int)rnd(256), 4);
		break;
	default: /* looks honest: completions are taken */
		atomic_store(&h->cq_head, atomic_load(&h->cq_tail));
		atomic_store(&h->sq_tail, atomic_load(&h->sq_tail) + rnd(100));
	}
	ck_assert_int_eq(write(r->fds[2], &one, sizeof(one)), sizeof(one));
}

static void hostile(void *arg)
{
	for (int round = 0; round < 25; round++) {
		struct raw r = {0};
		if (raw_connect(&r, 1 + rnd(2)))
			continue; /* an instance that was fenced */
		raw_open(&r);
		hostile_entries(&r);
		for (int i = 0; i < 40; i++) {
			hostile_step(&r);
			if (rnd(2))
				env_sleep_ns(env_real(), rnd(2) * NS_PER_MS);
		}
		/* It never held what it claims: let the pages go. */
		memset(r.base + channel_geometry(0).hazard_off, 0, CHANNEL_HAZARDS * 4);
		raw_close(&r);
	}
	survivor(arg);
}

START_TEST(a_hostile_head_harms_only_itself)
{
	rnd_state = (unsigned)_i + 100;
	run_both(hostile);
}
END_TEST

/* ---- descriptors ---- */

static bool closed_by_the_other_side(struct raw *r)
{
	Isthmus__ChannelMsg *m;
	int rc;
	while ((rc = channel_sock_recv(r->sock, 30 * NS_PER_S, &m, NULL)) == 0)
		isthmus__channel_msg__free_unpacked(m, NULL);
	return rc == -ERR_DISCONNECTED;
}

/* Honest READs and WRITEs, as many as fit. */
static void fill_ring(struct raw *r)
{
	struct channel_sqe *sq = (struct channel_sqe *)(r->base + r->geo.sq_off);
	struct channel_head *h = (struct channel_head *)r->base;
	for (unsigned i = 0; i < CHANNEL_ENTRIES / 2; i++)
		sq[i] = (struct channel_sqe){.op = i % 2 ? CHANNEL_READ : CHANNEL_WRITE,
					     .volume = 1,
					     .epoch = r->epoch,
					     .off = i * 8 * KIB,
					     .len = 8 * KIB,
					     .staging = i * 8 * KIB,
					     .owner_epoch = 1,
					     .tag = i};
	atomic_store(&h->sq_tail, CHANNEL_ENTRIES / 2);
}

/* Changes of the segment's file while requests wait in it, or while nothing happens at all. */
static void resize(void *arg)
{
	static const uint64_t one = 1;
	struct raw r, none;
	uint64_t instance = 10;
	for (int round = 0; round < 8; round++, instance++) {
		memset(&r, 0, sizeof(r));
		ck_assert_int_eq(raw_connect(&r, instance), 0);
		raw_open(&r);
		fill_ring(&r);
		off_t sizes[] = {0, 4096, (off_t)r.geo.size / 2, (off_t)r.geo.size + 4096};
		ck_assert_int_eq(ftruncate(r.fds[0], sizes[round % 4]), 0);
		if (round < 4)
			ck_assert_int_eq(write(r.fds[2], &one, sizeof(one)), sizeof(one));
		ck_assert(closed_by_the_other_side(&r));
		ck_assert_int_eq(raw_connect(&none, instance), -1);
		raw_close(&r);
	}
	survivor(arg);
}

START_TEST(a_segment_that_shrinks_harms_only_its_head)
{
	run_both(resize);
}
END_TEST

/* A process that takes over from itself again and again does not use up the memory. */
static void many_instances(void *arg)
{
	struct raw r[32] = {0};
	unsigned n = 0;
	while (n < 32 && raw_connect(&r[n], 100 + n) == 0)
		n++;
	ck_assert_uint_gt(n, 4);
	ck_assert_uint_lt(n, 16);
	while (n--)
		raw_close(&r[n]);
	survivor(arg);
}

START_TEST(instances_are_bounded)
{
	run_both(many_instances);
}
END_TEST

/* Memory given back under the controller's hands is zeros, and nothing else changes. */
static void punch(void *arg)
{
	static const uint64_t one = 1;
	struct raw r = {0};
	ck_assert_int_eq(raw_connect(&r, 1), 0);
	raw_open(&r);
	fill_ring(&r);
	ck_assert_int_eq(fallocate(r.fds[0], FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				   (off_t)channel_geometry(0).hazard_off,
				   (off_t)(r.geo.size - channel_geometry(0).hazard_off)),
			 0);
	ck_assert_int_eq(
	    fallocate(r.staging, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, CHANNEL_STAGING),
	    0);
	ck_assert_int_eq(write(r.fds[2], &one, sizeof(one)), sizeof(one));
	struct channel_head *h = (struct channel_head *)r.base;
	while (atomic_load(&h->cq_tail) != CHANNEL_ENTRIES / 2)
		env_sleep_ns(env_real(), NS_PER_MS);
	raw_close(&r);
	survivor(arg);
}

START_TEST(a_segment_with_holes_harms_nobody)
{
	run_both(punch);
}
END_TEST

/* Memory that could be taken away under the controller's hands is not mapped by it. */
static void staging_refused(void *arg)
{
	struct raw r = {0};
	int pipes[2], fds[] = {-1, staging_make(CHANNEL_STAGING, 0, 0),
			       staging_make(CHANNEL_STAGING, 0, F_SEAL_SHRINK),
			       staging_make(CHANNEL_STAGING, 0, F_SEAL_GROW),
			       staging_make(CHANNEL_STAGING, 0, SEALS | F_SEAL_WRITE),
			       staging_make(CHANNEL_STAGING - 4096, 0, SEALS),
			       staging_make(CHANNEL_STAGING + 4096, 0, SEALS),
			       staging_make(0, 0, SEALS), open("/dev/null", O_RDWR | O_CLOEXEC),
			       open(world.cache_path[0], O_RDWR | O_CLOEXEC),
			       /* of huge pages, which may run out */
			       staging_make(ROUND_UP(CHANNEL_STAGING, 2 * MIB), MFD_HUGETLB, 0)};
	ck_assert_int_eq(pipe(pipes), 0);
	for (unsigned i = 0; i < ARRAY_LEN(fds); i++)
		ck_assert_int_eq(raw_connect_with(&r, 50 + i, 0, fds[i]), -1);
	ck_assert_int_eq(raw_connect_with(&r, 49, 0, pipes[0]), -1);
	for (unsigned i = 0; i < ARRAY_LEN(fds); i++)
		if (fds[i] >= 0)
			close(fds[i]);
	close(pipes[0]);
	close(pipes[1]);
	survivor(arg);
}

START_TEST(staging_memory_that_may_shrink_is_refused)
{
	run_both(staging_refused);
}
END_TEST

/* An epoch from far ahead would leave none for those that come after. */
static void epochs_claimed(void *arg)
{
	struct raw r = {0};
	int fd = staging_make(CHANNEL_STAGING, 0, SEALS);
	ck_assert_int_eq(raw_connect_with(&r, 1, UINT64_MAX, fd), -1);
	ck_assert_int_eq(raw_connect_with(&r, 1, UINT64_MAX - 1, fd), -1);
	ck_assert_int_eq(raw_connect(&r, 2), 0);
	uint64_t epoch = r.epoch;
	raw_close(&r);
	/* One that claims to have been there before, under an older epoch or the very same. */
	ck_assert_int_eq(raw_connect_with(&r, 3, epoch - 1, fd), -1);
	ck_assert_int_eq(raw_connect_with(&r, 3, epoch, fd), -1);
	ck_assert_int_eq(raw_connect(&r, 2), 0);
	ck_assert_uint_eq(r.epoch, epoch);
	raw_close(&r);
	close(fd);
	survivor(arg);
}

START_TEST(an_epoch_is_not_what_a_head_says)
{
	run_both(epochs_claimed);
}
END_TEST

/* Who may not write the file gets no way to by the descriptor either. */
static void reopen_as_nobody(int fd)
{
	char path[64];
	pid_t pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		if (setgid(65534) || setuid(65534))
			_exit(2);
		_exit(open(path, O_RDWR) < 0 && errno == EACCES ? 0 : 1);
	}
	int status;
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
}

static void cache_descriptor(void *arg)
{
	struct raw r = {0};
	ck_assert_int_eq(raw_connect(&r, 1), 0);
	int fd = r.fds[1];
	ck_assert_int_eq(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
	ck_assert_int_eq(ftruncate(fd, 0), -1);
	ck_assert_int_eq(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096), -1);
	ck_assert_ptr_eq(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
	void *p = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
	ck_assert_ptr_ne(p, MAP_FAILED);
	ck_assert_int_eq(mprotect(p, 4096, PROT_READ | PROT_WRITE), -1);
	munmap(p, 4096);
	if (FORKS && geteuid() == 0)
		reopen_as_nobody(fd);
	raw_close(&r);
	survivor(arg);
}

START_TEST(the_cache_cannot_be_written_through_its_descriptor)
{
	run_both(cache_descriptor);
}
END_TEST

/* One request, and its answer. */
static int raw_request(struct raw *r, struct channel_sqe q)
{
	static const uint64_t one = 1;
	struct channel_geometry geo = channel_geometry(0);
	struct channel_head *h = (struct channel_head *)r->base;
	uint32_t n = atomic_load(&h->sq_tail);
	q.epoch = r->epoch;
	((struct channel_sqe *)(r->base + geo.sq_off))[n % CHANNEL_ENTRIES] = q;
	atomic_store(&h->sq_tail, n + 1);
	ck_assert_int_eq(write(r->fds[2], &one, sizeof(one)), sizeof(one));
	while (atomic_load(&h->cq_tail) != n + 1)
		env_sleep_ns(env_real(), NS_PER_MS);
	atomic_store(&h->cq_head, n + 1);
	return ((struct channel_cqe *)(r->base + geo.cq_off))[n % CHANNEL_ENTRIES].res;
}

/*
 * A volume went away and came back. What was sent under the first ownership may have been carried
 * out by the other controller meanwhile: it is too late here, whatever it is.
 */
static void too_late(void *arg)
{
	static const uint8_t ops[] = {CHANNEL_READ, CHANNEL_WRITE, CHANNEL_FLUSH, CHANNEL_DISCARD,
				      CHANNEL_READ_COPY};
	struct raw r = {0};
	ck_assert_int_eq(raw_connect(&r, 1), 0);
	raw_open_wait(&r);
	for (unsigned i = 0; i < ARRAY_LEN(ops); i++) {
		struct channel_sqe q = {
		    .op = ops[i], .volume = 1, .len = 4096, .owner_epoch = 2 * i + 1};
		ck_assert_int_eq(raw_request(&r, q), 0);
		fake_move(&world, 1, 1, false);
		ck_assert_int_eq(raw_request(&r, q), -ERR_NOT_OWNER);
		fake_move(&world, 1, 0, false);
		q.flags = i == 1 ? CHANNEL_FUA : 0;
		for (q.owner_epoch = 2 * i + 1; q.owner_epoch < 2 * i + 3; q.owner_epoch++)
			ck_assert_int_eq(raw_request(&r, q), -ERR_NOT_OWNER);
		ck_assert_int_eq(raw_request(&r, q), 0);
	}
	raw_close(&r);
	survivor(arg);
}

START_TEST(what_comes_after_its_ownership_is_too_late)
{
	struct fake_server *other = fake_server_start(&world, 1);
	run_both(too_late);
	fake_server_stop(other);
}
END_TEST

/* A head of before there were two controllers: told so, and closed. */
static void old_version(void *arg)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	Isthmus__ChannelMsg m = ISTHMUS__CHANNEL_MSG__INIT, *answer;
	Isthmus__ChannelHello hello = ISTHMUS__CHANNEL_HELLO__INIT;
	uint8_t buf[256];
	struct channel_sock *sock;
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	strcpy(sa.sun_path, world.socket[0]);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	ck_assert_int_eq(channel_sock_new(&sock, client, fd), 0);
	m.version = 1;
	m.body_case = ISTHMUS__CHANNEL_MSG__BODY_HELLO;
	m.hello = &hello;
	hello.head = "h1";
	hello.group = "g1";
	hello.instance = 1;
	size_t n = isthmus__channel_msg__pack(&m, buf);
	ck_assert_int_eq(send(fd, buf, n, 0), n);
	ck_assert_int_eq(channel_sock_recv(sock, 0, &answer, NULL), 0);
	ck_assert_int_eq(answer->body_case, ISTHMUS__CHANNEL_MSG__BODY_ERROR);
	ck_assert_int_eq(answer->error->code, -ERR_VERSION);
	isthmus__channel_msg__free_unpacked(answer, NULL);
	channel_sock_free(sock);
	survivor(arg);
}

START_TEST(an_old_version_is_refused)
{
	run_both(old_version);
}
END_TEST

static void add(TCase *tc)
{
	tcase_add_test(tc, a_segment_that_shrinks_harms_only_its_head);
	tcase_add_test(tc, a_segment_with_holes_harms_nobody);
	tcase_add_test(tc, instances_are_bounded);
	tcase_add_test(tc, staging_memory_that_may_shrink_is_refused);
	tcase_add_test(tc, an_epoch_is_not_what_a_head_says);
	tcase_add_test(tc, what_comes_after_its_ownership_is_too_late);
	tcase_add_test(tc, an_old_version_is_refused);
	tcase_add_test(tc, the_cache_cannot_be_written_through_its_descriptor);
	tcase_add_loop_test(tc, a_hostile_head_harms_only_itself, 0, 4);
}

int main(void)
{
	return run_suite("channel_hostile", add);
}
