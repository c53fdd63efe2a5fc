#!/usr/bin/env bash
# What a backup of a group's state costs the head's clients: latency over NFS without backups, while five a second are made
# of what changed, and while the first after a start of the controller compares all of 1 GiB. Turns are interleaved, medians of
# ROUNDS (7) turns of SECONDS_A_TURN (2). Clients with locks change the state meanwhile. 5 GB in /dev/shm; any user.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
: "${build:=$top/build/release}"
DEMO_DIR=$(mktemp -d /dev/shm/isthmus-bench-backup.XXXXXX)
DEMO_DISK_SIZE=2G DEMO_FS_SIZE=128M DEMO_LUN_SIZE=16M DEMO_CACHE=512MiB DEMO_RPCBIND=off DEMO_GROUP=big
DEMO_NFS_PORT=18650 DEMO_ISCSI_PORT=18660
DEMO_HEAD_EXTRA="    durable_state: on"
. "$top/tests/system/demo.sh"
trap 'rm -f "$DEMO_DIR/go" "$DEMO_DIR/back"; demo_stop || true; demo_remove' EXIT
rounds=${ROUNDS:-7} turn=${SECONDS_A_TURN:-2}
latency() { "$build/tests/bench/bench_latency" "$(demo_nfs_url)" "$turn"; }
backups() { while [ -e "$DEMO_DIR/back" ]; do demo_cli --json backup run >>"$DEMO_DIR/made" || true; sleep 0.2; done; }
locks() {
	while [ -e "$DEMO_DIR/go" ]; do
		for op in try unlock; do
			"$build/tests/tools/nlm_lock" 127.0.0.1 "$(demo_nfs_port)" $DEMO_EXPORT nlm w $op 1 0 10 >/dev/null || true
		done
	done
}
median() { sort -n "$1" | awk '{v[NR] = $1} END {print v[int((NR + 1) / 2)]}'; }
row() { printf '%-28s %8s %8s %8s\n' "$@"; }

demo_start
for i in 0 1 2 3; do disks+=("$DEMO_DISK_DIR/disk$i"); done
demo_cli pool create main --level raid10 "${disks[@]}" >/dev/null
demo_cli group create big --pool main --size 1GiB >/dev/null
demo_cli fs create demo --pool main --size $DEMO_FS_SIZE >/dev/null
demo_cli export add $DEMO_EXPORT --fs demo --client '*:rw,no_root_squash' >/dev/null
demo_cli backup policy --manual >/dev/null
demo_wait_served 20
touch "$DEMO_DIR/go"
locks & load=$!
demo_cli backup run
for ((i = 0; i < rounds; i++)); do
	for what in none changed; do
		backs=
		if [ $what = changed ]; then
			touch "$DEMO_DIR/back"
			backups & backs=$!
		fi
		read -r n p50 p99 longest < <(latency)
		echo "$p50" >>"$DEMO_DIR/p50.$what"
		echo "$p99" >>"$DEMO_DIR/p99.$what"
		echo "$longest" >>"$DEMO_DIR/longest.$what"
		rm -f "$DEMO_DIR/back"
		[ -z "$backs" ] || wait $backs
	done
done
kill -9 "$(demo_pid controller-a)"
sleep 1
demo_wait_served 20
(sleep 0.5; demo_cli backup run >>"$DEMO_DIR/whole") & backs=$!
read -r n p50 p99 longest < <(SECONDS_A_TURN=$turn latency)
wait $backs
rm "$DEMO_DIR/go"
wait $load
row "us" median p99 longest
for what in none changed; do
	row "backups: $what" "$(median "$DEMO_DIR/p50.$what")" "$(median "$DEMO_DIR/p99.$what")" "$(median "$DEMO_DIR/longest.$what")"
done
row "backups: all compared" "$p50" "$p99" "$longest"
cat "$DEMO_DIR/whole"
awk -F: '/"copied"/ {gsub(/[ ,]/, "", $2); n++; sum += $2} END {printf "%d backups, %.0f KiB each, of 1 GiB\n", n, sum / n / 1024}' "$DEMO_DIR/made"
