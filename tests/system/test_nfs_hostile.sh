#!/usr/bin/env bash
# Peers that break RPC and NFS, send a byte at a time, read no replies or vanish, hundreds at once:
# everybody else is served, and the head's memory stays bounded.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=$top/build/release
DEMO_DIR=$(mktemp -d /tmp/isthmus-nfs-hostile.XXXXXX)
DEMO_DISK_SIZE=1G DEMO_FS_SIZE=512M DEMO_LUN_SIZE=64M DEMO_CACHE=64MiB DEMO_RPCBIND=off
DEMO_NFS_PORT=17149 DEMO_ISCSI_PORT=17360
. "$top/tests/system/demo.sh"
trap 'demo_stop || true; demo_remove' EXIT
demo_start
demo_prepare
pid=$(demo_pid head-head1)
"$build/tests/tools/nfs_hostile" 127.0.0.1 "$(demo_nfs_port)" $DEMO_EXPORT
[ "$(demo_pid head-head1)" = "$pid" ] || { echo "the head was restarted"; tail -50 "$DEMO_DIR/isthmus.log"; exit 1; }
# Anonymous memory at its most: stacks, requests, and what slow peers hold (RPC_SPILL_MAX).
peak=$(awk '/^RssAnon/ { print int($2 / 1024) }' "/proc/$pid/status")
echo "the head holds $peak MiB of its own"
[ "$peak" -lt 512 ]
demo_cli fs check demo
