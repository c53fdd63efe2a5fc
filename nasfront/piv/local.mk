libnasfront_a_SOURCES += \
	nasfront/piv/ledger.c nasfront/piv/ledger.h nasfront/piv/ledger_layout.h nasfront/piv/ledger_load.c nasfront/piv/ledger_log.c nasfront/piv/ledger_services.c nasfront/piv/ledger_table.c \
	nasfront/piv/piv.c nasfront/piv/piv.h nasfront/piv/piv_claim.c nasfront/piv/piv_fill.c nasfront/piv/piv_head.c nasfront/piv/piv_layout.h \
	nasfront/piv/piv_log.c nasfront/piv/piv_twin.c nasfront/piv/piv_state.c nasfront/piv/piv_volume.c

check_PROGRAMS += tests/unit/piv/test_piv
tests_unit_piv_test_piv_SOURCES = tests/unit/piv/test_piv.c tests/unit/piv/piv_rig.h
tests_unit_piv_test_piv_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_piv_test_piv_LDADD = libsim.a $(NASFRONT_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/piv/test_piv_clients
tests_unit_piv_test_piv_clients_SOURCES = tests/unit/piv/test_piv_clients.c tests/unit/piv/piv_rig.h
tests_unit_piv_test_piv_clients_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_piv_test_piv_clients_LDADD = libsim.a $(NASFRONT_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/piv/test_ledger
tests_unit_piv_test_ledger_SOURCES = tests/unit/piv/test_ledger.c tests/unit/piv/ledger_rig.h
tests_unit_piv_test_ledger_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_piv_test_ledger_LDADD = libsim.a $(NASFRONT_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/piv/test_ledger_model
tests_unit_piv_test_ledger_model_SOURCES = tests/unit/piv/test_ledger_model.c
tests_unit_piv_test_ledger_model_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_piv_test_ledger_model_LDADD = libsim.a $(NASFRONT_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/piv/test_ledger_volumes
tests_unit_piv_test_ledger_volumes_SOURCES = tests/unit/piv/test_ledger_volumes.c tests/unit/piv/ledger_rig.h
tests_unit_piv_test_ledger_volumes_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_piv_test_ledger_volumes_LDADD = libsim.a $(NASFRONT_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/piv/test_side
tests_unit_piv_test_side_SOURCES = tests/unit/piv/test_side.c tests/unit/piv/ledger_rig.h
tests_unit_piv_test_side_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_piv_test_side_LDADD = libsim.a $(NASFRONT_LIBS) $(UNIT_LIBS)
