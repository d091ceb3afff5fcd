#!/bin/bash
# What cannot work is refused with a reason of its own, on standard error, and the
# exit status that relayd(8) gives for it, in the background and in the foreground.
. "${top_srcdir:?run me through make check}/tests/functions.sh"
requires_fuse
requires unshare --mount true

serves="$fsserver --source $store"
reasons=$tmp/reasons

# says STATUS PATTERN COMMAND…: it ends with that status and a line that has the pattern.
says()
{
	local wanted=$1 pattern=$2

	shift 2
	status_of timeout --kill-after=5 20 "$@" </dev/null >"$tmp/out" 2>"$tmp/error"
	[ "$status" = "$wanted" ] || { echo "status $status instead of $wanted"; cat "$tmp/error"; return 1; }
	grep -q -e "$pattern" "$tmp/error" || { echo "no '$pattern' in:"; cat "$tmp/error"; return 1; }
	[ ! -s "$tmp/out" ] || { echo "on standard output:"; cat "$tmp/out"; return 1; }
}

# limit NAME STATUS PATTERN COMMAND…: in the background, then in the foreground.
limit()
{
	local name=$1 wanted=$2 pattern=$3

	shift 3
	check "$name" says "$wanted" "$pattern" "$@"
	head -n 1 "$tmp/error" >>"$reasons"
	# With a socket of its own: the one in the background may be about to leave the other.
	RELAYD_SOCKET=$tmp/foreground check "$name, in the foreground" says "$wanted" "$pattern" "$@" --foreground
}

limit "unknown option" 2 no-such relayd --no-such
limit "no backend" 2 backend relayd --mount "$mnt"
limit "backend without a mountpoint" 2 mount relayd --backend "$serves"
limit "unknown log level" 2 log-level relayd --mount "$mnt" --backend "$serves" --log-level loud
limit "unknown mount option" 2 sideways relayd --mount "$mnt" --backend "$serves" -o sideways
limit "lives that are no number" 2 lives relayd --mount "$mnt" --backend "$serves" --lives nine

no_fuse='mount -t tmpfs none /dev && mknod -m 666 /dev/null c 1 3 && exec "$@"'
limit "no /dev/fuse" 3 /dev/fuse unshare --mount sh -c "$no_fuse" sh relayd --mount "$mnt" --backend "$serves"

touch "$tmp/file"
limit "missing mountpoint" 4 "$tmp/missing" relayd --mount "$tmp/missing" --backend "$serves"
limit "mountpoint that is a file" 4 "$tmp/file" relayd --mount "$tmp/file" --backend "$serves"

printf 'not a program\n' >"$tmp/data"
limit "missing backend" 6 "$tmp/none" relayd --mount "$mnt" --backend "$tmp/none"
limit "backend that is not executable" 6 "$tmp/data" relayd --mount "$mnt" --backend "$tmp/data --flag"
limit "backend that exits at once" 7 'exit\(ed\)\?.* 3' relayd --mount "$mnt" --backend "sh -c 'exit 3'"
limit "backend that is killed at once" 7 'signal 9\|SIGKILL\|Killed' \
	relayd --mount "$mnt" --backend "sh -c 'kill -KILL \$\$'"

# The journal does not fit into what the process may have.
limit "no memory" 8 memory prlimit --as=$((10 << 20)) relayd --mount "$mnt" --backend "$serves"

long=$tmp/$(printf '%0120d' 0)
limit "socket with too long a name" 9 "$long" relayd --socket "$long" --mount "$mnt" --backend "$serves"
limit "socket in a directory that is none" 9 "$tmp/file" \
	relayd --socket "$tmp/file/sock" --mount "$mnt" --backend "$serves"

# In a user namespace of its own root may mount, but may not load programs.
limit "kernel that takes no eBPF program" 10 bpf=on unshare --user --map-root-user --mount \
	relayd --mount "$mnt" --trust=complete --bpf=on --backend "$serves"

check "nothing was mounted" test -z "$(test_mounts)"

relayd_start
limit "busy mountpoint" 5 "$mnt" relayd --socket "$tmp/other" --mount "$mnt" --backend "$serves"
check "the mount that was there still serves" stat -t "$mnt"
relayd_stop

# Each its own: no two limits give the same reason.
check "every reason is its own" test -z "$(sort "$reasons" | uniq -d)"
