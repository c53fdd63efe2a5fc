#!/usr/bin/env bash
# The Linux kernel's own NFSv3 client and iSCSI initiator, in a QEMU guest, against a real array:
# mkfs, mount, write, verify on the LUN; copy, compare, rename, access control lists, unlink while
# open on the export.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=$top/build/release
DEMO_DIR=$(mktemp -d /tmp/isthmus-guest.XXXXXX)
DEMO_DISK_SIZE=2G DEMO_FS_SIZE=1G DEMO_LUN_SIZE=512M DEMO_CACHE=128MiB DEMO_RPCBIND=off
DEMO_NFS_PORT=14049 DEMO_ISCSI_PORT=14260
. "$top/tests/system/demo.sh"
. "$top/tests/guest/guest.sh"
GUEST_PROGRAMS="$GUEST_PROGRAMS $(command -v setfacl) $(command -v getfacl)"
trap 'demo_stop || true; demo_remove' EXIT
demo_start
demo_prepare
script=$DEMO_DIR/script
cat >"$script" <<SCRIPT
nfs_port=$(demo_nfs_port) iscsi_port=$(demo_iscsi_port) iqn=$DEMO_IQN export=$DEMO_EXPORT
SCRIPT
cat "$top/tests/guest/linux_client.sh" >>"$script"
guest_run "$script"
