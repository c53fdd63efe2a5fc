# Runs inside the guest (busybox sh) with the host's /usr, ahead of another: what programs people use do on two clients (/mnt/a,
# and /mnt/b in a namespace of its own).
fail() { echo "FAILED: $*"; tail -20 /tmp/*.log 2>/dev/null; dmesg | tail -20; exit 1; }
step() { echo "-- $(cut -d' ' -f1 /proc/uptime) $*"; }
export HOME=/tmp PATH=/usr/bin:/usr/sbin:/bin:/sbin LANG=C
mkdir -p /mnt/a /mnt/b /dev/shm
mount -t tmpfs none /dev/shm
hostname first
printf 'root:x:0:0::/tmp:/bin/sh\n' >/etc/passwd
printf 'root:x:0:\n' >/etc/group
ln -sf /proc/self/fd /dev/fd
ln -sf /usr/bin/dash /bin/sh # busybox's takes its own programs before those of PATH
ln -sf /usr/bin/bash /bin/bash
git config --global safe.directory '*'
git config --global user.email guest@example.org
git config --global user.name Guest

# Transactions of one process: transactions NAME COUNT >SQL. Each counts itself in a row of its own and in the sum.
transactions() {
	local i=0
	echo ".timeout 300000"
	while [ $i -lt "$2" ]; do
		echo "BEGIN IMMEDIATE; INSERT INTO t VALUES('$1', $i, randomblob($((500 + i * 97 % 4000))));"
		echo "UPDATE c SET v = v + 1; COMMIT;"
		i=$((i + 1))
	done
}
sql() { sqlite3 -bail -cmd '.timeout 300000' "$@"; }
# PROCESSES with COUNT transactions each, on the mounts named in turn: sqlite_load COUNT MOUNT...
sqlite_load() {
	local count=$1 n=0 pids= m pid
	shift
	for m in "$@"; do
		n=$((n + 1))
		transactions "p$n" "$count" >/tmp/load$n.sql
		sqlite3 -bail $m/db </tmp/load$n.sql >/tmp/load$n.log 2>&1 &
		pids="$pids $!"
	done
	[ -z "$kill_head" ] || { sleep 1; host kill; }
	for pid in $pids; do wait $pid || fail "a process of the database: $(cat /tmp/load*.log)"; done
	[ "$(sql /mnt/a/db 'SELECT (SELECT v FROM c), count(*), count(DISTINCT who || n) FROM t')" = "$((n * count))|$((n * count))|$((n * count))" ] ||
		fail "transactions: $(sql /mnt/a/db 'SELECT (SELECT v FROM c), count(*), count(DISTINCT who || n) FROM t'), not $((n * count))"
	for m in /mnt/a /mnt/b; do
		[ "$(sql $m/db 'PRAGMA integrity_check')" = ok ] || fail "integrity seen on $m: $(sql $m/db 'PRAGMA integrity_check')"
	done
	echo "   $((n * count)) transactions of $n processes"
}
sqlite_fresh() { # JOURNAL: a database
	rm -f /mnt/a/db*
	[ "$(sql /mnt/a/db "PRAGMA journal_mode=$1")" = "$1" ] || fail "no journal_mode $1"
	sql /mnt/a/db 'CREATE TABLE t(who, n, data); CREATE TABLE c(v); INSERT INTO c VALUES(0)' || fail "a database"
}
fio_job() { # FOLDER MORE...
	local folder=$1
	shift
	fio --directory="$folder" --size=4m --verify=crc32c --verify_fatal=1 --fallocate=none --thread --group_reporting \
		--name=seq --rw=write --bs=256k --numjobs=2 \
		--name=random --rw=randwrite --bs=4k --size=2m --numjobs=2 --stonewall \
		--name=odd --rw=randwrite --bsrange=512-40k --bs_unaligned --stonewall \
		--name=direct --rw=randwrite --bs=8k --direct=1 --ioengine=libaio --iodepth=8 --numjobs=2 --stonewall \
		--name=directseq --rw=write --bs=1m --direct=1 --stonewall \
		"$@" >/tmp/fio.log 2>&1
}
