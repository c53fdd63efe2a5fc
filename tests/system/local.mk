
noinst_PROGRAMS += tests/system/fake_daemon
tests_system_fake_daemon_SOURCES = tests/system/fake_daemon.c
tests_system_fake_daemon_LDADD = $(RUNTIME_LIBS)
dist_check_SCRIPTS += tests/system/test_supervisor.sh
dist_check_SCRIPTS += tests/system/test_layers.sh

noinst_PROGRAMS += tests/system/iscsi_storm tests/system/iscsi_keys tests/system/iscsi_crowd
tests_system_iscsi_crowd_SOURCES = tests/system/iscsi_crowd.c tests/unit/iscsi/client.c \
	tests/unit/iscsi/client.h
tests_system_iscsi_crowd_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_system_iscsi_crowd_LDADD = $(SERVER_LIBS) $(UNIT_LIBS)
tests_system_iscsi_storm_SOURCES = tests/system/iscsi_storm.c
tests_system_iscsi_keys_SOURCES = tests/system/iscsi_keys.c tests/unit/iscsi/client.c \
	tests/unit/iscsi/client.h
tests_system_iscsi_keys_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_system_iscsi_keys_LDADD = $(SERVER_LIBS) $(UNIT_LIBS) $(ISCSI_LIBS)

noinst_PROGRAMS += tests/system/nfs_crowd
tests_system_nfs_crowd_SOURCES = tests/system/nfs_crowd.c tests/unit/nfs/nas_raw.c tests/unit/nfs/nas_raw.h \
	$(V4_CLIENT)
tests_system_nfs_crowd_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_system_nfs_crowd_LDADD = $(NASFRONT_LIBS) $(UNIT_LIBS)

noinst_PROGRAMS += tests/system/iscsi_reserve
tests_system_iscsi_reserve_SOURCES = tests/system/iscsi_reserve.c
tests_system_iscsi_reserve_LDADD = $(ISCSI_LIBS)

noinst_PROGRAMS += tests/system/socket_junk tests/system/json_check
tests_system_socket_junk_SOURCES = tests/system/socket_junk.c
tests_system_json_check_SOURCES = tests/system/json_check.c
tests_system_json_check_LDADD = $(JANSSON_LIBS)

noinst_PROGRAMS += tests/system/link_end
tests_system_link_end_SOURCES = tests/system/link_end.c
tests_system_link_end_LDADD = $(BLOCKCORE_LIBS)

noinst_PROGRAMS += tests/system/bad_head
tests_system_bad_head_SOURCES = tests/system/bad_head.c
tests_system_bad_head_LDADD = libproto.a
