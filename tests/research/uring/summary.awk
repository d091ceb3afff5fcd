# Medians of bench's lines: a table per work, a row per number of threads, a
# column per way: microseconds per operation, then the ratio to /dev/fuse; below
# it what the server's processors were busy per operation.
function median(list, n,    v, i, j, t)
{
	n = split(list, v, " ")
	for (i = 2; i <= n; i++)
		for (j = i; j > 1 && v[j - 1] + 0 > v[j] + 0; j--) {
			t = v[j]; v[j] = v[j - 1]; v[j - 1] = t
		}
	return n % 2 ? v[(n + 1) / 2] : (v[n / 2] + v[n / 2 + 1]) / 2
}
NF == 6 {
	if (!($1 in seen)) { seen[$1] = 1; way[++ways] = $1 }
	if ($2 == "idle") { idle[$1] = $4; next }
	key = $2 " " $3
	if (!(key in row)) { row[key] = 1; rows[++nrows] = key }
	us[$1, key] = us[$1, key] " " $5
	cpu[$1, key] = cpu[$1, key] " " $6
	n[$1, key]++
}
END {
	printf "| us per operation (x /dev/fuse; server CPU us) |"
	for (w = 1; w <= ways; w++) printf " %s |", way[w]
	printf "\n| --- |"
	for (w = 1; w <= ways; w++) printf " --- |"
	print ""
	for (r = 1; r <= nrows; r++) {
		split(rows[r], part, " ")
		printf "| %s, %s threads |", part[1], part[2]
		base = median(us[way[1], rows[r]])
		for (w = 1; w <= ways; w++) {
			m = median(us[way[w], rows[r]])
			printf " %.1f (%.2f; %.1f) |", m, m / base, median(cpu[way[w], rows[r]])
		}
		print ""
	}
	printf "| idle, share of a processor |"
	for (w = 1; w <= ways; w++) printf " %.2f %% |", idle[way[w]] * 100
	print ""
}
