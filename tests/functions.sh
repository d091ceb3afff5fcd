# What integration scripts share.  A script begins with
#
#	. "${top_srcdir:?run me through make check}/tests/functions.sh"
#
# and then has: errexit, nounset and pipefail; a directory of its own, $tmp; the
# programs of the build tree first in $PATH, and $fsserver; $RELAYD_SOCKET below $tmp, so that
# any number of scripts run at once.  Whatever way the script ends, cleanup
# commands are run, and then nothing may be left: a mount below $tmp, or a process
# that descends from the script, fails the test (and is removed all the same).
#
#	requires COMMAND [ARG…]        skip the test unless the command succeeds
#	requires_program NAME…         skip the test unless they are in $PATH
#	requires_fuse                  skip the test unless root and /dev/fuse are there
#	cleanup_fn COMMAND [ARG…]      run it at the end; the last one given runs first
#	fail MESSAGE…                  end the test as failed
#	skip MESSAGE…                  end the test as skipped
#	check NAME COMMAND [ARG…]      print "ok NAME" or "FAIL NAME", go on; counts
#	status_of COMMAND [ARG…]       run it, its exit status goes to $status
#	wait_for SECONDS COMMAND…      ask until the command succeeds, or fail
#	relayd_start [RELAYD-OPTION…]  mount $store on $mnt through a relayd, and wait
#	                               for it; sets $relayd_pid.  --backend may be given.
#	relayd_wait STATE [ARG…]       relayctl wait --state=STATE ARG…, 30 s at most
#	relayd_field FIELD             of the first mount in relayctl status --json
#	relayd_worker                  the process that serves, whose keeper is $relayd_pid
#	relayd_heir_take               the keeper was killed: $relayd_pid is its heir from here on
#	relayd_stop                    unmount and wait for relayd's end, which must be 0
#	kill_backend                   SIGKILL, and wait for the next life to serve
#
# Exit statuses are automake's: 0 passed, 77 skipped, else failed.

set -euo pipefail

