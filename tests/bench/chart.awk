# The chart of bench, an SVG, from raw.csv: for each number of threads a panel, in which
# each work has a bar for each column, as long as its ratio to the base.
#
#	awk -v base=COLUMN -f chart.awk raw.csv

function median_of(list, n,    i, j, value)
{
	for (i = 2; i <= n; i++) {
		value = list[i]
		for (j = i - 1; j >= 1 && list[j] > value; j--)
			list[j + 1] = list[j]
		list[j + 1] = value
	}
	return n % 2 ? list[(n + 1) / 2] : (list[n / 2] + list[n / 2 + 1]) / 2
}

function ratio(row, name,    list, n, r)
{
	n = 0
	for (r = 1; r <= rounds; r++)
		if ((r, row, name) in ns && (r, row, base) in ns)
			list[++n] = ns[r, row, name] / ns[r, row, base]
	return n ? median_of(list, n) : -1
}

function text(x, y, anchor, size, words)
{
	printf "<text x=\"%d\" y=\"%d\" text-anchor=\"%s\" font-size=\"%d\">%s</text>\n", x, y, anchor, size, words
}

function bar(x, y, width, height, fill)
{
	printf "<rect x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"%d\" fill=\"%s\"/>\n", x, y, width, height, fill
}

BEGIN {
	FS = ","
	split("#9aa0a6 #1f6feb #54aeff #d9822b #2da44e #8250df #bf3989", colour, " ")
	most = 3 # a longer bar is cut off, and says how long it is
	scale = 80 # pixels of ratio 1
	left = 90 # the names of works
	top = 80
	thick = 11
	gap = 10
}

FNR == 1 || $2 == "idle" || $5 == 0 { next }

{
	if ($1 + 0 > rounds)
		rounds = $1 + 0
	if (!(("work", $2) in seen)) {
		seen["work", $2] = 1
		work[++works] = $2
	}
	if (!(("threads", $3) in seen)) {
		seen["threads", $3] = 1
		threads[++panels] = $3
	}
	if (!(("column", $4) in seen)) {
		seen["column", $4] = 1
		if ($4 != base)
			column[++columns] = $4
	}
	ns[$1, $2 SUBSEP $3, $4] = $6 / $5
}

# One panel for each number of threads, side by side.
function panel(number, x,    i, j, r, y, value, length_of)
{
	text(x, top - 24, "start", 12, threads[number] (threads[number] == 1 ? " thread" : " threads"))
	for (r = 0; r <= most; r++) {
		printf "<line x1=\"%d\" y1=\"%d\" x2=\"%d\" y2=\"%d\" stroke=\"%s\"/>\n", x + r * scale, top - 6, x + r * scale, \
			height - 12, r == 1 ? "#000000" : "#e0e0e0"
		text(x + r * scale, top - 10, "middle", 10, r)
	}
	y = top
	for (i = 1; i <= works; i++) {
		for (j = 1; j <= columns; j++) {
			value = ratio(work[i] SUBSEP threads[number], column[j])
			if (value >= 0) {
				length_of = (value > most ? most : value) * scale
				bar(x, y + 1, length_of, thick - 2, colour[(j - 1) % 7 + 1])
				text(x + length_of + 4, y + thick - 2, "start", 9, sprintf("%.2f", value))
			}
			y += thick
		}
		y += gap
	}
}

END {
	height = top + works * (columns * thick + gap) + 16
	width = left + panels * (most * scale + 50)
	if (width < 560) # the legend
		width = 560
	printf "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" font-family=\"sans-serif\">\n", width, height
	printf "<rect width=\"%d\" height=\"%d\" fill=\"#ffffff\"/>\n", width, height
	text(left, 18, "start", 13, "Time per operation, " base " = 1: shorter is better")
	x = left
	for (j = 1; j <= columns; j++) {
		bar(x, 26, 10, 10, colour[(j - 1) % 7 + 1])
		text(x + 14, 35, "start", 11, column[j])
		x += 28 + 7 * length(column[j])
	}
	for (i = 1; i <= works; i++)
		text(left - 8, top + (i - 1) * (columns * thick + gap) + columns * thick / 2 + 4, "end", 12, work[i])
	for (i = 1; i <= panels; i++)
		panel(i, left + (i - 1) * (most * scale + 50))
	print "</svg>"
}
