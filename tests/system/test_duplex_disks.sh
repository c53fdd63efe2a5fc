#!/usr/bin/env bash
# Two controllers with pools of RAID 5, 6 and 10: one is killed together with a disk of its pool, or
# while the place of a lost one is filled, under load of iSCSI and NFS (duplex_rounds.sh); no pause
# above 4 s.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
: "${DUO_PORT:=23470}"
export DUO_PORT WAY=DISK LOAD=6 MEDIAN=2.5 WORST=4
DUO_LEVEL=raid5 DUO_POOL_DISKS=3 "$top/tests/system/duplex_rounds.sh" "${ROUNDS:-2}" "${SEED:-1}"
DUO_LEVEL=raid6 DUO_POOL_DISKS=4 "$top/tests/system/duplex_rounds.sh" "${ROUNDS:-1}" "${SEED:-2}"
DUO_LEVEL=raid10 DUO_POOL_DISKS=4 "$top/tests/system/duplex_rounds.sh" "${ROUNDS:-1}" "${SEED:-6}"
