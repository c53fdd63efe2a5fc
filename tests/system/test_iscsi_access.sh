#!/usr/bin/env bash
# Who may log in and what he sees: CHAP, mutual CHAP, masks, read-only LUNs, through CLI and libiscsi.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
: "${build:=$top/build/release}"
DEMO_DIR=$(mktemp -d /tmp/isthmus-access.XXXXXX)
DEMO_DISK_SIZE=1G DEMO_FS_SIZE=64M DEMO_LUN_SIZE=64M DEMO_CACHE=64MiB DEMO_RPCBIND=off
DEMO_NFS_PORT=24049 DEMO_ISCSI_PORT=24260
. "$top/tests/system/demo.sh"
trap 'demo_stop || true; demo_remove' EXIT
tools=iqn.2026-01.org.isthmus:tools # the name iscsi_lun logs in with
chap=iqn.2026-01.org.isthmus:chap masked=iqn.2026-01.org.isthmus:masked
bad=0

fail() { echo "FAILED: $*"; bad=1; }
inquire() { # INITIATOR TARGET LUN [USER%SECRET@] [?QUERY]
	timeout 20 iscsi-inq -i "$1" "iscsi://${4:-}127.0.0.1:$port/$2/$3${5:-}" >"$DEMO_DIR/out" 2>&1
}
admitted() { inquire "$@" && grep -q 'Peripheral Device Type:DIRECT_ACCESS' "$DEMO_DIR/out" || { fail "not admitted: $*"; cat "$DEMO_DIR/out"; }; }
refused() { ! inquire "$@" || { fail "admitted: $*"; cat "$DEMO_DIR/out"; }; }
no_such_lun() { ! inquire "$@" || ! grep -q 'Peripheral Device Type:DIRECT_ACCESS' "$DEMO_DIR/out" || fail "sees the LUN: $*"; }
lun_tool() { timeout 20 "$build/tests/tools/iscsi_lun" "$1" "iscsi://127.0.0.1:$port/$2/$3" 4 >"$DEMO_DIR/out" 2>&1; }

demo_start
demo_prepare
port=$(demo_iscsi_port)

# ---- CHAP
demo_cli volume create secret --pool main --size 64M
demo_cli target create $chap --open yes --discovery yes --chap-user alice --chap-secret wonderland-12
demo_cli lun add $chap secret --lun 0
refused iqn.2026-01.x:a $chap 0
refused iqn.2026-01.x:a $chap 0 'alice%wonderland-13@'
refused iqn.2026-01.x:a $chap 0 'bob%wonderland-12@'
refused iqn.2026-01.x:a $chap 0 'alice%@'
admitted iqn.2026-01.x:a $chap 0 'alice%wonderland-12@'

# ---- mutual CHAP: the initiator checks the target
mutual='?target_user=looking&target_password=glass-secret-1'
refused iqn.2026-01.x:a $chap 0 'alice%wonderland-12@' "$mutual" # none is set yet
demo_cli target set $chap --mutual-user looking --mutual-secret glass-secret-1
admitted iqn.2026-01.x:a $chap 0 'alice%wonderland-12@' "$mutual"
admitted iqn.2026-01.x:a $chap 0 'alice%wonderland-12@' # not asked for
refused iqn.2026-01.x:a $chap 0 'alice%wonderland-12@' '?target_user=looking&target_password=glass-secret-2'
refused iqn.2026-01.x:a $chap 0 'alice%wonderland-12@' '?target_user=other&target_password=glass-secret-1'
refused iqn.2026-01.x:a $chap 0 'alice%wonderland-13@' "$mutual"
demo_cli --json target list >"$DEMO_DIR/out"
! grep -qE 'wonderland|glass-secret' "$DEMO_DIR/out" "$DEMO_DIR/isthmus.log" || fail "a secret is shown"

# ---- secrets that are none
! demo_cli target set $chap --chap-secret short 2>"$DEMO_DIR/out" || fail "a short secret was taken"
! demo_cli target set $chap --mutual-secret wonderland-12 2>"$DEMO_DIR/out" ||
	refused iqn.2026-01.x:a $chap 0 'alice%wonderland-12@' '?target_user=looking&target_password=wonderland-12'

# ---- an initiator's own user and secret come before the target's
demo_cli target set $chap --mutual-secret glass-secret-1
demo_cli initiator add $chap iqn.2026-01.x:own --chap-user own --chap-secret another-secret-3
admitted iqn.2026-01.x:own $chap 0 'own%another-secret-3@'
refused iqn.2026-01.x:own $chap 0 'alice%wonderland-12@'

