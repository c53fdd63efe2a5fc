noinst_LIBRARIES += libnasfront.a
libnasfront_a_SOURCES =

sbin_PROGRAMS += isthmus-head
isthmus_head_SOURCES = nasfront/head.h nasfront/head_admin.c nasfront/head_backup.c nasfront/head_boot.c nasfront/head_program.c nasfront/head_config.c nasfront/head_figures.c nasfront/head_kept.c nasfront/head_lease.c \
	nasfront/head_locks.c nasfront/head_main.c nasfront/head_side.c nasfront/head_state.c nasfront/head_store.c nasfront/head_tls.c nasfront/head_quota.c \
	nasfront/head_records.c \
	nasfront/head_verify.c
isthmus_head_LDADD = $(NASFRONT_LIBS)

sbin_PROGRAMS += isthmus-fsck
isthmus_fsck_SOURCES = nasfront/fsck_main.c
isthmus_fsck_LDADD = $(NASFRONT_LIBS)
