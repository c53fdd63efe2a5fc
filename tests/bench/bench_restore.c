/*
 * bench_restore CLIENTS OPENS LOCKS: what it takes a head to have again what so many clients had:
 * reading the region, and NFSv4's clients, sessions, opens and locks from its records. One file has
 * a hundredth of the locks. A volume in memory.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "nasfront/head.h"
#include "nasfront/nfs/nlm.h"
#include "nasfront/nfs4/nfs4.h"
#include "nasfront/piv/ledger.h"
#include "nasfront/piv/piv_layout.h"
#include "runtime/bdev.h"
#include "runtime/bytes.h"
#include "runtime/check.h"
#include "tests/unit/nfs/nas_world.h"

#define VOLUME (2300ull << 20)

static struct head h;
static unsigned nclients, nopens, nlocks;

/* CPU time: the machine may have other work. */
static double now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static int64_t put(void *arg, const void *key, size_t key_len, const void *value, size_t len)
{
	int rc = ledger_put(h.ledger, key, key_len, value, len);
	if (rc) {
		fprintf(stderr, "bench_restore: no room for so many: %d\n", rc);
		exit(1);
	}
	return 0;
}

static int64_t drop(void *arg, const void *key, size_t key_len)
{
	ledger_drop(h.ledger, key, key_len);
	return 0;
}

static void sync_all(void *arg)
{
	ASSERT(ledger_sync(h.ledger) == 0);
}

static struct store_room room(void *arg)
{
	return (struct store_room){UINT64_MAX, UINT64_MAX, UINT64_MAX};
}

static ProtobufCBinaryData bytes_of(const void *p, size_t len)
{
	return (ProtobufCBinaryData){.data = (uint8_t *)p, .len = len};
}

/* ---- records ---- */

static void put_server(void)
{
	static const uint8_t key[16] = {1};
	Isthmus__StateRecord r = ISTHMUS__STATE_RECORD__INIT;
	Isthmus__StateServer s = ISTHMUS__STATE_SERVER__INIT;
	struct store_key k;
	store_key_begin(&k, STORE_SERVER);
	s.hash_key = bytes_of(key, sizeof(key));
	r.body_case = ISTHMUS__STATE_RECORD__BODY_SERVER;
	r.server = &s;
	store_put(&h.store, &k, &r, NULL);
}

static uint64_t id_of(unsigned i)
{
	return 77ull << 32 | (i + 1);
}

static void put_client(unsigned i)
{
	uint8_t owner[48] = {0}, zeros[8] = {0}, session[16] = {0};
	Isthmus__StateRecord r = ISTHMUS__STATE_RECORD__INIT, q = ISTHMUS__STATE_RECORD__INIT;
	Isthmus__StateClient c = ISTHMUS__STATE_CLIENT__INIT;
	Isthmus__StateSession s = ISTHMUS__STATE_SESSION__INIT;
	struct store_key k;
	be32_put(owner, i);
	c.id = id_of(i);
	c.owner = bytes_of(owner, sizeof(owner));
	c.verifier = c.confirm = bytes_of(zeros, sizeof(zeros));
	c.address = "192.0.2.1";
	c.reclaim_done = true;
	c.create_seq = 2;
	r.body_case = ISTHMUS__STATE_RECORD__BODY_CLIENT;
	r.client = &c;
	store_key_begin(&k, STORE_CLIENT);
	store_key_u64(&k, c.id);
	store_put(&h.store, &k, &r, NULL);
	be32_put(session, i);
	be32_put(session + 8, i);
	s.id = bytes_of(session, sizeof(session));
	s.client = c.id;
	s.max_request = s.max_reply = 1 << 20;
	s.max_kept = 2048;
	s.max_ops = 64;
	s.slots = 16;
	q.body_case = ISTHMUS__STATE_RECORD__BODY_SESSION;
	q.session = &s;
	store_key_begin(&k, STORE_SESSION);
	store_key_bytes(&k, session, sizeof(session));
	store_put(&h.store, &k, &q, NULL);
}

