#!/usr/bin/env bash
# Two controllers: every LUN by both, whoever owns it. Discovery, whole families of iscsi-test-cu by
# the controller that does not own the volume, data written by one and read by the other, the same
# answers, ownership moved by SET TARGET PORT GROUPS under load, counters, and what 4 KiB cost.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=${ISTHMUS_BUILD:-$top/build/release}
DIR=$(mktemp -d /tmp/isthmus-forward.XXXXXX)
MEM=/dev/shm/isthmus-forward-$$ PORT=${FORWARD_PORT:-21620}
IQN=iqn.2026-01.org.isthmus:forward
isthmusd=
cli() { "$build/isthmus" --config "$DIR/isthmus.yaml" "$@"; }
stop() {
	[ -z "$isthmusd" ] || { kill "$isthmusd" 2>/dev/null || true; wait "$isthmusd" || true; }
	isthmusd=
}
trap 'stop; rm -rf "$DIR" "$MEM"' EXIT
fail() { echo "FAILED: $*"; tail -40 "$DIR/isthmus.log"; exit 1; }
wait_for() { # SECONDS COMMAND...
	local until=$((SECONDS + $1))
	shift
	until "$@" >/dev/null 2>&1; do
		[ $SECONDS -lt $until ] || fail "waited in vain: $*"
		sleep 0.1
	done
}
controller() { # NAME PARTNER PORT
	cat <<-YAML
	  - name: $1
	    cache: 64MiB
	    reactors: 1
	    disks: [$DIR/disk0, $DIR/disk1, $DIR/disk2, $DIR/disk3]
	    portals: ["127.0.0.1:$3"]
	    partner: $2
	    give_back_delay: 0
	YAML
}
mkdir -p "$DIR"/{run,state} "$MEM"
for i in 0 1 2 3; do truncate -s 1G "$DIR/disk$i"; done
{
	printf 'array:\n  name: forward\n  memory: volatile\n  run_dir: %s\n  state_dir: %s\n  memory_dir: %s\ncontrollers:\n' \
		"$DIR/run" "$DIR/state" "$MEM"
	controller a b "$PORT"
	controller b a $((PORT + 1))
} >"$DIR/isthmus.yaml"
"$build/isthmusd" -c "$DIR/isthmus.yaml" >>"$DIR/isthmus.log" 2>&1 &
isthmusd=$!

mirrored() { cli status | grep -qE "^$1 +mirrored"; }
wait_for 30 mirrored a
wait_for 30 mirrored b
cli pool create pa "$DIR/disk0" "$DIR/disk1" --level raid1 --controller a >/dev/null
cli pool create pb "$DIR/disk2" "$DIR/disk3" --level raid1 --controller b >/dev/null
cli target create $IQN --open yes --controller a >/dev/null
unit() { # NUMBER POOL CONTROLLER OPTION...
	cli volume create "v$1" --pool "$2" --size 128M --controller "$3" >/dev/null
	cli lun add $IQN "v$1" --lun "$1" --controller a "${@:4}" >/dev/null
}
unit 0 pa a
unit 1 pa a --physical-size 512
unit 2 pa a --block-size 4096
unit 3 pa a --physical-size 512 --read-only
unit 4 pa a --physical-size 512 --removable
unit 5 pa a --physical-size 512 --no-unmap
unit 6 pb b
owner() { # CONTROLLER LUN: as it sees it
	cli --json lun list --controller "$1" | tr -d ' \n' |
		sed -n "s/.*\"lun\":$2,[^}]*\"owner\":\"\([a-z]*\)\".*/\1/p"
}
is() { [ "$(owner "$1" "$2")" = "$3" ]; }
for i in 0 1 2 3 4 5; do wait_for 10 is a $i here && wait_for 10 is b $i partner; done
wait_for 10 is b 6 here
wait_for 10 is a 6 partner
a=iscsi://127.0.0.1:$PORT/$IQN b=iscsi://127.0.0.1:$((PORT + 1))/$IQN

# ---- discovery ----
for p in "$PORT" $((PORT + 1)); do
	iscsi-ls "iscsi://127.0.0.1:$p" >"$DIR/ls" 2>&1
	grep -q "127.0.0.1:$PORT,1" "$DIR/ls" && grep -q "127.0.0.1:$((PORT + 1)),2" "$DIR/ls" ||
		fail "discovery by port $p: $(cat "$DIR/ls")"
done
echo "passed: discovery tells of both controllers' portals"

