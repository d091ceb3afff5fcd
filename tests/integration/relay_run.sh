#!/bin/bash
# relay-run: programs with their usual command lines, through the relayd that runs.
. "${top_srcdir:?run me through make check}/tests/functions.sh"
requires_fuse
requires_program bindfs
relay_run=$RELAY_WAYS_DIR/relay-run

status_of "$relay_run" true 2>"$tmp/error"
check "without a relayd: status 9" test "$status" = 9
check "and how to start one" grep -q "Start one with 'relayd'" "$tmp/error"

relayd --foreground </dev/null 2>"$tmp/relayd.log" &
relayd_pid=$!
cleanup_fn eval '[ -z "$(test_mounts)" ] || relayctl unmount --force "$mnt"; [ -z "$relayd_pid" ] || kill "$relayd_pid"'
wait_for 30 relayd_listens

runs()
{
	"$relay_run" "$@" >"$tmp/out" 2>"$tmp/error" || { cat "$tmp/out" "$tmp/error"; return 1; }
}

survives()
{
	echo one >"$mnt/file" && kill_backend && [ "$(cat "$mnt/file")" = one ] && echo two >>"$mnt/file" &&
		kill_backend && [ "$(cat "$store/file")" = "one
two" ]
}

ends()
{
	relayctl unmount "$mnt" && ! is_mounted "$mnt" && rm -f "$store/file"
}

check "a program that becomes a daemon" runs bindfs "$store" "$mnt"
check "one line says what was done" \
	test "$(cat "$tmp/out")" = "relay-run: bindfs is mounted on $mnt as '$mnt', by preload"
check "it survives" survives
check "relayctl unmounts it" ends

check "a program in the foreground" runs --name foreground -o ro bindfs -f "$store" "$mnt"
check "has its name" test "$(relayctl list --json | jq -r '.mounts[0].name')" = foreground
check "and the options given here" grep -q "^$store $mnt fuse[^ ]* ro," /proc/mounts
check "it is gone" ends

# A relative directory is relative to where relay-run is, and later to where it was.
run_relative()
{
	(cd "$tmp" && MARK=marked runs sh -c 'echo "$MARK"; exec bindfs "$@"' sh store mnt) && grep -q marked "$tmp/out"
}
check "the working directory, the environment and the output are its own" run_relative
check "in every life" survives
check "and it is gone" ends

status_of "$relay_run" /nonexistent/program "$mnt" >"$tmp/out" 2>"$tmp/error"
check "a program that is not there: status 6" test "$status" = 6
status_of "$relay_run" sh -c 'exit 3' >"$tmp/out" 2>"$tmp/error"
check "one that does not mount: status 7" test "$status" = 7
check "and nothing is left" test "$(relayctl list --json | jq '.mounts | length')" = 0
status_of "$relay_run" 2>"$tmp/error"
check "no command: status 2" test "$status" = 2
status_of "$relay_run" bindfs '' "$mnt" 2>"$tmp/error"
check "an empty argument is refused" test "$status" = 2
status_of "$relay_run" --lives 0 true 2>"$tmp/error"
check "--lives 0 is refused" test "$status" = 2
check "standard descriptors may be closed" eval '"$relay_run" bindfs "$store" "$mnt" <&- >&- 2>&-'
check "it serves all the same" survives
check "until it is gone" ends

kill -TERM "$relayd_pid"
status_of wait "$relayd_pid"
check "relayd ends" test "$status" = 0
relayd_pid=
