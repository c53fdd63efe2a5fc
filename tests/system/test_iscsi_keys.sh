#!/usr/bin/env bash
# Data transfer with every combination of keys; see iscsi_keys.c.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
: "${build:=$top/build/release}"
DEMO_DIR=$(mktemp -d /tmp/isthmus-keys.XXXXXX)
DEMO_DISK_SIZE=1G DEMO_FS_SIZE=64M DEMO_LUN_SIZE=128M DEMO_CACHE=64MiB DEMO_RPCBIND=off
DEMO_NFS_PORT=23049 DEMO_ISCSI_PORT=23260
. "$top/tests/system/demo.sh"
trap 'demo_stop || true; demo_remove' EXIT
demo_start
demo_prepare
timeout 90 "$build/tests/system/iscsi_keys" "$(demo_iscsi_port)" "$DEMO_IQN" 128
