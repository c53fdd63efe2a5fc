#!/usr/bin/env bash
# A head whose group is not there keeps nothing of its clients. The first export while it runs: nobody can have
# anything to reclaim, no grace period. After the head was killed somebody may: a grace period.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=$top/build/release
DEMO_DIR=$(mktemp -d /tmp/isthmus-no-group.XXXXXX)
DEMO_DISK_SIZE=512M DEMO_FS_SIZE=256M DEMO_LUN_SIZE=64M DEMO_CACHE=64MiB DEMO_RPCBIND=off
DEMO_NFS_PORT=23950 DEMO_ISCSI_PORT=23960
DEMO_HEAD_EXTRA="    lock_grace: 30"
. "$top/tests/system/demo.sh"
trap 'demo_stop || true; demo_remove' EXIT
wrong() { echo "WRONG: $*"; tail -20 "$DEMO_DIR/isthmus.log"; exit 1; }
state_is() { # STATE, within 10 s
	local i
	for ((i = 0; i < 100; i++)); do
		demo_cli head locks 2>/dev/null | grep -q "^state  *$1" && return
		sleep 0.1
	done
	demo_cli head locks || true
	wrong "the lock manager is not in state $1"
}
demo_start
demo_cli pool create main --level raid10 "$DEMO_DISK_DIR"/disk?
demo_cli group create g1 --pool main
demo_cli fs create demo --pool main --size "$DEMO_FS_SIZE"
demo_wait_served 20
demo_stop
DEMO_GROUP=g2
demo_start
demo_wait_served 20
state_is starting # nothing is exported: nobody can lock
demo_cli export add $DEMO_EXPORT --fs demo --client '*:rw,no_root_squash'
state_is granting
"$build/tests/tools/nfs_tree" copy "$(demo_nfs4_url)" "$top/runtime"
kill -9 "$(demo_pid head-head1)"
sleep 1
demo_wait_served 20
state_is grace
demo_stop
trap - EXIT
demo_remove
