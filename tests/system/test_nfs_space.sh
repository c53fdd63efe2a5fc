#!/usr/bin/env bash
# A small file system filled by several clients at once, three times over, then again while names storm
# and head and controller are killed: nothing acknowledged is lost, refusals are NOSPC, removing makes room, the check is clean.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=$top/build/release
DEMO_DIR=$(mktemp -d /tmp/isthmus-space.XXXXXX)
DEMO_DISK_SIZE=512M DEMO_FS_SIZE=96M DEMO_LUN_SIZE=64M DEMO_CACHE=64MiB DEMO_RPCBIND=off
DEMO_NFS_PORT=${DEMO_NFS_PORT:-17749} DEMO_ISCSI_PORT=${DEMO_ISCSI_PORT:-17960}
. "$top/tests/system/demo.sh"
trap 'demo_stop || true; demo_remove' EXIT
wrong() { echo "wrong: $*"; tail -40 "$DEMO_DIR/isthmus.log"; exit 1; }
demo_start
demo_prepare
demo_wait_served 20
"$build/tests/tools/nfs3_fill" 127.0.0.1 "$(demo_nfs_port)" $DEMO_EXPORT || wrong "without kills"
demo_cli fs check demo || wrong "check"
"$build/tests/tools/nfs3_storm" 127.0.0.1 "$(demo_nfs_port)" $DEMO_EXPORT 16 4 full &
storm=$!
sleep 1
"$build/tests/tools/nfs3_fill" 127.0.0.1 "$(demo_nfs_port)" $DEMO_EXPORT &
fill=$!
for name in head-head1 controller-a head-head1 controller-a; do
	sleep 1.5
	kill -0 $fill 2>/dev/null || break
	echo "kill -9 $name"
	kill -9 "$(demo_pid $name)" || wrong "$name is not running"
done
wait $fill || wrong "filling with kills"
wait $storm || wrong "the storm with kills"
demo_wait_served 20
demo_cli fs check demo || wrong "check"
