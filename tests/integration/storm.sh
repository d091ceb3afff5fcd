#!/bin/bash
# The storm: everything at once on one mount, while its backend, its relayd, both at once, or
# the keeper are killed every 20 to 250 ms.  First with one thread (or job) per load, then with
# four; each once with all data going through the backend, and once with the kernel reading and
# writing by itself (fsserver --passthrough), half the time each.
#
#	storm.sh [--seconds N] [--seed N] [--threads 'N…'] [--memory FILE]
#
# The seconds are for each number of threads: 15, which is what make check runs.
# Prints, for each, kills, operations, errors, corrupt files, and the longest pause.
#
# With --memory backends alone are killed, all data goes through them, and what relayd and its
# keeper have is written to FILE: it may not grow.
#
# Every load goes round until the time is over, and then once to its end; each
# counts its rounds and what went wrong into a file of its own, and says what.
#
# fio writes a file and reads it again with verification, and compares what it
# read and wrote with what it should have: its time_based mode would verify nothing.

. "${top_srcdir:?run me through make check}/tests/functions.sh"

seconds=15
# Where a backend takes so many times longer to come: kills leave it as much more time.
slow=${RELAY_TEST_SLOW:-1}
seed=1
threads='1 4'
memory=
while [ $# -gt 0 ]; do
	case $1 in
		--seconds) seconds=$2; shift ;;
		--seed) seed=$2; shift ;;
		--threads) threads=$2; shift ;;
		--memory) memory=$2; shift ;;
		*) fail "no such option: $1" ;;
	esac
	shift
done

requires_fuse
requires_program fio git sqlite3 jq cmp diff

helpers=$top_builddir/tests/integration
export RELAY_BUILD=$top_builddir
results=$tmp/results
over=$tmp/over

# What a load found wrong, with the end of what the command said about it.
wrong()
{
	local load=$1 kind=$2

	shift 2
	echo "$kind" >>"$results/$load.wrong"
	echo "FAIL $load: $*"
	if [ -s "$results/$load.out" ]; then
		tail -n 15 "$results/$load.out" | sed 's/^/    /'
	fi
}

# operations LOAD N: so many more are done.
operations()
{
	echo "$2" >>"$results/$1.operations"
}

# fio_load LOAD JOBS OPTION…: write, verify, count.
fio_load()
{
	local load=$1 jobs=$2 size=8388608 written read

	shift 2
	mkdir "$mnt/$load"
	while [ ! -e "$over" ]; do
		if ! fio --name="$load" --directory="$mnt/$load" --size="$size" --numjobs="$jobs" --group_reporting \
			--rw=randwrite --do_verify=1 --verify_fatal=1 --verify_state_save=0 --loops=1 --fallocate=none \
			--output-format=json --output="$results/$load.json" "$@" >"$results/$load.out" 2>&1; then
			wrong "$load" corrupt "fio ended with an error"
			cat "$results/$load.json" >>"$results/$load.out"
			return
		fi
		written=$(jq '[.jobs[].write.io_bytes] | add' "$results/$load.json")
		read=$(jq '[.jobs[].read.io_bytes] | add' "$results/$load.json")
		if [ "$written" != $((size * jobs)) ] || [ "$read" != "$written" ]; then
			wrong "$load" error "wrote $written and verified $read bytes of $((size * jobs))"
			return
		fi
		operations "$load" "$(jq '[.jobs[] | .write.total_ios + .read.total_ios] | add' "$results/$load.json")"
	done
	rm -r "$mnt/$load" || wrong "$load" error "cannot remove its files"
}

# A tree in, compared on the mount and in the store, and out again.
tree_load()
{
	local load=tree files

	files=$(find "$tmp/tree" | wc -l)
	while [ ! -e "$over" ]; do
		cp -a "$tmp/tree" "$mnt/tree" >"$results/$load.out" 2>&1 || { wrong $load error "cp into the mount"; return; }
		diff -r --no-dereference "$tmp/tree" "$mnt/tree" >"$results/$load.out" 2>&1 || wrong $load corrupt "on the mount"
		diff -r --no-dereference "$tmp/tree" "$store/tree" >"$results/$load.out" 2>&1 || wrong $load corrupt "in the store"
		cp -a "$mnt/tree" "$tmp/back" >"$results/$load.out" 2>&1 || { wrong $load error "cp out of the mount"; return; }
		diff -r --no-dereference "$tmp/tree" "$tmp/back" >"$results/$load.out" 2>&1 || wrong $load corrupt "copied back"
		rm -r "$mnt/tree" >"$results/$load.out" 2>&1 || { wrong $load error "rm -r on the mount"; return; }
		rm -r "$tmp/back"
		operations $load $((files * 4))
	done
}

