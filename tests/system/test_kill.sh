#!/usr/bin/env bash
# 30 rounds of kill -9 of controller, head or supervisor under load: no acknowledged change is lost
# and the file system is sound.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=$top/build/release
DEMO_DIR=$(mktemp -d /tmp/isthmus-kill.XXXXXX)
DEMO_DISK_SIZE=1G DEMO_FS_SIZE=512M DEMO_LUN_SIZE=256M DEMO_CACHE=64MiB DEMO_RPCBIND=off
DEMO_NFS_PORT=17049 DEMO_ISCSI_PORT=17260
. "$top/tests/system/demo.sh"
. "$top/tests/system/kill_rounds.sh"
trap 'demo_stop || true; demo_remove' EXIT
demo_start
demo_prepare
kill_rounds "${ROUNDS:-30}" || { tail -60 "$DEMO_DIR/isthmus.log"; exit 1; }
demo_cli fs check demo
demo_cli event list --count 10
