# Runs inside the guest (busybox sh). nfs_port and export are set above it. Lines "HOST …" on the console
# are for the host, which answers by making the file of that name in the export.
fail() { echo "FAILED: $*"; cat /tmp/*.log 2>/dev/null; exit 1; }
step() { echo "-- $(cut -d' ' -f1 /proc/uptime) $*"; }
host() { # NAME: the host does its part
	local i=0
	echo "HOST $1"
	while [ ! -e "/mnt/a/$1" ]; do
		i=$((i + 1))
		[ $i -lt 600 ] || fail "the host did not answer $1"
		sleep 0.5
	done
}
free() { flock -n "$1" true; }

step "rpcbind and statd"
chmod 755 / # rpcbind leaves root and reads /etc
hostname guest
mkdir -p /run/rpcbind /var/lib/nfs/sm /var/lib/nfs/sm.bak /mnt/a /mnt/b
[ -e /var/run ] || ln -s /run /var/run
printf 'root:x:0:0::/:/bin/sh\n_rpc:x:101:65534::/run/rpcbind:/bin/sh\nstatd:x:0:0::/var/lib/nfs:/bin/sh\n' >/etc/passwd
printf 'root:x:0:\nnogroup:x:65534:\n' >/etc/group
printf '127.0.0.1 localhost\n10.0.2.15 guest\n' >/etc/hosts
touch /var/lib/nfs/state
chown 101 /run/rpcbind
rpcbind -w 2>/tmp/rpcbind.log || fail rpcbind
rpc.statd -F -d --no-notify 2>/tmp/statd.log &
sleep 2
o=vers=3,proto=tcp,port=$nfs_port,nosharecache,actimeo=0
mount.nfs 10.0.2.2:"$export" /mnt/a -o "$o" || fail "first mount"
mount.nfs 10.0.2.2:"$export" /mnt/b -o "$o" || fail "second mount"

step "showmount, rpcinfo and nfsstat"
showmount --no-headers -e 10.0.2.2 | grep -q "^$export " || fail "showmount -e: $(showmount -e 10.0.2.2 2>&1)"
showmount --no-headers -a 10.0.2.2 | grep -q ":$export\$" || fail "showmount -a: $(showmount -a 10.0.2.2 2>&1)"
[ "$(showmount --no-headers -d 10.0.2.2)" = "$export" ] || fail "showmount -d: $(showmount -d 10.0.2.2 2>&1)"
for p in "100003 3" "100003 4" "100005 3" "100021 4" "100227 3"; do
	rpcinfo -T tcp 10.0.2.2 $p | grep -q 'ready and waiting' || fail "rpcinfo $p: $(rpcinfo -T tcp 10.0.2.2 $p 2>&1)"
done
nfsstat -m | grep -q "^/mnt/a from 10.0.2.2:$export" || fail "nfsstat -m: $(nfsstat -m)"
nfsstat -c | grep -qi 'client nfs v3' || fail "nfsstat -c: $(nfsstat -c)"
step "programs on both mounts, with locks"
two_mounts /mnt/a /mnt/b 3 || fail two_mounts
step "quota(1) asks RQUOTA"
ln -sf /proc/mounts /etc/mtab
quota -v -w -u 0 >/tmp/quota.log 2>&1 || fail quota
grep -q "10.0.2.2:$export " /tmp/quota.log || fail "no quota of the mount"

step "a lock of one mount is seen by the other"
echo x >/mnt/a/f
exec 5>>/mnt/a/f
flock -n 5 || fail "a free lock"
free /mnt/b/f && fail "the lock of another was granted"
host seen
step "who waits gets it when the other unlocks"
(flock 6 && echo got >/tmp/got && sleep 2) 6>>/mnt/b/f &
waiter=$!
sleep 3
[ -e /tmp/got ] && fail "granted while another held it"
flock -u 5
wait $waiter || fail "the wait ended without the lock"
[ -e /tmp/got ] || fail "not granted"
step "who gives up waiting leaves nothing"
flock -n 5 || fail "locked again"
flock -w 2 /mnt/b/f true && fail "granted while another held it"
flock -u 5
free /mnt/b/f || fail "a cancelled lock is held"
step "locks are there after the head was killed"
flock -n 5 || fail "locked a third time"
host reclaimed
free /mnt/b/f && fail "the lock was granted to another"
flock -u 5
free /mnt/b/f || fail "the lock was not given up"
exec 5>&-
umount /mnt/a && umount /mnt/b || fail umount
step "a file lent to a client of version 4.0 is asked for"
calls() { awk -v op="$1:" '$1 == "device" {on = $5 == "/mnt/a"} on && $1 == op {print $2}' /proc/self/mountstats; }
mount.nfs 10.0.2.2:"$export" /mnt/a -o vers=4.0,proto=tcp,port="$nfs_port" || fail "mount of version 4.0"
mount.nfs 10.0.2.2:"$export" /mnt/b -o "$o" || fail "mount of version 3 beside it"
echo one >/mnt/b/lent
n=0
until opens=$(calls OPEN) && [ "$(cat /mnt/a/lent)" = one ] && [ "$(calls OPEN)" = "$opens" ]; do
	n=$((n + 1))
	[ $n -lt 100 ] || fail "not lent" # not before the client answered a call
	sleep 0.2
done
back=$(calls DELEGRETURN)
echo two >/mnt/b/lent || fail "a write to what is lent"
[ "$(calls DELEGRETURN)" -gt "$back" ] || fail "not returned"
[ "$(cat /mnt/a/lent)" = two ] || fail "what another wrote: $(cat /mnt/a/lent)"
umount /mnt/a && umount /mnt/b || fail "last umount"
echo "all passed"
exit 0
