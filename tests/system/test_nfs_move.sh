#!/usr/bin/env bash
# Services move between the heads of a group, by command and because one is disabled, under load: sessions, opens and locks go
# on, nobody is refused, nothing is lost; killed in the middle of a move as well. Two services are lost at once with their
# controller. MOVE_ROUNDS (4).
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=$top/build/release
DEMO_DIR=$(mktemp -d /tmp/isthmus-move.XXXXXX)
DEMO_DISK_SIZE=512M DEMO_FS_SIZE=128M DEMO_LUN_SIZE=64M DEMO_CACHE=64MiB DEMO_RPCBIND=off
DEMO_NFS_PORT=${DEMO_NFS_PORT:-18670} DEMO_ISCSI_PORT=${DEMO_ISCSI_PORT:-18690}
. "$top/tests/system/demo.sh"
port2=$(demo_pick_port 18680 14900)
DEMO_HEAD_EXTRA="    durable_state: on
  - {name: head2, group: g1, controller: a, nfs_port: $port2, mount_port: 0, rpcbind: off, durable_state: on}"
client='' load=''
cleanup() {
	local p
	kill $client $load 2>/dev/null || true
	demo_stop || true
	for p in "$DEMO_DIR"/run/*.pid; do # of whom a killed isthmusd left
		[ ! -e "$p" ] || kill -9 "$(cut -d' ' -f1 "$p" 2>/dev/null)" 2>/dev/null || true
	done
	demo_remove
}
trap cleanup EXIT
rounds=${MOVE_ROUNDS:-4}
wrong() { echo "wrong: $*"; cat "$DEMO_DIR"/out* || true; tail -30 "$DEMO_DIR/isthmus.log"; exit 1; }
lock() { "$build/tests/tools/nlm_lock" 127.0.0.1 "$(demo_nfs_port)" $DEMO_EXPORT nlm "$@"; }
head_cli() { demo_cli head "$@" >"$DEMO_DIR/out.cli" 2>&1 || wrong "head $*"; }
runs_at() { demo_cli head list | grep -q "^$1  *$2 .* up "; }
demo_start
demo_prepare >/dev/null
demo_cli fs create other --pool main --size 64M --head head2 >/dev/null
demo_cli export add /other --fs other --client '*:rw,no_root_squash' >/dev/null
demo_wait_served 20
mkfifo "$DEMO_DIR/go"
"$build/tests/tools/nfs4_successor" "$(demo_nfs_port)" $DEMO_EXPORT "$((rounds + 2))" <"$DEMO_DIR/go" >"$DEMO_DIR/out" 2>&1 &
client=$!
exec 5>"$DEMO_DIR/go"
timeout 3600 "$build/tests/tools/oracle" nfs "$(demo_nfs_url)" 3500 2 >"$DEMO_DIR/out.load" 2>&1 &
load=$!
[ "$(lock one try 1 0 100)" = granted ] || wrong "no lock by version 3"
round() { # N: clients go on
	echo go >&5
	[ "$(lock two try 1 50 1)" = denied ] || wrong "a lock was stolen in round $1"
	[ "$(lock one try 1 $((200 + $1)) 1)" = granted ] || wrong "no new lock in round $1"
}
ready() { # N
	for ((j = 0; j < 200; j++)); do
		[ "$(grep -c ready "$DEMO_DIR/out")" -ge "$1" ] && return
		kill -0 $client 2>/dev/null || break
		sleep 0.05
	done
	wrong "the client in round $1"
}
for ((i = 1; i <= rounds; i++)); do
	ready $i
	case $((i % 4)) in
	1) head_cli move head1 head2 && runs_at head1 head2 || wrong "not at head2" ;;
	2) head_cli return head1 && runs_at head1 head1 || wrong "not at home" ;;
	3) head_cli disable head1 && runs_at head1 head2 || wrong "not at head2, though head1 is disabled" ;;
	0) head_cli enable head1 && runs_at head1 head1 || wrong "not at home, though head1 is enabled" ;;
	esac
	round $i
done
# Killed in the middle of a move: it comes up where it was to go.
ready $((rounds + 1))
demo_cli head move head1 head2 >"$DEMO_DIR/out.cli" 2>&1 &
move=$!
kill -9 "$(demo_pid head-head1)"
wait $move || wrong "a move with a kill"
runs_at head1 head2 || wrong "not at head2 after the kill"
round $((rounds + 1))
# Everybody at once.
ready $((rounds + 2))
before=$(demo_pid isthmusd)
kill -9 "$(demo_pid head-head1)" "$(demo_pid head-head2)" "$(demo_pid controller-a)" "$before"
for ((j = 0; j < 100; j++)); do # nobody holds the sockets meanwhile, once the dead have let go of them
	[ "$(demo_pid isthmusd || echo "$before")" = "$before" ] || demo_port_free "$(demo_nfs_port)" || break
	sleep 0.1
done
round $((rounds + 2))
wait $client || wrong "the client"
sleep 0.5
kill $load # its last checks
wait $load || wrong "the load"
grep -q ', 0 wrong' "$DEMO_DIR/out.load" || wrong "the load"
tail -1 "$DEMO_DIR/out"
tail -1 "$DEMO_DIR/out.load"
for ((j = 0; j < 100; j++)); do
	runs_at head1 head2 && runs_at head2 head2 && break
	sleep 0.1
done
runs_at head1 head2 || wrong "where head1 runs was forgotten"
demo_cli event list --count 400 >"$DEMO_DIR/out.events"
if grep -q 'was told of the restart' "$DEMO_DIR/isthmus.log"; then wrong "clients were told to reclaim"; fi
if grep 'ledger\.' "$DEMO_DIR/out.events"; then wrong "the ledger"; fi
exit 0
