/* The verbs target.*, lun.* and initiator.* through an admin server; names and secrets. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>
#include "runtime/admin.h"
#include "runtime/env.h"
#include "runtime/reactor.h"
#include "tests/unit/scsi/suite.h"

static struct reactor *reactor;
static struct admin_server *server;
static char path[64];
static Isthmus__AdminReply *reply;

static void serve(void)
{
	snprintf(path, sizeof(path), "/tmp/isthmus-test-scsi-%d", (int)getpid());
	ck_assert_int_eq(
	    reactor_new(&reactor,
			&(struct reactor_opts){.name = "admin", .cpu = -1, .no_uring = true}),
	    0);
	ck_assert_int_eq(admin_server_new(&server, reactor, path), 0);
	ck_assert_int_eq(scsi_admin_register(fx->registry, server), 0);
	ck_assert_int_eq(reactor_start_thread(reactor), 0);
}

static void stop_server(void *arg)
{
	admin_server_free(server);
	reactor_stop(reactor);
}

static void unserve(void)
{
	if (reply)
		isthmus__admin_reply__free_unpacked(reply, NULL);
	reply = NULL;
	ck_assert_int_eq(reactor_post(reactor, stop_server, NULL), 0);
	reactor_join(reactor);
	reactor_free(reactor);
	unlink(path);
}

/* call("verb", "arg", "value", …, NULL): the reply's code. */
static int call(const char *verb, ...)
{
	Isthmus__AdminArg args[16], *ptrs[16];
	Isthmus__AdminRequest req = ISTHMUS__ADMIN_REQUEST__INIT;
	va_list ap;
	va_start(ap, verb);
	for (const char *s; (s = va_arg(ap, const char *));) {
		Isthmus__AdminArg *a = &args[req.n_args];
		isthmus__admin_arg__init(a);
		a->name = (char *)s;
		a->value = va_arg(ap, char *);
		ptrs[req.n_args++] = a;
	}
	va_end(ap);
	req.verb = (char *)verb;
	req.args = ptrs;
	if (reply)
		isthmus__admin_reply__free_unpacked(reply, NULL);
	reply = NULL;
	ck_assert_int_eq(admin_client_call(path, &req, 10 * NS_PER_S, NULL, NULL, &reply), 0);
	/* every refusal says why */
	ck_assert(reply->code == 0 || reply->error[0]);
	return reply->code;
}

static const Isthmus__AdminValue *field(size_t row, const char *name)
{
	ck_assert_uint_eq(reply->n_tables, 1);
	ck_assert_uint_lt(row, reply->tables[0]->n_rows);
	const Isthmus__AdminRow *r = reply->tables[0]->rows[row];
	for (size_t i = 0; i < r->n_fields; i++)
		if (!strcmp(r->fields[i]->name, name))
			return r->fields[i]->value;
	ck_abort_msg("no field %s", name);
	return NULL;
}

#define T2     "iqn.2026-01.example:two"
#define SECRET "secret-of-16-byt"

