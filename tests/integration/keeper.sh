#!/bin/bash
# The keeper: that it allocates nothing once it has begun, and that no program which is
# installed in relayd's place ends a mount.
. "${top_srcdir:?run me through make check}/tests/functions.sh"

requires_fuse
requires_program jq

worker_is_another()
{
	local now

	now=$(relayd_worker)
	[ -n "$now" ] && [ "$now" != "$worker" ]
}

# Whoever waits at a relayd that dies is told nothing, and asks the next.
serves()
{
	relayctl wait --state=SERVING --timeout=10 2>/dev/null
}

kill_worker()
{
	worker=$(relayd_worker)
	kill -KILL "$worker"
	wait_for 20 worker_is_another
	wait_for 30 serves
}

log_count()
{
	grep -c "$1" "$tmp/relayd.log" || :
}

log_has_more()
{
	[ "$(log_count "$1")" -gt "$2" ]
}

# ---- what it allocates ----------------------------------------------------------

# allocations NAME: of processes of that name, while relayd dies, is replaced, and the keeper dies too.
allocations()
{
	local file=$tmp/allocations i

	: >"$file"
	export MALLOC_PRELOAD_FILE=$file MALLOC_PRELOAD_NAME=$1
	LD_PRELOAD=$top_builddir/tests/backends/.libs/malloc_preload.so relayd_start
	for i in 1 2 3; do
		exec {open}<>"$mnt/file"
		rm "$mnt/file"
		kill_worker
		exec {open}>&-
	done
	worker=$(relayd_worker)
	kill -HUP "$relayd_pid"
	wait_for 20 worker_is_another
	worker=$(relayd_worker)
	kill -KILL "$relayd_pid"
	relayd_heir_take
	kill -KILL "$worker"
	wait_for 20 worker_is_another
	wait_for 30 serves
	relayd_stop
	unset MALLOC_PRELOAD_FILE MALLOC_PRELOAD_NAME
	count=$(wc -c <"$file")
}

if grep -q '^SANITIZE_CFLAGS = .*address' "$top_builddir/Makefile"; then
	echo "what the keeper allocates cannot be seen: a sanitizer's malloc comes first"
else
	allocations relayd-keeper
	check "the keeper allocates nothing, whatever dies ($count allocations)" test "$count" = 0
	allocations relayd
	check "which the test would have seen: relayd does" test "$count" -gt 100
fi

# ---- what is installed in its place ------------------------------------------------

mkdir "$tmp/bin"
cp "$top_builddir/relayd/relayd" "$tmp/bin/relayd"
PATH=$tmp/bin:$PATH
relayd_start
PATH=${PATH#*:}

# installed TEXT: a program that does this is relayd's from now on.
installed()
{
	printf '#!/bin/sh\n%s\n' "$1" >"$tmp/bin/new"
	chmod +x "$tmp/bin/new"
	mv "$tmp/bin/new" "$tmp/bin/relayd"
}

# refused NAME TEXT STATUS
refused()
{
	local before

	worker=$(relayd_worker)
	before=$(log_count "could not take over (wait status $3)")
	installed "$2"
	kill -HUP "$relayd_pid"
	wait_for 20 log_has_more "could not take over (wait status $3)" "$before"
	check "$1: the one that serves goes on" test "$(relayd_worker)" = "$worker"
	check "$1: and nobody has waited" stat "$mnt" -c %n
}

echo kept >"$mnt/file"
refused "a version that cannot go on" 'exit 64' 0x4000
refused "one that cannot even start" 'exec /nonexistent/relayd' 0x7f00
refused "one that hangs" 'exec sleep 1000' 0xe

# What looks well, and then is not: "check" is the fourth field.
worker=$(relayd_worker)
installed 'case $RELAYD_KEEPER in *:*:*:1:*) exit 0 ;; esac; exit 3'
kill -HUP "$relayd_pid"
wait_for 20 worker_is_another
wait_for 30 serves
check "one that ends as it takes over: the keeper's own goes on" test "$(cat "$mnt/file")" = kept
kill_worker
check "and again" test "$(cat "$mnt/file")" = kept

worker=$(relayd_worker)
cp "$top_builddir/relayd/relayd" "$tmp/bin/new"
mv "$tmp/bin/new" "$tmp/bin/relayd"
kill -HUP "$relayd_pid"
wait_for 20 worker_is_another
wait_for 30 serves
check "one that can: it serves" test "$(readlink "/proc/$(relayd_worker)/exe")" = "$tmp/bin/relayd"
check "and nothing is lost" test "$(cat "$mnt/file")" = kept
rm "$mnt/file"
relayd_stop
