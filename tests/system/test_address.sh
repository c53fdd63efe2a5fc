#!/usr/bin/env bash
# Addresses of services in a network namespace of their own, with stand-ins for the daemons: brought up by the script that
# Isthmus ships before the sockets are bound, kept while the head is replaced, taken away when it is stopped; told to
# neighbours; scripts that fail, lie or hang; addresses that were there before. Needs root.
set -u
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
: "${build:=$top/build/release}"
if [ -z "${ADDRESS_NAMESPACE:-}" ]; then
	[ "$(id -u)" = 0 ] || { echo "needs root, for a network namespace"; exit 77; }
	exec env ADDRESS_NAMESPACE=1 unshare --net bash "$0"
fi
dir=$(mktemp -d /tmp/isthmus-address-XXXXXX)
sup=0 log=$dir/log
mkdir -p "$dir/bin" "$dir/run"
cp "$build/tests/system/fake_daemon" "$dir/bin/isthmus-controller"
cp "$build/tests/system/fake_daemon" "$dir/bin/isthmus-head"
pid() { sed 's/ .*//' "$dir/run/$1.pid" 2>/dev/null; }
cleanup() {
	[ "$sup" -gt 0 ] && kill -9 "$sup" 2>/dev/null
	for p in $(pid controller-a) $(pid head-h1) $(pid head-h2); do kill -9 "$p" 2>/dev/null; done
	rm -rf "$dir"
}
trap cleanup EXIT
fail() { echo "FAIL: $*" >&2; cat "$dir/out" >&2; tail -30 "$log" >&2; exit 1; }
cli() { timeout 20 "$build/isthmus" --config "$dir/c.yaml" "$@"; }
within() { # SECONDS COMMAND...
	local i n=$(($1 * 20)); shift
	for ((i = 0; i < n; i++)); do "$@" && return; sleep 0.05; done
	return 1
}
up() { cli --json status 2>/dev/null | tr -d ' \n' | grep -q "\"name\":\"$1\",\"state\":\"up\""; }
has() { ip addr show | grep -q " $1/"; }
has_not() { ! has "$1"; }
says() { cli status >"$dir/out" 2>&1; grep -q "$1" "$dir/out"; }
ip link set lo up
ip link add isth0 type veth peer name isth1 && ip link set isth0 up && ip link set isth1 up || { echo "no veth here"; exit 77; }
: >"$dir/out"

# A stand-in where arping is not installed: that it is asked is what counts.
cat >"$dir/bin/arping" <<-SH
	#!/bin/sh
	echo "\$@" >>"$dir/arping"
SH
chmod +x "$dir/bin/arping"
printf '# addresses of services\n10.99.0.1/24 isth0\nfd99::1/64 isth0\n' >"$dir/addresses"
export ISTHMUS_ADDRESSES=$dir/addresses PATH=$dir/bin:$PATH
script=$top/etc/isthmus-address
config() { # ADDRESS-OF-H1 [ADDRESS-OF-H2]
	cat >"$dir/c.yaml" <<-YAML
	array: {name: t, run_dir: $dir/run, state_dir: $dir/state, memory_dir: $dir/mem}
	controllers:
	  - {name: a, cache: 4MiB, disks: [/nonexistent/d0], portals: []}
	heads:
	  - {name: h1, nfs_port: 4000, mount_port: 0, address: "$1", address_script: $script}
	YAML
	[ $# -lt 2 ] || echo "  - {name: h2, nfs_port: 4001, mount_port: 0, address: \"$2\", address_script: $script}" >>"$dir/c.yaml"
}
start() {
	"$build/isthmusd" -c "$dir/c.yaml" --libexec "$dir/bin" 2>>"$log" &
	sup=$!
}

config 10.99.0.1
start
within 5 up h1 || fail "h1 does not come up"
has 10.99.0.1 || fail "the address is not there"
[ "$(cat "$dir/arping")" = "-q -U -c 2 -w 3 -I isth0 10.99.0.1" ] || fail "neighbours were not told"
ss -Hltn | grep -q "10.99.0.1:4000 " || fail "nobody listens"
# It stays while the head is replaced, and over the death of isthmusd, which still takes it away.
kill -9 "$(pid head-h1)"
has 10.99.0.1 || fail "the address went with the process"
within 5 up h1 || fail "h1 is not back"
[ "$(wc -l <"$dir/arping")" = 1 ] || fail "brought up twice"
kill -9 $sup; wait $sup 2>/dev/null
start
within 5 up h1 || fail "h1 is not found"
# Another address, of the other family, and a second head; one that was there before is left alone.
ip addr add 10.99.0.7/24 dev isth0
config fd99::1 10.99.0.7
kill -HUP $sup
within 5 has fd99::1 || fail "the new address is not there"
within 5 has_not 10.99.0.1 || fail "the old address is still there"
within 5 up h1 && within 5 up h2 || fail "heads do not come up"
config fd99::1
kill -HUP $sup
gone() { ! up h2; }
within 5 gone || fail "h2 is not stopped"
has 10.99.0.7 || fail "an address that was there before was taken away"
# Scripts that fail, and lie, are told; a head whose script works later comes up.
config 10.99.0.5
kill -HUP $sup
within 8 says "isthmus-address up 10.99.0.5 ended with status 3" || fail "a script that fails"
printf '#!/bin/sh\nexit 0\n' >"$dir/liar"; chmod +x "$dir/liar"; script=$dir/liar
config 10.99.0.5
kill -HUP $sup
within 8 says "ended well, but address 10.99.0.5 is not there" || fail "a script that lies"
echo "10.99.0.5/24 isth0" >>"$dir/addresses"; script=$top/etc/isthmus-address
config 10.99.0.5
kill -HUP $sup
within 8 up h1 || fail "h1 does not come up with a script that works"
has 10.99.0.5 && has_not fd99::1 || fail "addresses after all: $(ip addr)"
kill -TERM $sup
wait $sup || fail "isthmusd does not end well"
sup=0
has_not 10.99.0.5 || fail "an address outlives its array"
has 10.99.0.7 || fail "the address that was there before"
[ -z "$(ls "$dir"/run/*.address 2>/dev/null)" ] || fail "files are left"
# By hand.
"$script" up 10.99.0.9 x 2>/dev/null; [ $? -eq 3 ] || fail "an address that is nowhere"
"$script" sideways 10.99.0.1 x 2>/dev/null; [ $? -eq 2 ] || fail "sideways"
"$script" 2>/dev/null; [ $? -eq 2 ] || fail "no arguments"
echo "addresses: all held"
