#!/usr/bin/env bash
# `user:` of a head: it serves as that user, also after a kill; with few descriptors it has fewer
# connections than configured, and says so.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=$top/build/release
[ "$(id -u)" = 0 ] || { echo "skipped: wants root"; exit 0; }
DEMO_DIR=$(mktemp -d /tmp/isthmus-user.XXXXXX)
DEMO_DISK_SIZE=512M DEMO_FS_SIZE=256M DEMO_LUN_SIZE=64M DEMO_CACHE=64MiB DEMO_RPCBIND=off
DEMO_NFS_PORT=17549 DEMO_ISCSI_PORT=17760
DEMO_HEAD_EXTRA="    user: nobody"
. "$top/tests/system/demo.sh"
trap 'demo_stop || true; demo_remove' EXIT
served() { # as nobody, and works
	demo_wait_served 20 || { tail -30 "$DEMO_DIR/isthmus.log"; exit 1; }
	local who
	who=$(awk '/^Uid/ { print $2, $3, $4 }' "/proc/$(demo_pid head-head1)/status")
	[ "$who" = "$(id -u nobody) $(id -u nobody) $(id -u nobody)" ] || { echo "runs as $who"; exit 1; }
	"$build/tests/tools/nfs_tree" copy "$(demo_nfs_url)" "$top/etc"
}
ulimit -n 1000
demo_start
demo_prepare
served
# Read to the end: a command whose reader has left fails.
demo_cli --json head status head1 >"$DEMO_DIR/status"
grep -q '"max_connections": *500\b' "$DEMO_DIR/status" || { cat "$DEMO_DIR/status"; exit 1; }
demo_cli event list >"$DEMO_DIR/events"
grep -q 'takes 500 connections, not max_connections 4096' "$DEMO_DIR/events" || { cat "$DEMO_DIR/events"; exit 1; }
demo_cli fs check demo
kill -9 "$(demo_pid head-head1)"
sleep 1
served
