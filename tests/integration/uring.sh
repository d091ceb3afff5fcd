#!/bin/bash
# The lane uring: who may have it, that it is said what is missing where it cannot be, and
# what the death of each process means that is in it.
. "${top_srcdir:?run me through make check}/tests/functions.sh"
requires_fuse
[ -x "$top_builddir/ways/relayd-uring" ] || skip "the headers that it was built with have no FUSE over io_uring"
uring_hold

hold=$tmp/hold
backend=$tmp/backend
log=$tmp/relayd.log

# A backend that does not come for as long as $hold is there.
cat >"$backend" <<END
#!/bin/sh
while [ -e "$hold" ]; do sleep 0.02; done
exec "$fsserver" --source "$store"
END
chmod +x "$backend"

# The keeper of the rings of the relayd that runs; empty: there is none.
keeper()
{
	local status

	for status in /proc/[0-9]*/status; do
		if grep -qs '^Name:.relayd-uring$' "$status" && grep -qs "^PPid:.$(relayd_worker)\$" "$status"; then
			status=${status#/proc/}
			echo "${status%/status}"
		fi
	done
}

lane_is()
{
	[ "$(relayd_field lane)" = "$1" ]
}

says()
{
	grep -q -e "$1" "$log"
}

waits_for_answer()
{
	grep -q fuse "/proc/$1/stack"
}

holds_no_file()
{
	local fd

	for fd in "/proc/$1"/fd/* "/proc/$1/cwd" "/proc/$1/exe"; do
		case $(readlink "$fd") in
			"$mnt"*) return 1 ;;
		esac
	done
}

has_no_rights()
{
	local status

	for status in "/proc/$1"/task/*/status; do
		grep -qx 'CapPrm:.0*' "$status" && grep -qx 'NoNewPrivs:.1' "$status" || return 1
	done
}

loads_begin()
{
	local number

	loads=()
	for number in {1..8}; do
		bash -c 'while :; do stat "$1/data" "$1/none"; done' load "$mnt" >/dev/null 2>&1 &
		loads+=($!)
	done
}

# Their last calls may be under way still.
loads_end()
{
	kill -KILL "${loads[@]}"
	wait "${loads[@]}" 2>/dev/null || true
}

callers_gone()
{
	local pid

	for pid in $(test_processes); do
		! grep -qsx stat "/proc/$pid/comm" || return 1
	done
}

gone()
{
	! is_mounted "$mnt" && process_gone "$relayd_pid"
}

# ---- it serves, and its backend's death is a pause --------------------------------

relayd_start --backend "$backend" --lane=uring
keeper=$(keeper)
check "the lane is uring" lane_is uring
check "there is one keeper" [ "$(wc -w <<<"$keeper")" = 1 ]
check "which has no file of the mount" holds_no_file "$keeper"
check "and no rights" has_no_rights "$keeper"
head -c 3000000 /dev/urandom >"$tmp/data"
cp "$tmp/data" "$mnt/data"
check "what was written is in the store" cmp "$tmp/data" "$store/data"
kill_backend
check "and is read by way of the next backend" cmp "$tmp/data" "$mnt/data"
check "the keeper is the same" [ "$(keeper)" = "$keeper" ]
kill -TERM "$keeper"
check "SIGTERM is not for it" cmp "$tmp/data" "$mnt/data"
check "a restart in order is none of its business either" relayctl restart
relayd_wait SERVING
check "and the mount answers" stat "$mnt/data"

# ---- while there is no backend, callers can be killed: in entries, and behind them --

touch "$hold"
kill -KILL "$(relayd_field backend_pid)"
callers=()
for number in {1..80}; do
	stat "$mnt/none$number" >/dev/null 2>&1 &
	callers+=($!)
done
for caller in "${callers[@]}"; do
	wait_for 20 waits_for_answer "$caller"
done
kill -KILL "${callers[@]}"
for caller in "${callers[@]}"; do
	wait_for 20 process_gone "$caller"
done
wait "${callers[@]}" 2>/dev/null || true
check "80 callers were let go" true
rm "$hold"
relayd_wait SERVING
check "and the mount answers after them" cmp "$tmp/data" "$mnt/data"
relayd_stop
check "no keeper is left" process_gone "$keeper"

# ---- who cannot have it -------------------------------------------------------------

mkdir "$tmp/nothing"
RELAY_WAYS_DIR=$tmp/nothing relayd_start --lane=uring
check "without a keeper it is the direct lane" lane_is direct
check "for a reason" says "direct lane in place of uring: the keeper of the rings, relayd-uring, is not installed"
relayd_stop

relayd_start --backend "$fsserver --source $store --threads 1" --lane=uring
check "with one thread it is the direct lane" lane_is direct
check "for a reason" says "direct lane in place of uring: the backend serves with one thread"
check "whose keeper has ended" [ -z "$(keeper)" ]
relayd_stop

foreign=$top_builddir/tests/backends/liar
relayd_start --backend "$foreign $store {mountfd}" --lane=uring
check "a program that is not linked with librelay has the socket lane" lane_is socket
check "for a reason" says "socket lane in place of uring: the backend is not linked with librelay"
relayd_stop

# ---- a backend that has gone mad ------------------------------------------------------

relayd_start --lane=uring
"$top_builddir/tests/integration/uring_meddle" "$(relayd_field backend_pid)" kicks
check "whatever a backend does to the eventfds, the keeper hears of answers" cmp "$tmp/data" "$mnt/data"
kill_backend
check "and so it does from the next" cmp "$tmp/data" "$mnt/data"

# What it writes to the rings may cost the mount its requests.
loads_begin
for seed in {1..10}; do
	"$top_builddir/tests/integration/uring_meddle" "$(relayd_field backend_pid)" rings "$seed"
	kill_backend
done
check "whatever a backend writes to the rings, relayd takes note of its death" \
	[ "$(relayd_field incarnation)" -ge 12 ]
loads_end
relayctl unmount --force "$mnt"
kill -TERM "$relayd_pid"
status_of wait "$relayd_pid"
relayd_pid=
check "and ends in order" [ "$status" = 0 ]
wait_for 20 callers_gone

# ---- the keeper's death, and relayd's, end the mount: nobody hangs --------------------

relayd_start --backend "$backend" --lane=uring
keeper=$(keeper)
touch "$hold"
kill -KILL "$(relayd_field backend_pid)"
stat "$mnt/none" >/dev/null 2>&1 &
caller=$!
wait_for 20 waits_for_answer "$caller"
kill -KILL "$keeper"
wait_for 20 process_gone "$caller"
status_of wait "$caller"
check "who waits when the keeper dies is told" [ "$status" = 1 ]
wait_for 20 gone
wait "$relayd_pid" || true
relayd_pid=
check "and the mount is gone" says "the keeper of its rings has died"
rm "$hold"

for first in keeper backend; do
	relayd_start --lane=uring
	loads_begin
	pids=("$(keeper)" "$(relayd_field backend_pid)")
	[ $first = keeper ] || pids=("${pids[1]}" "${pids[0]}")
	kill -KILL "${pids[@]}"
	wait_for 20 gone
	wait "$relayd_pid" || true
	relayd_pid=
	loads_end
	wait_for 20 callers_gone
	check "when keeper and backend die at once, the $first first, the mount ends and nobody hangs" true
done

relayd_start --backend "$backend" --lane=uring
keeper=$(keeper)
kill -HUP "$relayd_pid"
wait_for 20 says "another relayd could not take over"
check "no other relayd takes over" says "no other relayd can go on with a mount in the lane uring"
check "and the mount goes on" cmp "$tmp/data" "$mnt/data"
touch "$hold"
kill -KILL "$(relayd_field backend_pid)"
stat "$mnt/none" >/dev/null 2>&1 &
caller=$!
wait_for 20 waits_for_answer "$caller"
kill -KILL "$(relayd_worker)"
wait_for 20 process_gone "$caller"
status_of wait "$caller"
check "who waits when relayd dies is told" [ "$status" = 1 ]
wait_for 20 gone
status_of wait "$relayd_pid"
relayd_pid=
check "and the mount has ended in order" [ "$status" = 0 ]
wait_for 20 process_gone "$keeper"
check "with the keeper of its rings" true
rm "$hold"
