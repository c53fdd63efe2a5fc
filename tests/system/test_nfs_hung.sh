#!/usr/bin/env bash
# A head that hangs (SIGSTOP) loses its lease: it is fenced, killed, and the next process goes on with what clients have, under
# load. One that is fenced and woken again writes and answers nothing and ends. When isthmusd stood still as well, or it is
# the controller that hangs, nobody is replaced. HUNG_ROUNDS (2).
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=$top/build/release
DEMO_DIR=$(mktemp -d /tmp/isthmus-hung.XXXXXX)
DEMO_DISK_SIZE=512M DEMO_FS_SIZE=256M DEMO_LUN_SIZE=64M DEMO_CACHE=64MiB DEMO_RPCBIND=off
DEMO_NFS_PORT=${DEMO_NFS_PORT:-18570} DEMO_ISCSI_PORT=${DEMO_ISCSI_PORT:-18580}
DEMO_HEAD_EXTRA="    durable_state: on"
. "$top/tests/system/demo.sh"
stopped=() client='' load=''
trap 'for p in "${stopped[@]}"; do kill -CONT "$p" 2>/dev/null || true; done; kill $client $load 2>/dev/null || true; demo_stop || true; demo_remove' EXIT
rounds=${HUNG_ROUNDS:-2}
wrong() { echo "wrong: $*"; cat "$DEMO_DIR"/out* || true; tail -30 "$DEMO_DIR/isthmus.log"; exit 1; }
lock() { "$build/tests/tools/nlm_lock" 127.0.0.1 "$(demo_nfs_port)" $DEMO_EXPORT nlm "$@"; }
events() { demo_cli event list --count 400; }
head_is_not() { # PID: within 10 s
	for ((j = 0; j < 200; j++)); do
		p=$(demo_pid head-head1) || true
		[ -z "$p" ] || [ "$p" = "$1" ] || return 0
		sleep 0.05
	done
	return 1
}
demo_start
demo_prepare >/dev/null
demo_wait_served 20

# Not its own fault: isthmusd stood still with it, or the controller does not answer.
head=$(demo_pid head-head1) sup=$(demo_pid isthmusd)
stopped=("$sup" "$head")
kill -STOP "$sup" "$head"
sleep 2.7
kill -CONT "$sup"
sleep 0.5
kill -CONT "$head"
stopped=("$(demo_pid controller-a)")
kill -STOP "${stopped[0]}"
sleep 2.7
kill -CONT "${stopped[0]}"
stopped=()
[ "$(demo_pid head-head1)" = "$head" ] || wrong "a head was replaced that did not hang"

mkfifo "$DEMO_DIR/go"
"$build/tests/tools/nfs4_successor" "$(demo_nfs_port)" $DEMO_EXPORT "$((rounds + 1))" <"$DEMO_DIR/go" >"$DEMO_DIR/out" 2>&1 &
client=$!
exec 5>"$DEMO_DIR/go"
timeout 120 "$build/tests/tools/oracle" nfs "$(demo_nfs_url)" 100 2 >"$DEMO_DIR/out.load" 2>&1 &
load=$!
[ "$(lock one try 1 0 100)" = granted ] || wrong "no lock by version 3"
[ "$(lock three try 1 1000 100)" = granted ] || wrong "no lock by version 3 for another"
for ((i = 1; i <= rounds + 1; i++)); do
	for ((j = 0; j < 200; j++)); do
		[ "$(grep -c ready "$DEMO_DIR/out")" -ge "$i" ] && break
		kill -0 $client 2>/dev/null || wrong "the client ended in round $i"
		sleep 0.05
	done
	old=$(demo_pid head-head1)
	stopped=("$old")
	kill -STOP "$old"
	[ $i -gt $rounds ] || echo go >&5
	if [ $i -gt $rounds ]; then # woken before it is killed
		demo_cli head fence head1 >/dev/null || wrong "head fence"
		kill -CONT "$old"
	fi
	head_is_not "$old" || wrong "nothing follows the head that hangs"
	stopped=()
	[ $i -le $rounds ] || echo go >&5
	[ "$(lock two try 1 50 1)" = denied ] || wrong "a lock was stolen in round $i"
	[ "$(lock two try 1 1050 1)" = denied ] || wrong "another's lock was stolen in round $i"
	[ "$(lock one try 1 $((200 + i)) 1)" = granted ] || wrong "no new lock in round $i"
done
wait $client || wrong "the client"
sleep 0.5
kill $load # its last checks
wait $load || wrong "the load"
grep -q ', 0 wrong' "$DEMO_DIR/out.load" || wrong "the load"
tail -1 "$DEMO_DIR/out"
[ "$(lock one unlock 1 0 100)" = granted ] || wrong "the lock is not given up"
[ "$(lock two try 1 50 1)" = granted ] || wrong "the lock that was given up"
events >"$DEMO_DIR/out.events"
[ "$(grep -c 'has given no sign of life' "$DEMO_DIR/out.events")" -eq "$rounds" ] || wrong "hangs told"
[ "$(grep -c 'head head1 was fenced: it can write nothing more' "$DEMO_DIR/out.events")" -eq $((rounds + 1)) ] || wrong "fences told"
[ "$(grep -c "exited with code 3" "$DEMO_DIR/out.events")" -eq 1 ] || wrong "the one that was woken did not end by itself"
if grep -q 'was told of the restart' "$DEMO_DIR/isthmus.log"; then wrong "clients were told to reclaim"; fi
if grep 'ledger\.' "$DEMO_DIR/out.events"; then wrong "the ledger"; fi
demo_cli fs check demo >/dev/null || wrong "fs check"
exit 0
