libblockcore_a_SOURCES += blockcore/core_memory.c \
	blockcore/channel/channel_admin.c blockcore/channel/channel_backup.c \
	blockcore/channel/channel_bdev.c blockcore/channel/channel_client.c \
	blockcore/channel/channel_client.h blockcore/channel/channel_client_impl.h \
	blockcore/channel/channel_config.c blockcore/channel/channel_conn.c \
	blockcore/channel/channel_end.c blockcore/channel/channel_epoch.c \
	blockcore/channel/channel_exec.c blockcore/channel/channel_exec.h \
	blockcore/channel/channel_guard.c blockcore/channel/channel_guard.h \
	blockcore/channel/channel_hit.c blockcore/channel/channel_layout.h \
	blockcore/channel/channel_peer.c blockcore/channel/channel_ring.c \
	blockcore/channel/channel_route.c \
	blockcore/channel/channel_seg.c blockcore/channel/channel_seg.h \
	blockcore/channel/channel_server.c blockcore/channel/channel_server.h \
	blockcore/channel/channel_server_impl.h \
	blockcore/channel/channel_sock.c blockcore/channel/channel_sock.h \
	blockcore/channel/channel_staging.c blockcore/channel/channel_table.c

CHANNEL_RIG = tests/unit/channel/channel_rig.c tests/unit/channel/channel_rig.h \
	tests/unit/channel/fake_core.c tests/unit/channel/fake_core.h tests/unit/channel/fake_impl.h \
	tests/unit/channel/fake_meta.c tests/unit/channel/fake_own.c

check_PROGRAMS += tests/unit/channel/test_channel
tests_unit_channel_test_channel_SOURCES = tests/unit/channel/test_channel.c $(CHANNEL_RIG)
tests_unit_channel_test_channel_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_channel_test_channel_LDADD = $(BLOCKCORE_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/channel/test_channel_death
tests_unit_channel_test_channel_death_SOURCES = tests/unit/channel/test_channel_death.c $(CHANNEL_RIG)
tests_unit_channel_test_channel_death_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_channel_test_channel_death_LDADD = $(BLOCKCORE_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/channel/test_channel_hostile
tests_unit_channel_test_channel_hostile_SOURCES = tests/unit/channel/test_channel_hostile.c $(CHANNEL_RIG)
tests_unit_channel_test_channel_hostile_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_channel_test_channel_hostile_LDADD = $(BLOCKCORE_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/channel/test_channel_duplex
tests_unit_channel_test_channel_duplex_SOURCES = tests/unit/channel/test_channel_duplex.c $(CHANNEL_RIG)
tests_unit_channel_test_channel_duplex_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_channel_test_channel_duplex_LDADD = $(BLOCKCORE_LIBS) $(UNIT_LIBS)
