# The tables of bench, as Markdown, from machine.txt, raw.csv, pause.csv and memory.csv.
#
#	awk -v base=COLUMN -f table.awk FILE...
#
# A figure is the median over the rounds; a ratio is the median of each round's own
# ratio, so that what slows the machine down for a while is in both of its sides.

function sort_numbers(list, n,    i, j, value)
{
	for (i = 2; i <= n; i++) {
		value = list[i]
		for (j = i - 1; j >= 1 && list[j] > value; j--)
			list[j + 1] = list[j]
		list[j + 1] = value
	}
}

# Of a sorted list, what the fraction p of it does not exceed.
function quantile(list, n, p,    at)
{
	at = int(n * p)
	if (at < n * p || at == 0)
		at++
	return list[at]
}

function median_of(list, n)
{
	sort_numbers(list, n)
	return n % 2 ? list[(n + 1) / 2] : (list[n / 2] + list[n / 2 + 1]) / 2
}

# The median of FIELD's values in this cell over all rounds; -1 if there are none.
function median(field, cell,    list, n, r)
{
	n = 0
	for (r = 1; r <= rounds; r++)
		if ((r, cell, field) in value)
			list[++n] = value[r, cell, field]
	return n ? median_of(list, n) : -1
}

# What the fraction p of the rounds' ratios does not exceed; their median without p.
function ratio(cell, other, p,    list, n, r)
{
	n = 0
	for (r = 1; r <= rounds; r++)
		if ((r, cell, "ns") in value && (r, other, "ns") in value)
			list[++n] = value[r, cell, "ns"] / value[r, other, "ns"]
	if (n == 0)
		return -1
	if (p == "")
		return median_of(list, n)
	sort_numbers(list, n)
	return quantile(list, n, p)
}

function micro(ns)
{
	if (ns < 0)
		return "-"
	return ns < 9950 ? sprintf("%.2f", ns / 1000) : ns < 99500 ? sprintf("%.1f", ns / 1000) : sprintf("%d", ns / 1000)
}

function heads(first,    i, line, rule)
{
	line = first
	rule = first
	gsub(/[^|]+/, " --- ", rule)
	for (i = 1; i <= columns; i++) {
		line = line " " column[i] " |"
		rule = rule " ---: |"
	}
	print line
	print rule
}

