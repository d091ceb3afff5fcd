#!/bin/bash
# A user's relayd mounts through fusermount3, with that user's rights only, and its
# mount outlives its backend as root's does.
. "${top_srcdir:?run me through make check}/tests/functions.sh"
requires_fuse
requires_program fusermount3 setpriv unshare

# A container's /dev/fuse may be root's alone: then this sees one that is as on any machine.
if [ -z "${USER_TEST_NAMESPACE:-}" ]; then
	status_of env USER_TEST_NAMESPACE=1 unshare --mount bash "$0"
	exit "$status"
fi
if [ "$(stat -c %a /dev/fuse)" != 666 ]; then
	mkdir "$tmp/dev"
	mount -t tmpfs -o mode=755 none "$tmp/dev"
	mknod -m 666 "$tmp/dev/fuse" c 10 229
	mount --bind "$tmp/dev/fuse" /dev/fuse
	cleanup_fn umount /dev/fuse "$tmp/dev"
fi

# The build tree may be where the user cannot go.
chmod 755 "$tmp"
cp "$top_builddir"/relayd/{relayd,relayctl} "$fsserver" "$tmp"
PATH=$tmp:$PATH
export XDG_RUNTIME_DIR=$tmp/run
unset RELAYD_SOCKET
mkdir "$XDG_RUNTIME_DIR"
chown nobody "$XDG_RUNTIME_DIR" "$store" "$mnt"
chmod 700 "$XDG_RUNTIME_DIR"

as_user()
{
	setpriv --reuid=nobody --regid=nogroup --clear-groups "$@"
}

survives_kill()
{
	local status incarnation pid

	status=$(as_user relayctl status --json) || return
	incarnation=$(jq '.mounts[0].incarnation' <<<"$status")
	pid=$(jq '.mounts[0].backend_pid' <<<"$status")
	kill -KILL "$pid"
	as_user cmp "$store/file" "$mnt/file" || return
	as_user relayctl wait --state=SERVING "--incarnation=$((incarnation + 1))" "$mnt"
}

cleanup_fn eval "! is_mounted '$mnt' || as_user relayctl unmount --force '$mnt'"
check "it mounts" as_user relayd --mount "$mnt" --backend "$tmp/fsserver --source $store"
relayd=$(as_user relayctl status --json | jq .relayd_pid)
check "the mount is the user's" grep -q " $mnt .* fuse.* .*user_id=$(id -u nobody)" /proc/self/mountinfo
check "its socket is in XDG_RUNTIME_DIR" test -S "$XDG_RUNTIME_DIR/relayd/relayd.sock"
check "a file is written" as_user cp /etc/passwd "$mnt/file"
check "the file is the user's" test "$(stat -c %U "$store/file")" = nobody
check "it survives its backend" survives_kill
mkdir "$tmp/roots"
check "no right to mount: status 4" eval \
	'status_of as_user relayd --mount "$tmp/roots" --backend "$tmp/fsserver --source $store" 2>/dev/null; [ $status = 4 ]'
check "it unmounts" as_user relayctl unmount "$mnt"
check "relayd ends" wait_for 10 process_gone "$relayd"

# What takes more rights than a user has is done without, and said.
as_user relayd --foreground --mount "$mnt" --trust=complete --backend "$tmp/fsserver --source $store" \
	</dev/null 2>"$tmp/relayd.log" &
relayd_pid=$!
wait_for 30 as_user relayctl wait --state=SERVING --timeout=30 "$mnt" 2>/dev/null
check "without eBPF programs it serves" as_user cmp "$store/file" "$mnt/file"
check "and the log says why" grep -q "the kernel answers nothing by itself: ." "$tmp/relayd.log"
check "as relayctl does" test "$(as_user relayctl status --json | jq -r '.mounts[0].known | startswith("off: ")')" = true
check "no file is read past the backend, and the log says why" \
	grep -qE "no passthrough: .*(CAP_SYS_ADMIN|the kernel is older than 6\.9)" "$tmp/relayd.log"
check "it unmounts" as_user relayctl unmount "$mnt"
status_of wait "$relayd_pid"
relayd_pid=
