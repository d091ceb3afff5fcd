#!/bin/bash
# Other users of root's relayd who mean it no good: what they put in the way of their own mounts harms
# nobody else.
. "${top_srcdir:?run me through make check}/tests/functions.sh"
requires_fuse
requires_program jq setpriv unshare

chmod 755 "$tmp"
cp "$fsserver" "$tmp/fsserver"
home=$tmp/home
mkdir "$home" "$home/covered" "$home/covered/mnt" "$home/store"
chown -R 65534:65534 "$home"

as_other="setpriv --reuid=65534 --regid=65534 --clear-groups"

relayd --foreground </dev/null 2>"$tmp/relayd.log" &
relayd_pid=$!
cleanup_fn eval '[ -z "$relayd_pid" ] || kill -INT "$relayd_pid" 2>/dev/null'
wait_for 30 relayd_listens
theirs=$home/covered/mnt
$as_other "$tmp/fsserver" --source "$home/store" --mount "$theirs" </dev/null 2>>"$tmp/fsserver.log" &
wait_for 30 is_mounted "$theirs"
relayd_wait SERVING
# Root may not look: it is theirs alone.
device=$($as_other stat -c %Ld "$theirs")

# A filesystem that nobody serves, as any user can mount one with fusermount3: whoever looks a name up
# there waits for ever, root too: where fuse.conf has user_allow_other.
exec {silent}<>/dev/fuse
mount -i -t fuse -o "fd=$silent,rootmode=40000,user_id=65534,group_id=65534,allow_other" none "$home/covered"
uncover()
{
	[ -z "$silent" ] || exec {silent}>&-
	silent=
	! is_mounted "$home/covered" || umount -l "$home/covered"
	! is_mounted "$theirs" || umount -l "$theirs"
}
cleanup_fn uncover

answers()
{
	timeout 10 relayctl status >/dev/null
}

# refused PATTERN COMMAND…: within 10 s, for that reason.
refused()
{
	local pattern=$1

	shift
	status_of timeout 10 "$@" </dev/null >"$tmp/out" 2>&1
	[ "$status" != 0 ] && [ "$status" != 124 ] && grep -q -e "$pattern" "$tmp/out" ||
		{ echo "status $status"; cat "$tmp/out"; return 1; }
}

has_ended()
{
	[ "$(timeout 10 relayctl list --json | jq '.mounts | length')" = 0 ]
}

check "relayd does not look for a covered mountpoint" refused "not permitted" $as_other relayctl unmount "$theirs"
check "and goes on answering" answers
check "nor does it mount below what they serve" refused "not permitted" \
	$as_other "$tmp/fsserver" --source "$home/store" --mount "$home/covered"
check "which harms nobody" answers
unshare --mount sh -c 'mountpoint -q /sys/fs/fuse/connections || mount -t fusectl none /sys/fs/fuse/connections
	echo 1 >"$1"' sh "/sys/fs/fuse/connections/$device/abort"
wait_for 10 has_ended
check "when they abort it, it ends, without a look" has_ended
check "relayd answers" answers
uncover

kill -TERM "$relayd_pid"
status_of wait "$relayd_pid"
check "relayd ends" test "$status" = 0
relayd_pid=
