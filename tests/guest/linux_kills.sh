# Runs inside the guest (busybox sh) behind linux_programs.sh: two clients at work while
# somebody kills the server's head. in_second, nfs_port, export, seconds and versions are set above it.
chmod 755 / # rpcbind leaves root and reads /etc
printf '127.0.0.1 localhost\n10.0.2.15 first\n10.0.2.16 second\n' >/etc/hosts
printf 'root:x:0:0::/tmp:/bin/sh\n_rpc:x:101:65534::/tmp:/bin/sh\nstatd:x:0:0::/tmp:/bin/sh\n' >/etc/passwd
printf 'root:x:0:\nnogroup:x:65534:\n' >/etc/group

# In mounts of its own: each client's kernel is to find its rpcbind by the loopback, not by the other's socket.
monitor() { # NAME, then by in_second or not
	local name=$1
	shift
	"$@" unshare -m sh -c 'mkdir -p /run /var/lib; mount -t tmpfs none /run; mount -t tmpfs none /var/lib
		mkdir -p /run/rpcbind /var/lib/nfs/sm /var/lib/nfs/sm.bak; chown 101 /run/rpcbind; : >/var/lib/nfs/state
		[ -e /var/run ] || ln -s /run /var/run
		rpcbind -w && exec rpc.statd -F -d --no-notify' >/tmp/statd-$name.log 2>&1 &
}
locks=
case " $versions " in *" 3 "*)
	step "rpcbind and statd of both clients"
	monitor first env
	monitor second in_second env
	sleep 5
	;;
esac

load() { # programs besides, over and over: on the one client a database, on the other fio
	while [ ! -e /tmp/stop ]; do
		[ "$1" = 3 ] || { sqlite_fresh delete && kill_head= sqlite_load 20 /mnt/a /mnt/b && rm -f /mnt/a/db*; }
		mkdir /mnt/b/fio && fio_job /mnt/b/fio && rm -r /mnt/b/fio || fail "fio"
		echo round >>/tmp/rounds
	done
}

for vers in $versions; do
	o=vers=$vers,proto=tcp,hard,actimeo=0,port=$nfs_port
	[ $vers != 3 ] || o=$o,mountproto=tcp,mountport=$nfs_port
	mount.nfs 10.0.2.2:"$export" /mnt/a -o "$o" && in_second mount.nfs 10.0.2.2:"$export" /mnt/b -o "$o" ||
		fail "mounts of version $vers"
	step "version $vers: locks and names, SQLite and fio"
	rm -f /tmp/stop /tmp/rounds
	(load $vers) & load_pid=$!
	contend /mnt/a /mnt/b "$seconds" || fail "version $vers"
	touch /tmp/stop
	wait $load_pid || fail "programs of version $vers"
	echo "   $(wc -l </tmp/rounds) rounds of SQLite and fio"
	umount /mnt/b && umount /mnt/a || fail "umount of version $vers"
done
step "all passed"
exit 0
