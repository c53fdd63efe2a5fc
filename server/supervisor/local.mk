libserver_a_SOURCES += server/supervisor/address.c server/supervisor/child.c server/supervisor/child.h \
	server/supervisor/front.c server/supervisor/front_heads.c server/supervisor/gather.c server/supervisor/gather.h \
	server/supervisor/lease.c server/supervisor/lease.h server/supervisor/notify.c server/supervisor/pid_file.c server/supervisor/pid_file.h \
	server/supervisor/placement.c server/supervisor/placement.h server/supervisor/replace.c server/supervisor/segment.c server/supervisor/sockets.c server/supervisor/supervisor.c server/supervisor/supervisor.h

sbin_PROGRAMS += isthmusd
isthmusd_SOURCES = server/supervisor/main.c
isthmusd_CPPFLAGS = $(AM_CPPFLAGS) -DSBINDIR='"$(sbindir)"'
isthmusd_LDADD = libserver.a $(BLOCKCORE_LIBS)
EXTRA_DIST += server/supervisor/README.md

check_PROGRAMS += tests/unit/supervisor/test_supervisor
tests_unit_supervisor_test_supervisor_SOURCES = tests/unit/supervisor/test_supervisor.c
tests_unit_supervisor_test_supervisor_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_supervisor_test_supervisor_LDADD = libserver.a $(BLOCKCORE_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/supervisor/test_gather
tests_unit_supervisor_test_gather_SOURCES = tests/unit/supervisor/test_gather.c
tests_unit_supervisor_test_gather_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_supervisor_test_gather_LDADD = libserver.a $(BLOCKCORE_LIBS) $(UNIT_LIBS)

libserver_a_SOURCES += server/supervisor/activate.c server/supervisor/activate.h server/supervisor/activate_check.c \
	server/supervisor/front_software.c server/supervisor/serve_probe.c server/supervisor/serve_probe.h
