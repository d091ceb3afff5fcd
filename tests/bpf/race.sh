# Some make names and others look them up, for long: is an answer of the kernel's ever wrong?  And is
# that noticed, where what a change makes untrue is taken back only after its reply?  Run in a guest:
#
#	make race-bpf [RACE_SECONDS=600]
. "${top_srcdir:?run me through make race-bpf}/tests/functions.sh"

requires_fuse
requires_program jq

helpers=$top_builddir/tests
seconds=${RELAY_RACE_SECONDS:-600}
slow=${RELAY_TEST_SLOW:-1}

# race SECONDS [KILLED]: lookers' line of counts is in $counts afterwards.  What is KILLED is the
# backend: after a death of relayd nothing is answered by the kernel any more.
race()
{
	local seconds=$1 killed=${2:-} lookers killer=

	mkdir "$mnt/race"
	mkfifo "$tmp/clock"
	"$helpers/bpf/lookers" "$mnt/race" 1 1 $((seconds + 60 * slow)) <"$tmp/clock" >"$tmp/counts" & lookers=$!
	[ -z "$killed" ] || {
		"$helpers/integration/storm_kill" "$RELAYD_SOCKET" 1 $((30 * slow)) $((150 * slow)) $((1 << 30)) <"$tmp/clock" \
			>"$tmp/kills" & killer=$!
	}
	exec {clock}>"$tmp/clock"
	# Not waiting for something: this is how long it is to be, but for a wrong answer.
	timeout "$seconds" tail --pid="$lookers" -s 1 -f /dev/null || :
	exec {clock}>&-
	status_of wait "$lookers"
	[ -z "$killer" ] || wait "$killer"
	grep '^wrong' "$tmp/counts" || :
	counts=$(tail -n 1 "$tmp/counts")
	relayd_wait SERVING
	echo "$counts $(relayctl stats "$mnt" --json | jq .known.saved)${killer:+ $(<"$tmp/kills")}" |
		awk '{ printf "changes: %s  looks: %s  certain: %s  wrong: %s  answered by the kernel: %s  kills: %d\n", $1, $2, $3, $4, $5, $6 }'
	rm -r "$mnt/race" "$tmp/clock"
}

# mounted NAME BACKEND: half of the time with kills.
mounted()
{
	local killed

	for killed in '' 1; do
		relayd_start --trust=complete --bpf=on --backend "$2"
		echo "$1${killed:+, killed}: $(relayd_field lane), $(relayd_field known)"
		race $((seconds / 4)) "$killed"
		check "$1${killed:+, killed}: no wrong answer" [ "$status" = 0 ]
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
late
mounted fsserver "$fsserver --source $store --timeout 3600"
mounted passthrough "$helpers/backends/peers/passthrough -o modules=subdir,subdir=$store {mountfd}"
