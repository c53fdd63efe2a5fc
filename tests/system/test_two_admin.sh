#!/bin/bash
# Two controllers, one array: every verb of the CLI to either of them, by way of isthmusd and straight.
# What one changes the other tells; reservations hold on both; what only a pool's owner can do is done there; lists tell all once.
set -euo pipefail
cd "$(dirname "$0")/../.."
build=${BUILD:-build/release}
dir=${DIR:-/tmp/isthmus-two-admin-$$} mem=${MEM:-/dev/shm/isthmus-two-admin-$$} port=${PORT:-21500}
iqn=iqn.2026-01.org.isthmus:two
daemon=

cli() { "$build/isthmus" --config "$dir/isthmus.yaml" "$@"; }
at() { local c=$1; shift; "$build/isthmus" --socket "$dir/run/controller-$c.sock" "$@"; }
fail() { echo "FAILED: $*"; cli controller list || true; cli pool list || true; tail -30 "$dir/log"; exit 1; }
finish() {
	local rc=$?
	[ -z "$daemon" ] || { kill "$daemon" 2>/dev/null; wait "$daemon" || true; }
	[ $rc -ne 0 ] || rm -rf "$dir" "$mem"
}
trap finish EXIT
refused() { # TEXT COMMAND ...
	local text=$1; shift
	"$@" >"$dir/refused" 2>&1 && fail "not refused: $*"
	grep -q "$text" "$dir/refused" || fail "$*: $(cat "$dir/refused")"
}
within() { # SECONDS COMMAND ...
	local i n=$1; shift
	for ((i = 0; i < n * 20; i++)); do "$@" >/dev/null 2>&1 && return; sleep 0.05; done
	return 1
}

mkdir -p "$dir"/{run,state,disks} "$mem"
disks=()
for i in 0 1 2 3 4 5; do truncate -s 512M "$dir/disks/d$i"; disks+=("$dir/disks/d$i"); done
list=$(IFS=,; echo "${disks[*]}" | sed 's/,/, /g')
cat >"$dir/isthmus.yaml" <<YAML
array: {name: two, run_dir: $dir/run, state_dir: $dir/state, memory_dir: $mem, log_level: info}
controllers:
  - {name: a, partner: b, link_dead_ms: 8000, cache: 32MiB, reactors: 1, disks: [$list], portals: ["127.0.0.1:$port"]}
  - {name: b, partner: a, link_dead_ms: 8000, cache: 32MiB, reactors: 1, disks: [$list], portals: ["127.0.0.1:$((port + 1))"]}
heads:
  - {name: h1, group: g1, controller: a, address: 127.0.0.1, nfs_port: $((port + 2)), mount_port: 0, rpcbind: "off"}
YAML
"$build/isthmusd" -c "$dir/isthmus.yaml" >>"$dir/log" 2>&1 &
daemon=$!
both_up() { [ "$(cli controller list | grep -cE '^[ab] +up ')" = 2 ]; }
within 30 both_up || fail "the controllers are not up"
mirrored() { [ "$(cli controller list | grep -cE ' up +on ')" = 2 ]; }
within 30 mirrored || fail "the controllers do not mirror"

owner_of() { cli pool show "$1" | sed -n 's/^owner *//p'; }
state_of() { cli pool show "$1" | sed -n 's/^state *//p'; }

echo "pools, on the controller that was named, or has fewer"
at a pool create pa "$dir/disks/d0" "$dir/disks/d1" --level raid1 --owner b
[ "$(owner_of pa)" = b ] || fail "--owner b made it $(owner_of pa)'s"
cli pool create pb "$dir/disks/d2" "$dir/disks/d3" --level raid1
[ "$(owner_of pb)" = a ] || fail "the second pool is not the other controller's"
for c in a b; do
	at $c pool list | grep -qE '^pa .* b *$' || fail "$c does not know whose pa is"
	[ "$(at $c pool show pa | sed -n 's/^state *//p')" = online ] || fail "pool show does not ask the owner"
done
[ "$(cli pool list | grep -cE '^p[ab] +online')" = 2 ] || fail "pool list: $(cli pool list)"
[ "$(cli disk list | grep -c "^$dir")" = 6 ] || fail "disks are told twice: $(cli disk list)"
refused "a pool 'pa' already" at a pool create pa "$dir/disks/d4" --level single
refused "in a pool already" at b pool create pc "$dir/disks/d0" --level single --owner a
refused "no controller 'nobody'" cli pool create pc "$dir/disks/d4" --level single --owner nobody

