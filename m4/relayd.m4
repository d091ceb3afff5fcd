# RELAYD_ADD_CFLAGS(VARIABLE, FLAGS)
# Adds to VARIABLE each of FLAGS that the compiler takes without a word.
AC_DEFUN([RELAYD_ADD_CFLAGS], [
	for relayd_flag in m4_normalize([$2]); do
		AC_MSG_CHECKING([whether $CC takes $relayd_flag])
		relayd_save_CFLAGS=$CFLAGS
		CFLAGS="$CFLAGS -Werror $relayd_flag"
		AC_COMPILE_IFELSE([AC_LANG_PROGRAM([], [])],
			[AC_MSG_RESULT([yes]); $1="${$1} $relayd_flag"],
			[AC_MSG_RESULT([no])])
		CFLAGS=$relayd_save_CFLAGS
	done
])

# RELAYD_NEED_LINK(FLAGS, WHAT)
# Ends configure unless a program can be compiled and linked with FLAGS.
AC_DEFUN([RELAYD_NEED_LINK], [
	AC_MSG_CHECKING([whether $CC can link with $1])
	relayd_save_CFLAGS=$CFLAGS
	CFLAGS="$CFLAGS $1"
	AC_LINK_IFELSE([$2],
		[AC_MSG_RESULT([yes])],
		[AC_MSG_RESULT([no]); AC_MSG_ERROR([$3])])
	CFLAGS=$relayd_save_CFLAGS
])
