/* See share_rig.h. */
#include "tests/unit/meta/share_rig.h"

const uint8_t array_uuid[16] = "array-uuid-here!";

struct side *other(struct side *s)
{
	return &s->w->side[!s->index];
}

/* ---- between the two ---- */

static bool alive(void *arg, int32_t pid, uint64_t started)
{
	struct world *w = arg;
	struct sim_node *n = w->side[pid - 1].node;
	return !sim_node_dead(n) && sim_node_life(n) == started;
}

static int op_lock(void *arg, uint64_t *ret_seq, bool *ret_broken, char *ret_holder)
{
	struct side *s = arg;
	if (sim_node_dead(s->node))
		return -EIO;
	int rc = s->gcm->ops->meta_lock(s->gcm, ret_seq);
	*ret_broken = rc == 0 && *ret_seq == GCM_SEQ_UNKNOWN;
	if (*ret_broken)
		*ret_seq = 0;
	snprintf(ret_holder, 64, "%s", other(s)->index ? "b" : "a");
	return rc;
}

static void op_unlock(void *arg, uint64_t seq)
{
	struct side *s = arg;
	s->gcm->ops->meta_unlock(s->gcm, seq); /* of a dead one: in a private copy */
}

struct message {
	struct side *to;
	enum meta_message type;
	uint8_t head[64], *data;
	uint32_t head_len, data_len;
	bool done;
	unsigned refs;
	int rc;
};

static void message_put(struct message *x)
{
	if (--x->refs)
		return;
	free(x->data);
	free(x);
}

static void deliver(void *arg)
{
	struct message *x = arg;
	x->rc = x->to->m
		    ? meta_share_take(x->to->m, x->type, x->head, x->head_len, x->data, x->data_len)
		    : -ERR_SHUTDOWN;
	if (x->type == META_NEWS && x->rc == 0)
		x->to->news++;
	x->done = true;
	message_put(x);
}

static struct message *post(struct side *from, enum meta_message type, const void *head,
			    uint32_t head_len, const void *data, uint32_t data_len)
{
	struct message *x = calloc(1, sizeof(*x));
	x->to = other(from);
	x->type = type;
	x->refs = 2;
	x->head_len = head_len;
	x->data_len = data_len;
	if (head_len)
		memcpy(x->head, head, head_len);
	x->data = malloc(data_len + 1);
	if (data_len)
		memcpy(x->data, data, data_len);
	sim_node_start(x->to->node, deliver, x);
	return x;
}

static bool reachable(struct side *s)
{
	return !sim_node_dead(s->node) && !sim_node_dead(other(s)->node) && other(s)->m;
}

static int op_call(void *arg, enum meta_message type, const void *head, uint32_t head_len,
		   const void *data, uint32_t data_len)
{
	struct side *s = arg;
	struct env *env = sim_node_env(s->node);
	uint64_t life = sim_node_life(other(s)->node);
	if (!reachable(s))
		return -ERR_DISCONNECTED;
	env_sleep_ns(env, 20 * NS_PER_US);
	if (!reachable(s))
		return -ERR_DISCONNECTED;
	if (other(s)->deaf)
		return -ETIMEDOUT;
	struct message *x = post(s, type, head, head_len, data, data_len);
	while (!x->done && reachable(s) && sim_node_life(other(s)->node) == life)
		env_sleep_ns(env, 10 * NS_PER_US);
	int rc = x->done && reachable(s) ? x->rc : -ERR_DISCONNECTED;
	message_put(x);
	return rc;
}

static void op_send(void *arg, enum meta_message type)
{
	struct side *s = arg;
	if (reachable(s))
		message_put(post(s, type, NULL, 0, NULL, 0));
}

static const struct meta_share_ops direct = {
    .lock = op_lock, .unlock = op_unlock, .call = op_call, .send = op_send};

/* ---- a side ---- */

static void on_failed(void *arg, struct disk *d, int err)
{
	((struct side *)arg)->failed_writes++;
}

static void on_change(void *arg, const Isthmus__ArrayMeta *am)
{
	struct side *s = arg;
	s->watched++;
	ck_assert_ptr_eq(am, meta_get(s->m));
	ck_assert_uint_gt(am->seq, s->seen);
	s->seen = am->seq;
}

