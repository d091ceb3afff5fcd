# Programs for the kernel.  What is compiled is taken into relayd; only this machine's kind of
# processor matters, not its kernel.

noinst_HEADERS += bpf/known.h bpf/config.h
bpf_headers = \
	bpf/calls.h \
	bpf/config.h \
	bpf/kernel.h \
	bpf/known.h \
	bpf/last_type.h \
	bpf/look.h \
	bpf/maps.h \
	bpf/name.h \
	bpf/rules.h \
	bpf/walk.h
EXTRA_DIST += $(bpf_headers) bpf/known.bpf.c bpf/calibrate.bpf.c bpf/empty.bpf.c

bpf_compile = $(BPF_CLANG) -target bpf -O2 -g -Wall -Wextra -Wno-unused-parameter -Werror $(BPF_CFLAGS) $(LIBBPF_CFLAGS) \
	-I$(top_srcdir)/bpf
if HAVE_BPF
bpf/%.bpf.o: bpf/%.bpf.c $(bpf_headers)
	$(AM_V_GEN)$(MKDIR_P) bpf && $(bpf_compile) -c -o $@ $<

# With rules that can be left out, for tests.
bpf/known-rules.elf: bpf/known.bpf.c $(bpf_headers)
	$(AM_V_GEN)$(MKDIR_P) bpf && $(bpf_compile) -DKNOWN_RULES_OFF -c -o $@ $<

# For tests that measure.
bpf/empty.elf: bpf/empty.bpf.c bpf/kernel.h
	$(AM_V_GEN)$(MKDIR_P) bpf && $(bpf_compile) -c -o $@ $<
endif
CLEANFILES += bpf/known.bpf.o bpf/calibrate.bpf.o bpf/known-rules.elf bpf/empty.elf

.DELETE_ON_ERROR:
