sbin_PROGRAMS += isthmusd
isthmusd_SOURCES = server/supervisor/child.c server/supervisor/child.h \
	server/supervisor/front.c server/supervisor/gather.c server/supervisor/gather.h \
	server/supervisor/main.c server/supervisor/notify.c \
	server/supervisor/pid_file.c server/supervisor/pid_file.h \
	server/supervisor/segment.c server/supervisor/supervisor.c server/supervisor/supervisor.h
isthmusd_CPPFLAGS = $(AM_CPPFLAGS) -DSBINDIR='"$(sbindir)"'
isthmusd_LDADD = $(RUNTIME_LIBS)
EXTRA_DIST += server/supervisor/README.md
