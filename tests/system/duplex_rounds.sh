#!/usr/bin/env bash
# duplex_rounds.sh [ROUNDS [SEED]]: one controller of two, or both, is killed or stopped at any moment
# (WAY: KILL, STOP, BOTH or AFTER always, instead of any) while initiators write to the LUNs of both
# by both portals, and NFS clients to a file system of each through a head; each time the other
# controller takes its pools over, and gives them back when it has returned. With WAY=DISK a disk of
# its pool goes too: before, so that it dies while the disk is filled again, or with it (DUO_LEVEL,
# DUO_POOL_DISKS: the pools).
#
# Every acknowledged change is read back; a status that a multipath driver would hand on as an error
# fails the run, and so does an NFS request without an answer. The pauses that clients saw are told
# for each protocol; those of KILL and DISK are to have a median of MEDIAN (1.0) s and be no longer than WORST (2.0) s.
# LOAD (6): seconds of load a round. What fails leaves its folder (logs, events, what clients said).
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
: "${build:=$top/build/release}"
rounds=${1:-10}
seed=${2:-$$}
RANDOM=$seed
DUO_DIR=$(mktemp -d /tmp/isthmus-duplex.XXXXXX)
: "${DUO_PORT:=23400}" "${DUO_NFS_PORT:=$((DUO_PORT + 2))}" "${MEDIAN:=1.0}" "${WORST:=2.0}" "${LOAD:=6}"
. "$top/tests/system/duplex.sh"
loads=() kept=
cleanup() {
	for p in "${loads[@]}"; do kill "$p" 2>/dev/null || true; done
	duo_stop
	[ -z "$kept" ] || { rm -rf "$DUO_MEM" "$DUO_DIR"/disk?; return; }
	duo_remove
}
trap cleanup EXIT
fail() {
	kept=1
	echo "FAILED: $* (seed $seed; logs in $DUO_DIR)"
	cat "$DUO_DIR"/load.* || true
	{ duo_cli status; duo_cli pool list; duo_cli head list; duo_cli fs list; duo_cli event list; } >"$DUO_DIR/said" 2>&1 || true
	tail -90 "$DUO_DIR/said"
	grep -v " info " "$DUO_DIR/isthmus.log" | tail -60
	exit 1
}

duo_configure
duo_start
duo_prepare >/dev/null || fail "the array cannot be made"
duo_wait 30 duo_whole || fail "the array is not whole"
head_pid=$(cut -d' ' -f1 "$DUO_DIR/run/head-head1.pid")

kinds=(iscsi.0 iscsi.1 nfs.fb nfs-unstable.fa)
start_load() { # SECONDS
	loads=()
	for kind in "${kinds[@]}"; do
		case $kind in
		iscsi.*) duo_load "${kind#*.}" "$1" "$DUO_DIR/load.$kind" ;;
		*) duo_nfs_load "${kind%.*}" "${kind#*.}" "$1" "$DUO_DIR/load.$kind" ;;
		esac
		loads+=("$duo_load_pid")
	done
}

strike() { # VICTIM WAY PID
	local other
	other=$([ "$1" = a ] && echo b || echo a)
	case $2 in
	BOTH) kill -KILL "$3" "$(duo_pid "$other")" ;;
	AFTER) # the other one dies while it takes over, or has, or has not mirrored again yet
		kill -KILL "$3"
		sleep "0.$((RANDOM % 10))$((RANDOM % 10))"
		kill -KILL "$(duo_pid "$other")" 2>/dev/null || true
		;;
	DISK) lose_disk "$1" "$3" ;;
	*) kill "-$2" "$3" ;;
	esac
}

pool_is() { duo_cli pool list --controller "$1" | grep -qE "^p$1 +$2 "; }
filled() { pool_is "$1" online && [ "$(duo_cli pool list --controller "$1" | grep -cE "^p$1 .*(rebuild|resync)")" = 0 ]; }

fill_disk() { # VICTIM: the lost disk's place gets a new one
	truncate -s "$DUO_DISK_SIZE" "$lost"
	duo_wait 10 duo_cli pool replace "p$1" "$lost" --controller "$1" || fail "p$1 cannot have $lost replaced"
}

