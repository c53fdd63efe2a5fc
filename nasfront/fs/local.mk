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

check_PROGRAMS += tests/unit/fs/test_fs tests/unit/fs/test_fs_acl tests/unit/fs/test_fs_clone \
	tests/unit/fs/test_fs_clone_whole tests/unit/fs/test_fs_crash tests/unit/fs/test_fs_damage \
	tests/unit/fs/test_fs_dump tests/unit/fs/test_fs_holes tests/unit/fs/test_fs_kept \
	tests/unit/fs/test_fs_log tests/unit/fs/test_fs_memo tests/unit/fs/test_fs_memo_ring tests/unit/fs/test_fs_model \
	tests/unit/fs/test_fs_quota tests/unit/fs/test_fs_read tests/unit/fs/test_fs_share \
	tests/unit/fs/test_fs_soft tests/unit/fs/test_fs_space tests/unit/fs/test_fs_xattr \
	tests/unit/fs/test_range tests/unit/fs/test_tree

fs_world = tests/unit/fs/fs_world.h
fs_clone_world = tests/unit/fs/clone_world.h $(fs_world)
fs_memo_world = tests/unit/fs/memo_world.h $(fs_world)
fs_model = tests/unit/fs/model.c tests/unit/fs/model_apply.c tests/unit/fs/model_run.c \
	tests/unit/fs/model_differs.c tests/unit/fs/model.h $(fs_world)
fs_test_cflags = $(AM_CFLAGS) $(CHECK_CFLAGS)
fs_test_libs = libnasfront.a $(SIM_LIBS) $(RUNTIME_LIBS) $(UNIT_LIBS)

tests_unit_fs_test_fs_SOURCES = tests/unit/fs/test_fs.c $(fs_world)
tests_unit_fs_test_fs_CFLAGS = $(fs_test_cflags)
tests_unit_fs_test_fs_LDADD = $(fs_test_libs)

tests_unit_fs_test_fs_acl_SOURCES = tests/unit/fs/test_fs_acl.c $(fs_world)
tests_unit_fs_test_fs_acl_CFLAGS = $(fs_test_cflags)
tests_unit_fs_test_fs_acl_LDADD = $(fs_test_libs)

tests_unit_fs_test_fs_clone_SOURCES = tests/unit/fs/test_fs_clone.c $(fs_clone_world)
tests_unit_fs_test_fs_clone_CFLAGS = $(fs_test_cflags)
tests_unit_fs_test_fs_clone_LDADD = $(fs_test_libs)

tests_unit_fs_test_fs_clone_whole_SOURCES = tests/unit/fs/test_fs_clone_whole.c $(fs_clone_world)
tests_unit_fs_test_fs_clone_whole_CFLAGS = $(fs_test_cflags)
tests_unit_fs_test_fs_clone_whole_LDADD = $(fs_test_libs)

tests_unit_fs_test_fs_crash_SOURCES = $(fs_model) tests/unit/fs/crash.c tests/unit/fs/crash.h tests/unit/fs/recorded.c \
	tests/unit/fs/recorded.h tests/unit/fs/test_fs_crash.c
tests_unit_fs_test_fs_crash_CFLAGS = $(fs_test_cflags)
tests_unit_fs_test_fs_crash_LDADD = $(fs_test_libs)

tests_unit_fs_test_fs_damage_SOURCES = $(fs_model) tests/unit/fs/test_fs_damage.c
tests_unit_fs_test_fs_damage_CFLAGS = $(fs_test_cflags)
tests_unit_fs_test_fs_damage_LDADD = $(fs_test_libs)

tests_unit_fs_test_fs_dump_SOURCES = tests/unit/fs/test_fs_dump.c $(fs_world)
tests_unit_fs_test_fs_dump_CFLAGS = $(fs_test_cflags)
tests_unit_fs_test_fs_dump_LDADD = $(fs_test_libs)

tests_unit_fs_test_fs_holes_SOURCES = tests/unit/fs/test_fs_holes.c $(fs_world)
tests_unit_fs_test_fs_holes_CFLAGS = $(fs_test_cflags)
tests_unit_fs_test_fs_holes_LDADD = $(fs_test_libs)

