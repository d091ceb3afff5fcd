# What it saves that the kernel answers for what does not exist, and what that costs: requests, and
# time.  Figures, not a test.  Run in a guest:
#
#	make bench-bpf [GAIN_KERNEL=6.1] [GAIN_ROUNDS=3] [GAIN_PARTS='looks work'] [GAIN_CLOCK=instructions] \
#		[GAIN_LSM=capability]
#
# In each round every mount is made once, in turn, so what else the machine does meets all alike.
# Each measurement is told when it is made, and the medians in the end.  Where the guest's clock counts
# instructions (--clock instructions of tests/guest/run) a nanosecond is one.  Where bpf is not in the kernel's
# list of LSMs the programs are attached in the other way.
. "${top_srcdir:?run me through make bench-bpf}/tests/functions.sh"

requires_fuse
requires_program jq gcc git python3

helpers=$top_builddir/tests/bpf
rounds=${RELAY_GAIN_ROUNDS:-3}
parts=${RELAY_GAIN_PARTS:-looks work}
figures=$tmp/figures

# served TRUST: the kernel's own caches hold what exists for as long as this takes.
served()
{
	local insist=()

	[ "$1" = none ] || insist=(--bpf=on)
	relayd_start "--trust=$1" "${insist[@]}" --backend "$fsserver --source $store --timeout 86400"
}

# figure UNIT VALUE WHAT…
figure()
{
	local unit=$1 value=$2

	shift 2
	echo "$*: $value $unit"
	printf '%s\t%s\t%s\n' "$*" "$value" "$unit" >>"$figures"
}

# ---- looks at one name ---------------------------------------------------------

