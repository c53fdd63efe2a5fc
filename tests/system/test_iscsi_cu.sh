#!/usr/bin/env bash
# iscsi-test-cu, the families of the commands this target has, each run on its own. Skips are shown.
# Those of two initiators or two paths get the URL twice. Left out, for they would only skip:
# CompareAndWrite, ExtendedCopy, GetLBAStatus, OrWrite, ReadDefectData*, ReceiveCopyResults, Sanitize,
# WriteAtomic16.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=$top/build/release
DEMO_DIR=$(mktemp -d /tmp/isthmus-cu.XXXXXX)
DEMO_DISK_SIZE=1G DEMO_FS_SIZE=256M DEMO_LUN_SIZE=256M DEMO_CACHE=64MiB DEMO_RPCBIND=off
DEMO_NFS_PORT=18049 DEMO_ISCSI_PORT=18260
. "$top/tests/system/demo.sh"
trap 'demo_stop || true; demo_remove' EXIT
demo_start
demo_prepare
families=(ALL.Inquiry ALL.Mandatory ALL.ModeSense6 ALL.NoMedia ALL.Prefetch10 ALL.Prefetch16
	ALL.PreventAllow ALL.Read6 ALL.Read10 ALL.Read12 ALL.Read16 ALL.ReadCapacity10
	ALL.ReadCapacity16 ALL.ReadOnly ALL.ReportSupportedOpcodes ALL.StartStopUnit
	ALL.TestUnitReady ALL.Unmap ALL.Verify10 ALL.Verify12 ALL.Verify16 ALL.Write10
	ALL.Write12 ALL.Write16 ALL.WriteSame10 ALL.WriteSame16 ALL.WriteVerify10
	ALL.WriteVerify12 ALL.WriteVerify16 iSCSI.iSCSIcmdsn iSCSI.iSCSIdatasn
	iSCSI.iSCSIResiduals iSCSI.iSCSITMF)
two=(ALL.MultipathIO ALL.PrinReadKeys ALL.PrinReportCapabilities ALL.PrinServiceactionRange
	ALL.ProutClear ALL.ProutPreempt ALL.ProutRegister ALL.ProutReserve ALL.Reserve6)
url=$(demo_iscsi_url) bad=0 log=$DEMO_DIR/cu.log
for f in "${families[@]}" "${two[@]}"; do
	urls=("$url")
	[[ " ${two[*]} " != *" $f "* ]] || urls+=("$url")
	timeout 60 iscsi-test-cu --dataloss --test "$f" "${urls[@]}" >"$log" 2>&1 || true
	if ! grep -q 'tests .*' "$log" || ! awk '/^ *tests/{exit !($2 > 0 && $5 == 0)}' "$log"; then
		echo "FAILED: $f"
		cat "$log"
		bad=1
	else
		echo "passed: $f ($(awk '/^ *tests/{print $4 " of " $2}' "$log"), $(grep -c SKIP "$log" || true) skips)"
	fi
done
exit $bad
