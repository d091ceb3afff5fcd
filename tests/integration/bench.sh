#!/bin/bash
# `make bench` comes out with a table that has a figure for each work in each column:
# how large it is does not matter here.
. "${top_srcdir:?run me through make check}/tests/functions.sh"
requires_fuse
requires_program jq tar taskset
status_of bash "$top_srcdir/tests/backends/build" passthrough_ll
[ "$status" = 0 ] || exit "$status"

out=$tmp/out
columns='dir libfuse direct direct-nopass socket'
works='stat fstat stat-cached create readdir untar randread randwrite seqread seqwrite'

run_bench()
{
	status_of timeout 300 bash "$top_srcdir/tests/bench/bench" --seconds 0.02 --size 1 --files 60 --kills 2 \
		--columns "${columns// /,}" --results "$out" "$@" >"$tmp/bench.log" 2>&1
	[ "$status" = 0 ] || { tail -n 40 "$tmp/bench.log"; fail "bench $* ended with status $status"; }
}

# section TITLE: the rows of a table, without its head.
section()
{
	awk -v title="## $1" '$0 == title { found = 1; next } /^##/ { found = 0 } found && /^\|/ { if (++rows > 2) print }' "$out/table.md"
}

# As many figures in each row as there are columns.
all_figures()
{
	section "$1" | awk -F'|' -v want="$2" '{ for (i = 4; i < NF; i++) if ($i !~ /[0-9]/) { print; bad = 1 } if (NF != want + 4) { print; bad = 1 } }
		END { exit bad || NR == 0 }'
}

has_work()
{
	[ "$(section 'Time per operation' | grep -c "^| $1 |")" = "$2" ]
}

# Lines of a CSV that begin so.
lines()
{
	[ "$(grep -c "^$2" "$out/$1")" = "$3" ]
}

run_bench --rounds 1 --threads 2
check "a figure for each work in each column" all_figures 'Time per operation' 5
for work in randread randwrite seqread seqwrite; do
	check "$work against the file itself" grep -qE "^\| $work \| 2 \| - \|( [0-9.]+ \([0-9.]+\.\.[0-9.]+\) \|){4}\$" "$out/table.md"
done
check "processor time of all of them" all_figures 'Processor time per operation' 5
for work in $works; do
	check "a row for $work" has_work "$work" 1
done
for column in direct direct-nopass socket; do
	check "pauses of $column" lines pause.csv "$column," 2
done
for column in libfuse direct direct-nopass socket; do
	check "memory of $column" lines memory.csv "$column,used," 1
done
check "the chart is whole" grep -q '</svg>' "$out/chart.svg"

run_bench --rounds 2 --threads 1,3 --work fstat --base dir --variant 'two=direct --threads 2' --build "other=$top_builddir"
check "each number of threads" has_work fstat 2
check "figures of each round" lines raw.csv '2,fstat,3,' 7
check "a variant is a column" lines raw.csv '[12],fstat,1,two,' 2
check "another build tree is a column" lines raw.csv '[12],fstat,1,other,' 2
check "another base" grep -q 'the ratio to dir' "$out/table.md"
