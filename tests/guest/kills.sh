#!/usr/bin/env bash
# kills.sh [SECONDS]: two Linux clients (a QEMU guest with two networks) contend for locks and names for so long (300)
# by each version, SQLite and fio at work besides, and the head is killed every few seconds: nobody may see an error, no
# lock be stolen or lost, nothing be done twice. Version 3 with the kernel's lock manager, rpcbind and statd of each client.
#   VERSIONS   of NFS: "3 4.0 4.1 4.2"
#   KILL_EVERY seconds (5)
#   KILL       KILL; or STOP: the head is stopped, and woken 4 s later, when another has its place
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=$top/build/release
rpcbind=$(command -v rpcbind || echo /usr/sbin/rpcbind)
if [ -z "${KILLS_INSIDE:-}" ]; then
	. "$top/tests/guest/guest.sh"
	guest_kernel # from outside: inside there is no network
	KILLS_INSIDE=1 exec unshare -nm "$0" "$@"
fi
ip link set lo up
ip link add br0 type bridge
ip addr add 10.0.2.2/24 dev br0
ip link set br0 up
for t in tap0 tap1; do
	ip tuntap add $t mode tap
	ip link set $t master br0
	ip link set $t up
done
mount -t tmpfs none /run
. "$top/tests/guest/guest.sh"
DEMO_DIR=$(mktemp -d /tmp/isthmus-guest-kills.XXXXXX)
guest_disks kills
DEMO_DISK_SIZE=2G DEMO_FS_SIZE=1G DEMO_LUN_SIZE=64M DEMO_CACHE=256MiB DEMO_RPCBIND=auto
DEMO_NFS_PORT=${DEMO_NFS_PORT:-23940} DEMO_ISCSI_PORT=${DEMO_ISCSI_PORT:-23950}
DEMO_HEAD_EXTRA="    nfs4: on
    durable_state: on"
. "$top/tests/system/demo.sh"
GUEST_TOOLS=$build/tests/tools/contend
GUEST_MODULES="virtio_pci virtio_net 9p 9pnet_virtio nfs nfsv3 nfsv4 lockd"
GUEST_PROGRAMS="/sbin/mount.nfs"
GUEST_NETDEV="tap,id=n0,ifname=tap0,script=no,downscript=no" GUEST_NETDEV2="tap,ifname=tap1,script=no,downscript=no"
GUEST_ADDRESS2=10.0.2.16 GUEST_USR=1 GUEST_MEMORY=2048 GUEST_TIMEOUT=${GUEST_TIMEOUT:-7200}
"$rpcbind" -f &
server=$!
killer_pid=
trap 'kill $server $killer_pid 2>/dev/null || true; demo_stop || true; [ -n "${KEEP:-}" ] || demo_remove' EXIT
demo_start
demo_prepare
demo_wait_served 20
script=$DEMO_DIR/script
{
	guest_functions
	echo "nfs_port=$(demo_nfs_port) export=$DEMO_EXPORT seconds=${1:-300} versions='${VERSIONS:-3 4.0 4.1 4.2}'"
	cat "$top/tests/guest/linux_programs.sh" "$top/tests/guest/linux_kills.sh"
} >"$script"
kills=$DEMO_DIR/kills
: >"$kills"
killer() {
	local pid
	while sleep "${KILL_EVERY:-5}"; do
		pid=$(demo_pid head-head1) && kill -"${KILL:-KILL}" "$pid" 2>/dev/null || continue
		date +%s >>"$kills"
		[ "${KILL:-KILL}" != STOP ] || { sleep 4; kill -CONT "$pid" 2>/dev/null || true; }
	done
}
killer &
killer_pid=$!
rc=0
guest_run "$script" || rc=$?
kill $killer_pid
wait $killer_pid 2>/dev/null || true
killer_pid=
[ $rc = 0 ] || { tail -30 "$DEMO_DIR/isthmus.log"; exit $rc; }
sleep 5
demo_wait_served 30
echo "the head was killed (${KILL:-KILL}) $(wc -l <"$kills") times"
if demo_cli event list | grep 'ledger\.'; then exit 1; fi
demo_cli fs check demo
