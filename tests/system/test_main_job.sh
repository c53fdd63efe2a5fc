#!/usr/bin/env bash
# The main job on a small tree: NFS copy and compare, LUN write and verify, a state backup, a clean
# stop, and everything still there after the next start. Both memory policies.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=$top/build/release
DEMO_DIR=$(mktemp -d /tmp/isthmus-job.XXXXXX)
DEMO_DISK_SIZE=1G DEMO_FS_SIZE=512M DEMO_LUN_SIZE=256M DEMO_CACHE=64MiB DEMO_RPCBIND=off
DEMO_NFS_PORT=16049 DEMO_ISCSI_PORT=16260
. "$top/tests/system/demo.sh"
trap 'demo_stop || true; demo_remove' EXIT

job() {
	"$build/tests/tools/nfs_tree" "$1" "$(demo_nfs_url)" "$top/runtime" /usr/include/linux
	"$build/tests/tools/iscsi_lun" "$2" "$(demo_iscsi_url)" 128
}

demo_start
demo_prepare
job copy write
job verify verify
# A new array has nothing to wait for: no grace period.
"$build/tests/tools/nfs_tree" verify "$(demo_nfs4_url)" "$top/runtime"
demo_cli backup run
demo_cli backup run --head head1
demo_cli backup run --all --head head1
demo_cli backup run no-such-group --head head1 && exit 1
demo_cli --json backup list | grep -q '"backup": 3'
demo_cli backup verify
demo_cli fs check demo
demo_cli status
demo_stop
DEMO_MEMORY=battery
demo_start
job verify verify
demo_cli fs check demo
