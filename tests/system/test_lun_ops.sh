#!/usr/bin/env bash
# LUNs are changed while a client works on them: limits set and ended, kept over kill -9 of the
# controller; growing, read-only, removal with commands in flight; latency and stages are told.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
: "${build:=$top/build/release}"
DEMO_DIR=$(mktemp -d /tmp/isthmus-lunops.XXXXXX)
DEMO_DISK_SIZE=1G DEMO_FS_SIZE=64M DEMO_LUN_SIZE=64M DEMO_CACHE=64MiB DEMO_RPCBIND=off
: "${DEMO_NFS_PORT:=14089}" "${DEMO_ISCSI_PORT:=14310}"
. "$top/tests/system/demo.sh"
load_pid=
finish() {
	[ "$BASHPID" = $$ ] || return 0 # a load that is killed before it is qemu-img
	[ -z "$load_pid" ] || kill "$load_pid" 2>/dev/null || true
	demo_stop || true
	demo_remove
}
trap finish EXIT
fail() { echo "FAILED: $*" >&2; cat "$DEMO_DIR/load" >&2 2>/dev/null; exit 1; }
step() { echo "-- $*"; }
json() { demo_cli --json "$@" >"$DEMO_DIR/json" && "$build/tests/system/json_check" <"$DEMO_DIR/json" || fail "--json $*"; }
wait_for() { # SECONDS COMMAND...
	local i n=$(($1 * 10)); shift
	for ((i = 0; i < n; i++)); do "$@" && return; sleep 0.1; done
	return 1
}
slowed() { demo_cli status | grep -q 'is slowed by its limit (.*): [1-9][0-9]* commands wait now'; }
# COUNT [OPTIONS]: so many requests, 32 at once, in the background
load() {
	local n=$1; shift
	qemu-img bench -f raw -c "$n" -d 32 -s 4096 "$@" "$(demo_iscsi_url)" >"$DEMO_DIR/load" 2>&1 &
	load_pid=$!
}
load_gone() { ! kill -0 "$load_pid" 2>/dev/null; }
load_end() {
	local rc=0
	wait_for 120 load_gone || fail "the load hangs"
	wait "$load_pid" 2>/dev/null || rc=$?
	load_pid=
	return $rc
}
no_session() { ! demo_cli session list | grep -q $DEMO_IQN; }

demo_start
demo_prepare >/dev/null

step "a limit holds back, says so, and ends for those that wait"
demo_cli lun set $DEMO_IQN 0 --iops 50 --iops-burst 5
load 4000 -w
wait_for 30 slowed || fail "status does not tell of the limit"
json status
json lun latency $DEMO_IQN 0
demo_cli lun set $DEMO_IQN 0 --iops 0
load_end || fail "the load after the limit"
json lun stats
grep -q '"writes": *[1-9]' "$DEMO_DIR/json" || fail "no writes are counted"
json lun latency $DEMO_IQN 0
grep -q '"stage": *"limit"' "$DEMO_DIR/json" || fail "no time in the stage limit"
demo_cli --json top --once >"$DEMO_DIR/json" && "$build/tests/system/json_check" <"$DEMO_DIR/json" || fail "top --once"
grep -q '"read_p99"' "$DEMO_DIR/json" || fail "top lacks percentiles"

step "a limit outlives the controller"
demo_cli lun set $DEMO_IQN 0 --iops 50 --bandwidth 1MiB
load 100000 -w
wait_for 30 slowed || fail "no limit before the kill"
kill -9 "$(demo_pid controller-a)"
kill "$load_pid" && load_end || true
limit_is_kept() { demo_cli lun list 2>/dev/null | grep -q '50 IOPS, 1.0 MiB/s'; }
wait_for 30 limit_is_kept || fail "the limit is gone: $(demo_cli lun list)"
load 100000
wait_for 30 slowed || fail "the limit is not in force after a restart"
step "a client that leaves takes its waiting commands along"
kill -9 "$load_pid" && load_end || true
wait_for 20 no_session || fail "its session stays"
demo_cli lun set $DEMO_IQN 0 --iops 0 --bandwidth 0
demo_cli lun list | grep -q IOPS && fail "the limit stays"

step "grown in use; shrunk never"
load 200000 -w
demo_cli volume resize scratch 96M
load_end || fail "the load while the volume grew"
qemu-img info "$(demo_iscsi_url)" | grep -q '96 MiB' || fail "the new size"
demo_cli volume resize scratch 64M >"$DEMO_DIR/out" 2>&1 && fail "a volume was shrunk"
grep -q 'does not shrink' "$DEMO_DIR/out" || fail "the refusal does not say why"

step "read-only in use, and writable again"
load 1000000 -w
sleep 0.5
demo_cli lun set $DEMO_IQN 0 --read-only yes
load_end && fail "writes to a read-only LUN"
load 1000 && load_end || fail "reads of a read-only LUN"
demo_cli lun set $DEMO_IQN 0 --read-only no
load 1000 -w && load_end || fail "writes again"

step "removed with commands in flight, some held by a limit"
demo_cli lun set $DEMO_IQN 0 --iops 100
load 1000000 -w
wait_for 30 slowed || fail "no load"
demo_cli lun remove $DEMO_IQN 0
load_end && fail "a LUN that was removed goes on"
demo_cli volume remove scratch || fail "the volume is still held"
demo_cli --json volume list | grep -q scratch && fail "the volume stays"
step "all passed"