# ---- masks
demo_cli target create $masked --open no --discovery no
demo_cli volume create one --pool main --size 64M
demo_cli volume create two --pool main --size 64M
demo_cli lun add $masked one --lun 1
demo_cli lun add $masked two --lun 2
refused iqn.2026-01.x:a $masked 1
demo_cli initiator add $masked iqn.2026-01.x:a --lun 0=1
demo_cli initiator add $masked $tools --lun 0=1 --lun 1=2:ro
admitted iqn.2026-01.x:a $masked 0
no_such_lun iqn.2026-01.x:a $masked 1
no_such_lun iqn.2026-01.x:a $masked 2
refused iqn.2026-01.x:b $masked 0
timeout 20 iscsi-ls -i iqn.2026-01.x:b "iscsi://127.0.0.1:$port" >"$DEMO_DIR/out" 2>&1 || fail "discovery"
! grep -q "$masked" "$DEMO_DIR/out" || fail "a stranger discovers the masked target"
timeout 20 iscsi-ls -i iqn.2026-01.x:a "iscsi://127.0.0.1:$port" >"$DEMO_DIR/out" 2>&1 || fail "discovery"
grep -q "$masked" "$DEMO_DIR/out" || fail "the admitted initiator does not discover its target"

# ---- discovery asks for a user of its own
finds() { timeout 20 iscsi-ls -i iqn.2026-01.x:a "iscsi://${1:-}127.0.0.1:$port" >"$DEMO_DIR/out" 2>&1 && grep -q "$masked" "$DEMO_DIR/out"; }
demo_cli discovery set --chap-user finder --chap-secret find-them-all-1
! finds || fail "targets are listed without a secret"
! finds 'finder%find-them-all-2@' || fail "targets are listed for a wrong secret"
finds 'finder%find-them-all-1@' || fail "targets are not listed for the right secret"
demo_cli discovery set --chap-user ""
finds || fail "discovery asks for a secret for ever"

# ---- a target that moved: whoever comes by another address is sent there
by_other() { timeout 20 iscsi-inq -i iqn.2026-01.x:a "iscsi://127.0.0.2:$port/$masked/0" >"$DEMO_DIR/out" 2>&1 && grep -q DIRECT_ACCESS "$DEMO_DIR/out"; }
demo_cli target set $masked --redirect "127.0.0.1:$port"
by_other || fail "an initiator does not find where the target has moved"
admitted iqn.2026-01.x:a $masked 0
demo_cli target set $masked --redirect 127.0.0.1:1
! by_other || fail "a target that moved is still here"
demo_cli target set $masked --redirect ""
by_other || fail "the target has not come back"

# ---- portal groups: the only portal is in group 1
demo_cli target set $masked --portal-group 7
refused iqn.2026-01.x:a $masked 0
! finds || fail "a target that cannot be reached is listed"
demo_cli target set $masked --portal-group all
admitted iqn.2026-01.x:a $masked 0

# ---- read-only through the mask, and of the LUN itself
lun_tool write $masked 0 || fail "write to the LUN that may be written"
lun_tool verify $masked 0 || fail "verify of it"
! lun_tool write $masked 1 || fail "write to a read-only map"
grep -q 'WRITE_PROTECTED\|DATA_PROTECT' "$DEMO_DIR/out" || { fail "no DATA PROTECT"; cat "$DEMO_DIR/out"; }
demo_cli target create iqn.2026-01.org.isthmus:ro --open yes
demo_cli lun add iqn.2026-01.org.isthmus:ro one --lun 0 --read-only
lun_tool verify iqn.2026-01.org.isthmus:ro 0 || { fail "reading a read-only LUN"; cat "$DEMO_DIR/out"; }
! lun_tool write iqn.2026-01.org.isthmus:ro 0 || fail "write to a read-only LUN"
lun_tool verify $masked 0 || fail "a refused write changed data"

# ---- what is taken away is gone
demo_cli initiator set $masked $tools --lun 0=2
no_such_lun $tools $masked 1
demo_cli initiator remove $masked iqn.2026-01.x:a
refused iqn.2026-01.x:a $masked 0
demo_cli target remove $masked
refused $tools $masked 0
[ $bad = 0 ] && echo "access: all as it should be"
exit $bad
