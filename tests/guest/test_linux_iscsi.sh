#!/usr/bin/env bash
# open-iscsi and the Linux kernel's initiator, in a QEMU guest, against a real array: discovery,
# CHAP, digests, discard and the like, ext4 and XFS, growing, LUNs that come and go, two portals
# under dm-multipath, reservations of two initiators, logout in the middle of I/O.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=$top/build/release
DEMO_DIR=$(mktemp -d /tmp/isthmus-guest.XXXXXX)
DEMO_DISK_SIZE=2G DEMO_FS_SIZE=64M DEMO_LUN_SIZE=384M DEMO_CACHE=128MiB DEMO_RPCBIND=off
: "${DEMO_NFS_PORT:=14059}" "${DEMO_ISCSI_PORT:=14270}"
. "$top/tests/system/demo.sh"
. "$top/tests/guest/guest.sh"
GUEST_MODULES="crc32c_generic virtio_pci virtio_net iscsi_tcp sd_mod sg ext4 xfs dm_multipath dm_service_time scsi_dh_alua"
GUEST_PROGRAMS="/usr/sbin/iscsid /usr/bin/iscsiadm /usr/sbin/blkdiscard /usr/sbin/dmsetup
	/usr/sbin/mkfs.ext4 /usr/sbin/e2fsck /usr/sbin/resize2fs /usr/sbin/mkfs.xfs /usr/sbin/xfs_repair
	/usr/bin/sg_write_same /usr/bin/sg_compare_and_write /usr/bin/sg_persist /usr/bin/sg_rtpg"
trap 'demo_stop || true; demo_remove' EXIT
user=guest secret=a-secret-of-the-test iqn_chap=$DEMO_IQN-chap

port2=$(demo_pick_port $((DEMO_ISCSI_PORT + 50)) $((DEMO_ISCSI_PORT + 51)))
demo_configure
port1=$(demo_iscsi_port)
sed -i "s/portals: .*/portals: [\"127.0.0.1:$port1\", \"127.0.0.1:$port2\"]/" "$DEMO_DIR/isthmus.yaml"
demo_configure() { :; } # it is there, with a second portal
demo_start
demo_prepare
demo_cli target create "$iqn_chap" --open yes --discovery yes --chap-user $user --chap-secret $secret
demo_cli volume create chap --pool main --size 16M
demo_cli lun add "$iqn_chap" chap
demo_cli volume create other --pool main --size 16M

# What the guest may ask of the administrator, one word a connection.
cat >"$DEMO_DIR/host.sh" <<HOST
cli() { "$build/isthmus" --config "$DEMO_DIR/isthmus.yaml" "\$@" >>"$DEMO_DIR/host.log" 2>&1; }
read -r what arg
case "\$what" in
grow) cli volume resize scratch 448M ;;
add_lun) cli lun add $DEMO_IQN other --lun 1 ;;
read_only) cli lun set $DEMO_IQN 1 --read-only "\$arg" ;;
remove_lun) cli lun remove $DEMO_IQN 1 ;;
*) false ;;
esac && echo done || echo "failed: \$what"
HOST
GUEST_HOST_COMMAND="/bin/sh $DEMO_DIR/host.sh"
script=$DEMO_DIR/script
cat >"$script" <<SCRIPT
port1=$port1 port2=$port2 iqn=$DEMO_IQN iqn_chap=$iqn_chap user=$user secret=$secret
SCRIPT
cat "$top/tests/guest/linux_iscsi.sh" >>"$script"
guest_run "$script" || { rc=$?; cat "$DEMO_DIR/host.log" 2>/dev/null; tail -5 "$DEMO_DIR/isthmus.log"; exit $rc; }
