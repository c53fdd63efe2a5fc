#!/usr/bin/env bash
# Heads of two groups are lost in every combination, under clients with sessions, opens and locks: several at once, one during
# another's takeover, one during its own, with the controller, with isthmusd. Nothing is reclaimed, stolen or done twice.
# TAKEOVER_ROUNDS (1): times that all of it is done.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=$top/build/release
DEMO_DIR=$(mktemp -d /tmp/isthmus-takeover.XXXXXX)
DEMO_DISK_SIZE=768M DEMO_FS_SIZE=64M DEMO_LUN_SIZE=64M DEMO_CACHE=64MiB DEMO_RPCBIND=off
DEMO_NFS_PORT=${DEMO_NFS_PORT:-18770} DEMO_ISCSI_PORT=${DEMO_ISCSI_PORT:-18790}
. "$top/tests/system/demo.sh"
port2=$(demo_pick_port 18780 14000) port3=$(demo_pick_port 18781 14300) port4=$(demo_pick_port 18782 14600)
DEMO_HEAD_EXTRA="    durable_state: on
  - {name: head2, group: g1, controller: a, nfs_port: $port2, mount_port: 0, rpcbind: off, durable_state: on}
  - {name: head3, group: g2, controller: a, nfs_port: $port3, mount_port: 0, rpcbind: off, durable_state: on}
  - {name: head4, group: g2, controller: a, nfs_port: $port4, mount_port: 0, rpcbind: off, durable_state: on}"
clients=() load=
cleanup() {
	local p
	kill "${clients[@]}" $load 2>/dev/null || true
	demo_stop || true
	for p in "$DEMO_DIR"/run/*.pid; do # of whom a killed isthmusd left
		[ ! -e "$p" ] || kill -9 "$(cut -d' ' -f1 "$p" 2>/dev/null)" 2>/dev/null || true
	done
	demo_remove
}
trap cleanup EXIT
rounds=$((7 * ${TAKEOVER_ROUNDS:-1}))
wrong() { echo "wrong: $*"; tail -n 5 "$DEMO_DIR"/out* || true; tail -40 "$DEMO_DIR/isthmus.log"; exit 1; }
pid_of() { demo_pid "$1" || true; } # none between two processes
pids() { for p in "$@"; do pid_of "$p"; done; }
lose() { # shellcheck disable=SC2046
	kill -9 $(pids "$@") 2>/dev/null || true # one may be gone by itself by now
}
wait_new() { # NAME PID: its next process
	for ((j = 0; j < 500; j++)); do
		p=$(pid_of "$1")
		[ -z "$p" ] || [ "$p" = "$2" ] || return 0
		sleep 0.01
	done
	wrong "nothing follows $1"
}
demo_start
demo_prepare >/dev/null
demo_cli group create g2 --pool main --size 64MiB >/dev/null
for n in 2 3 4; do
	demo_cli fs create fs$n --pool main --size 64M --head head$n >/dev/null
	demo_cli export add /fs$n --fs fs$n --client '*:rw,no_root_squash' >/dev/null
done
demo_wait_served 20
ports=("$(demo_nfs_port)" "$port2" "$port3" "$port4") exports=($DEMO_EXPORT /fs2 /fs3 /fs4) clients=()
for n in 0 1 2 3; do
	mkfifo "$DEMO_DIR/go$n"
	"$build/tests/tools/nfs4_successor" "${ports[n]}" "${exports[n]}" $rounds <"$DEMO_DIR/go$n" >"$DEMO_DIR/out$n" 2>&1 &
	clients+=($!)
	eval "exec $((5 + n))>\"$DEMO_DIR/go$n\""
done
timeout 3600 "$build/tests/tools/oracle" nfs "$(demo_nfs_url)" 3500 2 >"$DEMO_DIR/out.load" 2>&1 &
load=$!
for ((i = 0; i < rounds; i++)); do
	for n in 0 1 2 3; do
		for ((j = 0; j < 200; j++)); do
			[ "$(grep -c ready "$DEMO_DIR/out$n")" -gt $i ] && break
			kill -0 "${clients[n]}" 2>/dev/null || wrong "client $n ended in round $i"
			sleep 0.05
		done
	done
	# What lived for two seconds is not suspected of dying of its clients' records.
	[ $((i % 7)) -ne 6 ] || [ $i -eq $((rounds - 1)) ] || sleep 2.5
	old=$(pid_of head-head1)
	case $((i % 7)) in
	0) lose head-head1 head-head2 ;;
	1) lose head-head1 head-head2 head-head3 head-head4 ;;
	2) # during its own takeover, and again
		lose head-head1
		wait_new head-head1 "$old"
		sleep 0.0$((RANDOM % 10))
		old=$(pid_of head-head1)
		lose head-head1
		wait_new head-head1 "$old"
		lose head-head1
		;;
	3) # another during it
		lose head-head1
		wait_new head-head1 "$old"
		lose head-head2 head-head3
		;;
	4) lose head-head1 head-head3 controller-a ;;
	5) lose controller-a; sleep 0.0$((RANDOM % 10)); lose head-head1 ;;
	6) # sockets are bound anew
		lose isthmusd head-head1
		wait_new head-head1 "$old"
		;;
	esac
	for n in 0 1 2 3; do
		for ((j = 0; j < 200; j++)); do # without isthmusd nobody holds the sockets
			demo_port_free "${ports[n]}" || break
			sleep 0.05
		done
		echo go >&$((5 + n))
	done
done
for n in 0 1 2 3; do
	wait "${clients[n]}" || wrong "client $n"
	tail -1 "$DEMO_DIR/out$n"
done
sleep 0.5
kill $load # its last checks
wait $load || wrong "the load"
grep -q ', 0 wrong' "$DEMO_DIR/out.load" || wrong "the load"
tail -1 "$DEMO_DIR/out.load"
demo_cli event list --count 1000 >"$DEMO_DIR/out.events"
if grep -q 'was told of the restart' "$DEMO_DIR/isthmus.log"; then wrong "clients were told to reclaim"; fi
if grep 'ledger\.' "$DEMO_DIR/out.events"; then wrong "the ledger"; fi
exit 0
