# Some make names and others look them up, for long: is an answer of the kernel's ever wrong?  And is
# that noticed, where what a change makes untrue is taken back only after its reply?  Run in a guest:
#
#	make race-bpf [RACE_SECONDS=600] [RACE_PARTS='late fsserver passthrough']
. "${top_srcdir:?run me through make race-bpf}/tests/functions.sh"

requires_fuse
requires_program jq

helpers=$top_builddir/tests
seconds=${RELAY_RACE_SECONDS:-600}
parts=${RELAY_RACE_PARTS:-late fsserver passthrough}
slow=${RELAY_TEST_SLOW:-1}

# race SECONDS [KILLED]: lookers' line of counts is in $counts afterwards, its status in $status.  KILLED is "backend", or "all": relayd
# and its keeper too.
race()
{
	local seconds=$1 killed=${2:-} lookers killer= result words=()

	[ "$killed" != backend ] || words=($((1 << 30)) backend)
	mkdir "$mnt/race"
	mkfifo "$tmp/clock"
	"$helpers/bpf/lookers" "$mnt/race" 1 1 $((seconds + 60 * slow)) <"$tmp/clock" >"$tmp/counts" & lookers=$!
	[ -z "$killed" ] || {
		"$helpers/integration/storm_kill" "$RELAYD_SOCKET" 1 $((30 * slow)) $((150 * slow)) "${words[@]}" <"$tmp/clock" \
			>"$tmp/kills" & killer=$!
	}
	exec {clock}>"$tmp/clock"
	# Not waiting for something: this is how long it is to be, but for a wrong answer.
	timeout "$seconds" tail --pid="$lookers" -s 1 -f /dev/null || :
	exec {clock}>&-
	status_of wait "$lookers"
	result=$status
	[ -z "$killer" ] || wait "$killer"
	grep '^wrong' "$tmp/counts" || :
	counts=$(tail -n 1 "$tmp/counts")
	# Whoever has started a keeper that was killed knows only its heir.
	[ "$killed" != all ] || ! process_gone "$relayd_pid" || relayd_heir_take
	relayd_wait SERVING
	# Counted by each relayd anew.
	echo "$counts $(relayctl stats "$mnt" --json | jq .known.saved)${killer:+ $(<"$tmp/kills")}" |
		awk '{
			printf "changes: %s  looks: %s  certain: %s  wrong: %s  answered by the kernel for the last relayd: %s", $1, $2, $3, $4, $5
			printf "  kills: %d of the backend, %d of relayd, %d of both, %d of the keeper\n", $6, $7, $8, $9
		}'
	rm -r "$mnt/race" "$tmp/clock"
	status=$result
}

# mounted NAME BACKEND: two thirds of the time with kills.
mounted()
{
	local killed

	for killed in '' backend all; do
		relayd_start --trust=complete --bpf=on --backend "$2"
		echo "$1${killed:+, killed: $killed}: $(relayd_field lane), $(relayd_field known)"
		race $((seconds / 6)) "$killed"
		check "$1${killed:+, killed: $killed}: no wrong answer" [ "$status" = 0 ]
		relayd_stop
	done
}

late()
{
	local changes looks certain wrong

	relayd_start --trust=complete --bpf=on --backend "$helpers/bpf/fsserver_late --source $store --timeout 3600"
	echo "fsserver_late: $(relayd_field lane), $(relayd_field known)"
	race "$seconds"
	read -r changes looks certain wrong <<<"$counts"
	check "taken back too late: that is noticed" [ "$wrong" -gt 0 ]
	relayd_stop
}

[ -d /sys/kernel/debug/sched ] || mount -t debugfs none /sys/kernel/debug
echo "$(nproc) processors, preempt $(cat /sys/kernel/debug/sched/preempt)"
for part in $parts; do
	case $part in
		late) late ;;
		fsserver) mounted fsserver "$fsserver --source $store --timeout 3600" ;;
		passthrough) mounted passthrough "$helpers/backends/peers/passthrough -o modules=subdir,subdir=$store {mountfd}" ;;
		*) fail "RACE_PARTS: late, fsserver or passthrough, not $part" ;;
	esac
done
