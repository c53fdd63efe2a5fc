#!/usr/bin/env bash
# Disks of a stopped array are damaged, taken away, exchanged; what is wrong is told by name and
# place, repaired where it can be, and the data is all there as long as a copy is.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
: "${build:=$top/build/release}"
DEMO_DIR=$(mktemp -d /tmp/isthmus-damage.XXXXXX)
DEMO_DISK_SIZE=256M DEMO_FS_SIZE=64M DEMO_LUN_SIZE=64M DEMO_CACHE=64MiB DEMO_RPCBIND=off
DEMO_NFS_PORT=26049 DEMO_ISCSI_PORT=26260
. "$top/tests/system/demo.sh"
good=$DEMO_DIR/good
trap 'demo_stop || true; demo_remove' EXIT
disk() { echo "$DEMO_DISK_DIR/disk$1"; }
log() { tail -n +"$from" "$DEMO_DIR/isthmus.log"; }
fail() { echo "FAILED: $case: $*"; log | tail -30; demo_cli disk list || true; exit 1; }
meta0=$((1024 * 1024)) meta1=$((8 * 1024 * 1024)) label1=$((256 * 1024 * 1024 - 4096))

flip() { # FILE OFFSET...: one bit each
	local f=$1 o b
	shift
	for o in "$@"; do
		b=$(od -An -tu1 -j"$o" -N1 "$f")
		printf "\\x$(printf %02x $((b ^ 16)))" | dd of="$f" bs=1 seek="$o" conv=notrunc status=none
	done
}
begin() { # NAME: the good array again
	case=$1
	echo "== $case"
	rm -rf "$DEMO_DISK_DIR" "${DEMO_MEM:?}"/*
	cp -r --sparse=always "$good" "$DEMO_DISK_DIR"
	again
}
again() { from=$(($(wc -l <"$DEMO_DIR/isthmus.log") + 1)); }
told() { grep -q "$1" <(log) || fail "not told: $1"; }
verify() {
	timeout 60 "$build/tests/tools/iscsi_lun" verify "$(demo_iscsi_url)" 32 >/dev/null || fail "the data"
}
state() { # the controller may still be starting
	local i
	for ((i = 0; i < 100; i++)); do
		! demo_cli pool list 2>&1 | grep -q "^main *$1 " || return 0
		sleep 0.1
	done
	fail "the pool is not $1: $(demo_cli pool list 2>&1)"
}
disk_is() { demo_cli disk list | grep -q "^$(disk "$1") *$2 " || fail "disk$1 is not $2"; }
whole() { demo_start; state online; verify; }
stop() { demo_stop || fail "the stop"; }

demo_start
demo_prepare >/dev/null
timeout 60 "$build/tests/tools/iscsi_lun" write "$(demo_iscsi_url)" 32
demo_stop
cp -r --sparse=always "$DEMO_DISK_DIR" "$good"

begin "a bit of the first labels"
for i in 0 1 2 3; do flip "$(disk $i)" 50; done
whole
for i in 0 1 2 3; do told "label_damaged: disk $(disk $i): label copy 0 at byte 0"; done
told "label_repaired: disk $(disk 3)"
stop
again
whole
! grep -q label_damaged <(log) || fail "told again: not repaired"
stop

begin "a bit of the last labels, and a first one overwritten"
flip "$(disk 1)" $((label1 + 33))
dd if=/dev/urandom of="$(disk 2)" bs=4096 count=1 conv=notrunc status=none
whole
told "label_damaged: disk $(disk 1): label copy 1 at byte $label1"
told "label_damaged: disk $(disk 2): label copy 0 at byte 0"
stop

begin "bits of metadata slots"
flip "$(disk 0)" $((meta0 + 200)) $((meta1 + 200))
flip "$(disk 1)" $((meta0 + 20))
flip "$(disk 2)" $((meta1 + 20))
whole
told "slot_damaged: disk $(disk 0): metadata slot 0 at byte $meta0"
told "slot_damaged: disk $(disk 0): metadata slot 1 at byte $meta1"
told "slot_damaged: disk $(disk 1): metadata slot 0 at byte $meta0"
told "slot_damaged: disk $(disk 2): metadata slot 1 at byte $meta1"
stop
again
whole
! log | grep slot_damaged || fail "told again: not repaired"
stop

begin "no metadata at all"
for i in 0 1 2 3; do flip "$(disk $i)" $((meta0 + 20)) $((meta1 + 20)); done
demo_start
for i in $(seq 50); do
	demo_cli event list --count 200 >"$DEMO_DIR/out"
	! grep -q 'controller a .*meta.unusable' "$DEMO_DIR/out" || break
	sleep 0.1
done
grep -q 'controller a .*meta.unusable' "$DEMO_DIR/out" || { cat "$DEMO_DIR/out"; fail "event list does not say why"; }
stop

begin "both labels of one disk"
flip "$(disk 0)" 30 $((label1 + 30))
demo_start
state degraded
disk_is 0 failed
verify
stop

begin "a disk is missing"
rm "$(disk 2)"
mkdir "$(disk 2)" # else an empty one would be made
demo_start
state degraded
disk_is 2 missing
verify
stop

begin "disks in another order"
mv "$(disk 0)" "$DEMO_DIR/x" && mv "$(disk 3)" "$(disk 0)" && mv "$(disk 1)" "$(disk 3)" && mv "$DEMO_DIR/x" "$(disk 1)"
whole
stop

begin "a truncated disk"
truncate -s 100M "$(disk 1)"
demo_start
state degraded
disk_is 1 failed
told "unusable: disk $(disk 1): .*104857600"
verify
stop

begin "a disk of another array"
rm -rf "$DEMO_DISK_DIR"/* "${DEMO_MEM:?}"/*
demo_start
demo_prepare >/dev/null
demo_stop
mv "$(disk 0)" "$DEMO_DIR/other"
cp -r --sparse=always "$good"/. "$DEMO_DISK_DIR"
rm -rf "${DEMO_MEM:?}"/*
mv "$DEMO_DIR/other" "$(disk 0)"
demo_start
state degraded
disk_is 0 foreign
verify
! demo_cli disk wipe "$(disk 0)" 2>"$DEMO_DIR/out" || fail "a foreign disk was wiped without --force"
stop

begin "a disk file is deleted while the array runs"
demo_start
state online
rm "$(disk 1)"
timeout 60 "$build/tests/tools/iscsi_lun" write "$(demo_iscsi_url)" 32 >/dev/null
verify
stop
demo_start # demo_configure makes an empty file of that name
disk_is 1 blank
state degraded
verify
stop
echo "damage: told, repaired, survived"