git_load()
{
	local load=git objects

	objects=$(git -C "$tmp/repository" count-objects -v | awk '/^(count|in-pack):/ { n += $2 } END { print n }')
	while [ ! -e "$over" ]; do
		git clone --quiet --no-local "$tmp/repository" "$mnt/clone" >"$results/$load.out" 2>&1 ||
			{ wrong $load error "git clone"; return; }
		git -C "$mnt/clone" fsck --full --strict >"$results/$load.out" 2>&1 || wrong $load corrupt "git fsck"
		[ -z "$(git -C "$mnt/clone" status --porcelain 2>&1)" ] || wrong $load corrupt "git status is not clean"
		git -C "$mnt/clone" gc --quiet >"$results/$load.out" 2>&1 || wrong $load error "git gc"
		rm -rf "$mnt/clone" >"$results/$load.out" 2>&1 || { wrong $load error "rm -rf of the clone"; return; }
		operations $load "$objects"
	done
}

# sqlite_load N: rows that have to be there once they are committed.
sqlite_load()
{
	local load=sqlite$1 rows=0 answer

	sqlite3 "$mnt/$load.db" 'CREATE TABLE t (n INTEGER PRIMARY KEY, text TEXT, data BLOB)' >"$results/$load.out" 2>&1 ||
		{ wrong "$load" error "create table"; return; }
	while [ ! -e "$over" ]; do
		sqlite3 -bail "$mnt/$load.db" "
			BEGIN; WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 50)
			INSERT INTO t (text, data) SELECT 'row ' || i, randomblob(500) FROM c; COMMIT;
			UPDATE t SET text = text || '.' WHERE n % 7 = 0;" >"$results/$load.out" 2>&1 ||
			{ wrong "$load" error "insert"; return; }
		rows=$((rows + 50))
		answer=$(sqlite3 "$mnt/$load.db" 'PRAGMA integrity_check; SELECT count(*) FROM t' 2>&1 | tr '\n' ' ')
		[ "$answer" = "ok $rows " ] || { wrong "$load" corrupt "$rows rows: $answer"; return; }
		operations "$load" 50
	done
	answer=$(sqlite3 "$store/$load.db" 'PRAGMA integrity_check; SELECT count(*) FROM t' 2>&1 | tr '\n' ' ')
	[ "$answer" = "ok $rows " ] || wrong "$load" corrupt "in the store: $answer"
	rm "$mnt/$load.db"
}

# names_load THREADS: its standard input ends when the time is over.
names_load()
{
	local load=names

	mkdir "$mnt/names" "$tmp/names"
	"$helpers/storm_names" "$mnt/names" "$tmp/names" "$seed" "$1" <"$tmp/clock" >"$results/$load.out" 2>&1 ||
		wrong $load error "results differ from those in a plain directory"
	operations $load "$(awk '/ operations, / { print $1 }' "$results/$load.out")"
	rm -r "$mnt/names" "$tmp/names" || wrong $load error "rm -r on the mount"
}

# Memory of its own and descriptors of a process that has not ended.
owns()
{
	awk '/^Rss(Anon|Shmem):/ { kib += $2 } END { printf "%d", kib }' "/proc/$1/status" || return
	printf ' %d' "$(find "/proc/$1/fd" -mindepth 1 | wc -l)"
}

# Two hundred times over all the seconds: second, KiB and descriptors of relayd, and of the keeper.
memory_watch()
{
	local worker

	worker=$(relayd_worker)
	: >"$memory"
	while [ ! -e "$over" ]; do
		echo "$((SECONDS - started)) $(owns "$worker") $(owns "$relayd_pid")" >>"$memory"
		sleep $((seconds / 200 + 1))
	done
}

# In the last third of the time no sample is above the most that there was before, but for a page
# here and there, and the descriptors of one backend that is just dying.
memory_stays()
{
	awk -v seconds="$seconds" -v title='relayd KiB,relayd descriptors,keeper KiB,keeper descriptors' '
		NF != 5 { bad = 1 }
		{
			late = $1 >= seconds * 2 / 3
			samples[late]++
			for (i = 2; i <= 5; i++)
				if ($i > most[late, i])
					most[late, i] = $i
		}
		END {
			split(title, titles, ",")
			for (i = 2; i <= 5; i++) {
				printf "%s: at most %d, then %d\n", titles[i - 1], most[0, i], most[1, i]
				if (most[1, i] > most[0, i] + (i % 2 ? 4 : 64))
					bad = 1
			}
			exit bad || samples[0] < 8 || samples[1] < 4
		}' "$memory"
}

make_sources()
{
	mkdir "$tmp/tree"
	cp -a /usr/include/linux /usr/include/x86_64-linux-gnu "$tmp/tree/" 2>/dev/null || cp -a /usr/include "$tmp/tree/"
	ln -s linux/fs.h "$tmp/tree/symlink"
	ln "$tmp/tree/linux/fs.h" "$tmp/tree/hardlink" 2>/dev/null || :
	git init --quiet "$tmp/repository"
	for part in 1 2; do
		mkdir "$tmp/repository/part$part"
		cp -r "$tmp/tree/linux" "$tmp/repository/part$part/"
		find "$tmp/repository/part$part" -type f -exec sed -i "1i /* part $part */" {} +
		git -C "$tmp/repository" add .
		git -C "$tmp/repository" -c user.name=storm -c user.email=storm@example.org commit --quiet -m "part $part"
	done
}