START_TEST(targets_are_made_changed_and_removed)
{
	serve();
	ck_assert_int_eq(call("target.create", "iqn", "IQN.2026-01.Example:Two", NULL), 0);
	ck_assert_int_eq(call("target.create", "iqn", T2, NULL), -EEXIST);
	ck_assert_int_eq(call("target.create", "iqn", "two", NULL), -EINVAL);
	ck_assert(reply->remedy[0]);
	ck_assert_int_eq(call("target.list", NULL), 0);
	ck_assert_uint_eq(reply->tables[0]->n_rows, 2);
	ck_assert_str_eq(field(1, "iqn")->text, T2);
	ck_assert_str_eq(field(1, "chap")->text, "none");
	ck_assert_uint_eq(field(0, "sessions")->number, 2);
	ck_assert_uint_eq(field(0, "luns")->number, 3);

	struct scsi_target *t = scsi_target_get(fx->registry, T2);
	struct scsi_auth auth;
	ck_assert_ptr_nonnull(t);
	ck_assert(scsi_target_in_group(t, 1) && scsi_target_in_group(t, 7));
	ck_assert_int_eq(scsi_target_admit(t, HOST_A, &auth), -EACCES);
	scsi_target_put(t);

	ck_assert_int_eq(call("target.set", "iqn", T2, "open", "perhaps", NULL), -EINVAL);
	ck_assert_int_eq(call("target.set", "iqn", T2, "redirect", "a b", NULL), -EINVAL);
	ck_assert_int_eq(call("target.set", "iqn", T2, "redirect", "[::1:3260", NULL), -EINVAL);
	ck_assert_int_eq(call("target.set", "iqn", T2, "redirect", "10.0.0.1:0", NULL), -EINVAL);
	ck_assert_int_eq(call("target.set", "iqn", T2, "redirect", "[fe80::1]:3260",
			      "redirect-permanent", "yes", NULL),
			 0);
	bool permanent = false;
	t = scsi_target_get(fx->registry, T2);
	ck_assert_str_eq(scsi_target_redirect(t, &permanent), "[fe80::1]:3260");
	ck_assert(permanent);
	scsi_target_put(t);
	ck_assert_int_eq(call("target.set", "iqn", T2, "redirect", "", NULL), 0);
	t = scsi_target_get(fx->registry, T2);
	ck_assert_ptr_null(scsi_target_redirect(t, &permanent));
	scsi_target_put(t);
	ck_assert_int_eq(call("discovery.set", "chap-user", "u", NULL), -EINVAL);
	ck_assert_int_eq(call("discovery.set", "mutual-user", "m", "mutual-secret", SECRET, NULL),
			 -EINVAL);
	ck_assert_int_eq(call("discovery.set", "chap-user", "u", "chap-secret", SECRET, NULL), 0);
	scsi_discovery_auth(fx->registry, &auth);
	ck_assert_str_eq(auth.user, "u");
	ck_assert_str_eq(auth.secret, SECRET);
	ck_assert_int_eq(call("discovery.show", NULL), 0);
	ck_assert_str_eq(field(0, "chap_user")->text, "u");
	ck_assert_int_eq(call("discovery.set", "chap-user", "", NULL), 0);
	scsi_discovery_auth(fx->registry, &auth);
	ck_assert_str_eq(auth.user, "");
	ck_assert_int_eq(call("target.set", "iqn", T2, "chap-user", "u", NULL), -EINVAL);
	ck_assert_int_eq(
	    call("target.set", "iqn", T2, "chap-user", "u", "chap-secret", "short", NULL), -EINVAL);
	ck_assert_int_eq(
	    call("target.set", "iqn", T2, "mutual-user", "m", "mutual-secret", SECRET, NULL),
	    -EINVAL);
	ck_assert_int_eq(call("target.set", "iqn", T2, "chap-user", "u", "chap-secret", SECRET,
			      "mutual-user", "m", "mutual-secret", SECRET, NULL),
			 -EINVAL);
	ck_assert_int_eq(call("target.set", "iqn", T2, "open", "yes", "chap-user", "u",
			      "chap-secret", SECRET, "mutual-user", "m", "mutual-secret",
			      SECRET "x", NULL),
			 0);
	t = scsi_target_get(fx->registry, T2);
	ck_assert_int_eq(scsi_target_admit(t, HOST_A, &auth), 0);
	ck_assert_str_eq(auth.secret, SECRET);
	ck_assert_str_eq(auth.mutual_secret, SECRET "x");
	scsi_target_put(t);
	ck_assert_int_eq(call("target.list", NULL), 0);
	ck_assert_str_eq(field(1, "chap")->text, "mutual");
	ck_assert_int_eq(call("target.set", "iqn", T2, "chap-user", "", "mutual-user", "", NULL),
			 0);
	ck_assert_int_eq(call("target.set", "iqn", "iqn.2026-01.example:none", NULL), -ENOENT);

	ck_assert_int_eq(call("target.remove", "iqn", TARGET, NULL), -EBUSY);
	ck_assert_int_eq(call("target.remove", "iqn", T2, NULL), 0);
	ck_assert_int_eq(call("target.remove", "iqn", T2, NULL), -ENOENT);
	ck_assert_int_eq(call("target.remove", "iqn", TARGET, "force", "true", NULL), 0);
	ck_assert_int_eq(run(fx->a, 0, CDB(0), NULL, 0), 2);
	ck_assert_uint_eq(sense_of(), NO_SUCH_LUN);
	unserve();
}
END_TEST

