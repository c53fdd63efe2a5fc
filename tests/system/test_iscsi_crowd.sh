#!/usr/bin/env bash
# A thousand sessions at once, each with I/O; then connections that come and go, with flat memory
# and no descriptor left; see iscsi_crowd.c. CONNECTIONS=100000 makes it the long run.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
: "${build:=$top/build/release}" "${SESSIONS:=1000}" "${CONNECTIONS:=4000}" "${CROWD_DIR:=/tmp}"
DEMO_DIR=$(mktemp -d "$CROWD_DIR/isthmus-crowd.XXXXXX")
DEMO_DISK_SIZE=1G DEMO_FS_SIZE=64M DEMO_LUN_SIZE=64M DEMO_CACHE=64MiB DEMO_RPCBIND=off
: "${DEMO_NFS_PORT:=23400}" "${DEMO_ISCSI_PORT:=23401}"
. "$top/tests/system/demo.sh"
trap 'demo_stop || true; demo_remove' EXIT
demo_start
demo_prepare >/dev/null
controller=$(demo_pid controller-a)
timeout $((60 + CONNECTIONS / 50)) "$build/tests/system/iscsi_crowd" "$(demo_iscsi_port)" "$DEMO_IQN" \
	"$controller" "$SESSIONS" "$CONNECTIONS"
[ "$(demo_pid controller-a)" = "$controller" ] || { echo "FAILED: the controller died"; exit 1; }