# storm THREADS PASSTHROUGH: all loads for half the seconds.
storm()
{
	local jobs=$1 passthrough=$2 pids=() killer watcher duration clock i pid kills backend worker both keeper total errors corrupt started

	# In one piece, where it is to be seen whether anything grows.
	[ -n "$memory" ] && duration=$seconds || duration=$((seconds / 2))
	rm -rf "$results" "$over"
	mkdir "$results"
	rm -f "$tmp/clock"
	mkfifo "$tmp/clock"
	relayd_start -o allow_other,suid,dev --backend "$fsserver --source $store --passthrough=$passthrough"
	started=$SECONDS

	names_load "$jobs" & pids+=($!)
	"$helpers/storm_kill" "$RELAYD_SOCKET" "$seed" $((20 * slow)) $((250 * slow)) ${memory:+4294967295 backend} \
		<"$tmp/clock" >"$results/kills" & killer=$!
	# The clock's only writer: its end is the end of the names' and the killer's time.
	exec {clock}>"$tmp/clock"
	fio_load buffered "$jobs" --bs=16k --verify=md5 --ioengine=psync {clock}>&- & pids+=($!)
	fio_load direct "$jobs" --bs=64k --verify=crc32c --ioengine=psync --direct=1 {clock}>&- & pids+=($!)
	fio_load mapped "$jobs" --bs=4k --verify=md5 --ioengine=mmap {clock}>&- & pids+=($!)
	tree_load {clock}>&- & pids+=($!)
	git_load {clock}>&- & pids+=($!)
	for ((i = 0; i < jobs; i++)); do
		sqlite_load "$i" {clock}>&- & pids+=($!)
	done

	[ -z "$memory" ] || { memory_watch {clock}>&- & watcher=$!; }

	# Not waiting for something: this is how long the storm is to be.
	sleep "$duration"
	touch "$over"
	[ -z "$memory" ] || wait "$watcher"
	# The loads other than the names go on to the end of their round, under fire.
	for pid in "${pids[@]:1}"; do
		wait "$pid"
	done
	exec {clock}>&-
	wait "${pids[0]}"
	wait "$killer"

	read -r backend worker both keeper _ <"$results/kills"
	kills=$((backend + worker + both + keeper))
	[ "$keeper" = 0 ] || relayd_heir_take
	total=$(cat "$results"/*.operations | awk '{ n += $1 } END { print n + 0 }')
	errors=$(cat "$results"/*.wrong 2>/dev/null | grep -c error || :)
	corrupt=$(cat "$results"/*.wrong 2>/dev/null | grep -c corrupt || :)
	echo "threads: $jobs  passthrough: $passthrough  seconds: $((SECONDS - started))  kills: $kills (backend $backend, relayd $worker, both $both, keeper $keeper)  operations: $total  errors: $errors" \
		" corrupt files: $corrupt  longest pause: $(relayd_field longest_pause_ms) ms  redone: $(relayd_field redone)"
	check "storm with $jobs threads, passthrough $passthrough: no error" [ "$errors" = 0 ]
	check "storm with $jobs threads, passthrough $passthrough: no corrupt file" [ "$corrupt" = 0 ]
	check "storm with $jobs threads, passthrough $passthrough: kills have come" [ "$kills" -gt $((seconds / 2)) ]
	if [ -n "$memory" ]; then
		check "storm with $jobs threads: relayd does not grow" memory_stays
	else
		check "storm with $jobs threads, passthrough $passthrough: of relayd too" [ "$worker" -gt $((seconds / 8)) ]
		check "storm with $jobs threads, passthrough $passthrough: and of its keeper" [ "$keeper" -gt 0 ]
	fi
	for i in buffered direct mapped tree git sqlite0 names; do
		check "storm with $jobs threads, passthrough $passthrough: $i has done something" [ -s "$results/$i.operations" ]
	done
	check "storm with $jobs threads, passthrough $passthrough: the mount answers" stat "$mnt" -c %n
	relayd_stop
	# A backend that a sanitizer has ended was replaced as any other.
	check "storm with $jobs threads, passthrough $passthrough: nothing for a sanitizer" eval '! grep -qE "Sanitizer|runtime error:" "$tmp/relayd.log"'
	check "storm with $jobs threads, passthrough $passthrough: the store is empty again" [ -z "$(ls -A "$store")" ]
}

make_sources
for count in $threads; do
	storm "$count" off
	[ -n "$memory" ] || storm "$count" auto
done
