noinst_LIBRARIES += libblockcore.a
libblockcore_a_SOURCES = blockcore/core.c blockcore/core.h blockcore/core_backup.c \
	blockcore/core_impl.h blockcore/core_open.c blockcore/core_pool.c blockcore/core_volume.c
