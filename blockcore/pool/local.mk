libblockcore_a_SOURCES += blockcore/pool/extent_map.c blockcore/pool/extent_map.h \
	blockcore/pool/iov_cursor.c blockcore/pool/iov_cursor.h \
	blockcore/pool/pool.c blockcore/pool/pool.h blockcore/pool/pool_impl.h blockcore/pool/pool_io.c \
	blockcore/pool/pool_lock.c blockcore/pool/pool_lock.h blockcore/pool/pool_map.c \
	blockcore/pool/pool_resync.c

check_PROGRAMS += tests/unit/pool/test_pool
tests_unit_pool_test_pool_SOURCES = tests/unit/pool/test_pool.c
tests_unit_pool_test_pool_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_pool_test_pool_LDADD = $(SIM_LIBS) $(BLOCKCORE_LIBS) $(UNIT_LIBS)
