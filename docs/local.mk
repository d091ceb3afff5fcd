dist_man_MANS += docs/librelay.3
dist_man_MANS += docs/relayd.8
