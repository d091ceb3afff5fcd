dist_man_MANS += docs/fsserver.8
dist_man_MANS += docs/librelay.3
dist_man_MANS += docs/mount.relay.8
dist_man_MANS += docs/relay-run.1
dist_man_MANS += docs/relayd.8
dist_man_MANS += docs/relay-protocol.7
dist_man_MANS += docs/relayctl.8

EXTRA_DIST += docs/HACKING.md docs/architecture.md docs/compatibility.md docs/recovery.md
EXTRA_DIST += docs/benchmark.md docs/benchmark.svg docs/ebpf.md docs/performance.md docs/security.md docs/uring.md
