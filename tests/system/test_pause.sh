#!/usr/bin/env bash
# Head and controller are stopped (SIGSTOP) for some seconds under load, one by one and together:
# clients pause and go on over the same connections, no request ends with an error, nothing is
# lost, and isthmusd says which of them does not answer.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
: "${build:=$top/build/release}"
DEMO_DIR=$(mktemp -d /tmp/isthmus-pause.XXXXXX)
DEMO_DISK_SIZE=256M DEMO_FS_SIZE=64M DEMO_LUN_SIZE=64M DEMO_CACHE=64MiB DEMO_RPCBIND=off
DEMO_NFS_PORT=23300 DEMO_ISCSI_PORT=23310 DEMO_ARRAY_EXTRA="  watchdog: 1"
DEMO_HEAD_EXTRA="    head_lease: 0"
. "$top/tests/system/demo.sh"
out=$DEMO_DIR/oracle
paused=()
trap 'for p in "${paused[@]}"; do kill -CONT "$p" 2>/dev/null || true; done; demo_stop || true; demo_remove' EXIT
fail() { echo "FAILED: $*"; cat "$out".* || true; tail -30 "$DEMO_DIR/isthmus.log"; exit 1; }

demo_start
demo_prepare >/dev/null
demo_wait_served 20
controller=$(demo_pid controller-a) head=$(demo_pid head-head1)
load() { timeout 120 "$build/tests/tools/oracle" "$1" "$2" 24 2 >"$out.$1" 2>&1; }
load nfs "$(demo_nfs_url)" & a=$!
load nfs-unstable "$(demo_nfs_url)" & b=$!
load iscsi "$(demo_iscsi_url)" & c=$!
sleep 1

pause() { # PID...: stopped for longer than the watchdog allows
	paused=("$@")
	kill -STOP "$@"
	sleep 3
	demo_cli status >"$DEMO_DIR/status" 2>&1 || true
	kill -CONT "$@"
	paused=()
	for p in "$@"; do
		grep -q "pid $p, does not answer" "$DEMO_DIR/status" || fail "status does not say that $p hangs"
	done
	sleep 2
}
pause "$head"
pause "$controller"
pause "$controller" "$head"

wait $a || fail "nfs"
wait $b || fail "nfs-unstable"
wait $c || fail "iscsi"
cat "$out".*
for o in "$out".*; do
	grep -q ', 0 without an answer, .*, 0 wrong, 2 connections' "$o" || fail "not as if nothing had happened: $o"
done
[ "$(demo_pid controller-a) $(demo_pid head-head1)" = "$controller $head" ] || fail "a process was restarted"
for i in $(seq 50); do
	demo_cli event list --count 200 >"$DEMO_DIR/events"
	[ "$(grep -c 'process.answers' "$DEMO_DIR/events")" -lt 4 ] || break
	sleep 0.1
done
[ "$(grep -c 'process.hung' "$DEMO_DIR/events")" -eq 4 ] || fail "hangs told: $(grep process. "$DEMO_DIR/events")"
[ "$(grep -c 'process.answers' "$DEMO_DIR/events")" -eq 4 ] || fail "answers told: $(grep process. "$DEMO_DIR/events")"
demo_cli fs check demo >/dev/null || fail "fs check"
echo "pauses: clients waited and went on"
