#!/bin/bash
# mount.relay: by itself, and as `mount -t fuse.relay` and a line of fstab have it.
. "${top_srcdir:?run me through make check}/tests/functions.sh"
requires_fuse
requires_program bindfs unshare
helper=$RELAY_WAYS_DIR/mount.fuse.relay
link=/sbin/mount.fuse.relay

said()
{
	[ "$("$@")" = "$said" ] || { "$@"; return 1; }
}

said="mount.relay: relayd --mount $mnt --backend 'bindfs' '$store' {mountpoint} -o 'mirror=7' -o ro --name n"
check "what is run" said "$helper" "bindfs#$store" "$mnt" -fv -o rw,noauto,ro,mirror=7,relay.name=n -t fuse.relay
check "-f mounts nothing" test -z "$(test_mounts)"
status_of "$helper" "bindfs#$store" 2>/dev/null
check "no directory: status 1" test "$status" = 1
status_of "$helper" "bindfs#$store" "$mnt" -o relay.nonsense 2>/dev/null
check "an unknown option of relayd's: status 1" test "$status" = 1
status_of "$helper" "bindfs#$store" "$mnt" -N /proc/1/ns/mnt 2>/dev/null
check "another namespace: status 1" test "$status" = 1
status_of "$helper" "bindfs#$store" "$tmp/none" 2>"$tmp/error"
check "no such directory: status 32" test "$status" = 32
check "and relayd's words" grep -q "$tmp/none" "$tmp/error"

relayd_gone()
{
	[ -z "$(test_processes)" ]
}

# Without a relayd it starts one, which ends with the mount.
mounts()
{
	"$@" >"$tmp/out" 2>&1 || { cat "$tmp/out"; return 1; }
}
mkdir "$tmp/with space"
echo "it's there" >"$tmp/with space/file"
check "without a relayd: mounts" mounts "$helper" "bindfs#$tmp/with space" "$mnt" -o ro,relay.via=preload
check "a source with a space" test "$(cat "$mnt/file")" = "it's there"
check "the way" test "$(relayd_field via)" = preload
kill_backend
check "survives" test "$(cat "$mnt/file")" = "it's there"
check "read-only" eval '! touch "$mnt/file" 2>/dev/null'
check "umount" umount "$mnt"
wait_for 30 relayd_gone

check "a whole command line" mounts "$helper" "$fsserver --source $store" "$mnt" -o nosuid,relay.name=whole
check "serves" touch "$mnt/file"
check "is called what it is" test "$(relayctl list --json | jq -r '.mounts[0].name')" = whole
mkdir "$tmp/second"
check "another one goes to the same relayd" mounts "$helper" "bindfs#$store" "$tmp/second"
check "which has both" test "$(relayctl list --json | jq '.mounts | length')" = 2
check "umount of one" umount "$tmp/second"
check "umount of the other" umount "$mnt"
wait_for 30 relayd_gone

# mount(8) looks for its helpers in /sbin, and leaves them no $PATH: in a namespace of
# our own all that is needed is there.
in_namespace()
{
	unshare --mount --propagation private bash -c '
		set -e
		mkdir "$tmp/sbin"
		mount --bind /sbin "$tmp/sbin"
		mount -t tmpfs none /sbin
		ln -s "$tmp"/sbin/* /sbin/
		ln -sf "$helper" "$link"
		ln -sf "$(command -v relayd)" /sbin/relayd
		printf "%s %s fuse.relay noauto,user,nofail,mirror=0,relay.name=fstab 0 0\n" "bindfs#$store" "$mnt" >"$tmp/fstab"
		mount -t fuse.relay -o noatime "bindfs#$store" "$mnt"
		grep -q " $mnt fuse[^ ]* rw,nosuid,nodev,noatime" /proc/mounts
		echo 1 >"$mnt/one"
		umount "$mnt"
		mount --fstab "$tmp/fstab" "$mnt"
		[ "$(relayctl list --json | jq -r ".mounts[0].name")" = fstab ]
		[ "$(cat "$mnt/one")" = 1 ]
		umount "$mnt"
	'
}
export tmp mnt store helper link
check "mount -t fuse.relay, and a line of fstab" in_namespace
wait_for 30 relayd_gone
