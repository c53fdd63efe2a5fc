# Runs inside the guest (busybox sh): open-iscsi and the kernel's initiator against the array.
# Above it are set: port1 port2 (portals), iqn (the open target), iqn_chap, user, secret.
# `host WORD...` has the array's administrator run one of the commands test_iscsi.sh allows.
host_ip=10.0.2.2
fail() { echo "FAILED: $*"; dmesg | tail -15; exit 1; }
step() { echo "-- $(cut -d' ' -f1 /proc/uptime) $*"; }
host() { echo "$*" | nc 10.0.2.100 9 | tr -d '\r' | grep -q '^done$' || fail "the host could not: $*"; }
quiet() { "$@" >/tmp/out 2>&1; }
until_true() { # SECONDS COMMAND...
	local n=$(($1 * 10)); shift
	while [ $n -gt 0 ]; do eval "$*" && return 0; usleep 100000; n=$((n - 1)); done
	return 1
}

# A node record: node TARGET PORT [IFACE]
node() { quiet iscsiadm -m node -o new -T "$1" -p $host_ip:"$2" ${3:+-I $3} || { cat /tmp/out; fail "node $*"; }; }
setting() { quiet iscsiadm -m node -T "$1" -p $host_ip:"$2" -o update -n "$3" -v "$4" || fail "setting $*"; }
login() { quiet timeout 40 iscsiadm -m node -T "$1" -p $host_ip:"$2" ${3:+-I $3} --login; }
logout() { quiet timeout 40 iscsiadm -m node -T "$1" -p $host_ip:"$2" ${3:+-I $3} --logout || { cat /tmp/out; fail "logout $*"; }; }
# Names of the disks of a target behind a portal (and of an initiator): disks TARGET PORT [INITIATOR]
disks() {
	local s d
	for s in /sys/class/iscsi_session/session*; do
		[ "$(cat "$s/targetname" 2>/dev/null)" = "$1" ] || continue
		[ "$(cat "$s"/device/connection*/iscsi_connection/connection*/persistent_port)" = "$2" ] || continue
		[ -z "$3" ] || [ "$(cat "$s/initiatorname")" = "$3" ] || continue
		for d in "$s"/device/target*/*/block/*; do [ -e "$d" ] && basename "$d"; done
	done
}
disk() { # TARGET PORT [INITIATOR]: waits; the first one
	until_true 20 '[ -n "$(disks "'"$1"'" "'"$2"'" "'"$3"'")" ]' || fail "no disk of $*"
	disks "$@" | head -1
}
nodisk() { until_true 20 '[ -z "$(disks "'"$1"'" "'"$2"'")" ]' || fail "the disk of $* stays"; }
random_file() { # FILE MIB: a stream that is quick to make under emulation and never repeats a block
	seq 1 "$(($2 * 160000))" | head -c "$(($2 * 1048576))" >"$1"
}
same() { # DEVICE OFFSET-MIB FILE
	echo 3 >/proc/sys/vm/drop_caches
	blockdev --flushbufs "$1"
	dd if="$1" bs=1M skip="$2" count=$(($(stat -c %s "$3") / 1048576)) 2>/dev/null | cmp -s - "$3" || fail "$1 at $2 MiB differs from $3"
}

mkdir -p /etc/iscsi /var/lib/iscsi /run/lock/iscsi /var/lock /mnt/lun
echo InitiatorName=iqn.2026-01.org.isthmus:guest >/etc/iscsi/initiatorname.iscsi
cat >/etc/iscsi/iscsid.conf <<CONF
node.startup = manual
node.leading_login = No
node.session.timeo.replacement_timeout = 5
node.conn[0].timeo.login_timeout = 20
node.conn[0].timeo.logout_timeout = 15
node.conn[0].timeo.noop_out_interval = 5
node.conn[0].timeo.noop_out_timeout = 15
node.session.initial_login_retry_max = 1
node.session.cmds_max = 64
node.session.queue_depth = 32
CONF
: >/etc/passwd; echo 'root:x:0:0:root:/:/bin/sh' >/etc/passwd
iscsid -c /etc/iscsi/iscsid.conf || fail iscsid
random_file /tmp/pattern 4

step "discovery: every portal of every target that may be seen"
timeout 30 iscsiadm -m discovery -t sendtargets -p $host_ip:"$port1" >/tmp/found || fail discovery
cat /tmp/found
for p in $port1 $port2; do
	grep -q ":$p,[0-9]* $iqn\$" /tmp/found || fail "portal $p is not told"
done
grep -q " $iqn_chap\$" /tmp/found || fail "$iqn_chap is not told"
quiet iscsiadm -m node -o delete

step "CHAP: none, a wrong secret, the right one"
node "$iqn_chap" "$port1"
login "$iqn_chap" "$port1" && fail "login without CHAP"
setting "$iqn_chap" "$port1" node.session.auth.authmethod CHAP
setting "$iqn_chap" "$port1" node.session.auth.username "$user"
setting "$iqn_chap" "$port1" node.session.auth.password wrong-secret-0123
login "$iqn_chap" "$port1" && fail "login with a wrong secret"
grep -qi "authorization failure\|authentication fail" /tmp/out || { cat /tmp/out; fail "not told as an authorization failure"; }
setting "$iqn_chap" "$port1" node.session.auth.password "$secret"
login "$iqn_chap" "$port1" || { cat /tmp/out; fail "login with the right secret"; }
logout "$iqn_chap" "$port1"

step "digests: headers and data"
node "$iqn" "$port1"
setting "$iqn" "$port1" 'node.conn[0].iscsi.HeaderDigest' CRC32C
setting "$iqn" "$port1" 'node.conn[0].iscsi.DataDigest' CRC32C
login "$iqn" "$port1" || { cat /tmp/out; fail "login with digests"; }
d=/dev/$(disk "$iqn" "$port1")
grep -q 1 /sys/class/iscsi_connection/connection*/header_digest && grep -q 1 /sys/class/iscsi_connection/connection*/data_digest || fail "digests are off"
dd if=/tmp/pattern of="$d" bs=1M seek=3 oflag=direct 2>/dev/null || fail "write with digests"
same "$d" 3 /tmp/pattern
logout "$iqn" "$port1"
setting "$iqn" "$port1" 'node.conn[0].iscsi.HeaderDigest' None
setting "$iqn" "$port1" 'node.conn[0].iscsi.DataDigest' None
login "$iqn" "$port1" || fail login
d=/dev/$(disk "$iqn" "$port1")

step "write same, discard, compare and write"
dd if=/tmp/pattern of="$d" bs=1M oflag=direct 2>/dev/null
head -c 512 /tmp/pattern >/tmp/block
sg_write_same --10 --lba=2048 --num=256 --in=/tmp/block --xferlen=512 "$d" || fail "WRITE SAME(10)"
sg_write_same --16 --lba=4096 --num=256 --in=/tmp/block --xferlen=512 "$d" || fail "WRITE SAME(16)"
blockdev --flushbufs "$d"
i=0; while [ $i -lt 256 ]; do cat /tmp/block; i=$((i + 1)); done >/tmp/blocks
for at in 2048 4096; do
	dd if="$d" bs=512 skip=$at count=256 iflag=direct 2>/dev/null | cmp -s - /tmp/blocks || fail "written same at $at"
done
blkdiscard -o 1048576 -l 1048576 "$d" || fail blkdiscard
blockdev --flushbufs "$d"
dd if="$d" bs=1M skip=1 count=1 2>/dev/null | tr -d '\0' | wc -c | grep -qx 0 || fail "discarded blocks are not zeros"
dd if="$d" bs=1M skip=2 count=1 2>/dev/null | head -c 512 | cmp -s - /tmp/block || fail "the discard went too far"
head -c 512 /dev/zero >/tmp/zeros
{ cat /tmp/zeros /tmp/block; } >/tmp/swap # compare with zeros, write the block
sg_compare_and_write --lba=2048 --in=/tmp/swap --num=1 --xferlen=1024 "$d" || fail "COMPARE AND WRITE"
sg_compare_and_write --lba=2048 --in=/tmp/swap --num=1 --xferlen=1024 --quiet "$d" 2>/dev/null && fail "COMPARE AND WRITE of what is not there"
blockdev --flushbufs "$d"
dd if="$d" bs=512 skip=2048 count=1 2>/dev/null | cmp -s - /tmp/block || fail "compared, not written"

step "ext4: made, filled, grown online, checked"
mkfs.ext4 -q -F "$d" || fail mkfs.ext4
mount -t ext4 "$d" /mnt/lun || fail "mount ext4"
cp -r /lib/modules /mnt/lun/ && cp /tmp/pattern /mnt/lun/ || fail "fill ext4"
before=$(blockdev --getsize64 "$d")
host grow
quiet iscsiadm -m session -R || fail rescan
until_true 20 '[ "$(blockdev --getsize64 '"$d"')" -gt "'"$before"'" ]' || fail "the kernel does not see the new size"
resize2fs "$d" >/tmp/out 2>&1 || { cat /tmp/out; fail resize2fs; }
cmp -s /tmp/pattern /mnt/lun/pattern || fail "content after the growth"
umount /mnt/lun || fail umount
e2fsck -fn "$d" >/tmp/out 2>&1 || { cat /tmp/out; fail "e2fsck finds something"; }

step "XFS: made, filled, checked"
mkfs.xfs -q -f "$d" || fail mkfs.xfs
mount -t xfs "$d" /mnt/lun || fail "mount xfs"
cp -r /lib/modules /mnt/lun/ && cp /tmp/pattern /mnt/lun/ || fail "fill xfs"
umount /mnt/lun || fail umount
xfs_repair -n "$d" >/tmp/out 2>&1 || { cat /tmp/out; fail "xfs_repair finds something"; }
mount -t xfs "$d" /mnt/lun && cmp -s /tmp/pattern /mnt/lun/pattern || fail "content on xfs"
umount /mnt/lun

step "a LUN comes and goes, and turns read-only, while the session lives"
host add_lun
quiet iscsiadm -m session -R
until_true 20 '[ "$(disks "$iqn" "$port1" | wc -l)" = 2 ]' || fail "the new LUN is not seen"
new=/dev/$(disks "$iqn" "$port1" | tail -1)
dd if=/tmp/pattern of="$new" bs=1M oflag=direct 2>/dev/null || fail "write to the new LUN"
same "$new" 0 /tmp/pattern
host read_only yes
dd if=/tmp/block of="$new" bs=512 oflag=direct 2>/dev/null && fail "a read-only LUN was written"
same "$new" 0 /tmp/pattern
host read_only no
dd if=/tmp/block of="$new" bs=512 seek=1 oflag=direct 2>/dev/null || fail "writable again"
host remove_lun
dd if="$new" of=/dev/null bs=512 count=1 iflag=direct 2>/dev/null && fail "a removed LUN was read"
echo 1 >"/sys/block/$(basename "$new")/device/delete"

step "two portals, one unit: dm-multipath goes on when a path is lost"
node "$iqn" "$port2"
login "$iqn" "$port2" || { cat /tmp/out; fail "login to the second portal"; }
d2=/dev/$(disk "$iqn" "$port2")
[ "$d" != "$d2" ] || fail "one disk for two portals"
id1=$(od -An -tx1 "/sys/block/$(basename "$d")/device/vpd_pg83") id2=$(od -An -tx1 "/sys/block/$(basename "$d2")/device/vpd_pg83")
[ -n "$id1" ] && [ "$(echo "$id1" | head -2)" = "$(echo "$id2" | head -2)" ] || fail "the paths name different units"
size=$(blockdev --getsz "$d")
paths() { for p in "$d" "$d2"; do cat "/sys/block/$(basename "$p")/dev"; done; }
set -- $(paths)
handler=0
if quiet sg_rtpg --decode "$d"; then
	cat /tmp/out
	modprobe scsi_dh_alua
	handler="1 alua"
	grep -qi "active/optimized" /tmp/out || fail "no path is active/optimized"
fi
dmsetup create mp --table "0 $size multipath 1 queue_if_no_path $handler 1 1 service-time 0 2 1 $1 1 $2 1" || fail "dm-multipath"
dmsetup mknodes >/dev/null 2>&1
m=/dev/mapper/mp
cat /tmp/pattern /tmp/pattern /tmp/pattern /tmp/pattern >/tmp/long
dd if=/tmp/long of=$m bs=256k oflag=direct 2>/tmp/dd.err &
writer=$!
usleep 300000
step "... one path goes"
logout "$iqn" "$port2"
wait $writer || { cat /tmp/dd.err; fail "the write over two paths"; }
same $m 0 /tmp/long
dmsetup status mp
dmsetup remove mp || fail "dmsetup remove"
quiet iscsiadm -m node -T "$iqn" -p $host_ip:"$port2" -o delete

if quiet sg_persist -i -c "$d"; then
	step "persistent reservations from two initiators"
	quiet iscsiadm -m iface -I other -o new
	quiet iscsiadm -m iface -I other -o update -n iface.initiatorname -v iqn.2026-01.org.isthmus:other || fail iface
	node "$iqn" "$port1" other
	login "$iqn" "$port1" other || { cat /tmp/out; fail "login of the second initiator"; }
	o=/dev/$(disk "$iqn" "$port1" iqn.2026-01.org.isthmus:other)
	d=/dev/$(disk "$iqn" "$port1" iqn.2026-01.org.isthmus:guest)
	[ "$o" != "$d" ] || fail "one disk for two initiators"
	sg_persist --out --register --param-sark=0xaaaa "$d" >/dev/null || fail "register a"
	sg_persist --out --register --param-sark=0xbbbb "$o" >/dev/null || fail "register b"
	sg_persist --out --reserve --param-rk=0xaaaa --prout-type=1 "$d" >/dev/null || fail "reserve (write exclusive)"
	sg_persist -i -r "$o" | grep -q 0xaaaa || fail "the other initiator does not see the reservation"
	dd if=/tmp/block of="$o" bs=512 oflag=direct 2>/dev/null && fail "written against a reservation"
	dd if="$o" of=/dev/null bs=512 count=1 iflag=direct 2>/dev/null || fail "read beside a write exclusive reservation"
	dd if=/tmp/block of="$d" bs=512 oflag=direct 2>/dev/null || fail "the holder's write"
	sg_persist --out --preempt --param-rk=0xbbbb --param-sark=0xaaaa --prout-type=1 "$o" >/dev/null || fail preempt
	dd if=/tmp/block of="$d" bs=512 oflag=direct 2>/dev/null && fail "written by who was preempted"
	dd if=/tmp/block of="$o" bs=512 oflag=direct 2>/dev/null || fail "the new holder's write"
	sg_persist --out --clear --param-rk=0xbbbb "$o" >/dev/null || fail clear
	dd if=/tmp/block of="$d" bs=512 oflag=direct 2>/dev/null || fail "write after the end of the reservation"
	logout "$iqn" "$port1" other
fi

step "logout in the middle of I/O, and login again"
dd if=/dev/zero of="$d" bs=64k count=4000 oflag=direct 2>/tmp/dd.err &
writer=$!
usleep 700000
logout "$iqn" "$port1"
wait $writer && fail "the write went on after the logout"
nodisk "$iqn" "$port1"
login "$iqn" "$port1" || { cat /tmp/out; fail "login again"; }
d=/dev/$(disk "$iqn" "$port1")
dd if=/tmp/pattern of="$d" bs=1M oflag=direct 2>/dev/null || fail "write after the login"
same "$d" 0 /tmp/pattern
logout "$iqn" "$port1"
step "all passed"
exit 0
