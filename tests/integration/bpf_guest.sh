# What the LSM programs answer, on Debian's kernels: tests/bpf/known in a guest, since the
# machine that builds may not be allowed to load such programs.
. "${top_srcdir:?run me through make check}/tests/functions.sh"

cd "$top_builddir"
[ -x tests/bpf/known ] || skip "relayd was built without eBPF"

# guest KERNEL LSMS: what lacks for a guest is named by it, with status 77.
guest()
{
	status_of bash "$top_srcdir/tests/guest/run" --kernel "$1" --memory 1G --deadline 400 \
		--append "lsm=$2" tests/bpf/known
	[ "$status" != 77 ] || exit 77
	check "linux $1 with lsm=$2" [ "$status" = 0 ]
}

for kernel in 6.12 6.1; do
	guest "$kernel" capability,bpf
done
