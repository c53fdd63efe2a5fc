EXTRA_DIST += etc/isthmus.yaml etc/isthmusd.service.in

# The sample is installed beside where the real one belongs, never over it.
exampledir = $(docdir)/examples
dist_example_DATA = etc/isthmus.yaml etc/multipath-isthmus.conf

# Scripts that a configuration may name.
scriptdir = $(pkglibexecdir)
dist_script_SCRIPTS = etc/isthmus-address

unitdir = $(prefix)/lib/systemd/system
nodist_unit_DATA = etc/isthmusd.service
etc/isthmusd.service: $(top_srcdir)/etc/isthmusd.service.in Makefile
	@$(MKDIR_P) etc
	$(AM_V_GEN)$(SED) 's|@sbindir@|$(sbindir)|g' $(top_srcdir)/etc/isthmusd.service.in >$@

completiondir = $(datadir)/bash-completion/completions
nodist_completion_DATA = etc/completion/isthmus
etc/completion/isthmus: isthmus$(EXEEXT)
	@$(MKDIR_P) etc/completion
	$(AM_V_GEN)./isthmus$(EXEEXT) completion bash >$@.tmp && mv $@.tmp $@
CLEANFILES += etc/isthmusd.service etc/completion/isthmus