# ---- iscsi-test-cu by the one that does not own it, and on one path by each ----
bad=0 log=$DIR/cu.log
run() { # UNIT FAMILY [OPTION...]: url1 and url2 are b's
	timeout 180 iscsi-test-cu --dataloss "${@:3}" --test "$2" "$b/$1" "$b/$1" >"$log" 2>&1 || true
	if ! awk '/^ *tests/{n = $2; ran = $3; failed = $5} END{exit !(n > 0 && ran == n && !failed)}' "$log"; then
		echo "FAILED: $2 on unit $1"
		cat "$log"
		bad=1
	else
		echo "passed: $2 on unit $1 ($(awk '/^ *tests/{print $4 " of " $2}' "$log"), $(grep -c SKIP "$log" || true) skips)"
	fi
}
families() {
	run 1 ALL
	for f in WriteSame10 WriteSame16 CompareAndWrite Unmap; do run 0 ALL.$f; done
	for f in NoMedia PreventAllow StartStopUnit; do run 4 ALL.$f; done
	run 3 ALL.ReadOnly
	for f in Inquiry ReadCapacity16 ReportSupportedOpcodes Unmap WriteSame10 WriteSame16; do run 5 ALL.$f; done
	for f in CompareAndWrite ExtendedCopy GetLBAStatus Inquiry Mandatory OrWrite Prefetch10 Read10 Read16 ReadCapacity16 \
		Unmap Verify10 Verify16 Write10 Write16 WriteSame10 WriteSame16 WriteVerify16; do
		run 2 ALL.$f
	done
}
[ -n "${FORWARD_QUICK:-}" ] || families # FORWARD_QUICK: the rest alone
for f in BlockErase BlockEraseReserved Overwrite OverwriteReserved Readonly Reservations; do
	run 1 ALL.Sanitize.$f --allow-sanitize
done
[ $bad = 0 ] || exit 1

# ---- data: written by one, read by the other ----
tool=$build/tests/tools/iscsi_lun
"$tool" write "$b/0" 128 >/dev/null || fail "writing by b"
"$tool" verify "$a/0" 128 >/dev/null || fail "written by b, read by a"
"$tool" verify "$b/0" 128 >/dev/null || fail "written by b, read by b"
"$tool" write "$a/6" 128 >/dev/null || fail "writing by a"
"$tool" verify "$b/6" 128 >/dev/null || fail "written by a, read by b"
echo "passed: 128 MiB written by one, read by the other, both ways"

# ---- ownership moves while a load runs by both ----
move() { # LUN GROUP: SET TARGET PORT GROUPS by b
	"$build/tests/tools/iscsi_groups" "$b/$1" "$2"
}
timeout 120 "$build/tests/tools/oracle" iscsi "$a/6,$b/6" 12 3 >"$DIR/load" 2>&1 &
load=$!
sleep 2
for n in 1 2 3; do
	move 6 1 || fail "moving to a"
	wait_for 10 is a 6 here
	sleep 1
	move 6 2 || fail "moving to b"
	wait_for 10 is b 6 here
	sleep 1
done
wait $load || { cat "$DIR/load"; fail "load while ownership moved"; }
echo "passed: ownership moved six times under load; $(tail -1 "$DIR/load")"

# ---- what 4 KiB cost ----
cpu() { # ticks of both controllers
	local t=0 n
	for n in a b; do
		set -- $(sed 's/.*) //' "/proc/$(cut -d' ' -f1 "$DIR/run/controller-$n.pid")/stat")
		t=$((t + ${12} + ${13}))
	done
	echo $t
}
perf() { # NAME URL OPTION...
	local before after ops
	before=$(cpu)
	ops=$(timeout 60 iscsi-perf -r -b 8 -m 32 -t 5 "${@:3}" "$2" 2>/dev/null | tr '\r' '\n' |
		sed -n 's/.*iops average \([0-9]*\).*/\1/p' | tail -1) || true
	after=$(cpu)
	echo "$1: ${ops:-?} operations a second, $(((${ops:-0} * 5 * $(getconf CLK_TCK)) / (after - before + 1))) per CPU second of both controllers"
}
perf "4 KiB reads at the owner" "$a/0"
perf "4 KiB reads forwarded" "$b/0"
[ "$(cli --json lun stats --controller b | tr -d ' \n' | sed -n 's/.*"volume":"v0"[^}]*"to_partner":\([0-9]*\).*/\1/p')" -gt 1000 ] ||
	fail "forwarded commands are not counted"
echo "passed: forwarded commands are counted"
