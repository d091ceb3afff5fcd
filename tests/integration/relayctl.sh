#!/bin/bash
# relayctl: its exit statuses, its JSON, and how mounts are named.
. "${top_srcdir:?run me through make check}/tests/functions.sh"
requires_fuse
requires_program jq

exits()
{
	local wanted=$1

	shift
	status_of "$@" >"$tmp/out" 2>"$tmp/error"
	[ "$status" = "$wanted" ] || { echo "status $status, not $wanted"; cat "$tmp/error"; return 1; }
}

check "3 without a relayd" exits 3 relayctl status
check "3 at another socket" exits 3 relayctl --socket "$tmp/nothing" status
check "2 without a command" exits 2 relayctl
check "2 for an unknown command" exits 2 relayctl frobnicate
check "2 for an option of another command" exits 2 relayctl list --force
check "2 for an unknown state" exits 2 relayctl wait --state=SLEEPING
check "2 for a timeout that is none" exits 2 relayctl wait --timeout=soon
check "2 for an incarnation that is none" exits 2 relayctl wait --incarnation=-1

relayd_start
second=$tmp/$'se\xffcond \n'
mkdir "$second" "$tmp/store2"
cleanup_fn eval '[ -z "$(test_mounts)" ] || relayctl unmount --force "$mnt" "$second"'

json_is()
{
	relayctl status --json | jq -e "$1" >/dev/null || { relayctl status --json; return 1; }
}

members='["relayd_pid","mounts"] == keys_unsorted and
	(.mounts[0] | keys_unsorted) == ["name","mountpoint","state","lane","via","incarnation","backend_pid","inflight",
	"restarts","redone","longest_pause_ms","problem","known"]'
check "the JSON of status has its members" json_is "$members"
check "it is about this mount" json_is "
	.relayd_pid == $relayd_pid and .mounts[0].mountpoint == \"$mnt\" and .mounts[0].name == \"relayctl\" and
	.mounts[0].state == \"SERVING\" and .mounts[0].incarnation == 1 and .mounts[0].lane == \"direct\" and
	(.mounts[0].longest_pause_ms | type) == \"number\" and .mounts[0].problem == \"\""
check "options may stand anywhere" eval 'relayctl --json status | jq -e .relayd_pid >/dev/null'
check "stats count" eval 'stat "$mnt" >/dev/null; ! stat "$mnt/missing" 2>/dev/null
	relayctl stats --json | jq -e ".opcodes[] | select(.name == \"LOOKUP\") | .count >= 1 and .errors >= 1 and
	.p50_us <= .p99_us" >/dev/null'
check "stats are shown" eval 'relayctl stats | grep -q "^LOOKUP "'

check "4 for a mount that is not there" exits 4 relayctl status nothing
check "5 when the time is over" exits 5 relayctl wait --state=failed --timeout=0.05
check "wait takes several states" exits 0 relayctl wait --state=failed,serving --timeout=5
check "a mount has its name" exits 0 relayctl wait relayctl
check "and its mountpoint" exits 0 relayctl wait "$mnt"
check "and that may be relative" eval 'cd "$tmp" && exits 0 relayctl wait "./store/../mnt/"'

restarted()
{
	relayctl restart && relayctl wait --incarnation=2 --timeout=30 && json_is '.mounts[0].restarts == 1'
}
check "restart begins another life" restarted

check "a name may be any bytes" relayd --mount "$second" --backend "$fsserver --source $tmp/store2"
check "2 where one has to be named" exits 2 relayctl restart
check "its JSON is valid" json_is '.mounts[1].mountpoint | test("se\\\\xffcond \n$")'
check "its table is not torn" test "$(relayctl list | wc -l)" = 3
check "it is found by its bytes" exits 0 relayctl wait "$second"
check "and unmounted" exits 0 relayctl unmount "$second"

exec 9<"$mnt"
check "1 for a mount in use" exits 1 relayctl unmount
check "by force it goes" exits 0 relayctl unmount --force
check "at once" eval '! is_mounted "$mnt"'
check "its place and name are free" relayd --mount "$mnt" --name relayctl --backend "$fsserver --source $store"
check "while the old mount is there" json_is '.mounts | length == 2'
check "the name is the new one's" eval 'relayctl unmount relayctl && json_is ".mounts | length == 1"'
exec 9<&-
status_of wait "$relayd_pid"
check "relayd ends with the last file" test "$status" = 0
relayd_pid=
