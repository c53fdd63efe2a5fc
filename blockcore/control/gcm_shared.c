/*
 * Global control memory in a segment that the controllers of one host share (gcm.h).
 *
 * Layout, little-endian, every field an atomic 64-bit word; zeros are a valid
 * empty map, so formatting is one store of version and magic:
 *
 *   0     magic, version, size
 *   64    right to the metadata: holder, sequence of the last change; 16 random bytes; right to
 *         end another controller: holder
 *   128   struct controller_slot[GCM_CONTROLLERS]
 *         struct pool_slot[GCM_POOLS]
 *
 * Claims. A controller's slot belongs to the name whose hash is in `id`; a pool's to the uuid
 * whose first half is in `lo`. Both are taken by compare-and-swap from 0 and never given back; the
 * rest of the slot's identity is the same whoever writes it, so that who dies between the
 * two stores leaves what the next completes.
 *
 * A process is one word (number and start), so that joining is one compare-and-swap.
 *
 * The right to the metadata: 0 free; FREE_UNKNOWN free, but its last holder died with it, so what
 * the sequence says is not to be trusted; else index + 1 and the holder's incarnation. The right to
 * end another: 0 or the same.
 *
 * Nothing that is read is trusted to be in range: another process can write here.
 */
#include "blockcore/control/gcm.h"
#include "runtime/check.h"
#include "runtime/env.h"
#include "runtime/err.h"
#include "runtime/log.h"
#include "runtime/process.h"
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GCM_SHARED_MAGIC 0x67636d73
#define NAME_WORDS	 4 /* 32 bytes */
#define INCARNATION_MASK ((1ull << 56) - 1)
#define FREE_UNKNOWN	 1ull /* index 0: nobody's */
#define PID_BITS	 22   /* PID_MAX_LIMIT */

struct controller_slot {
	_Atomic uint64_t id;
	_Atomic uint64_t name[NAME_WORDS];
	_Atomic uint64_t process; /* started << PID_BITS | pid; 0: none */
	_Atomic uint64_t incarnation, state, beat_ns;
	uint64_t reserved[7];
};
_Static_assert(sizeof(struct controller_slot) == 128, "two cache lines");

/* Word of a pool: epoch in bits 16 to 63, then flags, then the owner's index. */
#define WORD_MIRRORED (1ull << 8)
#define WORD_MOVING   (1ull << 9)
#define WORD_STORED   (1ull << 10)
#define WORD_HELD     (1ull << 11)
#define WORD_SPARE    0xf000ull
#define EPOCH_MAX     ((1ull << 48) - 1)

struct pool_slot {
	_Atomic uint64_t lo, hi; /* uuid */
	_Atomic uint64_t word;
	_Atomic uint64_t memory;
};
_Static_assert(sizeof(struct pool_slot) == 32, "two in a cache line");

struct segment {
	_Atomic uint64_t magic, version, size;
	uint64_t reserved0[5];
	_Atomic uint64_t meta_holder, meta_seq;
	_Atomic uint64_t id[2];
	_Atomic uint64_t end_holder;
	uint64_t reserved1[3];
	struct controller_slot controllers[GCM_CONTROLLERS];
	struct pool_slot pools[GCM_POOLS];
};
_Static_assert(offsetof(struct segment, controllers) == 128, "layout");

struct gcm_shared {
	struct gcm g;
	uint32_t magic;
	struct env *env;
	struct segment *s;
	uint64_t incarnation;
	uint64_t process;
	bool (*alive)(void *arg, int32_t pid, uint64_t started);
	int (*kill)(void *arg, int32_t pid, uint64_t started);
	void *alive_arg;
};

static struct gcm_shared *shared_of(struct gcm *g)
{
	struct gcm_shared *m = container_of(g, struct gcm_shared, g);
	CHECK(m, GCM_SHARED_MAGIC);
	return m;
}

size_t gcm_shared_size(void)
{
	return ROUND_UP(sizeof(struct segment), 4096);
}

/* ---- words ---- */

