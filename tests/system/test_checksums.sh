#!/usr/bin/env bash
# Disks that give wrong data without an error, under pools with checksums: hosts of a redundant pool
# see nothing of it, and the disk is told by name; hosts of RAID 0 get medium errors and EIO, for what
# is wrong and nothing else, and never wrong data.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
: "${build:=$top/build/release}"
DEMO_DIR=$(mktemp -d /tmp/isthmus-checksums.XXXXXX)
DEMO_DISKS=3 DEMO_DISK_SIZE=256M DEMO_FS_SIZE=64M DEMO_LUN_SIZE=64M DEMO_CACHE=64MiB DEMO_RPCBIND=off
DEMO_POOL_EXTRA='--checksums on' DEMO_NFS_PORT=27149 DEMO_ISCSI_PORT=27360
. "$top/tests/system/demo.sh"
trap 'demo_stop || true; demo_remove' EXIT
disk() { echo "$DEMO_DISK_DIR/disk$1"; }
fail() { echo "FAILED: $DEMO_LEVEL: $*"; tail -30 "$DEMO_DIR/isthmus.log"; demo_cli disk list || true; demo_cli pool show main || true; exit 1; }
lun() { timeout 60 "$build/tests/tools/iscsi_lun" "$1" "$(demo_iscsi_url)" 24 >"$DEMO_DIR/lun" 2>&1; }
tree() { timeout 60 "$build/tests/tools/nfs_tree" "$1" "$(demo_nfs_url)" "$DEMO_DIR/tree" >"$DEMO_DIR/nfs" 2>&1; }
of_pool() { demo_cli pool show main | sed -n "s/^$1 *//p"; }
wrong_of() { demo_cli --json disk list | tr -d ' \n' | grep -o "disk$1\"[^}]*" | sed -n 's/.*"wrong_data":\([0-9]*\).*/\1/p'; }
within() { # SECONDS COMMAND...
	local i n=$1
	shift
	for ((i = 0; i < n * 10; i++)); do
		! "$@" >/dev/null 2>&1 || return 0
		sleep 0.1
	done
	return 1
}
failing() { demo_cli disk list >"$DEMO_DIR/listed" && grep -q "^$(disk "$1") *failing .*wrong data" "$DEMO_DIR/listed"; }
scrubbed() { demo_cli event list --count 200 >"$DEMO_DIR/events" && grep -q "pool.scrub_$1" "$DEMO_DIR/events"; }
cold() { # nothing of it is in memory
	demo_stop || fail "the stop"
	rm -rf "${DEMO_MEM:?}"/*
}
up() {
	demo_start
	demo_wait_served 20
}
made() { # LEVEL DISKS
	DEMO_LEVEL=$1 DEMO_POOL_DISKS=$2
	echo "== $DEMO_LEVEL"
	rm -rf "$DEMO_DISK_DIR" "$DEMO_DIR/state" "${DEMO_MEM:?}"
	demo_start
	demo_prepare >/dev/null
	demo_wait_served 20
	[ "$(of_pool checksums)" = on ] || fail "no checksums: $(demo_cli pool show main)"
	lun write || fail "writing the LUN"
	tree copy || fail "writing files"
}

mkdir -p "$DEMO_DIR/tree"
head -c 3000000 /dev/urandom >"$DEMO_DIR/tree/random"
for ((i = 0; i < 4000; i++)); do echo "a line of text that says where it is: $i of 4000"; done >"$DEMO_DIR/tree/text"

made raid5 3
cold
dd if=/dev/urandom of="$(disk 1)" bs=1M seek=17 count=60 conv=notrunc status=none
up
lun verify || fail "the LUN: $(tail -3 "$DEMO_DIR/lun")"
tree verify || fail "the files: $(tail -3 "$DEMO_DIR/nfs")"
[ "$(wrong_of 1)" -gt 0 ] || fail "the disk is not blamed"
[ "$(wrong_of 0)$(wrong_of 2)" = 00 ] || fail "others are"
within 5 failing 1 || fail "it is not told"
demo_cli pool scrub main
within 30 scrubbed done || fail "the scrub"
cold
up
lun verify && tree verify || fail "after the scrub"
[ "$(of_pool 'wrong sums')" = 0 ] || fail "the scrub left something"
demo_stop

made raid0 2
cold
hits=0
for d in 0 1; do # the page of a line of the file, and the first bytes of the LUN
	for at in $(LC_ALL=C grep -obUaF 'says where it is: 2000 of' "$(disk $d)" | cut -d: -f1) \
		$(LC_ALL=C grep -obUaP '\xde\xb1\xf1\x8e\xbd\x79\x37\x9e' "$(disk $d)" | cut -d: -f1); do
		printf X | dd of="$(disk $d)" bs=1 seek="$at" conv=notrunc status=none
		hits=$((hits + 1))
	done
done
[ $hits -ge 2 ] || fail "the data is not where it was looked for: $hits"
up
! lun verify || fail "wrong data of the LUN was not found"
grep -q 'KEY:.*(3) ASCQ:.*(0x1100)' "$DEMO_DIR/lun" || fail "no medium error: $(cat "$DEMO_DIR/lun")"
! grep -q 'data differs' "$DEMO_DIR/lun" || fail "wrong data was served: $(cat "$DEMO_DIR/lun")"
! tree verify || fail "wrong data of the file was not found"
grep -q 'pread call failed' "$DEMO_DIR/nfs" || fail "no error: $(cat "$DEMO_DIR/nfs")"
demo_cli pool scrub main
within 30 scrubbed failed || fail "the scrub does not say so"
lun write && lun verify || fail "what is written anew: $(cat "$DEMO_DIR/lun")"
tree copy && tree verify || fail "the file written anew: $(cat "$DEMO_DIR/nfs")"
echo "wrong data is found"
