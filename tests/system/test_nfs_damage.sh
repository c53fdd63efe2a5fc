#!/usr/bin/env bash
# Bits flipped behind the array's back. On one mirror of everything: nothing is lost, the check
# finds and mends all of it. On both mirrors: errors for what lies there, all else goes on.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=$top/build/release
DEMO_DIR=$(mktemp -d /tmp/isthmus-damage.XXXXXX)
DEMO_DISK_SIZE=1G DEMO_FS_SIZE=512M DEMO_LUN_SIZE=64M DEMO_CACHE=64MiB DEMO_RPCBIND=off
DEMO_NFS_PORT=17249 DEMO_ISCSI_PORT=17460
. "$top/tests/system/demo.sh"
trap 'demo_stop || true; demo_remove; rm -rf "$DEMO_DIR.src" "$DEMO_DIR.more"' EXIT
tool=$build/tests/tools/disk_damage
repaired() { demo_cli fs check demo | sed -n 's/^repaired from copies *//p'; }
wrong() { echo "wrong: $*"; tail -40 "$DEMO_DIR/isthmus.log"; exit 1; }

for ((i = 0; i < 40; i++)); do
	mkdir -p "$DEMO_DIR.src/d$i"
	for ((k = 0; k < 20; k++)); do echo "$i $k" >"$DEMO_DIR.src/d$i/f$k"; done
done
demo_start
demo_prepare
"$build/tests/tools/nfs_tree" copy "$(demo_nfs_url)" "$DEMO_DIR.src"
[ "$(repaired)" = 0 ] || wrong "repairs of what was not damaged"
demo_stop

# RAID 1+0 of four: 0 and 1 are mirrors, 2 and 3.
for i in 1 3; do "$tool" flip "$DEMO_DISK_DIR/disk$i" IFSM; done
demo_start
demo_wait_served 20
n=$(repaired)
echo "repaired by the check: $n"
[ "$n" -gt 20 ] || wrong "the check did not look at both mirrors"
demo_cli event list | grep fs.repaired | tail -3
[ "$(repaired)" = 0 ] || wrong "repairs did not reach the disks"
"$build/tests/tools/nfs_tree" verify "$(demo_nfs_url)" "$DEMO_DIR.src"
demo_stop
demo_start
demo_wait_served 20
[ "$(repaired)" = 0 ] || wrong "something is still damaged"
demo_stop

# One block of inodes on both mirrors.
"$tool" flip "$DEMO_DISK_DIR/disk2" IFSM "$DEMO_DISK_DIR/disk3" 7
demo_start
demo_wait_served 20
pid=$(demo_pid head-head1)
"$build/tests/tools/nfs_tree" verify "$(demo_nfs_url)" "$DEMO_DIR.src" >"$DEMO_DIR/verify" 2>&1 &&
	wrong "damage on both mirrors went unseen"
tail -1 "$DEMO_DIR/verify"
bad=$(sed -n 's/.*; \([0-9]*\) differences.*/\1/p' "$DEMO_DIR/verify")
[ "$bad" -ge 1 ] && [ "$bad" -le 200 ] || wrong "$bad differences from one block of eight inodes"
demo_cli fs check demo && wrong "the check says that all is well"
demo_cli event list | grep fs.corrupt | tail -1
# Others go on: new files too, in every group, though the block has free places for inodes.
cp -r "$DEMO_DIR.src" "$DEMO_DIR.more"
"$build/tests/tools/nfs_tree" copy "$(demo_nfs_url)" "$DEMO_DIR.more"
"$build/tests/tools/nfs_tree" verify "$(demo_nfs_url)" "$DEMO_DIR.more"
[ "$(demo_pid head-head1)" = "$pid" ] || wrong "the head was restarted"
demo_stop

# All of it on all disks: it cannot be mounted. That is told once, however often it is tried.
for i in 0 1 2 3; do "$tool" flip "$DEMO_DISK_DIR/disk$i" IFSM; done
before=$(wc -l <"$DEMO_DIR/isthmus.log")
demo_start
sleep 8
demo_stop
for event in fs.unavailable fs.corrupt; do
	n=$(tail -n "+$((before + 1))" "$DEMO_DIR/isthmus.log" | grep -c "event $event:") || true
	[ "$n" = 1 ] || wrong "$n events $event"
done
