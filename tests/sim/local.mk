noinst_LIBRARIES += libsim.a
libsim_a_SOURCES = tests/sim/history.c tests/sim/history.h tests/sim/sim_disk.c tests/sim/sim_disk.h tests/sim/sim_disk_impl.h tests/sim/sim_env.c tests/sim/sim_env.h tests/sim/sim_link.c tests/sim/sim_link.h tests/sim/sim_node.c tests/sim/sim_node.h tests/sim/sim_power.c tests/sim/sim_world.h
SIM_LIBS = libsim.a

check_PROGRAMS += tests/unit/sim/test_node
tests_unit_sim_test_node_SOURCES = tests/unit/sim/test_node.c
tests_unit_sim_test_node_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_sim_test_node_LDADD = $(SIM_LIBS) $(RUNTIME_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/sim/test_sim
tests_unit_sim_test_sim_SOURCES = tests/unit/sim/test_sim.c
tests_unit_sim_test_sim_CFLAGS = $(AM_CFLAGS) $(CHECK_CFLAGS)
tests_unit_sim_test_sim_LDADD = $(SIM_LIBS) $(RUNTIME_LIBS) $(UNIT_LIBS)

noinst_PROGRAMS += tests/sim/isthmus-sim
nodist_tests_sim_isthmus_sim_SOURCES = tests/sim/fault_points.inc tests/sim/fault_points_heads.inc
CLEANFILES += tests/sim/fault_points.inc tests/sim/fault_points_heads.inc
tests_sim_isthmus_sim_SOURCES = tests/sim/array.c tests/sim/array.h tests/sim/duplex.h tests/sim/duplex_faults.c \
	tests/sim/duplex_hosts.c tests/sim/duplex_points.c tests/sim/duplex_world.c tests/sim/pools.h tests/sim/pools_faults.c tests/sim/scenario.h tests/sim/sim_faults.c tests/sim/sim_faults.h \
	tests/sim/sim_array.c tests/sim/sim_ctl.c tests/sim/sim_ctl.h tests/sim/sim_duplex.c \
	tests/sim/sim_host.c tests/sim/sim_host.h tests/sim/sim_main.c tests/sim/sim_piv.c tests/sim/sim_pools.c
# Of the heads this alone: the rest of libnasfront has names of the block core's.
tests_sim_isthmus_sim_SOURCES += nasfront/piv/piv.c nasfront/piv/piv_claim.c nasfront/piv/piv_fill.c nasfront/piv/piv_head.c \
	nasfront/piv/piv_log.c nasfront/piv/piv_state.c nasfront/piv/piv_volume.c
tests_sim_isthmus_sim_LDADD = $(SIM_LIBS) $(SERVER_LIBS)


# Heads have libraries of their own. Built for the simulation alone.
EXTRA_PROGRAMS = tests/sim/isthmus-sim-heads
nodist_tests_sim_isthmus_sim_heads_SOURCES = tests/sim/fault_points.inc tests/sim/fault_points_heads.inc
tests_sim_isthmus_sim_heads_SOURCES = tests/sim/heads.h tests/sim/heads_head.c tests/sim/heads_model.c tests/sim/heads_names.c \
	tests/sim/heads_plan.c tests/sim/heads_plan.h tests/sim/heads_v3.c tests/sim/heads_v4.c tests/sim/scenario.h \
	tests/sim/sim_channel.c tests/sim/sim_channel.h tests/sim/sim_faults.c tests/sim/sim_faults.h tests/sim/sim_heads.c \
	tests/sim/sim_main.c tests/sim/sim_rpc.c tests/sim/sim_rpc.h \
	nasfront/head.h nasfront/head_backup.c nasfront/head_config.c nasfront/head_records.c nasfront/head_side.c nasfront/head_state.c nasfront/head_store.c $(V4_CLIENT)
tests_sim_isthmus_sim_heads_CPPFLAGS = $(AM_CPPFLAGS) -DSIM_OF_HEADS
tests_sim_isthmus_sim_heads_LDADD = $(SIM_LIBS) libnasfront.a $(RUNTIME_LIBS)

# All crash points, sorted: of the block core, of heads.
fault_sources = $(wildcard $(srcdir)/blockcore/*.c $(srcdir)/blockcore/*/*.c)
fault_sources_heads = $(wildcard $(srcdir)/nasfront/*.c $(srcdir)/nasfront/*/*.c)
fault_list = LC_ALL=C sed -n 's/.*FAULT(\("[a-z0-9_.]*"\)).*/{.name = \1},/p'
tests/sim/fault_points.inc: $(fault_sources)
	@mkdir -p tests/sim
	@$(fault_list) $(fault_sources) | LC_ALL=C sort -u >$@.tmp
	@cmp -s $@.tmp $@ && rm $@.tmp && touch $@ || mv $@.tmp $@
tests/sim/fault_points_heads.inc: $(fault_sources_heads)
	@mkdir -p tests/sim
	@$(fault_list) $(fault_sources_heads) | LC_ALL=C sort -u >$@.tmp
	@cmp -s $@.tmp $@ && rm $@.tmp && touch $@ || mv $@.tmp $@
tests/sim/sim_faults.$(OBJEXT) tests/sim/isthmus_sim_heads-sim_faults.$(OBJEXT): tests/sim/fault_points.inc tests/sim/fault_points_heads.inc