lose_disk() { # VICTIM PID
	local first=$([ "$1" = a ] && echo 0 || echo "$DUO_POOL_DISKS")
	lost=$DUO_DIR/disk$((first + RANDOM % DUO_POOL_DISKS))
	if [ $((RANDOM % 2)) = 0 ]; then
		kill -KILL "$2"
		rm "$lost"
		return
	fi
	rm "$lost"
	duo_wait 10 pool_is "$1" degraded || fail "$lost is gone and p$1 is not degraded"
	duo_cli pool set "p$1" --rebuild-rate 20M --controller "$1"
	fill_disk "$1"
	sleep "0.$((RANDOM % 10))"
	kill -KILL "$2"
	lost=
}

whole_again() { # VICTIM WHAT: its pool has all its disks
	duo_wait 30 duo_whole || fail "$2: not whole again"
	[ "$way" = DISK ] || return 0
	[ -z "$lost" ] || { pool_is "$1" degraded || fail "$2: p$1 misses nothing"; fill_disk "$1"; }
	duo_cli pool set "p$1" --rebuild-rate 0 --controller "$1"
	duo_wait 30 filled "$1" || fail "$2: p$1 is not filled"
}

ended() { ! kill -0 "$1"; }

round() { # VICTIM WAY N
	local victim=$1 way=$2 pid out what="round $3: $2 of $1"
	pid=$(duo_pid "$victim")
	start_load "$LOAD"
	sleep "$((1 + RANDOM % 2)).$((RANDOM % 10))"
	kill -0 "$pid" || fail "$what: it has ended by itself before"
	strike "$victim" "$way" "$pid"
	for p in "${loads[@]}"; do
		wait "$p" || fail "$what: the load found something (status $?)"
	done
	loads=()
	duo_wait 5 ended "$pid" || fail "$what: pid $pid was not ended"
	whole_again "$victim" "$what"
	[ "$(cut -d' ' -f1 "$DUO_DIR/run/head-head1.pid")" = "$head_pid" ] || fail "$what: the head was restarted"
	for kind in "${kinds[@]}"; do
		out=$(tail -1 "$DUO_DIR/load.$kind")
		echo "$(date +%T) $what, $kind: $out"
		case $kind$way in
		nfs*KILL | nfs*STOP | nfs*DISK) grep -q ' 0 without an answer' <<<"$out" || fail "$what: an NFS client saw an error" ;;
		esac
		echo "$way ${kind%%[.-]*} $(sed 's/.*longest pause \([0-9.]*\) s.*/\1/' <<<"$out")" >>"$DUO_DIR/pauses"
	done
}

for ((n = 1; n <= rounds; n++)); do
	victim=$([ $((RANDOM % 2)) = 0 ] && echo a || echo b)
	ways=(KILL KILL KILL STOP BOTH AFTER)
	way=${WAY:-${ways[RANDOM % ${#ways[@]}]}}
	round "$victim" "$way" "$n"
done
# A file system whose memory went would have been mounted anew.
! grep -E 'event fs\.(failed|unavailable|corrupt)' "$DUO_DIR/isthmus.log" || fail "a file system lost something"
for f in fa fb; do duo_cli fs check $f || fail "file system $f is damaged"; done
! grep -E 'ERROR: |runtime error|check failed' "$DUO_DIR/isthmus.log" || fail "a daemon found a fault in itself"

sort -k1,2 -k3n "$DUO_DIR/pauses" | awk -v m="$MEDIAN" -v w="$WORST" '
	function tell() {
		if (!n) return
		median = v[int((n + 1) / 2)]
		printf "pauses of %s: median %.2f s, worst %.2f s, of %d\n", key, median, v[n], n
		if (key ~ /^(KILL|DISK)/ && (median > m || v[n] > w)) bad = 1
	}
	$1 " " $2 != key { tell(); n = 0; key = $1 " " $2 }
	{ v[++n] = $3 }
	END { tell(); exit bad }' || fail "a pause was too long"
