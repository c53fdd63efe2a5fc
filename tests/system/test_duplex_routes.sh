#!/usr/bin/env bash
# Two controllers whose interconnect is TCP with TLS over two networks, each path with a route over
# either, under load of iSCSI and NFS: one network is cut and comes back, then the other, and nobody
# notices. Then both are cut: one controller ends the other and serves all; both are whole again
# when the networks are back. Needs root: the networks are addresses of a network namespace.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
: "${build:=$top/build/release}"
if [ -z "${ROUTES_NAMESPACE:-}" ]; then
	[ "$(id -u)" = 0 ] || { echo "needs root, for a network namespace"; exit 77; }
	exec env ROUTES_NAMESPACE=1 unshare --net "$0"
fi
ip link set lo up
DUO_DIR=$(mktemp -d /tmp/isthmus-duplex-routes.XXXXXX) DUO_PORT=23500 DUO_NFS_PORT=23502
DUO_TCP_PORT=23510
. "$top/tests/system/duplex.sh"
loads=()
cleanup() {
	for p in "${loads[@]}"; do kill "$p" 2>/dev/null || true; done
	duo_stop
	duo_remove
}
trap cleanup EXIT
fail() {
	echo "FAILED: $*"
	cat "$DUO_DIR"/load.* || true
	duo_cli controller show a || true
	duo_cli status || true
	grep -v " info " "$DUO_DIR/isthmus.log" | tail -60
	exit 1
}

# control over the first network, data over the second, each redundant over the other
duo_tcp() { # NAME
	local me=1 other=2 n
	[ "$1" = a ] || me=2 other=1
	echo "    link_psk: $DUO_DIR/psk"
	echo "    links:"
	for n in control:1 data:2 control:2 data:1; do
		set -- "${n%:*}" "${n#*:}"
		echo "      - {path: $1, local: \"10.125.$2.$me:$(port "$1")\", remote: \"10.125.$2.$other:$(port "$1")\"}"
	done
}
port() { [ "$1" = control ] && echo $DUO_TCP_PORT || echo $((DUO_TCP_PORT + 1)); }

network() { # add|del N
	ip addr "$1" "10.125.$2.1/32" dev lo
	ip addr "$1" "10.125.$2.2/32" dev lo
}
routes_up() { # N: of both paths, at both ends
	[ "$(duo_cli controller show a | grep -cE '^ *[0-9]+ +(control|data)? *up ')" = "$1" ] &&
		[ "$(duo_cli controller show b | grep -cE '^ *[0-9]+ +(control|data)? *up ')" = "$1" ]
}
start_load() { # SECONDS
	loads=()
	for k in 0 1; do
		duo_load $k "$1" "$DUO_DIR/load.iscsi.$k"
		loads+=("$duo_load_pid")
	done
	duo_nfs_load nfs fb "$1" "$DUO_DIR/load.nfs"
	loads+=("$duo_load_pid")
}
end_load() {
	for p in "${loads[@]}"; do wait "$p" || fail "the load found something (status $?)"; done
	loads=()
	tail -qn1 "$DUO_DIR"/load.*
}

network add 1
network add 2
umask 077
mkdir -p "$DUO_DIR"
echo "isthmus:$(od -An -tx1 -N32 /dev/urandom | tr -d ' \n')" >"$DUO_DIR/psk"
duo_configure
duo_start
duo_prepare >/dev/null || fail "the array cannot be made"
duo_wait 30 duo_whole || fail "the array is not whole"
duo_wait 10 routes_up 4 || fail "not all routes are up"
pids="$(duo_pid a) $(duo_pid b)"

start_load 9
for n in 1 2; do
	sleep 1
	network del $n
	duo_wait 5 routes_up 2 || fail "network $n is cut, and that is not told"
	duo_whole || fail "not whole with one network of two"
	network add $n
	duo_wait 10 routes_up 4 || fail "the routes of network $n do not come back"
done
end_load
[ "$pids" = "$(duo_pid a) $(duo_pid b)" ] || fail "a controller was ended though one network was there"
grep -q ' 0 without an answer' "$DUO_DIR/load.iscsi.0" || fail "a route that went was seen by an initiator"
grep -q ' 0 without an answer' "$DUO_DIR/load.nfs" || fail "a route that went was seen by an NFS client"
! grep -E 'event (link|mirror)\.(down|lone)' "$DUO_DIR/isthmus.log" || fail "the link went down"

start_load 8
sleep 1
network del 1
network del 2
sleep 4
network add 1
network add 2
end_load
[ "$pids" != "$(duo_pid a) $(duo_pid b)" ] || fail "both controllers went on without a link"
grep -q ' 0 without an answer' "$DUO_DIR/load.nfs" || fail "an NFS client saw an error"
duo_wait 30 duo_whole || fail "not whole again"
! grep -E 'ERROR: |runtime error|check failed' "$DUO_DIR/isthmus.log" || fail "a daemon found a fault in itself"
echo "networks of the interconnect cut under load: one not noticed, both survived by one controller"
