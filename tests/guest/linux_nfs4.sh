# Runs inside the guest (busybox sh). nfs_port, export, daemon (its numbers on the host) and read_plus (set: the kernel
# asks so) are set above it. Lines "HOST …" on the console
# are for the host, which answers by making the file of that name in the export.
fail() { echo "FAILED: $*"; dmesg | tail -20; exit 1; }
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
told() { # MOUNT OPERATION COLUMN: of the mount's statistics
	awk -v mount="$1" -v op="$2:" -v n="$3" '$1 == "device" {on = $5 == mount} on && $1 == op {print $n}' /proc/self/mountstats
}
calls() { told "$1" "$2" 2; }
received() { told "$1" "$2" 6; } # bytes
o=proto=tcp,port=$nfs_port,nosharecache,lookupcache=positive # what the host makes is seen at once
mkdir -p /mnt/root /mnt/a /mnt/b
# For names of owners, at the end: "daemon" has other numbers here than on the host.
printf 'root:x:0:0::/:/bin/sh\ndaemon:x:501:502::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n' >/etc/passwd
printf 'root:x:0:\ndaemon:x:502:\nnogroup:x:65534:\n' >/etc/group
printf '[General]\nDomain = guest.test\n[Mapping]\nNobody-User = nobody\nNobody-Group = nogroup\n' >/etc/idmapd.conf

