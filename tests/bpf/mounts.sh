# What relayd and backends tell the kernel does not exist, on mounts: who answers, that no
# answer is ever wrong, and what is left of it.  Run in a guest, by bpf_guest.sh.
. "${top_srcdir:?run me through make check}/tests/functions.sh"

requires_fuse
requires_program jq

helpers=$top_builddir/tests
slow=${RELAY_TEST_SLOW:-1}
gate=$tmp/backend.gate
loaded=$("$helpers/bpf/loaded")
cgroup=/sys/fs/cgroup/relayd-mounts
mkdir "$cgroup"
cleanup_fn rmdir "$cgroup"

# Where there is a gate, no backend comes until it is gone.
cat >"$tmp/backend" <<'END'
#!/bin/sh
while [ -e "$0.gate" ]; do sleep 0.05; done
exec "$@"
END
chmod +x "$tmp/backend"

# LOOKUPs, and answers by the kernel.
lookups_and_saved()
{
	relayctl stats "$mnt" --json |
		jq -r '"\([.opcodes[] | select(.name == "LOOKUP").count] | add // 0) \(.known.saved)"'
}

# looked REQUESTS NAME…: of 20 looks at each, none of which is there, so many are asked, and the others
# answered by the kernel.  Those at the way to it are left out: they are all in one directory, where the
# shell goes, but to the root: that would ask for its attributes, and there may be nobody to answer.
looked()
(
	wanted=$1
	shift
	[ "${1%/*}" = "$mnt" ] || cd "${1%/*}"
	read -r lookups saved < <(lookups_and_saved)
	for name; do
		[ "${name%/*}" = "$mnt" ] || name=${name##*/}
		for ((i = 0; i < 20; i++)); do
			! [ -e "$name" ] || { echo "$name is there"; return 1; }
		done
	done
	read -r lookups_after saved_after < <(lookups_and_saved)
	lookups=$((lookups_after - lookups)) saved=$((saved_after - saved))
	echo "20 looks at each of $#: $lookups LOOKUP, $saved answered by the kernel"
	[ $((lookups + saved)) = $((20 * $#)) ] && [ "$lookups" = "$wanted" ]
)

nothing_loaded()
{
	[ "$("$helpers/bpf/loaded")" = "$loaded" ]
}

# Maps may be there, with who goes on: nothing answers from them.
no_program()
{
	local now

	now=$("$helpers/bpf/loaded")
	[ "${now% *}" = "${loaded% *}" ]
}

ended_of_itself()
{
	process_gone "$1" && nothing_loaded
}

# creates COMMAND…: it makes its last argument, which the kernel knows to be absent.
creates()
{
	local made=${*: -1}

	[ ! -e "$made" ] && "$@" && [ -e "$made" ] && [ -e "$store/${made#"$mnt"/}" ]
}

answers()
{
	local what=$1 dir=$mnt/listed call

	mkdir "$dir" "$dir/sub"
	touch "$dir/there" "$tmp/file"
	check "$what: a name is asked for once" looked 1 "$mnt/absent"
	check "$what: and then no more" looked 0 "$mnt/absent"
	ls "$dir" >/dev/null
	check "$what: what a listing has not is never asked for" looked 0 "$dir"/{touch,mkdir,mkfifo,ln,cp,symlink,mv}
	check "$what: nor in a directory that was just made" looked 0 "$dir/sub/absent"
	check "$what: what it has is there" [ -e "$dir/there" ]
	for call in touch mkdir mkfifo "ln $dir/there" "cp $tmp/file" "mv $dir/there"; do
		# shellcheck disable=SC2086 # words
		check "$what: ${call%% *} makes it" creates $call "$dir/${call%% *}"
	done
	check "$what: a symlink is made" creates ln -s mv "$dir/symlink"
	check "$what: and what was renamed is gone" [ ! -e "$dir/there" ]
	rm -r "$dir"
}

# A keeper that is held can start no relayd.  Not by SIGSTOP: the process group of one that is stopped is told SIGHUP
# when it becomes an orphan.
hold()
{
	echo "$1" >"$cgroup/cgroup.procs"
	echo 1 >"$cgroup/cgroup.freeze"
	wait_for 20 grep -q '^frozen 1' "$cgroup/cgroup.events"
}

let_go()
{
	echo 0 >"$cgroup/cgroup.freeze"
}

# storm WHAT CHANGES CERTAIN [KILLS [backend]]: while load goes on, until there were so many of each.
storm()
{
	local what=$1 kills=${4:-0} only=${5:-} counts killer changes looks certain wrong saved saved_before least

	read -r _ saved_before < <(lookups_and_saved)
	mkfifo "$tmp/clock"
	mkdir "$mnt/storm"
	"$helpers/bpf/lookers" "$mnt/storm" "$2" "$3" $((60 * slow)) <"$tmp/clock" >"$tmp/counts" & counts=$!
	exec {clock}>"$tmp/clock"
	"$helpers/integration/storm_kill" "$RELAYD_SOCKET" 1 $((30 * slow)) $((150 * slow)) "$kills" $only \
		<"$tmp/clock" >"$tmp/kills" & killer=$!
	status_of wait "$killer"
	[ "$status" = 0 ] || fail "$what: the kills did not come to their end"
	exec {clock}>&-
	status_of wait "$counts"
	cat "$tmp/counts"
	read -r changes looks certain wrong < <(tail -n 1 "$tmp/counts")
	check "$what: no wrong answer in at least $3, of names that change at least $2 times" [ "$status:$wrong" = 0:0 ]
	# A third of the names is never made: those are asked for once in each life.
	least=$((looks / 4))
	if [ -z "$only" ] && [ "$kills" != 0 ]; then
		read -r kills relayds both keepers misses <"$tmp/kills"
		kills="$kills backend, $relayds relayd, $both both, $keepers keeper"
		check "$what: each was killed" [ "$relayds" != 0 -a "$both" != 0 -a "$keepers" != 0 ]
		# Whoever has started the keeper knows only its heir.
		process_gone "$relayd_pid" && relayd_heir_take
		# Counted since the last relayd has begun.
		saved_before=0 least=0
	fi
	relayd_wait SERVING
	read -r _ saved < <(lookups_and_saved)
	saved=$((saved - saved_before))
	check "$what: the kernel has answered" [ "$saved" -gt "$least" ]
	echo "$what: changes: $changes  looks: $looks  certain: $certain  wrong: $wrong" \
		" answered by the kernel: $saved  kills: $kills"
	rm -r "$mnt/storm" "$tmp/clock"
}

# relayd is gone for a while, and so are its programs; then the next goes on.  $backend is what has to go on with it.
resumed()
{
	local what=$1 dir=$mnt/resumed backend worker maker

	mkdir "$dir"
	touch "$dir/there"
	ls "$dir" >/dev/null
	check "$what, resumed: absent" looked 1 "$mnt/missing"
	check "$what, resumed: complete" looked 0 "$dir/never"
	backend=$(relayd_field backend_pid)
	worker=$(relayd_worker)
	hold "$relayd_pid"
	kill -KILL "$worker"
	check "$what, resumed: with relayd its programs are gone" wait_for 20 no_program
	# In the socket lane these wait for the next.
	(mv "$dir/there" "$dir/made" && mkdir "$dir/dir" && touch "$mnt/made" && [ -e "$dir/made" ] && [ ! -e "$dir/there" ]) & maker=$!
	if [ -n "$2" ]; then
		status_of wait "$maker"
		check "$what, resumed: made and renamed while no relayd is there" [ "$status" = 0 ]
	fi
	let_go
	[ -n "$2" ] || status_of wait "$maker"
	check "$what, resumed: what was made is there" [ "$status" = 0 -a -e "$dir/made" -a -e "$mnt/made" -a ! -e "$dir/there" ]
	relayd_wait SERVING
	echo "$what, resumed: $(relayd_field known)"
	if [ -n "$2" ]; then
		check "$what, resumed: by the same backend" [ "$(relayd_field backend_pid)" = "$backend" ]
		check "$what, resumed: what was known is known" looked 0 "$mnt/missing"
		check "$what, resumed: and what was made meanwhile" looked 0 "$dir/dir/absent"
	else
		check "$what, resumed: it is asked for once more" looked 1 "$mnt/missing"
		ls "$dir" >/dev/null
	fi
	check "$what, resumed: it is answered again" looked 0 "$mnt/missing"
	check "$what, resumed: and what its directory has not" looked 0 "$dir/never"
	rm -r "$dir" "$mnt/made"
}

died_there()
{
	grep -q "^$1 0$" "$tmp/plan"
}

serves_again()
{
	relayctl wait --state=SERVING --timeout=10 "$mnt" 2>/dev/null
}

# crashed WHAT REQUESTS POINTS BACKEND…: a relayd that goes on dies at each of the points, and after the next one
# an absent name takes so many requests to be known.
crashed()
{
	local what=$1 requests=$2 points=$3 point

	shift 3
	mkdir "$tmp/bin"
	ln -s "$top_builddir/relayd/relayd-crash" "$tmp/bin/relayd"
	: >"$tmp/plan"
	RELAY_CRASH_FILE=$tmp/plan PATH=$tmp/bin:$PATH relayd_start --trust=complete --bpf=on --backend "$tmp/backend $*"
	check "$what: absent" looked 1 "$mnt/absent"
	while read -r point; do
		echo "$point 1" >"$tmp/plan"
		kill -KILL "$(relayd_worker)"
		wait_for 30 died_there "$point"
		wait_for 30 serves_again
		check "$what, $point: asked for $requests times" looked "$requests" "$mnt/absent"
		check "$what, $point: and then no more" looked 0 "$mnt/absent"
	done <<<"$points"
	relayd_stop
	check "$what: unmounted, nothing is loaded" wait_for 20 nothing_loaded
	rm -r "$tmp/bin"
}

no_backend()
{
	process_gone "$1" && [ "$(relayd_field state)" != SERVING ]
}

# Nobody is there to ask.
alone()
{
	local what=$1 pid maker

	check "$what: absent, with a backend" looked 1 "$mnt/alone"
	pid=$(relayd_field backend_pid)
	touch "$gate"
	kill -KILL "$pid"
	wait_for 30 no_backend "$pid"
	check "$what: absent, without a backend" timeout 20 bash -c '! [ -e "$1" ]' - "$mnt/alone"
	# It waits for the next backend if that was not so.
	[ "$failures" != 0 ] || check "$what: and the kernel says so" looked 0 "$mnt/alone"
	touch "$mnt/alone" & maker=$!
	rm "$gate"
	status_of wait "$maker"
	check "$what: it is made by the next one" [ "$status" = 0 -a -e "$mnt/alone" -a -e "$store/alone" ]
	relayd_wait SERVING
	rm "$mnt/alone"
	check "$what: the store is empty again" [ -z "$(ls -A "$store")" ]
}

# mounted NAME GOES-ON BACKEND…: GOES-ON is not empty if the backend goes on while no relayd is there.
mounted()
{
	local what=$1 goes_on=$2

	shift 2
	relayd_start --trust=complete --bpf=on --backend "$tmp/backend $*"
	echo "$what: $(relayd_field lane), $(relayd_field known)"
	check "$what: programs are loaded" eval '! nothing_loaded'
	answers "$what"
	[ -z "$goes_on" ] || check "$what: renames with flags" "$helpers/bpf/renames" "$mnt"
	resumed "$what" "$goes_on"
	storm "$what" 200 2000
	storm "$what, backends killed" 50 1000 6 backend
	storm "$what, all killed" 50 500 15
	alone "$what"
	relayd_stop
	check "$what: unmounted, nothing is loaded" wait_for 20 nothing_loaded
}

killed()
{
	local what=$1 backend

	shift
	relayd_start --trust=complete --bpf=on --backend "$tmp/backend $*"
	backend=$(relayd_field backend_pid)
	check "$what: absent" looked 1 "$mnt/absent"
	hold "$relayd_pid"
	kill -KILL "$(relayd_worker)" "$relayd_pid"
	let_go
	status_of wait "$relayd_pid"
	relayd_pid=
	umount -l "$mnt"
	check "$what: relayd and its keeper killed, nothing is loaded" wait_for 30 ended_of_itself "$backend"
	rm -f "$RELAYD_SOCKET"
}

# mount_more BACKEND DIR: by the relayd that is there.
mount_more()
{
	"$RELAY_WAYS_DIR/mount.fuse.relay" "$1" "$2" -o relay.trust=complete,relay.bpf=on
}

# The next mount has the s_dev of the one that has gone, and ids of the same numbers.
another()
{
	local dev

	relayd_start --trust=complete --bpf=on --backend "$tmp/backend $*"
	# So that programs stay attached.
	mkdir "$tmp/store2" "$tmp/mnt2"
	mount_more "$fsserver --source $tmp/store2" "$tmp/mnt2"
	check "s_dev: absent" looked 1 "$mnt/name"
	check "s_dev: and known to be" looked 0 "$mnt/name"
	dev=$(stat -c %d "$mnt")
	relayctl unmount "$mnt"
	touch "$store/name"
	mount_more "$tmp/backend $*" "$mnt"
	check "s_dev: is used again" [ "$(stat -c %d "$mnt")" = "$dev" ]
	check "s_dev: what is there on the next mount is there" [ -e "$mnt/name" ]
	relayctl unmount "$tmp/mnt2"
	rm "$store/name"
	relayd_stop
	check "s_dev: unmounted, nothing is loaded" wait_for 20 nothing_loaded
}

peer=$top_builddir/tests/backends/peers/passthrough
[ -x "$peer" ] || fail "bpf_guest.sh has not built $peer"

relayd_start
check "without --trust nothing is loaded" nothing_loaded
relayd_stop

passthrough="$peer -o modules=subdir,subdir=$store {mountfd}"
# The kernel asks for the attributes of its directories when their time is over.
native="$fsserver --source $store --timeout 3600"
killed fsserver "$native"
killed passthrough "$passthrough"
another "$native"
crashed fsserver 0 "map.0 take
map.7 take" "$native"
crashed passthrough 1 "map.7 take
map.3 dropped
map.0 put
map.7 kept" "$passthrough"
mounted fsserver goes-on "$native"
mounted passthrough '' "$passthrough"
