#!/usr/bin/env bash
# The pool of the processor-information volume is lost under clients that take and give locks: the head goes on with the
# backup, slot and ledger together; a new volume is made where there is room, filled from the backup and used, backups go on
# from there. No lock is lost, by a kill either, and there is no grace period. Then the same with a head that dies with a
# volume which had newer state than the backup: its clients are told, and reclaim. Last, written along, nothing is lost.
set -euo pipefail
if [ -z "${PIV_LOST_INSIDE:-}" ]; then
	[ "$(id -u)" = 0 ] && unshare --mount true 2>/dev/null || { echo "skipped: file systems that fill up want root"; exit 77; }
	PIV_LOST_INSIDE=1 exec unshare --mount --propagation private bash "$0" "$@"
fi
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
: "${build:=$top/build/release}"
DEMO_DIR=$(mktemp -d /tmp/isthmus-piv-lost.XXXXXX)
DEMO_DISKS=7 DEMO_POOL_DISKS=4 DEMO_DISK_SIZE=256M DEMO_FS_SIZE=64M DEMO_LUN_SIZE=16M
DEMO_CACHE=64MiB DEMO_RPCBIND=off DEMO_NFS_PORT=${DEMO_NFS_PORT:-18570} DEMO_ISCSI_PORT=${DEMO_ISCSI_PORT:-18580}
DEMO_GROUP=g2
DEMO_HEAD_EXTRA="    durable_state: on"
. "$top/tests/system/demo.sh"
load=
trap 'rm -f "$DEMO_DIR/go"; [ -z "$load" ] || wait $load; demo_stop || true; umount "$DEMO_DIR"/full* || true; demo_remove' EXIT
fail() { echo "FAILED: $*"; cat "$DEMO_DIR/load" || true; demo_cli backup status || true; demo_cli head state || true; demo_cli group list || true; grep -v "write failed\|rpc: conn\|nfs: mount" "$DEMO_DIR/isthmus.log" | tail -40; exit 1; }
disk() { echo "$DEMO_DISK_DIR/disk$1"; }
within() { # SECONDS COMMAND...
	local i n=$1
	shift
	for ((i = 0; i < n * 10; i++)); do
		! "$@" >/dev/null 2>&1 || return 0
		sleep 0.1
	done
	return 1
}
lock() { "$build/tests/tools/nlm_lock" 127.0.0.1 "$(demo_nfs_port)" $DEMO_EXPORT nlm "$@"; }
on() { demo_cli head state | grep -q "^head1 .* $1\$"; }
event() { demo_cli event list --count 500 | grep "$@"; }
told() { grep -qE 'was told of the restart|grace_s=[1-9]' "$DEMO_DIR/isthmus.log"; }
status_is() { demo_cli backup status g2 | grep -q "$1"; }
state() { head -1 "$DEMO_DIR/load"; }

