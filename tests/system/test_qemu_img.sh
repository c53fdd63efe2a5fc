#!/usr/bin/env bash
# QEMU's own iSCSI driver (qemu-img, libiscsi) as a client: images are converted onto a LUN and
# back, compared, and looked at; a CHAP target with and without its secret.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
: "${build:=$top/build/release}"
DEMO_DIR=$(mktemp -d /tmp/isthmus-qemu.XXXXXX)
DEMO_DISK_SIZE=1G DEMO_FS_SIZE=64M DEMO_LUN_SIZE=64M DEMO_CACHE=64MiB DEMO_RPCBIND=off
: "${DEMO_NFS_PORT:=14079}" "${DEMO_ISCSI_PORT:=14290}"
. "$top/tests/system/demo.sh"
trap 'demo_stop || true; demo_remove' EXIT
fail() { echo "FAILED: $*" >&2; exit 1; }
command -v qemu-img >/dev/null || fail "qemu-img is missing; see etc/packages"
w=$DEMO_DIR/work
chap=$DEMO_IQN-chap secret=a-secret-of-the-test
q() { timeout 120 qemu-img "$@" >"$w/out" 2>&1; }

demo_start
demo_prepare
demo_cli volume create chap --pool main --size 16M
demo_cli target create "$chap" --open yes --chap-user qemu --chap-secret $secret
demo_cli lun add "$chap" chap
lun=$(demo_iscsi_url)
mkdir -p "$w"

# An image with data, holes in between, and an odd end.
truncate -s 64M "$w/disk"
head -c 9M /dev/urandom | dd of="$w/disk" bs=1M seek=3 conv=notrunc status=none
head -c 70000 /dev/urandom | dd of="$w/disk" bs=512 seek=100000 conv=notrunc status=none

q info --output=json "$lun" || { cat "$w/out"; fail "info"; }
grep -q "\"virtual-size\": $((64 << 20))" "$w/out" || fail "another size: $(cat "$w/out")"
q convert -n -f raw -O raw "$w/disk" "$lun" || { cat "$w/out"; fail "convert onto the LUN"; }
q compare -f raw -F raw "$w/disk" "$lun" || { cat "$w/out"; fail "the LUN differs from what was written"; }
q convert -f raw -O qcow2 "$lun" "$w/back.qcow2" || { cat "$w/out"; fail "convert from the LUN"; }
q compare -f raw -F qcow2 "$w/disk" "$w/back.qcow2" || fail "what came back differs"

# What is written over it, with holes where data was: they must read as zeros.
truncate -s 64M "$w/second"
head -c 1M /dev/urandom | dd of="$w/second" bs=1M seek=40 conv=notrunc status=none
q convert -n -f raw -O raw "$w/second" "$lun" || { cat "$w/out"; fail "the second image"; }
q compare -f raw -F raw "$w/second" "$lun" || fail "old data shows through holes"
q compare -f raw -F raw "$w/disk" "$lun" && fail "compare finds nothing different"

# Grown while nobody looks: the new end is there and zeros.
demo_cli volume resize scratch 96M
q info --output=json "$lun" && grep -q "\"virtual-size\": $((96 << 20))" "$w/out" || fail "the new size"
truncate -s 96M "$w/second"
q compare -f raw -F raw "$w/second" "$lun" || fail "the new end"

url() { echo "iscsi://$1127.0.0.1:$(demo_iscsi_port)/$chap/0"; }
q info "$(url "")" && fail "info without a secret"
q info "$(url "qemu%wrong-secret-0123@")" && fail "info with a wrong secret"
q info "$(url "qemu%$secret@")" || { cat "$w/out"; fail "info with the secret"; }
q info "iscsi://127.0.0.1:$(demo_iscsi_port)/$DEMO_IQN/7" && fail "a LUN that is not there"
demo_cli --json session list | grep -q '"initiator"' && fail "sessions are left"
echo "qemu-img: all passed"
