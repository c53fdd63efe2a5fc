libserver_a_SOURCES += \
	server/iscsi/bounce.c server/iscsi/chap.c server/iscsi/chap.h \
	server/iscsi/conn.c server/iscsi/conn.h server/iscsi/conn_login.c \
	server/iscsi/conn_rx.c server/iscsi/conn_tx.c server/iscsi/control.c \
	server/iscsi/data.c server/iscsi/discovery.c \
	server/iscsi/iscsi.h server/iscsi/iscsi_admin.c \
	server/iscsi/login.c server/iscsi/login.h server/iscsi/login_auth.c \
	server/iscsi/login_keys.c server/iscsi/login_keys.h \
	server/iscsi/nop.c server/iscsi/pdu.c server/iscsi/pdu.h \
	server/iscsi/server.c server/iscsi/session.c server/iscsi/task.c \
	server/iscsi/text.c server/iscsi/text.h server/iscsi/tmf.c server/iscsi/window.c

iscsi_fixture = tests/unit/iscsi/target.c tests/unit/iscsi/target.h \
	tests/unit/scsi/fake_volume.c tests/unit/scsi/fake_volume.h

check_PROGRAMS += tests/unit/iscsi/test_text tests/unit/iscsi/test_login \
	tests/unit/iscsi/test_login_table \
	tests/unit/iscsi/test_data tests/unit/iscsi/test_parts tests/unit/iscsi/test_tmf tests/unit/iscsi/test_conn \
	tests/unit/iscsi/test_order tests/unit/iscsi/test_sequence tests/unit/iscsi/test_session tests/unit/iscsi/test_portals tests/unit/iscsi/test_hostile
tests_unit_iscsi_test_text_SOURCES = tests/unit/iscsi/test_text.c $(iscsi_fixture)
tests_unit_iscsi_test_text_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_iscsi_test_text_LDADD = $(SERVER_LIBS) $(UNIT_LIBS)
tests_unit_iscsi_test_login_SOURCES = tests/unit/iscsi/test_login.c $(iscsi_fixture)
tests_unit_iscsi_test_login_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_iscsi_test_login_LDADD = $(SERVER_LIBS) $(UNIT_LIBS)
tests_unit_iscsi_test_login_table_SOURCES = tests/unit/iscsi/test_login_table.c $(iscsi_fixture)
tests_unit_iscsi_test_login_table_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_iscsi_test_login_table_LDADD = $(SERVER_LIBS) $(UNIT_LIBS)

# Tests that talk to a target over the loopback.
iscsi_peer = tests/unit/iscsi/peer.c tests/unit/iscsi/peer.h tests/unit/iscsi/client.c \
	tests/unit/iscsi/client.h $(iscsi_fixture)
tests_unit_iscsi_test_data_SOURCES = tests/unit/iscsi/test_data.c $(iscsi_peer)
tests_unit_iscsi_test_data_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_iscsi_test_data_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=scsi_start_wait
tests_unit_iscsi_test_data_LDADD = $(SERVER_LIBS) $(UNIT_LIBS)
tests_unit_iscsi_test_parts_SOURCES = tests/unit/iscsi/test_parts.c $(iscsi_peer)
tests_unit_iscsi_test_parts_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_iscsi_test_parts_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=scsi_start_wait
tests_unit_iscsi_test_parts_LDADD = $(SERVER_LIBS) $(UNIT_LIBS)
tests_unit_iscsi_test_tmf_SOURCES = tests/unit/iscsi/test_tmf.c $(iscsi_peer)
tests_unit_iscsi_test_tmf_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_iscsi_test_tmf_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=scsi_start_wait
tests_unit_iscsi_test_tmf_LDADD = $(SERVER_LIBS) $(UNIT_LIBS)
tests_unit_iscsi_test_conn_SOURCES = tests/unit/iscsi/test_conn.c $(iscsi_peer)
tests_unit_iscsi_test_conn_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_iscsi_test_conn_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=scsi_start_wait
tests_unit_iscsi_test_conn_LDADD = $(SERVER_LIBS) $(UNIT_LIBS)
tests_unit_iscsi_test_order_SOURCES = tests/unit/iscsi/test_order.c $(iscsi_peer)
tests_unit_iscsi_test_order_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_iscsi_test_order_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=scsi_start_wait
tests_unit_iscsi_test_order_LDADD = $(SERVER_LIBS) $(UNIT_LIBS)
tests_unit_iscsi_test_sequence_SOURCES = tests/unit/iscsi/test_sequence.c $(iscsi_peer)
tests_unit_iscsi_test_sequence_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_iscsi_test_sequence_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=scsi_start_wait
tests_unit_iscsi_test_sequence_LDADD = $(SERVER_LIBS) $(UNIT_LIBS)
tests_unit_iscsi_test_session_SOURCES = tests/unit/iscsi/test_session.c $(iscsi_peer)
tests_unit_iscsi_test_session_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_iscsi_test_session_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=scsi_start_wait
tests_unit_iscsi_test_session_LDADD = $(SERVER_LIBS) $(UNIT_LIBS)
tests_unit_iscsi_test_portals_SOURCES = tests/unit/iscsi/test_portals.c tests/unit/iscsi/client.c \
	tests/unit/iscsi/client.h $(iscsi_fixture)
tests_unit_iscsi_test_portals_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_iscsi_test_portals_LDADD = $(SERVER_LIBS) $(UNIT_LIBS)
tests_unit_iscsi_test_hostile_SOURCES = tests/unit/iscsi/test_hostile.c $(iscsi_peer)
tests_unit_iscsi_test_hostile_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_iscsi_test_hostile_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=scsi_start_wait
tests_unit_iscsi_test_hostile_LDADD = $(SERVER_LIBS) $(UNIT_LIBS)

noinst_PROGRAMS += tests/tools/iscsi_memory
tests_tools_iscsi_memory_SOURCES = tests/tools/iscsi_memory.c $(iscsi_fixture)
tests_tools_iscsi_memory_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_tools_iscsi_memory_LDADD = $(SERVER_LIBS) $(UNIT_LIBS)
