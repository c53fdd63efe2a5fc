#!/usr/bin/env bash
# Clients in processes of their own storm shared directories and write into the same blocks while head
# and controller are killed: ROUNDS (6) of kill -9. Every acknowledged change is there, and the file system is sound.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=$top/build/release
DEMO_DIR=$(mktemp -d /tmp/isthmus-storm.XXXXXX)
DEMO_DISK_SIZE=1G DEMO_FS_SIZE=256M DEMO_LUN_SIZE=64M DEMO_CACHE=64MiB DEMO_RPCBIND=off
DEMO_NFS_PORT=${DEMO_NFS_PORT:-17849} DEMO_ISCSI_PORT=${DEMO_ISCSI_PORT:-18060}
. "$top/tests/system/demo.sh"
trap 'demo_stop || true; demo_remove' EXIT
wrong() { echo "wrong: $*"; tail -60 "$DEMO_DIR/isthmus.log"; exit 1; }
rounds=${ROUNDS:-6} names=(head-head1 controller-a head-head1)
demo_start
demo_prepare
demo_wait_served 20
for ((left = rounds; left > 0; left -= 6)); do
	now=$((left < 6 ? left : 6))
	"$build/tests/tools/nfs3_storm" 127.0.0.1 "$(demo_nfs_port)" $DEMO_EXPORT $((now * 3 + 2)) &
	storm=$!
	"$build/tests/tools/nfs3_weave" 127.0.0.1 "$(demo_nfs_port)" $DEMO_EXPORT $((now * 3 + 2)) &
	weave=$!
	sleep 2
	for ((i = 0; i < now; i++)); do
		name=${names[$((i < 3 ? i : RANDOM % 3))]}
		echo "kill -9 $name"
		kill -9 "$(demo_pid $name)" || wrong "$name is not running"
		sleep 2.$((RANDOM % 10))
	done
	wait $storm || wrong "the storm"
	wait $weave || wrong "the woven file"
	demo_wait_served 20
	demo_cli fs check demo || wrong "check"
done
