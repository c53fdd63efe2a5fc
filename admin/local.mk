noinst_LIBRARIES += libadmin.a
libadmin_a_SOURCES = admin/cli.h admin/cli_args.c admin/cli_complete.c admin/cli_help.c \
	admin/cli_json.c admin/cli_latency.c admin/cli_show.c admin/cli_top.c admin/verbs.c admin/verbs.h

bin_PROGRAMS += isthmus
isthmus_SOURCES = admin/isthmus.c
isthmus_CPPFLAGS = $(AM_CPPFLAGS) -DSBINDIR='"$(sbindir)"'
isthmus_LDADD = libadmin.a $(RUNTIME_LIBS)
EXTRA_DIST += admin/README.md

check_PROGRAMS += tests/unit/admin/test_cli
tests_unit_admin_test_cli_SOURCES = tests/unit/admin/test_cli.c
tests_unit_admin_test_cli_CPPFLAGS = $(AM_CPPFLAGS) -DMANPAGE='"$(abs_top_srcdir)/man/isthmus.1"'
tests_unit_admin_test_cli_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_admin_test_cli_LDADD = libadmin.a $(RUNTIME_LIBS) $(UNIT_LIBS)