START_TEST(luns_change_while_in_use)
{
	serve();
	ck_assert_int_eq(call("lun.set", "target", TARGET, "lun", "0", NULL), -EINVAL);
	ck_assert_int_eq(call("lun.set", "target", TARGET, "lun", "9", "iops", "5", NULL), -ENOENT);
	ck_assert_int_eq(call("lun.set", "target", T2, "lun", "0", "iops", "5", NULL), -ENOENT);
	ck_assert_int_eq(call("lun.set", "target", TARGET, "iops", "5", NULL), -EINVAL);
	ck_assert_int_eq(call("lun.set", "target", TARGET, "lun", "0", "iops", "x", NULL), -EINVAL);
	ck_assert_int_eq(call("lun.set", "target", TARGET, "lun", "0", "read-only", "?", NULL),
			 -EINVAL);

	uint8_t w[512] = {0};
	ck_assert_int_eq(call("lun.set", "target", TARGET, "lun", "0", "read-only", "yes", NULL),
			 0);
	ck_assert_int_eq(run(fx->a, 0, CDB(0), NULL, 0), 2); /* MODE PARAMETERS CHANGED */
	ck_assert_uint_eq(sense_of(), 0x062a01);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x2a, 0, BE32(0), 0, BE16(1)), w, 512), 2);
	ck_assert_uint_eq(sense_of(), WRITE_PROTECTED);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x28, 0, BE32(0), 0, BE16(1)), NULL, 512), 0);
	ck_assert_int_eq(call("lun.set", "target", TARGET, "lun", "0", "read-only", "no", NULL), 0);
	ck_assert_int_eq(run(fx->a, 0, CDB(0), NULL, 0), 2);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x2a, 0, BE32(0), 0, BE16(1)), w, 512), 0);
	run_done();

	ck_assert_int_eq(call("lun.set", "target", TARGET, "lun", "0", "iops", "1000", "bandwidth",
			      "50MiB", "bandwidth-burst", "100MiB", NULL),
			 0);
	ck_assert_int_eq(call("lun.list", NULL), 0);
	ck_assert_str_eq(field(0, "limit")->text, "1000 IOPS, 50.0 MiB/s");
	struct qos_stats s;
	qos_stats(&view_find(fx->a->view, 0)->lu->qos, &s);
	ck_assert_uint_eq(s.limits.iops, 1000);
	ck_assert_uint_eq(s.limits.bandwidth, 50 << 20);
	ck_assert_uint_eq(s.limits.bandwidth_burst, 100 << 20);
	/* a controller that starts now finds them */
	struct scsi_registry *next;
	ck_assert_int_eq(scsi_registry_new(&next, fx->core), 0);
	qos_stats(&next->targets[0]->luns[0].lu->qos, &s);
	ck_assert_uint_eq(s.limits.iops, 1000);
	scsi_registry_free(next);
	/* one ends with its burst, the other stays */
	ck_assert_int_eq(call("lun.set", "target", TARGET, "lun", "0", "bandwidth", "0", NULL), 0);
	qos_stats(&view_find(fx->a->view, 0)->lu->qos, &s);
	ck_assert_uint_eq(s.limits.iops, 1000);
	ck_assert_uint_eq(s.limits.bandwidth + s.limits.bandwidth_burst, 0);
	ck_assert_int_eq(call("lun.set", "target", TARGET, "lun", "0", "iops", "0", NULL), 0);
	ck_assert_ptr_null(fake_meta(fx->core)->volumes[0]->limits);
	ck_assert(!view_find(fx->a->view, 0)->lu->qos.on);
	unserve();
}
END_TEST

START_TEST(latency_is_told_by_verbs)
{
	for (int i = 0; i < 200; i++)
		run(fx->a, 0, CDB(0x28, 0, BE32(0), 0, BE16(8)), NULL, 4096);
	run_done();
	serve();
	ck_assert_int_eq(call("lun.latency", "target", TARGET, "lun", "0", NULL), 0);
	ck_assert_uint_eq(reply->n_tables, 2);
	ck_assert_str_eq(reply->tables[0]->name, "commands");
	ck_assert_uint_eq(reply->tables[1]->n_rows, 4); /* start, cache, respond, send */
	ck_assert_uint_ge(reply->n_notes, 1);
	ck_assert_int_eq(call("lun.latency", "target", TARGET, "lun", "9", NULL), -ENOENT);
	ck_assert_int_eq(call("lun.latency", "target", TARGET, "lun", "99999", NULL), -EINVAL);
	ck_assert_int_eq(call("lun.stats", "target", T2, NULL), -ENOENT);
	ck_assert_int_eq(call("lun.stats", NULL), 0);
	ck_assert_uint_eq(reply->n_tables, 2);
	ck_assert_uint_eq(reply->tables[0]->n_rows, 3);
	ck_assert_uint_eq(reply->tables[1]->n_rows, 2); /* two initiators */
	const Isthmus__AdminRow *r = reply->tables[0]->rows[0];
	for (size_t i = 0; i < r->n_fields; i++) {
		if (!strcmp(r->fields[i]->name, "reads"))
			ck_assert_uint_eq(r->fields[i]->value->number, 200);
		if (!strcmp(r->fields[i]->name, "read_latency"))
			ck_assert_uint_gt(r->fields[i]->value->histogram->total_ns, 0);
	}
	unserve();
}
END_TEST