static uint64_t pack(const struct gcm_owner *o)
{
	return o->epoch << 16 | (o->mirrored ? WORD_MIRRORED : 0) | (o->moving ? WORD_MOVING : 0) |
	       (o->stored ? WORD_STORED : 0) | (o->held ? WORD_HELD : 0) | o->controller;
}

static struct gcm_owner unpack(uint64_t w)
{
	struct gcm_owner o = {.epoch = w >> 16,
			      .controller = (uint8_t)w,
			      .mirrored = w & WORD_MIRRORED,
			      .moving = w & WORD_MOVING,
			      .stored = w & WORD_STORED,
			      .held = w & WORD_HELD};
	if (o.controller >= GCM_CONTROLLERS)
		o.controller = GCM_NOBODY;
	return o;
}

static uint64_t process_word(int32_t pid, uint64_t started)
{
	return started << PID_BITS | ((uint64_t)(uint32_t)pid & ((1u << PID_BITS) - 1));
}

static int32_t process_pid(uint64_t w)
{
	return (int32_t)(w & ((1u << PID_BITS) - 1));
}

/* FNV-1a, and never 0. */
static uint64_t name_hash(const char *name)
{
	uint64_t h = 0xcbf29ce484222325ull;
	for (; *name; name++)
		h = (h ^ (uint8_t)*name) * 0x100000001b3ull;
	return h ? h : 1;
}

static void name_words(const char *name, uint64_t ret[NAME_WORDS])
{
	char text[NAME_WORDS * 8] = "";
	memcpy(text, name, strlen(name)); /* checked: shorter */
	memcpy(ret, text, sizeof(text));
}

/* False: not written whole, or not what it says. */
static bool read_name(const struct controller_slot *c, char ret[NAME_WORDS * 8])
{
	uint64_t w[NAME_WORDS];
	for (unsigned i = 0; i < NAME_WORDS; i++)
		w[i] = atomic_load(&c->name[i]);
	memcpy(ret, w, sizeof(w));
	return ret[sizeof(w) - 1] == '\0' && ret[0] && name_hash(ret) == atomic_load(&c->id);
}

static bool real_alive(void *arg, int32_t pid, uint64_t started)
{
	return started != 0 && (process_started(pid) & (UINT64_MAX >> PID_BITS)) == started;
}

static int real_kill(void *arg, int32_t pid, uint64_t started)
{
	return process_kill(pid, started);
}

static bool alive(struct gcm_shared *m, uint64_t process)
{
	return process && m->alive(m->alive_arg, process_pid(process), process >> PID_BITS);
}

/* ---- pools ---- */

static void uuid_words(const uint8_t pool[16], uint64_t *lo, uint64_t *hi)
{
	memcpy(lo, pool, 8);
	memcpy(hi, pool + 8, 8);
}

static struct pool_slot *find_pool(struct gcm_shared *m, const uint8_t pool[16])
{
	uint64_t lo, hi;
	uuid_words(pool, &lo, &hi);
	for (unsigned i = 0; i < GCM_POOLS; i++) {
		struct pool_slot *p = &m->s->pools[i];
		uint64_t at = atomic_load(&p->lo);
		if (at == 0)
			return NULL; /* slots are taken in order */
		if (at == lo && atomic_load(&p->hi) == hi)
			return p;
	}
	return NULL;
}

static int enter_pool(struct gcm_shared *m, const uint8_t pool[16], struct pool_slot **ret)
{
	uint64_t lo, hi;
	uuid_words(pool, &lo, &hi);
	if (lo == 0 || hi == 0)
		return -EINVAL;
	for (unsigned i = 0; i < GCM_POOLS; i++) {
		struct pool_slot *p = &m->s->pools[i];
		uint64_t was = 0;
		if (!atomic_compare_exchange_strong(&p->lo, &was, lo) && was != lo)
			continue;
		was = 0;
		if (!atomic_compare_exchange_strong(&p->hi, &was, hi) && was != hi)
			continue;
		*ret = p;
		return 0;
	}
	return -ENOSPC;
}

