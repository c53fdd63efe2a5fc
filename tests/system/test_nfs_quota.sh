#!/usr/bin/env bash
# Quotas over NFS: limits of an owner and of a directory tree, set by the CLI, refuse what a client
# writes beyond them; use is listed, survives kill -9 of the head, and the check is clean.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=$top/build/release
DEMO_DIR=$(mktemp -d /tmp/isthmus-quota.XXXXXX)
DEMO_DISK_SIZE=512M DEMO_FS_SIZE=256M DEMO_LUN_SIZE=64M DEMO_CACHE=64MiB DEMO_RPCBIND=off
DEMO_NFS_PORT=${DEMO_NFS_PORT:-23951} DEMO_ISCSI_PORT=${DEMO_ISCSI_PORT:-23961}
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
cli_refuses() { demo_cli "$@" >"$DEMO_DIR/out" 2>&1 && wrong "$* was not refused" || true; }
listed() { # PATTERN, of the table without its double blanks
	demo_cli quota list demo | tr -s ' ' >"$DEMO_DIR/list"
	grep -q "$1" "$DEMO_DIR/list" || wrong "no '$1' in: $(cat "$DEMO_DIR/list")"
}
DQUOT=69 XDEV=18
demo_start
demo_prepare
demo_wait_served 20

try 0 0 mkdir home
try 0 0 mkdir tree
demo_cli quota set demo --user 1000 --hard 1MiB --hard-files 3
try 0 1000 write home/a 512
try 0 1000 write home/b 512
try $DQUOT 1000 write home/b 516
try $DQUOT 1000 write home/c 4
try $DQUOT 1000 write home/d 0 # a, b and c are three
try 0 1001 write home/d 4096
try 0 1000 remove home/a
try 0 1000 write home/c 512
listed "user 1000 1MiB - 1MiB - 2 - 3 -"
demo_cli quota set demo --user 1000 --hard 2MiB
try 0 1000 write home/c 1024

demo_cli quota tree demo /tree
cli_refuses quota tree demo /home
grep -q "not empty" "$DEMO_DIR/out" || wrong "$(cat "$DEMO_DIR/out")"
cli_refuses quota tree demo /nowhere
cli_refuses quota set demo --tree 7 --hard 1MiB
cli_refuses quota set demo --hard 1MiB
cli_refuses quota set demo --user 5 --soft 2MiB --hard 1MiB
cli_refuses quota set nosuch --user 5 --hard 1MiB
cli_refuses quota grace demo --bytes 5x
demo_cli quota set demo --tree 1 --hard 8MiB
try 0 1002 write tree/a 4096
try $XDEV 1002 rename tree/a home/e
try $XDEV 1001 rename home/d tree/d
try $DQUOT 0 write tree/b 4096 # root too
try 0 0 space tree
read -r total left < <(tail -1 "$DEMO_DIR/got")
[ "$total" = $((8 << 20)) ] && [ "$left" -lt $((1 << 20)) ] || wrong "space of the tree: $total $left"
demo_cli quota grace demo --kind user --bytes 1h
demo_cli quota grace demo | grep -q "1h" || wrong "grace"

demo_cli quota list demo >"$DEMO_DIR/before"
kill -9 "$(demo_pid head-head1)"
sleep 1
demo_wait_served 20
try $DQUOT 1000 write home/c 2048
try 0 0 remove tree/b
demo_cli quota list demo --kind user >"$DEMO_DIR/list"
grep -q 1001 "$DEMO_DIR/list" || wrong "list: $(cat "$DEMO_DIR/list")"
demo_cli fs check demo || wrong "check"
