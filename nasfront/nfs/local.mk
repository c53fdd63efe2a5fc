libnasfront_a_SOURCES += \
	nasfront/nfs/acl3.c nasfront/nfs/rquota.c \
	nasfront/nfs/deleg.c nasfront/nfs/deleg.h nasfront/nfs/export.c nasfront/nfs/export.h nasfront/nfs/export_resolve.c \
	nasfront/nfs/fh.c nasfront/nfs/fh.h nasfront/nfs/groups.c nasfront/nfs/groups.h \
	nasfront/nfs/host_cache.c nasfront/nfs/host_cache.h nasfront/nfs/lock_impl.h nasfront/nfs/lock_range.c \
	nasfront/nfs/lock_table.c nasfront/nfs/lock_table.h nasfront/nfs/lock_wait.c nasfront/nfs/mount3.c \
	nasfront/nfs/nlm.c nasfront/nfs/nlm.h nasfront/nfs/nlm_client.c nasfront/nfs/nlm_impl.h \
	nasfront/nfs/nlm_proc.c nasfront/nfs/nlm_xdr.c nasfront/nfs/nsm.c \
	nasfront/nfs/nfs.h nasfront/nfs/nfs_call.c nasfront/nfs/nfs_call.h nasfront/nfs/nfs_impl.h \
	nasfront/nfs/netgroup.c nasfront/nfs/netgroup.h nasfront/nfs/nfs_mount.c nasfront/nfs/nfs_stats.c \
	nasfront/nfs/nfs3_op_attr.c nasfront/nfs/nfs3_op_create.c nasfront/nfs/nfs3_op_dir.c \
	nasfront/nfs/nfs3_op_fsinfo.c nasfront/nfs/nfs3_op_io.c nasfront/nfs/nfs3_op_lookup.c \
	nasfront/nfs/nfs3_op_remove.c nasfront/nfs/store.c nasfront/nfs/store.h nasfront/nfs/lock_restore.c nasfront/nfs/nlm_state.c nasfront/nfs/nfs3_xdr.c nasfront/nfs/nfs3_xdr.h

NAS_WORLD = tests/unit/nfs/mem_store.c tests/unit/nfs/mem_store.h tests/unit/nfs/nas_world.c tests/unit/nfs/nas_world.h tests/unit/nfs/nas_clock.c tests/unit/nfs/nas_clock.h
check_PROGRAMS += tests/unit/nfs/test_nfs_client
tests_unit_nfs_test_nfs_client_SOURCES = tests/unit/nfs/test_nfs_client.c $(NAS_WORLD)
tests_unit_nfs_test_nfs_client_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS) $(NFS_CFLAGS)
tests_unit_nfs_test_nfs_client_LDADD = $(NASFRONT_LIBS) $(UNIT_LIBS) $(NFS_LIBS)

check_PROGRAMS += tests/unit/nfs/test_nfs
tests_unit_nfs_test_nfs_SOURCES = tests/unit/nfs/test_nfs.c $(NAS_WORLD)
tests_unit_nfs_test_nfs_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_nfs_test_nfs_LDADD = $(NASFRONT_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/nfs/test_groups
tests_unit_nfs_test_groups_SOURCES = tests/unit/nfs/test_groups.c $(V4_WORLD)
tests_unit_nfs_test_groups_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS) $(NFS_CFLAGS)
tests_unit_nfs_test_groups_LDADD = $(NASFRONT_LIBS) $(UNIT_LIBS) $(NFS_LIBS)

check_PROGRAMS += tests/unit/nfs/test_lock_table
LOCK_MODEL = tests/unit/nfs/lock_model.c tests/unit/nfs/lock_model.h
tests_unit_nfs_test_lock_table_SOURCES = tests/unit/nfs/test_lock_table.c $(LOCK_MODEL)
tests_unit_nfs_test_lock_table_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_nfs_test_lock_table_LDADD = $(NASFRONT_LIBS) $(UNIT_LIBS)
check_PROGRAMS += tests/unit/nfs/test_lock_watch
tests_unit_nfs_test_lock_watch_SOURCES = tests/unit/nfs/test_lock_watch.c $(LOCK_MODEL)
tests_unit_nfs_test_lock_watch_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_nfs_test_lock_watch_LDADD = $(NASFRONT_LIBS) $(UNIT_LIBS)

