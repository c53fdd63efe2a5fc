noinst_LIBRARIES += libadmin.a
libadmin_a_SOURCES = admin/verbs.c admin/verbs.h
EXTRA_DIST += admin/README.md