static void open_disks(struct side *s)
{
	for (unsigned i = 0; i < NDISKS; i++) {
		struct bdev *b;
		char path[8];
		snprintf(path, sizeof(path), "d%u", i);
		ck_assert_int_eq(env_disk_open(sim_node_env(s->node), path, 0, &b), 0);
		ck_assert_int_eq(disk_open(&s->d[i], sim_node_env(s->node), path, b, NULL), 0);
		if (disk_state(s->d[i]) != DISK_BLANK)
			continue;
		struct disk_label l = {.position = i};
		memcpy(l.array_uuid, array_uuid, 16);
		l.disk_uuid[0] = (uint8_t)(i + 1);
		ck_assert_int_eq(disk_write_label(s->d[i], &l), 0);
	}
}

static void side_open(void *arg)
{
	struct side *s = arg;
	struct meta *m;
	open_disks(s);
	ck_assert_int_eq(
	    gcm_shared_open_as(
		&s->gcm,
		&(struct gcm_shared_opts){.env = sim_node_env(s->node),
					  .segment = s->control,
					  .size = gcm_shared_size(),
					  .name = s->index ? "b" : "a",
					  .incarnation = sim_node_life(s->node) * 2 + s->index,
					  .pid = (int32_t)s->index + 1,
					  .started = sim_node_life(s->node),
					  .alive = alive,
					  .arg = s->w}),
	    0);
	int rc = meta_open(&m,
			   &(struct meta_opts){.env = sim_node_env(s->node),
					       .array_uuid = array_uuid,
					       .array_name = "test",
					       .disks = s->d,
					       .ndisks = NDISKS,
					       .write_failed = on_failed,
					       .arg = s,
					       .share = &direct,
					       .share_arg = s},
			   s->why);
	ck_assert_msg(rc == 0, "%s", s->why);
	s->m = m;
	s->seen = meta_get(m)->seq;
	ck_assert_int_eq(meta_watch(m, on_change, s, &s->watch), 0);
	/* as when the link comes up */
	rc = meta_refresh(m, s->why);
	ck_assert_msg(rc == 0, "%s", s->why);
}

void side_start(struct side *s)
{
	s->seen = 0;
	s->control = sim_memory_map(s->w->control, s->node);
	ck_assert_int_eq(sim_node_run(s->node, side_open, s), 0);
}

void side_close(void *arg)
{
	struct side *s = arg;
	meta_close(s->m);
	s->m = NULL;
	s->gcm->ops->close(s->gcm);
	for (unsigned i = 0; i < NDISKS; i++)
		disk_close(s->d[i]);
}

static void partner_down(void *arg)
{
	struct side *s = arg;
	if (!s->m)
		return;
	gcm_forget(s->gcm, other(s)->gcm->self);
	meta_partner_gone(s->m);
	s->rc = meta_refresh(s->m, s->why);
	ck_assert_msg(s->rc == 0 || sim_node_dead(s->node), "%s", s->why);
}

static void on_kill(void *arg, struct sim_node *n)
{
	struct side *s = other(arg);
	if (!sim_node_dead(s->node) && s->m)
		sim_node_start(s->node, partner_down, s);
}

void world_init(struct world *w, uint64_t seed)
{
	memset(w, 0, sizeof(*w));
	w->sim = sim_new(seed);
	for (unsigned i = 0; i < NDISKS; i++) {
		char path[8];
		snprintf(path, sizeof(path), "d%u", i);
		w->sd[i] = sim_disk_new(w->sim, path, SIZE);
	}
	w->control = sim_memory_new(w->sim, "control", gcm_shared_size());
	for (unsigned i = 0; i < 2; i++) {
		struct side *s = &w->side[i];
		*s = (struct side){.w = w, .index = i};
		s->node = sim_node_new(w->sim, i ? "b" : "a");
		sim_node_on_kill(s->node, on_kill, s);
	}
	for (unsigned i = 0; i < 2; i++)
		side_start(&w->side[i]);
}

void world_fini(struct world *w)
{
	for (unsigned i = 0; i < 2; i++)
		if (w->side[i].gcm)
			ck_assert_int_eq(sim_node_run(w->side[i].node, side_close, &w->side[i]), 0);
	sim_run_for(w->sim, 10 * NS_PER_S);
	sim_free(w->sim);
}

/* ---- changes ---- */

static void target_name(char *ret, unsigned n)
{
	snprintf(ret, 64, "iqn.2026-01.test:%u", n);
}

int change_add(Isthmus__ArrayMeta *am, void *arg, char *why)
{
	char iqn[64];
	Isthmus__Target *t = malloc(sizeof(*t));
	isthmus__target__init(t);
	target_name(iqn, *(unsigned *)arg);
	ck_assert_int_eq(pb_set_text(&t->iqn, iqn), 0);
	return pb_append(&am->targets, &am->n_targets, t);
}

