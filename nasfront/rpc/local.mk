libnasfront_a_SOURCES += \
	nasfront/rpc/drc.c nasfront/rpc/drc.h nasfront/rpc/gss.h nasfront/rpc/gss_call.c \
	nasfront/rpc/gss_ctx.c nasfront/rpc/gss_impl.h nasfront/rpc/gss_init.c nasfront/rpc/gss_keytab.c nasfront/rpc/rpc.h \
	nasfront/rpc/rpc_back.c nasfront/rpc/rpc_call.c nasfront/rpc/rpc_conn.c nasfront/rpc/rpc_conn.h \
	nasfront/rpc/rpc_conn_tls.c nasfront/rpc/rpc_tls.c nasfront/rpc/rpc_tls.h \
	nasfront/rpc/rpc_msg.c nasfront/rpc/rpc_msg.h nasfront/rpc/rpc_room.c nasfront/rpc/rpc_server.c nasfront/rpc/rpc_spill.c nasfront/rpc/rpc_udp.c \
	nasfront/rpc/rpc_out.c nasfront/rpc/rpc_out.h nasfront/rpc/rpc_relay.c nasfront/rpc/rpc_relay.h nasfront/rpc/rpc_relayed.c \
	nasfront/rpc/rpcbind.c nasfront/rpc/rpcbind.h nasfront/rpc/xdr.c nasfront/rpc/xdr.h

check_PROGRAMS += tests/unit/rpc/test_xdr tests/unit/rpc/test_rpc tests/unit/rpc/test_rpc_relay
tests_unit_rpc_test_rpc_relay_SOURCES = tests/unit/rpc/test_rpc_relay.c
tests_unit_rpc_test_rpc_relay_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_rpc_test_rpc_relay_LDADD = $(NASFRONT_LIBS) $(UNIT_LIBS)
tests_unit_rpc_test_xdr_SOURCES = tests/unit/rpc/test_xdr.c
tests_unit_rpc_test_xdr_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_rpc_test_xdr_LDADD = $(NASFRONT_LIBS) $(UNIT_LIBS)
tests_unit_rpc_test_rpc_SOURCES = tests/unit/rpc/test_rpc.c
tests_unit_rpc_test_rpc_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_rpc_test_rpc_LDADD = $(NASFRONT_LIBS) $(UNIT_LIBS)

GSS_WORLD = tests/unit/gss/gss_client.c tests/unit/gss/gss_client.h tests/unit/gss/gss_world.c tests/unit/gss/gss_world.h \
	tests/unit/gss/krb_world.c tests/unit/gss/krb_world.h $(NAS_RAW)
check_PROGRAMS += tests/unit/gss/test_gss tests/unit/gss/test_gss_access
tests_unit_gss_test_gss_SOURCES = tests/unit/gss/test_gss.c $(GSS_WORLD)
tests_unit_gss_test_gss_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_gss_test_gss_LDADD = $(NASFRONT_LIBS) $(UNIT_LIBS)
tests_unit_gss_test_gss_access_SOURCES = tests/unit/gss/test_gss_access.c $(GSS_WORLD)
tests_unit_gss_test_gss_access_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_gss_test_gss_access_LDADD = $(NASFRONT_LIBS) $(UNIT_LIBS)