START_TEST(luns_are_added_and_removed)
{
	fake_volume_add(fx->core, 1 << 20);
	fake_volume_add(fx->core, (1 << 20) + 512);
	fake_meta(fx->core)->volumes[4]->purpose[0] = 'l';
	serve();
	ck_assert_int_eq(call("lun.add", "target", TARGET, "volume", "v4", NULL), 0);
	ck_assert_uint_eq(field(0, "lun")->number, 2);
	char serial[64];
	snprintf(serial, sizeof(serial), "%s", field(0, "serial")->text);
	ck_assert_uint_eq(strlen(serial), 32);
	ck_assert_int_eq(call("lun.add", "target", TARGET, "volume", "v4", NULL), -EEXIST);
	ck_assert_int_eq(call("lun.add", "target", TARGET, "volume", "v9", NULL), -ENOENT);
	ck_assert_int_eq(call("lun.add", "target", T2, "volume", "v5", NULL), -ENOENT);
	ck_assert_int_eq(call("lun.add", "target", TARGET, "volume", "v5", "lun", "0", NULL),
			 -EEXIST);
	ck_assert_int_eq(call("lun.add", "target", TARGET, "volume", "v5", "lun", "16384", NULL),
			 -EINVAL);
	ck_assert_int_eq(call("lun.add", "target", TARGET, "volume", "v5", "lun", "-1", NULL),
			 -EINVAL);
	ck_assert_int_eq(
	    call("lun.add", "target", TARGET, "volume", "v5", "block-size", "1024", NULL), -EINVAL);
	ck_assert_int_eq(
	    call("lun.add", "target", TARGET, "volume", "v5", "block-size", "4096", NULL), -EINVAL);
	ck_assert_int_eq(call("lun.add", "target", TARGET, "volume", "v5", "serial", "a b", NULL),
			 -EINVAL);
	ck_assert_int_eq(call("lun.add", "target", TARGET, "volume", "v5", "serial", serial, NULL),
			 -EEXIST);
	ck_assert_int_eq(call("lun.add", "target", TARGET, "volume", "v5", "lun", "16383", "serial",
			      "mine", "read-only", "true", NULL),
			 0);
	ck_assert_int_eq(call("lun.list", "target", TARGET, NULL), 0);
	ck_assert_uint_eq(reply->tables[0]->n_rows, 5);
	ck_assert_str_eq(field(4, "serial")->text, "mine");
	ck_assert_int_eq(field(4, "read_only")->flag, 1);
	ck_assert_int_eq(call("lun.list", "target", T2, NULL), -ENOENT);

	/* the same volume through another target is the same unit */
	ck_assert_int_eq(call("target.create", "iqn", T2, NULL), 0);
	ck_assert_int_eq(call("lun.add", "target", T2, "volume", "v2", "block-size", "512", NULL),
			 -EEXIST);
	ck_assert_int_eq(call("lun.add", "target", T2, "volume", "v2", NULL), 0);
	ck_assert_str_eq(field(0, "serial")->text, "serial-2");
	ck_assert_int_eq(call("lun.list", "target", T2, NULL), 0);
	ck_assert_uint_eq(field(0, "block_size")->number, 4096);

	ck_assert_int_eq(call("lun.remove", "target", TARGET, "lun", "2", NULL), 0);
	ck_assert_int_eq(call("lun.remove", "target", TARGET, "lun", "2", NULL), -ENOENT);
	ck_assert_int_eq(call("lun.remove", "target", TARGET, NULL), -EINVAL);
	uint8_t lun2[8] = {0, 2};
	ck_assert(!scsi_lun_exists(fx->a, lun2));
	unserve();
}
END_TEST

