#!/bin/bash
# Mounts in other mount namespaces than root's relayd, as containers have them: they are where who
# asked for them sees them, and nowhere else, and end with their namespace.
. "${top_srcdir:?run me through make check}/tests/functions.sh"
requires_fuse
requires_program jq nsenter setpriv unshare
requires unshare --mount true

relayd --foreground </dev/null 2>"$tmp/relayd.log" &
relayd_pid=$!
cleanup_fn eval '[ -z "$relayd_pid" ] || kill -INT "$relayd_pid" 2>/dev/null'
wait_for 30 relayd_listens

unshare --mount --propagation private sleep infinity &
holder=$!
cleanup_fn eval 'kill -KILL "$holder" 2>/dev/null'

differs()
{
	[ "$(stat -Lc %i "/proc/$holder/ns/mnt")" != "$(stat -Lc %i /proc/self/ns/mnt)" ]
}
wait_for 10 differs
name=$mnt@$(stat -Lc %i "/proc/$holder/ns/mnt")

enter="nsenter --mount=/proc/$holder/ns/mnt --wd=/"

there()
{
	$enter "$@"
}

there_is_mounted()
{
	awk -v dir="$1" '$5 == dir { found = 1 } END { exit !found }' "/proc/$holder/mountinfo"
}

# fsserver STORE DIR [COMMAND…]: in the background, by that command.
serve()
{
	local from=$1 to=$2

	shift 2
	"$@" "$fsserver" --source "$from" --mount "$to" </dev/null 2>>"$tmp/fsserver.log" &
	serving=$!
}

named_gone()
{
	[ -z "$(relayctl list --json | jq -r --arg name "$1" '.mounts[] | select(.name == $name) | .name')" ]
}

worker_is_another()
{
	local now

	now=$(relayd_worker)
	[ -n "$now" ] && [ "$now" != "$worker" ]
}

says()
{
	local pattern=$1

	shift
	status_of timeout 20 "$@" </dev/null >"$tmp/out" 2>&1
	[ "$status" != 0 ] && grep -q -e "$pattern" "$tmp/out" || { echo "status $status"; cat "$tmp/out"; return 1; }
}

serve "$store" "$mnt" there
wait_for 30 there_is_mounted "$mnt"
relayd_wait SERVING "$name"
check "it is not to be seen here" eval '! is_mounted "$mnt"'
check "it serves there" eval 'there sh -c "echo there >$mnt/file"; [ "$(cat "$store/file")" = there ]'

mkdir "$tmp/ours"
echo here >"$tmp/ours/file"
serve "$tmp/ours" "$mnt" env
ours=$serving
wait_for 30 is_mounted "$mnt"
relayd_wait SERVING "$mnt"
check "the same place here is another" eval '[ "$(cat "$mnt/file")" = here ] && [ "$(there cat "$mnt/file")" = there ]'

kill -KILL "$(there relayctl status --json "$mnt" | jq .mounts[0].backend_pid)"
serve "$store" "$mnt" there
check "a backend comes back to its own" timeout 30 relayctl wait --state=SERVING --incarnation=2 "$name"
check "which serves" test "$(there cat "$mnt/file")" = there
check "and the other one has noticed nothing" test "$(relayctl status --json "$mnt" | jq .mounts[0].backend_pid)" = "$ours"

worker=$(relayd_worker)
kill -KILL "$worker"
wait_for 20 worker_is_another
relayd_wait SERVING "$name"
check "another relayd goes on with it" test "$(there cat "$mnt/file")" = there

check "a path means the place of who asks" there relayctl unmount "$mnt"
check "which is free" eval '! there_is_mounted "$mnt"'
check "and the one here is still there" test "$(cat "$mnt/file")" = here

serve "$store" "$mnt" there
wait_for 30 there_is_mounted "$mnt"
check "by its name it is unmounted from here" relayctl unmount "$name"
check "there" eval '! there_is_mounted "$mnt"'

serve "$store" "$mnt" there
wait_for 30 there_is_mounted "$mnt"
relayd_wait SERVING "$name"
check "backends are started here alone" says "another mount namespace" \
	$enter relayd --mount "$tmp/ours" --backend "$fsserver --source $store"
check "by relay-run as well" says "another mount namespace" $enter "$top_builddir/ways/relay-run" true
theirs=$tmp/theirs
mkdir "$theirs" "$tmp/their-store"
chown 65534:65534 "$theirs" "$tmp/their-store"
chmod 755 "$tmp"
cp "$fsserver" "$tmp/fsserver"
fsserver=$tmp/fsserver
as_other="setpriv --reuid=65534 --regid=65534 --clear-groups"
serve "$tmp/their-store" "$theirs" there $as_other
wait_for 30 there_is_mounted "$theirs"
check "another user's is nosuid and nodev" \
	grep -q " $theirs rw,nosuid,nodev,[^ ]* .* fuse" "/proc/$holder/mountinfo"
check "it works" there $as_other sh -c "echo x >$theirs/file"
check "and it is theirs to unmount" there $as_other relayctl unmount "$theirs"
check "not on what is another's there" says . $enter $as_other "$fsserver" --source "$tmp/their-store" --mount "$store"
# Whoever is root of it could take nosuid and nodev away.
own="$as_other unshare --user --map-user=65534 --map-group=65534 --mount"
if $own true 2>/dev/null; then
	check "nor where they can be root themselves" says . \
		$own "$fsserver" --source "$tmp/their-store" --mount "$theirs"
	check "which the log says" grep -q "of another user namespace" "$tmp/relayd.log"
else
	echo "no user may make a user namespace here: that it is refused was not seen"
fi

# As who has the connection's file in fusectl may do.
number=$(there stat -c %Ld "$mnt")
unshare --mount sh -c 'mountpoint -q /sys/fs/fuse/connections || mount -t fusectl none /sys/fs/fuse/connections
	echo 1 >"$1"' sh "/sys/fs/fuse/connections/$number/abort"
wait_for 20 named_gone "$name"
check "one that is aborted is taken away there" eval '! there_is_mounted "$mnt"'
serve "$store" "$mnt" there
wait_for 30 there_is_mounted "$mnt"
relayd_wait SERVING "$name"

kill -KILL "$holder" "$(relayctl status --json "$name" | jq .mounts[0].backend_pid)"
wait_for 20 named_gone "$name"
check "it ends with its namespace" named_gone "$name"

check "it unmounts" relayctl unmount "$mnt"
kill -TERM "$relayd_pid"
status_of wait "$relayd_pid"
check "relayd ends" test "$status" = 0
relayd_pid=