static bool shared_owner(struct gcm *g, const uint8_t pool[16], struct gcm_owner *ret)
{
	const struct pool_slot *p = find_pool(shared_of(g), pool);
	uint64_t w = p ? atomic_load(&p->word) : 0;
	if (w == 0)
		return false;
	*ret = unpack(w);
	return true;
}

static int shared_set_owner(struct gcm *g, const uint8_t pool[16], struct gcm_owner *was,
			    const struct gcm_owner *now)
{
	struct gcm_shared *m = shared_of(g);
	struct pool_slot *p = find_pool(m, pool);
	if (now->epoch == 0 || now->epoch > EPOCH_MAX || now->epoch < was->epoch ||
	    (now->controller >= GCM_CONTROLLERS && now->controller != GCM_NOBODY))
		return -EINVAL;
	if (!p && was->epoch) {
		*was = (struct gcm_owner){.controller = GCM_NOBODY};
		return -ERR_EPOCH_STALE;
	}
	int rc = p ? 0 : enter_pool(m, pool, &p);
	if (rc)
		return rc;
	uint64_t old = was->epoch ? pack(was) : 0;
	if (atomic_compare_exchange_strong(&p->word, &old, pack(now)))
		return 0;
	*was = unpack(old);
	return -ERR_EPOCH_STALE;
}

static uint64_t shared_memory(struct gcm *g, const uint8_t pool[16])
{
	const struct pool_slot *p = find_pool(shared_of(g), pool);
	return p ? atomic_load(&p->memory) : 0;
}

static int shared_set_memory(struct gcm *g, const uint8_t pool[16], uint64_t memory)
{
	struct pool_slot *p = find_pool(shared_of(g), pool);
	if (!p)
		return -ENOENT;
	atomic_store(&p->memory, memory);
	return 0;
}

bool gcm_owns(struct gcm *g, const uint8_t pool[16])
{
	struct gcm_owner o;
	return g->ops->owner(g, pool, &o) && o.controller == g->self && !o.moving;
}

/* ---- the right to the metadata ---- */

static uint64_t holder_word(uint8_t index, uint64_t incarnation)
{
	return (uint64_t)(index + 1) << 56 | (incarnation & INCARNATION_MASK);
}

static bool holder_lives(struct gcm_shared *m, uint64_t holder)
{
	uint64_t index = (holder >> 56) - 1;
	if (holder >> 56 == 0 || index >= GCM_CONTROLLERS)
		return false;
	const struct controller_slot *c = &m->s->controllers[index];
	return (atomic_load(&c->incarnation) & INCARNATION_MASK) == (holder & INCARNATION_MASK) &&
	       alive(m, atomic_load(&c->process));
}

/* Of one that lives. */
static bool holder_beats(struct gcm_shared *m, uint64_t holder, uint64_t silent_ns)
{
	const struct controller_slot *c = &m->s->controllers[(holder >> 56) - 1];
	return env_now_ns(m->env) < atomic_load(&c->beat_ns) + silent_ns;
}

static int shared_meta_lock(struct gcm *g, uint64_t *ret_seq)
{
	struct gcm_shared *m = shared_of(g);
	uint64_t mine = holder_word(g->self, m->incarnation);
	uint64_t was = atomic_load(&m->s->meta_holder);
	for (;;) {
		if (was == mine || holder_lives(m, was))
			return -EBUSY;
		if (atomic_compare_exchange_strong(&m->s->meta_holder, &was, mine))
			break;
	}
	*ret_seq = was ? GCM_SEQ_UNKNOWN : atomic_load(&m->s->meta_seq);
	return 0;
}

static void shared_meta_unlock(struct gcm *g, uint64_t seq)
{
	struct gcm_shared *m = shared_of(g);
	uint64_t mine = holder_word(g->self, m->incarnation);
	ASSERT(atomic_load(&m->s->meta_holder) == mine);
	atomic_store(&m->s->meta_seq, seq);
	atomic_compare_exchange_strong(&m->s->meta_holder, &mine, 0);
}

/* ---- controllers ---- */

