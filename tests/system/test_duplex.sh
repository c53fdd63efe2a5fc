#!/usr/bin/env bash
# Two controllers on one host: 4 rounds of kill -9 and SIGSTOP under load of iSCSI and NFS
# (duplex_rounds.sh), with takeover, return and hand-back; nothing that was acknowledged is lost, no
# pause above 2.5 s. Then one that is stopped and linked by TCP alone.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
out=$(mktemp /tmp/isthmus-duplex-out.XXXXXX)
trap 'rm -f "$out"' EXIT
LOAD=5 "$top/tests/system/duplex_rounds.sh" "${ROUNDS:-4}" "${SEED:-7}" | tee "$out"
LOAD=4 WAY=STOP DUO_TCP_PORT=23460 "$top/tests/system/duplex_rounds.sh" 1 "${SEED:-7}" | tee -a "$out"
worst=$(sed -n 's/.*worst \([0-9.]*\) s.*/\1/p' "$out" | sort -n | tail -1)
awk -v w="$worst" 'BEGIN { exit !(w != "" && w < 2.5) }' || { echo "FAILED: a pause of $worst s"; exit 1; }