static void put_open(unsigned i)
{
	uint8_t owner[21] = {1};
	Isthmus__StateRecord r = ISTHMUS__STATE_RECORD__INIT;
	Isthmus__StateOpen o = ISTHMUS__STATE_OPEN__INIT;
	Isthmus__StateFile f = ISTHMUS__STATE_FILE__INIT;
	struct store_key k;
	be32_put(owner + 1, i / nclients % 4);
	f.fs = NAS_FS_ID;
	f.ino = 1000 + i;
	f.generation = 1;
	o.index = i;
	o.boot = 77;
	o.seq = 1;
	o.client = id_of(i % nclients);
	o.owner = bytes_of(owner, sizeof(owner));
	o.file = &f;
	o.access = 3;
	o.opened = 8;
	r.body_case = ISTHMUS__STATE_RECORD__BODY_OPEN;
	r.open = &o;
	store_key_begin(&k, STORE_OPEN);
	store_key_u32(&k, i);
	store_put(&h.store, &k, &r, NULL);
}

static void put_lock(unsigned i)
{
	uint8_t owner[21] = {2}, client[9] = {STORE_CLIENT};
	Isthmus__StateRecord r = ISTHMUS__STATE_RECORD__INIT;
	Isthmus__StateLock l = ISTHMUS__STATE_LOCK__INIT;
	Isthmus__StateFile f = ISTHMUS__STATE_FILE__INIT;
	struct store_key k;
	be64_put(client + 1, id_of(i % nclients));
	f.fs = NAS_FS_ID;
	f.ino = 1000 + i % 100;
	f.generation = 1;
	l.id = i + 1;
	l.client = bytes_of(client, sizeof(client));
	l.owner = bytes_of(owner, sizeof(owner));
	l.file = &f;
	l.exclusive = true;
	l.first = 10ull * i;
	l.last = l.first + 4;
	r.body_case = ISTHMUS__STATE_RECORD__BODY_LOCK;
	r.lock = &l;
	store_key_begin(&k, STORE_LOCK);
	store_key_u64(&k, l.id);
	store_put(&h.store, &k, &r, NULL);
}

/* ---- the measurement ---- */

static struct bdev *volume;

static void restore(struct nas *n)
{
	struct ledger_opts o = {
	    .env = env_real(), .main = volume, .group_id = 1, .service = "bench"};
	struct ledger_stats s;
	struct nlm_status st;
	unsigned clients = 0;
	struct piv_header header;
	ASSERT(piv_format(volume, 1, &header) == 0);
	ASSERT(ledger_open(&h.ledger, &o) == 0);
	put_server();
	for (unsigned i = 0; i < nclients; i++)
		put_client(i);
	for (unsigned i = 0; i < nopens; i++)
		put_open(i);
	for (unsigned i = 0; i < nlocks; i++)
		put_lock(i);
	ASSERT(ledger_close(h.ledger) == 0);
	double start = now_ms();
	ASSERT(ledger_open(&h.ledger, &o) == 0);
	double opened = now_ms();
	ASSERT(head_records_read(&h) == 0);
	double read = now_ms();
	ASSERT(nlm_keep_in(n->nlm, &h.store) == 0);
	ASSERT(nfs4_keep_in(n->nfs4, &h.store, &clients) == 0);
	double end = now_ms();
	head_records_free(&h);
	ledger_get_stats(h.ledger, &s);
	nlm_status(n->nlm, &st);
	ASSERT(clients == nclients && st.locks.locks == nlocks && st.locks.shares == nopens);
	printf("clients %u opens %u locks %u, %.1f MiB: %.0f ms of CPU (region read %.0f, records "
	       "taken "
	       "apart %.0f, had again %.0f)\n",
	       nclients, nopens, nlocks, (double)s.live_bytes / (1 << 20), end - start,
	       opened - start, read - opened, end - read);
}

int main(int argc, char **argv)
{
	static struct nas nas;
	if (argc != 4) {
		fprintf(stderr, "usage: bench_restore CLIENTS OPENS LOCKS\n");
		return 2;
	}
	nclients = (unsigned)atoi(argv[1]);
	nopens = (unsigned)atoi(argv[2]);
	nlocks = (unsigned)atoi(argv[3]);
	h.store = (struct store){.put = put,
				 .drop = drop,
				 .sync = sync_all,
				 .room = room,
				 .each = head_records_each,
				 .arg = &h};
	volume = mem_bdev_new(VOLUME, NULL);
	nas_up(&nas);
	nas_serve4(&nas);
	nas_run(&nas, restore);
	/* The process ends: nothing is taken down in order. */
	fflush(stdout);
	_Exit(0);
}
