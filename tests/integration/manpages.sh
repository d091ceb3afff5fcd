#!/bin/bash
# The man pages are well-formed, and what they refer to exists.
. "${top_srcdir:?run me through make check}/tests/functions.sh"
requires_program mandoc

well_formed()
{
	local said

	said=$(mandoc -T lint -W warning "$1") && [ -z "$said" ] || { echo "$said"; return 1; }
}

# References to pages of this project (those of the system are not its business).
references_exist()
{
	local page section missing=0

	while read -r page section; do
		[ -e "$top_srcdir/docs/$page.$section" ] || { echo "$1 refers to $page($section)"; missing=1; }
	done < <(sed -n 's/^\.Xr \([^ ]*\) \([0-9]\).*/\1 \2/p' "$1" | grep -E '^(relay|librelay|fsserver)' | sort -u)
	return $missing
}

for page in "$top_srcdir"/docs/*.[0-9]; do
	name=$(basename "$page")
	check "$name is well-formed" well_formed "$page"
	check "$name refers to pages that exist" references_exist "$page"
done
