#!/usr/bin/env bash
# The software volume: two heads under NFS load are given another version of their program, one
# after the other, without a client that sees an error; versions that crash or do not serve are
# rolled back by themselves; impossible ones are refused beforehand; damaged ones are neither
# activated nor booted; isthmusd, a controller and the one who
# ordered it die meanwhile. PARTNER=1: with two controllers.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
: "${build:=$top/build/release}"
dir=$(mktemp -d /tmp/isthmus-software.XXXXXX)
mem=/dev/shm/isthmus${dir//\//-}
: "${PORT:=21840}" "${PARTNER:=}"
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
	cat "$dir"/load.* "$dir/out" 2>/dev/null || true
	cli software list || true
	cli event list | tail -30 || true
	grep -v ' info ' "$dir/log" | tail -40
	exit 1
}
wait_for() { # SECONDS COMMAND...
	local until=$((SECONDS + $1))
	shift
	until "$@" >/dev/null 2>&1; do
		[ $SECONDS -lt $until ] || return 1
		sleep 0.05
	done
}
refused() { # TEXT COMMAND...: fails, and says so
	local text=$1
	shift
	if "$@" >"$dir/out" 2>&1; then fail "not refused: $*"; fi
	grep -q "$text" "$dir/out" || fail "$* does not say '$text'"
}
supervise() {
	"$build/isthmusd" -c "$dir/isthmus.yaml" >>"$dir/log" 2>&1 &
	isthmusd=$!
}
note_at() { # FILE: where the content of its note begins
	LC_ALL=C grep -obUaP 'Isthmus\x00\x01\x00\x00\x00\x01\x00\x00\x00' "$1" | head -1 | cut -d: -f1
}
patch() { # FILE OFFSET BYTES
	printf "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}
variant() { # FROM TO BUILD
	cp "$1" "$dir/$2"
	patch "$dir/$2" $(($(note_at "$1") + 16)) "$3\\0\\0\\0\\0\\0\\0"
}
runs() { # HEAD VERSION
	cli software list | sed -n '/^HEADS/,$p' | grep -qE "^$1 +$2 "
}
both_run() { runs h1 "$1" && runs h2 "$1"; }
under_way() { # VERSION: it is being activated, or is already
	cli --json software list | grep -q '"activation": "forward"' || both_run "$1"
}
settled() { cli --json software list | grep -q '"activation": "none"'; }
start_load() { # SECONDS
	local h
	loads=()
	for h in 1 2; do
		"$build/tests/tools/oracle" nfs "nfs://127.0.0.1/d$h?version=3&nfsport=$((PORT + h))&mountport=$((PORT + h))" \
			"$1" "$h" >"$dir/load.$h" 2>&1 &
		loads+=($!)
	done
}
load_was_well() { # WHAT
	local h p
	for p in "${loads[@]}"; do wait "$p" || fail "$1: the load found something"; done
	loads=()
	for h in 1 2; do
		# What was not answered when its connection ended was asked again.
		grep -q ' 0 wrong' <(tail -1 "$dir/load.$h") || fail "$1: a client saw an error"
		echo "$1, head h$h: $(tail -1 "$dir/load.$h")"
	done
}

mkdir -p "$dir"/{run,state} "$mem"
for i in 0 1; do truncate -s 1G "$dir/disk$i"; done
{
	cat <<-YAML
	array:
	  name: software
	  memory: volatile
	  run_dir: $dir/run
	  state_dir: $dir/state
	  memory_dir: $mem
	controllers:
	YAML
	for c in a ${PARTNER:+b}; do
		cat <<-YAML
		  - name: $c
		    cache: 64MiB
		    disks: [$dir/disk0, $dir/disk1]
		    portals: ["127.0.0.1:$((PORT + 9 + $(printf %d "'$c")))"]
		    ${PARTNER:+partner: $([ $c = a ] && echo b || echo a)}
		YAML
	done
	echo heads:
	for h in 1 2; do
		cat <<-YAML
		  - name: h$h
		    group: g1
		    controller: a
		    address: 127.0.0.1
		    nfs_port: $((PORT + h))
		    mount_port: 0
		    rpcbind: off
		    durable_state: on
		YAML
	done
} >"$dir/isthmus.yaml"
supervise
wait_for 20 cli pool list || fail "no controller"
[ -z "$PARTNER" ] || wait_for 20 eval 'cli status | grep -qE "^a +mirrored"' || fail "no partner"
cli pool create p "$dir/disk0" "$dir/disk1" --level raid1
cli group create g1 --pool p
for h in 1 2; do
	cli fs create d$h --pool p --size 200M --head h$h
	cli export add /d$h --fs d$h --client '*:rw,no_root_squash'
done
both_run installed || fail "the heads do not run the installed program"

# What cannot be, is refused before anything is done.
head=$build/isthmus-head
variant "$head" two 0.2
variant "$head" formats 0.3
patch "$dir/formats" $(($(note_at "$dir/formats") + 16 + 48 + 16 + 4)) '\11\0\0\0\11\0\0\0\11\0\0\0'
cp "$head" "$dir/machine"
patch "$dir/machine" 18 '\267\0'
refused 'is no program' cli software install "$dir/isthmus.yaml"
refused 'is no isthmus-head' cli software install "$build/isthmus"
refused 'is built for aarch64' cli software install "$dir/machine"
refused 'not a name' cli software install "$head" --name installed
cli software install "$head" --name v1
cli software install "$dir/two"
cli software install "$dir/formats"
cli software install "$build/tests/system/bad_head"
variant "$build/tests/system/bad_head" idle idle
cli software install "$dir/idle"
refused 'already' cli software install "$dir/two"
refused 'no version' cli software activate nothing
refused 'format file-system.*writes version.*reads 9 to 9' cli software activate 0.3
refused 'no version to go back to' cli software rollback
cli software show 0.2 | grep -q 'file-system' || fail "formats are not shown"

# One version after the other, under load; the one who ordered it goes away.
start_load 4
sleep 1
cli software activate v1 >"$dir/out" 2>&1 || fail "v1 was not activated"
both_run v1 || fail "the heads do not run v1"
"$build/isthmus" --config "$dir/isthmus.yaml" software activate 0.2 >"$dir/out" 2>&1 &
ordered=$!
wait_for 10 under_way 0.2 || fail "the activation of 0.2 does not begin"
kill -9 $ordered 2>/dev/null || true
wait $ordered || true
wait_for 20 both_run 0.2 && wait_for 5 settled || fail "0.2 was not activated without the one who ordered it"
load_was_well "two activations"
cli head list | grep -q ' 0.2 ' || fail "head list does not tell the version"
refused 'in use' cli software remove 0.2

# Versions that do not come up, or do not serve: back by themselves.
start_load 5
sleep 1
refused 'rolled back.*head h1' cli software activate crash
both_run 0.2 || fail "the heads do not run 0.2 after a version that crashes"
refused 'rolled back.*not in service in time' cli software activate idle --wait 2
both_run 0.2 || fail "the heads do not run 0.2 after a version that does not serve"
load_was_well "two roll-backs"
cli event list | grep -q 'software.rollback' || fail "no event of the roll-back"

# One head alone, and back.
cli software activate v1 --head h2 >"$dir/out"
runs h1 0.2 && runs h2 v1 || fail "not one head alone"
cli software rollback --head h2 >"$dir/out"
both_run 0.2 || fail "the head did not go back"

# isthmusd is killed in the middle: the next one goes on. So it does over the death of a controller.
start_load 5
cli software rollback >"$dir/out" 2>&1 &
ordered=$!
wait_for 10 under_way v1 || fail "the roll-back does not begin"
kill -9 "$isthmusd"
wait "$isthmusd" || true
wait $ordered || true
supervise
wait_for 20 both_run v1 && wait_for 5 settled || fail "the next isthmusd does not go on"
cli software activate 0.2 >"$dir/out" 2>&1 &
ordered=$!
wait_for 10 under_way 0.2 || fail "the activation does not begin"
kill -9 "$(pid_of controller-a)"
wait $ordered || fail "the activation did not survive the controller"
both_run 0.2 || fail "the heads do not run 0.2 over the death of the controller"
load_was_well "deaths in the middle"

# A damaged program is not activated; one that is active is not booted: the installed one is.
at=$(LC_ALL=C grep -obUaP 'Isthmus\x00\x01\x00\x00\x00\x01\x00\x00\x000\.2\x00' "$dir/disk0" | head -1 | cut -d: -f1)
[ -n "$at" ] || fail "the program is not on the disk"
kill "$isthmusd"; wait "$isthmusd" || true
for i in 0 1; do patch "$dir/disk$i" $((at + 17)) 'X'; done
rm -rf "$mem"; mkdir -p "$mem"
supervise
wait_for 20 both_run installed || fail "no installed program instead of a damaged one"
cli event list | grep -q 'head.fallback' || fail "no event of the damaged program"
refused 'damaged' cli software activate 0.2
cli software activate v1 >"$dir/out" || fail "v1 was not activated over the damaged one"
cli software remove 0.2
both_run v1 || fail "the heads do not run v1 at last"
refused 'activate installed first' cli software remove --volume
cli software activate installed >"$dir/out" || fail "not back to the installed program"
cli software remove --volume
cli volume list | grep -q software && fail "the software volume is still there"
! grep -E 'ERROR: |runtime error|check failed' "$dir/log" || fail "a daemon found a fault in itself"
for h in 1 2; do cli fs check d$h >/dev/null || fail "file system d$h is damaged"; done
echo "software: activated, refused, rolled back, gone on with"
