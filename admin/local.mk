noinst_LIBRARIES += libadmin.a
libadmin_a_SOURCES = admin/cli.h admin/cli_args.c admin/cli_complete.c admin/cli_help.c \
	admin/cli_json.c admin/cli_show.c admin/cli_top.c admin/verbs.c admin/verbs.h

bin_PROGRAMS += isthmus
isthmus_SOURCES = admin/isthmus.c
isthmus_CPPFLAGS = $(AM_CPPFLAGS) -DSBINDIR='"$(sbindir)"'
isthmus_LDADD = libadmin.a $(RUNTIME_LIBS)
EXTRA_DIST += admin/README.md
