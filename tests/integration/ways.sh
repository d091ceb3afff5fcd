#!/bin/bash
# The ways in: programs that know nothing of relayd, each started as its kind wants it,
# killed, and unmounted; and what is said where none of the ways leads anywhere.  What
# they serve while they are killed is the matter of compat.sh.
. "${top_srcdir:?run me through make check}/tests/functions.sh"
requires_fuse
requires_program bindfs sshfs gocryptfs jq

export RELAY_WAYS_DIR=$top_builddir/ways
PATH=$top_builddir/ways:$PATH
"$top_srcdir/tests/backends/build" passthrough_ll || skip "passthrough_ll cannot be built"
passthrough_ll=$top_builddir/tests/backends/peers/passthrough_ll
echo hello >"$store/file"

# sshfs without a network: ssh is the server itself.
server=
for path in /usr/lib/openssh/sftp-server /usr/lib/ssh/sftp-server /usr/libexec/openssh/sftp-server; do
	[ ! -x "$path" ] || server=$path
done
[ -n "$server" ] || skip "no sftp-server"
printf '#!/bin/sh\nexec %s\n' "$server" >"$tmp/ssh"
chmod +x "$tmp/ssh"

mkdir "$tmp/cipher"
echo secret >"$tmp/password"
gocryptfs -q -init -passfile "$tmp/password" "$tmp/cipher"

# The directories that programs were told to mount on.
placeholders()
{
	tr '\0' '\n' <"/proc/$(relayd_field backend_pid)/cmdline" | grep /mountpoint-
}

log_has()
{
	grep -q -- "$1" "$tmp/relayd.log"
}

serves()
{
	[ "$(timeout 10 ls "$mnt")" = "$1" ]
}

# comes_in NAME WAY LISTING BACKEND [RELAYD-OPTION…]: through three lives.
comes_in()
{
	local name=$1 way=$2 listing=$3 backend=$4 place life

	shift 4
	: >"$tmp/relayd.log"
	relayd_start --backend "$backend" "$@"
	check "$name comes in by $way" test "$(relayd_field via)" = "$way"
	check "$name: the log says so" log_has "incarnation 1, pid $(relayd_field backend_pid), came in by "
	check "$name serves" serves "$listing"
	place=$(placeholders || :)
	for life in 2 3; do
		kill_backend
		check "$name: life $life comes in as well" test "$(relayd_field via)" = "$way"
	done
	relayd_stop
	check "$name leaves no process" test -z "$(test_processes)"
	check "$name leaves no placeholder" eval '[ -z "$place" ] || [ ! -e "$place" ]'
}

# The list is whole before anything is started that would be in it.
only_relayd_is_left()
{
	local left

	left=$(test_processes)
	[ "$(sort <<<"$left")" = "$(printf '%s\n' "$relayd_pid" "$(relayd_worker)" | sort)" ]
}

# Whoever has lost its parent is relayd's, which is told how it ends.
parent_is_relayd()
{
	[ "$(ps -o ppid= -p "$(relayd_field backend_pid)" | tr -d ' ')" = "$(relayd_worker)" ]
}

comes_in "passthrough_ll" fd file "$passthrough_ll -f -o source=$store {mountfd}"
comes_in "passthrough_ll as a daemon" fd file "$passthrough_ll -o source=$store {mountfd}"
comes_in "fsserver" fd file "$fsserver --source $store" --backend-via=fd
comes_in "bindfs" preload file "bindfs -f $store {mountpoint}"
comes_in "bindfs by a shell that waits" preload file "sh -c 'bindfs -f $store \$0; exit \$?' {mountpoint}"
comes_in "bindfs as a daemon" preload file "bindfs $store {mountpoint}" --backend-via=preload
comes_in "sshfs as a daemon" preload file "sshfs -o reconnect,ssh_command=$tmp/ssh host:$store {mountpoint}"
comes_in "gocryptfs as a daemon" fusermount "" "gocryptfs -q -passfile $tmp/password $tmp/cipher {mountpoint}"
comes_in "gocryptfs" fusermount "" "gocryptfs -q -fg -passfile $tmp/password $tmp/cipher {mountpoint}" \
	--backend-via=fusermount

relayd_start --backend "bindfs $store {mountpoint}"
check "a daemon becomes relayd's child" parent_is_relayd
kill -SEGV "$(relayd_field backend_pid)"
relayd_wait SERVING --incarnation=2
check "and its end is known" log_has 'was killed by signal 11'
relayd_stop

# Who started it has ended long before it comes.
: >"$tmp/relayd.log"
relayd_start --backend "$top_builddir/tests/backends/daemonize bindfs -f $store {mountpoint}"
for ((life = 1; life <= 50; life++)); do
	kill_backend
done
check "a daemon comes in after its starter, 50 times" eval '! log_has "refused ATTACH" && ! log_has "exited with status 0"'
check "and not one of its lives was in vain" test "$(relayd_field incarnation)" = 51
check "and serves" serves file
relayd_stop

