# Runs inside the guest behind linux_programs.sh. in_second, nfs_port, export, versions, rounds and parts are set above it.
# `host kill` has the head killed; it is back when that returns.
host() { echo "$*" | nc 10.0.2.100 9 | tr -d '\r' | grep -q '^done$' || fail "the host could not: $*"; }
wanted() { case " $parts " in *" $1 "*) ;; *) return 1 ;; esac; }

sqlite_part() { # VERSION
	local both="/mnt/a /mnt/b"
	[ $1 != 3 ] || both="/mnt/a /mnt/a" # its locks are the client's own here (nolock)
	step "version $1: SQLite, rollback journal, processes on both clients"
	sqlite_fresh delete
	kill_head= sqlite_load 25 $both $both
	step "version $1: ... and the head is killed"
	sqlite_fresh truncate
	kill_head=1 sqlite_load 25 $both $both
	step "version $1: ... write-ahead log, processes on one client (its index is mapped)"
	sqlite_fresh wal
	kill_head= sqlite_load 25 /mnt/a /mnt/a /mnt/a
	rm /mnt/a/db*
}

fio_part() { # VERSION
	step "version $1: fio writes and verifies"
	mkdir /mnt/a/fio
	fio_job /mnt/a/fio || fail "fio"
	grep -E '^  *(WRITE|READ):' /tmp/fio.log | sed 's/^ */   /'
	step "version $1: ... the other client verifies"
	fio_job /mnt/b/fio --verify_only || fail "fio, what the other client reads"
	step "version $1: ... and again while the head is killed"
	(sleep 2; host kill) & killer=$!
	fio_job /mnt/a/fio || fail "fio over a kill"
	wait $killer || fail "the kill"
	rm -r /mnt/a/fio
}

git_part() { # VERSION
	step "version $1: git clone, fsck"
	git clone -q --no-hardlinks /share/src.git /mnt/a/src 2>/tmp/git.log || fail "git clone: $(cat /tmp/git.log)"
	git -C /mnt/a/src fsck 2>/tmp/git.log || fail "git fsck: $(cat /tmp/git.log)"
	[ -z "$(git -C /mnt/b/src status --porcelain)" ] || fail "the other client sees changes"
	echo "   $(git -C /mnt/b/src ls-files | wc -l) files"
	step "version $1: ... commits by turns, gc"
	for i in 1 2 3; do
		for m in /mnt/a /mnt/b; do
			echo "$m $i" >>$m/src/README.md
			git -C $m/src commit -qam "$m $i" || fail "a commit on $m"
		done
	done
	git -C /mnt/a/src gc -q 2>/tmp/git.log || fail "git gc: $(cat /tmp/git.log)"
	[ "$(git -C /mnt/b/src log --oneline | head -6 | wc -l)" = 6 ] && git -C /mnt/b/src fsck 2>/dev/null || fail "after gc"
}

build_part() { # VERSION
	step "version $1: make in a tree from git"
	[ -d /mnt/a/src ] || git clone -q --no-hardlinks /share/src.git /mnt/a/src || fail "git clone"
	tar -C /mnt/a/src -xmf /share/configured.tar || fail "the configured tree"
	make -C /mnt/a/src/o -s -j2 libruntime.a libproto.a >/tmp/make.log 2>&1 || fail make
	for a in libruntime.a libproto.a; do
		echo "   $a: $(ar t /mnt/b/src/o/$a | wc -l) objects, as the other client sees it"
		(cd /tmp && rm -rf objects && mkdir objects && cd objects && ar x /mnt/b/src/o/$a && nm -A *.o >/dev/null) || fail "$a on the other client"
	done
	[ "$(ar t /mnt/b/src/o/libruntime.a | wc -l)" -gt 20 ] || fail "objects are missing"
}

# How long a write of a small file takes, until the file /tmp/stop is there: the longest in ms, and how many took over 1 s, 2 s.
probe() {
	local t0 t1 ms worst=0 long=0 longer=0 n=0
	while [ ! -e /tmp/stop ]; do
		t0=$(/usr/bin/date +%s%N)
		echo $n >/mnt/a/probe
		t1=$(/usr/bin/date +%s%N)
		ms=$(((t1 - t0) / 1000000)) n=$((n + 1))
		[ $ms -le $worst ] || worst=$ms
		[ $ms -le 1000 ] || long=$((long + 1))
		[ $ms -le 2000 ] || longer=$((longer + 1))
		echo "$n writes of a small file: longest $worst ms, over 1 s $long, over 2 s $longer" >/tmp/probe
		sleep 0.1
	done
}

round=0
while [ $round -lt "$rounds" ]; do
	round=$((round + 1))
	for vers in $versions; do
		step "round $round, version $vers"
		o=vers=$vers,proto=tcp,hard,actimeo=0,port=$nfs_port,nconnect=2
		[ $vers != 3 ] || o=$o,nolock,mountproto=tcp,mountport=$nfs_port
		mount.nfs 10.0.2.2:"$export" /mnt/a -o "$o" && in_second mount.nfs 10.0.2.2:"$export" /mnt/b -o "$o" ||
			fail "mounts of version $vers"
		rm -f /tmp/stop
		[ -z "$probe" ] || { probe & probe_pid=$!; }
		! wanted two || two_mounts /mnt/a /mnt/b $vers 4 $([ $vers != 3 ] || echo nolock) || fail two_mounts
		! wanted sqlite || sqlite_part $vers
		! wanted fio || fio_part $vers
		! wanted git || git_part $vers
		! wanted build || build_part $vers
		[ -z "$probe" ] || { touch /tmp/stop && wait $probe_pid && cat /tmp/probe; rm -f /mnt/a/probe; }
		rm -rf /mnt/a/src
		umount /mnt/b && umount /mnt/a || fail "umount of version $vers"
	done
done
step "all passed"
exit 0
