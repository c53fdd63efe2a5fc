EXTRA_DIST += nasfront/fs/README.md

libnasfront_a_SOURCES += \
	nasfront/fs/access.c nasfront/fs/acl.c nasfront/fs/acl.h nasfront/fs/acl_posix.c nasfront/fs/acl_store.c nasfront/fs/alloc.c nasfront/fs/alloc_inode.c nasfront/fs/check.c \
	nasfront/fs/check.h nasfront/fs/check_dirs.c nasfront/fs/check_inodes.c nasfront/fs/check_maps.c \
	nasfront/fs/checkpoint.c nasfront/fs/clone.c nasfront/fs/clone.h nasfront/fs/standin.c nasfront/fs/unshare.c \
	nasfront/fs/dir.c nasfront/fs/dump.c nasfront/fs/dump.h nasfront/fs/dump_inode.c nasfront/fs/dump_journal.c nasfront/fs/extent.c nasfront/fs/fs.h nasfront/fs/impl.h \
	nasfront/fs/grow.c nasfront/fs/memo.c nasfront/fs/memo.h nasfront/fs/memo_ring.c nasfront/fs/check_memo.c nasfront/fs/inode.c nasfront/fs/journal.c nasfront/fs/layout.h nasfront/fs/meta.c \
	nasfront/fs/kept.c nasfront/fs/mkfs.c nasfront/fs/mount.c nasfront/fs/name.c nasfront/fs/orphan.c \
	nasfront/fs/quota.c nasfront/fs/quota_admin.c nasfront/fs/check_quota.c nasfront/fs/range.c nasfront/fs/read.c nasfront/fs/readdir.c nasfront/fs/rename.c \
	nasfront/fs/replay.c nasfront/fs/setattr.c nasfront/fs/share.c nasfront/fs/slab.c nasfront/fs/tree.c nasfront/fs/tree_node.c \
	nasfront/fs/space.c nasfront/fs/txn.c nasfront/fs/upgrade.c nasfront/fs/check_share.c nasfront/fs/check_xattr.c nasfront/fs/watch.c nasfront/fs/watch.h nasfront/fs/write.c \
	nasfront/fs/xattr.c nasfront/fs/xattr.h

check_PROGRAMS += tests/unit/fs/test_fs
tests_unit_fs_test_fs_SOURCES = tests/unit/fs/test_fs.c tests/unit/fs/fs_world.h
tests_unit_fs_test_fs_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_fs_test_fs_LDADD = libnasfront.a $(SIM_LIBS) $(RUNTIME_LIBS) $(UNIT_LIBS)

fs_model_sources = tests/unit/fs/model.c tests/unit/fs/model_apply.c tests/unit/fs/model_run.c \
	tests/unit/fs/model_differs.c tests/unit/fs/model.h tests/unit/fs/fs_world.h

check_PROGRAMS += tests/unit/fs/test_fs_model
tests_unit_fs_test_fs_model_SOURCES = $(fs_model_sources) \
	tests/unit/fs/test_fs_model.c
