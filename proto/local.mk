PROTOS = proto/admin.proto proto/channel.proto proto/link.proto proto/meta.proto proto/piv.proto proto/state.proto
PROTO_C = $(PROTOS:.proto=.pb-c.c)
PROTO_H = $(PROTOS:.proto=.pb-c.h)

noinst_LIBRARIES += libproto.a
nodist_libproto_a_SOURCES = proto/admin.pb-c.c proto/admin.pb-c.h \
	proto/channel.pb-c.c proto/channel.pb-c.h proto/link.pb-c.c proto/link.pb-c.h proto/meta.pb-c.c proto/meta.pb-c.h \
	proto/piv.pb-c.c proto/piv.pb-c.h proto/state.pb-c.c proto/state.pb-c.h
libproto_a_CFLAGS = $(AM_CFLAGS) -Wno-shadow -Wno-missing-prototypes -Wno-strict-prototypes
EXTRA_DIST += $(PROTOS)
BUILT_SOURCES += proto/admin.pb-c.h proto/channel.pb-c.h proto/link.pb-c.h proto/meta.pb-c.h proto/piv.pb-c.h proto/state.pb-c.h
CLEANFILES += $(PROTO_C) $(PROTO_H)

proto/%.pb-c.c proto/%.pb-c.h: $(top_srcdir)/proto/%.proto
	@$(MKDIR_P) proto
	$(AM_V_GEN)$(PROTOC_C) -I$(top_srcdir) --c_out=$(top_builddir) proto/$*.proto
