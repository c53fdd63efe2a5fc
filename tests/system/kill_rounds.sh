# Rounds of kill -9 of a random process under NFS and iSCSI load. Sourced after demo.sh.
#   kill_rounds N   needs a running, prepared array; 0 when nothing acknowledged was lost

kill_rounds() {
	local rounds=$1 seconds=$(($1 * 3 + 2)) i name pid names=(controller-a head-head1 isthmusd) rc=0 a b c
	"$build/tests/tools/oracle" nfs "$(demo_nfs_url)" $seconds 2 &
	a=$!
	"$build/tests/tools/oracle" nfs-unstable "$(demo_nfs_url)" $seconds 4 &
	c=$!
	"$build/tests/tools/oracle" iscsi "$(demo_iscsi_url)" $seconds 4 &
	b=$!
	sleep 2
	for ((i = 0; i < rounds; i++)); do
		name=${names[$((i < 3 ? i : RANDOM % 3))]}
		pid=$(demo_pid "$name")
		echo "round $i: kill -9 $name ($pid)"
		kill -9 "$pid" || { echo "no such process: $name"; rc=1; }
		sleep 2.9
	done
	wait $a || rc=1
	wait $b || rc=1
	wait $c || rc=1
	return $rc
}
