# Clients over libnfs and libiscsi, used by quickstart and the system tests.
noinst_PROGRAMS += tests/tools/nfs_tree tests/tools/iscsi_lun tests/tools/iscsi_groups
tests_tools_nfs_tree_SOURCES = tests/tools/nfs_tree.c
tests_tools_nfs_tree_LDADD = $(NFS_LIBS)
tests_tools_iscsi_lun_SOURCES = tests/tools/iscsi_lun.c
tests_tools_iscsi_lun_LDADD = $(ISCSI_LIBS)
noinst_PROGRAMS += tests/tools/oracle
tests_tools_oracle_SOURCES = tests/tools/oracle.c
tests_tools_oracle_LDADD = $(ISCSI_LIBS) $(NFS_LIBS)
noinst_PROGRAMS += tests/tools/nfs_hostile
tests_tools_nfs_hostile_SOURCES = tests/tools/nfs_hostile.c
noinst_PROGRAMS += tests/tools/disk_damage
tests_tools_disk_damage_SOURCES = tests/tools/disk_damage.c
nfs3_client = tests/tools/nfs3_client.c tests/tools/nfs3_client.h tests/tools/nfs3_client_impl.h \
	tests/tools/nfs3_mount.c tests/tools/nfs3_raw.c
noinst_PROGRAMS += tests/tools/nfs3_conform
tests_tools_nfs3_conform_SOURCES = $(nfs3_client) tests/tools/nfs3_conform.c \
	tests/tools/nfs3_conform.h tests/tools/nfs3_conform_attr.c tests/tools/nfs3_conform_data.c \
	tests/tools/nfs3_conform_dirs.c tests/tools/nfs3_conform_exports.c \
	tests/tools/nfs3_conform_names.c tests/tools/nfs3_conform_rename.c \
	tests/tools/nfs3_conform_rights.c tests/tools/nfs3_conform_table.c tests/tools/nfs3_conform_wire.c
tests_tools_nfs3_conform_LDADD = $(NFS_LIBS)
nfs3_fleet = $(nfs3_client) tests/tools/nfs3_fleet.c tests/tools/nfs3_fleet.h
noinst_PROGRAMS += tests/tools/nfs3_fill
tests_tools_nfs3_fill_SOURCES = $(nfs3_fleet) tests/tools/nfs3_fill.c
tests_tools_nfs3_fill_LDADD = $(NFS_LIBS)
noinst_PROGRAMS += tests/tools/nfs3_do
tests_tools_nfs3_do_SOURCES = $(nfs3_client) tests/tools/nfs3_do.c
tests_tools_nfs3_do_LDADD = $(NFS_LIBS)
noinst_PROGRAMS += tests/tools/nfs3_storm
tests_tools_nfs3_storm_SOURCES = $(nfs3_fleet) tests/tools/nfs3_storm.c
tests_tools_nfs3_storm_LDADD = $(NFS_LIBS)
noinst_PROGRAMS += tests/tools/nfs3_weave
tests_tools_nfs3_weave_SOURCES = $(nfs3_fleet) tests/tools/nfs3_weave.c
tests_tools_nfs3_weave_LDADD = $(NFS_LIBS)
noinst_PROGRAMS += tests/tools/nlm_lock
tests_tools_nlm_lock_SOURCES = $(nfs3_client) tests/tools/nlm_lock.c
tests_tools_nlm_lock_LDADD = $(NFS_LIBS)

noinst_PROGRAMS += tests/tools/nfs4_successor
tests_tools_nfs4_successor_SOURCES = tests/tools/nfs4_successor.c $(V4_CLIENT)
tests_tools_nfs4_successor_LDADD = $(NASFRONT_LIBS)
noinst_PROGRAMS += tests/tools/nfs4_restart
tests_tools_nfs4_restart_SOURCES = tests/tools/nfs4_restart.c $(V4_CLIENT)
tests_tools_nfs4_restart_LDADD = $(NASFRONT_LIBS)
tests_tools_iscsi_groups_SOURCES = tests/tools/iscsi_groups.c
tests_tools_iscsi_groups_LDADD = $(ISCSI_LIBS)
noinst_PROGRAMS += tests/tools/rpc_tls_probe
tests_tools_rpc_tls_probe_SOURCES = tests/tools/rpc_tls_probe.c
tests_tools_rpc_tls_probe_LDADD = libnasfront.a $(RUNTIME_LIBS) $(SSL_LIBS)
noinst_PROGRAMS += tests/tools/two_mounts
tests_tools_two_mounts_SOURCES = tests/tools/two_mounts.c tests/tools/two_mounts.h tests/tools/two_mounts_data.c \
	tests/tools/two_mounts_locks.c tests/tools/two_mounts_names.c tests/tools/two_mounts_space.c
noinst_PROGRAMS += tests/tools/contend
tests_tools_contend_SOURCES = tests/tools/contend.c