tests_unit_fs_test_fs_kept_SOURCES = tests/unit/fs/test_fs_kept.c $(fs_world)
tests_unit_fs_test_fs_kept_CFLAGS = $(fs_test_cflags)
tests_unit_fs_test_fs_kept_LDADD = $(fs_test_libs)

tests_unit_fs_test_fs_log_SOURCES = tests/unit/fs/test_fs_log.c $(fs_world)
tests_unit_fs_test_fs_log_CFLAGS = $(fs_test_cflags)
tests_unit_fs_test_fs_log_LDADD = $(fs_test_libs)

tests_unit_fs_test_fs_memo_SOURCES = tests/unit/fs/test_fs_memo.c $(fs_memo_world)
tests_unit_fs_test_fs_memo_CFLAGS = $(fs_test_cflags)
tests_unit_fs_test_fs_memo_LDADD = $(fs_test_libs)

tests_unit_fs_test_fs_memo_ring_SOURCES = tests/unit/fs/test_fs_memo_ring.c $(fs_memo_world)
tests_unit_fs_test_fs_memo_ring_CFLAGS = $(fs_test_cflags)
tests_unit_fs_test_fs_memo_ring_LDADD = $(fs_test_libs)

tests_unit_fs_test_fs_model_SOURCES = $(fs_model) tests/unit/fs/test_fs_model.c
tests_unit_fs_test_fs_model_CFLAGS = $(fs_test_cflags)
tests_unit_fs_test_fs_model_LDADD = $(fs_test_libs)

tests_unit_fs_test_fs_quota_SOURCES = tests/unit/fs/test_fs_quota.c $(fs_world)
tests_unit_fs_test_fs_quota_CFLAGS = $(fs_test_cflags)
tests_unit_fs_test_fs_quota_LDADD = $(fs_test_libs)

tests_unit_fs_test_fs_read_SOURCES = tests/unit/fs/test_fs_read.c $(fs_world)
tests_unit_fs_test_fs_read_CFLAGS = $(fs_test_cflags)
tests_unit_fs_test_fs_read_LDADD = $(fs_test_libs)

tests_unit_fs_test_fs_share_SOURCES = tests/unit/fs/test_fs_share.c $(fs_clone_world)
tests_unit_fs_test_fs_share_CFLAGS = $(fs_test_cflags)
tests_unit_fs_test_fs_share_LDADD = $(fs_test_libs)

tests_unit_fs_test_fs_soft_SOURCES = tests/unit/fs/test_fs_soft.c $(fs_world)
tests_unit_fs_test_fs_soft_CFLAGS = $(fs_test_cflags)
tests_unit_fs_test_fs_soft_LDADD = $(fs_test_libs)

tests_unit_fs_test_fs_space_SOURCES = tests/unit/fs/test_fs_space.c $(fs_world)
tests_unit_fs_test_fs_space_CFLAGS = $(fs_test_cflags)
tests_unit_fs_test_fs_space_LDADD = $(fs_test_libs)

tests_unit_fs_test_fs_xattr_SOURCES = tests/unit/fs/test_fs_xattr.c $(fs_world)
tests_unit_fs_test_fs_xattr_CFLAGS = $(fs_test_cflags)
tests_unit_fs_test_fs_xattr_LDADD = $(fs_test_libs)

tests_unit_fs_test_range_SOURCES = tests/unit/fs/test_range.c $(fs_world)
tests_unit_fs_test_range_CFLAGS = $(fs_test_cflags)
tests_unit_fs_test_range_LDADD = $(fs_test_libs)

tests_unit_fs_test_tree_SOURCES = tests/unit/fs/test_tree.c $(fs_world)
tests_unit_fs_test_tree_CFLAGS = $(fs_test_cflags)
tests_unit_fs_test_tree_LDADD = $(fs_test_libs)

tests_unit_fs_test_fs_kept_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=calloc
tests_unit_fs_test_fs_dump_CPPFLAGS = $(AM_CPPFLAGS) -DTOP='"$(abs_top_builddir)"'
EXTRA_tests_unit_fs_test_fs_dump_DEPENDENCIES = isthmus isthmus-fsck
