noinst_LIBRARIES += libserver.a
libserver_a_SOURCES =

sbin_PROGRAMS += isthmus-controller
isthmus_controller_SOURCES = server/controller_main.c server/controller_partner.c \
	server/controller_partner.h
isthmus_controller_LDADD = $(SERVER_LIBS)
