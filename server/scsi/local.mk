libserver_a_SOURCES += \
	server/scsi/scsi.h server/scsi/scsi_admin.h server/scsi/scsi_priv.h server/scsi/mode_pages.h \
	server/scsi/admin_discovery.c server/scsi/admin_initiator.c server/scsi/admin_lun.c server/scsi/admin_lun_set.c server/scsi/admin_reservation.c server/scsi/admin_stats.c server/scsi/admin_target.c \
	server/scsi/names.c server/scsi/scsi_admin.c \
	server/scsi/alua.c server/scsi/alua.h server/scsi/attention.c server/scsi/away.c server/scsi/capacity.c \
	server/scsi/cmd.c server/scsi/compare_write.c server/scsi/condition.c server/scsi/inquiry.c server/scsi/lu.c \
	server/scsi/forward.c server/scsi/forward.h server/scsi/forward_call.c server/scsi/forward_nexus.c \
	server/scsi/forward_pool.c server/scsi/forward_serve.c server/scsi/forward_tell.c \
	server/scsi/forward_wire.c server/scsi/forward_wire.h server/scsi/partner.c \
	server/scsi/lun.c server/scsi/medium.c server/scsi/mode.c server/scsi/mode_pages.c \
	server/scsi/nexus.c server/scsi/persistent.h server/scsi/pr_change.c server/scsi/pr_in.c \
	server/scsi/pr_out.c server/scsi/pr_store.c server/scsi/reservation.c \
	server/scsi/transport_id.c \
	server/scsi/op_table.c server/scsi/provision.c server/scsi/registry.c \
	server/scsi/qos.c server/scsi/qos.h server/scsi/report_luns.c server/scsi/report_ops.c server/scsi/rw.c server/scsi/sense.c \
	server/scsi/stats.c server/scsi/stats.h server/scsi/sync.c server/scsi/target.c server/scsi/task_set.c server/scsi/task_set.h server/scsi/tmf.c server/scsi/turn.c server/scsi/unit.c \
	server/scsi/removal.c server/scsi/wipe.c \
	server/scsi/buffer.c server/scsi/groups.c server/scsi/identify.c server/scsi/log.c server/scsi/part.c \
	server/scsi/xcopy.c server/scsi/xcopy.h server/scsi/xcopy_results.c \
	server/scsi/verify.c server/scsi/vpd.c

scsi_fixture = tests/unit/scsi/fake_volume.c tests/unit/scsi/fake_volume.h \
	tests/unit/scsi/fixture.c tests/unit/scsi/fixture.h tests/unit/scsi/suite.h

check_PROGRAMS += tests/unit/scsi/test_admin tests/unit/scsi/test_alua tests/unit/scsi/test_compare_write tests/unit/scsi/test_inquiry tests/unit/scsi/test_mode \
	tests/unit/scsi/test_nexus tests/unit/scsi/test_op_table tests/unit/scsi/test_provision \
	tests/unit/scsi/test_persistent tests/unit/scsi/test_pr_durable tests/unit/scsi/test_pr_ports tests/unit/scsi/test_reservation tests/unit/scsi/test_rw tests/unit/scsi/test_sense \
	tests/unit/scsi/test_stats \
	tests/unit/scsi/test_wipe tests/unit/scsi/test_log tests/unit/scsi/test_xcopy tests/unit/scsi/test_removal