tests_unit_fs_test_fs_model_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_fs_test_fs_model_LDADD = libnasfront.a $(SIM_LIBS) $(RUNTIME_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/fs/test_fs_crash
tests_unit_fs_test_fs_crash_SOURCES = $(fs_model_sources) tests/unit/fs/crash.c tests/unit/fs/crash.h \
	tests/unit/fs/recorded.c tests/unit/fs/recorded.h tests/unit/fs/test_fs_crash.c
tests_unit_fs_test_fs_crash_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_fs_test_fs_crash_LDADD = libnasfront.a $(SIM_LIBS) $(RUNTIME_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/fs/test_fs_soft
tests_unit_fs_test_fs_soft_SOURCES = tests/unit/fs/test_fs_soft.c tests/unit/fs/fs_world.h
tests_unit_fs_test_fs_soft_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_fs_test_fs_soft_LDADD = libnasfront.a $(SIM_LIBS) $(RUNTIME_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/fs/test_fs_kept
tests_unit_fs_test_fs_kept_SOURCES = tests/unit/fs/test_fs_kept.c tests/unit/fs/fs_world.h
tests_unit_fs_test_fs_kept_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_fs_test_fs_kept_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=calloc
tests_unit_fs_test_fs_kept_LDADD = libnasfront.a $(SIM_LIBS) $(RUNTIME_LIBS) $(UNIT_LIBS)
check_PROGRAMS += tests/unit/fs/test_fs_holes
tests_unit_fs_test_fs_holes_SOURCES = tests/unit/fs/test_fs_holes.c tests/unit/fs/fs_world.h
tests_unit_fs_test_fs_holes_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_fs_test_fs_holes_LDADD = libnasfront.a $(SIM_LIBS) $(RUNTIME_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/fs/test_fs_memo
tests_unit_fs_test_fs_memo_SOURCES = tests/unit/fs/test_fs_memo.c tests/unit/fs/fs_world.h
tests_unit_fs_test_fs_memo_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_fs_test_fs_memo_LDADD = libnasfront.a $(SIM_LIBS) $(RUNTIME_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/fs/test_fs_dump
tests_unit_fs_test_fs_dump_SOURCES = tests/unit/fs/test_fs_dump.c tests/unit/fs/fs_world.h
tests_unit_fs_test_fs_dump_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_fs_test_fs_dump_CPPFLAGS = $(AM_CPPFLAGS) -DTOP='"$(abs_top_builddir)"'
EXTRA_tests_unit_fs_test_fs_dump_DEPENDENCIES = isthmus isthmus-fsck
tests_unit_fs_test_fs_dump_LDADD = libnasfront.a $(SIM_LIBS) $(RUNTIME_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/fs/test_fs_clone
tests_unit_fs_test_fs_clone_SOURCES = tests/unit/fs/test_fs_clone.c tests/unit/fs/clone_world.h tests/unit/fs/fs_world.h
tests_unit_fs_test_fs_clone_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_fs_test_fs_clone_LDADD = libnasfront.a $(SIM_LIBS) $(RUNTIME_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/fs/test_fs_clone_whole
tests_unit_fs_test_fs_clone_whole_SOURCES = tests/unit/fs/test_fs_clone_whole.c tests/unit/fs/clone_world.h tests/unit/fs/fs_world.h
tests_unit_fs_test_fs_clone_whole_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_fs_test_fs_clone_whole_LDADD = libnasfront.a $(SIM_LIBS) $(RUNTIME_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/fs/test_fs_share
tests_unit_fs_test_fs_share_SOURCES = tests/unit/fs/test_fs_share.c tests/unit/fs/clone_world.h tests/unit/fs/fs_world.h
tests_unit_fs_test_fs_share_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_fs_test_fs_share_LDADD = libnasfront.a $(SIM_LIBS) $(RUNTIME_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/fs/test_fs_xattr
tests_unit_fs_test_fs_xattr_SOURCES = tests/unit/fs/test_fs_xattr.c tests/unit/fs/fs_world.h
tests_unit_fs_test_fs_xattr_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_fs_test_fs_xattr_LDADD = libnasfront.a $(SIM_LIBS) $(RUNTIME_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/fs/test_fs_acl
tests_unit_fs_test_fs_acl_SOURCES = tests/unit/fs/test_fs_acl.c tests/unit/fs/fs_world.h
tests_unit_fs_test_fs_acl_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_fs_test_fs_acl_LDADD = libnasfront.a $(SIM_LIBS) $(RUNTIME_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/fs/test_range
tests_unit_fs_test_range_SOURCES = tests/unit/fs/test_range.c tests/unit/fs/fs_world.h
tests_unit_fs_test_range_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_fs_test_range_LDADD = libnasfront.a $(SIM_LIBS) $(RUNTIME_LIBS) $(UNIT_LIBS)
check_PROGRAMS += tests/unit/fs/test_fs_read
tests_unit_fs_test_fs_read_SOURCES = tests/unit/fs/test_fs_read.c tests/unit/fs/fs_world.h
tests_unit_fs_test_fs_read_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_fs_test_fs_read_LDADD = libnasfront.a $(SIM_LIBS) $(RUNTIME_LIBS) $(UNIT_LIBS)
check_PROGRAMS += tests/unit/fs/test_fs_space
tests_unit_fs_test_fs_space_SOURCES = tests/unit/fs/test_fs_space.c tests/unit/fs/fs_world.h
tests_unit_fs_test_fs_space_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_fs_test_fs_space_LDADD = libnasfront.a $(SIM_LIBS) $(RUNTIME_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/fs/test_fs_damage
tests_unit_fs_test_fs_damage_SOURCES = $(fs_model_sources) \
	tests/unit/fs/test_fs_damage.c
tests_unit_fs_test_fs_damage_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_fs_test_fs_damage_LDADD = libnasfront.a $(SIM_LIBS) $(RUNTIME_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/fs/test_fs_log
tests_unit_fs_test_fs_log_SOURCES = tests/unit/fs/test_fs_log.c tests/unit/fs/fs_world.h
tests_unit_fs_test_fs_log_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_fs_test_fs_log_LDADD = libnasfront.a $(SIM_LIBS) $(RUNTIME_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/fs/test_tree
tests_unit_fs_test_tree_SOURCES = tests/unit/fs/test_tree.c tests/unit/fs/fs_world.h
tests_unit_fs_test_tree_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_fs_test_tree_LDADD = libnasfront.a $(SIM_LIBS) $(RUNTIME_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/fs/test_fs_quota
tests_unit_fs_test_fs_quota_SOURCES = tests/unit/fs/test_fs_quota.c tests/unit/fs/fs_world.h
tests_unit_fs_test_fs_quota_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_fs_test_fs_quota_LDADD = libnasfront.a $(SIM_LIBS) $(RUNTIME_LIBS) $(UNIT_LIBS)
