#!/bin/bash
# Filesystems that know nothing of relayd, each mounted by its natural way in:
#
#	compat.sh [--seconds N] [--plain | --no-kills] [--seed N] [NAME…]
#
# The rows are in compat-table.sh; without names those of $compat_names, "all" for
# really all.  For each
#
#   1. a tree is copied in and out, and fio writes and verifies a file;
#   2. the same again and again for N seconds (by default 3), while the backend is
#      killed every 100 to 500 ms, and together with random operations on names that
#      are done in a plain directory as well;
#   3. what is in the store at the end is compared, seen beside the mount, or through
#      a second, plain mount of it.
#
# One line each: filesystem, way in, kills, operations, errors, corrupt files.  With
# --plain there is no relayd and there are no kills: what the work is worth; with
# --no-kills there is a relayd.
#
# fio's time_based mode would verify nothing: files are written and read again whole,
# and the bytes of both are compared with what they should be.

. "${top_srcdir:?run me through make check}/tests/functions.sh"
. "$top_srcdir/tests/integration/compat-table.sh"

seconds=3
seed=1
plain=
kills=yes
names=
while [ $# -gt 0 ]; do
	case $1 in
		--seconds) seconds=$2; shift ;;
		--seed) seed=$2; shift ;;
		--plain) plain=yes kills= ;;
		--no-kills) kills= ;;
		all) names="$names $compat_names $compat_more" ;;
		-*) fail "no such option: $1" ;;
		*) names="$names $1" ;;
	esac
	shift
done
[ -n "$names" ] || names=$compat_names

requires_fuse
requires_program fio jq diff find sha256sum

helpers=$top_builddir/tests/integration
table=$tmp/table
skipped=
sshd_pid=
killer=
mount_pid=

has() { [[ " $traits " == *" $1 "* ]]; }

# A command on the mount, which may hang: 77 would be its own.
run()
{
	timeout --kill-after=10 120 "$@" 2>>"$work/said" || error "status $? of: $*"
}

error() { echo "$*" >>"$work/errors"; }
corrupt() { echo "$*" >>"$work/corrupt"; }
lines() { wc -l <"$1"; }

missing()
{
	echo "SKIP $name: there is no $1"
	skipped="$skipped $name"
	return 1
}

# ---- what is copied ----------------------------------------------------------------

# Small files, as a repository has them, and what a name may be.  Times are whole
# seconds, which is all that some filesystems keep.
make_source()
{
	local long i

	mkdir "$source"
	for i in $(seq 60); do
		mkdir -p "$source/objects/$((i % 7))"
		head -c $((i * 97)) /dev/urandom >"$source/objects/$((i % 7))/$i"
		chmod 444 "$source/objects/$((i % 7))/$i"
	done
	mkdir -p "$source/a/very/deep/directory/that/goes/on/and/on"
	echo deep >"$source/a/very/deep/directory/that/goes/on/and/on/file"
	head -c 300000 /dev/urandom >"$source/large"
	: >"$source/empty"
	printf '#!/bin/sh\n' >"$source/script"
	chmod 755 "$source/script"
	ln -s objects/1/1 "$source/symlink"
	ln -s nowhere/at/all "$source/dangling"
	ln -s . "$source/here"
	mkdir -m 700 "$source/private"
	mkfifo "$source/fifo"
	echo 'two names' >"$source/linked"
	ln "$source/linked" "$source/private/link"
	ln "$source/objects/2/2" "$source/a/link"
	long=$(printf 'n%.0s' $(seq 140))
	echo long >"$source/$long"
	long=$(printf 'n%.0s' $(seq 255))
	echo longest >"$source/$long"
	echo spaces >"$source/a name with  spaces"
	echo bytes >"$source/"$'caf\303\251 \346\227\245'
	find "$source" -print0 | xargs -0 touch -h -d @1600000000
}

# The source without what this filesystem does not know.
trim_source()
{
	cp -a "$source" "$work/source"
	! has nofifo || rm "$work/source/fifo"
	! has nolinks || rm "$work/source/linked" "$work/source/private/link" "$work/source/a/link"
	! has nodangling || rm "$work/source/dangling" "$work/source/symlink"
	! has short || find "$work/source" -name 'nnnnnn*' -size -2 | awk 'length($0) > 200' | xargs rm
	find "$work/source" -print0 | xargs -0 touch -h -d @1600000000
	describe "$work/source" >"$work/source.list"
}

