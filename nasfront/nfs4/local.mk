libnasfront_a_SOURCES += \
	nasfront/nfs4/absent.c nasfront/nfs4/acl4.c nasfront/nfs4/attrs.c nasfront/nfs4/back.c nasfront/nfs4/blocked.c nasfront/nfs4/callback.c nasfront/nfs4/cb_xdr.c \
	nasfront/nfs4/client.c nasfront/nfs4/compound.c nasfront/nfs4/copy.c nasfront/nfs4/deleg4.c \
	nasfront/nfs4/names.c nasfront/nfs4/names.h nasfront/nfs4/nfs4.c \
	nasfront/nfs4/nfs4.h nasfront/nfs4/nfs4_attrs.h nasfront/nfs4/nfs4_back.h nasfront/nfs4/nfs4_client.h \
	nasfront/nfs4/nfs4_compound.h nasfront/nfs4/nfs4_impl.h nasfront/nfs4/nfs4_proto.h nasfront/nfs4/nfs4_state.h nasfront/nfs4/op_attr.c \
	nasfront/nfs4/op_client.c nasfront/nfs4/op_copy.c nasfront/nfs4/op_dir.c nasfront/nfs4/op_fh.c nasfront/nfs4/op_io.c \
	nasfront/nfs4/op_lock.c nasfront/nfs4/op_name.c nasfront/nfs4/op_open.c nasfront/nfs4/op_read_plus.c nasfront/nfs4/op_space.c nasfront/nfs4/op_v40.c nasfront/nfs4/op_xattr.c nasfront/nfs4/owner4.c nasfront/nfs4/pseudo.c \
	nasfront/nfs4/record.c nasfront/nfs4/restore.c nasfront/nfs4/seqid.c nasfront/nfs4/session.c nasfront/nfs4/state.c

# A client for tests, and what it holds every reply against.
V4_CLIENT = tests/unit/nfs4/v4_called.c tests/unit/nfs4/v4_client.c tests/unit/nfs4/v4_client.h \
	tests/unit/nfs4/v4_files.c tests/unit/nfs4/v4_wire.h \
	tests/unit/nfs4/v4_table.c tests/unit/nfs4/v4_table.h \
	tests/unit/nfs4/v4_valid.c tests/unit/nfs4/v4_valid.h
