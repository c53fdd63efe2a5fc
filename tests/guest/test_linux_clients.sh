#!/usr/bin/env bash
# Two Linux clients (a QEMU guest with two networks) of one export, by versions 3, 4.0, 4.1 and 4.2:
# what programs on them see of each other (tests/tools/two_mounts), lists of version 4, extended attributes, nconnect.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=$top/build/release
. "$top/tests/guest/guest.sh"
DEMO_DIR=$(mktemp -d /tmp/isthmus-guest-clients.XXXXXX)
guest_disks clients
DEMO_DISK_SIZE=1G DEMO_FS_SIZE=512M DEMO_LUN_SIZE=64M DEMO_CACHE=128MiB DEMO_RPCBIND=off
DEMO_NFS_PORT=${DEMO_NFS_PORT:-24060} DEMO_ISCSI_PORT=${DEMO_ISCSI_PORT:-24070}
DEMO_HEAD_EXTRA="    nfs4: on"
. "$top/tests/system/demo.sh"
GUEST_TOOLS=$build/tests/tools/two_mounts
GUEST_MODULES="virtio_pci virtio_net nfs nfsv3 nfsv4"
GUEST_PROGRAMS="/sbin/mount.nfs $(command -v nfsstat) $(command -v nfs4_getfacl) $(command -v nfs4_setfacl) \
	$(command -v getfattr) $(command -v setfattr)"
GUEST_NETDEV2=user
trap 'demo_stop || true; demo_remove' EXIT
demo_start
demo_prepare
demo_wait_served 20
# This head was there before its group and cannot know that nobody has locks to reclaim; the next can.
kill -9 "$(demo_pid head-head1)"
sleep 0.2
demo_wait_served 20
script=$DEMO_DIR/script
{
	guest_functions
	echo "nfs_port=$(demo_nfs_port) export=$DEMO_EXPORT"
	cat "$top/tests/guest/linux_clients.sh"
} >"$script"
guest_run "$script" || { tail -20 "$DEMO_DIR/isthmus.log"; exit 1; }
demo_cli fs check demo
