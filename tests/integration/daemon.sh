#!/bin/bash
# relayd in the background: it returns when the mount answers, gives its mount to
# one that already serves the socket, and ends with its last mount.
. "${top_srcdir:?run me through make check}/tests/functions.sh"
requires_fuse

second=$tmp/second
mkdir "$second" "$tmp/store2"
cleanup_fn eval '[ -z "$(test_mounts)" ] || relayctl unmount --force "$mnt" "$second"'

relayd_pid_of_socket()
{
	relayctl status --json | jq .relayd_pid
}

# Its standard streams are not the caller's: this ends although relayd lives on.
mounts()
{
	relayd --mount "$1" --backend "$fsserver --source $2" </dev/null 2>&1 | cat
	is_mounted "$1"
}

check "it returns with the mount there" mounts "$mnt" "$store"
check "the mount answers at once" cp /etc/passwd "$mnt/file"
first=$(relayd_pid_of_socket)
check "it has left the session of its caller" test "$(ps -o sid= -p "$first" | tr -d ' ')" != "$(ps -o sid= -p $$ | tr -d ' ')"
check "it keeps no directory in use" test "$(readlink "/proc/$first/cwd")" = /

check "a second mount is handed over" mounts "$second" "$tmp/store2"
check "one relayd has both" test "$(relayctl status --json | jq '.mounts | length')" = 2
check "it is the first one" test "$(relayd_pid_of_socket)" = "$first"

hand_over_fails()
{
	status_of relayd --mount "$tmp/missing" --backend "$fsserver --source $store" 2>"$tmp/error"
	[ "$status" = 4 ] && grep -q "$tmp/missing" "$tmp/error"
}
check "a mount that cannot be is refused as without a daemon" hand_over_fails

check "one of them is unmounted" relayctl unmount "$second"
check "the other one serves on" cmp /etc/passwd "$mnt/file"
check "an open file keeps the mount" eval 'exec 9<"$mnt/file"; ! relayctl unmount "$mnt" 2>/dev/null'
exec 9<&-
check "the last one is unmounted" relayctl unmount "$mnt"
check "relayd ends with it" wait_for 10 process_gone "$first"
check "its socket is gone" test ! -e "$RELAYD_SOCKET"

relayd --mount "$mnt" --backend "$fsserver --source $store" </dev/null
pid=$(relayd_pid_of_socket)
kill -TERM "$pid"
check "SIGTERM ends it" wait_for 10 process_gone "$pid"
check "SIGTERM unmounts" test -z "$(test_mounts)"