# looked COUNT [DIR NAME WHAT]…: in turns.
looked()
{
	local count=$1 of=() what=() ns i

	shift
	while [ $# != 0 ]; do
		of+=("$1" "$2")
		what+=("$3")
		shift 3
	done
	mapfile -t ns < <("$helpers/looks" "$count" "${of[@]}")
	for i in "${!what[@]}"; do figure ns "${ns[i]}" "stat of ${what[i]}"; done
}

# What others pay: the kernel's way into a program and out of it, and the program's first instructions.
looks_of_others()
{
	local state ns

	(cd "$others" && "$helpers/costs" 20 a/b/c/d/e/f) >"$tmp/costs"
	while read -r state ns; do
		figure ns "$ns" "stat of 6 components on tmpfs, attached: $state"
	done <"$tmp/costs"
}

looks_round()
{
	served none
	looked 5 "$mnt/listed" absent 'an absent name, asked for'
	looked 200 "$mnt/listed" a/b/c/there '4 components that are there, nothing attached' \
		"$tmp" absent 'an absent name, from the dcache (ext4), nothing attached'
	relayd_stop
	looks_of_others
	served complete
	looked 200 "$tmp" absent 'an absent name, from the dcache (ext4)' \
		"$mnt/unlisted" absent 'an absent name, known absent' \
		"$mnt/unlisted" "absent$(printf '%030d' 0)" 'an absent name of 36 bytes, known absent' \
		"$mnt/unlisted" "absent$(printf '%0194d' 0)" 'an absent name of 200 bytes, known absent' \
		"$mnt/unlisted" a/b/c/there '4 components that are there'
	ls -R "$mnt/listed" >/dev/null
	looked 200 "$mnt/listed" absent 'an absent name, not in a complete directory' \
		"$mnt/listed" a/b/c/there '4 components that are there, in complete directories'
	relayd_stop
}

# ---- work ----------------------------------------------------------------------

compile()
{
	local dirs=("$1"/include/*)

	gcc -E "${dirs[@]/#/-I}" -o /dev/null "$1/source.c"
}

compile_listed()
{
	compile "$1"
}

python()
{
	local path

	path=$(printf '%s:' "$1"/include/*)
	PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=${path%:} python3 -c 'import module_1, module_2, module_3'
}

list()
{
	ls -lR "$1" >/dev/null
}

copy()
{
	cp -a "$1" "$tmp/copy"
	rm -r "$tmp/copy"
}

status()
{
	git -C "$1" status >/dev/null
}

# LOOKUPs and GETXATTRs so far.
requests()
{
	relayctl stats "$mnt" --json |
		jq -r '[.opcodes[] | {(.name): .count}] | add | "\(.LOOKUP // 0) \(.GETXATTR // 0)"'
}

# worked TRUST WORK: its first run on this mount, and its second, each in a tree of its own.
worked()
{
	local before after run began

	[ "$2" != compile_listed ] || ls -R "$mnt/$2" >/dev/null
	for run in first second; do
		before=($(requests))
		began=$(date +%s%N)
		"$2" "$mnt/$2"
		figure ms $((($(date +%s%N) - began) / 1000000)) "$2, $run run, --trust=$1"
		after=($(requests))
		figure LOOKUP $((after[0] - before[0])) "$2, $run run, --trust=$1"
		figure GETXATTR $((after[1] - before[1])) "$2, $run run, --trust=$1"
	done
}

work_round()
{
	local trust work

	for trust in none complete; do
		served $trust
		for work in compile compile_listed python list copy status; do worked $trust $work; done
		relayd_stop
	done
}

# A tree for each kind of work: 20 directories of headers, of which three are wanted of each, and of modules.
tree()
{
	local i j

	mkdir -p "$1/include"
	for ((i = 1; i <= 20; i++)); do
		mkdir "$1/include/$i"
		for ((j = 1; j <= 10; j++)); do
			echo "int h_${i}_$j;" >"$1/include/$i/h_${i}_$j.h"
			[ $j -gt 3 ] || echo "#include <h_${i}_$j.h>" >>"$1/source.c"
		done
	done
	for i in 1 2 3; do echo "pass" >"$1/include/$((i * 6))/module_$i.py"; done
}

mkdir -p "$store"/{listed,unlisted}/a/b/c
touch "$store"/{listed,unlisted}/a/b/c/there
tree "$store/compile"
for work in compile_listed python list copy status; do cp -r "$store/compile" "$store/$work"; done
git -c init.defaultBranch=main init -q "$store/status"
git -C "$store/status" add -A
git -C "$store/status" -c user.name=x -c user.email=x@example.org commit -q -m x

others=$tmp/others
mkdir "$others"
mount -t tmpfs none "$others"
cleanup_fn umount "$others"
mkdir -p "$others/a/b/c/d/e"
touch "$others/a/b/c/d/e/f"

echo "lsm: $(</sys/kernel/security/lsm)"
for ((round = 1; round <= rounds; round++)); do
	echo "---- round $round of $rounds, after $SECONDS s"
	for part in $parts; do
		case $part in
			looks | work) "${part}_round" ;;
			*) fail "GAIN_PARTS: looks or work, not $part" ;;
		esac
	done
done
echo "---- medians of $rounds, least and most"
sort -t "$(printf '\t')" -k 1,1 -k 3,3 -k 2,2n "$figures" | awk -F '\t' '
	function tell()
	{
		if (!n)
			return
		median[what] = value[int((n + 1) / 2)]
		printf "%s: %s %s (%s to %s)\n", what, median[what], unit, value[1], value[n]
	}
	function percent(of, than) { return of && than ? sprintf("%+.1f %%", (of / than - 1) * 100) : "not measured" }
	function times(of, than) { return of && than ? sprintf("%.2f times", of / than) : "not measured" }

	$1 != what || $3 != unit { tell(); what = $1; unit = $3; n = 0 }
	{ value[++n] = $2 }
	END {
		tell()
		tmpfs = "stat of 6 components on tmpfs, attached: "
		absent = "stat of an absent name, "
		print "---- what others pay on 6 components"
		print "an empty program: " percent(median[tmpfs "empty"], median[tmpfs "nothing"])
		print "relayd'\''s: " percent(median[tmpfs "ours"], median[tmpfs "nothing"])
		print "---- what is known absent takes"
		print "of an answer of the dcache: " times(median[absent "known absent"], median[absent "from the dcache (ext4)"])
		print "of one with nothing attached: " \
			times(median[absent "known absent"], median[absent "from the dcache (ext4), nothing attached"])
		print "of one of the filesystem: " times(median[absent "known absent"], median[absent "asked for"])
	}'
