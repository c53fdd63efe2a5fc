libblockcore_a_SOURCES += \
	blockcore/cache/cache.c blockcore/cache/cache.h blockcore/cache/cache_adopt.c blockcore/cache/cache_atomic.c \
	blockcore/cache/cache_claim.c blockcore/cache/cache_background.c blockcore/cache/cache_destage.c \
	blockcore/cache/cache_dirty.c blockcore/cache/cache_discard.c \
	blockcore/cache/cache_evict.c blockcore/cache/cache_fill.c blockcore/cache/cache_flush.c \
	blockcore/cache/cache_hazard.c blockcore/cache/cache_index.c \
	blockcore/cache/cache_layout.h blockcore/cache/cache_page.c blockcore/cache/cache_priv.h \
	blockcore/cache/cache_read.c blockcore/cache/cache_readahead.c \
	blockcore/cache/cache_vol.c blockcore/cache/cache_write.c

check_PROGRAMS += tests/unit/cache/test_cache
tests_unit_cache_test_cache_SOURCES = tests/unit/cache/test_cache.c tests/unit/cache/cache_rig.h
tests_unit_cache_test_cache_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_cache_test_cache_LDADD = $(SIM_LIBS) $(BLOCKCORE_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/cache/test_cache_model
tests_unit_cache_test_cache_model_SOURCES = tests/unit/cache/test_cache_model.c \
	tests/unit/cache/cache_rig.h
tests_unit_cache_test_cache_model_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_cache_test_cache_model_LDADD = $(SIM_LIBS) $(BLOCKCORE_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/cache/test_cache_threads
tests_unit_cache_test_cache_threads_SOURCES = tests/unit/cache/test_cache_threads.c
tests_unit_cache_test_cache_threads_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_cache_test_cache_threads_LDADD = $(BLOCKCORE_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/cache/test_cache_atomic
tests_unit_cache_test_cache_atomic_SOURCES = tests/unit/cache/test_cache_atomic.c \
	tests/unit/cache/cache_rig.h
tests_unit_cache_test_cache_atomic_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_cache_test_cache_atomic_LDADD = $(SIM_LIBS) $(BLOCKCORE_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/cache/test_cache_adopt
tests_unit_cache_test_cache_adopt_SOURCES = tests/unit/cache/test_cache_adopt.c \
	tests/unit/cache/cache_rig.h
tests_unit_cache_test_cache_adopt_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_cache_test_cache_adopt_LDADD = $(SIM_LIBS) $(BLOCKCORE_LIBS) $(UNIT_LIBS)

noinst_PROGRAMS += tests/bench/bench_cache
tests_bench_bench_cache_SOURCES = tests/bench/bench_cache.c
tests_bench_bench_cache_LDADD = $(BLOCKCORE_LIBS)
