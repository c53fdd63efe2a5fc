#!/usr/bin/env bash
# NFSv4 of a real array: served unless the configuration says otherwise; trees written and read by libnfs's clients of
# versions 3 and 4; opens and locks are reclaimed after the head was killed, by who had them, also when it is killed again
# in its grace period; owners have names; a lock of version 3 is in the way of none but its own range.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=$top/build/release
DEMO_DIR=$(mktemp -d /tmp/isthmus-nfs4.XXXXXX)
DEMO_DISK_SIZE=512M DEMO_FS_SIZE=256M DEMO_LUN_SIZE=64M DEMO_CACHE=64MiB DEMO_RPCBIND=off
DEMO_NFS_PORT=${DEMO_NFS_PORT:-17670} DEMO_ISCSI_PORT=${DEMO_ISCSI_PORT:-17880}
DEMO_HEAD_EXTRA="    nfs4_domain: example.org
    durable_state: off
    lock_grace: 10"
. "$top/tests/system/demo.sh"
trap 'demo_stop || true; demo_remove' EXIT
rpcinfo=$(command -v rpcinfo || echo /usr/sbin/rpcinfo)
served() { # asked at its port, not at rpcbind's
	local port
	port=$(demo_nfs_port)
	"$rpcinfo" -a 127.0.0.1.$((port / 256)).$((port % 256)) -T tcp 100003 4 >/dev/null 2>&1
}
url() { # VERSION [PATH]
	echo "nfs://127.0.0.1$DEMO_EXPORT${2:-}?version=$1&nfsport=$(demo_nfs_port)&mountport=$(demo_nfs_port)"
}
libnfs() { # VERSION OTHER: what a client of one wrote a client of the other reads
	cp -r "$top/runtime" "$DEMO_DIR/src/tree$1"
	(cd "$DEMO_DIR/src" && "$build/tests/tools/nfs_tree" copy "$(url "$1")" "tree$1" &&
		"$build/tests/tools/nfs_tree" verify "$(url "$2")" "tree$1") || wrong "libnfs by version $1"
}
libnfs_tools() { # its nfs-cp, which writes by version 3 only, nfs-cat and nfs-ls
	local v size
	size=$(stat -c %s "$build/isthmus")
	nfs-cp "$build/isthmus" "$(url 3 /tool)" >/dev/null || wrong nfs-cp
	for v in 3 4; do
		nfs-cat "$(url $v /tool)" | cmp - "$build/isthmus" || wrong "nfs-cat by version $v"
		nfs-ls "$(url $v)" >"$DEMO_DIR/list"
		grep -qE " $size +tool\$" "$DEMO_DIR/list" || wrong "nfs-ls by version $v: $(cat "$DEMO_DIR/list")"
	done
}
wrong() { echo "wrong: $*"; tail -20 "$DEMO_DIR/isthmus.log"; exit 1; }
lock() { "$build/tests/tools/nlm_lock" 127.0.0.1 "$(demo_nfs_port)" $DEMO_EXPORT held host "$1" 1 "$2" 10; }
demo_start
demo_prepare
demo_wait_served 20
mkfifo "$DEMO_DIR/go"
"$build/tests/tools/nfs4_restart" "$(demo_nfs_port)" $DEMO_EXPORT root@example.org <"$DEMO_DIR/go" >"$DEMO_DIR/out" 2>&1 &
client=$!
exec 5>"$DEMO_DIR/go"
says() { # WORD
	local i
	for ((i = 0; i < 100; i++)); do
		! grep -q "$1" "$DEMO_DIR/out" || return 0
		kill -0 $client 2>/dev/null || wrong "the client ended: $(cat "$DEMO_DIR/out")"
		sleep 0.1
	done
}
says held
[ "$(lock try 50)" = denied ] || wrong "version 3 got a lock that version 4 holds"
[ "$(lock try 100)" = granted ] || wrong "version 3 did not get a lock beside that of version 4"
[ "$(lock unlock 100)" = granted ] || wrong "version 3 did not give up its lock"
demo_cli head status | grep -q 'v4 LOCK ' || wrong "operations of version 4 are not counted"
# The next process keeps what clients have, and has nothing of this one's.
sed -i 's/durable_state: off/durable_state: on/' "$DEMO_DIR/isthmus.yaml"
for word in part reclaimed; do
	kill -9 "$(demo_pid head-head1)"
	sleep 0.5
	demo_wait_served 20
	echo go >&5
	[ $word = reclaimed ] || says $word
done
wait $client || wrong "$(cat "$DEMO_DIR/out")"
cat "$DEMO_DIR/out"
served || wrong "version 4 is not served"
mkdir "$DEMO_DIR/src"
libnfs 3 4
libnfs 4 3
libnfs_tools
sed -i 's/^    nfs4_domain:/    nfs4: off\n&/' "$DEMO_DIR/isthmus.yaml"
kill -9 "$(demo_pid head-head1)"
sleep 0.5
demo_wait_served 20
if served; then wrong "version 4 is served, and was not to be"; fi
