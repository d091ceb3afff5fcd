# The chart of bench, an SVG, from raw.csv: for each work and number of threads a bar
# for each column, as long as its ratio to the base.
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
	split("#9aa0a6 #1f6feb #d9822b #2da44e #8250df #bf3989 #57606a", colour, " ")
	most = 3     # a longer bar is cut off, and says how long it is
	scale = 170  # pixels of ratio 1
	left = 150
	thick = 11
}

FNR == 1 || $2 == "idle" || $5 == 0 { next }

{
	if ($1 + 0 > rounds)
		rounds = $1 + 0
	row = $2 " x" $3
	if (!(row in rowseen)) {
		rowseen[row] = 1
		rows[++rowcount] = row
	}
	if (!($4 in seen)) {
		seen[$4] = 1
		if ($4 != base)
			column[++columns] = $4
	}
	ns[$1, row, $4] = $6 / $5
}

END {
	top = 64
	height = top + rowcount * (columns * thick + 10) + 20
	width = left + most * scale + 70
	printf "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" font-family=\"sans-serif\">\n", width, height
	printf "<rect width=\"%d\" height=\"%d\" fill=\"#ffffff\"/>\n", width, height
	text(left, 18, "start", 13, "Time per operation, " base " = 1 (shorter is better)")
	x = left
	for (j = 1; j <= columns; j++) {
		bar(x, 28, 10, 10, colour[(j - 1) % 7 + 1])
		text(x + 14, 37, "start", 11, column[j])
		x += 24 + 7 * length(column[j])
	}
	for (r = 0; r <= most; r += 0.5) {
		printf "<line x1=\"%d\" y1=\"%d\" x2=\"%d\" y2=\"%d\" stroke=\"%s\"/>\n", left + r * scale, top - 6, left + r * scale, \
			height - 16, r == 1 ? "#000000" : "#e0e0e0"
		text(left + r * scale, top - 10, "middle", 10, r)
	}
	y = top
	for (i = 1; i <= rowcount; i++) {
		text(left - 8, y + columns * thick / 2 + 4, "end", 12, rows[i])
		for (j = 1; j <= columns; j++) {
			value = ratio(rows[i], column[j])
			if (value >= 0) {
				bar(left, y + 1, (value > most ? most : value) * scale, thick - 2, colour[(j - 1) % 7 + 1])
				text(left + (value > most ? most : value) * scale + 4, y + thick - 2, "start", 9, sprintf("%.2f", value))
			}
			y += thick
		}
		y += 10
	}
	print "</svg>"
}
