
noinst_PROGRAMS += tests/system/fake_daemon
tests_system_fake_daemon_SOURCES = tests/system/fake_daemon.c
tests_system_fake_daemon_LDADD = $(RUNTIME_LIBS)
dist_check_SCRIPTS += tests/system/test_supervisor.sh
dist_check_SCRIPTS += tests/system/test_layers.sh