echo "volumes, to either"
n=0
for p in pa pb; do
	for c in a b; do
		n=$((n + 1))
		at $c volume create v$n --pool $p --size 16M
		at $c volume resize v$n 24M
		for k in a b; do
			at $k volume list | grep -q "^v$n .* 24MiB" || fail "$k does not list v$n of $c"
			at $k volume show v$n | grep -q '^size *24MiB' || fail "$k does not show v$n"
		done
	done
done
[ "$(cli volume list | grep -cE '^v[0-9] .* online ')" = 4 ] || fail "volume list: $(cli volume list)"
cli status | grep -qE '^ *[ab] +v1 ' || cli status | grep -q 'v1' || fail "status lacks a volume"
refused "a volume 'v1' already" at a volume create v1 --pool pa --size 16M
refused "a volume 'v1' already" at a volume create v1 --pool pb --size 16M
refused "no pool 'nosuch'" at a volume create x --pool nosuch --size 16M

echo "targets, masks, discovery, sessions"
at a target create $iqn --open yes --discovery yes
at b lun add $iqn v1 --lun 0 >/dev/null
at a lun add $iqn v3 --lun 1 >/dev/null
at b lun set $iqn 1 --iops 5000
host=iqn.2026-01.org.isthmus:host1
at a initiator add $iqn $host --lun 0
for c in a b; do
	at $c target list | grep -q "$iqn" || fail "$c: target"
	[ "$(at $c lun list | grep -cE "v[13]")" = 2 ] || fail "$c: LUNs"
	at $c lun list | grep -q 5000 || at $c --json lun list | grep -q 5000 || fail "$c: limits"
	at $c initiator list | grep -q "$host" || fail "$c: initiator"
	at $c lun reservations $iqn 0 >/dev/null
	at $c lun latency $iqn 0 >/dev/null
done
at b initiator set $iqn $host --lun 0,1
at b initiator remove $iqn $host
at a discovery set --chap-user u --chap-secret secretsecret1
at b discovery show | grep -q '\bu\b' || fail "discovery"
at b discovery set --chap-user ""
for v in "lun stats" "lun list" "session list" "target list" "initiator list" "discovery show" "head list" \
	"export list" "fs list" "group list" "backup list" "backup status" "backup policy" "disk list" \
	"pool list" "volume list" "controller list" "status" "event list" "controller show a" "controller show b" \
	"lun latency $iqn 0" "pool show pa" "pool show pb" "config show" "top --once"; do
	cli $v >"$dir/out" 2>&1 || fail "$v: $(cat "$dir/out")"
	cli --json $v >"$dir/out" 2>&1 || fail "--json $v: $(cat "$dir/out")"
	grep -q "does not answer" "$dir/out" && fail "$v: $(cat "$dir/out")"
done

echo "persistent reservations: made through one, hold through the other at once"
reserve() { # PORTAL-OF WHO WORDS: what became of each, on one line
	local p=$port; [ "$1" = b ] && p=$((port + 1))
	timeout 60 "$build/tests/system/iscsi_reserve" "iscsi://127.0.0.1:$p/$iqn/$lun" "iqn.2026-01.org.isthmus:$2" "${@:3}" |
		tr '\n' ' '
}
expect() { # WANTED ...
	local want=$1 got; shift
	got=$(reserve "$@")
	[ "${got% }" = "$want" ] || fail "reservations, $*: '$got', not '$want'"
}
for lun in 0 1; do # of b's pool, of a's
	for via in a b; do
		there=b; [ $via = b ] && there=a
		expect "good good good" $via h1 register 0 1 / reserve 1 5 / write
		expect "conflict" $there h2 write
		for c in a b; do at $c lun reservations $iqn $lun | grep -q 'h1' || fail "$c: no key of h1"; done
		expect "good good good" $there h2 register 0 2 / preempt 2 1 5 / write
		expect "conflict" $via h1 write
		at $via lun release $iqn $lun >/dev/null
		expect "good" $there h1 write
	done
done

