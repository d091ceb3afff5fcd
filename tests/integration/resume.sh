#!/bin/bash
# relayd dies, and another one goes on: nobody who uses the mount sees anything but a pause.
#
#	resume.sh [SECONDS [ROUNDS]]
#
# It is killed at each named point of what it does (relayd-crash, librelay/crash.h), so many
# times (1) at those on a request's way, and then at random for so many seconds (2) in each
# lane, while random operations go on whose results are compared with those in a plain directory.
. "${top_srcdir:?run me through make check}/tests/functions.sh"

requires_fuse
requires_program jq
"$top_srcdir/tests/backends/build" passthrough_fh passthrough_ll
export RELAY_BUILD=$top_builddir
seconds=${1:-2}
rounds=${2:-1}
# Between two lives the socket lane does what it does for a foreign backend, and less.
lanes="direct foreign"
[ "$rounds" = 1 ] || lanes="direct socket foreign"
foreign="$top_builddir/tests/backends/peers/passthrough_fh -f -o modules=subdir,subdir=$store {mountfd}"
plan=$tmp/plan
: >"$plan"

# Who waits at a relayd that dies is told nothing, and asks the next.
relayd_wait()
{
	local state=$1

	shift
	wait_for 30 eval "relayctl wait --state=$state --timeout=10 $* 2>/dev/null"
}

another_than()
{
	local now

	now=$(relayd_worker)
	[ -n "$now" ] && [ "$now" != "$1" ]
}

kill_relayd()
{
	local worker

	worker=$(relayd_worker)
	kill -KILL "$worker"
	wait_for 20 another_than "$worker"
}

# Whether what was to die there has.
died_there()
{
	grep -q "^$1 0$" "$plan"
}

# start LANE [RELAYD-OPTION…]
start()
{
	local lane=$1

	shift
	case $lane in
		direct) RELAY_TEST_LANE=direct relayd_start "$@" ;;
		socket) RELAY_TEST_LANE=socket relayd_start "$@" ;;
		foreign) relayd_start --backend "$foreign" "$@" ;;
	esac
}

# ---- whoever has the mount in use goes on -------------------------------------

for lane in direct socket foreign; do
	start $lane
	backend=$(relayd_field backend_pid)
	echo one >"$mnt/before"
	exec {open}<>"$mnt/open"
	echo first >&"$open"
	kill_relayd
	check "$lane: the mount answers" stat "$mnt" -c %n
	check "$lane: what was there is there" test "$(cat "$mnt/before")" = one
	check "$lane: an open file is written on" eval 'echo second >&$open'
	check "$lane: and read" test "$(cat "$mnt/open" | tr '\n' ' ')" = "first second "
	exec {open}>&-
	relayd_wait SERVING
	[ $lane != direct ] || check "$lane: with the backend that was there" test "$(relayd_field backend_pid)" = "$backend"
	kill_backend
	check "$lane: and after a death of the backend" test "$(cat "$mnt/open" | tr '\n' ' ')" = "first second "
	kill -KILL "$(relayd_worker)" "$(relayd_field backend_pid)"
	check "$lane: both die at once" test "$(cat "$mnt/before")" = one
	relayd_wait SERVING
	rm "$mnt/before" "$mnt/open"
	relayd_stop
	check "$lane: the end is whole" test -z "$(ls -A "$store")"
done

# ---- the direct lane does not even pause -----------------------------------------

start direct
worker=$(relayd_worker)
# So that no other is started.
kill -STOP "$relayd_pid"
kill -KILL "$worker"
wait_for 20 process_gone "$worker"
check "no relayd: the backend is asked and answers" eval 'echo one >"$mnt/file" && test "$(cat "$mnt/file")" = one && rm "$mnt/file"'
check "no relayd: and it is dead all the time" process_gone "$worker"
kill -CONT "$relayd_pid"
wait_for 20 another_than "$worker"
relayd_wait SERVING
relayd_stop

# ---- the keeper ---------------------------------------------------------------

