/* Portals and their groups, discovery over them and its authentication, targets that moved. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/check.h"
#include "server/iscsi/chap.h"
#include "server/iscsi/text.h"
#include "tests/unit/iscsi/client.h"
#include "tests/unit/iscsi/target.h"
#include "tests/unit/scsi/fake_volume.h"

#define SECRET	      "secret-of-discovery"
#define ARRAY_SECRET  "secret-of-the-array"
#define TARGET_SECOND "iqn.2026-01.org.example:second"

static struct target target;
static struct client *c;
static Isthmus__Target *open_target, *second_target; /* in the metadata */

/* 0: group 1; 1: group 2; 2: any address, group 2; 3: any IPv6 address, group 3. */
static const char *const portals[] = {"127.0.0.1:0", "127.0.0.1:0,2", "0.0.0.0:0,2", "[::]:0,3"};

static void setup(void)
{
	target_make(&target, 1 << 20);
	Isthmus__Target *second = fake_target_add(target.core, TARGET_SECOND, true);
	second->portal_groups = malloc(sizeof(uint32_t));
	second->portal_groups[0] = 2;
	second->n_portal_groups = 1;
	fake_meta_changed(target.core);
	target_start_on(&target, 2, portals, ARRAY_LEN(portals), NULL);
	/* the start recorded its portal groups, which made the metadata anew */
	size_t n = fake_meta(target.core)->n_targets;
	open_target = fake_meta(target.core)->targets[0];
	second_target = fake_meta(target.core)->targets[n - 1];
	c = NULL;
}

static void teardown(void)
{
	if (c)
		client_free(c);
	target_stop(&target);
	target_free(&target);
}

static unsigned port(unsigned portal)
{
	return iscsi_server_port(target.server, portal);
}

static void set(char **field, const char *value)
{
	if (*field && **field)
		free(*field);
	*field = strdup(value);
}

static const char *const discovery[] = {"SessionType=Discovery", NULL};

/* All that SendTargets says of a target: its addresses, with blanks between them. */
static const char *addresses(const char *iqn)
{
	static char all[1024];
	struct bhs b = {.opcode = OP_TEXT_REQ | PDU_IMMEDIATE, .flags = PDU_FINAL};
	bool here = false;
	size_t n = 0;
	be32_put(b.itt, ++c->itt);
	be32_put(b.ttt, PDU_NO_TAG);
	be32_put(b.cmdsn, c->cmdsn);
	client_send(c, &b, "SendTargets=All", 16);
	client_expect(c, OP_TEXT_RSP);
	all[0] = 0;
	for (const char *p = (char *)c->data; p < (char *)c->data + c->len; p += strlen(p) + 1) {
		if (strncmp(p, "TargetName=", 11) == 0)
			here = strcmp(p + 11, iqn) == 0;
		else if (here && strncmp(p, "TargetAddress=", 14) == 0)
			n += (size_t)snprintf(all + n, sizeof(all) - n, "%s%s", n ? " " : "",
					      p + 14);
	}
	return all;
}

static void discover(const char *address, unsigned portal)
{
	if (c)
		client_free(c);
	c = client_connect_at(address, port(portal));
	ck_assert_uint_eq(client_login(c, NULL, discovery), 0);
}

START_TEST(targets_are_listed_by_portal_group)
{
	char both[128], one[64];
	snprintf(both, sizeof(both), "127.0.0.1:%u,1 127.0.0.1:%u,2", port(0), port(1));
	snprintf(one, sizeof(one), "127.0.0.1:%u,2", port(1));
	discover("127.0.0.1", 0);
	ck_assert_str_eq(addresses(TARGET_OPEN), both);
	ck_assert_str_eq(addresses(TARGET_SECOND), one);
	discover("127.0.0.1", 1);
	snprintf(both, sizeof(both), "127.0.0.1:%u,2 127.0.0.1:%u,1", port(1), port(0));
	ck_assert_str_eq(addresses(TARGET_OPEN), both);
	ck_assert_str_eq(addresses(TARGET_SECOND), one);
}
END_TEST

