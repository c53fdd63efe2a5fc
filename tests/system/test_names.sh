#!/usr/bin/env bash
# One name space: three heads, two of one group and one of another, and any of them answers for every export. Version 3
# reads, writes, locks and asks for quotas through a head that serves another file system; a head that is killed is a
# pause for who comes by the other. Version 4 refers.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=$top/build/release
DEMO_DIR=$(mktemp -d /tmp/isthmus-names.XXXXXX)
DEMO_DISK_SIZE=512M DEMO_FS_SIZE=128M DEMO_LUN_SIZE=64M DEMO_CACHE=64MiB DEMO_RPCBIND=off
DEMO_NFS_PORT=${DEMO_NFS_PORT:-17470} DEMO_ISCSI_PORT=${DEMO_ISCSI_PORT:-17980}
. "$top/tests/system/demo.sh"
trap 'demo_stop || true; demo_remove' EXIT
wrong() { echo "wrong: $*"; tail -20 "$DEMO_DIR/isthmus.log"; exit 1; }
port2=$(demo_pick_port 17481 17482)
port3=$(demo_pick_port 17491 17492)
DEMO_HEAD_EXTRA="    lock_grace: 5
  - {name: head2, group: g1, controller: a, nfs_port: $port2, mount_port: 0, rpcbind: off, lock_grace: 5}
  - {name: head3, group: g2, controller: a, nfs_port: $port3, mount_port: 0, rpcbind: off, lock_grace: 5}"
url() { # EXPORT PORT [VERSION]
	echo "nfs://127.0.0.1$1?version=${3:-3}&nfsport=$2&mountport=$2"
}
served() { # FS
	local i
	for ((i = 0; i < 200; i++)); do
		demo_cli status 2>/dev/null | grep -q "$1  *mounted" && return
		sleep 0.1
	done
	wrong "$1 is not served"
}
lock() { "$build/tests/tools/nlm_lock" 127.0.0.1 "$1" "$2" held host "$3" "${4:-1}" 0 0; }
counted() { demo_cli --json volume show "$1" | grep -o "\"$2\": *[0-9]*" | grep -o '[0-9]*$'; } # VOLUME WHAT
tree() { "$build/tests/tools/nfs_tree" "$@"; }
demo_start
demo_prepare
demo_cli group create g2 --pool main --size 64M >/dev/null
demo_cli fs create two --pool main --size 128M --head head2 >/dev/null
demo_cli fs create three --pool main --size 128M --head head3 >/dev/null
for fs in two three; do demo_cli export add /$fs --fs $fs --client '*:rw,no_root_squash' >/dev/null; done
for fs in demo two three; do served $fs; done
port1=$(demo_nfs_port)
mkdir "$DEMO_DIR/src"
cp -r "$top/runtime" "$DEMO_DIR/src/tree"
cd "$DEMO_DIR/src"
# Written by one, read by another.
before=$(counted two writes)
tree copy "$(url /two "$port1")" tree || wrong "write to head2 through head1"
[ "$(counted two writes)" -gt "$before" ] || wrong "its volume counts no writes"
tree verify "$(url /two "$port2")" tree || wrong "what was written through head1 is not there"
tree verify "$(url /two "$port3")" tree || wrong "read from head2 through head3"
tree copy "$(url /three "$port2")" tree || wrong "write to the other group's head"
tree verify "$(url /three "$port3")" tree || wrong "what was written through head2 is not there"
tree copy "$(url /demo "$port3")" tree && tree verify "$(url /demo "$port1")" tree || wrong "head1 through head3"
# Version 4 refers: a client that does not follow is told so, where the file system is it is served.
nfs-ls "$(url /two "$port2" 4)" >/dev/null || wrong "version 4 at head2"
said=$(nfs-ls "$(url /two "$port1" 4)" 2>&1) && wrong "head1 does not refer"
[[ $said = *MOVED* ]] || wrong "head1 says: $said"
# Locks are the serving head's, by whichever way.
[ "$(lock "$port1" /two lock)" = granted ] || wrong "a lock at head2 through head1"
[ "$(lock "$port2" /two try 2)" = denied ] || wrong "head2 does not know the lock"
[ "$(lock "$port3" /two unlock)" = granted ] || wrong "unlock through head3"
# The serving head dies: a pause.
tree copy "$(url /two "$port1")" tree >"$DEMO_DIR/out" 2>&1 &
copy=$!
sleep 0.1
kill -9 "$(demo_pid head-head2)"
wait $copy || wrong "a copy through head1 while head2 was killed: $(cat "$DEMO_DIR/out")"
served two
tree verify "$(url /two "$port3")" tree || wrong "after head2 was killed"
# An export that ends ends everywhere.
demo_cli export remove /three >/dev/null
if tree verify "$(url /three "$port1")" tree >/dev/null 2>&1; then wrong "an export that was removed is served"; fi
echo "one name space: ok"
