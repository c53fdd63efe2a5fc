#!/usr/bin/env bash
# Disks that go wrong while the array runs under load: files removed, replaced, cut short, labels
# and metadata overwritten. It is told at once, in `status`, `disk list` and events; redundant pools
# go on without an error to anybody, and damage that can be mended is.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
: "${build:=$top/build/release}"
DEMO_DIR=$(mktemp -d /tmp/isthmus-watch.XXXXXX)
DEMO_DISK_SIZE=256M DEMO_FS_SIZE=64M DEMO_LUN_SIZE=64M DEMO_CACHE=64MiB DEMO_RPCBIND=off
DEMO_NFS_PORT=23320 DEMO_ISCSI_PORT=23330
. "$top/tests/system/demo.sh"
trap 'demo_stop || true; demo_remove' EXIT
disk() { echo "$DEMO_DISK_DIR/disk$1"; }
fail() { echo "FAILED: $case: $*"; tail -30 "$DEMO_DIR/isthmus.log"; demo_cli disk list || true; exit 1; }
meta0=$((1024 * 1024)) meta1=$((8 * 1024 * 1024)) label1=$((256 * 1024 * 1024 - 4096))
from=1 seconds=5

flip() { # FILE OFFSET...: one bit each
	local f=$1 o b
	shift
	for o in "$@"; do
		b=$(od -An -tu1 -j"$o" -N1 "$f")
		printf "\\x$(printf %02x $((b ^ 16)))" | dd of="$f" bs=1 seek="$o" conv=notrunc status=none
	done
}
within() { # SECONDS COMMAND...
	local i n=$1
	shift
	for ((i = 0; i < n * 10; i++)); do
		! "$@" || return 0
		sleep 0.1
	done
	return 1
}
told() { grep -q "$1" <(tail -n +"$from" "$DEMO_DIR/isthmus.log"); }
listed() { demo_cli disk list 2>/dev/null | grep -q "^$1 *$2 .*$3"; }
noticed() { # DISK STATE WHY
	within 5 listed "$(disk "$1")" "$2" "$3" || fail "disk list does not say that disk$1 is $2: $3"
	demo_cli status >"$DEMO_DIR/status"
	grep -q "$(disk "$1") *$2 .*$3" "$DEMO_DIR/status" || fail "status does not name disk$1"
	demo_cli event list | grep -q "disk $(disk "$1").*$3" || fail "no event names disk$1"
}
begin() { # NAME: a new array, under load
	case=$1
	echo "== $case"
	demo_stop || true
	rm -rf "$DEMO_DISK_DIR" "${DEMO_MEM:?}"
	touch "$DEMO_DIR/isthmus.log"
	from=$(($(wc -l <"$DEMO_DIR/isthmus.log") + 1))
	demo_start
	demo_prepare >/dev/null
	demo_wait_served 20
	controller=$(demo_pid controller-a)
	timeout 60 "$build/tests/tools/oracle" iscsi "$(demo_iscsi_url)" "$seconds" 2 >"$DEMO_DIR/oracle.iscsi" 2>&1 & a=$!
	timeout 60 "$build/tests/tools/oracle" nfs "$(demo_nfs_url)" "$seconds" 2 >"$DEMO_DIR/oracle.nfs" 2>&1 & b=$!
	sleep 1
}
unhurt() { # nobody saw an error
	wait $a || fail "iSCSI load: $(cat "$DEMO_DIR/oracle.iscsi")"
	wait $b || fail "NFS load: $(cat "$DEMO_DIR/oracle.nfs")"
	grep -q ', 0 without an answer, .*, 0 wrong, 2 connections' "$DEMO_DIR/oracle.iscsi" || fail "$(cat "$DEMO_DIR/oracle.iscsi")"
	grep -q ', 0 without an answer, .*, 0 wrong, 2 connections' "$DEMO_DIR/oracle.nfs" || fail "$(cat "$DEMO_DIR/oracle.nfs")"
	[ "$(demo_pid controller-a)" = "$controller" ] || fail "the controller was restarted"
	demo_cli fs check demo >/dev/null || fail "fs check"
}
pool_is() { demo_cli pool list | grep -q "^main *$1 " || fail "the pool is not $1: $(demo_cli pool list)"; }

begin "a file is removed"
rm "$(disk 1)"
noticed 1 failed "its file was removed or renamed"
pool_is degraded
unhurt

begin "a file is replaced by another"
cp --sparse=always "$(disk 0)" "$DEMO_DIR/x"
mv "$DEMO_DIR/x" "$(disk 0)"
noticed 0 failed "its name belongs to another file now"
pool_is degraded
unhurt

begin "a file is cut short"
truncate -s 20M "$(disk 3)"
noticed 3 failed ""
pool_is degraded
unhurt

seconds=13
begin "labels and metadata slots are overwritten"
flip "$(disk 0)" 50 $((meta0 + 200)) $((meta1 + 200))
flip "$(disk 1)" $((label1 + 33)) $((meta0 + 20))
dd if=/dev/urandom of="$(disk 2)" bs=4096 count=1 conv=notrunc status=none
for t in "label_repaired: disk $(disk 0): label copy 0" "label_repaired: disk $(disk 1): label copy 1" \
	"label_repaired: disk $(disk 2): label copy 0" \
	"slot_damaged: disk $(disk 0): metadata slot 0" "slot_damaged: disk $(disk 0): metadata slot 1" \
	"slot_repaired: disk $(disk 0): metadata slot 0" "slot_repaired: disk $(disk 0): metadata slot 1" \
	"slot_repaired: disk $(disk 1): metadata slot 0"; do
	within 15 told "$t" || fail "not told: $t"
done
pool_is online
unhurt
seconds=5

case="metadata of the file system rots on one mirror"
echo "== $case"
repaired() { demo_cli fs check demo | sed -n 's/^repaired from copies *//p'; }
sleep 8 # all is on the disks: nothing is being written while it is damaged
for i in 1 3; do "$build/tests/tools/disk_damage" flip "$(disk $i)" IFSM >/dev/null; done
[ "$(repaired)" -gt 0 ] || fail "the check did not find it"
[ "$(repaired)" = 0 ] || fail "it was not mended"
demo_cli event list --count 200 | grep -q fs.repaired || fail "no event"
pool_is online

case="the only copy is cut short"
echo "== $case"
demo_stop
rm -rf "$DEMO_DISK_DIR" "${DEMO_MEM:?}"
demo_start
demo_cli pool create solo --level single "$(disk 0)"
demo_cli volume create scratch --pool solo --size 64M
demo_cli target create $DEMO_IQN --open yes --discovery yes
demo_cli lun add $DEMO_IQN scratch --lun 0
timeout 60 "$build/tests/tools/iscsi_lun" write "$(demo_iscsi_url)" 32 >/dev/null
demo_cli pool list | grep -q "^solo *online" || fail "no pool"
demo_stop && demo_start # nothing is in the cache
solo_is_there() { demo_cli pool list 2>/dev/null | grep -q "^solo *online"; }
within 20 solo_is_there || fail "the pool is not there after a start"
controller=$(demo_pid controller-a)
truncate -s 20M "$(disk 0)"
noticed 0 failing "its file was cut from"
! timeout 60 "$build/tests/tools/iscsi_lun" verify "$(demo_iscsi_url)" 64 >"$DEMO_DIR/out" 2>&1 || fail "what is gone was read"
demo_cli status | grep -q failing || fail "status forgot it"
[ "$(demo_pid controller-a)" = "$controller" ] || fail "the controller died"
echo "disks in use: noticed, told, survived"