FNR == 1 {
	file = FILENAME
	sub(/.*\//, "", file)
	if (file != "machine.txt")
		next
}

file == "machine.txt" { machine = machine "- " $0 "\n"; next }

{ split($0, f, ",") }

file == "raw.csv" {
	name = f[4]
	if (!(name in seen)) {
		seen[name] = 1
		column[++columns] = name
	}
	row = f[2] SUBSEP f[3]
	if (!(row in rowseen)) {
		rowseen[row] = 1
		rows[++rowcount] = row
	}
	if (f[1] + 0 > rounds)
		rounds = f[1] + 0
	cell = row SUBSEP name
	if (f[2] == "idle") {
		value[f[1], "idle", name, "busy"] = 100 * f[8] / f[6]
		next
	}
	if (f[5] == 0)
		next
	cells[cell] = 1
	value[f[1], cell, "ns"] = f[6] / f[5]
	value[f[1], cell, "client"] = f[7] / f[5]
	value[f[1], cell, "server"] = f[8] / f[5]
}

file == "pause.csv" { pause[f[1], ++pauses[f[1]]] = f[2] }

file == "memory.csv" { memory[f[1], f[2]] = sprintf("%.1f / %.1f", f[3] / 1024, f[5] / 1024) }

function is_idle(row) { return row ~ /^idle/ }

function table_times(    i, j, part, line, cell, r)
{
	print "## Time per operation\n"
	print "Microseconds that went by for each operation of all threads together, and in brackets the ratio to " base "."
	print "An operation is a call; create: a file created, closed, looked at, removed; readdir: an entry; untar: a file.\n"
	heads("| work | threads |")
	for (i = 1; i <= rowcount; i++) {
		if (is_idle(rows[i]))
			continue
		split(rows[i], part, SUBSEP)
		line = "| " part[1] " | " part[2] " |"
		for (j = 1; j <= columns; j++) {
			cell = rows[i] SUBSEP column[j]
			r = ratio(cell, rows[i] SUBSEP base)
			line = line " " micro(median("ns", cell)) (r < 0 || column[j] == base ? "" : sprintf(" (%.2f)", r)) " |"
		}
		print line
	}
}

function is_data(row) { return row ~ /^(rand|seq)/ }

# Where the kernel reads and writes the file by itself there is nothing to compare it with but the file.
function table_file(    i, j, part, line, some)
{
	for (i = 1; i <= rowcount; i++)
		some = some || (is_data(rows[i]) && (rows[i] SUBSEP "dir") in cells)
	if (!some || base == "dir")
		return
	print "\n## Data, against the file itself\n"
	print "Ratio to dir, and in brackets between which half of the rounds were.\n"
	heads("| work | threads |")
	for (i = 1; i <= rowcount; i++) {
		if (!is_data(rows[i]))
			continue
		split(rows[i], part, SUBSEP)
		line = "| " part[1] " | " part[2] " |"
		for (j = 1; j <= columns; j++)
			line = line ratio_range(rows[i] SUBSEP column[j], rows[i] SUBSEP "dir")
		print line
	}
}

function ratio_range(cell, other)
{
	if (cell == other || ratio(cell, other) < 0)
		return " - |"
	return sprintf(" %.2f (%.2f..%.2f) |", ratio(cell, other), ratio(cell, other, 0.25), ratio(cell, other, 0.75))
}

# How much the ratios of the rounds differ: what a difference of medians is worth.
function table_spread(    i, j, part, line, cell)
{
	print "\n## Spread\n"
	print "Half of the rounds had a ratio to " base " between these.\n"
	heads("| work | threads |")
	for (i = 1; i <= rowcount; i++) {
		if (is_idle(rows[i]))
			continue
		split(rows[i], part, SUBSEP)
		line = "| " part[1] " | " part[2] " |"
		for (j = 1; j <= columns; j++) {
			cell = rows[i] SUBSEP column[j]
			if (column[j] == base || ratio(cell, rows[i] SUBSEP base) < 0)
				line = line " - |"
			else
				line = line sprintf(" %.2f..%.2f |", ratio(cell, rows[i] SUBSEP base, 0.25), ratio(cell, rows[i] SUBSEP base, 0.75))
		}
		print line
	}
}

function table_processor(    i, j, part, line, cell)
{
	print "\n## Processor time per operation\n"
	print "Microseconds: of the program that asks + of the filesystem's processes, with relayd.\n"
	heads("| work | threads |")
	for (i = 1; i <= rowcount; i++) {
		if (is_idle(rows[i]))
			continue
		split(rows[i], part, SUBSEP)
		line = "| " part[1] " | " part[2] " |"
		for (j = 1; j <= columns; j++) {
			cell = rows[i] SUBSEP column[j]
			line = line " " micro(median("client", cell)) " + " micro(median("server", cell)) " |"
		}
		print line
	}
}

function pause_row(name, p,    j, k, n, list, line)
{
	line = "| " name " |"
	for (j = 1; j <= columns; j++) {
		n = pauses[column[j]]
		for (k = 1; k <= n; k++)
			list[k] = pause[column[j], k]
		sort_numbers(list, n)
		line = line (n ? sprintf(" %.2f |", quantile(list, n, p) / 1000000) : " - |")
	}
	print line
}

function table_mount(    j, line)
{
	print "\n## The mount itself\n"
	print "Memory in MiB: proportional share of all its processes / of that locked. Pause: milliseconds from SIGKILL to the"
	print "answer that it held up; a column without one has ended its mount. Idle: processor time in per cent.\n"
	heads("| what |")
	line = "| memory, fresh |"
	for (j = 1; j <= columns; j++)
		line = line " " ((column[j], "fresh") in memory ? memory[column[j], "fresh"] : "-") " |"
	print line
	line = "| memory, after the work |"
	for (j = 1; j <= columns; j++)
		line = line " " ((column[j], "used") in memory ? memory[column[j], "used"] : "-") " |"
	print line
	pause_row("pause, median", 0.5)
	pause_row("pause, 95 %", 0.95)
	pause_row("pause, longest", 1)
	line = "| idle |"
	for (j = 1; j <= columns; j++)
		line = line (median("busy", "idle" SUBSEP column[j]) < 0 ? " - |" : sprintf(" %.2f |", median("busy", "idle" SUBSEP column[j])))
	print line
}

END {
	table_times()
	table_file()
	table_processor()
	table_mount()
	table_spread()
	print "\n## Where\n"
	printf "%s", machine
}
