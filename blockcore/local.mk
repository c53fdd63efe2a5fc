noinst_LIBRARIES += libblockcore.a
libblockcore_a_SOURCES = blockcore/core.c blockcore/core.h blockcore/core_admin.c \
	blockcore/core_admin.h blockcore/core_admin_backup.c blockcore/core_admin_controller.c blockcore/core_admin_disk.c blockcore/core_admin_export.c \
	blockcore/core_admin_fs.c blockcore/core_admin_group.c blockcore/core_admin_pass.c blockcore/core_admin_pool.c \
	blockcore/core_admin_software.c blockcore/core_admin_status.c blockcore/core_admin_volume.c blockcore/core_backup.c blockcore/core_load.c blockcore/core_side.c \
	blockcore/export_rule.c blockcore/export_rule.h blockcore/core_fill.c blockcore/core_follow.c blockcore/core_impl.h blockcore/core_open.c blockcore/core_pool.c blockcore/core_pool_make.c blockcore/core_pool_set.c blockcore/core_stall.c blockcore/core_software.c blockcore/core_software.h blockcore/core_volume.c \
	blockcore/core_admin_move.c blockcore/core_far.c blockcore/far.h blockcore/core_give.c blockcore/core_own.c blockcore/core_own.h \
	blockcore/core_own_look.c blockcore/core_partner.c blockcore/core_take.c blockcore/core_watch.c

check_PROGRAMS += tests/unit/core/test_export_rule
tests_unit_core_test_export_rule_SOURCES = tests/unit/core/test_export_rule.c
tests_unit_core_test_export_rule_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_core_test_export_rule_LDADD = $(BLOCKCORE_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/core/test_core
tests_unit_core_test_core_SOURCES = tests/unit/core/core_rig.h tests/unit/core/test_core.c
tests_unit_core_test_core_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_core_test_core_LDADD = $(SIM_LIBS) $(BLOCKCORE_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/core/test_core_grow
tests_unit_core_test_core_grow_SOURCES = tests/unit/core/core_rig.h tests/unit/core/test_core_grow.c
tests_unit_core_test_core_grow_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_core_test_core_grow_LDADD = $(SIM_LIBS) $(BLOCKCORE_LIBS) $(UNIT_LIBS)
check_PROGRAMS += tests/unit/core/test_core_sums
tests_unit_core_test_core_sums_SOURCES = tests/unit/core/core_rig.h tests/unit/core/test_core_sums.c
tests_unit_core_test_core_sums_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_core_test_core_sums_LDADD = $(SIM_LIBS) $(BLOCKCORE_LIBS) $(UNIT_LIBS)
check_PROGRAMS += tests/unit/core/test_core_fill
tests_unit_core_test_core_fill_SOURCES = tests/unit/core/core_rig.h tests/unit/core/test_core_fill.c
tests_unit_core_test_core_fill_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_core_test_core_fill_LDADD = $(SIM_LIBS) $(BLOCKCORE_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/core/test_backup
tests_unit_core_test_backup_SOURCES = tests/unit/core/core_rig.h tests/unit/core/test_backup.c
tests_unit_core_test_backup_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_core_test_backup_LDADD = $(SIM_LIBS) $(BLOCKCORE_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/core/test_core_threads
tests_unit_core_test_core_threads_SOURCES = tests/unit/core/test_core_threads.c
tests_unit_core_test_core_threads_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_core_test_core_threads_LDADD = $(BLOCKCORE_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/core/test_core_follow
tests_unit_core_test_core_follow_SOURCES = tests/unit/core/test_core_follow.c
tests_unit_core_test_core_follow_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_core_test_core_follow_LDADD = $(SIM_LIBS) $(BLOCKCORE_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/core/test_core_own
tests_unit_core_test_core_own_SOURCES = tests/unit/core/core_rig.h tests/unit/core/own_rig.c \
	tests/unit/core/own_rig.h tests/unit/core/test_core_own.c
tests_unit_core_test_core_own_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_core_test_core_own_LDADD = $(SIM_LIBS) $(BLOCKCORE_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/core/test_core_far
tests_unit_core_test_core_far_SOURCES = tests/unit/core/core_rig.h tests/unit/core/own_rig.c \
	tests/unit/core/own_rig.h tests/unit/core/test_core_far.c
tests_unit_core_test_core_far_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_core_test_core_far_LDADD = $(SIM_LIBS) $(BLOCKCORE_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/core/test_core_own_death
tests_unit_core_test_core_own_death_SOURCES = tests/unit/core/core_rig.h tests/unit/core/own_rig.c \
	tests/unit/core/own_rig.h tests/unit/core/test_core_own_death.c
tests_unit_core_test_core_own_death_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_core_test_core_own_death_LDADD = $(SIM_LIBS) $(BLOCKCORE_LIBS) $(UNIT_LIBS)
