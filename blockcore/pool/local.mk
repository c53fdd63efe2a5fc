libblockcore_a_SOURCES += blockcore/pool/extent_map.c blockcore/pool/extent_map.h \
	blockcore/pool/parity.c blockcore/pool/parity.h \
	blockcore/pool/pool_parity_io.c blockcore/pool/pool_parity_sync.c \
	blockcore/pool/pool_stripe.c blockcore/pool/pool_stripe.h \
	blockcore/pool/pool.c blockcore/pool/pool.h blockcore/pool/pool_groups.h \
	blockcore/pool/pool_space.c blockcore/pool/raid.c blockcore/pool/raid.h blockcore/pool/pool_impl.h blockcore/pool/pool_io.c \
	blockcore/pool/raid_fill.c blockcore/pool/pool_intent.c blockcore/pool/pool_intent.h blockcore/pool/pool_lock.c blockcore/pool/pool_lock.h blockcore/pool/pool_map.c \
	blockcore/pool/pool_log.c blockcore/pool/pool_log.h blockcore/pool/pool_log_format.c \
	blockcore/pool/pool_log_impl.h blockcore/pool/pool_log_load.c blockcore/pool/raid_resync.c \
	blockcore/pool/pool_sums.c blockcore/pool/pool_sums.h blockcore/pool/pool_sums_format.c \
	blockcore/pool/pool_sums_io.c

check_PROGRAMS += tests/unit/pool/test_pool tests/unit/pool/test_parity tests/unit/pool/test_fill
tests_unit_pool_test_pool_SOURCES = tests/unit/pool/test_pool.c tests/unit/pool/rig.c \
	tests/unit/pool/rig.h
tests_unit_pool_test_pool_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_pool_test_pool_LDADD = $(SIM_LIBS) $(BLOCKCORE_LIBS) $(UNIT_LIBS)
tests_unit_pool_test_parity_SOURCES = tests/unit/pool/test_parity.c tests/unit/pool/rig.c \
	tests/unit/pool/rig.h
tests_unit_pool_test_parity_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_pool_test_parity_LDADD = $(SIM_LIBS) $(BLOCKCORE_LIBS) $(UNIT_LIBS)
tests_unit_pool_test_fill_SOURCES = tests/unit/pool/test_fill.c tests/unit/pool/rig.c \
	tests/unit/pool/rig.h
tests_unit_pool_test_fill_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_pool_test_fill_LDADD = $(SIM_LIBS) $(BLOCKCORE_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/pool/test_intent
tests_unit_pool_test_intent_SOURCES = tests/unit/pool/test_intent.c tests/unit/pool/rig.c \
	tests/unit/pool/rig.h
tests_unit_pool_test_intent_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_pool_test_intent_LDADD = $(SIM_LIBS) $(BLOCKCORE_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/pool/test_log
tests_unit_pool_test_log_SOURCES = tests/unit/pool/test_log.c tests/unit/pool/rig.c \
	tests/unit/pool/rig.h
tests_unit_pool_test_log_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_pool_test_log_LDADD = $(SIM_LIBS) $(BLOCKCORE_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/pool/test_sums
tests_unit_pool_test_sums_SOURCES = tests/unit/pool/test_sums.c tests/unit/pool/rig.c \
	tests/unit/pool/rig.h
tests_unit_pool_test_sums_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_pool_test_sums_LDADD = $(SIM_LIBS) $(BLOCKCORE_LIBS) $(UNIT_LIBS)