static int take_slot(struct gcm_shared *m, const char *name)
{
	uint64_t id = name_hash(name), words[NAME_WORDS];
	name_words(name, words);
	for (unsigned i = 0; i < GCM_CONTROLLERS; i++) {
		struct controller_slot *c = &m->s->controllers[i];
		uint64_t was = 0;
		if (!atomic_compare_exchange_strong(&c->id, &was, id) && was != id)
			continue;
		for (unsigned w = 0; w < NAME_WORDS; w++)
			atomic_store(&c->name[w], words[w]);
		return (int)i;
	}
	return -ENOSPC;
}

static int join(struct gcm_shared *m)
{
	struct controller_slot *c = &m->s->controllers[m->g.self];
	uint64_t was = atomic_load(&c->process);
	do {
		if (alive(m, was))
			return -EBUSY;
	} while (!atomic_compare_exchange_strong(&c->process, &was, m->process));
	atomic_store(&c->incarnation, m->incarnation);
	atomic_store(&c->beat_ns, env_now_ns(m->env));
	atomic_store(&c->state, GCM_STARTING);
	return 0;
}

void gcm_set_state(struct gcm *g, enum gcm_state s)
{
	struct gcm_shared *m = shared_of(g);
	atomic_store(&m->s->controllers[g->self].state, s);
}

bool gcm_controller(struct gcm *g, uint8_t index, struct gcm_controller *ret)
{
	struct gcm_shared *m = shared_of(g);
	if (index >= GCM_CONTROLLERS)
		return false;
	const struct controller_slot *c = &m->s->controllers[index];
	_Static_assert(sizeof(ret->name) == NAME_WORDS * 8, "a name's words");
	if (atomic_load(&c->id) == 0 || !read_name(c, ret->name))
		return false;
	uint64_t state = atomic_load(&c->state), process = atomic_load(&c->process);
	ret->state = state <= GCM_LEAVING ? (enum gcm_state)state : GCM_DOWN;
	ret->incarnation = atomic_load(&c->incarnation);
	ret->pid = process_pid(process);
	ret->pid_started = process >> PID_BITS;
	ret->beat_ns = atomic_load(&c->beat_ns);
	ret->alive = alive(m, process);
	return true;
}

int gcm_index(struct gcm *g, const char *name)
{
	struct gcm_controller c;
	for (unsigned i = 0; i < GCM_CONTROLLERS; i++)
		if (gcm_controller(g, (uint8_t)i, &c) && strcmp(c.name, name) == 0)
			return (int)i;
	return -ENOENT;
}

void gcm_beat(struct gcm *g)
{
	struct gcm_shared *m = shared_of(g);
	atomic_store_explicit(&m->s->controllers[g->self].beat_ns, env_now_ns(m->env),
			      memory_order_relaxed);
}

int gcm_end(struct gcm *g, uint8_t index, uint64_t incarnation)
{
	struct gcm_shared *m = shared_of(g);
	if (index >= GCM_CONTROLLERS || index == g->self || !incarnation)
		return -EINVAL;
	const struct controller_slot *c = &m->s->controllers[index];
	uint64_t process = atomic_load(&c->process);
	/* A successor joins only when that one is gone. */
	if (atomic_load(&c->incarnation) != incarnation || !alive(m, process))
		return 0;
	int rc = m->kill(m->alive_arg, process_pid(process), process >> PID_BITS);
	return rc ? rc : alive(m, process) ? -EAGAIN : 0;
}

int gcm_end_lock(struct gcm *g, uint64_t silent_ns)
{
	struct gcm_shared *m = shared_of(g);
	uint64_t mine = holder_word(g->self, m->incarnation);
	uint64_t was = atomic_load(&m->s->end_holder);
	for (;;) {
		if (was == mine)
			return 0;
		if (holder_lives(m, was) && holder_beats(m, was, silent_ns))
			return -EBUSY;
		if (atomic_compare_exchange_strong(&m->s->end_holder, &was, mine))
			return 0;
	}
}

void gcm_end_unlock(struct gcm *g)
{
	struct gcm_shared *m = shared_of(g);
	uint64_t mine = holder_word(g->self, m->incarnation);
	atomic_compare_exchange_strong(&m->s->end_holder, &mine, 0);
}

