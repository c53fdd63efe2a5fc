libblockcore_a_SOURCES += blockcore/link/link.c blockcore/link/link.h \
	blockcore/link/link_call.c blockcore/link/link_conn.c \
	blockcore/link/link_frame.c blockcore/link/link_frame.h blockcore/link/link_hello.c \
	blockcore/link/link_impl.h blockcore/link/link_msg.c blockcore/link/link_ops.h \
	blockcore/link/link_path.c blockcore/link/link_pool.c blockcore/link/link_recv.c \
	blockcore/link/link_session.c blockcore/link/link_socket.c \
	blockcore/link/link_tls.c blockcore/link/link_tls.h

check_PROGRAMS += tests/unit/link/test_link
tests_unit_link_test_link_SOURCES = tests/unit/link/test_link.c tests/unit/link/link_rig.c \
	tests/unit/link/link_rig.h
tests_unit_link_test_link_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_link_test_link_LDADD = $(BLOCKCORE_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/link/test_link_sim
tests_unit_link_test_link_sim_SOURCES = tests/unit/link/test_link_sim.c
tests_unit_link_test_link_sim_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_link_test_link_sim_LDADD = $(SIM_LIBS) $(BLOCKCORE_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/link/test_link_routes
tests_unit_link_test_link_routes_SOURCES = tests/unit/link/test_link_routes.c \
	tests/unit/link/link_rig.c tests/unit/link/link_rig.h \
	tests/unit/link/cut_ops.c tests/unit/link/cut_ops.h
tests_unit_link_test_link_routes_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_link_test_link_routes_LDADD = $(BLOCKCORE_LIBS) $(UNIT_LIBS)
