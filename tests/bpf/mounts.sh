# What relayd and backends tell the kernel does not exist, on mounts: who answers, that no
# answer is ever wrong, and what is left of it.  Run in a guest, by bpf_guest.sh.
. "${top_srcdir:?run me through make check}/tests/functions.sh"

requires_fuse
requires_program jq

helpers=$top_builddir/tests
slow=${RELAY_TEST_SLOW:-1}
gate=$tmp/backend.gate
loaded=$("$helpers/bpf/loaded")

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

# storm WHAT CHANGES CERTAIN [KILLS]: while load goes on, until there were so many of each.
storm()
{
	local what=$1 kills=${4:-0} counts killer changes looks certain wrong saved saved_before

	read -r _ saved_before < <(lookups_and_saved)
	mkfifo "$tmp/clock"
	mkdir "$mnt/storm"
	"$helpers/bpf/lookers" "$mnt/storm" "$2" "$3" $((60 * slow)) <"$tmp/clock" >"$tmp/counts" & counts=$!
	exec {clock}>"$tmp/clock"
	"$helpers/integration/storm_kill" "$RELAYD_SOCKET" 1 $((30 * slow)) $((150 * slow)) "$kills" <"$tmp/clock" \
		>"$tmp/kills" & killer=$!
	wait "$killer"
	exec {clock}>&-
	status_of wait "$counts"
	cat "$tmp/counts"
	read -r changes looks certain wrong < <(tail -n 1 "$tmp/counts")
	check "$what: no wrong answer in at least $3, of names that change at least $2 times" [ "$status:$wrong" = 0:0 ]
	relayd_wait SERVING
	read -r _ saved < <(lookups_and_saved)
	saved=$((saved - saved_before))
	# A third of the names is never made: those are asked for once in each life.
	check "$what: the kernel has answered" [ "$saved" -gt $((looks / 4)) ]
	echo "$what: changes: $changes  looks: $looks  certain: $certain  wrong: $wrong" \
		" answered by the kernel: $saved  kills: $kills"
	rm -r "$mnt/storm" "$tmp/clock"
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

# mounted NAME BACKEND…
mounted()
{
	local what=$1

	shift
	relayd_start --trust=complete --bpf=on --backend "$tmp/backend $*"
	echo "$what: $(relayd_field lane), $(relayd_field known)"
	check "$what: programs are loaded" eval '! nothing_loaded'
	answers "$what"
	storm "$what" 200 2000
	storm "$what, killed" 50 1000 6
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
	kill -KILL "$relayd_pid"
	status_of wait "$relayd_pid"
	relayd_pid=
	umount -l "$mnt"
	check "$what: relayd killed, nothing is loaded" wait_for 30 ended_of_itself "$backend"
	rm -f "$RELAYD_SOCKET"
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
mounted fsserver "$native"
mounted passthrough "$passthrough"