for vers in 4.1 4.2; do
	step "version $vers: all exports under one root"
	mount.nfs 10.0.2.2:/ /mnt/root -o "vers=$vers,$o" || fail "mount of the root"
	[ "$(ls /mnt/root | tr '\n' ' ')" = "demo sub " ] || fail "root: $(ls /mnt/root)"
	ls "/mnt/root$export" >/dev/null || fail "into an export"
	touch "/mnt/root/x" 2>/dev/null && fail "a file in the pseudo file system"
	[ "$(ls -di "/mnt/root$export/sub/." | cut -d' ' -f1)" = "$(ls -di /mnt/root/sub/. | cut -d' ' -f1)" ] ||
		fail "one directory by two paths"
	umount "/mnt/root$export" 2>/dev/null
	umount /mnt/root/sub 2>/dev/null
	umount /mnt/root || fail "umount of the root"
	step "version $vers: copy, compare"
	mount.nfs 10.0.2.2:"$export" /mnt/a -o "vers=$vers,$o" || fail mount
	grep " /mnt/a nfs4 .*vers=$vers" /proc/mounts >/dev/null || fail "not version $vers"
	mkdir /mnt/a/tree || fail mkdir
	cp -r /lib/modules /sbin /mnt/a/tree/ || fail copy
	(cd / && find lib/modules sbin -type f | sed 's,^lib/,,' | sort) >/tmp/files
	(cd /mnt/a/tree && find . -type f | sed 's,^./,,' | sort) >/tmp/copied
	cmp /tmp/files /tmp/copied || fail "entries differ"
	(cd / && find lib/modules sbin -type f | sort | while read -r f; do sha256sum "$f"; done |
		sed 's,  lib/,  ,') >/tmp/sum
	umount /mnt/a || fail umount
	echo 3 >/proc/sys/vm/drop_caches
	mount.nfs 10.0.2.2:"$export" /mnt/a -o "vers=$vers,$o" || fail "second mount"
	(cd /mnt/a/tree && sha256sum -c /tmp/sum >/dev/null) || fail "content differs"
	step "version $vers: names, links, modes, times"
	cd /mnt/a || fail cd
	echo one >a && mv a b && [ "$(cat b)" = one ] && [ ! -e a ] || fail rename
	echo two >c && mv c b && [ "$(cat b)" = two ] || fail "rename over"
	ln b hard && [ "$(stat -c %h b)" = 2 ] || fail link
	ln -s b soft && [ "$(cat soft)" = two ] || fail symlink
	chmod 640 b && [ "$(stat -c %a b)" = 640 ] || fail chmod
	chown 12:34 b && [ "$(stat -c %u:%g b)" = 12:34 ] || fail chown
	touch -d '2001-02-03 04:05:06' b && [ "$(stat -c %Y b)" = "$(date -d '2001-02-03 04:05:06' +%s)" ] || fail utimes
	mkdir d && ! rmdir tree 2>/dev/null && rmdir d || fail rmdir
	mknod pipe p && [ -p pipe ] || fail mknod
	mknod dev b 7 8 && [ -b dev ] || fail "mknod of a device"
	[ "$(df -P /mnt/a | awk 'NR == 2 {print $2}')" -gt 100000 ] || fail df
	step "version $vers: unlink while open, append, truncate, exclusive"
	exec 5<>open
	echo kept >&5
	rm open
	exec 6</proc/self/fd/5 && [ "$(cat <&6)" = kept ] || fail "unlinked file lost its content"
	exec 5>&- 6<&-
	: >t && dd if=/dev/zero of=t bs=1 count=1 seek=10000000 conv=notrunc 2>/dev/null && [ "$(stat -c %s t)" = 10000001 ] || fail hole
	echo x >>t && [ "$(stat -c %s t)" = 10000003 ] || fail append
	truncate -s 5 t && [ "$(stat -c %s t)" = 5 ] || fail truncate
	echo y >t && [ "$(stat -c %s t)" = 2 ] || fail "open with truncation"
	(set -C; echo z >new) && ! (set -C; echo z >new) 2>/dev/null || fail "exclusive creation"
	umask 077 && echo z >private && [ "$(stat -c %a private)" = 600 ] || fail umask
	umask 022
	step "version $vers: 500 files in a directory"
	mkdir many && (cd many && i=0 && while [ $i -lt 500 ]; do : >f$i; i=$((i + 1)); done)
	[ "$(ls many | wc -l)" = 500 ] || fail "readdir of 500"
	rm -r many tree || fail "rm -r"
	cd /
	step "version $vers: locks between two mounts"
	mount.nfs 10.0.2.2:"$export" /mnt/b -o "vers=$vers,$o,actimeo=0" || fail "mount beside it"
	exec 5>>/mnt/a/f
	flock -n 5 || fail "a free lock"
	flock -u 5 && free /mnt/b/f || fail "a lock that was given up"
	flock -n 5 || fail "again"
	[ $vers = 4.1 ] && host seen
	exec 5>&-
	cd /mnt/a && rm -f b hard soft pipe dev t new private f
	cd /
	if [ $vers = 4.2 ]; then
		step "blocks set aside, holes, copies by the server"
		dd if=/dev/urandom of=/mnt/a/data bs=64k count=64 2>/dev/null
		xfs_io -f -c "falloc 0 8m" /mnt/a/more && [ "$(stat -c %s /mnt/a/more)" = 8388608 ] || fail "blocks set aside"
		cp /mnt/a/data /tmp/data
		xfs_io -c "fpunch 1m 1m" /mnt/a/data || fail "a hole"
		dd if=/dev/zero of=/tmp/data bs=1M seek=1 count=1 conv=notrunc 2>/dev/null
		cmp /mnt/a/data /tmp/data || fail "content around the hole"
		xfs_io -c "seek -a -r 0" /mnt/a/data | tr '\t\n' '  ' >/tmp/seek
		grep -q "DATA 0 HOLE 1048576 DATA 2097152 HOLE 4194304" /tmp/seek || fail "seek: $(cat /tmp/seek)"
		xfs_io -f -c "copy_range -s 1000 -l 3000000 /mnt/a/data" /mnt/a/copy || fail "a copy"
		dd if=/tmp/data of=/tmp/copy bs=1000 skip=1 count=3000 2>/dev/null
		cmp /mnt/b/copy /tmp/copy || fail "content of the copy"
		truncate -s 60000000 /mnt/a/large /tmp/large
		for f in /mnt/a/large /tmp/large; do dd if=/tmp/data of=$f bs=64k seek=800 conv=notrunc 2>/dev/null; done
		xfs_io -f -c "copy_range -s 1 -l 59999999 /mnt/a/large" /mnt/a/copy || fail "a copy behind its answer"
		dd if=/tmp/large bs=1M iflag=skip_bytes skip=1 2>/dev/null | cmp - /mnt/b/copy || fail "content of the large copy"
		if [ -n "$read_plus" ]; then
			step "holes are told by READ_PLUS, not sent"
			got=$(received /mnt/b READ_PLUS)
			cmp /mnt/b/large /tmp/large || fail "what READ_PLUS told"
			got=$(($(received /mnt/b READ_PLUS) - got))
			[ $got -gt 4000000 ] && [ $got -lt 12000000 ] || fail "READ_PLUS took $got bytes for 4 MiB of data"
		fi
		rm /mnt/a/large /tmp/large
		for op in ALLOCATE DEALLOCATE SEEK COPY; do
			[ "$(calls /mnt/a $op)" -gt 0 ] || fail "the kernel did it without $op"
		done
		step "clones: they part when either is written to"
		head -c 100 /tmp/data >>/mnt/a/data && head -c 100 /tmp/data >/tmp/end && cat /tmp/end >>/tmp/data
		left() { stat -f -c %f /mnt/b; }
		sync && was=$(left)
		/usr/bin/cp --reflink=always /mnt/a/data /mnt/a/clone || fail "a clone"
		cmp /mnt/b/clone /tmp/data || fail "content of the clone"
		[ $((was - $(left))) -lt 64 ] || fail "a clone takes blocks: $was, $(left)"
		cp /tmp/data /tmp/clone
		for f in /mnt/a/clone /tmp/clone; do dd if=/bin/busybox of=$f bs=1000 seek=3 count=9 conv=notrunc 2>/dev/null; done
		for f in /mnt/a/data /tmp/data; do dd if=/bin/busybox of=$f bs=5000 seek=700 count=1 conv=notrunc 2>/dev/null; done
		cmp /mnt/b/clone /tmp/clone || fail "the clone after a write"
		cmp /mnt/b/data /tmp/data || fail "what was cloned after a write"
		xfs_io -c "reflink /mnt/a/data 4096 8192 65536" /mnt/a/clone >/dev/null || fail "a part of it"
		dd if=/tmp/data of=/tmp/clone bs=4096 skip=1 seek=2 count=16 conv=notrunc 2>/dev/null
		cmp /mnt/b/clone /tmp/clone || fail "the part of it"
		xfs_io -c "reflink /mnt/a/data 100 0 4096" /mnt/a/clone >/tmp/refused 2>&1
		grep -q "Invalid argument" /tmp/refused || fail "a clone of parts of blocks: $(cat /tmp/refused)"
		rm /mnt/a/data /mnt/a/more /mnt/a/copy /mnt/a/clone
		step "locks and opens are there after the head was killed"
		exec 5>>/mnt/a/f
		flock -n 5 || fail "locked"
		host killed
		echo written >&5 || fail "write after the restart"
		exec 5>&-
		[ "$(cat /mnt/b/f)" = written ] || fail "what was written after the restart"
	fi
	umount /mnt/b && umount /mnt/a || fail "last umount"
