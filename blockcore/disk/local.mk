libblockcore_a_SOURCES += blockcore/disk/disk.c blockcore/disk/disk.h blockcore/disk/disk_impl.h \
	blockcore/disk/disk_io.c blockcore/disk/disk_label.c blockcore/disk/disk_label.h
