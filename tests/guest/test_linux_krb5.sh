#!/usr/bin/env bash
# The Linux kernel's client with Kerberos in a QEMU guest against a real array and a KDC of this
# distribution: sec=krb5, krb5i and krb5p of NFS 3 and 4, exports that take nothing else, users and
# machines, a head that begins anew.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=$top/build/release
DEMO_DIR=$(mktemp -d /tmp/isthmus-guest-krb5.XXXXXX)
# Not in /tmp: that is another one in the guest.
keys=$(mktemp -d /var/tmp/isthmus-guest-krb5.XXXXXX)
DEMO_DISK_SIZE=1G DEMO_FS_SIZE=512M DEMO_LUN_SIZE=64M DEMO_CACHE=128MiB DEMO_RPCBIND=off
DEMO_NFS_PORT=${DEMO_NFS_PORT:-23980} DEMO_ISCSI_PORT=${DEMO_ISCSI_PORT:-23990}
DEMO_HEAD_EXTRA="    lock_grace: 5
    keytab: $keys/nfs.keytab"
. "$top/tests/guest/guest.sh"
guest_disks krb5
. "$top/tests/system/demo.sh"
. "$top/tests/system/kdc.sh"
GUEST_MODULES="virtio_pci virtio_net nfs nfsv3 nfsv4 rpcsec_gss_krb5 cts cbc ecb aes_generic aesni_intel hmac cmac sha1_generic sha256_generic sha512_generic"
GUEST_PROGRAMS="/sbin/mount.nfs /usr/sbin/rpc.gssd /usr/bin/kinit /usr/bin/kdestroy"
GUEST_FILES="$keys/client.conf $keys/machine.keytab $keys/daemon.keytab"
marker() { until grep -aqx "HOST $1"$'\r*' "$guest_console" 2>/dev/null; do sleep 0.2; done; }
host_part() {
	local dir=$DEMO_DIR/restarted
	marker restart
	kill -9 "$(demo_pid head-head1)"
	sleep 1
	demo_wait_served 30
	mkdir "$dir"
	(cd "$DEMO_DIR" && "$build/tests/tools/nfs_tree" copy "$(demo_nfs_url)" restarted)
}
trap 'demo_stop || true; kdc_stop; demo_remove; rm -rf "$keys"' EXIT
port=$(demo_pick_port 23995 24100)
kdc_start "$keys" "$port" 10.0.2.2
kdc_keytab "$keys/nfs.keytab" nfs/files.test
kdc_keytab "$keys/machine.keytab" host/client.test
kdc_keytab "$keys/daemon.keytab" daemon
demo_start
demo_prepare
demo_cli export set $DEMO_EXPORT --client '*:rw,no_root_squash' --sec sys:krb5:krb5i:krb5p
demo_cli export add /safe --fs demo --client '*:rw' --sec krb5p
"$build/isthmus" config check "$DEMO_DIR/isthmus.yaml"
demo_wait_served 20
script=$DEMO_DIR/script
echo "keys=$keys nfs_port=$(demo_nfs_port)" >"$script"
cat "$top/tests/guest/linux_krb5.sh" >>"$script"
host_part &
part=$!
guest_run "$script" || { kill $part 2>/dev/null; tail -20 "$DEMO_DIR/isthmus.log"; exit 1; }
wait $part
demo_cli --json head status >"$DEMO_DIR/status"
grep -q '"accepted": [1-9]' "$DEMO_DIR/status" || { echo "WRONG: no contexts counted"; cat "$DEMO_DIR/status"; exit 1; }
