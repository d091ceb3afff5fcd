#!/bin/bash
# The kill matrix of what is still asked of open files that the kernel reads and writes by itself.
. "${top_srcdir:?run me through make check}/tests/functions.sh"

requires_fuse
exec "$top_builddir/tests/integration/matrix" --passthrough