bool knows(const struct side *s, unsigned n)
{
	char iqn[64];
	const Isthmus__ArrayMeta *am = meta_get(s->m);
	target_name(iqn, n);
	for (size_t i = 0; i < am->n_targets; i++)
		if (strcmp(am->targets[i]->iqn, iqn) == 0)
			return true;
	return false;
}

int add(struct side *s, unsigned n)
{
	return meta_update(s->m, change_add, &n, s->why);
}

/* What was acknowledged is known on both sides at that moment. */
static void writer(void *arg)
{
	struct side *s = arg;
	struct world *w = s->w;
	for (unsigned i = 0; i < ADDS && !sim_node_dead(s->node); i++) {
		char why[META_WHY_LEN];
		unsigned n = w->next++;
		bool there = other(s)->m && !sim_node_dead(other(s)->node);
		int rc = meta_update(s->m, change_add, &n, why);
		if (sim_node_dead(s->node))
			break;
		ck_assert_msg(rc == 0, "%s", why);
		w->acked[w->nacked++] = n;
		ck_assert(knows(s, n));
		if (there && reachable(s))
			ck_assert(knows(other(s), n));
		if (sim_random_below(w->sim, 4) == 0)
			env_sleep_ns(sim_node_env(s->node), sim_random_below(w->sim, NS_PER_MS));
	}
	w->writing--;
}

/* As core_watch.c does: looks at slots that the other may be writing. */
static void checker(void *arg)
{
	struct side *s = arg;
	for (unsigned i = 0; i < 10 && !sim_node_dead(s->node); i++) {
		meta_check_slots(s->m);
		env_sleep_ns(sim_node_env(s->node), 3 * NS_PER_MS);
	}
	s->w->writing--;
}

void start_writers(struct world *w)
{
	for (unsigned i = 0; i < 2; i++) {
		for (unsigned k = 0; k < WRITERS; k++, w->writing++)
			sim_node_start(w->side[i].node, writer, &w->side[i]);
		sim_node_start(w->side[i].node, checker, &w->side[i]);
		w->writing++;
	}
}

void run_out(struct world *w)
{
	for (unsigned i = 0; w->writing && i < 10000; i++)
		sim_run_for(w->sim, 10 * NS_PER_MS);
	ck_assert_uint_eq(w->writing, 0);
	sim_run_for(w->sim, NS_PER_S);
}

void ck_equal(struct world *w)
{
	const Isthmus__ArrayMeta *a = meta_get(w->side[0].m), *b = meta_get(w->side[1].m);
	size_t na = isthmus__array_meta__get_packed_size(a);
	size_t nb = isthmus__array_meta__get_packed_size(b);
	uint8_t *pa = malloc(na), *pb = malloc(nb);
	isthmus__array_meta__pack(a, pa);
	isthmus__array_meta__pack(b, pb);
	ck_assert_uint_eq(a->seq, b->seq);
	ck_assert_uint_eq(na, nb);
	ck_assert_mem_eq(pa, pb, na);
	free(pa);
	free(pb);
}

void ck_acked(struct world *w)
{
	for (unsigned i = 0; i < w->nacked; i++)
		for (unsigned k = 0; k < 2; k++)
			ck_assert_msg(knows(&w->side[k], w->acked[i]), "%u is not known to %u",
				      w->acked[i], k);
}

void ck_slots(struct world *w)
{
	uint64_t seq = meta_get(w->side[0].m)->seq;
	for (unsigned i = 0; i < NDISKS; i++) {
		struct meta_slot x[2];
		for (unsigned s = 0; s < 2; s++) {
			meta_slot_decode(sim_disk_bytes(w->sd[i]) + meta_slot_offset(s), array_uuid,
					 &x[s]);
			ck_assert_int_eq(x[s].verdict, SLOT_OK);
		}
		ck_assert(x[0].seq == seq || x[1].seq == seq);
		ck_assert_uint_ne(x[0].seq, x[1].seq);
	}
}

void ck_undamaged(struct world *w)
{
	for (unsigned k = 0; k < 2; k++)
		for (unsigned i = 0; i < w->side[k].m->ndisks; i++)
			for (unsigned s = 0; s < 2; s++)
				ck_assert(!w->side[k].m->disks[i].damaged[s]);
}

int share_suite(const char *name, void (*add_tests)(TCase *t))
{
	log_set_level(LOG_L_ERROR);
	Suite *s = suite_create(name);
	TCase *t = tcase_create(name);
	tcase_set_timeout(t, 300);
	add_tests(t);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
