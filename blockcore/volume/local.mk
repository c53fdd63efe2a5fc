libblockcore_a_SOURCES += blockcore/volume/crc_join.c blockcore/volume/crc_join.h \
	blockcore/volume/volume.c blockcore/volume/volume.h blockcore/volume/volume_backup.c \
	blockcore/volume/volume_impl.h blockcore/volume/volume_io.c blockcore/volume/volume_verify.c
