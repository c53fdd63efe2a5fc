#!/usr/bin/env bash
# Persistent reservations of two initiators: through kill -9 of the controller, stop and start, and
# loss of the memory; PREEMPT AND ABORT under load; the admin's release. ROUNDS (6) of kill -9.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
: "${build:=$top/build/release}"
DEMO_DIR=$(mktemp -d /tmp/isthmus-reservations.XXXXXX)
DEMO_DISK_SIZE=1G DEMO_FS_SIZE=64M DEMO_LUN_SIZE=64M DEMO_CACHE=64MiB DEMO_RPCBIND=off
DEMO_NFS_PORT=23660 DEMO_ISCSI_PORT=23670
. "$top/tests/system/demo.sh"
trap 'demo_stop || true; demo_remove' EXIT
bad=0

# expect WHO WORDS... = LINES...
expect() {
	local who=$1 words=() got want
	shift
	while [ "$1" != = ]; do words+=("$1"); shift; done
	shift
	want=$(printf '%s\n' "$@")
	got=$(timeout 60 "$build/tests/system/iscsi_reserve" "$(demo_iscsi_url)" "iqn.2026-01.org.isthmus:$who" "${words[@]}") || got="$got (status $?)"
	[ "$got" = "$want" ] || { echo "FAILED: $who ${words[*]}: got '$got', not '$want'"; bad=1; }
}

demo_start
demo_prepare

# ---- kill -9 of the controller: the first command after it meets the reservation
for ((i = 1; i <= ${ROUNDS:-6}; i++)); do
	expect a register 0 a$i / reserve a$i 3 / write = good good good
	kill -9 "$(demo_pid controller-a)"
	# asks at every attempt as soon as there is somebody to ask
	expect b read / write / keys / holder = conflict conflict "keys a$i" "holder a$i type 3"
	kill -9 "$(demo_pid controller-a)"
	expect a write / release a$i 3 / register a$i 0 = good good good
	expect b write = good
done

# ---- a stop in order leaves the memory, and what is in it; its loss leaves what asked for that
expect a register 0 a / reserve a 1 = good good
demo_stop
demo_start
expect b write / holder = conflict 'holder a type 1'
demo_stop
rm -f "$DEMO_MEM"/cache-*.seg
demo_start
expect b write / keys / holder = good keys 'holder none'
expect a register 0 a aptpl / reserve a 5 = good good
demo_stop
rm -f "$DEMO_MEM"/cache-*.seg
demo_start
expect b read / write / keys / holder = good conflict 'keys a' 'holder a type 5'
expect a write = good

# ---- PREEMPT AND ABORT: what the other has under way is gone before it is answered
expect b register 0 b = good
timeout 60 "$build/tests/system/iscsi_reserve" "$(demo_iscsi_url)" iqn.2026-01.org.isthmus:a storm 8 >"$DEMO_DIR/storm" &
storm=$!
sleep 1.5
expect b abort b a 1 / holder / keys = good 'holder b type 1' 'keys b'
wait $storm || { echo "FAILED: storm"; bad=1; }
cat "$DEMO_DIR/storm"
grep -q 'storm good [1-9]' "$DEMO_DIR/storm" || { echo "FAILED: no write before"; bad=1; }
expect a write / keys = conflict 'keys b'

# ---- shown and released by the admin
demo_cli lun reservations $DEMO_IQN 0
demo_cli --json lun reservations $DEMO_IQN 0 | grep -q '"key": *"0x000000000000000b"' || { echo "FAILED: the key is not shown"; bad=1; }
demo_cli lun release $DEMO_IQN 0
expect a write / keys / holder = good keys 'holder none'
demo_cli event list | grep -q lun.released || { echo "FAILED: no event"; bad=1; }
exit $bad
