# Runs inside the guest (busybox sh): two clients, the second in a network namespace of its own.
# in_second, nfs_port and export are set above it.
fail() { echo "FAILED: $*"; dmesg | tail -20; exit 1; }
step() { echo "-- $(cut -d' ' -f1 /proc/uptime) $*"; }
mkdir -p /mnt/a /mnt/b
hostname first
# The second may be in a namespace, but its mounts are everybody's.
both() { # OPTIONS
	mount.nfs 10.0.2.2:"$export" /mnt/a -o "$1" && in_second mount.nfs 10.0.2.2:"$export" /mnt/b -o "$1"
}

for vers in 3 4.0 4.1 4.2; do
	step "version $vers: two clients"
	o=vers=$vers,proto=tcp,sec=sys,port=$nfs_port,actimeo=0 nolock=
	[ $vers != 3 ] || { o=$o,nolock,mountproto=tcp,mountport=$nfs_port nolock=nolock; }
	both "$o" || fail "mounts of version $vers"
	[ "$(grep -cE " /mnt/[ab] nfs.*,vers=$vers,.*,sec=sys," /proc/mounts)" = 2 ] || fail "$(grep /mnt/ /proc/mounts)"
	two_mounts /mnt/a /mnt/b $vers $nolock || fail "two clients of version $vers"
	nfsstat -m | grep -q "^/mnt/a from 10.0.2.2:$export" || fail "nfsstat -m: $(nfsstat -m)"
	if [ $vers != 3 ]; then
		step "version $vers: access control lists"
		: >/mnt/a/acl && chmod 640 /mnt/a/acl
		nfs4_getfacl /mnt/a/acl >/tmp/acl || fail nfs4_getfacl
		grep -q '^A::OWNER@:r' /tmp/acl && grep -q '^A:.*:EVERYONE@:' /tmp/acl || fail "list of a mode: $(cat /tmp/acl)"
		nfs4_setfacl -a A::1000:rx /mnt/a/acl || fail nfs4_setfacl
		nfs4_getfacl /mnt/b/acl | grep -q '^A::1000:r' || fail "what was set: $(nfs4_getfacl /mnt/b/acl)"
		nfs4_setfacl -x A::1000:rx /mnt/b/acl || fail "nfs4_setfacl -x"
		nfs4_getfacl /mnt/a/acl | grep -q ':1000:' && fail "left: $(nfs4_getfacl /mnt/a/acl)"
		rm /mnt/a/acl
	fi
	if [ $vers = 4.2 ]; then
		step "version $vers: extended attributes"
		: >/mnt/a/x && setfattr -n user.one -v first /mnt/a/x && setfattr -n user.two -v 0x00ff /mnt/b/x || fail setfattr
		[ "$(getfattr --absolute-names --only-values -n user.one /mnt/b/x)" = first ] || fail "getfattr: $(getfattr -d /mnt/b/x)"
		[ "$(getfattr --absolute-names -d -e hex /mnt/a/x | grep '^user' | sort | tr '\n' ' ')" = \
			"user.one=0x6669727374 user.two=0x00ff " ] || fail "getfattr -d: $(getfattr -d -e hex /mnt/a/x)"
		setfattr -x user.one /mnt/b/x && ! getfattr -n user.one /mnt/a/x 2>/dev/null || fail "setfattr -x"
		rm /mnt/a/x
	fi
	umount /mnt/b && umount /mnt/a || fail "umount of version $vers"
	[ $vers = 4.2 ] || continue
	step "version $vers: four connections"
	both "$o,nconnect=4" || fail "nconnect of version $vers"
	two_mounts /mnt/a /mnt/b $vers $nolock || fail "four connections of version $vers"
	[ "$(awk '$1 == "device" { on = $5 == "/mnt/a" } on && $1 == "xprt:" && $2 == "tcp" && $9 > 9' /proc/self/mountstats | wc -l)" = 4 ] ||
		fail "not four in use: $(grep xprt /proc/self/mountstats)"
	umount /mnt/b && umount /mnt/a || fail "umount of four connections"
done
nfsstat -c | grep -qi 'client nfs v4' || fail "nfsstat -c: $(nfsstat -c)"
echo "all passed"
exit 0
