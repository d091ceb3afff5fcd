#!/bin/bash
# A filesystem that relayd does not start: it mounts by relay_mount(), dies, and
# comes back to its mount by the same call.
. "${top_srcdir:?run me through make check}/tests/functions.sh"
requires_fuse

relayd --foreground </dev/null 2>"$tmp/relayd.log" &
relayd_pid=$!
cleanup_fn eval '[ -z "$(test_mounts)" ] || relayctl unmount --force "$mnt"; [ -z "$relayd_pid" ] || kill "$relayd_pid"'
wait_for 30 relayd_listens

attach()
{
	"$fsserver" --source "$store" --mount "$mnt" </dev/null 2>>"$tmp/fsserver.log" 8>&- &
	filesystem=$!
}

attach
wait_for 30 is_mounted "$mnt"
relayd_wait SERVING
check "relayd knows the process" test "$(relayd_field backend_pid)" = "$filesystem"
check "files are stored" eval 'echo first >"$mnt/file"; [ "$(cat "$store/file")" = first ]'

# Another process has a file open there: what a backend has open on its own mount,
# it would have to flush while it dies.
mkfifo "$tmp/lines"
cat >>"$mnt/file" <"$tmp/lines" &
writer=$!
exec 8>"$tmp/lines"
kill -KILL "$filesystem"
attach
relayd_wait SERVING --incarnation=2
check "it comes back to its mount" test "$(relayd_field backend_pid)" = "$filesystem"
echo second >&8
exec 8>&-
status_of wait "$writer"
check "an open file is still open" eval '[ "$status" = 0 ] && [ "$(tail -n 1 "$store/file")" = second ]'

status_of "$fsserver" --source "$store" --mount "$mnt" 2>"$tmp/error"
check "two at once are refused" test "$status" != 0
check "and the first serves on" test "$(cat "$mnt/file")" = "first
second"

# An application that waits for the backend gets its answer from the next one.
kill -KILL "$filesystem"
relayd_wait STOPPED
cat "$mnt/file" >"$tmp/read" &
reader=$!
attach
status_of wait "$reader"
check "who waited is answered" eval '[ "$status" = 0 ] && cmp "$tmp/read" "$store/file"'

# Another user, by fusermount3's rules.
theirs=$tmp/theirs
mkdir "$theirs" "$tmp/their-store"
chown 65534:65534 "$theirs" "$tmp/their-store"
chmod 755 "$tmp"
as_other()
{
	setpriv --reuid=65534 --regid=65534 --clear-groups "$@"
}
cp "$fsserver" "$tmp/fsserver-theirs"
status_of as_other "$tmp/fsserver-theirs" --source "$tmp/their-store" --mount "$mnt" 2>"$tmp/error"
check "not on another's mount" test "$status" != 0
status_of as_other "$tmp/fsserver-theirs" --source "$tmp/their-store" --mount "$store" 2>"$tmp/error"
check "not on another's directory" test "$status" != 0
as_other "$tmp/fsserver-theirs" --source "$tmp/their-store" --mount "$theirs" </dev/null 2>>"$tmp/fsserver.log" &
wait_for 30 is_mounted "$theirs"
check "on one of their own" test "$(as_other relayctl list --json | jq -r '.mounts[].mountpoint')" = "$theirs"
check "nosuid and nodev" grep -q "^[^ ]* $theirs fuse[^ ]* rw,nosuid,nodev," /proc/mounts
check "root sees both" test "$(relayctl list --json | jq '.mounts | length')" = 2
status_of as_other relayctl unmount "$mnt" 2>/dev/null
check "what is not theirs is not theirs to unmount" test "$status" = 4
check "their own is" as_other relayctl unmount "$theirs"

check "unmounting ends the backend" relayctl unmount "$mnt"
status_of wait "$filesystem"
check "in order" test "$status" = 0
kill -TERM "$relayd_pid"
status_of wait "$relayd_pid"
check "relayd ends" test "$status" = 0
relayd_pid=
