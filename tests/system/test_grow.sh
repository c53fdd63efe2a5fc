#!/usr/bin/env bash
# A pool grows by a second RAID group under load, volumes go on in it; the controller is killed, a
# disk of the new group is lost and replaced, and nobody sees an error.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
: "${build:=$top/build/release}"
DEMO_DIR=$(mktemp -d /tmp/isthmus-grow.XXXXXX)
DEMO_DISKS=7 DEMO_POOL_DISKS=3 DEMO_LEVEL=raid5 DEMO_DISK_SIZE=192M DEMO_FS_SIZE=64M DEMO_LUN_SIZE=64M
DEMO_CACHE=64MiB DEMO_RPCBIND=off DEMO_NFS_PORT=23640 DEMO_ISCSI_PORT=23650
. "$top/tests/system/demo.sh"
trap 'demo_stop || true; demo_remove' EXIT
disk() { echo "$DEMO_DISK_DIR/disk$1"; }
fail() { echo "FAILED: $*"; tail -30 "$DEMO_DIR/isthmus.log"; demo_cli disk list || true; demo_cli pool list || true; exit 1; }
within() { # SECONDS COMMAND...
	local i n=$1
	shift
	for ((i = 0; i < n * 10; i++)); do
		! "$@" >/dev/null 2>&1 || return 0
		sleep 0.1
	done
	return 1
}
pool_is() { demo_cli pool list | grep -q "^main *$1 "; }
idle() { ! demo_cli pool list | grep -qE "^main .*(rebuild|resync|scrub)"; }
refused() { # WORD COMMAND...
	local word=$1
	shift
	! demo_cli "$@" 2>"$DEMO_DIR/out" || fail "accepted: $*"
	grep -q -- "$word" "$DEMO_DIR/out" || fail "no word of '$word': $(cat "$DEMO_DIR/out")"
}

demo_start
demo_prepare >/dev/null
demo_wait_served 20
timeout 100 "$build/tests/tools/oracle" iscsi "$(demo_iscsi_url)" 9 2 >"$DEMO_DIR/oracle.iscsi" 2>&1 & a=$!
timeout 100 "$build/tests/tools/oracle" nfs "$(demo_nfs_url)" 9 2 >"$DEMO_DIR/oracle.nfs" 2>&1 & b=$!
sleep 0.5

refused "free" volume create more --pool main --size 150M
refused "by as many at a time" pool grow main "$(disk 3)" "$(disk 4)"
refused "in a pool already" pool grow main "$(disk 2)" "$(disk 3)" "$(disk 4)"
refused "not configured" pool grow main "$(disk 3)" "$(disk 4)" "$(disk 9)"
demo_cli pool grow main "$(disk 3)" "$(disk 4)" "$(disk 5)"
demo_cli disk list | grep -q "^$(disk 5) *online *main" || fail "the disks are not the pool's"
demo_cli volume create more --pool main --size 150M || fail "the new space cannot be used"
demo_cli volume resize more 180M
kill -9 "$(demo_pid controller-a)"
within 10 pool_is online || fail "the controller is not back"
within 20 idle || fail "the resync does not end"

rm "$(disk 4)"
within 5 pool_is degraded || fail "disk4 is gone and the pool is not degraded"
demo_cli pool replace main "$(disk 4)" "$(disk 6)"
within 20 pool_is online || fail "the new disk is not filled"
within 5 idle || fail "the fill does not end"
wait $a || fail "iSCSI load: $(cat "$DEMO_DIR/oracle.iscsi")"
wait $b || fail "NFS load: $(cat "$DEMO_DIR/oracle.nfs")"
grep -q ', 0 wrong' "$DEMO_DIR/oracle.iscsi" || fail "$(cat "$DEMO_DIR/oracle.iscsi")"
grep -q ', 0 wrong' "$DEMO_DIR/oracle.nfs" || fail "$(cat "$DEMO_DIR/oracle.nfs")"
demo_cli pool scrub main
within 20 idle || fail "the scrub does not end"
demo_cli event list | grep -q "scrub_done.*main.* 0 ranges" || fail "the scrub says: $(demo_cli event list | grep scrub)"
demo_cli fs check demo >/dev/null || fail "fs check"
cat "$DEMO_DIR/oracle.iscsi" "$DEMO_DIR/oracle.nfs"
demo_stop
echo "a pool grew under load, nothing lost"
