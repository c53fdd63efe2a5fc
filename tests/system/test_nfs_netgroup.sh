#!/usr/bin/env bash
# Rules by netgroup and host name, as the head's host has them in its files: members are admitted, by
# the first rule that matches, members of netgroups in it too; others are not; what changes in the files
# counts. In a mount namespace with an /etc of its own.
set -euo pipefail
if [ -z "${NETGROUP_INSIDE:-}" ]; then
	NETGROUP_INSIDE=1 exec unshare --mount --propagation private bash "$0" "$@"
fi
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=$top/build/release
DEMO_DIR=$(mktemp -d /tmp/isthmus-netgroup.XXXXXX)
DEMO_DISK_SIZE=512M DEMO_FS_SIZE=256M DEMO_LUN_SIZE=64M DEMO_CACHE=64MiB DEMO_RPCBIND=off
DEMO_NFS_PORT=${DEMO_NFS_PORT:-23971} DEMO_ISCSI_PORT=${DEMO_ISCSI_PORT:-23981}
. "$top/tests/system/demo.sh"
trap 'demo_stop || true; umount -l /etc || true; demo_remove' EXIT
wrong() { echo "wrong: $*"; tail -40 "$DEMO_DIR/isthmus.log"; exit 1; }
cp -a /etc "$DEMO_DIR/etc"
mount --bind "$DEMO_DIR/etc" /etc
sed -i '/^netgroup:/d' /etc/nsswitch.conf
echo 'netgroup: files' >>/etc/nsswitch.conf
echo '127.0.0.1 build7.test.invalid' >>/etc/hosts
ours() { printf 'builders %s inner (,root,)\ninner (build8.test.invalid,-,) (-,u,d)\n' "$1" >/etc/netgroup; }

# STATUS EXPORT ...: what nfs3_do says; waits for names that are being looked up.
try() {
	local want=$1 export=$2 got i
	shift 2
	for ((i = 0; i < 50; i++)); do
		got=$("$build/tests/tools/nfs3_do" 127.0.0.1 "$(demo_nfs_port)" "$export" 0 "$@" 2>&1) || true
		got=${got%%$'\n'*}
		[ "${got##*: }" = "$want" ] && return
		sleep 0.1
	done
	wrong "$export $* gave $got, not $want"
}
ROFS=30 ACCES=13

ours '(build7.test.invalid,,)'
demo_start
demo_prepare
demo_wait_served 20
for bad in '*.test.invalid:rw' '@:rw' '10.0.0:rw'; do
	demo_cli export add /bad --fs demo --client "$bad" >"$DEMO_DIR/out" 2>&1 && wrong "$bad was taken"
	grep -q 'is no client' "$DEMO_DIR/out" || wrong "$(cat "$DEMO_DIR/out")"
done
rules=(--client '@builders:rw,no_root_squash' --client '*:ro')
demo_cli export add /group --fs demo "${rules[@]}"
demo_cli export add /only --fs demo --client '@inner:rw,no_root_squash'
demo_cli export add /host --fs demo --client 'build7.test.invalid:rw,no_root_squash'
demo_cli export list >"$DEMO_DIR/out"
grep -q '@builders' "$DEMO_DIR/out" || wrong "$(cat "$DEMO_DIR/out")"
try 0 /group mkdir one
try 0 /host mkdir two
try $ACCES /only mkdir three

# Not a member any more; another host of that address, one netgroup deeper. A new list of rules is
# looked up at once (an old one within a minute).
ours ''
echo '127.0.0.1 build8.test.invalid' >>/etc/hosts
demo_cli export set /group "${rules[@]}" --client 'nobody.test.invalid'
try 0 /only mkdir three
try 0 /group mkdir four
printf 'builders (elsewhere.test.invalid,,)\n' >/etc/netgroup
demo_cli export set /group "${rules[@]}"
try $ROFS /group mkdir five
