#!/usr/bin/env bash
# The Linux kernel's client of NFSv4.0, 4.1 and 4.2 in a QEMU guest against a real array: the root of all exports,
# files, names, locks that a client of version 3 on the host sees, what lives on after the head was killed (DURABLE=off: is reclaimed), owners by name.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=$top/build/release
DEMO_DIR=$(mktemp -d /tmp/isthmus-guest-nfs4.XXXXXX)
DEMO_DISK_SIZE=2G DEMO_FS_SIZE=1G DEMO_LUN_SIZE=64M DEMO_CACHE=128MiB DEMO_RPCBIND=off
DEMO_NFS_PORT=${DEMO_NFS_PORT:-23960} DEMO_ISCSI_PORT=${DEMO_ISCSI_PORT:-23970}
DEMO_HEAD_EXTRA="    durable_state: ${DURABLE:-on}
    lock_grace: 15"
. "$top/tests/guest/guest.sh"
guest_disks nfs4
. "$top/tests/system/demo.sh"
GUEST_MODULES="virtio_pci virtio_net nfs nfsv3 nfsv4"
GUEST_PROGRAMS="/sbin/mount.nfs /usr/bin/cp $(command -v flock) $(PATH=$PATH:/usr/sbin command -v xfs_io) /usr/sbin/nfsidmap /sbin/request-key"
GUEST_FILES="/etc/request-key.conf /etc/request-key.d/id_resolver.conf $(echo /usr/lib/*/libnfsidmap/nsswitch.so)"
lock() { "$build/tests/tools/nlm_lock" 127.0.0.1 "$(demo_nfs_port)" "$DEMO_EXPORT" "$1" host "$2" 1 0 0; }
marker() { until grep -aqx "HOST $1"$'\r*' "$guest_console" 2>/dev/null; do sleep 0.5; done; }
held() { # MARKER: the guest holds the lock on f
	local got
	marker "$1"
	got=$(lock f try)
	[ "$got" = denied ] || { echo "WRONG: the guest's lock did not hold off version 3: $got"; return 1; }
	lock "$1" test >/dev/null
}
reclaimed() { # MARKER: the guest holds it, and again after the head was killed
	local i got
	marker "$1"
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
	lock "$1" test >/dev/null
}
name_owners() { # from the next start of the head on
	sed -i 's/^    lock_grace: 15/&\n    nfs4_domain: guest.test/' "$DEMO_DIR/isthmus.yaml"
	grep -q nfs4_domain "$DEMO_DIR/isthmus.yaml"
}
# What lines on the guest's console ask for. Version 4.0 comes last: a fresh file, no lock of before.
host_part() { held seen && reclaimed killed && held seen40 && name_owners && reclaimed killed40; }
trap 'demo_stop || true; demo_remove' EXIT
demo_start
demo_prepare
demo_wait_served 20
mkdir -p "$DEMO_DIR/src/sub"
echo here >"$DEMO_DIR/src/sub/file"
(cd "$DEMO_DIR/src" && "$build/tests/tools/nfs_tree" copy "$(demo_nfs_url)" sub)
demo_cli export add /sub --fs demo --subdir /sub --client '*:rw,no_root_squash'
script=$DEMO_DIR/script
guest_kernel
echo "nfs_port=$(demo_nfs_port) export=$DEMO_EXPORT daemon=$(id -u daemon):$(id -g daemon)" >"$script"
echo "read_plus=$(guest_has NFS_V4_2_READ_PLUS && echo 1)" >>"$script"
cat "$top/tests/guest/linux_nfs4.sh" >>"$script"
host_part &
part=$!
guest_run "$script" || { kill $part 2>/dev/null; tail -20 "$DEMO_DIR/isthmus.log"; exit 1; }
wait $part
