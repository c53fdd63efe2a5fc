fuzz_targets += tests/fuzz/fuzz_cdb
tests_fuzz_fuzz_cdb_SOURCES = tests/fuzz/fuzz_cdb.c tests/unit/scsi/fake_volume.c
tests_fuzz_fuzz_cdb_LDFLAGS = $(AM_LDFLAGS) -fsanitize=fuzzer
tests_fuzz_fuzz_cdb_LDADD = $(SERVER_LIBS)
