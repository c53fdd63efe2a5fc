# Load generators, the same for Isthmus and its peers (tests/bench/run).
noinst_PROGRAMS += tests/bench/bench_iscsi tests/bench/bench_nfs tests/bench/bench_tcp
tests_bench_bench_iscsi_SOURCES = tests/bench/bench_iscsi.c tests/bench/contest.c tests/bench/contest_workers.c tests/bench/contest.h \
	tests/bench/initiator.c tests/bench/initiator_io.c tests/bench/initiator.h tests/bench/initiator_impl.h \
	tests/bench/wire.c tests/bench/wire.h \
	tests/bench/stream.c tests/bench/stream.h tests/bench/exchange.c tests/bench/exchange.h
tests_bench_bench_iscsi_LDADD = $(RUNTIME_LIBS)
tests_bench_bench_tcp_SOURCES = tests/bench/bench_tcp.c tests/bench/exchange.c tests/bench/exchange.h \
	tests/bench/contest.c tests/bench/contest_workers.c tests/bench/contest.h
tests_bench_bench_nfs_SOURCES = tests/bench/bench_nfs.c tests/bench/contest.c tests/bench/contest_workers.c tests/bench/contest.h \
	tests/bench/nfs_client.c tests/bench/nfs_calls.c tests/bench/nfs_load.c tests/bench/nfs_client.h \
	tests/bench/nfs_client_impl.h tests/bench/nfs_xdr.h tests/bench/wire.c tests/bench/wire.h \
	tests/bench/stream.c tests/bench/stream.h tests/bench/exchange.c tests/bench/exchange.h
tests_bench_bench_nfs_LDADD = $(RUNTIME_LIBS)

noinst_PROGRAMS += tests/bench/bench_latency
tests_bench_bench_latency_SOURCES = tests/bench/bench_latency.c
tests_bench_bench_latency_LDADD = $(NFS_LIBS)

noinst_PROGRAMS += tests/bench/bench_nfs_scale
tests_bench_bench_nfs_scale_SOURCES = tests/bench/bench_nfs_scale.c tests/bench/contest.c tests/bench/contest_workers.c tests/bench/contest.h \
	tests/bench/nfs_client.c tests/bench/nfs_calls.c tests/bench/nfs_load.c tests/bench/nfs_client.h \
	tests/bench/nfs_client_impl.h tests/bench/nfs_xdr.h tests/bench/wire.c tests/bench/wire.h
tests_bench_bench_nfs_scale_LDADD = $(RUNTIME_LIBS)

noinst_PROGRAMS += tests/bench/bench_fs
tests_bench_bench_fs_SOURCES = tests/bench/bench_fs.c
tests_bench_bench_fs_LDADD = libnasfront.a $(RUNTIME_LIBS)

noinst_PROGRAMS += tests/bench/bench_ledger
tests_bench_bench_ledger_SOURCES = tests/bench/bench_ledger.c
tests_bench_bench_ledger_LDADD = libnasfront.a libproto.a $(RUNTIME_LIBS)

noinst_PROGRAMS += tests/bench/bench_state
tests_bench_bench_state_SOURCES = tests/bench/bench_state.c tests/bench/contest.c tests/bench/contest_workers.c tests/bench/contest.h tests/bench/nfs_client.c tests/bench/nfs_calls.c tests/bench/nfs_load.c \
	tests/bench/nfs_client.h tests/bench/nfs_client_impl.h tests/bench/nfs_xdr.h tests/bench/wire.c tests/bench/wire.h $(V4_CLIENT)
tests_bench_bench_state_LDADD = $(NASFRONT_LIBS)

noinst_PROGRAMS += tests/bench/bench_restore
tests_bench_bench_restore_SOURCES = tests/bench/bench_restore.c nasfront/head_records.c $(NAS_WORLD)
tests_bench_bench_restore_LDADD = $(NASFRONT_LIBS)

noinst_PROGRAMS += tests/bench/bench_link
tests_bench_bench_link_SOURCES = tests/bench/bench_link.c
tests_bench_bench_link_LDADD = $(BLOCKCORE_LIBS)

noinst_PROGRAMS += tests/bench/bench_pool
tests_bench_bench_pool_SOURCES = tests/bench/bench_pool.c
tests_bench_bench_pool_LDADD = $(BLOCKCORE_LIBS)

check_PROGRAMS += tests/unit/bench/test_nfs_load
tests_unit_bench_test_nfs_load_SOURCES = tests/unit/bench/test_nfs_load.c tests/bench/contest.c tests/bench/contest_workers.c tests/bench/contest.h \
	tests/bench/nfs_client.c tests/bench/nfs_calls.c tests/bench/nfs_load.c tests/bench/nfs_client.h \
	tests/bench/nfs_client_impl.h tests/bench/nfs_xdr.h tests/bench/wire.c tests/bench/wire.h
tests_unit_bench_test_nfs_load_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_bench_test_nfs_load_LDADD = $(RUNTIME_LIBS) $(UNIT_LIBS)