START_TEST(wildcards_are_told_as_the_address_that_was_used)
{
	char want[160];
	discover("127.0.0.2", 2);
	snprintf(want, sizeof(want), "127.0.0.2:%u,2 127.0.0.1:%u,1 127.0.0.1:%u,2", port(2),
		 port(0), port(1));
	ck_assert_str_eq(addresses(TARGET_OPEN), want);
	discover("::1", 3);
	snprintf(want, sizeof(want), "[::1]:%u,3 127.0.0.1:%u,1 127.0.0.1:%u,2", port(3), port(0),
		 port(1));
	ck_assert_str_eq(addresses(TARGET_OPEN), want);
}
END_TEST

/* One that can be reached nowhere is not listed: without an address it would seem to be here. */
START_TEST(a_target_without_a_portal_is_not_listed)
{
	second_target->portal_groups[0] = 77;
	fake_meta_changed(target.core);
	discover("127.0.0.1", 0);
	ck_assert_str_eq(addresses(TARGET_SECOND), "");
	ck_assert_ptr_null(memmem(c->data, c->len, TARGET_SECOND, strlen(TARGET_SECOND)));
}
END_TEST

START_TEST(logins_are_kept_to_the_groups)
{
	c = client_connect(port(0));
	ck_assert_uint_eq(client_login(c, TARGET_SECOND, NULL), LOGIN_NOT_FOUND);
	client_free(c);
	c = client_connect(port(1));
	ck_assert_uint_eq(client_login(c, TARGET_SECOND, NULL), 0);
	ck_assert_str_eq(client_text(c, "TargetPortalGroupTag"), "2");
	/* It is no longer reached through this group: the session is dropped. */
	second_target->portal_groups[0] = 1;
	fake_meta_changed(target.core);
	client_expect(c, OP_ASYNC);
	ck_assert_uint_eq(c->bhs.event, ASYNC_DROP_SESSION);
}
END_TEST

/* Two target ports, so two sessions of the same initiator port. */
START_TEST(groups_are_paths_of_their_own)
{
	c = client_connect(port(0));
	struct client *other = client_connect(port(1));
	ck_assert_uint_eq(client_login(c, TARGET_OPEN, (const char *[]){"MaxConnections=4", NULL}),
			  0);
	ck_assert_str_eq(client_text(c, "TargetPortalGroupTag"), "1");
	ck_assert_uint_eq(client_login(other, TARGET_OPEN, NULL), 0);
	ck_assert_str_eq(client_text(other, "TargetPortalGroupTag"), "2");
	client_ready(c);
	client_ready(other);
	client_free(other);
	/* A session's connections stay in one. */
	other = client_connect(port(1));
	other->tsih = c->tsih;
	other->cid = 1;
	ck_assert_uint_eq(client_login(other, TARGET_OPEN, NULL), LOGIN_CANNOT_INCLUDE);
	client_free(other);
}
END_TEST

/* ---- targets that moved ---- */

START_TEST(a_moved_target_says_where)
{
	set(&open_target->redirect, "192.0.2.7:3261");
	open_target->redirect_permanent = _i;
	fake_meta_changed(target.core);
	c = client_connect(port(0));
	ck_assert_uint_eq(client_login(c, TARGET_OPEN, NULL),
			  _i ? LOGIN_MOVED_FOR_GOOD : LOGIN_MOVED);
	ck_assert_str_eq(client_text(c, "TargetAddress"), "192.0.2.7:3261"); /* no tag: 13.8 */
	ck_assert(!client_recv(c));
}
END_TEST

START_TEST(a_target_moved_to_this_portal_is_here)
{
	char here[64];
	snprintf(here, sizeof(here), "127.0.0.1:%u", port(1));
	set(&open_target->redirect, here);
	fake_meta_changed(target.core);
	c = client_connect(port(0));
	ck_assert_uint_eq(client_login(c, TARGET_OPEN, NULL), LOGIN_MOVED);
	client_free(c);
	c = client_connect(port(1));
	ck_assert_uint_eq(client_login(c, TARGET_OPEN, NULL), 0);
}
END_TEST

START_TEST(who_is_not_admitted_does_not_learn_where)
{
	set(&open_target->redirect, "192.0.2.7");
	open_target->open = false;
	fake_meta_changed(target.core);
	c = client_connect(port(0));
	ck_assert_uint_eq(client_login(c, TARGET_OPEN, NULL), LOGIN_FORBIDDEN);
	ck_assert_uint_eq(c->len, 0);
}
END_TEST