void gcm_forget(struct gcm *g, uint8_t index)
{
	struct gcm_shared *m = shared_of(g);
	ASSERT(index < GCM_CONTROLLERS);
	struct controller_slot *c = &m->s->controllers[index];
	uint64_t was = atomic_load(&m->s->meta_holder), process = atomic_load(&c->process);
	/* Its successor may have joined by now, and have the right: that is another's. */
	if (!alive(m, process) && atomic_compare_exchange_strong(&c->process, &process, 0))
		atomic_store(&c->state, GCM_DOWN);
	while (was >> 56 == (uint64_t)index + 1 && !holder_lives(m, was) &&
	       !atomic_compare_exchange_strong(&m->s->meta_holder, &was, FREE_UNKNOWN))
		;
}

/* ---- opening ---- */

static void shared_close(struct gcm *g)
{
	struct gcm_shared *m = shared_of(g);
	uint64_t process = m->process;
	struct controller_slot *c = &m->s->controllers[g->self];
	/* Who was forgotten, and perhaps started anew elsewhere, leaves nothing. */
	if (atomic_load(&c->incarnation) == m->incarnation &&
	    atomic_compare_exchange_strong(&c->process, &process, 0))
		atomic_store(&c->state, GCM_DOWN);
	m->magic = 0;
	free(m);
}

static const struct gcm_ops shared_ops = {
    .owner = shared_owner,
    .set_owner = shared_set_owner,
    .memory = shared_memory,
    .set_memory = shared_set_memory,
    .meta_lock = shared_meta_lock,
    .meta_unlock = shared_meta_unlock,
    .close = shared_close,
};

static int refuse(const char *what, unsigned i)
{
	event_write(LOG_L_ERROR, "control.damaged",
		    "the control segment is not used: %s %u makes no sense; stop both "
		    "controllers, remove control.seg in memory_dir and start them",
		    what, i);
	return -ERR_CORRUPT;
}

static int check_pools(const struct segment *s)
{
	for (unsigned i = 0; i < GCM_POOLS; i++) {
		const struct pool_slot *p = &s->pools[i];
		uint64_t w = atomic_load(&p->word);
		uint8_t owner = (uint8_t)w;
		/* Slots are taken in order; this one a moment ago, perhaps. */
		if (i > 0 && atomic_load(&p->lo) && !atomic_load(&s->pools[i - 1].lo))
			return refuse("pool", i);
		if (w == 0)
			continue;
		if (atomic_load(&p->lo) == 0)
			return refuse("pool", i);
		if (w >> 16 == 0 || (w & WORD_SPARE) || atomic_load(&p->hi) == 0 ||
		    (owner != GCM_NOBODY &&
		     (owner >= GCM_CONTROLLERS || atomic_load(&s->controllers[owner].id) == 0)))
			return refuse("pool", i);
	}
	return 0;
}

static int check_controllers(const struct segment *s)
{
	for (unsigned i = 0; i < GCM_CONTROLLERS; i++) {
		const struct controller_slot *c = &s->controllers[i];
		char name[NAME_WORDS * 8];
		uint64_t joined = atomic_load(&c->process) | atomic_load(&c->incarnation);
		if (atomic_load(&c->id) == 0) {
			if (joined)
				return refuse("controller", i);
			continue;
		}
		if (i > 0 && atomic_load(&s->controllers[i - 1].id) == 0)
			return refuse("controller", i);
		/* Who has joined has written its name before. */
		if (atomic_load(&c->state) > GCM_LEAVING ||
		    (atomic_load(&c->incarnation) && !read_name(c, name)))
			return refuse("controller", i);
	}
	return 0;
}

static bool is_holder(uint64_t w)
{
	return w >> 56 != 0 && w >> 56 <= GCM_CONTROLLERS;
}

