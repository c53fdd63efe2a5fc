# Runs inside the guest (busybox sh). nfs_port and keys (a folder) are set above it.
fail() {
	echo "FAILED: $*"
	dmesg | tail -20
	tail -40 /tmp/gssd.log
	exit 1
}
step() { echo "-- $(cut -d' ' -f1 /proc/uptime) $*"; }
as() { su daemon -s /bin/sh -c "KRB5CCNAME=FILE:/tmp/krb5cc_1 $*"; }
hostname client.test
mkdir -p /mnt/sys /mnt/a /var/lib/nfs/rpc_pipefs /var/tmp
chmod 755 / # as the image was made, it is root's alone
chmod 1777 /tmp /var/tmp
printf 'root:x:0:0::/:/bin/sh\ndaemon:x:1:1::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n' >/etc/passwd
printf 'root:x:0:\ndaemon:x:1:\nnogroup:x:65534:\n' >/etc/group
printf '127.0.0.1 localhost\n10.0.2.15 client.test\n10.0.2.2 files.test\n' >/etc/hosts
printf 'hosts: files\npasswd: files\ngroup: files\n' >/etc/nsswitch.conf
mv $keys/client.conf /etc/krb5.conf
mv $keys/machine.keytab /etc/krb5.keytab
chmod 644 $keys/daemon.keytab
o=proto=tcp,port=$nfs_port,nosharecache,actimeo=0

step "a mount with AUTH_SYS; a folder for the user"
mount.nfs files.test:/demo /mnt/sys -o "vers=4.2,sec=sys,$o" || fail "mount with sec=sys"
mkdir /mnt/sys/home && chown 1:1 /mnt/sys/home || fail "a folder"
mount.nfs files.test:/safe /mnt/a -o "vers=4.2,sec=sys,$o" 2>/dev/null && fail "AUTH_SYS where only Kerberos is taken"

step "rpc.gssd, a ticket"
mount -t rpc_pipefs none /var/lib/nfs/rpc_pipefs || fail "rpc_pipefs"
rpc.gssd -f -v -D >/tmp/gssd.log 2>&1 &
kinit -k -t $keys/daemon.keytab -c FILE:/tmp/krb5cc_1 daemon || fail kinit
chown 1:1 /tmp/krb5cc_1
sleep 1

head -c 300000 /bin/busybox >/tmp/data
for vers in 3 4.0 4.1 4.2; do
	for sec in krb5 krb5i krb5p; do
		case $vers in
		3) more=,nolock,mountproto=tcp,mountport=$nfs_port ;;
		*) more= ;;
		esac
		[ $vers = 4.0 ] && [ $sec != krb5i ] && continue
		[ $vers = 4.1 ] && [ $sec != krb5i ] && continue
		step "version $vers, $sec"
		mount.nfs files.test:/demo /mnt/a -o "vers=$vers,sec=$sec,$o$more" || fail "mount vers=$vers sec=$sec"
		grep " /mnt/a nfs.*sec=$sec," /proc/mounts >/dev/null || fail "not $sec: $(grep /mnt/a /proc/mounts)"
		as "cp /tmp/data /mnt/a/home/data" || fail "write as the user"
		[ "$(stat -c %u /mnt/sys/home/data)" = 1 ] || fail "owner $(stat -c %u /mnt/sys/home/data)"
		cmp /tmp/data /mnt/sys/home/data || fail "what AUTH_SYS reads of it"
		echo 3 >/proc/sys/vm/drop_caches
		as "cmp /tmp/data /mnt/a/home/data" || fail "read as the user"
		as "mkdir /mnt/a/home/d && mv /mnt/a/home/data /mnt/a/home/d/x && ls /mnt/a/home/d && rm -r /mnt/a/home/d" >/dev/null ||
			fail "names"
		chmod 700 /mnt/sys/home
		as "ls /mnt/a/home" >/dev/null || fail "the user's own folder"
		ls /mnt/a/home >/dev/null 2>&1 && fail "root of the client, a machine, is the user"
		chmod 755 /mnt/sys/home
		umount /mnt/a || fail umount
	done
done

step "an export for krb5p alone"
mount.nfs files.test:/safe /mnt/a -o "vers=4.2,sec=krb5,$o" 2>/dev/null && fail "krb5 where only krb5p is taken"
mount.nfs files.test:/safe /mnt/a -o "vers=4.2,$o" || fail "a mount that finds out"
grep " /mnt/a nfs4 .*sec=krb5p," /proc/mounts >/dev/null || fail "not krb5p: $(grep /mnt/a /proc/mounts)"
as "cat /mnt/a/home/none" 2>/dev/null
as "cp /tmp/data /mnt/a/home/data && cmp /tmp/data /mnt/a/home/data" || fail "through krb5p"

step "the head ends and begins: contexts are made anew"
echo "HOST restart"
i=0
while [ ! -e /mnt/sys/restarted ]; do
	i=$((i + 1))
	[ $i -lt 300 ] || fail "the host did not answer"
	sleep 0.2
done
echo 3 >/proc/sys/vm/drop_caches
as "cmp /tmp/data /mnt/a/home/data" || fail "after the restart"

step "an expired ticket"
as kdestroy
as "cat /mnt/a/home/data" >/dev/null 2>&1 # its context may live on
umount /mnt/a || fail "last umount"
mount.nfs files.test:/safe /mnt/a -o "vers=4.2,sec=krb5p,$o" || fail "mount by the machine's key"
as "ls /mnt/a/home" >/dev/null 2>&1 && fail "a user without a ticket"
kinit -k -t $keys/daemon.keytab -c FILE:/tmp/krb5cc_1 daemon && chown 1:1 /tmp/krb5cc_1
as "ls /mnt/a/home" >/dev/null || fail "with a ticket again"
umount /mnt/a && umount /mnt/sys || fail "the end"
echo "all passed"
exit 0
