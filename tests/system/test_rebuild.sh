#!/usr/bin/env bash
# Lost disks are replaced under load: a spare by itself, another disk by command, the same disk
# once more; the controller is killed in the middle of it. Nobody sees an error, and afterwards any
# other disk may go.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
: "${build:=$top/build/release}"
DEMO_DIR=$(mktemp -d /tmp/isthmus-rebuild.XXXXXX)
DEMO_DISKS=6 DEMO_POOL_DISKS=4 DEMO_DISK_SIZE=256M DEMO_FS_SIZE=64M DEMO_LUN_SIZE=64M
DEMO_CACHE=64MiB DEMO_RPCBIND=off DEMO_NFS_PORT=23620 DEMO_ISCSI_PORT=23630
. "$top/tests/system/demo.sh"
trap 'demo_stop || true; demo_remove' EXIT
disk() { echo "$DEMO_DISK_DIR/disk$1"; }
fail() { echo "FAILED: $DEMO_LEVEL: $*"; tail -30 "$DEMO_DIR/isthmus.log"; demo_cli disk list || true; demo_cli pool list || true; exit 1; }
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
working() { demo_cli pool list | grep -qE "^main .*(rebuild|resync|scrub)"; }
taken() { demo_cli event list | grep -q "spare_taken.*$1"; }
idle() { ! working; }
rebuilt() { within 30 pool_is online && within 5 idle || fail "$1"; }
lose() { # DISK
	rm "$(disk "$1")"
	within 5 pool_is "$2" || fail "disk$1 is gone and the pool is not $2"
}

for DEMO_LEVEL in raid10 raid5 raid6; do
	echo "== $DEMO_LEVEL"
	rm -rf "$DEMO_DISK_DIR" "$DEMO_DIR/state" "${DEMO_MEM:?}"
	demo_start
	demo_prepare >/dev/null
	demo_wait_served 20
	timeout 100 "$build/tests/tools/oracle" iscsi "$(demo_iscsi_url)" 14 2 >"$DEMO_DIR/oracle.iscsi" 2>&1 & a=$!
	timeout 100 "$build/tests/tools/oracle" nfs "$(demo_nfs_url)" 14 2 >"$DEMO_DIR/oracle.nfs" 2>&1 & b=$!
	sleep 0.5

	demo_cli disk spare "$(disk 4)"
	rm "$(disk 1)"
	within 5 taken "$(disk 4)" || fail "the spare does not take over"
	rebuilt "the spare is not filled"
	demo_cli disk list | grep -q "^$(disk 4) *online *main" || fail "the spare is not in the pool"

	demo_cli pool set main --rebuild-rate 20M
	! demo_cli pool replace main "$(disk 3)" "$(disk 5)" 2>"$DEMO_DIR/out" || fail "a disk in use was replaced"
	grep -q -- --force "$DEMO_DIR/out" || fail "no word of --force: $(cat "$DEMO_DIR/out")"
	! demo_cli pool replace main "$(disk 3)" "$(disk 9)" --force 2>/dev/null || fail "there is no disk9"
	pool_is online || fail "a disk was taken out for one that does not exist"
	lose 3 degraded
	demo_cli pool replace main "$(disk 3)" "$(disk 5)"
	working || fail "nothing is being filled"
	! demo_cli disk wipe "$(disk 5)" --force 2>/dev/null || fail "a disk being filled was wiped"
	kill -9 "$(demo_pid controller-a)"
	within 10 demo_cli pool set main --rebuild-rate 0 || fail "the controller is not back"
	rebuilt "the fill does not go on after a restart"

	demo_cli pool scrub main
	within 30 idle || fail "the scrub does not end"
	demo_cli event list | grep -q "scrub_done.*main.* 0 ranges" || fail "the scrub says: $(demo_cli event list | grep scrub)"
	demo_cli pool replace main "$(disk 0)" --force
	rebuilt "a disk is not filled anew"
	lose 2 degraded
	wait $a || fail "iSCSI load: $(cat "$DEMO_DIR/oracle.iscsi")"
	wait $b || fail "NFS load: $(cat "$DEMO_DIR/oracle.nfs")"
	grep -q ', 0 wrong' "$DEMO_DIR/oracle.iscsi" || fail "$(cat "$DEMO_DIR/oracle.iscsi")"
	grep -q ', 0 wrong' "$DEMO_DIR/oracle.nfs" || fail "$(cat "$DEMO_DIR/oracle.nfs")"
	demo_cli fs check demo >/dev/null || fail "fs check"
	cat "$DEMO_DIR/oracle.iscsi" "$DEMO_DIR/oracle.nfs"
	demo_stop
done
echo "lost disks replaced under load, nothing lost"
