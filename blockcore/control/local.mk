libblockcore_a_SOURCES += blockcore/control/meta.c blockcore/control/meta.h \
	blockcore/control/meta_check.c blockcore/control/meta_check.h \
	blockcore/control/meta_slot.c blockcore/control/meta_slot.h blockcore/control/meta_store.h \
	blockcore/control/owner.c blockcore/control/owner.h
