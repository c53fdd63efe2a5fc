#!/usr/bin/env bash
# One name space with the Linux kernel's client in a QEMU guest: it mounts the root of one head by version 4.0, 4.1 and
# 4.2 and follows into what another serves; by version 3 it reads and writes what others serve through the first.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=$top/build/release
# In a network of its own: the kernel's client goes to port 2049 of the address that it is referred to, whatever port is told.
if [ -z "${NAMES_INSIDE:-}" ]; then
	[ "$(id -u)" = 0 ] && unshare -n true 2>/dev/null || { echo "skipped: a network namespace wants root"; exit 0; }
	. "$top/tests/guest/guest.sh"
	guest_kernel # from outside: inside there is no network
	NAMES_INSIDE=1 exec unshare -n "$0" "$@"
fi
ip link set lo up
DEMO_DIR=$(mktemp -d /tmp/isthmus-guest-names.XXXXXX)
DEMO_DISK_SIZE=1G DEMO_FS_SIZE=256M DEMO_LUN_SIZE=64M DEMO_CACHE=128MiB DEMO_RPCBIND=off
DEMO_NFS_PORT=${DEMO_NFS_PORT:-23860} DEMO_ISCSI_PORT=${DEMO_ISCSI_PORT:-23870}
. "$top/tests/guest/guest.sh"
guest_disks names
. "$top/tests/system/demo.sh"
port2=2049 port3=$(demo_pick_port 23861 23862)
DEMO_HEAD_EXTRA="    advertise: 10.0.2.2
  - {name: head2, group: g1, controller: a, address: 127.0.0.1, advertise: 10.0.2.2, nfs_port: $port2, mount_port: 0, rpcbind: off}
  - {name: head3, group: g1, controller: a, address: 127.0.0.1, advertise: 10.0.2.2, nfs_port: $port3, mount_port: 0, rpcbind: off}"
GUEST_MODULES="virtio_pci virtio_net nfs nfsv3 nfsv4"
GUEST_PROGRAMS="/sbin/mount.nfs"
trap 'demo_stop || true; demo_remove' EXIT
demo_start
demo_prepare
for n in 2:two 3:three; do
	demo_cli fs create "${n#*:}" --pool main --size 256M --head "head${n%:*}" >/dev/null
	demo_cli export add "/${n#*:}" --fs "${n#*:}" --client '*:rw,no_root_squash' >/dev/null
done
port1=$(demo_nfs_port)
mkdir "$DEMO_DIR/src"
put() { # EXPORT CONTENT: the file of that content, in a tree's place
	rm -rf "$DEMO_DIR/src/"*
	echo "$2" >"$DEMO_DIR/src/file"
	nfs-cp "$DEMO_DIR/src/file" "nfs://127.0.0.1$1/file?version=3&nfsport=$port1&mountport=$port1" >/dev/null
}
for ((i = 0; i < 200; i++)); do
	[ "$(demo_cli status | grep -c 'mounted')" -ge 3 ] && break
	sleep 0.1
done
put /demo one
put /two two
put /three three
script=$DEMO_DIR/script
echo "port1=$port1 port3=$port3" >"$script"
cat "$top/tests/guest/linux_names.sh" >>"$script"
guest_run "$script" || { tail -20 "$DEMO_DIR/isthmus.log"; exit 1; }
