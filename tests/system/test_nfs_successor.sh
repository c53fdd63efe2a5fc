#!/usr/bin/env bash
# A head is killed under its clients again and again: sessions, opens and locks of version 4.1 and locks of NLM go on without a
# grace period, nobody steals a lock, what was done is not done again; nobody is refused meanwhile. SUCCESSOR_ROUNDS (6).
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=$top/build/release
DEMO_DIR=$(mktemp -d /tmp/isthmus-successor.XXXXXX)
DEMO_DISK_SIZE=512M DEMO_FS_SIZE=256M DEMO_LUN_SIZE=64M DEMO_CACHE=64MiB DEMO_RPCBIND=off
DEMO_NFS_PORT=${DEMO_NFS_PORT:-18470} DEMO_ISCSI_PORT=${DEMO_ISCSI_PORT:-18480}
DEMO_HEAD_EXTRA="    durable_state: on"
. "$top/tests/system/demo.sh"
trap 'demo_stop || true; demo_remove' EXIT
rounds=${SUCCESSOR_ROUNDS:-6}
wrong() { echo "wrong: $*"; cat "$DEMO_DIR/out"; tail -20 "$DEMO_DIR/isthmus.log"; exit 1; }
lock() { "$build/tests/tools/nlm_lock" 127.0.0.1 "$(demo_nfs_port)" $DEMO_EXPORT nlm "$@"; }
demo_start
demo_prepare
demo_wait_served 20
mkfifo "$DEMO_DIR/go"
"$build/tests/tools/nfs4_successor" "$(demo_nfs_port)" $DEMO_EXPORT "$rounds" <"$DEMO_DIR/go" >"$DEMO_DIR/out" 2>&1 &
client=$!
exec 5>"$DEMO_DIR/go"
[ "$(lock one try 1 0 100)" = granted ] || wrong "no lock by version 3"
for ((i = 1; i <= rounds; i++)); do
	for ((j = 0; j < 200; j++)); do
		[ "$(grep -c ready "$DEMO_DIR/out")" -ge "$i" ] && break
		kill -0 $client 2>/dev/null || wrong "the client ended in round $i"
		sleep 0.05
	done
	kill -9 "$(demo_pid head-head1)"
	echo go >&5
	[ "$(lock two try 1 50 1)" = denied ] || wrong "a lock was stolen in round $i"
	[ "$(lock one try 1 $((200 + i)) 1)" = granted ] || wrong "no new lock in round $i"
	sleep 1
done
wait $client || wrong "the client"
tail -1 "$DEMO_DIR/out"
[ "$(lock one unlock 1 0 100)" = granted ] || wrong "the lock is not given up"
[ "$(lock two try 1 50 1)" = granted ] || wrong "the lock that was given up"
if grep -q 'was told of the restart' "$DEMO_DIR/isthmus.log"; then wrong "clients were told to reclaim"; fi
demo_cli event list | grep -q 'ledger\.' && wrong "$(demo_cli event list | grep 'ledger\.')"
exit 0
