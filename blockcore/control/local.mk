libblockcore_a_SOURCES += blockcore/control/gcm.h blockcore/control/gcm_shared.c blockcore/control/meta.c blockcore/control/meta.h \
	blockcore/control/meta_check.c blockcore/control/meta_check.h blockcore/control/meta_check_impl.h \
	blockcore/control/meta_check_nas.c blockcore/control/meta_check_pool.c blockcore/control/meta_check_scsi.c \
	blockcore/control/meta_impl.h blockcore/control/meta_link.c blockcore/control/meta_load.c \
	blockcore/control/meta_pb.c blockcore/control/meta_ports.c blockcore/control/meta_scsi.c blockcore/control/meta_scsi.h \
	blockcore/control/meta_share.c blockcore/control/meta_share.h \
	blockcore/control/meta_slot.c blockcore/control/meta_slot.h blockcore/control/meta_store.h \
	blockcore/control/meta_write.c \
	blockcore/control/owner.c blockcore/control/owner.h

check_PROGRAMS += tests/unit/meta/test_meta
tests_unit_meta_test_meta_SOURCES = tests/unit/meta/test_meta.c
tests_unit_meta_test_meta_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_meta_test_meta_LDADD = $(SIM_LIBS) $(BLOCKCORE_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/meta/test_meta_check
tests_unit_meta_test_meta_check_SOURCES = tests/unit/meta/test_meta_check.c
tests_unit_meta_test_meta_check_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_meta_test_meta_check_LDADD = $(SIM_LIBS) $(BLOCKCORE_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/control/test_gcm
tests_unit_control_test_gcm_SOURCES = tests/unit/control/test_gcm.c
tests_unit_control_test_gcm_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_control_test_gcm_LDADD = $(SIM_LIBS) $(BLOCKCORE_LIBS) $(UNIT_LIBS)

meta_share_rig = tests/unit/meta/share_rig.c tests/unit/meta/share_rig.h
check_PROGRAMS += tests/unit/meta/test_meta_share
tests_unit_meta_test_meta_share_SOURCES = tests/unit/meta/test_meta_share.c $(meta_share_rig)
tests_unit_meta_test_meta_share_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_meta_test_meta_share_LDADD = $(SIM_LIBS) $(BLOCKCORE_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/meta/test_meta_share_death
tests_unit_meta_test_meta_share_death_SOURCES = tests/unit/meta/test_meta_share_death.c $(meta_share_rig)
tests_unit_meta_test_meta_share_death_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_meta_test_meta_share_death_LDADD = $(SIM_LIBS) $(BLOCKCORE_LIBS) $(UNIT_LIBS)
