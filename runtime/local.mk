noinst_LIBRARIES += libruntime.a
libruntime_a_SOURCES = \
	runtime/bdev.c runtime/bdev.h runtime/beat.c runtime/beat.h runtime/bytes.h \
	runtime/check.c runtime/check.h runtime/copy.c runtime/copy.h runtime/crc32c.c runtime/crc32c.h \
	runtime/disk_file.c runtime/disk_io.h runtime/disk_threads.c runtime/disk_uring.c \
	runtime/env.c runtime/env.h runtime/env_real.c runtime/err.c runtime/err.h runtime/event_log.c \
	runtime/fan.c runtime/fan.h runtime/file_read.c runtime/file_read.h \
	runtime/fault.c runtime/fault.h runtime/histogram.c runtime/histogram.h \
	runtime/iov_cursor.c runtime/iov_cursor.h runtime/listen.c runtime/listen.h runtime/log.c runtime/log.h \
	runtime/mem_huge.c runtime/mem_huge.h runtime/mem_pool.c runtime/mem_pool.h \
	runtime/offload.c runtime/offload.h runtime/process.c runtime/process.h runtime/program_note.c runtime/program_note.h \
	runtime/reactor.c runtime/reactor.h runtime/reactor_impl.h runtime/reactor_poll.c runtime/reactor_watch.c \
	runtime/siphash.c runtime/siphash.h runtime/software.h runtime/software_table.c runtime/software_volume.c \
	runtime/task.c runtime/task.h runtime/task_sync.c runtime/tls_socket.c runtime/tls_socket.h

check_PROGRAMS += tests/unit/runtime/test_listen
tests_unit_runtime_test_listen_SOURCES = tests/unit/runtime/test_listen.c
tests_unit_runtime_test_listen_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_runtime_test_listen_LDADD = libruntime.a $(UNIT_LIBS)

check_PROGRAMS += tests/unit/runtime/test_task
tests_unit_runtime_test_task_SOURCES = tests/unit/runtime/test_task.c
tests_unit_runtime_test_task_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_runtime_test_task_LDADD = $(RUNTIME_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/runtime/test_process
tests_unit_runtime_test_process_SOURCES = tests/unit/runtime/test_process.c
tests_unit_runtime_test_process_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_runtime_test_process_LDADD = $(RUNTIME_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/runtime/test_copy
tests_unit_runtime_test_copy_SOURCES = tests/unit/runtime/test_copy.c
tests_unit_runtime_test_copy_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_runtime_test_copy_LDADD = $(RUNTIME_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/runtime/test_reactor_watch
tests_unit_runtime_test_reactor_watch_SOURCES = tests/unit/runtime/test_reactor_watch.c
tests_unit_runtime_test_reactor_watch_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_runtime_test_reactor_watch_LDADD = $(RUNTIME_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/runtime/test_reactor
tests_unit_runtime_test_reactor_SOURCES = tests/unit/runtime/test_reactor.c
tests_unit_runtime_test_reactor_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_runtime_test_reactor_LDADD = $(RUNTIME_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/runtime/test_histogram
tests_unit_runtime_test_histogram_SOURCES = tests/unit/runtime/test_histogram.c
tests_unit_runtime_test_histogram_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_runtime_test_histogram_LDADD = $(RUNTIME_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/runtime/test_disk_file
tests_unit_runtime_test_disk_file_SOURCES = tests/unit/runtime/test_disk_file.c
tests_unit_runtime_test_disk_file_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_runtime_test_disk_file_LDADD = $(RUNTIME_LIBS) $(UNIT_LIBS)
libruntime_a_SOURCES += runtime/config_check.c runtime/config_file.c runtime/config_file.h \
	runtime/config_keytab.c runtime/config_link.c runtime/config_load.h runtime/config_schema.c

libruntime_a_SOURCES += runtime/admin.h runtime/admin_call.c runtime/admin_client.c \
	runtime/admin_conn.c runtime/admin_server_impl.h \
	runtime/admin_frame.c runtime/admin_impl.h runtime/admin_server.c runtime/admin_size.c

check_PROGRAMS += tests/unit/runtime/test_config
tests_unit_runtime_test_config_SOURCES = tests/unit/runtime/test_config.c
tests_unit_runtime_test_config_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_runtime_test_config_LDADD = $(RUNTIME_LIBS) $(UNIT_LIBS)


check_PROGRAMS += tests/unit/runtime/test_log
tests_unit_runtime_test_log_SOURCES = tests/unit/runtime/test_log.c
tests_unit_runtime_test_log_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_runtime_test_log_LDADD = $(RUNTIME_LIBS) $(UNIT_LIBS)
check_PROGRAMS += tests/unit/runtime/test_admin
tests_unit_runtime_test_admin_SOURCES = tests/unit/runtime/test_admin.c
tests_unit_runtime_test_admin_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_runtime_test_admin_LDADD = $(RUNTIME_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/runtime/test_tls_socket
tests_unit_runtime_test_tls_socket_SOURCES = tests/unit/runtime/test_tls_socket.c
tests_unit_runtime_test_tls_socket_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_runtime_test_tls_socket_LDADD = $(RUNTIME_LIBS) $(SSL_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/runtime/test_software
tests_unit_runtime_test_software_SOURCES = tests/unit/runtime/test_software.c
tests_unit_runtime_test_software_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_runtime_test_software_LDADD = libsim.a $(RUNTIME_LIBS) $(UNIT_LIBS)