echo "heads' groups, file systems, exports"
at a group create g1 --pool pa --size 64MiB
at b group create g2 --pool pb --size 64MiB
for c in a b; do [ "$(at $c group list | grep -cE '^g[12] ')" = 2 ] || fail "$c: groups"; done
at a fs create f1 --pool pb --size 128M --head h1
at b export add /f1 --fs f1
at a export set /f1 --client '*:ro'
for c in a b; do at $c export list | grep -q '^/f1' || fail "$c: exports"; done
served() { cli fs list | grep -q '^f1 .* served'; }
within 20 served || fail "f1 is not served: $(cli fs list)"
at a fs grow f1 --size 160M # of the other controller's pool, and back
at b fs grow f1 --size 192M
cli fs check f1 >/dev/null
cli quota list f1 >/dev/null
cli head state >/dev/null
cli head status >/dev/null
for c in a b; do
	at $c backup run g1 | grep -q '^g1' || fail "backup run at $c"
	at $c backup verify g1 | grep -q 'ok' || fail "backup verify at $c"
	at $c backup list | grep -q '^g1' || fail "backup list at $c"
done
at a export remove /f1
at a fs remove f1 --force
at a backup policy g1 --manual >/dev/null
at b backup policy g1 | grep -q manual || fail "policy"
at a group remove g2
at b group remove g1
refused "pool move pb b" at a group create g3 --pool pa --backup-pool pb --size 16MiB
at a pool move pb b
at a group create g3 --pool pa --backup-pool pb --size 16MiB
at a pool move pb a
for c in a b; do
	at $c backup run g3 | grep -q '^g3' || fail "backup run at $c between two controllers"
	at $c backup verify g3 | grep -q 'ok' || fail "backup verify at $c between two controllers"
done
refused "pool move pb b" at a group remove g3
at b group list | grep -q '^g3 ' || fail "a group that was not removed is gone"
at a pool move pb b
at a group remove g3
at a pool move pb a

echo "disks: spares, scrub, replace, wipe"
at a disk spare "$dir/disks/d4"
at b disk list | grep -q "^$dir/disks/d4 *spare" || fail "the spare is not known"
at b disk spare "$dir/disks/d4" --remove
at a pool scrub pa && at b pool scrub pb
scrubbed() { ! cli pool list | grep -q scrub; }
within 30 scrubbed || fail "the scrub does not end"
at a pool replace pa "$dir/disks/d0" "$dir/disks/d5" --force
whole() { [ "$(state_of pa)" = online ]; }
within 60 whole || fail "the pool is $(state_of pa)"
at b disk list | grep -q "^$dir/disks/d5 *online *pa" || fail "the new disk"
at a pool set pa --rebuild-rate 50M
refused "in use by pool 'pa'" at a disk wipe "$dir/disks/d1" --force
at a disk wipe "$dir/disks/d0" --force
within 5 bash -c "'$build/isthmus' --socket '$dir/run/controller-b.sock' disk list | grep -q '^$dir/disks/d0 *blank'" ||
	fail "the wipe is not seen"

echo "a pool that grows, and goes to the other"
refused "space\|free" at a volume create wg --pool pa --size 600M
at a pool grow pa "$dir/disks/d0" "$dir/disks/d4"
at a volume create wg --pool pa --size 600M
for c in a b; do
	at $c pool show pa | grep -q '^groups *2$' || fail "$c does not know of the second group"
done
at b pool move pa a
[ "$(owner_of pa)" = a ] && whole || fail "pa is $(owner_of pa)'s, and $(state_of pa)"
at b volume remove wg
at a pool move pa b

echo "without one of them"
kill -9 "$(sed -n '1s/ .*//p' "$dir/run/controller-a.pid")"
cli pool list | grep -q '^pa' || fail "nobody lists pools"
within 20 cli volume create w1 --pool pa --size 16M || fail "a verb does not go to the one that is up"
within 30 both_up || fail "a is not back"
within 30 at a volume show w1 || fail "a did not follow"
cli volume remove w1

echo "away again"
at a lun remove $iqn 0
at b lun remove $iqn 1
at b target remove $iqn
for i in 1 2 3 4; do at a volume remove v$i; done
for c in a b; do at $c volume list | grep -qE '^v[0-9] ' && fail "$c still has a volume"; done
at a pool remove pa
at b pool remove pb
for c in a b; do
	within 5 bash -c "! '$build/isthmus' --socket '$dir/run/controller-$c.sock' pool list | grep -q '^p'" ||
		fail "$c still has a pool"
done
grep -aE "slot_damaged|label_damaged|check failed|Sanitizer|runtime error" "$dir/log" && fail "something was damaged"
echo "two controllers: passed"