tests_unit_scsi_test_compare_write_SOURCES = tests/unit/scsi/test_compare_write.c $(scsi_fixture)
tests_unit_scsi_test_compare_write_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_scsi_test_compare_write_LDADD = $(SERVER_LIBS) $(UNIT_LIBS)
tests_unit_scsi_test_inquiry_SOURCES = tests/unit/scsi/test_inquiry.c $(scsi_fixture)
tests_unit_scsi_test_inquiry_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_scsi_test_inquiry_LDADD = $(SERVER_LIBS) $(UNIT_LIBS)
tests_unit_scsi_test_mode_SOURCES = tests/unit/scsi/test_mode.c $(scsi_fixture)
tests_unit_scsi_test_mode_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_scsi_test_mode_LDADD = $(SERVER_LIBS) $(UNIT_LIBS)
tests_unit_scsi_test_nexus_SOURCES = tests/unit/scsi/test_nexus.c $(scsi_fixture)
tests_unit_scsi_test_nexus_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_scsi_test_nexus_LDADD = $(SERVER_LIBS) $(UNIT_LIBS)
tests_unit_scsi_test_op_table_SOURCES = tests/unit/scsi/test_op_table.c $(scsi_fixture)
tests_unit_scsi_test_op_table_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_scsi_test_op_table_LDADD = $(SERVER_LIBS) $(UNIT_LIBS)
tests_unit_scsi_test_provision_SOURCES = tests/unit/scsi/test_provision.c $(scsi_fixture)
tests_unit_scsi_test_provision_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_scsi_test_provision_LDADD = $(SERVER_LIBS) $(UNIT_LIBS)
tests_unit_scsi_test_persistent_SOURCES = tests/unit/scsi/test_persistent.c tests/unit/scsi/pr_script.h $(scsi_fixture)
tests_unit_scsi_test_persistent_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_scsi_test_persistent_LDADD = $(SERVER_LIBS) $(UNIT_LIBS)
tests_unit_scsi_test_pr_durable_SOURCES = tests/unit/scsi/test_pr_durable.c tests/unit/scsi/pr_script.h $(scsi_fixture)
tests_unit_scsi_test_pr_durable_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_scsi_test_pr_durable_LDADD = $(SERVER_LIBS) $(UNIT_LIBS)
tests_unit_scsi_test_pr_ports_SOURCES = tests/unit/scsi/test_pr_ports.c tests/unit/scsi/pr_script.h $(scsi_fixture)
tests_unit_scsi_test_pr_ports_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_scsi_test_pr_ports_LDADD = $(SERVER_LIBS) $(UNIT_LIBS)
tests_unit_scsi_test_alua_SOURCES = tests/unit/scsi/test_alua.c $(scsi_fixture)
tests_unit_scsi_test_alua_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_scsi_test_alua_LDADD = $(SERVER_LIBS) $(UNIT_LIBS)
tests_unit_scsi_test_reservation_SOURCES = tests/unit/scsi/test_reservation.c $(scsi_fixture)
tests_unit_scsi_test_reservation_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_scsi_test_reservation_LDADD = $(SERVER_LIBS) $(UNIT_LIBS)
tests_unit_scsi_test_rw_SOURCES = tests/unit/scsi/test_rw.c $(scsi_fixture)
tests_unit_scsi_test_rw_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_scsi_test_rw_LDADD = $(SERVER_LIBS) $(UNIT_LIBS)
tests_unit_scsi_test_sense_SOURCES = tests/unit/scsi/test_sense.c $(scsi_fixture)
tests_unit_scsi_test_sense_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_scsi_test_sense_LDADD = $(SERVER_LIBS) $(UNIT_LIBS)
tests_unit_scsi_test_admin_SOURCES = tests/unit/scsi/test_admin.c $(scsi_fixture)
tests_unit_scsi_test_admin_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_scsi_test_admin_LDADD = $(SERVER_LIBS) $(UNIT_LIBS)
tests_unit_scsi_test_stats_SOURCES = tests/unit/scsi/test_stats.c $(scsi_fixture)
tests_unit_scsi_test_stats_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_scsi_test_stats_LDADD = $(SERVER_LIBS) $(UNIT_LIBS)
tests_unit_scsi_test_wipe_SOURCES = tests/unit/scsi/test_wipe.c $(scsi_fixture)
tests_unit_scsi_test_wipe_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_scsi_test_wipe_LDADD = $(SERVER_LIBS) $(UNIT_LIBS)
tests_unit_scsi_test_removal_SOURCES = tests/unit/scsi/test_removal.c $(scsi_fixture)
tests_unit_scsi_test_removal_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_scsi_test_removal_LDADD = $(SERVER_LIBS) $(UNIT_LIBS)
tests_unit_scsi_test_xcopy_SOURCES = tests/unit/scsi/test_xcopy.c $(scsi_fixture)
tests_unit_scsi_test_xcopy_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_scsi_test_xcopy_LDADD = $(SERVER_LIBS) $(UNIT_LIBS)
tests_unit_scsi_test_log_SOURCES = tests/unit/scsi/test_log.c $(scsi_fixture)
tests_unit_scsi_test_log_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_scsi_test_log_LDADD = $(SERVER_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/scsi/test_qos
tests_unit_scsi_test_qos_SOURCES = tests/unit/scsi/test_qos.c
tests_unit_scsi_test_qos_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_scsi_test_qos_LDADD = $(SIM_LIBS) $(SERVER_LIBS) $(UNIT_LIBS)

scsi_pair = tests/unit/scsi/fake_volume.c tests/unit/scsi/fake_volume.h tests/unit/scsi/fake_link.c \
	tests/unit/scsi/fake_link.h tests/unit/scsi/pair.c tests/unit/scsi/pair.h tests/unit/scsi/fixture.h
check_PROGRAMS += tests/unit/scsi/test_task_set tests/unit/scsi/test_order
tests_unit_scsi_test_task_set_SOURCES = tests/unit/scsi/test_task_set.c
tests_unit_scsi_test_task_set_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_scsi_test_task_set_LDADD = $(SIM_LIBS) $(SERVER_LIBS) $(UNIT_LIBS)
tests_unit_scsi_test_order_SOURCES = tests/unit/scsi/test_order.c $(scsi_partner)
tests_unit_scsi_test_order_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_scsi_test_order_LDADD = $(SIM_LIBS) $(SERVER_LIBS) $(UNIT_LIBS)
check_PROGRAMS += tests/unit/scsi/test_forward tests/unit/scsi/test_partner
scsi_partner = $(scsi_pair) tests/unit/scsi/partner_rig.c tests/unit/scsi/partner_rig.h
tests_unit_scsi_test_partner_SOURCES = tests/unit/scsi/test_partner.c $(scsi_partner)
tests_unit_scsi_test_partner_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_scsi_test_partner_LDADD = $(SIM_LIBS) $(SERVER_LIBS) $(UNIT_LIBS)
check_PROGRAMS += tests/unit/scsi/test_xcopy_far
tests_unit_scsi_test_xcopy_far_SOURCES = tests/unit/scsi/test_xcopy_far.c $(scsi_partner)
tests_unit_scsi_test_xcopy_far_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_scsi_test_xcopy_far_LDADD = $(SIM_LIBS) $(SERVER_LIBS) $(UNIT_LIBS)
check_PROGRAMS += tests/unit/scsi/test_partner_moves
tests_unit_scsi_test_partner_moves_SOURCES = tests/unit/scsi/test_partner_moves.c $(scsi_partner)
tests_unit_scsi_test_partner_moves_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_scsi_test_partner_moves_LDADD = $(SIM_LIBS) $(SERVER_LIBS) $(UNIT_LIBS)
tests_unit_scsi_test_forward_SOURCES = tests/unit/scsi/test_forward.c $(scsi_pair)
tests_unit_scsi_test_forward_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_scsi_test_forward_LDADD = $(SIM_LIBS) $(SERVER_LIBS) $(UNIT_LIBS)
check_PROGRAMS += tests/unit/scsi/test_forward_threads
tests_unit_scsi_test_forward_threads_SOURCES = tests/unit/scsi/test_forward_threads.c tests/unit/scsi/fake_volume.c \
	tests/unit/scsi/fake_volume.h tests/unit/scsi/fake_link.c tests/unit/scsi/fake_link.h
tests_unit_scsi_test_forward_threads_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_scsi_test_forward_threads_LDADD = $(SERVER_LIBS) $(UNIT_LIBS)
