libserver_a_SOURCES += \
	server/iscsi/chap.c server/iscsi/chap.h \
	server/iscsi/conn.c server/iscsi/conn.h server/iscsi/conn_login.c \
	server/iscsi/conn_rx.c server/iscsi/conn_tx.c server/iscsi/control.c \
	server/iscsi/data.c server/iscsi/discovery.c \
	server/iscsi/iscsi.h server/iscsi/iscsi_admin.c \
	server/iscsi/login.c server/iscsi/login.h \
	server/iscsi/login_keys.c server/iscsi/login_keys.h \
	server/iscsi/nop.c server/iscsi/pdu.c server/iscsi/pdu.h \
	server/iscsi/server.c server/iscsi/session.c server/iscsi/task.c \
	server/iscsi/text.c server/iscsi/text.h server/iscsi/tmf.c

check_PROGRAMS += tests/unit/iscsi/test_text tests/unit/iscsi/test_login tests/unit/iscsi/test_conn
tests_unit_iscsi_test_text_SOURCES = tests/unit/iscsi/test_text.c
tests_unit_iscsi_test_text_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_iscsi_test_text_LDADD = libserver.a $(RUNTIME_LIBS) $(UNIT_LIBS)
tests_unit_iscsi_test_login_SOURCES = tests/unit/iscsi/test_login.c \
	tests/unit/iscsi/fake_scsi.c tests/unit/iscsi/fake_scsi.h
tests_unit_iscsi_test_login_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_iscsi_test_login_LDADD = libserver.a $(RUNTIME_LIBS) $(UNIT_LIBS)
tests_unit_iscsi_test_conn_SOURCES = tests/unit/iscsi/test_conn.c tests/unit/iscsi/client.c \
	tests/unit/iscsi/client.h tests/unit/iscsi/fake_scsi.c tests/unit/iscsi/fake_scsi.h
tests_unit_iscsi_test_conn_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_iscsi_test_conn_LDADD = libserver.a $(RUNTIME_LIBS) $(UNIT_LIBS)