START_TEST(volumes_of_others_are_refused)
{
	fake_volume_add(fx->core, 1 << 20);
	memcpy(fake_meta(fx->core)->volumes[3]->purpose, "piv", 4);
	serve();
	ck_assert_int_eq(call("lun.add", "target", TARGET, "volume", "v4", NULL), -EBUSY);
	memcpy(fake_meta(fx->core)->volumes[3]->purpose, "fs", 3);
	ck_assert_int_eq(call("lun.add", "target", TARGET, "volume", "v4", NULL), -EBUSY);
	unserve();
}
END_TEST

START_TEST(initiators_are_admitted_and_masked)
{
	serve();
	ck_assert_int_eq(call("initiator.add", "target", TARGET, "iqn", HOST_A, "lun", "5=0:ro",
			      "lun", "1", NULL),
			 0);
	ck_assert_int_eq(call("initiator.add", "target", TARGET, "iqn", HOST_A, NULL), -EEXIST);
	ck_assert_int_eq(call("initiator.list", NULL), 0);
	ck_assert_str_eq(field(0, "luns")->text, "5=0:ro,1=1");
	ck_assert_uint_eq(field(0, "sessions")->number, 1);
	uint8_t lun5[8] = {0, 5}, lun0[8] = {0};
	ck_assert(scsi_lun_exists(fx->a, lun5));
	ck_assert(!scsi_lun_exists(fx->a, lun0));
	const char *bad[] = {"x", "1=", "=1", "1=2:rw", "16384", "1=99", "99999999999999999999"};
	for (unsigned i = 0; i < ARRAY_LEN(bad); i++)
		ck_assert_int_lt(
		    call("initiator.set", "target", TARGET, "iqn", HOST_A, "lun", bad[i], NULL), 0);
	ck_assert_int_eq(
	    call("initiator.set", "target", TARGET, "iqn", HOST_A, "lun", "1", "lun", "1=0", NULL),
	    -EINVAL);
	ck_assert(scsi_lun_exists(fx->a, lun5)); /* as it was */
	ck_assert_int_eq(call("lun.remove", "target", TARGET, "lun", "0", NULL), -EBUSY);
	ck_assert_int_eq(call("initiator.set", "target", TARGET, "iqn", HOST_A, "chap-user", "a",
			      "chap-secret", SECRET, NULL),
			 0);
	ck_assert(scsi_lun_exists(fx->a, lun5));
	ck_assert_int_eq(call("initiator.set", "target", TARGET, "iqn", HOST_A, "lun", "all", NULL),
			 0);
	ck_assert(scsi_lun_exists(fx->a, lun0));
	ck_assert_int_eq(call("target.set", "iqn", TARGET, "open", "no", NULL), 0);
	ck_assert(scsi_lun_exists(fx->a, lun0));
	ck_assert(!scsi_lun_exists(fx->b, lun0));
	ck_assert_int_eq(call("initiator.remove", "target", TARGET, "iqn", HOST_A, NULL), 0);
	ck_assert(!scsi_lun_exists(fx->a, lun0));
	ck_assert_int_eq(call("initiator.remove", "target", TARGET, "iqn", HOST_A, NULL), -ENOENT);
	ck_assert_int_eq(call("initiator.set", "target", TARGET, "iqn", HOST_A, NULL), -ENOENT);
	ck_assert_int_eq(call("initiator.add", "target", T2, "iqn", HOST_A, NULL), -ENOENT);
	unserve();
}
END_TEST

