#!/usr/bin/env bash
# A thousand NFSv4 clients (4.0, 4.1, 4.2) and a thousand of version 3 with locks at one head: what
# they hold, what that costs, the head killed under them, and nothing left when they are gone; see
# nfs_crowd.c. V4=4000 V3=4000 make it bigger; more are not kept.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
: "${build:=$top/build/release}" "${V4:=1000}" "${V3:=1000}" "${CROWD_DIR:=/dev/shm}"
: "${LOCK_GRACE:=$((V4 > 1000 ? V4 / 150 : 5))}" # leases too: those that have nothing yet must not go meanwhile
cli() { "$build/isthmus" --config "$DEMO_DIR/isthmus.yaml" "$@"; }
wrong() { echo "WRONG: $*"; exit 1; }
number() { # KEY [ANSWER]: the first of that name, of `head locks` in $locks
	grep -o "\"$1\": *[0-9]*" <<<"${2:-$locks}" | sed -n '1s/.*[: ]//p'
}
if [ "${1:-}" = look ]; then
	locks=$(cli --json head locks head1)
	rows=$(grep -o '"sessions"' <<<"$locks" | wc -l) || true
	waited=0
	case $2 in
	modern)
		[ "$rows" -eq "$3" ] || wrong "$rows NFSv4 clients, not $3"
		grep -q '"client": *"client4-0"' <<<"$locks" || wrong "a client is not called by its name"
		;;
	all)
		status=$(cli --json head status head1)
		[ "$(number connections "$status")" -ge $(($3 + $4)) ] || wrong "connections: $status"
		[ "$(number max_connections "$status")" -eq 10000 ] || wrong "max_connections: $status"
		[ "$(number files "$status")" -ge "$3" ] || wrong "files: $status"
		[ "$(number at_most "$status")" -lt 16777216 ] || wrong "memory: $status"
		[ "$(number memory "$status")" -le 18874368 ] || wrong "memory: $status" # and spares
		[ "$(number hits "$status")" -gt "$3" ] || wrong "hits: $status"
		grep -q '"v4 COMPOUND"' <<<"$status" || wrong "compounds: $status"
		[ "$rows" -eq "$3" ] || wrong "$rows NFSv4 clients, not $3"
		[ "$(number locks)" -eq $(($3 + $4)) ] || wrong "$(number locks) locks"
		;;
	locks)
		[ "$(number locks)" -eq 0 ] || wrong "$(number locks) locks are left"
		;;
	none) # those that vanished go with their leases
		until [ "$(number locks)" -eq 0 ] && [ "$rows" -eq 0 ]; do
			[ $((waited++)) -lt 200 ] || wrong "$(number locks) locks, $rows clients are left"
			sleep 0.1
			locks=$(cli --json head locks head1)
			rows=$(grep -o '"sessions"' <<<"$locks" | wc -l) || true
		done
		;;
	esac
	exit 0
fi
export DEMO_DIR build
DEMO_DIR=$(mktemp -d "$CROWD_DIR/isthmus-nfs-crowd.XXXXXX")
DEMO_DISK_SIZE=1G DEMO_FS_SIZE=256M DEMO_LUN_SIZE=64M DEMO_CACHE=64MiB DEMO_RPCBIND=off
: "${DEMO_NFS_PORT:=23420}" "${DEMO_ISCSI_PORT:=23421}"
DEMO_HEAD_EXTRA="    nfs4: on
    durable_state: off
    lock_grace: $LOCK_GRACE
    metadata_memory: 16MiB
    max_connections: 10000"
. "$top/tests/system/demo.sh"
trap 'demo_stop || true; demo_remove' EXIT
demo_start
demo_prepare >/dev/null
demo_wait_served 10
timeout $((60 + (V4 + V3) / 20)) "$build/tests/system/nfs_crowd" "$(demo_nfs_port)" $DEMO_EXPORT \
	"$DEMO_DIR/run/head-head1.pid" "$V4" "$V3" "'$0' look" || { tail -20 "$DEMO_DIR/isthmus.log"; exit 1; }
