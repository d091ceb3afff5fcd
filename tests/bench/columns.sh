# The columns of bench: what stands between an application and the store's directory.
# Sourced by it.  A column NAME is a function column_NAME, which sets
#
#	kind	dir: nothing; plain: a FUSE program by itself; relayd: one behind relayd
#	program	and arguments, where {store} is the directory, {timeout} how many seconds
#		the kernel may believe names and attributes, and {mountfd} the mountpoint
#	lane	for relayd: --lane's argument, or empty
#	options	of the mount, if not $mount_options
#
# and is mounted once for each timeout that a work asks for, with the same options of
# the mount on both sides.  Two mounts of a column share nothing but the store.

column_names='dir libfuse libfuse-hp direct direct-nopass socket'
# Not in the table by default.
column_more='socket-native socket-clones uring uring-nopass'

# As both sides have it: the kernel checks permissions, by the attributes it was told.
mount_options=allow_other,default_permissions,suid,dev

column_dir() { kind=dir program=; }

# With threads, each of which has a clone of /dev/fuse: its fastest, README.md has the
# others.  It is without extended attributes and locks, as it is by default: with
# them each write would be two requests.
column_libfuse()
{
	peer passthrough_ll
	kind=plain
	program="$peer -f -o source={store},cache=auto,timeout={timeout} $libfuse_options"
}

# libfuse's other example, in C++: it splices data, and has the kernel believe it for a
# day and write behind where others say a second and write through.
column_libfuse_hp()
{
	peer passthrough_hp
	kind=plain options=''
	program="$peer --foreground {store}"
	[ "$timeout" != 0 ] || program="$program --nocache"
}

column_direct()
{
	kind=relayd lane=direct
	program="$fsserver --source {store} --timeout {timeout}"
}

# What fsserver costs where the kernel can't read and write the store's file by itself.
column_direct_nopass()
{
	column_direct
	if fsserver --help | grep -q -e --passthrough; then
		program="$program --passthrough=off"
	else
		kind=none
	fi
}

# The same, but for the clones, which a descriptor that was inherited has not.
column_socket()
{
	column_libfuse
	kind=relayd lane=socket
	program="${program/-o clone_fd/} {mountfd}"
}

# By the preload library, which clones channels.
column_socket_clones()
{
	column_libfuse
	kind=relayd lane=socket
	program="$program {mountpoint}"
}

column_socket_native()
{
	column_direct
	lane=socket
}

# By FUSE over io_uring, which is on while bench runs.
column_uring()
{
	column_direct
	uring_hold
	lane=uring
}

column_uring_nopass()
{
	column_direct_nopass
	uring_hold
	lane=uring
}

peer()
{
	bash "$top_srcdir/tests/backends/build" "$1" >"$tmp/build.log" 2>&1 || fail "$1: $(tail -n 1 "$tmp/build.log")"
	peer=$top_builddir/tests/backends/peers/$1
}

# ---- variants: --variant NAME='COLUMN ARGUMENTS', --build NAME=DIR --------------------

declare -A variant_of=() variant_args=() variant_build=()

# What COLUMN is, for one timeout: $kind, $program, $lane, and $build of relayd and fsserver.
column_define()
{
	local base=${variant_of[$1]:-$1}

	timeout=$2 lane='' options=$mount_options build=${variant_build[$1]:-$top_builddir}
	fsserver=$build/fs/fsserver/fsserver
	PATH=$build/relayd:${fsserver%/*}:$path_before
	declare -F "column_${base//-/_}" >/dev/null || fail "no such column: $base (--list names them)"
	"column_${base//-/_}"
	if [ -n "$lane" ] && ! relayd --help | grep -q -e --lane; then
		lane=''
	fi
	program="$program ${variant_args[$1]:-}"
	program=${program//\{store\}/$store/$1}
	program=${program//\{timeout\}/$timeout}
}

# ---- mounts ------------------------------------------------------------------------

# By "COLUMN@TIMEOUT": where it is to be seen, and the ids of its processes.
declare -A mount_dir=() mount_pids=() mount_socket=() mount_top_pid=()

# relayd, the backend and the keeper of the rings are below relayd's own keeper.
descendants()
{
	local pid

	for pid in $(cat "/proc/$1/task"/*/children); do
		echo "$pid"
		descendants "$pid"
	done
}

column_mount()
{
	local key=$1@$2 dir=$tmp/mnt/$1@$2 socket=$tmp/$1@$2.sock

	column_define "$1" "$2"
	mount_pids[$key]=
	if [ "$kind" = dir ]; then
		mount_dir[$key]=$store/$1
		return
	fi
	mkdir -p "$dir"
	mount_dir[$key]=$dir
	if [ "$kind" = plain ]; then
		# shellcheck disable=SC2086 # words
		${server_cpu:+taskset -c "$server_cpu"} $program ${options:+-o "$options"} "$dir" </dev/null >>"$tmp/$key.log" 2>&1 &
		mount_top_pid[$key]=$!
		wait_for 10 eval "is_mounted '$dir' || process_gone $!"
		mount_pids[$key]=$!
	else
		RELAY_WAYS_DIR=$build/ways ${server_cpu:+taskset -c "$server_cpu"} relayd --foreground --socket "$socket" --mount "$dir" --backend "$program" \
			-o "$options" ${lane:+--lane="$lane"} </dev/null >>"$tmp/$key.log" 2>&1 &
		mount_top_pid[$key]=$!
		mount_socket[$key]=$socket
		wait_for 10 eval "[ -S '$socket' ] || process_gone $!"
		timeout 30 relayctl --socket "$socket" wait --state=SERVING || :
		mount_pids[$key]="$! $(descendants $!)"
	fi
	is_mounted "$dir" || fail "$1 has not mounted: $(tail -n 3 "$tmp/$key.log")"
}

backend_field()
{
	relayctl --socket "${mount_socket[$1]}" status --json | jq -r ".mounts[0].$2"
}

backend_pid()
{
	backend_field "$1" backend_pid
}

columns_unmount()
{
	local key

	for key in "${!mount_top_pid[@]}"; do
		if [ -n "${mount_socket[$key]:-}" ]; then
			process_gone "${mount_top_pid[$key]}" || relayctl --socket "${mount_socket[$key]}" unmount "${mount_dir[$key]}" || :
		else
			! is_mounted "${mount_dir[$key]}" || umount "${mount_dir[$key]}"
		fi
		timeout 10 tail --pid="${mount_top_pid[$key]}" -s 0.05 -f /dev/null || echo "$key does not end"
	done
	mount_top_pid=()
}
