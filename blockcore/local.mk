noinst_LIBRARIES += libblockcore.a
libblockcore_a_SOURCES =