# Disk files that take no writes from here on: the file system is full and has not got their blocks any more.
lose() { # DISK
	dd if=/dev/zero of="$DEMO_DIR/full$1/fill" bs=1M count=200 status=none 2>/dev/null || true
	fallocate -p -o 16MiB -l 240MiB "$(disk "$1")"
	dd if=/dev/zero of="$DEMO_DIR/full$1/more" bs=4k count=50000 status=none 2>/dev/null || true
}
# The head, the controller with what its cache has of the volume, and the volume's disk.
all_lost() { # DISK
	kill -STOP "$(demo_pid isthmusd)"
	kill -9 "$(demo_pid head-head1)" "$(demo_pid controller-a)"
	lose "$1"
	rm -rf "${DEMO_MEM:?}"/*
	kill -CONT "$(demo_pid isthmusd)"
	within 20 demo_wait_served 1
}
mkdir -p "$DEMO_DISK_DIR"
for i in 4 5 6; do
	mkdir "$DEMO_DIR/full$i"
	mount -t tmpfs -o size=80m none "$DEMO_DIR/full$i"
	ln -s "$DEMO_DIR/full$i/disk" "$(disk $i)"
	truncate -s 256M "$DEMO_DIR/full$i/disk"
done
demo_start
demo_cli pool create p --level single "$(disk 4)"
demo_cli pool create q --level single "$(disk 5)"
demo_cli pool create r --level single "$(disk 6)"
for i in 0 1 2 3; do four+=("$(disk $i)"); done
demo_cli pool create main --level raid10 "${four[@]}"
demo_cli group create g2 --pool p --backup-pool main --size 16MiB
demo_cli fs create demo --pool main --size $DEMO_FS_SIZE
demo_cli export add $DEMO_EXPORT --fs demo --client '*:rw,no_root_squash'
demo_wait_served 20
within 10 on main || fail "the head does not use its volume"
demo_cli backup policy g2 --manual >/dev/null
demo_cli backup run >/dev/null
[ "$(lock old try 1 0 100)" = granted ] || fail "no lock"

# Clients that take and give a lock each, all the time.
touch "$DEMO_DIR/go"
ask() { # NUMBER OPERATION: again when the connection broke, as clients do
	local i
	for ((i = 0; i < 20; i++)); do
		timeout 20 "$build/tests/tools/nlm_lock" 127.0.0.1 "$(demo_nfs_port)" $DEMO_EXPORT nlm "w$1" "$2" 1 $(($1 * 1000)) 10 2>/dev/null && return
		sleep 0.1
	done
	echo error
}
worker() { # NUMBER
	local n=0 r op
	while [ -e "$DEMO_DIR/go" ]; do
		for op in try unlock; do
			r=$(ask "$1" $op)
			[ "$r" = granted ] || echo "worker $1, $op $n: $r"
		done
		n=$((n + 1))
	done
	echo "worker $1: $n times" >>"$DEMO_DIR/done"
}
for i in 1 2 3; do
	worker $i >>"$DEMO_DIR/load" 2>&1 &
	load="$load $!"
done
sleep 1
lose 4
within 10 on backup || fail "the head does not go on with the backup"
[ "$(lock young try 1 200 100)" = granted ] || fail "no lock while on the backup"
! demo_cli backup run >"$DEMO_DIR/out" 2>&1 || fail "the backup that heads live on was overwritten"
within 30 on main || fail "no new volume was made and used"
event -q piv.renewed || fail "no event of the new volume"
event -q piv.filled || fail "no event of its filling"
demo_cli group list | grep -q '^g2 *g2.piv-2 ' || fail "the group's volume is not the new one"
within 5 status_is 'idle' && demo_cli backup run >/dev/null || fail "backups do not go on"
demo_cli backup verify g2 >/dev/null || fail "the backup does not hold"
[ "$(lock thief try 1 50 1)" = denied ] || fail "a lock was lost"
[ "$(lock young try 1 300 10)" = granted ] || fail "a client cannot go on"
kill -9 "$(demo_pid head-head1)"
sleep 1
[ "$(lock thief try 1 50 1)" = denied ] || fail "a lock was lost by the kill"
[ "$(lock thief try 1 250 1)" = denied ] || fail "a lock of the time on the backup was lost"
[ "$(lock young try 1 400 10)" = granted ] || fail "a grace period after the kill"
rm "$DEMO_DIR/go"
wait $load
load=
[ ! -s "$DEMO_DIR/load" ] || fail "clients saw: $(state)"
! told || fail "clients were told to reclaim"
[ "$(lock old unlock 1 0 100)" = granted ] || fail "the lock is not given up"
cat "$DEMO_DIR/done"

# Written along: the volume and the head go at once, nothing is lost.
demo_cli backup policy g2 --continuous >/dev/null
within 20 status_is 'on both' || fail "the backup is not written along"
demo_cli backup run >/dev/null || fail "a backup by command while it is written along"
demo_cli backup verify g2 >/dev/null || fail "the two differ"
# Also by a head that was killed.
kill -9 "$(demo_pid head-head1)"
sleep 1
[ "$(lock both try 1 600 10)" = granted ] || fail "no lock"
within 20 status_is 'on both' || fail "after a kill the backup is not written along"
[ "$(lock both try 1 610 10)" = granted ] || fail "no lock"
demo_cli backup verify g2 >"$DEMO_DIR/out" || fail "the two differ after a kill"
event -q "g2.piv-2 in pool [qr]" || fail "the new volume is not in the pool that has nothing else"
all_lost 5
within 20 on backup || within 20 on main || fail "the head does not come back"
[ "$(lock thief try 1 600 1)" = denied ] || fail "a lock that was written along was lost"
[ "$(lock both try 1 700 10)" = granted ] || fail "a grace period though nothing was lost"
! told || fail "clients were told to reclaim though nothing was lost"

# Not written along, younger than the last backup, and the head dies with the volume: clients are told, and reclaim.
within 30 on main || fail "the head is not on a new volume"
event -q 'in pool r' || fail "the new volume is not in the pool that has no errors"
demo_cli backup policy g2 --manual >/dev/null
within 10 status_is ' - ' || fail "it is written along still"
[ "$(lock young try 1 800 10)" = granted ] || fail "no lock"
all_lost 6
within 20 event -q piv.older || fail "no event that the state is older than what there was"
[ "$(lock thief try 1 600 1)" != granted ] || fail "a lock that its owner may reclaim was given away"
within 10 told || fail "nobody was told"
[ "$(lock young reclaim 1 800 10)" = granted ] || fail "what was held cannot be reclaimed"
demo_cli head state --records | grep -q '^head1 *lock ' || fail "locks are not shown"
echo "a lost volume is replaced, no lock is lost"
