#!/bin/bash
# The ways in which a mount ends other than by relayctl: each leaves no mount, no
# process and no relayd behind, whatever its backend and its applications do.
. "${top_srcdir:?run me through make check}/tests/functions.sh"
requires_fuse
requires unshare --mount true

held=

# Something that keeps the mount in use.
hold()
{
	(cd "$mnt" && exec sleep 300) &
	held=$!
	wait_for 10 eval '[ "$(readlink "/proc/$held/cwd")" = "$mnt" ]'
}

release()
{
	kill "$held"
	wait "$held" 2>/dev/null || :
}

backend_stop()
{
	kill -STOP "$(relayd_field backend_pid)"
}

# ends: relayd has ended with status 0, and nothing is mounted.
ends()
{
	local left

	wait_for 20 process_gone "$relayd_pid"
	status_of wait "$relayd_pid"
	relayd_pid=
	left=$(test_mounts)
	[ "$status" = 0 ] && [ -z "$left" ] || { echo "status $status, mounted: $left"; return 1; }
}

relayd_start
umount "$mnt"
check "umount(8)" ends

relayd_start
umount -f "$mnt"
check "umount -f" ends

# connection COMMAND: with the connection's directory in fusectl as $1.
connection()
{
	unshare --mount sh -c 'mountpoint -q /sys/fs/fuse/connections || mount -t fusectl none /sys/fs/fuse/connections
		'"$1" sh "/sys/fs/fuse/connections/$number"
}

relayd_start
number=$(stat -c %Ld "$mnt")
connection 'echo 1 >"$1/abort"'
check "a connection that is aborted" ends

relayd_start
hold
kill -TERM "$relayd_pid"
check "SIGTERM while it is in use" ends
release

relayd_start
backend_stop
kill -TERM "$relayd_pid"
check "SIGTERM while its backend does nothing" ends

relayd_start
hold
relayctl unmount --force "$mnt"
check "what is detached serves on" test -e "/proc/$held/cwd/."
kill -TERM "$relayd_pid"
check "SIGTERM while it is detached and in use" ends
release

# A caller that waits for an answer that never comes, and cannot be killed before.
relayd_start
number=$(stat -c %Ld "$mnt")
backend_stop
touch "$mnt/file" 2>/dev/null &
caller=$!
# With relayd or, in the direct lane, with the kernel: nobody reads there.
wait_for 10 connection '[ "$(cat "$1/waiting")" -gt 0 ]'
kill -TERM "$relayd_pid"
kill -TERM "$relayd_pid" 2>/dev/null || :
check "SIGTERM twice while a caller waits" ends
status_of wait "$caller"
check "the caller was given an error" test "$status" != 0

# Below it something else is mounted, which is none of relayd's.
mount -t tmpfs below "$mnt"
cleanup_fn umount "$mnt"
relayd_start
hold
relayctl unmount --force "$mnt"
kill -TERM "$relayd_pid"
wait_for 20 process_gone "$relayd_pid"
status_of wait "$relayd_pid"
relayd_pid=
check "what is mounted below stays" test "$(findmnt --noheadings --output FSTYPE "$mnt")" = tmpfs
release
