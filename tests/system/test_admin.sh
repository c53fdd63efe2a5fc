#!/usr/bin/env bash
# Wrong words on every way in: junk on the unix sockets, odd values for every verb, configuration
# files that are broken. Each gets a clear error and exit status 1 or 2; nobody dies; --json is JSON.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
: "${build:=$top/build/release}"
DEMO_DIR=$(mktemp -d /tmp/isthmus-admin.XXXXXX)
DEMO_DISK_SIZE=1G DEMO_FS_SIZE=64M DEMO_LUN_SIZE=64M DEMO_CACHE=64MiB DEMO_RPCBIND=off
DEMO_NFS_PORT=27049 DEMO_ISCSI_PORT=27260
. "$top/tests/system/demo.sh"
trap 'demo_stop || true; demo_remove' EXIT
bad=0 runs=0
out=$DEMO_DIR/out
fail() { echo "FAILED: $*: $(head -c 400 "$out" 2>/dev/null)"; bad=1; }

# Must end with 0, 1 or 2; with 1 and 2 there is a sentence: of the program, or FILE:LINE: of a file.
cli() {
	local rc=0
	timeout 30 "$build/isthmus" --config "$DEMO_DIR/isthmus.yaml" "$@" >"$out" 2>&1 </dev/null || rc=$?
	runs=$((runs + 1))
	[ $rc -le 2 ] || fail "status $rc of isthmus ${*:1:6}"
	[ $rc -eq 0 ] || grep -qaE '(^isthmus: |:[0-9]+: ).' "$out" || fail "no sentence from isthmus ${*:1:6}"
	last=$rc
}
refused() { cli "$@"; [ "$last" -ne 0 ] || fail "taken: isthmus $*"; }

demo_start
demo_prepare >/dev/null
pids="$(demo_pid isthmusd) $(demo_pid controller-a) $(demo_pid head-head1)"

# ---- every list is JSON
for v in status "config show" "disk list" "pool list" "pool show main" "volume list" "volume show scratch" \
	"target list" "lun list" "initiator list" "session list" "fs list" "export list" "head list" \
	"head state" "group list" "backup list" "backup status" "event list"; do
	# shellcheck disable=SC2086
	demo_cli --json $v >"$out" 2>&1 || fail "--json $v"
	"$build/tests/system/json_check" <"$out" || fail "--json $v is no JSON"
done

# ---- odd values for every verb
values=("" x -1 99999999999999999999 "a b" $'\n' '%s%n'
	"$(head -c 3000 /dev/zero | tr '\0' A)" é /nonexistent)
verbs=$(sed -n 's/^ *{"\([a-z.]*\)", VERB_.*/\1/p' "$top/admin/verbs.c")
[ "$(echo "$verbs" | wc -l)" -gt 40 ] || fail "the verbs were not found"
for v in $verbs; do
	case $v in top | completion | fs.verify | ping | stats) continue ;; esac
	w=${v/./ }
	# shellcheck disable=SC2086
	{
		refused $w --nosuch
		refused $w --nosuch=3 a b c d e f g h
		for x in "${values[@]}"; do
			cli $w "$x"
			cli $w "$x" "$x" --pool "$x" --size "$x"
		done
	}
done
refused nosuch
refused volume nosuch
refused volume create v --pool main --size 999999T
refused volume resize scratch 1M
refused volume remove scratch
refused pool remove main
refused lun add $DEMO_IQN scratch --lun 16384
refused lun add $DEMO_IQN scratch --lun 0
refused pool create other --level raid1 "$DEMO_DISK_DIR/disk0" "$DEMO_DISK_DIR/disk1"

# ---- broken configuration files
good=$DEMO_DIR/isthmus.yaml n=0
broken() { # SED-SCRIPT
	sed "$1" "$good" >"$DEMO_DIR/broken.yaml"
	n=$((n + 1))
	! cmp -s "$good" "$DEMO_DIR/broken.yaml" || fail "the script changes nothing: $1"
	refused config check "$DEMO_DIR/broken.yaml"
	grep -q 'broken.yaml' "$out" || fail "the file is not named: $1"
}
for key in array: controllers: name: cache: disks: portals: group: controller: address:; do
	broken "0,/$key/s//no$key/"
	broken "0,/$key.*/s//$key {/"
done
for key in memory: log_level: cache: nfs_port: mount_port: rpcbind: address: portals: controller: disks:; do
	broken "0,/$key.*/s//$key [[1, 2], 3]/"
	broken "0,/$key.*/s//$key -17x/"
	broken "0,/$key.*/s//$key %%%/"
done
broken 's/cache: .*/cache: 1B/'
broken 's/cache: .*/cache: 99999999999T/'
broken 's/nfs_port: .*/nfs_port: 65536/'
broken 's/portals: .*/portals: ["1.2.3.4:99999"]/'
broken 's/portals: .*/portals: ["nowhere"]/'
broken 's/^heads:/heads: 5\nmore:/'
broken 's/group: g1/group: g1\n    group: g2/'
broken 's/^/\t/'
broken '3s/$/: : :/'
broken "1s/^/\\x01\\xff\\xfe/"
echo -n >"$DEMO_DIR/broken.yaml" && refused config check "$DEMO_DIR/broken.yaml"
head -c 100000 /dev/urandom >"$DEMO_DIR/broken.yaml" && refused config check "$DEMO_DIR/broken.yaml"
refused config check "$DEMO_DIR"
refused config check /nonexistent
cli config check
[ "$last" = 0 ] || fail "the good file"

# ---- junk on the sockets
timeout 60 "$build/tests/system/socket_junk" 150 "$DEMO_DIR"/run/*.sock || fail "a socket is dead"
cli status
[ "$last" = 0 ] || fail "status after the junk"
cli head list
grep -q "head1 .*up" "$out" || fail "the head is not connected"
[ "$pids" = "$(demo_pid isthmusd) $(demo_pid controller-a) $(demo_pid head-head1)" ] || fail "a daemon died"
grep -q '"scratch"' <(demo_cli --json volume list) || fail "the volume is gone"
echo "$runs command lines, $n broken files"
exit $bad
