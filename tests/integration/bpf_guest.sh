# What the LSM programs answer, on Debian's kernels: tests/bpf/known and tests/bpf/mounts.sh in guests,
# since the machine that builds may not be allowed to load such programs.
. "${top_srcdir:?run me through make check}/tests/functions.sh"

cd "$top_builddir"
[ -x tests/bpf/known ] || skip "relayd was built without eBPF"
status_of bash "$top_srcdir/tests/backends/build" passthrough
[ "$status" = 0 ] || exit "$status"

# One processor each: more that are safe (--threads of tests/guest/run) take turns, and twice the time.  Four
# are for make race-bpf.
declare -A guests
for kernel in 6.12 6.1; do
	bash "$top_srcdir/tests/guest/run" --kernel "$kernel" --cpus 1 --memory 1G --deadline 840 \
		--append lsm=capability,bpf tests/bpf/known tests/bpf/mounts.sh >"$tmp/$kernel" 2>&1 &
	guests[$kernel]=$!
done
for kernel in "${!guests[@]}"; do
	status_of wait "${guests[$kernel]}"
	cat "$tmp/$kernel"
	# What lacks for a guest is named by it.
	[ "$status" != 77 ] || exit 77
	check "linux $kernel" [ "$status" = 0 ]
done
