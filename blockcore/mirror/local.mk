libblockcore_a_SOURCES += \
	blockcore/mirror/mirror.c blockcore/mirror/mirror.h blockcore/mirror/mirror_adopt.c \
	blockcore/mirror/mirror_area.c blockcore/mirror/mirror_host.c blockcore/mirror/mirror_priv.h \
	blockcore/mirror/mirror_link.c blockcore/mirror/mirror_serve.c blockcore/mirror/mirror_table.c \
	blockcore/mirror/mirror_wire.h

check_PROGRAMS += tests/unit/mirror/test_mirror
tests_unit_mirror_test_mirror_SOURCES = tests/unit/mirror/test_mirror.c \
	tests/unit/mirror/mirror_rig.h tests/unit/cache/cache_rig.h
tests_unit_mirror_test_mirror_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_mirror_test_mirror_LDADD = $(SIM_LIBS) $(BLOCKCORE_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/mirror/test_mirror_adopt
tests_unit_mirror_test_mirror_adopt_SOURCES = tests/unit/mirror/test_mirror_adopt.c \
	tests/unit/mirror/mirror_rig.h tests/unit/cache/cache_rig.h
tests_unit_mirror_test_mirror_adopt_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_mirror_test_mirror_adopt_LDADD = $(SIM_LIBS) $(BLOCKCORE_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/mirror/test_mirror_link
tests_unit_mirror_test_mirror_link_SOURCES = tests/unit/mirror/test_mirror_link.c \
	tests/unit/link/link_rig.c tests/unit/link/link_rig.h
tests_unit_mirror_test_mirror_link_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_mirror_test_mirror_link_LDADD = $(BLOCKCORE_LIBS) $(UNIT_LIBS)

noinst_PROGRAMS += tests/bench/bench_mirror
tests_bench_bench_mirror_SOURCES = tests/bench/bench_mirror.c
tests_bench_bench_mirror_LDADD = $(BLOCKCORE_LIBS)