START_TEST(names)
{
	const char *good[] = {"iqn.2026-01.org.example",    "iqn.1999-12.a:b",
			      "iqn.2001-04.com.ex:x:y.z-1", "eui.02004567A425678D",
			      "naa.52004567BA64678D",	    "naa.62004567BA64678D0123456789ABCDEF"};
	const char *bad[] = {"",
			     "disk",
			     "iqn.",
			     "iqn.2026-13.org.example",
			     "iqn.2026-00.org.example",
			     "iqn.26-01.org.example",
			     "iqn.2026-01",
			     "iqn.2026-01.",
			     "iqn.2026-01.org.example:",
			     "iqn.2026-01..org",
			     "iqn.2026-01.org.:x",
			     "iqn.2026-01.org.example:a_b",
			     "iqn.2026-01.org.example:a b",
			     "iqn.2026-01.org.ex\xc3\xa9",
			     "eui.02004567A425678",
			     "eui.02004567A425678G",
			     "naa.52004567BA64678D0",
			     "mac.0011"};
	char out[SCSI_NAME_MAX + 1], why[256], name[300];
	for (unsigned i = 0; i < ARRAY_LEN(good); i++)
		ck_assert_msg(!iscsi_name_check(good[i], out, why), "%s: %s", good[i], why);
	ck_assert_str_eq(out, "naa.62004567ba64678d0123456789abcdef");
	for (unsigned i = 0; i < ARRAY_LEN(bad); i++)
		ck_assert_msg(iscsi_name_check(bad[i], out, why) == -EINVAL && why[0], "%s",
			      bad[i]);
	memset(name, 'a', sizeof(name));
	memcpy(name, "iqn.2026-01.org:", 16);
	name[223] = 0;
	ck_assert_int_eq(iscsi_name_check(name, out, why), 0);
	name[223] = 'a';
	name[224] = 0;
	ck_assert_int_eq(iscsi_name_check(name, out, why), -EINVAL);
	ck_assert_int_eq(chap_secret_check("elevenbytes", why), -EINVAL);
	ck_assert_int_eq(chap_secret_check("twelve bytes", why), 0);
	memset(name, 's', 256);
	name[256] = 0;
	ck_assert_int_eq(chap_secret_check(name, why), -EINVAL);
}
END_TEST

START_TEST(reservations_are_shown_and_released)
{
	uint8_t list[24] = {[15] = 0xaa};
	serve();
	ck_assert_int_eq(call("lun.reservations", "target", TARGET, "lun", "9", NULL), -ENOENT);
	ck_assert_int_eq(call("lun.reservations", "target", TARGET, NULL), -EINVAL);
	ck_assert_int_eq(call("lun.release", "target", TARGET, "lun", "9", NULL), -ENOENT);
	ck_assert_int_eq(call("lun.release", "target", TARGET, "lun", "0", NULL), 0);
	ck_assert_uint_eq(field(0, "keys")->number, 0);
	unserve();
	/* key 0xaa, and exclusive access with it */
	ck_assert_int_eq(run(fx->a, 0, CDB(0x5f, 0, 0, 0, 0, BE32(24)), list, 24), 0);
	memcpy(list, list + 8, 8);
	memset(list + 8, 0, 8);
	ck_assert_int_eq(run(fx->a, 0, CDB(0x5f, 1, 3, 0, 0, BE32(24)), list, 24), 0);
	serve();
	ck_assert_int_eq(call("lun.reservations", "target", TARGET, "lun", "0", NULL), 0);
	ck_assert_uint_eq(reply->n_tables, 2);
	ck_assert_uint_eq(reply->tables[1]->n_rows, 1);
	ck_assert_int_eq(call("lun.release", "target", TARGET, "lun", "0", NULL), 0);
	ck_assert_uint_eq(field(0, "keys")->number, 1);
	ck_assert_str_eq(field(0, "type")->text, "exclusive access");
	unserve();
	ck_assert_int_eq(run(fx->b, 0, CDB(0x28, [8] = 1), NULL, 512), 0);
	ck_assert_int_eq(run(fx->a, 0, CDB(0), NULL, 0), SCSI_CHECK_CONDITION);
	ck_assert_uint_eq(sense_of(), 0x062a03);
	/* a RESERVE too */
	ck_assert_int_eq(run(fx->a, 0, CDB(0x16), NULL, 0), 0);
	serve();
	ck_assert_int_eq(call("lun.release", "target", TARGET, "lun", "0", NULL), 0);
	unserve();
	ck_assert_int_eq(run(fx->b, 0, CDB(0), NULL, 0), 0);
	ck_assert_int_eq(run(fx->a, 0, CDB(0), NULL, 0), SCSI_CHECK_CONDITION);
}
END_TEST

SUITE("admin", targets_are_made_changed_and_removed, luns_are_added_and_removed,
      luns_change_while_in_use, latency_is_told_by_verbs, volumes_of_others_are_refused,
      initiators_are_admitted_and_masked, reservations_are_shown_and_released, names)
