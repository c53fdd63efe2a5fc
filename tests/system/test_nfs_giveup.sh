#!/usr/bin/env bash
# A head that ends again and again with what its clients had gives that up: they are told, and reclaim it in a grace period.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=$top/build/release
DEMO_DIR=$(mktemp -d /tmp/isthmus-giveup.XXXXXX)
DEMO_DISK_SIZE=512M DEMO_FS_SIZE=256M DEMO_LUN_SIZE=64M DEMO_CACHE=64MiB DEMO_RPCBIND=off
DEMO_NFS_PORT=${DEMO_NFS_PORT:-18570} DEMO_ISCSI_PORT=${DEMO_ISCSI_PORT:-18580}
DEMO_HEAD_EXTRA="    durable_state: on
    lock_grace: 5"
. "$top/tests/system/demo.sh"
trap 'demo_stop || true; demo_remove' EXIT
wrong() { echo "wrong: $*"; tail -20 "$DEMO_DIR/isthmus.log"; exit 1; }
lock() { "$build/tests/tools/nlm_lock" 127.0.0.1 "$(demo_nfs_port)" $DEMO_EXPORT nlm "$@"; }
served() { grep -c 'head: in service' "$DEMO_DIR/isthmus.log" || true; }
given_up() { demo_cli event list 2>/dev/null | grep -q 'ledger\.given_up'; }
demo_start
demo_prepare
demo_wait_served 20
[ "$(lock one try 1 0 100)" = granted ] || wrong "no lock"
for ((i = 0; i < 16; i++)); do
	n=$(served)
	kill -9 "$(demo_pid head-head1)" || true
	for ((j = 0; j < 400 && $(served) == n; j++)); do sleep 0.05; done
	given_up && break
done
given_up || wrong "it is not given up after $i rounds"
[ "$i" -ge 9 ] || wrong "it is given up after $i rounds"
grep -q 'grace_s=5' "$DEMO_DIR/isthmus.log" || wrong "no grace period"
[ "$(lock one reclaim 1 0 100)" = granted ] || wrong "it cannot be reclaimed"
for ((j = 0; j < 200; j++)); do
	r=$(lock two try 1 200 1)
	[ "$r" = granted ] && break
	sleep 0.1
done
[ "$r" = granted ] || wrong "nothing new is granted"
[ "$(lock two try 1 50 1)" = denied ] || wrong "a lock was stolen"