done

lent() { # VERSION VERSION: what is lent to the one is asked for when the other uses it
	step "files lent to a client of $1 are used without asking, and asked for when one of $2 comes"
	mount.nfs 10.0.2.2:"$export" /mnt/a -o "vers=$1,$o" || fail "mount of the one it is lent to"
	mount.nfs 10.0.2.2:"$export" /mnt/b -o "vers=$2,$o,actimeo=0" || fail "mount of another client"
	echo mine >/mnt/a/lent || fail "a file to be lent"
	opens=$(calls /mnt/a OPEN) && back=$(calls /mnt/a DELEGRETURN)
	[ "$(cat /mnt/a/lent)" = mine ] && echo more >>/mnt/a/lent && [ "$(calls /mnt/a OPEN)" = "$opens" ] ||
		fail "lent to write, but it asks: OPEN $opens, $(calls /mnt/a OPEN)"
	[ "$(cat /mnt/b/lent)" = "mine
more" ] || fail "what another reads of it: $(cat /mnt/b/lent)"
	[ "$(calls /mnt/a DELEGRETURN)" -gt "$back" ] || fail "not returned"
	echo here >/mnt/a/kept && umount /mnt/a && mount.nfs 10.0.2.2:"$export" /mnt/a -o "vers=$1,$o" || fail "mount again"
	[ "$(cat /mnt/a/kept)" = here ] || fail "a file to be lent to read"
	opens=$(calls /mnt/a OPEN) && back=$(calls /mnt/a DELEGRETURN)
	[ "$(cat /mnt/a/kept)" = here ] && [ "$(calls /mnt/a OPEN)" = "$opens" ] || fail "lent to read, but it asks"
	echo there >/mnt/b/kept || fail "a write by another"
	[ "$(calls /mnt/a DELEGRETURN)" -gt "$back" ] && [ "$(cat /mnt/a/kept)" = there ] || fail "after a write by another"
	rm /mnt/a/lent /mnt/a/kept && umount /mnt/b && umount /mnt/a || fail "umount of what was lent"
}
lent 4.1 4.2
lent 4.2 4.1

step "version 4.0, beside a client of 4.1: write, compare, rename"
mount.nfs 10.0.2.2:"$export" /mnt/a -o "vers=4.0,$o" || fail "mount of version 4.0"
grep " /mnt/a nfs4 .*vers=4.0" /proc/mounts >/dev/null || fail "not version 4.0"
mount.nfs 10.0.2.2:"$export" /mnt/b -o "vers=4.1,$o,actimeo=0" || fail "mount of 4.1 beside it"
mkdir /mnt/a/d && cp /bin/busybox /mnt/a/d/one || fail "a file of version 4.0"
cmp /bin/busybox /mnt/b/d/one || fail "what version 4.0 wrote"
mv /mnt/a/d/one /mnt/a/two && [ -e /mnt/b/two ] && [ ! -e /mnt/b/d/one ] || fail "rename by version 4.0"
(set -C; echo z >/mnt/a/new) && ! (set -C; echo z >/mnt/a/new) 2>/dev/null || fail "exclusive creation by version 4.0"
chown 12:34 /mnt/a/new && chmod 640 /mnt/a/new && [ "$(stat -c %a:%u:%g /mnt/b/new)" = 640:12:34 ] ||
	fail "attributes by version 4.0"
rm /mnt/a/two /mnt/a/new /mnt/a/f && rmdir /mnt/a/d || fail "remove by version 4.0"
step "version 4.0: locks against the other client, the host's, and after the head was killed"
exec 5>>/mnt/b/f
flock -n 5 || fail "a free lock of 4.1"
free /mnt/a/f && fail "4.0 was granted what 4.1 holds"
exec 5>&-
exec 5>>/mnt/a/f
flock -n 5 || fail "a lock that was given up"
free /mnt/b/f && fail "4.1 was granted what 4.0 holds"
host seen40
echo before >&5
host killed40
free /mnt/b/f && fail "the lock of 4.0 was granted to another"
echo after >&5
exec 5>&-
[ "$(cat /mnt/b/f)" = "before
after" ] || fail "what 4.0 wrote around the restart: $(cat /mnt/b/f)"
free /mnt/b/f || fail "the lock of 4.0 was not given up"
umount /mnt/b && umount /mnt/a || fail "umount of version 4.0"
step "owners by name"
echo 0 >/sys/module/nfs/parameters/nfs4_disable_idmapping
mount.nfs 10.0.2.2:"$export" /mnt/a -o "vers=4.2,$o,actimeo=0" || fail "mount with names"
mount.nfs 10.0.2.2:"$export" /mnt/b -o "vers=3,$o,actimeo=0,nolock,mountproto=tcp,mountport=$nfs_port" ||
	fail "mount of version 3"
: >/mnt/a/mine && chown 501:502 /mnt/a/mine || fail "chown by name"
[ "$(stat -c %u:%g /mnt/a/mine)" = 501:502 ] || fail "owner by name: $(stat -c %u:%g /mnt/a/mine)"
[ "$(stat -c %u:%g /mnt/b/mine)" = "$daemon" ] || fail "by version 3 it is $(stat -c %u:%g /mnt/b/mine), not $daemon"
chown 4711:4712 /mnt/b/mine || fail "chown by version 3"
[ "$(stat -c %u:%g /mnt/a/mine)" = 4711:4712 ] || fail "owner without a name: $(stat -c %u:%g /mnt/a/mine)"
[ "$(ls -ln /mnt/a | awk '/ f$/ {print $3 ":" $4}')" = 0:0 ] || fail "root's: $(ls -ln /mnt/a)"
umount /mnt/b && umount /mnt/a || fail "umount with names"
echo "all passed"
exit 0
