#!/usr/bin/env bash
# A head registers with rpcbind, so that showmount and mounts without ports work; again after it was
# killed; and takes its registrations back at its end. Without rpcbind nothing fails.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=$top/build/release
rpcbind=$(command -v rpcbind || echo /usr/sbin/rpcbind)
DEMO_DIR=$(mktemp -d /tmp/isthmus-rpcbind.XXXXXX)
DEMO_DISK_SIZE=512M DEMO_FS_SIZE=256M DEMO_LUN_SIZE=64M DEMO_CACHE=64MiB DEMO_RPCBIND=auto
DEMO_NFS_PORT=17349 DEMO_ISCSI_PORT=17560
. "$top/tests/system/demo.sh"
skip() { echo "skipped: $*"; rm -rf "$DEMO_DIR"; exit 0; }
[ -x "$rpcbind" ] && command -v rpcinfo showmount >/dev/null || skip "rpcbind is not installed"
[ "$(id -u)" = 0 ] || skip "rpcbind wants root"
demo_port_free 111 || skip "port 111 is another's"
registered() { rpcinfo -p 127.0.0.1 2>/dev/null | awk -v p="$(demo_nfs_port)" '$4 == p' | wc -l; }
wait_registered() { # COUNT SECONDS
	local i
	for ((i = 0; i < $2 * 10; i++)); do
		[ "$(registered)" = "$1" ] && return
		sleep 0.1
	done
	echo "registered: $(registered), not $1"
	tail -20 "$DEMO_DIR/isthmus.log"
	return 1
}
server=
trap 'demo_stop || true; [ -z "$server" ] || kill $server || true; demo_remove' EXIT

demo_start # without
demo_prepare
demo_wait_served 20
demo_stop

"$rpcbind" -f &
server=$!
for ((i = 0; i < 50; i++)); do demo_port_free 111 || break; sleep 0.1; done
demo_start
wait_registered 17 20
showmount -e 127.0.0.1 | tee /dev/stderr | grep -q "^$DEMO_EXPORT "
kill -9 "$(demo_pid head-head1)"
sleep 1
demo_wait_served 20
wait_registered 17 20
demo_stop
wait_registered 0 5