# What the program asks for, and what was given: that counts.
relayd_start --backend "bindfs -f -o fsname=theirs,noexec $store {mountpoint}" -o fsname=ours,noatime
options=$(findmnt --noheadings --output SOURCE,FSTYPE,OPTIONS "$mnt")
check "options of both" eval '[[ $options =~ ^ours\ +fuse.bindfs\ .*noexec,noatime,.*allow_other ]] || { echo "$options"; false; }'
relayd_stop

# ---- what fails --------------------------------------------------------------

# fails STATUS SECONDS TEXT RELAYD-OPTION…
fails()
{
	local wanted=$1 seconds=$2 text=$3

	shift 3
	status_of timeout "$seconds" relayd --foreground --mount "$mnt" "$@" </dev/null >"$tmp/relayd.log" 2>&1
	check "status $wanted: $*" eval '[ "$status" = "$wanted" ] && log_has "$text"'
	check "nothing is mounted" test -z "$(test_mounts)"
}

fails 2 10 'comes in one way' --backend 'true {mountpoint} {mountfd}'
fails 2 10 'needs {mountpoint}' --backend 'true {mountfd}' --backend-via=preload
fails 2 10 'needs {mountpoint}' --backend 'true' --backend-via=fusermount
fails 2 10 '{mountfd} names' --backend 'true {mountpoint}' --backend-via=fd
fails 2 10 'takes auto, fd' --backend 'true' --backend-via=else
fails 2 10 'bogus' --backend 'true {mountpoint}' -o bogus
fails 6 10 'cannot be executed' --backend '/nonexistent/program {mountpoint}'
fails 7 10 'exited with status 3' --backend "sh -c 'exit 3' {mountpoint}"
fails 7 10 'exited with status 0' --backend 'true {mountpoint}'
# As a daemon that ends without having mounted.
fails 7 10 'exited with status 0' --backend "sh -c 'sleep 0.3 & exit 0' {mountpoint}"
fails 7 10 'no mounts of block devices' --backend "bindfs -f -o blkdev $store {mountpoint}"
fails 7 30 'did not come to mount within 10 s' --backend "sh -c 'sleep 300 & exit 0' {mountpoint}"
check "a daemon that did not come is ended" test -z "$(test_processes)"
RELAY_WAYS_DIR=$tmp/nonexistent fails 6 10 'needs one' --backend 'true {mountpoint}'

# ---- relay-run ----------------------------------------------------------------

relayd --foreground </dev/null 2>"$tmp/relayd.log" &
relayd_pid=$!
cleanup_fn eval '[ -z "$(test_mounts)" ] || umount -l "$mnt"'
wait_for 30 relayd_listens

mounts_are()
{
	[ "$(relayctl status --json | jq '.mounts | length')" = "$1" ]
}

run_here()
{
	(cd "$tmp" && timeout 60 relay-run "$@" </dev/null >"$tmp/run.log" 2>&1)
}

# runs NAME LISTING COMMAND…: with the mountpoint as it would be given to a shell.
runs()
{
	local name=$1 listing=$2

	shift 2
	check "relay-run $name" run_here "$@"
	check "$name: the mount is named by its place" test "$(relayd_field name)" = "$mnt"
	check "$name serves" serves "$listing"
	kill_backend
	check "$name: the second life mounts elsewhere" eval 'placeholders >/dev/null'
	kill_backend
	check "$name serves on" serves "$listing"
	umount "$mnt"
	wait_for 10 mounts_are 0
	check "$name has ended" only_relayd_is_left
}

runs "bindfs" file bindfs store mnt
runs "bindfs -f" file bindfs -f "$store" "$mnt/../mnt"
runs "sshfs" file sshfs -o "ssh_command=$tmp/ssh" "host:$store" mnt
runs "gocryptfs" "" gocryptfs -q -passfile password cipher "$mnt"

# The program's own orderly end is the end of the mount.
check "relay-run with a name" run_here --name called bindfs -f store mnt
check "it has that name" test "$(relayd_field name)" = called
kill_backend
check "killed it lives on" serves file
kill -TERM "$(relayd_field backend_pid)"
check "SIGTERM for the program ends the mount" wait_for 10 mounts_are 0
check "without another life" eval '! log_has "called: incarnation 3"'

status_of run_here sh -c 'exit 3'
check "a program that fails is told" eval '[ "$status" = 7 ] && grep -q "exited with status 3" "$tmp/run.log"'
check "and is no mount" wait_for 10 mounts_are 0

# Its mountpoint is not one of its words.
check "relay-run of a script" run_here sh -c 'exec bindfs -f store mnt'
kill -KILL "$(relayd_field backend_pid)"
relayd_wait STOPPED
check "what cannot be started again is said to be so" log_has 'cannot be started again by relayd'
relayctl unmount "$mnt"

kill -TERM "$relayd_pid"
status_of wait "$relayd_pid"
check "relayd ends" test "$status" = 0
relayd_pid=
