#!/usr/bin/env bash
# The kernel's initiator with multipathd, in a QEMU guest, over two controllers: each is killed under
# I/O to the LUNs of both, and stays away long enough for the paths to be given up. No error at the
# multipath device, every block as it was written, all paths back, the owner's first.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=$top/build/release
DUO_DIR=$(mktemp -d /tmp/isthmus-guest.XXXXXX)
: "${DUO_PORT:=14280}"
. "$top/tests/system/duplex.sh"
. "$top/tests/guest/guest.sh"
GUEST_MODULES="crc32c_generic virtio_pci virtio_net iscsi_tcp sd_mod sg dm_multipath dm_service_time scsi_dh_alua"
GUEST_PROGRAMS="/usr/sbin/iscsid /usr/bin/iscsiadm /usr/sbin/dmsetup
	/usr/sbin/multipathd /usr/sbin/multipath /lib/multipath/libchecktur.so /lib/multipath/libprioalua.so
	/lib/multipath/libprioconst.so /lib/udev/scsi_id /usr/bin/udevadm
	$(/sbin/ldconfig -p | awk '/libgcc_s.so.1/ && !p { p = $NF } END { print p }')" # which threads that are ended load
GUEST_FILES="/lib/udev/rules.d/55-dm.rules /lib/udev/rules.d/56-dm-mpath.rules /lib/udev/rules.d/60-multipath.rules
	/lib/udev/rules.d/60-persistent-storage.rules /lib/udev/rules.d/95-dm-notify.rules"
trap 'duo_stop; duo_remove' EXIT

duo_configure
duo_start
duo_prepare >/dev/null
duo_wait 20 duo_whole

# What the guest may ask of the administrator, one line a connection.
cat >"$DUO_DIR/host.sh" <<HOST
build=$build DUO_DIR=$DUO_DIR DUO_PORT=$DUO_PORT duo_isthmusd=$duo_isthmusd
. "$top/tests/system/duplex.sh"
read -r what arg
case "\$what" in
kill) # isthmusd does not start it again for a while
	kill -STOP $duo_isthmusd && kill -KILL "\$(duo_pid "\$arg")" && sleep 6
	kill -CONT $duo_isthmusd ;;
whole) duo_whole ;;
*) false ;;
esac >>"$DUO_DIR/host.log" 2>&1 && echo done || echo "failed: \$what"
HOST
GUEST_HOST_COMMAND="/bin/bash $DUO_DIR/host.sh"
script=$DUO_DIR/script
{
	echo "port_a=$DUO_PORT port_b=$((DUO_PORT + 1)) iqn=$DUO_IQN"
	echo "mkdir -p /etc/multipath/conf.d; cat >/etc/multipath/conf.d/isthmus.conf <<'CONF'"
	cat "$top/etc/multipath-isthmus.conf"
	echo CONF
	cat "$top/tests/guest/linux_duplex.sh"
} >"$script"
guest_run "$script" || { rc=$?; cat "$DUO_DIR/host.log" 2>/dev/null; grep -v ' info ' "$DUO_DIR/isthmus.log" | tail -30; exit $rc; }
