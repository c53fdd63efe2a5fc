/* Client rules of exports: as they are written, and back. */
#include "blockcore/export_rule.h"
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct {
	const char *text, *match, *sec, *shown;
} good[] = {
    {"*", "*", "", "*:ro,root_squash"},
    {"10.0.0.0/8:rw", "10.0.0.0/8", "", "10.0.0.0/8:rw,root_squash"},
    {"fd00::1", "fd00::1", "", "[fd00::1]:ro,root_squash"},
    {"*:sec=krb5", "*", "krb5", "*:ro,root_squash,sec=krb5"},
    {"*:rw,sec=krb5p:krb5i:krb5:sys", "*", "krb5p:krb5i:krb5:sys",
     "*:rw,root_squash,sec=krb5p:krb5i:krb5:sys"},
    {"host.example.org:sec=krb5:krb5p,rw,secure", "host.example.org", "krb5:krb5p",
     "host.example.org:rw,root_squash,secure,sec=krb5:krb5p"},
    {"[fd00::1]:rw,sec=sys:krb5i", "fd00::1", "sys:krb5i",
     "[fd00::1]:rw,root_squash,sec=sys:krb5i"},
    {"*:xprtsec=tls", "*", "", "*:ro,root_squash,xprtsec=tls"},
    {"*:rw,xprtsec=none:tls:mtls,sec=krb5:sys", "*", "krb5:sys",
     "*:rw,root_squash,sec=krb5:sys,xprtsec=none:tls:mtls"},
    {"[fd00::1]:xprtsec=mtls", "fd00::1", "", "[fd00::1]:ro,root_squash,xprtsec=mtls"},
    {"fd00::/8", "fd00::/8", "", "[fd00::/8]:ro,root_squash"},
    {"[fd00::/8]:rw,sec=krb5", "fd00::/8", "krb5", "[fd00::/8]:rw,root_squash,sec=krb5"},
    {"@builders", "@builders", "", "@builders:ro,root_squash"},
    {"@lab-2.x_y:rw,sec=krb5p:sys,insecure,all_squash", "@lab-2.x_y", "krb5p:sys",
     "@lab-2.x_y:rw,all_squash,sec=krb5p:sys"},
    {"192.0.2.1:rw,anonuid=4294967295,anongid=0,secure", "192.0.2.1", "",
     "192.0.2.1:rw,root_squash,anonuid=4294967295,anongid=0,secure"},
};

START_TEST(rules_are_read_and_shown)
{
	Isthmus__ExportClient *c;
	char why[256] = "", shown[384];
	int rc = export_rule_parse(good[_i].text, &c, why);
	ck_assert_msg(rc == 0, "%s: %s", good[_i].text, why);
	ck_assert_str_eq(c->match, good[_i].match);
	ck_assert_str_eq(c->sec, good[_i].sec);
	export_rule_format(c, shown, sizeof(shown));
	ck_assert_str_eq(shown, good[_i].shown);
	isthmus__export_client__free_unpacked(c, NULL);
}
END_TEST

static const char *const bad[] = {
    "*:sec=",	       "*:sec=krb4",	  "*:sec=krb5:",	   "*:sec=:krb5",
    "*:sec=krb5:krb5", "*:sec=sys,sec=x", "*:sec=krb5;krb5i",	   "*:sec=SYS",
    "*:sec",	       "fd00::1:sec=sys", "*:sec=krb5p:none:krb5", "*:rw:sec=sys",
    "*:xprtsec=",      "*:xprtsec=ssl",	  "*:xprtsec=tls:",	   "*:xprtsec=tls:tls",
    "*:xprtsec",       "*:xprtsec=TLS",	  "*:xprtsec=tls,sec=",
};

START_TEST(wrong_rules_are_told)
{
	Isthmus__ExportClient *c;
	char why[256] = "";
	ck_assert_msg(export_rule_parse(bad[_i], &c, why) == -EINVAL, "%s", bad[_i]);
	ck_assert_msg(strstr(why, "option"), "%s", why);
}
END_TEST

/* What a head would not understand is refused where it is said. */
static const char *const no_client[] = {
    "",
    ":rw",
    "*.example.org:rw",
    "host*",
    "@",
    "@:rw",
    "@a b",
    "@@a",
    "a@b",
    "@a/8",
    "10.1.2:rw",
    "10.1.2.3.4",
    "300.1.1.1",
    "10.0.0.0/33",
    "10.0.0.0/",
    "10.0.0.0/8x",
    "fd00::/129",
    "[fd00::1",
    "fd00::g",
    "[fd00::]/8:rw",
    "10.0.0.0/-1",
    "host/24",
    "ho st",
    "**",
};

START_TEST(wrong_clients_are_told)
{
	Isthmus__ExportClient *c;
	char why[256] = "";
	ck_assert_msg(export_rule_parse(no_client[_i], &c, why) == -EINVAL, "%s", no_client[_i]);
	ck_assert_msg(strstr(why, "is no client") || strstr(why, "option"), "%s", why);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("export rules");
	TCase *t = tcase_create("rules");
	tcase_add_loop_test(t, rules_are_read_and_shown, 0, sizeof(good) / sizeof(good[0]));
	tcase_add_loop_test(t, wrong_rules_are_told, 0, sizeof(bad) / sizeof(bad[0]));
	tcase_add_loop_test(t, wrong_clients_are_told, 0, sizeof(no_client) / sizeof(no_client[0]));
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
