#!/bin/bash
# Which capabilities(7) relayd's processes and threads have, and that root's backends have all that they
# would have without it.
. "${top_srcdir:?run me through make check}/tests/functions.sh"
requires_fuse
requires_program jq
"$top_srcdir/tests/backends/build" passthrough_fh

# caps SET FILE: as a number.
caps()
{
	echo $((16#$(sed -n "s/^Cap$1:\t//p" "$2")))
}

bounding=$(caps Bnd /proc/self/status)
[ "$(caps Eff /proc/self/status)" = "$bounding" ] || skip "root has less than its bounding set"

# What docs/security.md says of each process.
relayds=$((1 << 21 | 1 << 18 | 1 << 2 | 1 << 1 | 1 << 5 | 1 << 19 | 1 << 39 | 1 << 38 | 1 << 12 | 1 << 4 | 1 << 14 | 1 << 24))
lowered=$((1 << 39))
keepers=$((1 << 2))

relayd_is_cut()
{
	local status=/proc/$1/status

	[ "$(caps Prm "$status")" = $((relayds & bounding)) ] && [ "$(caps Eff "$status")" = $((relayds & bounding)) ] &&
		[ "$(caps Bnd "$status")" = "$bounding" ]
}

# Those that take what kernel and backends say.
threads_are_lowered()
{
	local task count=0

	for task in /proc/"$1"/task/*; do
		[ "${task##*/}" != "$1" ] || continue
		count=$((count + 1))
		[ "$(caps Eff "$task/status")" = $((lowered & bounding)) ] || { echo "$(cat "$task/comm"): $(grep CapEff "$task/status")"; return 1; }
	done
	[ $count -ge "$2" ] || { echo "$count threads"; return 1; }
}

keeper_is_cut()
{
	local status=/proc/$1/status

	[ "$(caps Prm "$status")" = $((keepers & bounding)) ] && [ "$(caps Eff "$status")" = 0 ]
}

backend_has_all()
{
	local status

	status=/proc/$(relayd_field backend_pid)/status
	[ "$(caps Eff "$status")" = "$bounding" ] && [ "$(caps Prm "$status")" = "$bounding" ]
}

all_is_so()
{
	local name=$1 worker

	worker=$(relayd_worker)
	check "$name: relayd has what it needs" relayd_is_cut "$worker"
	check "$name: its other threads use next to nothing of that" threads_are_lowered "$worker" "$2"
	check "$name: its keeper has less" keeper_is_cut "$relayd_pid"
	check "$name: a backend of root's has all" backend_has_all
}

worker_is_another()
{
	local now

	now=$(relayd_worker)
	[ -n "$now" ] && [ "$now" != "$worker" ]
}

relayd_start
all_is_so "fsserver" 1
worker=$(relayd_worker)
kill -KILL "$worker"
wait_for 20 worker_is_another
wait_for 30 relayctl wait --state=SERVING --timeout=10
kill_backend
all_is_so "the next relayd" 1
kill -KILL "$relayd_pid"
relayd_heir_take
check "the heir has less" keeper_is_cut "$relayd_pid"
relayd_stop

relayd_start --lane=socket --backend "$top_builddir/tests/backends/peers/passthrough_fh -f -o modules=subdir,subdir=$store {mountfd}"
echo data >"$mnt/file"
exec {open}<"$mnt/file"
kill_backend
check "repair finds it again" test "$(cat <&"$open")" = data
exec {open}>&-
all_is_so "a foreign backend" 3
relayd_stop

relayd --foreground </dev/null 2>"$tmp/relayd.log" &
relayd_pid=$!
wait_for 30 relayd_listens
# A backend does not get more than who has started it.
setpriv --bounding-set -all --inh-caps -all "$fsserver" --source "$store" --mount "$mnt" </dev/null 2>>"$tmp/fsserver.log" &
wait_for 30 is_mounted "$mnt"
relayd_wait SERVING
check "one that came by itself has what it had" test "$(caps Eff "/proc/$(relayd_field backend_pid)/status")" = 0
check "and is unmounted" relayctl unmount "$mnt"
kill -TERM "$relayd_pid"
status_of wait "$relayd_pid"
relayd_pid=
