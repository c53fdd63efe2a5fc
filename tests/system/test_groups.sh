#!/usr/bin/env bash
# Two groups of two heads each: each group has a volume and a backup of its own, its heads see each other there and nobody
# else; any head orders the backup of its own group, of another, of all, and so does the management side.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
: "${build:=$top/build/release}"
DEMO_DIR=$(mktemp -d /tmp/isthmus-groups.XXXXXX)
DEMO_DISK_SIZE=512M DEMO_FS_SIZE=64M DEMO_LUN_SIZE=16M DEMO_CACHE=64MiB DEMO_RPCBIND=off
DEMO_NFS_PORT=${DEMO_NFS_PORT:-18610} DEMO_ISCSI_PORT=${DEMO_ISCSI_PORT:-18620}
head_of() { # NAME GROUP PORT
	cat <<-YAML
	  - name: $1
	    group: $2
	    controller: a
	    address: 0.0.0.0
	    nfs_port: $3
	    mount_port: 0
	    rpcbind: off
	YAML
}
DEMO_HEAD_EXTRA="$(head_of head2 g1 $((DEMO_NFS_PORT + 1)))
$(head_of head3 g2 $((DEMO_NFS_PORT + 2)))
$(head_of head4 g2 $((DEMO_NFS_PORT + 3)))"
. "$top/tests/system/demo.sh"
trap 'demo_stop || true; demo_remove' EXIT
fail() { echo "FAILED: $*"; demo_cli head list || true; demo_cli backup list || true; demo_cli backup status || true; tail -30 "$DEMO_DIR/isthmus.log"; exit 1; }
within() { # SECONDS COMMAND...
	local i n=$1
	shift
	for ((i = 0; i < n * 10; i++)); do
		! "$@" >/dev/null 2>&1 || return 0
		sleep 0.1
	done
	return 1
}
sees() { # HEAD OTHER...
	[ "$(demo_cli head state "$1" | sed -n '2,/^$/s/^\(head[0-9]*\) *up .*/\1/p' | tr '\n' ' ')" = "$2 $3 " ]
}
seq_of() { demo_cli backup list "$1" | sed -n "s/^$1 *\([0-9]*\) .*/\1/p"; }
made() { # WHAT G1 G2: since it was asked last
	local a b
	a=$(seq_of g1) b=$(seq_of g2)
	[ $((a - last1)) = "$2" ] && [ $((b - last2)) = "$3" ] || fail "$1: $((a - last1)) of g1, $((b - last2)) of g2"
	last1=$a last2=$b
}

demo_start
demo_prepare >/dev/null
demo_cli group create g2 --pool main --size 64MiB >/dev/null
demo_cli backup policy g1 --manual >/dev/null
demo_cli backup policy g2 --manual >/dev/null
demo_wait_served 20
within 10 sees head1 head1 head2 || fail "head1 does not see its group"
within 10 sees head2 head1 head2 || fail "head2 does not see its group"
within 10 sees head3 head3 head4 || fail "head3 does not see its group"
within 10 sees head4 head3 head4 || fail "head4 does not see its group"

last1=0 last2=0
demo_cli backup run --head head2 >/dev/null && made "its own group" 1 0
demo_cli backup run --head head4 >/dev/null && made "its own group" 0 1
demo_cli backup run g2 --head head1 >/dev/null && made "the other group" 0 1
demo_cli backup run g1 --head head3 >/dev/null && made "the other group" 1 0
demo_cli backup run --all --head head4 >/dev/null && made "all, by a head" 1 1
demo_cli backup run --all >/dev/null && made "all, by the management side" 1 1
demo_cli backup run g2 >/dev/null && made "one, by the management side" 0 1
! demo_cli backup run >"$DEMO_DIR/out" 2>&1 || fail "which group was not said"
grep -q 'name one, or say --all' "$DEMO_DIR/out" || fail "refused without a reason"
demo_cli --json backup run g1 >"$DEMO_DIR/out" && made "as JSON" 1 0
grep -q '"copied"' "$DEMO_DIR/out" || fail "no bytes"
demo_cli backup verify >"$DEMO_DIR/out" || fail "they do not hold"
[ "$(grep -c ' ok$' "$DEMO_DIR/out")" = 2 ] || fail "not both were read"

! demo_cli backup restore >"$DEMO_DIR/out" 2>&1 || fail "which group was not said"
! demo_cli backup restore g2 >"$DEMO_DIR/out" 2>&1 || fail "a volume that heads live on was replaced"
grep -q 'head[34].*newer' "$DEMO_DIR/out" || fail "refused without a reason"
echo "two groups, each with its own state and backups"
