noinst_LIBRARIES += libblockcore.a
libblockcore_a_SOURCES = blockcore/core.c blockcore/core.h blockcore/core_backup.c \
	blockcore/core_impl.h blockcore/core_open.c blockcore/core_pool.c blockcore/core_volume.c

check_PROGRAMS += tests/unit/core/test_core
tests_unit_core_test_core_SOURCES = tests/unit/core/core_rig.h tests/unit/core/test_core.c
tests_unit_core_test_core_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_core_test_core_LDADD = $(SIM_LIBS) $(BLOCKCORE_LIBS) $(UNIT_LIBS)
