#!/usr/bin/env bash
# A head with two controllers: ROUNDS (10) of kill -9 of either under NFS load that remembers every
# answer. No client sees an error, nothing is lost, the head is never restarted, no pause is longer
# than WORST (2.0) s and the median not than MEDIAN (1.0) s; then fs check.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
: "${build:=$top/build/release}"
dir=$(mktemp -d /tmp/isthmus-heads2.XXXXXX)
mem=/dev/shm/isthmus${dir//\//-}
: "${ROUNDS:=10}" "${MEDIAN:=1.0}" "${WORST:=2.0}" "${PORT:=21749}" "${SEED:=$$}"
RANDOM=$SEED
url="nfs://127.0.0.1/demo?version=3&nfsport=$PORT&mountport=$PORT"
cli() { "$build/isthmus" --config "$dir/isthmus.yaml" "$@"; }
pid_of() { cut -d' ' -f1 "$dir/run/$1.pid"; }
loads=() isthmusd=

finish() {
	local p
	for p in "${loads[@]}"; do kill "$p" 2>/dev/null || true; done
	[ -z "$isthmusd" ] || { kill "$isthmusd" 2>/dev/null || true; wait "$isthmusd" || true; }
	rm -rf "$dir" "$mem"
}
trap finish EXIT
fail() {
	echo "FAILED: $*"
	cat "$dir"/load.* 2>/dev/null || true
	cli status || true
	cli head status head1 || true
	grep -v ' info ' "$dir/log" | tail -60
	exit 1
}
wait_for() { # SECONDS COMMAND...
	local until=$((SECONDS + $1))
	shift
	until "$@" >/dev/null 2>&1; do
		[ $SECONDS -lt $until ] || return 1
		sleep 0.1
	done
}

controller() { # NAME PARTNER PORT
	cat <<-YAML
	  - name: $1
	    cache: 64MiB
	    reactors: 2
	    disks: [$dir/disk0, $dir/disk1, $dir/disk2, $dir/disk3]
	    portals: ["127.0.0.1:$3"]
	    partner: $2
	    give_back_delay: 0
	YAML
}
mkdir -p "$dir"/{run,state} "$mem"
for i in 0 1 2 3; do truncate -s 512M "$dir/disk$i"; done
{
	cat <<-YAML
	array:
	  name: heads2
	  memory: volatile
	  run_dir: $dir/run
	  state_dir: $dir/state
	  memory_dir: $mem
	controllers:
	YAML
	controller a b $((PORT + 1))
	controller b a $((PORT + 2))
	cat <<-YAML
	heads:
	  - name: head1
	    group: g1
	    controller: a
	    address: 127.0.0.1
	    nfs_port: $PORT
	    mount_port: 0
	    rpcbind: off
	YAML
} >"$dir/isthmus.yaml"
"$build/isthmusd" -c "$dir/isthmus.yaml" >>"$dir/log" 2>&1 &
isthmusd=$!

mirrored() { cli status | grep -qE "^$1 +mirrored +in both controllers. memory "; }
served() { cli status | grep -q 'demo  *mounted'; }
channels() { cli head list | grep -qE "^head1 +[^ ]+ +$1 +up "; }
whole() { mirrored a && mirrored b && served && channels a && channels b; }

wait_for 30 mirrored a && wait_for 30 mirrored b || fail "the two controllers do not mirror"
cli pool create pa "$dir/disk0" "$dir/disk1" --level raid1 --controller a
cli pool create pb "$dir/disk2" "$dir/disk3" --level raid1 --controller b
cli group create g1 --pool pb --controller b
cli fs create demo --pool pa --size 300M --controller a
cli export add /demo --fs demo --client '*:rw,no_root_squash' --controller a
wait_for 20 whole || fail "the array is not whole"
head_pid=$(pid_of head-head1)

pauses=()
for ((round = 1; round <= ROUNDS; round++)); do
	victim=$([ $((RANDOM % 3)) = 0 ] && echo b || echo a)
	pid=$(pid_of "controller-$victim")
	"$build/tests/tools/oracle" nfs "$url" 5 2 >"$dir/load.stable" 2>&1 &
	loads=($!)
	"$build/tests/tools/oracle" nfs-unstable "$url" 5 3 >"$dir/load.unstable" 2>&1 &
	loads+=($!)
	sleep "1.$((RANDOM % 10))"
	kill -KILL "$pid"
	for p in "${loads[@]}"; do wait "$p" || fail "round $round: kill of $victim: the load found something"; done
	loads=()
	for kind in stable unstable; do
		line=$(tail -1 "$dir/load.$kind")
		echo "round $round: kill of $victim: $line"
		grep -q ' 0 without an answer' <<<"$line" || fail "round $round: a client saw an error"
		pauses+=("$(sed 's/.*longest pause \([0-9.]*\) s.*/\1/' <<<"$line")")
	done
	wait_for 30 whole || fail "round $round: not whole again"
	[ "$(pid_of head-head1)" = "$head_pid" ] || fail "round $round: the head was restarted"
done
cli head status head1 | sed -n '/^controller/,/^$/p;/longest_wait/p'
# A file system whose memory went would have been mounted anew.
! grep -E 'event fs\.(failed|unavailable|corrupt)' "$dir/log" || fail "the file system lost something"
cli fs check demo || fail "the file system is damaged"
! grep -E 'ERROR: |runtime error|check failed' "$dir/log" || fail "a daemon found a fault in itself"
printf '%s\n' "${pauses[@]}" | sort -n | awk -v m="$MEDIAN" -v w="$WORST" '{ v[NR] = $1 } END {
	median = v[int((NR + 1) / 2)]
	printf "pauses: median %.2f s, worst %.2f s, of %d\n", median, v[NR], NR
	exit median > m || v[NR] > w }' || { echo "FAILED: too long"; exit 1; }
