#!/bin/bash
# The preload library: every call that it takes from libc, and what programs make of it
# that have never heard of relayd.
. "${top_srcdir:?run me through make check}/tests/functions.sh"
requires_fuse
requires_program nm

preload=$RELAY_WAYS_DIR/librelay-preload.so
exports()
{
	nm -D --defined-only "$preload" | awk '{ print $3 }' | sort >"$tmp/exported"
	sed -n '/global:/,/local:/p' "$top_srcdir/ways/preload.map" | grep -oE '[a-z_0-9]+;' | tr -d ';' | sort >"$tmp/meant"
	diff -u "$tmp/meant" "$tmp/exported"
}
check "it exports what it interposes, and nothing else" exports

relayd --foreground </dev/null 2>"$tmp/relayd.log" &
relayd_pid=$!
cleanup_fn eval '[ -z "$(test_mounts)" ] || relayctl unmount --force "$mnt"; [ -z "$relayd_pid" ] || kill "$relayd_pid"'
wait_for 30 relayd_listens

# ---- call by call -------------------------------------------------------------

export RELAY_FUSERMOUNT=$RELAY_WAYS_DIR/fusermount3
check "calls" env LD_PRELOAD="$preload" "$top_builddir/tests/integration/preload_calls" "$mnt"
relayd_ended()
{
	[ "$(relayctl list --json | jq '.mounts | length')" = 0 ]
}
wait_for 30 relayd_ended

# ---- a program that nobody has started through relayd --------------------------

if command -v bindfs >/dev/null; then
	echo first >"$store/file"
	LD_PRELOAD=$preload bindfs "$store" "$mnt"
	relayd_wait SERVING
	check "bindfs mounts through relayd" test "$(relayd_field via)" = preload
	check "it serves" cmp "$mnt/file" "$store/file"
	check "its options are the mount's" grep -q "^$store $mnt fuse[^ ]* .*allow_other" /proc/mounts
	check "umount ends it" umount "$mnt"
	wait_for 30 relayd_ended
else
	echo "SKIP bindfs is not installed"
fi

# ---- without a relayd -----------------------------------------------------------

kill -TERM "$relayd_pid"
status_of wait "$relayd_pid"
check "relayd ends" test "$status" = 0
relayd_pid=

no_relayd()
{
	status_of env LD_PRELOAD="$preload" bindfs "$store" "$mnt" 2>"$tmp/error"
	[ "$status" != 0 ] && grep -q "no relayd at $RELAYD_SOCKET" "$tmp/error" && ! is_mounted "$mnt"
}
! command -v bindfs >/dev/null || check "without a relayd it says so" no_relayd

# ---- started by relayd -----------------------------------------------------------

if command -v bindfs >/dev/null; then
	relayd_start --backend "bindfs $store {mountpoint}" --backend-via=preload
	check "relayd's own: it came in by the library" test "$(relayd_field via)" = preload
	backend=$(relayd_field backend_pid)
	# In order it unmounts what it has mounted, or would like to.
	kill -TERM "$backend"
	relayd_wait SERVING --incarnation=2
	check "a backend that ends leaves its mount" cmp "$mnt/file" "$store/file"
	kill_backend
	check "one that is killed, too" cmp "$mnt/file" "$store/file"
	relayd_stop
fi
