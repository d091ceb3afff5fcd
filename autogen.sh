#!/bin/sh
# Makes ./configure from a git checkout.  Then: mkdir build && cd build && ../configure && make
set -e
cd "$(dirname "$0")"
mkdir -p build-aux
exec autoreconf --install --force --warnings=all,no-portability,no-obsolete "$@"
