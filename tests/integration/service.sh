#!/bin/bash
# relayd as a service: its descriptors are with the service manager, its mounts outlive
# `systemctl restart`.  systemd's part is played by service_manager.
. "${top_srcdir:?run me through make check}/tests/functions.sh"

requires_fuse
requires_program fio jq
"$top_srcdir/tests/backends/build" passthrough_fh
foreign="$top_builddir/tests/backends/peers/passthrough_fh -f -o modules=subdir,subdir=$store {mountfd}"

log_count()
{
	grep -c "^$1" "$tmp/manager" || :
}

ready_times()
{
	[ "$(log_count ready)" -ge "$1" ]
}

"$top_builddir/tests/integration/service_manager" "$tmp" "$top_builddir/relayd/relayd" --foreground \
	</dev/null >"$tmp/manager" 2>>"$tmp/relayd.log" &
manager=$!
cleanup_fn eval '[ -z "$(test_mounts)" ] || relayctl unmount --force "$mnt"; [ -z "$manager" ] || kill "$manager"'
wait_for 20 ready_times 1
check "there is no keeper" test "$(cat "/proc/$(relayctl status --json | jq .relayd_pid)/comm")" = relayd

# restarts NAME DIRECT BACKEND: while fio writes and verifies, with O_DIRECT (1) or without (0).
restarts()
{
	local name=$1 direct=$2 backend=$3 load n before

	check "$name: it mounts" relayd --mount "$mnt" --backend "$backend"
	before=$(relayd_field incarnation)
	fio --name=verify --directory="$mnt" --size=16m --bs=16k --rw=randwrite --verify=md5 --do_verify=1 \
		--verify_fatal=1 --verify_state_save=0 --loops=4 --ioengine=psync --direct="$direct" --fallocate=none \
		--output-format=json --output="$tmp/fio.json" >"$tmp/fio.out" 2>&1 &
	load=$!
	for n in 1 2 3 4 5; do
		count=$(log_count ready)
		kill -HUP "$manager"
		wait_for 20 ready_times $((count + 1))
		relayd_wait SERVING
	done
	status_of wait "$load"
	[ "$status" = 0 ] || cat "$tmp/fio.out" "$tmp/fio.json"
	check "$name: fio verifies what it wrote, through 5 restarts" test "$status" = 0
	check "$name: all of it" test "$(jq '.jobs[0].read.io_bytes' "$tmp/fio.json")" = $((4 * 16 * 1048576))
	check "$name: a direct backend is the same" eval '[ "$name" != fsserver ] || [ "$(relayd_field incarnation)" = "$before" ]'
	rm "$mnt"/verify*
	check "$name: it unmounts" relayctl unmount "$mnt"
}

restarts fsserver 1 "$fsserver --source $store"
# Its buffers are not aligned as O_DIRECT has it.
restarts passthrough_fh 0 "$foreign"

check "it mounts again" relayd --mount "$mnt" --backend "$fsserver --source $store"
count=$(log_count ready)
kill -KILL "$(relayctl status --json | jq .relayd_pid)"
wait_for 20 ready_times $((count + 1))
check "SIGKILL: the mount goes on" stat "$mnt" -c %n
count=$(log_count ready)
kill -STOP "$(relayctl status --json | jq .relayd_pid)"
wait_for 30 ready_times $((count + 1))
check "one that hangs is replaced by the watchdog" stat "$mnt" -c %n

kill -TERM "$manager"
status_of wait "$manager"
manager=
check "SIGINT ends it in order" test "$status" = 0
check "with its mounts" test -z "$(test_mounts)"
