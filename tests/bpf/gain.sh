# What it saves that the kernel answers for what does not exist, and what that costs: requests, and
# time.  Figures, not a test.  Run in a guest:
#
#	make bench-bpf [GAIN_KERNEL=6.1] [GAIN_ROUNDS=3]
#
# In each round every mount is made once, in turn, so what else the machine does meets all alike.
# Each measurement is told when it is made, and the medians in the end.
. "${top_srcdir:?run me through make bench-bpf}/tests/functions.sh"

requires_fuse
requires_program jq gcc git python3

looks=$top_builddir/tests/bpf/looks
rounds=${RELAY_GAIN_ROUNDS:-3}
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

# looked COUNT DIR NAME WHAT…: from within DIR, so that the way to it costs nothing.
looked()
{
	local count=$1 name=$3

	figure ns "$(cd "$2" && "$looks" "$count" "$name")" "${*:4}"
}

looks_round()
{
	served none
	looked 100 "$mnt/listed" absent 'stat of an absent name, asked for'
	looked 2000 "$mnt/listed" a/b/c/there 'stat of 4 components that are there, nothing loaded'
	looked 2000 "$tmp" absent 'stat of an absent name, from the dcache (ext4)'
	looked 2000 "$others" a/b/c/d/e/f 'stat of 6 components on tmpfs, nothing loaded'
	relayd_stop
	served complete
	looked 2000 "$mnt/unlisted" absent 'stat of an absent name, known absent'
	looked 2000 "$mnt/unlisted" "absent$(printf '%030d' 0)" 'stat of an absent name of 36 bytes, known absent'
	looked 2000 "$mnt/unlisted" "absent$(printf '%0194d' 0)" 'stat of an absent name of 200 bytes, known absent'
	looked 2000 "$mnt/unlisted" a/b/c/there 'stat of 4 components that are there, loaded'
	ls -R "$mnt/listed" >/dev/null
	looked 2000 "$mnt/listed" absent 'stat of an absent name, not in a complete directory'
	looked 2000 "$mnt/listed" a/b/c/there 'stat of 4 components that are there, in complete directories'
	looked 2000 "$others" a/b/c/d/e/f 'stat of 6 components on tmpfs, loaded'
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

for ((round = 1; round <= rounds; round++)); do
	echo "---- round $round of $rounds, after $SECONDS s"
	looks_round
	work_round
done
echo "---- medians of $rounds, least and most"
sort -t "$(printf '\t')" -k 1,1 -k 3,3 -k 2,2n "$figures" | awk -F '\t' '
	function tell() { if (n) printf "%s: %s %s (%s to %s)\n", what, value[int((n + 1) / 2)], unit, value[1], value[n] }
	$1 != what || $3 != unit { tell(); what = $1; unit = $3; n = 0 }
	{ value[++n] = $2 }
	END { tell() }'
