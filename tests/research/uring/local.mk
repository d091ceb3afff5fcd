# Who may own the ring of FUSE over io_uring: docs/uring.md. `make check` builds the
# programs and does not run them: they need a kernel that has it, with
# /sys/module/fuse/parameters/enable_uring = Y, and say so where it has not.

research_programs = \
	tests/research/uring/bench \
	tests/research/uring/facts \
	tests/research/uring/storm
uring_sources = \
	tests/research/uring/keeper.c \
	tests/research/uring/keeper.h \
	tests/research/uring/lane.c \
	tests/research/uring/lane.h \
	tests/research/uring/mount.c \
	tests/research/uring/mount.h \
	tests/research/uring/own.c \
	uring/ring.c \
	uring/ring.h \
	tests/research/uring/serve.c \
	tests/research/uring/tinyfs.c \
	tests/research/uring/tinyfs.h
tests_research_uring_bench_SOURCES = tests/research/uring/bench.c $(uring_sources)
tests_research_uring_facts_SOURCES = \
	tests/research/uring/facts.c \
	tests/research/uring/scene.c \
	tests/research/uring/scene.h \
	$(uring_sources)
tests_research_uring_storm_SOURCES = tests/research/uring/storm.c $(uring_sources)
tests_research_uring_bench_LDADD =
tests_research_uring_facts_LDADD =
tests_research_uring_storm_LDADD =
EXTRA_PROGRAMS = $(research_programs)
EXTRA_DIST += tests/research/uring/run tests/research/uring/summary.awk

CLEANFILES += uring-bench.txt uring-bench-1.txt

# All of it, about ten minutes. Wants a machine that does nothing else.
if HAVE_URING_HEADERS
check_PROGRAMS += $(research_programs)
research: $(research_programs)
	@bash $(top_srcdir)/tests/research/uring/run $(top_srcdir)/tests/research/uring tests/research/uring
else
research:
	@echo 'research: skipped: <linux/io_uring.h> was too old at configure time'
endif
.PHONY: research
