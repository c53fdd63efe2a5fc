noinst_LIBRARIES += libnasfront.a
libnasfront_a_SOURCES =
