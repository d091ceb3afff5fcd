#!/bin/bash
# What --help and --version say is true: every option of --help is in the man page
# and the other way round, and both go to standard output with status 0.
. "${top_srcdir:?run me through make check}/tests/functions.sh"

# Long and one-letter options of an mdoc page, one per line.
page_options()
{
	sed -n 's/Fl Fl \([a-z]\)/Fl \\-\1/g; /^\.\(It\|Op\|Nm\|Fl\)/p' "$1" |
		grep -oE 'Fl (\\-[a-z][a-z-]*|[a-zA-Z])( |$)' | sed 's/^Fl /-/; s/\\-/-/; s/ $//' | sort -u
}

# Of --help the lines that begin with an option; other programs' options may be in examples.
help_options()
{
	sed -nE '/^ *-/ { s/^ *//; s/  .*//; p }' | grep -oE '(^|[ ,])--?[a-zA-Z][a-z-]*' | sed 's/^[ ,]*//' | sort -u
}

# Those of the ways in are not in $PATH: fusermount3 is next to them.
PATH=$PATH:$RELAY_WAYS_DIR

same_options()
{
	"$1" --help >"$tmp/help" 2>"$tmp/error" || return
	help_options <"$tmp/help" >"$tmp/in_help"
	page_options "$top_srcdir/docs/$1".[18] >"$tmp/in_page"
	[ ! -s "$tmp/error" ] && [ -s "$tmp/in_help" ] && diff -u "$tmp/in_help" "$tmp/in_page"
}

says_version()
{
	local said

	said=$("$1" --version) || return
	[ "$said" = "$1 $PACKAGE_VERSION" ] || { echo "it says: $said"; return 1; }
}

# An option that is none: status 2 unless it is told otherwise, its name on standard error, nothing on standard output.
refuses_unknown()
{
	status_of "$1" --no-such-option >"$tmp/out" 2>"$tmp/error"
	[ "$status" = "${2:-2}" ] && [ ! -s "$tmp/out" ] && grep -q -e no-such-option "$tmp/error" ||
		{ echo "status $status"; cat "$tmp/out" "$tmp/error"; return 1; }
}

for program in relayd relayctl fsserver; do
	check "$program: --help and the man page name the same options" same_options $program
	check "$program: --version" says_version $program
	check "$program: unknown option" refuses_unknown $program
done

for program in relay-run mount.relay; do
	check "$program: --help and the man page name the same options" same_options $program
	check "$program: --version" says_version $program
done
check "relay-run: unknown option" refuses_unknown relay-run
check "mount.relay: unknown option, with mount(8)'s status" refuses_unknown mount.relay 1