V4_WORLD = $(NAS_WORLD) $(V4_CLIENT)
check_PROGRAMS += tests/unit/nfs4/test_nfs4
PAIR_WORLD = $(V4_WORLD) tests/unit/nfs4/pair_world.c tests/unit/nfs4/pair_world.h
tests_unit_nfs4_test_nfs4_SOURCES = tests/unit/nfs4/test_nfs4.c $(PAIR_WORLD)
tests_unit_nfs4_test_nfs4_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_nfs4_test_nfs4_LDADD = $(NASFRONT_LIBS) $(UNIT_LIBS)
check_PROGRAMS += tests/unit/nfs4/test_nfs4_session
tests_unit_nfs4_test_nfs4_session_SOURCES = tests/unit/nfs4/test_nfs4_session.c $(PAIR_WORLD)
tests_unit_nfs4_test_nfs4_session_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_nfs4_test_nfs4_session_LDADD = $(NASFRONT_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/nfs4/test_nfs4_state
tests_unit_nfs4_test_nfs4_state_SOURCES = tests/unit/nfs4/test_nfs4_state.c $(V4_WORLD)
tests_unit_nfs4_test_nfs4_state_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_nfs4_test_nfs4_state_LDADD = $(NASFRONT_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/nfs4/test_nfs42
tests_unit_nfs4_test_nfs42_SOURCES = tests/unit/nfs4/test_nfs42.c $(V4_WORLD)
tests_unit_nfs4_test_nfs42_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_nfs4_test_nfs42_LDADD = $(NASFRONT_LIBS) $(UNIT_LIBS)
check_PROGRAMS += tests/unit/nfs4/test_nfs4_notify
tests_unit_nfs4_test_nfs4_notify_SOURCES = tests/unit/nfs4/test_nfs4_notify.c $(V4_WORLD)
tests_unit_nfs4_test_nfs4_notify_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_nfs4_test_nfs4_notify_LDADD = $(NASFRONT_LIBS) $(UNIT_LIBS)
check_PROGRAMS += tests/unit/nfs4/test_nfs4_copy
tests_unit_nfs4_test_nfs4_copy_SOURCES = tests/unit/nfs4/test_nfs4_copy.c $(V4_WORLD)
tests_unit_nfs4_test_nfs4_copy_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_nfs4_test_nfs4_copy_LDADD = $(NASFRONT_LIBS) $(UNIT_LIBS)
check_PROGRAMS += tests/unit/nfs4/test_nfs4_read_plus
tests_unit_nfs4_test_nfs4_read_plus_SOURCES = tests/unit/nfs4/test_nfs4_read_plus.c $(V4_WORLD)
tests_unit_nfs4_test_nfs4_read_plus_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_nfs4_test_nfs4_read_plus_LDADD = $(NASFRONT_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/nfs4/test_nfs40
tests_unit_nfs4_test_nfs40_SOURCES = tests/unit/nfs4/test_nfs40.c \
	tests/unit/nfs4/v40_world.c tests/unit/nfs4/v40_world.h $(V4_WORLD)
tests_unit_nfs4_test_nfs40_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_nfs4_test_nfs40_LDADD = $(NASFRONT_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/nfs4/test_nfs40_client
tests_unit_nfs4_test_nfs40_client_SOURCES = tests/unit/nfs4/test_nfs40_client.c $(NAS_WORLD)
tests_unit_nfs4_test_nfs40_client_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS) $(NFS_CFLAGS)
tests_unit_nfs4_test_nfs40_client_LDADD = $(NASFRONT_LIBS) $(UNIT_LIBS) $(NFS_LIBS)

check_PROGRAMS += tests/unit/nfs4/test_nfs4_acl
tests_unit_nfs4_test_nfs4_acl_SOURCES = tests/unit/nfs4/test_nfs4_acl.c $(V4_WORLD)
tests_unit_nfs4_test_nfs4_acl_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_nfs4_test_nfs4_acl_LDADD = $(NASFRONT_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/nfs4/test_nfs4_names
tests_unit_nfs4_test_nfs4_names_SOURCES = tests/unit/nfs4/test_nfs4_names.c $(V4_WORLD)
tests_unit_nfs4_test_nfs4_names_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_nfs4_test_nfs4_names_LDADD = $(NASFRONT_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/nfs4/test_nfs4_absent
tests_unit_nfs4_test_nfs4_absent_SOURCES = tests/unit/nfs4/test_nfs4_absent.c tests/unit/nfs4/v4_script.c tests/unit/nfs4/v4_script.h $(V4_WORLD)
tests_unit_nfs4_test_nfs4_absent_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_nfs4_test_nfs4_absent_LDADD = $(NASFRONT_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/nfs4/test_nfs4_quota
tests_unit_nfs4_test_nfs4_quota_SOURCES = tests/unit/nfs4/test_nfs4_quota.c $(V4_WORLD)
tests_unit_nfs4_test_nfs4_quota_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_nfs4_test_nfs4_quota_LDADD = $(NASFRONT_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/nfs4/test_nfs4_courtesy
tests_unit_nfs4_test_nfs4_courtesy_SOURCES = tests/unit/nfs4/test_nfs4_courtesy.c $(V4_WORLD)
tests_unit_nfs4_test_nfs4_courtesy_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_nfs4_test_nfs4_courtesy_LDADD = $(NASFRONT_LIBS) $(UNIT_LIBS)

DELEG_WORLD = $(V4_WORLD) tests/unit/nfs4/deleg_world.c tests/unit/nfs4/deleg_world.h
check_PROGRAMS += tests/unit/nfs4/test_nfs4_deleg
tests_unit_nfs4_test_nfs4_deleg_SOURCES = tests/unit/nfs4/test_nfs4_deleg.c $(DELEG_WORLD)
tests_unit_nfs4_test_nfs4_deleg_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_nfs4_test_nfs4_deleg_LDADD = $(NASFRONT_LIBS) $(UNIT_LIBS)
check_PROGRAMS += tests/unit/nfs4/test_nfs4_deleg_use
tests_unit_nfs4_test_nfs4_deleg_use_SOURCES = tests/unit/nfs4/test_nfs4_deleg_use.c $(DELEG_WORLD)
tests_unit_nfs4_test_nfs4_deleg_use_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_nfs4_test_nfs4_deleg_use_LDADD = $(NASFRONT_LIBS) $(UNIT_LIBS)
check_PROGRAMS += tests/unit/nfs4/test_nfs4_back
tests_unit_nfs4_test_nfs4_back_SOURCES = tests/unit/nfs4/test_nfs4_back.c $(DELEG_WORLD)
tests_unit_nfs4_test_nfs4_back_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_nfs4_test_nfs4_back_LDADD = $(NASFRONT_LIBS) $(UNIT_LIBS)
check_PROGRAMS += tests/unit/nfs4/test_nfs40_deleg
tests_unit_nfs4_test_nfs40_deleg_SOURCES = tests/unit/nfs4/test_nfs40_deleg.c $(DELEG_WORLD)
tests_unit_nfs4_test_nfs40_deleg_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_nfs4_test_nfs40_deleg_LDADD = $(NASFRONT_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/nfs4/test_nfs4_errors
tests_unit_nfs4_test_nfs4_errors_SOURCES = tests/unit/nfs4/test_nfs4_errors.c \
	tests/unit/nfs4/errors_never.c tests/unit/nfs4/errors_rows.c tests/unit/nfs4/errors_rows.h \
	tests/unit/nfs4/errors_state.c \
	tests/unit/nfs4/v4_script.c tests/unit/nfs4/v4_script.h $(V4_WORLD)
tests_unit_nfs4_test_nfs4_errors_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_nfs4_test_nfs4_errors_LDADD = $(NASFRONT_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/nfs4/test_nfs4_room
tests_unit_nfs4_test_nfs4_room_SOURCES = tests/unit/nfs4/test_nfs4_room.c \
	tests/unit/nfs/nas_raw.c tests/unit/nfs/nas_raw.h $(DELEG_WORLD)
tests_unit_nfs4_test_nfs4_room_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_nfs4_test_nfs4_room_LDADD = $(NASFRONT_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/nfs4/test_nfs4_successor
tests_unit_nfs4_test_nfs4_successor_SOURCES = tests/unit/nfs4/test_nfs4_successor.c \
	tests/unit/nfs/nas_raw.c tests/unit/nfs/nas_raw.h $(DELEG_WORLD)
tests_unit_nfs4_test_nfs4_successor_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_nfs4_test_nfs4_successor_LDADD = $(NASFRONT_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/nfs4/test_nfs4_crash
tests_unit_nfs4_test_nfs4_crash_SOURCES = tests/unit/nfs4/test_nfs4_crash.c \
	tests/unit/nfs/nas_raw.c tests/unit/nfs/nas_raw.h $(DELEG_WORLD)
tests_unit_nfs4_test_nfs4_crash_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_nfs4_test_nfs4_crash_LDADD = $(NASFRONT_LIBS) $(UNIT_LIBS)
