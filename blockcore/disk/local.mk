libblockcore_a_SOURCES += blockcore/disk/disk.c blockcore/disk/disk.h blockcore/disk/disk_impl.h \
	blockcore/disk/disk_call.c blockcore/disk/disk_io.c blockcore/disk/disk_label.c blockcore/disk/disk_label.h

check_PROGRAMS += tests/unit/disk/test_disk
tests_unit_disk_test_disk_SOURCES = tests/unit/disk/test_disk.c
tests_unit_disk_test_disk_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_disk_test_disk_LDADD = $(SIM_LIBS) $(BLOCKCORE_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/disk/test_disk_call
tests_unit_disk_test_disk_call_SOURCES = tests/unit/disk/test_disk_call.c
tests_unit_disk_test_disk_call_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_disk_test_disk_call_LDADD = $(SIM_LIBS) $(BLOCKCORE_LIBS) $(UNIT_LIBS)