top_builddir=${top_builddir:?run me through make check}
fsserver=$top_builddir/fs/fsserver/fsserver
PATH=$top_builddir/relayd:${fsserver%/*}:$PATH:/usr/sbin:/sbin
LC_ALL=C
test_name=$(basename "$0" .sh)
tmp=$(mktemp -d "/tmp/relayd-$test_name.XXXXXX")
store=$tmp/store
mnt=$tmp/mnt
mkdir "$store" "$mnt"
RELAYD_SOCKET=$tmp/sock
# Marks every process that descends from this one, however it detaches itself.
RELAYD_TEST_MARK=$tmp
export PATH LC_ALL RELAYD_SOCKET RELAYD_TEST_MARK

relayd_pid=
relayd_is_heir=
checks=0
failures=0
cleanup_commands=()

fail()
{
	echo "FAIL $test_name: $*" >&2
	exit 1
}

skip()
{
	echo "SKIP $test_name: $*"
	exit 77
}

requires()
{
	"$@" >/dev/null 2>&1 || skip "'$*' fails"
}

requires_program()
{
	local program

	for program; do
		command -v "$program" >/dev/null || skip "$program is not installed"
	done
}

requires_fuse()
{
	[ "$(id -u)" = 0 ] || skip "only root mounts without fusermount3"
	[ -c /dev/fuse ] || skip "no /dev/fuse"
}

cleanup_fn()
{
	cleanup_commands+=("$(printf '%q ' "$@")")
}

check()
{
	local name=$1

	shift
	checks=$((checks + 1))
	if "$@"; then
		echo "ok $name"
	else
		failures=$((failures + 1))
		echo "FAIL $name"
	fi
}

status_of()
{
	status=0
	"$@" || status=$?
}

# For what nothing reports; relayd_wait is told instead of asking.
wait_for()
{
	local seconds=$1 end

	shift
	end=$((SECONDS + seconds))
	until "$@"; do
		[ $SECONDS -le $end ] || fail "not within $seconds s: $*"
		sleep 0.02
	done
}

process_gone()
{
	[ ! -e "/proc/$1" ] || grep -q '^State:.Z' "/proc/$1/status" 2>/dev/null
}

is_mounted()
{
	awk -v dir="$1" '$5 == dir { found = 1 } END { exit !found }' /proc/self/mountinfo
}

# FUSE over io_uring is on until the script has ended.
uring_hold()
{
	local said

	[ -z "${uring_held:-}" ] || return 0
	coproc uring_coproc { exec "$top_builddir/tests/lib/uring_hold"; }
	uring_held=$uring_coproc_PID
	read -r said <&"${uring_coproc[0]}" || skip "the kernel has no FUSE over io_uring (Linux 6.14 on)"
	cleanup_fn uring_release
}

uring_release()
{
	exec {uring_coproc[1]}>&-
	wait "$uring_held"
}

relayd_start()
{
	local backend=(--backend "$fsserver --source $store") lane=() option

	case ${RELAY_TEST_LANE:-direct} in
		direct) ;;
		socket) lane=(--lane=socket) ;;
		no-resend) lane=(--resend=off) ;;
		uring) lane=(--lane=uring) ; uring_hold ;;
		*) fail "RELAY_TEST_LANE: direct, socket, no-resend or uring" ;;
	esac
	for option; do
		case $option in
			--backend | --backend=*) backend=() ;;
		esac
	done
	relayd --foreground --mount "$mnt" --name "$test_name" "${backend[@]}" "${lane[@]}" "$@" </dev/null >>"$tmp/relayd.log" 2>&1 &
	relayd_pid=$!
	wait_for 30 relayd_listens
	relayd_wait SERVING
}

# True once the socket is there, and also when relayd has ended: then say why.
relayd_listens()
{
	if process_gone "$relayd_pid"; then
		cat "$tmp/relayd.log" >&2
		fail "relayd has ended"
	fi
	[ -S "$RELAYD_SOCKET" ]
}

relayd_wait()
{
	local state=$1

	shift
	timeout 30 relayctl wait "--state=$state" "$@" || fail "no $state${*:+ $*}: $(relayctl status 2>&1)"
}

relayd_field()
{
	relayctl status --json | jq -r ".mounts[0].$1"
}

# $relayd_pid is the keeper, which has backends of dead ones for children too.
relayd_worker()
{
	local pid

	for pid in $(cat "/proc/$relayd_pid/task/$relayd_pid/children"); do
		[ "$(cat "/proc/$pid/comm" 2>/dev/null)" != relayd ] || echo "$pid"
	done
}

# The heir has everything before relayd answers again, and is no child of ours.
relayd_heir_is_there()
{
	local now

	now=$(relayctl status --json | jq .relayd_pid)
	[ -n "$now" ] && [ "$now" != "$relayd_pid" ] && [ "$(cat "/proc/$now/comm")" = relayd-keeper ]
}

relayd_heir_take()
{
	status_of wait "$relayd_pid"
	wait_for 20 relayd_heir_is_there
	relayd_pid=$(relayctl status --json | jq .relayd_pid)
	relayd_is_heir=1
}

relayd_stop()
{
	relayctl unmount "$mnt"
	if [ -n "$relayd_is_heir" ]; then
		wait_for 20 process_gone "$relayd_pid"
		status=0
	else
		status_of wait "$relayd_pid"
	fi
	[ "$status" = 0 ] || fail "relayd ended with status $status"
	relayd_pid=
	relayd_is_heir=
}

kill_backend()
{
	local incarnation

	incarnation=$(relayd_field incarnation)
	kill -KILL "$(relayd_field backend_pid)"
	relayd_wait SERVING "--incarnation=$((incarnation + 1))"
}

# The processes that descend from this script, except itself and its subshells for asking.
test_processes()
{
	local dir pid

	for dir in /proc/[0-9]*; do
		pid=${dir#/proc/}
		[ "$pid" != $$ ] && [ "$pid" != "$BASHPID" ] || continue
		process_gone "$pid" && continue
		grep -qzxF "RELAYD_TEST_MARK=$RELAYD_TEST_MARK" "$dir/environ" 2>/dev/null || continue
		# Forks of this shell have its command line and live for a moment only.
		[ "$(tr '\0' ' ' <"$dir/cmdline" 2>/dev/null)" != "$(tr '\0' ' ' </proc/$$/cmdline)" ] || continue
		echo "$pid"
	done
}

test_mounts()
{
	awk -v dir="$tmp/" 'index($5, dir) == 1 { print $5 }' /proc/self/mountinfo | sort -r
}

# Takes away what is left, naming it; true if there was something.
remove_leftovers()
{
	local left=1 mount pid

	for mount in $(test_mounts); do
		echo "left behind: mount $mount"
		umount -l "$mount" || :
		left=0
	done
	for pid in $(test_processes); do
		echo "left behind: process $pid: $(tr '\0' ' ' <"/proc/$pid/cmdline" || :)"
		kill -KILL "$pid" || :
		left=0
	done 2>/dev/null
	return $left
}

test_end()
{
	local status=$? i

	trap - EXIT
	trap '' INT TERM HUP
	set +e
	for ((i = ${#cleanup_commands[@]} - 1; i >= 0; i--)); do
		eval "${cleanup_commands[i]}"
	done
	if [ -n "$relayd_pid" ]; then
		# The script ended before relayd_stop.
		kill "$relayd_pid" 2>/dev/null
		timeout 10 tail --pid="$relayd_pid" -s 0.05 -f /dev/null || kill -KILL "$relayd_pid"
		[ "$status" != 0 ] || { echo "relayd was not stopped"; status=1; }
	fi
	if remove_leftovers && [ "$status" = 0 ]; then
		status=1
	fi
	if [ "$status" = 0 ] && [ "$failures" != 0 ]; then
		status=1
	fi
	if [ "$status" != 0 ] && [ "$status" != 77 ] && [ -s "$tmp/relayd.log" ]; then
		echo "---- relayd's log"
		tail -n 100 "$tmp/relayd.log"
	fi
	rm -rf --one-file-system "$tmp"
	[ "$checks" = 0 ] || echo "$checks checks, $failures failed"
	exit "$status"
}

trap test_end EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
