# Runs inside the guest (busybox sh). port1, port3 (of heads 1 and 3; head 2 has 2049) are set above it.
fail() { echo "FAILED: $*"; dmesg | tail -20; exit 1; }
step() { echo "-- $(cut -d' ' -f1 /proc/uptime) $*"; }
mkdir -p /mnt/root /mnt/a /mnt/b
for vers in 4.0 4.1 4.2; do
	step "version $vers: the root of head 1, into what head 2 serves"
	mount.nfs 10.0.2.2:/ /mnt/root -o "vers=$vers,proto=tcp,port=$port1" || fail "mount of the root"
	[ "$(ls /mnt/root | sort | tr '\n' ' ')" = "demo three two " ] || fail "root: $(ls /mnt/root)"
	[ "$(cat /mnt/root/two/file)" = two ] || fail "a file of head 2"
	[ "$(cat /mnt/root/demo/file)" = one ] || fail "a file of head 1"
	grep ' /mnt/root/two nfs4 ' /proc/mounts || fail "not mounted: $(cat /proc/mounts)"
	echo "$vers" >/mnt/root/two/by$vers && mkdir /mnt/root/two/d$vers && mv /mnt/root/two/by$vers /mnt/root/two/d$vers/ ||
		fail "changes at head 2"
	[ "$(cat /mnt/root/two/d$vers/by$vers)" = "$vers" ] || fail "what was written"
	ls -l /mnt/root >/dev/null || fail "ls -l of the root"
	umount /mnt/root/two && umount /mnt/root/demo || fail "umount of what was entered"
	umount /mnt/root || fail "umount of the root"
done
step "version 3: what head 2 and head 3 serve, through head 1"
o=vers=3,proto=tcp,nolock,port=$port1,mountport=$port1,mountproto=tcp
mount.nfs 10.0.2.2:/two /mnt/a -o "$o" || fail "mount through head 1"
mount.nfs 10.0.2.2:/three /mnt/b -o "$o" || fail "mount of head 3's through head 1"
[ "$(cat /mnt/a/file)" = two ] && [ "$(cat /mnt/b/file)" = three ] || fail "read by version 3"
[ "$(cat /mnt/a/d4.2/by4.2)" = 4.2 ] || fail "what version 4.2 wrote"
cp -r /sbin /mnt/a/tree || fail copy
(cd /sbin && find . -type f | while read -r f; do sha256sum "$f"; done) >/tmp/sum
umount /mnt/a && mount.nfs 10.0.2.2:/two /mnt/a -o "$o" || fail "mount again"
(cd /mnt/a/tree && sha256sum -c /tmp/sum >/dev/null) || fail "content differs"
rm -r /mnt/a/tree || fail remove
umount /mnt/a && umount /mnt/b || fail umount
step done
exit 0
