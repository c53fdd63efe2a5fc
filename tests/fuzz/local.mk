fuzz_targets += tests/fuzz/fuzz_cdb
tests_fuzz_fuzz_cdb_SOURCES = tests/fuzz/fuzz_cdb.c tests/unit/scsi/fake_volume.c
tests_fuzz_fuzz_cdb_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
tests_fuzz_fuzz_cdb_LDADD = $(SERVER_LIBS)

fuzz_targets += tests/fuzz/fuzz_config
tests_fuzz_fuzz_config_SOURCES = tests/fuzz/fuzz_config.c
tests_fuzz_fuzz_config_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
tests_fuzz_fuzz_config_LDADD = $(RUNTIME_LIBS)

fuzz_targets += tests/fuzz/fuzz_admin
tests_fuzz_fuzz_admin_SOURCES = tests/fuzz/fuzz_admin.c
tests_fuzz_fuzz_admin_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
tests_fuzz_fuzz_admin_LDADD = libadmin.a $(RUNTIME_LIBS)

fuzz_targets += tests/fuzz/fuzz_rpc tests/fuzz/fuzz_piv
tests_fuzz_fuzz_rpc_SOURCES = tests/fuzz/fuzz_rpc.c $(NAS_WORLD) tests/unit/rpc/tls_certs.c
tests_fuzz_fuzz_rpc_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
tests_fuzz_fuzz_rpc_LDADD = $(NASFRONT_LIBS)
fuzz_targets += tests/fuzz/fuzz_ledger
tests_fuzz_fuzz_ledger_SOURCES = tests/fuzz/fuzz_ledger.c
tests_fuzz_fuzz_ledger_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
tests_fuzz_fuzz_ledger_LDADD = libsim.a $(NASFRONT_LIBS)
tests_fuzz_fuzz_piv_SOURCES = tests/fuzz/fuzz_piv.c
tests_fuzz_fuzz_piv_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
tests_fuzz_fuzz_piv_LDADD = libsim.a $(NASFRONT_LIBS)

fuzz_targets += tests/fuzz/fuzz_iscsi_pdu tests/fuzz/fuzz_iscsi_text
tests_fuzz_fuzz_iscsi_pdu_SOURCES = tests/fuzz/fuzz_iscsi_pdu.c $(iscsi_fixture)
tests_fuzz_fuzz_iscsi_pdu_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
tests_fuzz_fuzz_iscsi_pdu_LDADD = $(SERVER_LIBS) $(UNIT_LIBS)
tests_fuzz_fuzz_iscsi_text_SOURCES = tests/fuzz/fuzz_iscsi_text.c $(iscsi_fixture)
tests_fuzz_fuzz_iscsi_text_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
tests_fuzz_fuzz_iscsi_text_LDADD = $(SERVER_LIBS) $(UNIT_LIBS)

fuzz_targets += tests/fuzz/fuzz_fs_image
tests_fuzz_fuzz_fs_image_SOURCES = tests/fuzz/fuzz_fs_image.c tests/fuzz/fs_image.c tests/fuzz/fs_image.h
tests_fuzz_fuzz_fs_image_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
tests_fuzz_fuzz_fs_image_LDADD = $(SIM_LIBS) $(NASFRONT_LIBS)

fuzz_targets += tests/fuzz/fuzz_label
tests_fuzz_fuzz_label_SOURCES = tests/fuzz/fuzz_label.c blockcore/disk/disk_label.c
tests_fuzz_fuzz_label_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
tests_fuzz_fuzz_label_LDADD = $(RUNTIME_LIBS)

fuzz_targets += tests/fuzz/fuzz_meta
tests_fuzz_fuzz_meta_SOURCES = tests/fuzz/fuzz_meta.c blockcore/control/meta.c \
	blockcore/control/meta_load.c blockcore/control/meta_share.c blockcore/control/meta_write.c \
	blockcore/control/meta_check.c blockcore/control/meta_check_nas.c \
	blockcore/control/meta_check_pool.c blockcore/control/meta_check_scsi.c blockcore/control/meta_pb.c \
	blockcore/control/meta_ports.c blockcore/control/meta_scsi.c blockcore/control/meta_slot.c blockcore/control/owner.c \
	blockcore/disk/disk.c blockcore/disk/disk_call.c blockcore/disk/disk_io.c blockcore/disk/disk_label.c \
	blockcore/export_rule.c
tests_fuzz_fuzz_meta_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
tests_fuzz_fuzz_meta_LDADD = $(RUNTIME_LIBS)

fuzz_targets += tests/fuzz/fuzz_link
tests_fuzz_fuzz_link_SOURCES = tests/fuzz/fuzz_link.c
tests_fuzz_fuzz_link_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
tests_fuzz_fuzz_link_LDADD = $(SIM_LIBS) $(BLOCKCORE_LIBS)

fuzz_targets += tests/fuzz/fuzz_forward
tests_fuzz_fuzz_forward_SOURCES = tests/fuzz/fuzz_forward.c $(scsi_pair)
tests_fuzz_fuzz_forward_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
tests_fuzz_fuzz_forward_LDADD = $(SIM_LIBS) $(SERVER_LIBS) $(UNIT_LIBS)

fuzz_targets += tests/fuzz/fuzz_nfs4
tests_fuzz_fuzz_nfs4_SOURCES = tests/fuzz/fuzz_nfs4.c $(V4_CLIENT) $(NAS_WORLD)
tests_fuzz_fuzz_nfs4_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
tests_fuzz_fuzz_nfs4_LDADD = $(NASFRONT_LIBS)

fuzz_targets += tests/fuzz/fuzz_sums
tests_fuzz_fuzz_sums_SOURCES = tests/fuzz/fuzz_sums.c blockcore/pool/pool_sums_format.c
tests_fuzz_fuzz_sums_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
tests_fuzz_fuzz_sums_LDADD = $(RUNTIME_LIBS)

fuzz_targets += tests/fuzz/fuzz_gss
tests_fuzz_fuzz_gss_SOURCES = tests/fuzz/fuzz_gss.c tests/unit/gss/gss_client.c tests/unit/gss/krb_world.c $(NAS_WORLD)
tests_fuzz_fuzz_gss_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
tests_fuzz_fuzz_gss_LDADD = $(NASFRONT_LIBS)

fuzz_targets += tests/fuzz/fuzz_relay
tests_fuzz_fuzz_relay_SOURCES = tests/fuzz/fuzz_relay.c
tests_fuzz_fuzz_relay_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
tests_fuzz_fuzz_relay_LDADD = $(NASFRONT_LIBS)

fuzz_targets += tests/fuzz/fuzz_cb
tests_fuzz_fuzz_cb_SOURCES = tests/fuzz/fuzz_cb.c
tests_fuzz_fuzz_cb_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
tests_fuzz_fuzz_cb_LDADD = $(NASFRONT_LIBS)

fuzz_targets += tests/fuzz/fuzz_software
tests_fuzz_fuzz_software_SOURCES = tests/fuzz/fuzz_software.c
tests_fuzz_fuzz_software_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
tests_fuzz_fuzz_software_LDADD = $(RUNTIME_LIBS)
