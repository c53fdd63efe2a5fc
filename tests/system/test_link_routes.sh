#!/usr/bin/env bash
# The interconnect over TCP with TLS between two network namespaces, each path with a route over
# each of two networks: one network is cut under load and comes back, then the other.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
: "${build:=$top/build/release}"
end=$build/tests/system/link_end
[ -x "$end" ] || { echo "no $end: make it first"; exit 1; }
[ "$(id -u)" = 0 ] || { echo "needs root, for network namespaces"; exit 77; }
a=link-a-$$ b=link-b-$$ dir=$(mktemp -d /tmp/isthmus-link-routes-XXXXXX) peer=

clean() {
	[ -z "$peer" ] || { kill "$peer" 2>/dev/null || true; wait "$peer" 2>/dev/null || true; }
	ip netns del "$a" 2>/dev/null || true
	ip netns del "$b" 2>/dev/null || true
	rm -r "$dir"
}
trap clean EXIT

ip netns add "$a" 2>"$dir/why" || { cat "$dir/why"; echo "no network namespaces here"; exit 77; }
ip netns add "$b"
for n in 1 2; do
	ip -n "$a" link add net$n type veth peer name net$n netns "$b"
	ip -n "$a" addr add 10.123.$n.1/24 dev net$n
	ip -n "$b" addr add 10.123.$n.2/24 dev net$n
	ip -n "$a" link set net$n up
	ip -n "$b" link set net$n up
done
umask 077
echo "isthmus:$(od -An -tx1 -N32 /dev/urandom | tr -d ' \n')" >"$dir/psk"

# control over the first network, data over the second, each redundant over the other
routes() { # ME OTHER
	echo "10.123.1.$1:21290,10.123.1.$2:21290 10.123.2.$1:21291,10.123.2.$2:21291" \
	     "10.123.2.$1:21290,10.123.2.$2:21290 10.123.1.$1:21291,10.123.1.$2:21291"
}
ip netns exec "$b" "$end" b a "$dir/psk" 0 $(routes 2 1) >"$dir/b" 2>&1 &
peer=$!
ip netns exec "$a" "$end" a b "$dir/psk" 9 $(routes 1 2) >"$dir/a" 2>"$dir/a.log" &
load=$!
sleep 2
ip -n "$a" link set net2 down    # the preferred route of the data path
sleep 2
ip -n "$a" link set net2 up
sleep 3
ip -n "$b" link set net1 down    # the other network, at the other end
rc=0
wait $load || rc=$?
cat "$dir/a"
if [ $rc != 0 ]; then
	cat "$dir/a.log" "$dir/b"
	echo "FAIL: rc $rc"
	exit 1
fi
value() { sed -n "s/^route=$1 .*[ ]$2=\([0-9]*\).*/\1/p" "$dir/a"; }
# The data path went over to its second route; control and data were each on their own network.
[ "$(value 3 failovers)" -ge 1 ] || { echo "FAIL: the data path did not fail over"; exit 1; }
[ "$(value 2 failovers)" -ge 1 ] || { echo "FAIL: the control path did not fail over"; exit 1; }
for r in 0 1 2 3; do
	[ "$(value $r messages)" -gt 0 ] || { echo "FAIL: nothing went over route $r"; exit 1; }
done
grep -q "link.route_down: data route 1" "$dir/a.log" || { echo "FAIL: no event"; exit 1; }
echo PASS
