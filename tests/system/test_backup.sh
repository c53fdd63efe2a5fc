#!/usr/bin/env bash
# Backups of the running state by themselves: at the interval of the group, not when it says manual;
# the policy lives on over restarts; after a killed controller the first order is carried out.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
: "${build:=$top/build/release}"
DEMO_DIR=$(mktemp -d /tmp/isthmus-backup.XXXXXX)
DEMO_DISK_SIZE=256M DEMO_FS_SIZE=64M DEMO_LUN_SIZE=16M DEMO_CACHE=64MiB DEMO_RPCBIND=off
DEMO_NFS_PORT=23340 DEMO_ISCSI_PORT=23345
. "$top/tests/system/demo.sh"
trap 'demo_stop || true; demo_remove' EXIT
fail() { echo "FAILED: $*"; demo_cli backup policy || true; demo_cli backup list || true; tail -30 "$DEMO_DIR/isthmus.log"; exit 1; }
made() { demo_cli --json backup list | sed -n 's/.*"backup": *\([0-9]*\).*/\1/p'; }
at_least() { [ "$(made)" -ge "$1" ]; }
within() { # SECONDS COMMAND...
	local i n=$1
	shift
	for ((i = 0; i < n * 5; i++)); do
		! "$@" 2>/dev/null || return 0
		sleep 0.2
	done
	return 1
}

demo_start
demo_prepare >/dev/null
demo_wait_served 20
demo_cli backup policy | grep -q '^g1 *interval *1 h\|^g1 *interval *1h\|^g1 *interval *3600' || fail "the default is not an hour"
[ "$(made)" = 0 ] || fail "a backup at once"

demo_cli backup policy --interval 2s >/dev/null
within 15 at_least 3 || fail "no backups by themselves"
demo_cli event list --count 200 | grep -q 'backup.done' || fail "no event"
demo_cli backup verify >/dev/null || fail "they do not hold"

# A killed controller: the first order is carried out, and the interval goes on.
n=$(made)
kill -9 "$(demo_pid controller-a)"
within 15 demo_wait_served 1 || fail "no service"
demo_cli backup policy g1 --manual >/dev/null
sleep 2
demo_cli backup run >/dev/null || fail "the first order after a killed controller is refused"
at_least $((n + 1)) || fail "it was not made"

# manual: none by themselves.
n=$(made)
sleep 5
[ "$(made)" = "$n" ] || fail "a backup though the policy is manual"

# Over a restart of everything.
demo_stop
demo_start
demo_wait_served 20
demo_cli backup policy | grep -q '^g1 *manual' || fail "the policy was forgotten"
demo_cli backup run >/dev/null || fail "the first order after a restart is refused"
demo_cli backup run --head head1 >/dev/null || fail "a head's order is refused"
demo_cli backup policy g1 --interval 1s >/dev/null
n=$(made)
within 15 at_least $((n + 2)) || fail "no backups after --interval"

for mode in load continuous; do
	demo_cli backup policy g1 --$mode >/dev/null
	demo_cli backup policy | grep -q "^g1 *$mode" || fail "the policy is not $mode"
done
demo_cli backup policy g1 --interval 1s >/dev/null
! demo_cli backup restore >"$DEMO_DIR/out" 2>&1 || fail "a volume that a head lives on was replaced"
grep -q "head1.*newer" "$DEMO_DIR/out" || fail "refused without a reason"
! demo_cli backup restore nosuch >"$DEMO_DIR/out" 2>&1 || fail "a group that there is not was restored"
[ -s "$DEMO_DIR/out" ] || fail "refused without a word"
demo_cli --json backup status g1 | grep -q '"heads"' || fail "status does not tell where heads live"

for wrong in "--load --manual" "--load --continuous" "--interval 0" "--interval 5x" "--interval -1s" "--interval 400d" "--interval" "--manual --interval 1h" "nosuch --manual"; do
	# shellcheck disable=SC2086
	! demo_cli backup policy $wrong >"$DEMO_DIR/out" 2>&1 || fail "accepted: $wrong"
	[ -s "$DEMO_DIR/out" ] || fail "refused without a word: $wrong"
done
demo_cli backup policy | grep -q '^g1 *interval' || fail "a wrong word changed the policy"
echo "backups: by themselves and by word"
