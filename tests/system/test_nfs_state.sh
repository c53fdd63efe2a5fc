#!/usr/bin/env bash
# The processor-information volume lost on both mirrors: heads go on with the backup, say so, also
# after a kill; a backup run does not write the lost state over the good one; then a new volume is made and used.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=$top/build/release
DEMO_DIR=$(mktemp -d /tmp/isthmus-state.XXXXXX)
DEMO_DISK_SIZE=1G DEMO_FS_SIZE=256M DEMO_LUN_SIZE=64M DEMO_CACHE=64MiB DEMO_RPCBIND=off
DEMO_NFS_PORT=17449 DEMO_ISCSI_PORT=17660
. "$top/tests/system/demo.sh"
trap 'demo_stop || true; demo_remove' EXIT
wrong() { echo "wrong: $*"; tail -40 "$DEMO_DIR/isthmus.log"; exit 1; }
heads() { demo_cli head state | sed -n '/^head1/p'; }

demo_start
demo_prepare
demo_wait_served 20
sleep 0.5
heads | grep -q 'main$' || wrong "the head does not use its volume"
demo_cli backup run
demo_cli backup verify
demo_stop

# The volume is the first of the pool: headers, claims and slots are in its first MiB a column.
for i in 0 1 2 3; do
	{ tr '\0' '\245' </dev/zero 2>/dev/null || true; } | dd of="$DEMO_DISK_DIR/disk$i" bs=1M seek=16 count=2 \
		iflag=fullblock conv=notrunc status=none
done
demo_start
demo_wait_served 20
sleep 2
heads | grep -q 'up .* backup$' || wrong "the head does not use the backup"
demo_cli event list | grep -q 'piv.backup_in_use.*checksum' || wrong "no event says why"
demo_cli status | grep -q 'keeps its state on the backup' || wrong "status does not say so"
demo_cli backup run && wrong "the lost state was written over the good one"
demo_cli event list | grep -q backup.refused || wrong "no event"
kill -9 "$(demo_pid head-head1)"
sleep 1
demo_wait_served 20
sleep 2
heads | grep -q 'up .* backup$' || wrong "the state did not survive the head"
demo_cli backup run && wrong "the lost state was written over the good one"
"$build/tests/tools/nfs_tree" copy "$(demo_nfs_url)" "$top/etc"
for ((i = 0; i < 200; i++)); do
	heads | grep -q 'up .* main$' && break
	sleep 0.1
done
heads | grep -q 'up .* main$' || wrong "no new volume was made and used"
demo_cli backup run || wrong "no backup of the new volume"
demo_cli backup restore g1 && wrong "a volume that a head lives on was replaced"
demo_cli backup verify
