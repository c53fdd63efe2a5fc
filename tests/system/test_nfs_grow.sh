#!/usr/bin/env bash
# A file system grows while clients fill it: they see the new size, what they wrote stays, a head
# killed right after knows the new size, and the check is clean.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=$top/build/release
DEMO_DIR=$(mktemp -d /tmp/isthmus-grow.XXXXXX)
DEMO_DISK_SIZE=1G DEMO_FS_SIZE=96M DEMO_LUN_SIZE=64M DEMO_CACHE=64MiB DEMO_RPCBIND=off
DEMO_NFS_PORT=${DEMO_NFS_PORT:-23953} DEMO_ISCSI_PORT=${DEMO_ISCSI_PORT:-23963}
. "$top/tests/system/demo.sh"
trap 'demo_stop || true; demo_remove' EXIT
wrong() { echo "wrong: $*"; tail -40 "$DEMO_DIR/isthmus.log"; exit 1; }
try() { # STATUS UID WHAT PATH ...
	local want=$1 got
	shift
	got=$("$build/tests/tools/nfs3_do" 127.0.0.1 "$(demo_nfs_port)" $DEMO_EXPORT "$@") || wrong "$*"
	[ "${got%%$'\n'*}" = "$want" ] || wrong "$* gave $got, not $want"
	echo "$got" >"$DEMO_DIR/got"
}
total() { try 0 0 space d; read -r bytes _ < <(tail -1 "$DEMO_DIR/got"); echo "$bytes"; }
NOSPC=28
demo_start
demo_prepare
demo_wait_served 20
try 0 0 mkdir d
[ "$(total)" -lt $((96 << 20)) ] || wrong "size at first: $(total)"
try $NOSPC 0 write d/big 120000
demo_cli fs grow demo --size 90MiB && wrong "it shrank"
demo_cli fs grow nosuch --size 300MiB && wrong "which?"
try 0 0 remove d/big
"$build/tests/tools/nfs_tree" copy "$(demo_nfs_url)" "$top/doc"
"$build/tests/tools/nfs3_do" 127.0.0.1 "$(demo_nfs_port)" $DEMO_EXPORT 0 write d/one 65536 >"$DEMO_DIR/one" &
one=$!
demo_cli fs grow demo --size 300MiB || wrong "grow"
demo_cli fs check demo || wrong "check while it is written"
wait $one || wrong "the writer"
[ "$(cat "$DEMO_DIR/one")" = 0 ] || wrong "the writer: $(cat "$DEMO_DIR/one")"
kill -9 "$(demo_pid head-head1)"
sleep 1
demo_wait_served 20
[ "$(total)" -gt $((280 << 20)) ] || wrong "size after: $(total)"
try 0 0 write d/big 200000
demo_cli volume resize demo 400MiB # it follows its volume
for _ in $(seq 50); do
	[ "$(total)" -gt $((380 << 20)) ] && break
	sleep 0.1
done
[ "$(total)" -gt $((380 << 20)) ] || wrong "size after the volume's: $(total)"
"$build/tests/tools/nfs_tree" verify "$(demo_nfs_url)" "$top/doc"
demo_cli fs check demo || wrong "check"