start direct
echo kept >"$mnt/file"
worker=$(relayd_worker)
kill -KILL "$relayd_pid"
check "the keeper dies: its relayd goes on" test "$(cat "$mnt/file")" = kept
relayd_heir_take
check "its heir is there" test "$(cat "/proc/$relayd_pid/comm")" = relayd-keeper
kill -KILL "$worker"
check "and starts another relayd" test "$(cat "$mnt/file")" = kept
rm "$mnt/file"
relayd_stop
check "which ends with its mount" test -z "$(test_mounts)"

# ---- what cannot be gone on with ------------------------------------------------

# scribble NAME: over the beginning of a memory that the keeper has.
scribble()
{
	local fd

	for fd in "/proc/$relayd_pid/fd"/*; do
		[ "$(readlink "$fd")" != "/memfd:$1 (deleted)" ] || printf 'scribble' | dd of="$fd" conv=notrunc status=none
	done
}

for memory in relayd-requests relayd-journal relayd-state; do
	start direct
	scribble $memory
	kill -KILL "$(relayd_worker)"
	status_of wait "$relayd_pid"
	check "$memory is spoilt: relayd ends in order" test "$status" = 0
	relayd_pid=
	check "$memory is spoilt: with its mount" test -z "$(test_mounts)"
	check "$memory is spoilt: and its backend" test -z "$(test_processes)"
done

# ---- another relayd in its place, on demand -------------------------------------

start direct
worker=$(relayd_worker)
kill -HUP "$relayd_pid"
wait_for 20 another_than "$worker"
check "SIGHUP has another relayd go on" stat "$mnt" -c %n
relayd_stop

# ---- at each point ------------------------------------------------------------

# A relayd that dies while it mounts mounts all the same.
crash_relayd=$top_builddir/relayd/relayd-crash
mkdir "$tmp/bin"
ln -s "$crash_relayd" "$tmp/bin/relayd"
PATH=$tmp/bin:$PATH
export RELAY_CRASH_FILE=$plan

for point in "ctl put" "ctl kept" "record put" "record kept" "journal kept" "requests kept" "state kept" "output kept" \
	"print kept" "fuse put" "fuse kept" "first put" "first kept" "chan put" "chan kept" "record written" \
	"record published" "request read" "life begun" "ready put" "ready kept"; do
	echo "$point 1" >"$plan"
	start direct
	check "mounting, $point: dies there" died_there "$point"
	check "mounting, $point: is mounted once" test "$(test_mounts | wc -l)" = 1
	check "mounting, $point: serves" eval 'echo data >"$mnt/file" && [ "$(cat "$store/file")" = data ] && rm "$mnt/file"'
	relayd_stop
done

# operations N: each tells if it is done twice, or not at all.
operations()
{
	local i

	for ((i = 0; i < $1; i++)); do
		mkdir "$mnt/directory" && mv -n "$mnt/directory" "$mnt/moved" && rmdir "$mnt/moved" || return 1
		(set -C; echo "$i" >"$mnt/file") && ln "$mnt/file" "$mnt/link" && rm "$mnt/file" || return 1
		[ "$(cat "$mnt/link")" = "$i" ] && [ "$(stat -c %h "$mnt/link")" = 1 ] && rm "$mnt/link" || return 1
	done
}

for lane in socket foreign; do
	: >"$plan"
	start $lane
	for point in "request read" "request published" "request sending" "request sent" "reply taken" "reply stored" \
		"reply written"; do
		for ((round = 1; round <= rounds; round++)); do
			# In place: it is open.
			operations "$((round % 2))" || fail "$lane: operations without a death"
			printf '%s 1\n' "$point" >"$plan"
			check "$lane, $point: nobody sees it" operations 2
			check "$lane, $point: dies there" died_there "$point"
		done
	done
	relayd_stop
	check "$lane: nothing is left of the operations" test -z "$(ls -A "$store")"
done

# The death of relayd in the midst of the recovery from another.
for lane in $lanes; do
	: >"$plan"
	start $lane
	for point in "record take" "journal take" "requests take" "state take" "fuse take" "chan take" "first take" \
		"life ended" "life begun" "record written"; do
		printf '%s 1\n' "$point" >"$plan"
		kill -KILL "$(relayd_worker)" "$(relayd_field backend_pid)"
		check "$lane, again at $point: nobody sees it" operations 1
		check "$lane, again at $point: dies there" died_there "$point"
		relayd_wait SERVING
	done
	relayd_stop
	check "$lane: nothing is left of the operations" test -z "$(ls -A "$store")"
done

# One that hangs there is ended by its keeper, after half a minute.
: >"$plan"
start direct
printf 'fuse take 1 hang\n' >"$plan"
kill -KILL "$(relayd_worker)" "$(relayd_field backend_pid)"
check "a relayd that hangs: nobody sees it" operations 1
check "a relayd that hangs: hangs there" grep -q '^fuse take 0 hang$' "$plan"
relayd_wait SERVING
check "a relayd that hangs: its keeper says so" grep -qF '(wait status 0xe)' "$tmp/relayd.log"
relayd_stop
check "a relayd that hangs: nothing is left of the operations" test -z "$(ls -A "$store")"

# And from the death of a backend.
for lane in $lanes; do
	: >"$plan"
	start $lane
	for point in "life ended" "first put" "first kept" "chan put" "chan kept" "record written" "record published" \
		"life begun"; do
		printf '%s 1\n' "$point" >"$plan"
		kill -KILL "$(relayd_field backend_pid)"
		check "$lane, a backend's death, $point: nobody sees it" operations 1
		check "$lane, a backend's death, $point: dies there" died_there "$point"
		relayd_wait SERVING
	done
	relayd_stop
	check "$lane: nothing is left of the operations" test -z "$(ls -A "$store")"
done

# A relayd that dies while it ends has ended.
for point in "chan dropped" "first dropped" "record dropped" "journal dropped" "fuse dropped" "ctl dropped" "lock dropped" \
	"ready dropped"; do
	: >"$plan"
	start direct
	printf '%s 1\n' "$point" >"$plan"
	relayctl unmount "$mnt" >"$tmp/unmount" 2>&1 || :
	wait_for 20 process_gone "$relayd_pid"
	status_of wait "$relayd_pid"
	relayd_pid=
	check "ending, $point: dies there" died_there "$point"
	check "ending, $point: nothing is mounted" test -z "$(test_mounts)"
	check "ending, $point: nothing runs" test -z "$(test_processes)"
done
unset RELAY_CRASH_FILE
PATH=${PATH#*:}

# ---- at random ----------------------------------------------------------------

names=$top_builddir/tests/integration/storm_names
# passthrough_fh's paths are not exact: its results differ without a death as well.
foreign="$top_builddir/tests/backends/peers/passthrough_ll -s -f -o source=$store,xattr,flock,cache=never {mountfd}"
options=allow_other,suid,dev

for lane in direct socket foreign; do
	rm -f "$tmp/clock"
	mkfifo "$tmp/clock"
	without=
	if [ $lane = foreign ]; then
		# What it cannot do: flags of RENAME2, files that are open and unlinked, attributes.
		without=8,9,14,15,18
		options+=,default_permissions
	fi
	start $lane -o $options
	mkdir "$mnt/names" "$tmp/names"
	"$names" "$mnt/names" "$tmp/names" 7 2 $without <"$tmp/clock" >"$tmp/names.out" 2>&1 &
	load=$!
	exec {clock}>"$tmp/clock"
	kills=0
	end=$((SECONDS + seconds))
	while [ $SECONDS -lt $end ] || [ $kills -lt 3 ]; do
		# Not waiting for something: kills are to come at any time.
		sleep "0.$((RANDOM % 3 + 1))"
		kill_relayd
		kills=$((kills + 1))
	done
	exec {clock}>&-
	status_of wait "$load"
	cat "$tmp/names.out"
	check "$lane, $kills kills: results are those in a plain directory" test "$status" = 0
	rm -r "$mnt/names" "$tmp/names"
	relayd_wait SERVING
	relayd_stop
done
