#!/usr/bin/env bash
# duplex_rounds.sh [ROUNDS [SEED]]: one controller of two, or both, is killed or stopped at
# any moment (WAY: KILL, STOP, BOTH or AFTER always, instead of any) while initiators write to the LUNs of both; each time the other takes its pools over,
# and gives them back when it has returned. Every acknowledged write is read back; the pauses that
# initiators saw are told.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
: "${build:=$top/build/release}"
rounds=${1:-10}
RANDOM=${2:-$$}
DUO_DIR=$(mktemp -d /tmp/isthmus-duplex.XXXXXX)
: "${DUO_PORT:=23400}"
. "$top/tests/system/duplex.sh"
loads=()
cleanup() {
	for p in "${loads[@]}"; do kill "$p" 2>/dev/null || true; done
	duo_stop
	duo_remove
}
trap cleanup EXIT
fail() {
	echo "FAILED: $*"
	cat "$DUO_DIR"/oracle.* || true
	grep -v " info " "$DUO_DIR/isthmus.log" | tail -60
	tail -n 25 "$DUO_DIR"/state/events-controller-*
	exit 1
}

duo_configure
duo_start
duo_prepare >/dev/null || fail "the array cannot be made"
duo_wait 20 duo_whole || fail "the two controllers do not mirror"

pauses=()
round() { # VICTIM WAY N
	local victim=$1 way=$2 pid out seconds=6 other
	other=$([ "$victim" = a ] && echo b || echo a)
	pid=$(duo_pid "$victim")
	loads=()
	for lun in 0 1; do
		duo_load $lun $seconds "$DUO_DIR/oracle.$lun"
		loads+=("$duo_load_pid")
	done
	sleep "$((1 + RANDOM % 2)).$((RANDOM % 10))"
	kill -0 "$pid" || fail "round $3: controller $victim has ended by itself"
	case $way in
	BOTH) kill -KILL "$pid" "$(duo_pid "$other")" ;;
	AFTER) # the other one dies while it takes over, or has, or has not mirrored again yet
		kill -KILL "$pid"
		sleep "0.$((RANDOM % 10))$((RANDOM % 10))"
		kill -KILL "$(duo_pid "$other")" 2>/dev/null || true
		;;
	*) kill "-$way" "$pid" ;;
	esac
	for p in "${loads[@]}"; do
		wait "$p" || fail "round $3: $way of $victim: the load found something"
	done
	loads=()
	! kill -0 "$pid" 2>/dev/null || fail "round $3: $way of $victim: pid $pid was not ended"
	duo_wait 20 duo_whole || fail "round $3: $way of $victim: not whole again"
	for lun in 0 1; do
		out=$(tail -1 "$DUO_DIR/oracle.$lun")
		pauses+=("$(sed 's/.*longest pause \([0-9.]*\) s.*/\1/' <<<"$out")")
		echo "round $3: $way $victim, LUN $lun: $out"
	done
}

for ((n = 1; n <= rounds; n++)); do
	victim=$([ $((RANDOM % 2)) = 0 ] && echo a || echo b)
	ways=(KILL KILL KILL STOP BOTH AFTER)
	way=${WAY:-${ways[RANDOM % ${#ways[@]}]}}
	round "$victim" "$way" "$n"
done
! grep -E 'ERROR: |runtime error|check failed' "$DUO_DIR/isthmus.log" || fail "a daemon found a fault in itself"
printf '%s\n' "${pauses[@]}" | sort -n | awk '{ v[NR] = $1 } END {
	printf "pauses: median %.2f s, worst %.2f s, of %d\n", v[int((NR + 1) / 2)], v[NR], NR }'