static int check_segment(const struct segment *s)
{
	uint64_t holder = atomic_load(&s->meta_holder), ends = atomic_load(&s->end_holder);
	if (atomic_load(&s->version) != GCM_VERSION) {
		event_write(LOG_L_ERROR, "control.version",
			    "the control segment has version %llu, this program knows %d; stop "
			    "both controllers, remove control.seg in memory_dir and start "
			    "them with the same version",
			    (unsigned long long)atomic_load(&s->version), GCM_VERSION);
		return -ERR_VERSION;
	}
	if (atomic_load(&s->size) != gcm_shared_size())
		return refuse("size", 0);
	if (holder != FREE_UNKNOWN && holder != 0 && !is_holder(holder))
		return refuse("holder of the metadata", (unsigned)(holder >> 56));
	if (ends != 0 && !is_holder(ends))
		return refuse("who ends another,", (unsigned)(ends >> 56));
	int rc = check_controllers(s);
	return rc ? rc : check_pools(s);
}

static bool all_zeros(const struct segment *s)
{
	const _Atomic uint64_t *w = &s->magic;
	for (size_t i = 0; i < sizeof(*s) / sizeof(*w); i++)
		if (atomic_load(&w[i]) && i != 1 && i != 2) /* another is formatting it */
			return false;
	return true;
}

/* Size and version before the magic; whoever else formats it stores the same. */
static int format(struct segment *s)
{
	uint64_t magic, was = 0;
	memcpy(&magic, GCM_MAGIC, sizeof(magic));
	if (atomic_load(&s->magic) == magic)
		return 0;
	if (atomic_load(&s->magic) || !all_zeros(s))
		return atomic_load(&s->magic) == magic ? 0 : refuse("magic", 0);
	atomic_store(&s->version, GCM_VERSION);
	atomic_store(&s->size, gcm_shared_size());
	if (atomic_compare_exchange_strong(&s->magic, &was, magic) || was == magic)
		return 0;
	return refuse("magic", 0);
}

/* Who comes first gives each word; a word is never 0 then. */
static void take_id(struct gcm_shared *m)
{
	uint64_t w[2];
	for (unsigned i = 0; i < 2; i++) {
		uint64_t was = 0, mine = env_random_u64(m->env) | 1;
		bool first = atomic_compare_exchange_strong(&m->s->id[i], &was, mine);
		w[i] = first ? mine : was;
	}
	_Static_assert(sizeof(w) == sizeof(m->g.id), "two words");
	memcpy(m->g.id, w, sizeof(w));
}

int gcm_shared_open_as(struct gcm **ret, const struct gcm_shared_opts *o)
{
	int rc = 0;
	if (o->size < gcm_shared_size() || (uintptr_t)o->segment % 64)
		return refuse("size", (unsigned)(o->size / 4096));
	if (!o->name[0] || strlen(o->name) >= NAME_WORDS * 8 || o->incarnation == 0 || o->pid <= 0)
		return -EINVAL;
	struct gcm_shared *m = calloc(1, sizeof(*m));
	if (!m)
		return -ENOMEM;
	*m = (struct gcm_shared){
	    .g = {.ops = &shared_ops},
	    .magic = GCM_SHARED_MAGIC,
	    .env = o->env,
	    .s = o->segment,
	    .incarnation = o->incarnation,
	    .process = process_word(o->pid, o->started),
	    .alive = o->alive ? o->alive : real_alive,
	    .kill = o->kill ? o->kill : real_kill,
	    .alive_arg = o->arg,
	};
	rc = format(m->s);
	if (rc == 0)
		rc = check_segment(m->s);
	int index = rc ? rc : take_slot(m, o->name);
	rc = index < 0 ? index : 0;
	if (rc == 0) {
		m->g.self = (uint8_t)index;
		take_id(m);
		rc = join(m);
	}
	if (rc) {
		free(m);
		return rc;
	}
	*ret = &m->g;
	return 0;
}

int gcm_shared_open(struct gcm **ret, struct env *env, void *segment, size_t size, const char *name,
		    uint64_t incarnation)
{
	int32_t pid = process_self();
	return gcm_shared_open_as(ret, &(struct gcm_shared_opts){.env = env,
								 .segment = segment,
								 .size = size,
								 .name = name,
								 .incarnation = incarnation,
								 .pid = pid,
								 .started = process_started(pid)});
}
