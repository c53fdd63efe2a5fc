# Runs inside the guest (busybox sh): multipathd over two controllers that are killed in turn.
# Above it are set: port_a port_b (their portals), iqn; etc/multipath-isthmus.conf is in its place.
# `host WORD...` has the array's administrator run one of the commands test_linux_duplex.sh allows.
host_ip=10.0.2.2
fail() {
	echo "FAILED: $*"
	multipathd show topology
	tail /tmp/error.* /tmp/write.*
	tail -40 /tmp/multipathd.log
	dmesg | tail -25
	exit 1
}
step() { echo "-- $(cut -d' ' -f1 /proc/uptime) $*"; }
host() { echo "$*" | nc 10.0.2.100 9 | tr -d '\r' | grep -q '^done$'; }
until_true() { # SECONDS COMMAND...
	local n=$(($1 * 5)); shift
	while [ $n -gt 0 ]; do eval "$*" && return 0; usleep 200000; n=$((n - 1)); done
	return 1
}

mkdir -p /etc/iscsi /var/lib/iscsi /run/lock/iscsi /var/lock /run/udev /lib/systemd
echo InitiatorName=iqn.2026-01.org.isthmus:guest >/etc/iscsi/initiatorname.iscsi
cat >/etc/iscsi/iscsid.conf <<CONF
node.startup = manual
node.leading_login = No
node.session.timeo.replacement_timeout = 2
node.conn[0].timeo.login_timeout = 20
node.conn[0].timeo.logout_timeout = 15
node.conn[0].timeo.noop_out_interval = 5
node.conn[0].timeo.noop_out_timeout = 15
node.session.initial_login_retry_max = 1
node.session.cmds_max = 64
node.session.queue_depth = 32
CONF
echo 'root:x:0:0:root:/:/bin/sh' >/etc/passwd
printf 'root:x:0:\ndisk:x:6:\ncdrom:x:24:\ntape:x:26:\n' >/etc/group
cat >/etc/multipath.conf <<CONF
defaults {
	polling_interval 1
	max_polling_interval 2
	find_multipaths no
	skip_kpartx yes
}
CONF
ln -s /usr/bin/udevadm /lib/systemd/systemd-udevd
/lib/systemd/systemd-udevd --daemon || fail udevd
iscsid -c /etc/iscsi/iscsid.conf || fail iscsid
multipathd -d -v2 >/tmp/multipathd.log 2>&1 &

step "login to both controllers, two multipath devices of two paths"
for port in $port_a $port_b; do
	iscsiadm -m node -o new -T "$iqn" -p $host_ip:"$port" >/dev/null &&
		timeout 40 iscsiadm -m node -T "$iqn" -p $host_ip:"$port" --login >/dev/null || fail "login to $port"
done
active() { [ "$(multipathd show paths raw format '%t %T %o' | grep -c '^active ready running')" = 4 ]; }
until_true 20 active || fail "not four active paths"
[ "$(multipathd show maps raw format '%w' | wc -l)" = 2 ] || fail "not two maps"
# The map of the LUN, as the kernel names it: map LUN
map() {
	local d
	d=$(multipathd show paths raw format '%i %m' | awk -v l="$1" '{ split($1, a, ":") } a[4] == l { print $2; exit }')
	[ -n "$d" ] && echo "/dev/mapper/$d"
}
m0=$(map 0) m1=$(map 1)
[ -b "$m0" ] && [ -b "$m1" ] && [ "$m0" != "$m1" ] || fail "no devices of the maps"
multipathd show topology

optimized() { # LUN PORT: the path by that portal is active/optimized
	local h s
	for s in /sys/class/iscsi_session/session*; do
		[ "$(cat "$s"/device/connection*/iscsi_connection/connection*/persistent_port)" = "$2" ] || continue
		h=$(basename "$(echo "$s"/device/target*/*:"$1")")
		multipathd show paths raw format '%i %p' | grep -q "^$h 50" && return 0
	done
	return 1
}
owners() { optimized 0 "$port_a" && optimized 1 "$port_b"; }
until_true 10 owners || fail "the owners' paths are not preferred"

# Blocks of 64 KiB, each another in each round, read back after each round: writer DEVICE NAME
dd if=/dev/urandom of=/tmp/pattern bs=1k count=3072 2>/dev/null
: >/tmp/rounds.0; : >/tmp/rounds.1
writer() {
	local round=0
	while [ ! -e /tmp/stop ]; do
		round=$(((round + 1) % 1024))
		dd if=/tmp/pattern of="/tmp/data.$2" bs=1k skip=$round count=2048 2>/dev/null
		dd if="/tmp/data.$2" of="$1" bs=64k oflag=direct 2>"/tmp/write.$2" || { echo write >"/tmp/error.$2"; return 1; }
		dd if="$1" bs=64k count=32 iflag=direct 2>"/tmp/write.$2" | cmp -s - "/tmp/data.$2" || { echo read >"/tmp/error.$2"; return 1; }
		echo >>"/tmp/rounds.$2"
	done
}
writer "$m0" 0 & w0=$!
writer "$m1" 1 & w1=$!
rounds() { wc -l <"/tmp/rounds.$1"; }
begun() { [ "$(rounds 0)" -gt 0 ] && [ "$(rounds 1)" -gt 0 ]; }
until_true 20 begun || fail "nothing is written"

for victim in a b; do
	step "controller $victim is killed, and stays away"
	given_up=$(dmesg | grep -c "Failing path")
	(host kill $victim || touch /tmp/host_failed) & killer=$!
	lost() { [ "$(dmesg | grep -c "Failing path")" -gt "$given_up" ]; } # it may be back already
	until_true 20 lost || fail "no path was given up"
	before0=$(rounds 0) before1=$(rounds 1) # by one path now
	onward() { [ "$(rounds 0)" -gt $((before0 + 1)) ] && [ "$(rounds 1)" -gt $((before1 + 1)) ]; }
	until_true 10 onward || fail "I/O does not go on by the other controller"
	wait $killer
	[ ! -e /tmp/host_failed ] || fail "the host could not kill $victim"
	step "... and is back"
	until_true 20 host whole || fail "the array is not whole again"
	until_true 20 active || fail "not all paths are back"
	until_true 20 owners || fail "the owners' paths are not in use again"
done

touch /tmp/stop
wait $w0 && wait $w1 || fail "I/O errors: $(cat /tmp/error.* 2>/dev/null)"
step "rounds written and read: $(rounds 0) and $(rounds 1)"
dmesg | grep -i "I/O error, dev dm-" && fail "an error at a multipath device"
step "all passed"
exit 0
