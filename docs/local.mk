# dist_man_MANS += docs/NAME.SECTION, a line per page.
EXTRA_DIST +=
