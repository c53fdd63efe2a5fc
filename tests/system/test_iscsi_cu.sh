#!/usr/bin/env bash
# iscsi-test-cu, all of it, on units of every kind. The first is tested by two paths with all there
# is; what it skips there is run on the unit that has it: 512e (unaligned unmapping), removable,
# read-only, without UNMAP, 4096-byte blocks, and memory that survives a loss of power (WRITE ATOMIC).
#
# Not run: Sanitize.Reset, which wants a unit whose wiping takes minutes and is over in milliseconds
# here, so that it fails at once (tests/unit/scsi/test_wipe.c has resets in the middle).
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=$top/build/release
DEMO_DIR=$(mktemp -d /tmp/isthmus-cu.XXXXXX)
DEMO_DISK_SIZE=1G DEMO_FS_SIZE=256M DEMO_LUN_SIZE=128M DEMO_CACHE=64MiB DEMO_RPCBIND=off
DEMO_NFS_PORT=18049 DEMO_ISCSI_PORT=18260
. "$top/tests/system/demo.sh"
trap 'demo_stop || true; demo_remove' EXIT
demo_start
demo_prepare
unit() { # NUMBER OPTION...
	demo_cli volume create "unit$1" --pool main --size 128M >/dev/null
	demo_cli lun add $DEMO_IQN "unit$1" --lun "$@" >/dev/null
}
unit 1 --physical-size 512
unit 2 --block-size 4096
unit 3 --physical-size 512 --read-only
unit 4 --physical-size 512 --removable
unit 5 --physical-size 512 --no-unmap

bad=0 log=$DEMO_DIR/cu.log base=$(demo_iscsi_url)
base=${base%/*}
run() { # UNIT FAMILY [OPTION...]
	timeout 120 iscsi-test-cu --dataloss "${@:3}" --test "$2" "$base/$1" "$base/$1" >"$log" 2>&1 ||
		true
	if ! awk '/^ *tests/{n = $2; ran = $3; failed = $5} END{exit !(n > 0 && ran == n && !failed)}' \
		"$log"; then
		echo "FAILED: $2 on unit $1"
		cat "$log"
		bad=1
	else
		echo "passed: $2 on unit $1 ($(awk '/^ *tests/{print $4 " of " $2}' "$log"), $(grep -c SKIP "$log" || true) skips)"
	fi
}
run 1 ALL
for f in BlockErase BlockEraseReserved CryptoErase CryptoEraseReserved ExitFailureMode \
	InvalidServiceAction Overwrite OverwriteReserved Readonly Reservations; do
	run 1 ALL.Sanitize.$f --allow-sanitize
done
for f in WriteSame10 WriteSame16 CompareAndWrite Unmap; do run 0 ALL.$f; done
for f in NoMedia PreventAllow StartStopUnit; do run 4 ALL.$f; done
run 3 ALL.ReadOnly
for f in Inquiry ReadCapacity16 ReportSupportedOpcodes Unmap WriteSame10 WriteSame16; do
	run 5 ALL.$f
done
for f in CompareAndWrite ExtendedCopy GetLBAStatus Inquiry Mandatory OrWrite Prefetch10 \
	Read10 Read16 ReadCapacity16 Unmap \
	Verify10 Verify16 Write10 Write16 WriteSame10 WriteSame16 WriteVerify16; do
	run 2 ALL.$f
done
demo_stop
sed -i 's/memory: volatile/memory: battery/' "$DEMO_DIR/isthmus.yaml"
demo_configure() { :; }
demo_start
for ((i = 0; i < 100; i++)); do demo_port_free "$(demo_iscsi_port)" || break; sleep 0.1; done
run 1 ALL.WriteAtomic16
exit $bad