NLM_WORLD = $(NAS_RAW) tests/unit/nfs/nlm_world.c tests/unit/nfs/nlm_world.h
check_PROGRAMS += tests/unit/nfs/test_nlm_access
tests_unit_nfs_test_nlm_access_SOURCES = tests/unit/nfs/test_nlm_access.c $(NLM_WORLD)
tests_unit_nfs_test_nlm_access_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_nfs_test_nlm_access_LDADD = $(NASFRONT_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/nfs/test_nlm
tests_unit_nfs_test_nlm_SOURCES = tests/unit/nfs/test_nlm.c $(NLM_WORLD)
tests_unit_nfs_test_nlm_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_nfs_test_nlm_LDADD = $(NASFRONT_LIBS) $(UNIT_LIBS)

NAS_RAW = $(NAS_WORLD) tests/unit/nfs/nas_raw.c tests/unit/nfs/nas_raw.h
check_PROGRAMS += tests/unit/nfs/test_export_names
tests_unit_nfs_test_export_names_SOURCES = tests/unit/nfs/test_export_names.c $(NAS_RAW)
tests_unit_nfs_test_export_names_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_nfs_test_export_names_LDADD = $(NASFRONT_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/nfs/test_acl3
tests_unit_nfs_test_acl3_SOURCES = tests/unit/nfs/test_acl3.c $(NAS_RAW)
tests_unit_nfs_test_acl3_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_nfs_test_acl3_LDADD = $(NASFRONT_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/nfs/test_rquota
tests_unit_nfs_test_rquota_SOURCES = tests/unit/nfs/test_rquota.c $(NAS_RAW)
tests_unit_nfs_test_rquota_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_nfs_test_rquota_LDADD = $(NASFRONT_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/rpc/test_rpcbind
tests_unit_rpc_test_rpcbind_SOURCES = tests/unit/rpc/test_rpcbind.c $(NAS_WORLD)
tests_unit_rpc_test_rpcbind_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_rpc_test_rpcbind_LDADD = $(NASFRONT_LIBS) $(UNIT_LIBS)

TLS_WORLD = tests/unit/rpc/tls_client.c tests/unit/rpc/tls_client.h tests/unit/rpc/tls_certs.c tests/unit/rpc/tls_certs.h \
	tests/unit/rpc/tls_world.c tests/unit/rpc/tls_world.h $(NAS_RAW)
check_PROGRAMS += tests/unit/rpc/test_rpc_tls tests/unit/rpc/test_rpc_tls_hostile tests/unit/rpc/test_rpc_room
tests_unit_rpc_test_rpc_tls_SOURCES = tests/unit/rpc/test_rpc_tls.c $(TLS_WORLD)
tests_unit_rpc_test_rpc_tls_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_rpc_test_rpc_tls_LDADD = $(NASFRONT_LIBS) $(UNIT_LIBS)
tests_unit_rpc_test_rpc_tls_hostile_SOURCES = tests/unit/rpc/test_rpc_tls_hostile.c $(TLS_WORLD)
tests_unit_rpc_test_rpc_tls_hostile_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_rpc_test_rpc_tls_hostile_LDADD = $(NASFRONT_LIBS) $(UNIT_LIBS)
tests_unit_rpc_test_rpc_room_SOURCES = tests/unit/rpc/test_rpc_room.c $(NAS_RAW)
tests_unit_rpc_test_rpc_room_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_rpc_test_rpc_room_LDADD = $(NASFRONT_LIBS) $(UNIT_LIBS)
