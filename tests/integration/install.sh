#!/bin/bash
# What `make install` puts in place is complete and usable: the example of
# librelay(3), taken from the installed page, is compiled with what pkg-config
# says, and mounted by the installed relayd.
. "${top_srcdir:?run me through make check}/tests/functions.sh"
requires_fuse
requires_program pkg-config nm
unset MAKEFLAGS MAKELEVEL MFLAGS

dest=$tmp/dest
run_make()
{
	make -s -C "$top_builddir" "$@" DESTDIR="$dest" >"$tmp/make.log" 2>&1 || { cat "$tmp/make.log"; fail "make $*"; }
}

installed()
{
	local file

	for file; do
		[ -n "$(find "$dest" -path "*/$file" -print -quit)" ] || { echo "$file is not installed"; return 1; }
	done
}

run_make install
check "programs" installed bin/relayd bin/relayctl bin/fsserver
check "ways in" installed bin/relay-run sbin/mount.relay sbin/mount.fuse.relay lib/relayd/librelay-preload.so \
	libexec/relayd/fusermount3 libexec/relayd/fusermount libexec/relayd/relayd-uring
check "headers" installed include/relay/relay.h include/relay/fuse_abi.h
check "no other headers" test "$(find "$dest" -name '*.h' | wc -l)" = 2
check "library" installed lib/librelay.so lib/librelay.so.0
for page in "$top_srcdir"/docs/*.[0-9]; do
	check "man page $(basename "$page")" installed "man/man${page##*.}/$(basename "$page")"
done

libdir=$(dirname "$(find "$dest" -name librelay.so)")
bindir=$(dirname "$(find "$dest" -name relayd -type f)")
export PKG_CONFIG_SYSROOT_DIR=$dest PKG_CONFIG_PATH=$libdir/pkgconfig LD_LIBRARY_PATH=$libdir

# Exactly what the header declares, each with a version.
exports_are_declared()
{
	grep -oE '\brelay_[a-z0-9_]+\(' "$(find "$dest" -name relay.h)" | tr -d '(' | sort -u >"$tmp/mentioned"
	nm -D --defined-only "$libdir/librelay.so" | awk '$2 == "T" { print $3 }' >"$tmp/exported"
	grep -v '^relay_[a-z0-9_]*@@LIBRELAY_[0-9]*$' "$tmp/exported" && return 1
	sed 's/@@.*//' "$tmp/exported" | sort | comm -3 - "$tmp/mentioned" >"$tmp/differ"
	[ -s "$tmp/exported" ] && [ ! -s "$tmp/differ" ] || { cat "$tmp/differ"; return 1; }
}
check "librelay exports what relay.h declares, versioned" exports_are_declared

page=$(find "$dest" -name librelay.3)
sed -n '/^\.Bd/,/^\.Ed/p' "$page" | sed -n '/^#include/,/^\.Ed/p' | sed '/^\./d; s/\\e/\\/g' >"$tmp/empty.c"
check "the example is in the man page" grep -q relay_serve "$tmp/empty.c"

compile()
{
	# shellcheck disable=SC2086,SC2046 # lists of options
	${CC:-cc} ${SANITIZE_CFLAGS:-} -Wall -Wextra -Werror -o "$tmp/empty" "$tmp/empty.c" \
		$(pkg-config --cflags --libs relay)
}
check "it is compiled with what pkg-config says" compile
check "its library is the installed one" sh -c "ldd '$tmp/empty' | grep -q '$libdir/librelay.so.0'"

PATH=$bindir:$PATH
relayd_start --backend "$tmp/empty"
check "it is mounted by the installed relayd" test "$(stat -c %F "$mnt")" = directory
check "a name that is not there" test ! -e "$mnt/none"
check "it has no files" test -z "$(ls "$mnt")"
kill_backend
check "it has none in its second life" test -z "$(ls "$mnt")"
relayd_stop

run_make uninstall
check "uninstall leaves no file" test -z "$(find "$dest" ! -type d)"