# One line for each file: what it is, and what it has in it.
describe()
{
	local count=%n

	! has nocount || count=
	(
		cd "$1" || exit
		find . -type d -printf '%p %y %m %U:%G\n' -o -type l -printf '%p %y %U:%G %l\n' \
			-o -printf "%p %y %m %U:%G $count %s %T@\n"
		find . -type f -print0 | xargs -0 -r sha256sum
	) 2>>"$work/said" | sort
}

# compare WHAT DIR: each line that is not as in the source is a corrupt file.
compare()
{
	timeout --kill-after=10 120 bash -c "work=$work traits='$traits'; $(declare -f has describe); describe '$2'" >"$work/list" ||
		error "$1: cannot be listed"
	cmp -s "$work/source.list" "$work/list" || diff "$work/source.list" "$work/list" |
		sed -n "s/^[<>]/$1: &/p" >>"$work/corrupt" || :
}

# ---- mounts --------------------------------------------------------------------------

# A mount without relayd, on DIR.
plain_start()
{
	local dir=$1 line=${command//'{mountfd}'/$1}

	line=${line//'{mountpoint}'/$dir}
	bash -c "exec $line" </dev/null >>"$work/plain.log" 2>&1 &
	mount_pid=$!
	wait_for 20 is_mounted "$dir"
}

plain_stop()
{
	wait_for 20 eval "umount '$1' 2>/dev/null || fusermount -u '$1' 2>/dev/null"
	# Of those that do not go to the background.
	wait_for 20 process_gone "$mount_pid"
	wait "$mount_pid" 2>/dev/null || :
}

mount_start()
{
	via=plain
	if [ -n "$plain" ]; then
		plain_start "$mnt"
	else
		relayd_start -o "$options" --backend "$command"
		via=$(relayd_field 'via // "?"')
	fi
}

mount_stop()
{
	if [ -n "$plain" ]; then
		plain_stop "$mnt"
		return
	fi
	operations=$(relayctl stats --json | jq '[.opcodes[].count] | add')
	relayd_stop
}

# Kills each incarnation 100 to 500 ms after it began to serve, until $work/over.
kill_backends()
{
	local incarnation pid

	RANDOM=$seed
	while [ ! -e "$work/over" ]; do
		# Not waiting for something: this is how often it is to die.
		sleep "0.$((100 + RANDOM % 401))"
		read -r incarnation pid < <(relayctl status --json | jq -r '.mounts[0] | "\(.incarnation) \(.backend_pid)"')
		[ "$pid" != 0 ] && kill -KILL "$pid" 2>/dev/null || continue
		echo "$pid" >>"$work/kills"
		timeout 60 relayctl wait --state=SERVING --incarnation=$((incarnation + 1)) >>"$work/said" 2>&1 || {
			error "no further life: $(relayctl status 2>&1 | tail -n 2)"
			return
		}
	done
}

# ---- work ------------------------------------------------------------------------------

tree_pass()
{
	if has ro; then
		run cp -a "$mnt" "$work/out"
		compare mount "$mnt"
		compare out "$work/out"
		rm -rf "$work/out"
		return
	fi
	run cp -a "$work/source" "$mnt/tree"
	compare mount "$mnt/tree"
	[ -z "$store" ] || compare store "$store/tree"
	run cp -a "$mnt/tree" "$work/out"
	compare out "$work/out"
	rm -rf "$work/out"
	run rm -r "$mnt/tree"
	[ ! -e "$mnt/tree" ] || error "the tree was not removed"
}

fio_options=(--size=2M --rw=randwrite --verify=crc32c --do_verify=1 --verify_fatal=1 --verify_state_save=0 --loops=1
	--fallocate=none --ioengine=psync --output-format=json)

# fio_pass NAME OPTION…: writes and verifies one file, and looks at it in the store.
fio_pass()
{
	local job=$1 bytes

	shift
	timeout --kill-after=10 120 fio --name="$job" --directory="$mnt" --output="$work/$job.json" "${fio_options[@]}" \
		"$@" >"$work/$job.out" 2>&1 || { corrupt "fio $job: status $?: $(tail -n 3 "$work/$job.out" "$work/$job.json" | tr '\n' ' ')"; return; }
	bytes=$(jq -r '[.jobs[0].write.io_bytes, .jobs[0].read.io_bytes] | join(" ")' "$work/$job.json")
	[ "$bytes" = '2097152 2097152' ] || error "fio $job: wrote and verified $bytes bytes"
	[ -z "$store" ] || fio_check "$job" "$store" "$@"
}

# fio_check NAME DIR OPTION…: what that job has written, read elsewhere.
fio_check()
{
	local job=$1 dir=$2

	shift 2
	fio --name="$job" --directory="$dir" --output="$work/$job.check" "${fio_options[@]}" "$@" --direct=0 \
		--verify_only=1 >"$work/$job.out" 2>&1 || corrupt "fio $job in the store: $(tail -n 3 "$work/$job.out" | tr '\n' ' ')"
}

fio_passes()
{
	! has ro || return 0
	fio_pass buffered --bs=16k
	has nodirect || fio_pass direct --bs=64k --direct=1
}

# Random operations in both places, without those that this filesystem has not, and
# without those that cannot be exact (matrix_foreign.c says why): 14 uses open files
# that have no name, 15 asks whether an extended attribute was there.
names_start()
{
	local without=14,15

	! has noflags || without=$without,8,9,18
	mkfifo "$work/clock"
	mkdir "$mnt/names" "$work/names"
	"$helpers/storm_names" "$mnt/names" "$work/names" "$seed" 2 "$without" <"$work/clock" >"$work/names.out" 2>&1 &
	names_pid=$!
	exec {clock}>"$work/clock"
}

names_stop()
{
	wait "$names_pid" || { sed 's/^/names: /' "$work/names.out" | sed -n 1,5p >>"$work/errors"; }
	run rm -r "$mnt/names"
}

under_kills()
{
	local end=$((SECONDS + seconds)) fio_pid names_pid='' clock

	if [ -n "$kills" ]; then
		kill_backends &
		killer=$!
	fi
	if has ro || has nonames; then
		exec {clock}>/dev/null
	else
		names_start
	fi
	while [ $SECONDS -lt $end ] && [ ! -s "$work/errors" ]; do fio_passes; done {clock}>&- &
	fio_pid=$!
	while [ $SECONDS -lt $end ] && [ ! -s "$work/errors" ]; do
		tree_pass
		passes=$((passes + 1))
	done
	wait "$fio_pid"
	exec {clock}>&-
	[ -z "$names_pid" ] || names_stop
	# This one stays, for the look at the store.
	has ro || run cp -a "$work/source" "$mnt/tree"
	touch "$work/over"
	[ -z "$killer" ] || wait "$killer" || :
	killer=
}

look_at_store()
{
	! has ro || return 0
	if [ -n "$store" ]; then
		compare 'store at the end' "$store/tree"
		return
	fi
	mkdir "$work/second-mount"
	plain_start "$work/second-mount"
	compare 'store at the end' "$work/second-mount/tree"
	fio_check buffered "$work/second-mount" --bs=16k
	plain_stop "$work/second-mount"
}

# ---- a row --------------------------------------------------------------------------------

row_line()
{
	printf '%-24s %-10s %6s %10s %7s %8s\n' "$@"
}

row()
{
	local command='' options=allow_other,suid,dev store='' traits='' passes=0 operations=0 via='' peer=''
	local work=$tmp/$name

	mkdir "$work"
	: >"$work/errors"
	: >"$work/corrupt"
	: >"$work/kills"
	sshd_pid=
	"fs_${name//-/_}" || return 0
	trim_source
	mount_start
	tree_pass
	fio_passes
	under_kills
	mount_stop
	look_at_store
	if [ -n "$sshd_pid" ]; then
		kill "$sshd_pid"
		wait "$sshd_pid" 2>/dev/null || :
	fi
	row_line "$name" "$via" "$(lines "$work/kills")" "$operations" "$(lines "$work/errors")" "$(lines "$work/corrupt")" |
		tee -a "$table"
	sort "$work/errors" "$work/corrupt" | uniq -c | sed -n 1,12p | cut -c 1-200
	[ ! -s "$work/errors" ] && [ ! -s "$work/corrupt" ] || tail -n 5 "$work/said" | cut -c 1-200
	check "$name: no error" [ ! -s "$work/errors" ]
	check "$name: no corrupt file" [ ! -s "$work/corrupt" ]
	check "$name: a pass has come to its end" [ "$passes" -gt 0 ]
	[ -z "$kills" ] || check "$name: kills have come" [ "$(lines "$work/kills")" -ge "$((seconds / 2))" ]
	rm -rf --one-file-system "$work"
}

source=$tmp/source
make_source
for name in $names; do
	row
done
echo
row_line filesystem 'way in' kills operations errors corrupt
cat "$table"
[ -z "$skipped" ] || skip "there is no$skipped"
