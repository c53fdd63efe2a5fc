/* Heads that keep to no rule: they harm themselves, never the controller or another head. */
#include <check.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "blockcore/channel/channel_layout.h"
#include "blockcore/channel/channel_sock.h"
#include "runtime/env.h"
#include "runtime/reactor.h"
#include "tests/unit/channel/channel_rig.h"

struct raw {
	struct channel_sock *sock;
	int fds[CHANNEL_FDS_MAX];
	uint8_t *base;
	struct channel_geometry geo;
	uint64_t epoch;
};

static int raw_connect(struct raw *r)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	Isthmus__ChannelMsg m = ISTHMUS__CHANNEL_MSG__INIT, *answer;
	Isthmus__ChannelHello hello = ISTHMUS__CHANNEL_HELLO__INIT;
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	strcpy(sa.sun_path, world.socket);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	ck_assert_int_eq(channel_sock_new(&r->sock, client, fd), 0);
	m.body_case = ISTHMUS__CHANNEL_MSG__BODY_HELLO;
	m.hello = &hello;
	hello.head = "h1";
	hello.group = "g1";
	hello.instance = 1 + rnd(2);
	ck_assert_int_eq(channel_sock_send(r->sock, &m, NULL, 0), 0);
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

static void raw_close(struct raw *r)
{
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
		if (raw_connect(&r))
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

static void add(TCase *tc)
{
	tcase_add_loop_test(tc, a_hostile_head_harms_only_itself, 0, 4);
}

int main(void)
{
	return run_suite("channel_hostile", add);
}
