#!/usr/bin/env bash
# Locks of the Linux kernel's NFSv3 client (and its quota(1), by rpcbind): two mounts in a QEMU guest with rpcbind and statd, another
# client on the host; waiting, giving up, and what lives on after the head was killed (DURABLE=off: is reclaimed); files lent to a client of version 4.0. In a network of its own,
# for the head calls the guest back.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=$top/build/release
rpcbind=$(command -v rpcbind || echo /usr/sbin/rpcbind)
skip() { echo "skipped: $*"; exit 0; }
if [ -z "${LOCKS_INSIDE:-}" ]; then
	[ -x "$rpcbind" ] && [ -x /usr/sbin/rpc.statd ] || skip "rpcbind or nfs-common is not installed"
	[ -c /dev/net/tun ] || skip "no /dev/net/tun"
	[ "$(id -u)" = 0 ] && unshare -nm true 2>/dev/null || skip "a network namespace wants root"
	. "$top/tests/guest/guest.sh"
	guest_kernel # from outside: inside there is no network
	LOCKS_INSIDE=1 exec unshare -nm "$0" "$@"
fi
ip link set lo up
ip tuntap add tap0 mode tap
ip addr add 10.0.2.2/24 dev tap0
ip link set tap0 up
mount -t tmpfs none /run
DEMO_DIR=$(mktemp -d /tmp/isthmus-guest-locks.XXXXXX)
DEMO_DISK_SIZE=1G DEMO_FS_SIZE=256M DEMO_LUN_SIZE=64M DEMO_CACHE=64MiB DEMO_RPCBIND=auto
DEMO_NFS_PORT=23920 DEMO_ISCSI_PORT=23930
DEMO_HEAD_EXTRA="    durable_state: ${DURABLE:-on}
    lock_grace: 20"
. "$top/tests/system/demo.sh"
. "$top/tests/guest/guest.sh"
GUEST_TOOLS=$build/tests/tools/two_mounts
GUEST_MODULES="$GUEST_MODULES nfsv4"
GUEST_PROGRAMS="$(command -v nfsstat) $(command -v showmount) /sbin/mount.nfs $(command -v rpcinfo) /usr/sbin/rpc.statd $rpcbind $(command -v flock) $(command -v quota)"
GUEST_NETDEV="tap,id=n0,ifname=tap0,script=no,downscript=no"
lock() { "$build/tests/tools/nlm_lock" 10.0.2.2 "$(demo_nfs_port)" $DEMO_EXPORT "$1" host "$2" 1 0 0; }
marker() { until tr -d "\r" 2>/dev/null <"$guest_console" | grep -qx "HOST $1"; do sleep 0.5; done; }
host_part() { # what a line on the guest's console asks for
	local i got
	marker seen
	got=$(lock f try)
	[ "$got" = denied ] || { echo "WRONG: the guest's lock did not hold off the host: $got"; return 1; }
	lock seen test >/dev/null
	marker reclaimed
	demo_cli head locks | grep '^callbacks' >"$DEMO_DIR/callbacks"
	grep -q '^callbacks  *[1-9]' "$DEMO_DIR/callbacks" || { echo "WRONG: who waited was not called"; return 1; }
	grep -q '^callbacks failed  *0' "$DEMO_DIR/callbacks" || { echo "WRONG: a call to the guest failed"; return 1; }
	kill -9 "$(demo_pid head-head1)"
	sleep 1
	demo_wait_served 30
	for ((i = 0; i < 600; i++)); do
		got=$(lock f try) || got=
		[ "$got" = denied ] && break
		[ "$got" != granted ] || { echo "WRONG: the guest's lock was not reclaimed"; return 1; }
		sleep 0.2
	done
	[ "$got" = denied ] || { echo "WRONG: after the kill: $got"; return 1; }
	lock reclaimed test >/dev/null
}
"$rpcbind" -f &
server=$!
trap 'demo_stop || true; kill $server || true; demo_remove' EXIT
demo_start
demo_prepare
demo_wait_served 20
script=$DEMO_DIR/script
echo "nfs_port=$(demo_nfs_port) export=$DEMO_EXPORT" >"$script"
cat "$top/tests/guest/linux_locks.sh" >>"$script"
host_part 2>/dev/null &
part=$!
guest_run "$script" || { kill $part 2>/dev/null; tail -20 "$DEMO_DIR/isthmus.log"; exit 1; }
wait $part
cat "$DEMO_DIR/callbacks"
