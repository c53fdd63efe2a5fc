# Clients over libnfs and libiscsi, used by quickstart and the system tests.
noinst_PROGRAMS += tests/tools/nfs_tree tests/tools/iscsi_lun
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
