#!/usr/bin/env bash
# Locks of NFS clients: conflicts, waiting, `head locks`; after the head was killed the clients that
# held some are told, only reclaims are granted, then all; nobody waits when nobody held one.
# In a network of its own, with an rpcbind of its own.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=$top/build/release
rpcbind=$(command -v rpcbind || echo /usr/sbin/rpcbind)
skip() { echo "skipped: $*"; exit 0; }
if [ -z "${LOCKS_INSIDE:-}" ]; then
	[ -x "$rpcbind" ] && command -v rpcinfo >/dev/null || skip "rpcbind is not installed"
	[ "$(id -u)" = 0 ] && unshare -nm true 2>/dev/null || skip "a network namespace wants root"
	LOCKS_INSIDE=1 exec unshare -nm "$0" "$@"
fi
ip link set lo up
mount -t tmpfs none /run
DEMO_DIR=$(mktemp -d /tmp/isthmus-locks.XXXXXX)
DEMO_DISK_SIZE=512M DEMO_FS_SIZE=256M DEMO_LUN_SIZE=64M DEMO_CACHE=64MiB DEMO_RPCBIND=auto
DEMO_NFS_PORT=23900 DEMO_ISCSI_PORT=23910
DEMO_HEAD_EXTRA="    lock_grace: 8
    durable_state: off"
. "$top/tests/system/demo.sh"
wrong() { echo "WRONG: $*"; tail -20 "$DEMO_DIR/isthmus.log"; exit 1; }
lock() { # STATUS CALLER OP OWNER FIRST LENGTH
	local got
	got=$("$build/tests/tools/nlm_lock" 127.0.0.1 "$(demo_nfs_port)" $DEMO_EXPORT file "${@:2}")
	[ "$got" = "$1" ] || wrong "${*:2}: $got, not $1"
}
until_is() { # SECONDS STATUS CALLER OP OWNER FIRST LENGTH
	local i got
	for ((i = 0; i < $1 * 5; i++)); do
		got=$("$build/tests/tools/nlm_lock" 127.0.0.1 "$(demo_nfs_port)" $DEMO_EXPORT file "${@:3}")
		[ "$got" = "$2" ] && return
		sleep 0.2
	done
	wrong "${*:3}: $got, not $2 in $1 s"
}
"$rpcbind" -f &
server=$!
trap 'demo_stop || true; kill $server || true; demo_remove' EXIT
demo_start
demo_prepare
demo_wait_served 20
for ((i = 0; i < 200; i++)); do
	[ "$(rpcinfo -p 127.0.0.1 2>/dev/null | awk '$1 == 100021' | wc -l)" = 6 ] && break
	sleep 0.1
done
rpcinfo -T udp 127.0.0.1 100021 4
rpcinfo -T tcp 127.0.0.1 100021 4
rpcinfo -T udp 127.0.0.1 100024 1
rpcinfo -T udp 127.0.0.1 100005 3

until_is 20 granted one try 1 0 100 # the group's state is read after service began
lock granted two try 1 100 0
lock denied two try 1 99 1
lock denied one shared 2 18446744073709551615 1
lock fbig one try 1 18446744073709551615 2
lock blocked two lock 1 0 10
lock deadlock one lock 1 100 1
demo_cli head locks | tee /dev/stderr | grep -q "waits" || wrong "head locks tells of nobody who waits"
lock granted one unlock 1 0 100
# The one who waited is called; at its address only our own lock manager answers: that it does not wait.
until_is 10 granted one test 3 5 1
demo_cli head locks | grep -q '^callbacks  *[1-9]' || wrong "nobody was called back"

kill -9 "$(demo_pid head-head1)"
sleep 1
demo_wait_served 20
until_is 10 granted two reclaim 1 100 0
lock grace one try 5 0 10
until_is 30 granted one try 5 0 10
lock denied one try 5 200 1
lock granted two unlock 1 0 0
lock granted one unlock 5 0 0
for ((i = 0; i < 300; i++)); do
	grep -q 'nsm: client=two address=127.0.0.1 was told' "$DEMO_DIR/isthmus.log" && break
	sleep 0.1
done
grep -q 'nsm: client=two address=127.0.0.1 was told' "$DEMO_DIR/isthmus.log" || wrong "a client was not told"
grep -o 'nlm: state=[0-9]*' "$DEMO_DIR/isthmus.log" | tail -1 | grep -q '[13579]$' || wrong "an even state number"
demo_cli --json head locks | "$build/tests/system/json_check" || wrong "no JSON"
