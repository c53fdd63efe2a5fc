#!/usr/bin/env bash
# Hostile initiators (iscsi_storm.c), connections that say nothing, and an administrator who changes
# everything under load, while a bystander on a target of his own writes and verifies undisturbed.
# The controller must neither die nor grow nor hang. `build` may name another tree (asan).
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
: "${build:=$top/build/release}" "${STORM_SECONDS:=12}" "${GROWTH_KIB:=49152}"
DEMO_DIR=$(mktemp -d /tmp/isthmus-hostile.XXXXXX)
DEMO_DISK_SIZE=1G DEMO_FS_SIZE=64M DEMO_LUN_SIZE=64M DEMO_CACHE=64MiB DEMO_RPCBIND=off
DEMO_NFS_PORT=25049 DEMO_ISCSI_PORT=25260
. "$top/tests/system/demo.sh"
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true; demo_stop || true; demo_remove' EXIT
quiet=iqn.2026-01.org.isthmus:quiet
fail() { echo "FAILED: $*"; exit 1; }
rss() { sed -n 's/^VmRSS:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$controller/status"; }
dirt() { demo_cli "$@" >"$DEMO_DIR/cli.out" 2>&1 || { [ $? -le 2 ] || fail "isthmus $*: $(cat "$DEMO_DIR/cli.out")"; }; }

bystander() {
	local url=iscsi://127.0.0.1:$port/$quiet/0 n=0
	while [ -e "$DEMO_DIR/storm" ]; do
		n=$((n + 1))
		timeout 30 "$build/tests/tools/iscsi_lun" write "$url" 64 $n &&
			timeout 30 "$build/tests/tools/iscsi_lun" verify "$url" 64 $n || return 1
	done >"$DEMO_DIR/bystander.log" 2>&1
	[ $n -gt 3 ]
}

silent() { # connections that say nothing, more than there are places; and again
	local fds=() fd i
	ulimit -n "$(ulimit -Hn)" 2>/dev/null || true
	while [ -e "$DEMO_DIR/storm" ]; do
		for ((i = 0; i < 1400; i++)); do
			exec {fd}<>"/dev/tcp/127.0.0.1/$port" || break
			fds+=("$fd")
			[ $((i % 3)) -ne 0 ] || printf '\103\207' >&"$fd" || true # half a login
		done 2>/dev/null
		sleep 1
		for fd in "${fds[@]}"; do exec {fd}>&-; done
		fds=()
	done
}

administrator() {
	local i=0
	while [ -e "$DEMO_DIR/storm" ]; do
		i=$((i + 1))
		dirt lun add $DEMO_IQN extra --lun 1
		dirt volume resize scratch $((64 + i))M
		dirt initiator add $DEMO_IQN iqn.2026-01.org.isthmus:storm --lun 0=1
		dirt target set $DEMO_IQN --open no
		dirt initiator set $DEMO_IQN iqn.2026-01.org.isthmus:storm --lun 0=0 --lun 1=1:ro
		dirt lun remove $DEMO_IQN 1
		dirt target set $DEMO_IQN --open yes
		dirt initiator remove $DEMO_IQN iqn.2026-01.org.isthmus:storm
		dirt volume remove extra
		dirt volume create extra --pool main --size 32M
		dirt session list
		sleep 0.2
	done
}

demo_start
demo_prepare >/dev/null
port=$(demo_iscsi_port) controller=$(demo_pid controller-a)
demo_cli volume create quiet --pool main --size 128M >/dev/null
demo_cli volume create extra --pool main --size 32M >/dev/null
demo_cli target create $quiet --open yes >/dev/null
demo_cli lun add $quiet quiet --lun 0 >/dev/null
touch "$DEMO_DIR/storm"
bystander & pids+=($!) by=$!
silent & pids+=($!) si=$!
administrator & pids+=($!) ad=$!
storm() { "$build/tests/system/iscsi_storm" "$port" "$DEMO_IQN" "$STORM_SECONDS" 6 "$1" || echo "storm: a login had no answer"; }
storm "${SEED:-1}"
before=$(rss) # buffers of as many connections as may be are in it
storm $((${SEED:-1} + 100))
# the target goes with everything that is on it, and comes again
"$build/tests/system/iscsi_storm" "$port" "$DEMO_IQN" 4 4 77 >/dev/null & pids+=($!) st=$!
sleep 1
dirt target remove $DEMO_IQN --force
sleep 1
dirt target create $DEMO_IQN --open yes
dirt lun add $DEMO_IQN scratch --lun 0
wait $st || true
rm "$DEMO_DIR/storm"
wait $ad || fail "the administrator: $(cat "$DEMO_DIR/cli.out")"
wait $si || true
wait $by || { tail -5 "$DEMO_DIR/bystander.log"; fail "the bystander was disturbed"; }
pids=()
after=$(rss)
echo "memory of the controller: $before KiB after the first storm, $after KiB in the end"
[ "$(demo_pid controller-a)" = "$controller" ] || fail "the controller died"
[ $((after - before)) -lt "$GROWTH_KIB" ] || fail "memory grew"
"$build/tests/tools/iscsi_lun" write "$(demo_iscsi_url)" 16
"$build/tests/tools/iscsi_lun" verify "$(demo_iscsi_url)" 16
# A clean stop, with a peer that neither reads nor leaves.
exec 9<>"/dev/tcp/127.0.0.1/$port"
t0=$SECONDS
demo_stop
[ $((SECONDS - t0)) -lt 15 ] || fail "the stop took $((SECONDS - t0)) s"
grep -q "controller a, pid $controller: exited with code 0" "$DEMO_DIR/isthmus.log" ||
	{ tail -20 "$DEMO_DIR/isthmus.log"; fail "the controller's stop"; }
