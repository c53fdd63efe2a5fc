#!/usr/bin/env bash
# Every procedure of NFSv3 and MOUNT against a real array: tests/tools/nfs3_conform, and the exports it
# expects. It runs twice: with everything in memory, and by a head that was killed in between.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=$top/build/release
DEMO_DIR=$(mktemp -d /tmp/isthmus-conform.XXXXXX)
DEMO_DISK_SIZE=1G DEMO_FS_SIZE=512M DEMO_LUN_SIZE=64M DEMO_CACHE=64MiB DEMO_RPCBIND=off
DEMO_NFS_PORT=${DEMO_NFS_PORT:-17649} DEMO_ISCSI_PORT=${DEMO_ISCSI_PORT:-17860}
. "$top/tests/system/demo.sh"
trap 'demo_stop || true; demo_remove' EXIT
wrong() { echo "wrong: $*"; tail -40 "$DEMO_DIR/isthmus.log"; exit 1; }
demo_start
demo_prepare
demo_wait_served 20
mkdir -p "$DEMO_DIR/src/sub"
(cd "$DEMO_DIR/src" && "$build/tests/tools/nfs_tree" copy "$(demo_nfs_url)" sub)
demo_cli fs create other --pool main --size 64M
demo_cli export add /other --fs other --client '*:rw,no_root_squash'
demo_cli export add /ro --fs demo --client '*:ro,no_root_squash'
demo_cli export add /squash --fs demo --client '*:rw'
demo_cli export add /all --fs demo --client '*:rw,all_squash,anonuid=1234,anongid=2345'
demo_cli export add /hosts --fs demo --client '127.0.0.2:rw,no_root_squash' --client '127.0.4.0/24:ro'
demo_cli export add /secure --fs demo --client '*:rw,no_root_squash,secure'
demo_cli export add /sub --fs demo --subdir /sub --client '*:rw,no_root_squash'
demo_cli export add /later --fs demo --subdir /later --client '*:rw,no_root_squash'
for ((i = 0; i < 100; i++)); do
	demo_cli status | grep -q 'other  *mounted' && break
	sleep 0.1
done
pid=$(demo_pid head-head1)
export ISTHMUS="$build/isthmus --config $DEMO_DIR/isthmus.yaml"
"$build/tests/tools/nfs3_conform" 127.0.0.1 "$(demo_nfs_port)" || rc=1
[ "$(demo_pid head-head1)" = "$pid" ] || wrong "the head was restarted"
kill -9 "$pid"
sleep 1
demo_wait_served 20
"$build/tests/tools/nfs3_conform" 127.0.0.1 "$(demo_nfs_port)" attr make rename link data dirs rights \
	again squash hosts subdir || rc=1
demo_cli fs check demo
demo_cli fs check other
[ -z "${rc:-}" ] || wrong "checks failed"