/* ---- discovery with CHAP ---- */

static void want_chap(void)
{
	Isthmus__ArrayMeta *am = fake_meta(target.core);
	am->discovery = malloc(sizeof(*am->discovery));
	isthmus__discovery_auth__init(am->discovery);
	set(&am->discovery->chap_user, "who");
	set(&am->discovery->chap_secret, SECRET);
	set(&am->discovery->mutual_user, "array");
	set(&am->discovery->mutual_secret, ARRAY_SECRET);
	fake_meta_changed(target.core);
	c = client_connect(port(0));
}

START_TEST(discovery_without_chap_is_refused)
{
	want_chap();
	ck_assert_uint_eq(client_login(c, NULL, discovery), LOGIN_AUTH_FAILED);
}
END_TEST

static unsigned answer_challenge(const char *secret)
{
	uint8_t challenge[64], digest[CHAP_DIGEST_MAX];
	char r[128] = "CHAP_R=0x";
	uint32_t id;
	ck_assert_uint_eq(
	    client_login_step(c, 0,
			      (const char *[]){"InitiatorName=" HOST, "SessionType=Discovery",
					       "AuthMethod=CHAP", "CHAP_A=7", NULL}),
	    0);
	ck_assert_int_eq(text_number(client_text(c, "CHAP_I"), &id), 0);
	int n = text_binary(client_text(c, "CHAP_C"), challenge, sizeof(challenge));
	size_t len = chap_response(7, (uint8_t)id, secret, challenge, (size_t)n, digest);
	for (size_t i = 0; i < len; i++)
		sprintf(r + 9 + 2 * i, "%02x", digest[i]);
	return client_login_step(c, 0x83,
				 (const char *[]){"CHAP_N=who", r, "CHAP_I=3",
						  "CHAP_C=0x000102030405060708090a0b0c0d0e0f",
						  NULL});
}

START_TEST(discovery_with_chap_is_mutual)
{
	uint8_t theirs[16], want[CHAP_DIGEST_MAX], got[CHAP_DIGEST_MAX];
	want_chap();
	ck_assert_uint_eq(answer_challenge(SECRET), 0);
	ck_assert_uint_eq(c->bhs.flags, 0x83);
	ck_assert_str_eq(client_text(c, "CHAP_N"), "array");
	for (uint8_t i = 0; i < 16; i++)
		theirs[i] = i;
	size_t n = chap_response(7, 3, ARRAY_SECRET, theirs, 16, want);
	ck_assert_int_eq(text_binary(client_text(c, "CHAP_R"), got, sizeof(got)), (int)n);
	ck_assert_mem_eq(got, want, n);
	ck_assert_str_ne(addresses(TARGET_OPEN), "");
}
END_TEST

START_TEST(discovery_with_a_wrong_secret_is_refused)
{
	want_chap();
	ck_assert_uint_eq(answer_challenge("not-the-secret"), LOGIN_AUTH_FAILED);
	ck_assert(!client_recv(c));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("iscsi portals");
	TCase *tc = tcase_create("portals");
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 30);
	tcase_add_test(tc, targets_are_listed_by_portal_group);
	tcase_add_test(tc, wildcards_are_told_as_the_address_that_was_used);
	tcase_add_test(tc, a_target_without_a_portal_is_not_listed);
	tcase_add_test(tc, logins_are_kept_to_the_groups);
	tcase_add_test(tc, groups_are_paths_of_their_own);
	tcase_add_loop_test(tc, a_moved_target_says_where, 0, 2);
	tcase_add_test(tc, a_target_moved_to_this_portal_is_here);
	tcase_add_test(tc, who_is_not_admitted_does_not_learn_where);
	tcase_add_test(tc, discovery_without_chap_is_refused);
	tcase_add_test(tc, discovery_with_chap_is_mutual);
	tcase_add_test(tc, discovery_with_a_wrong_secret_is_refused);
	suite_add_tcase(suite, tc);
	SRunner *sr = srunner_create(suite);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
