# Functions that run an array of one controller and one head on four file-backed
# disks. Sourced by quickstart (the demo) and by system tests (their own arrays).
#
# Set before sourcing, or leave the defaults:
#   DEMO_DIR    folder of disks, configuration, sockets and logs
#   DEMO_MEM    folder in memory for the segments
#   DEMO_NFS_PORT, DEMO_ISCSI_PORT   first ports to try
#   DEMO_DISKS, DEMO_POOL_DISKS, DEMO_LEVEL  disks in all, and of the pool (its first ones)
#   DEMO_DISK_DIR  where the disk files lie (default DEMO_DIR/disks)
#   DEMO_POOL_EXTRA  more of `pool create`
#   DEMO_GROUP  the head's group; demo_prepare makes g1
# `build` names the build tree.

: "${DEMO_DIR:=${ISTHMUS_DEMO:-/var/tmp/isthmus-demo-$(id -u)}}"
: "${DEMO_MEM:=/dev/shm/isthmus${DEMO_DIR//\//-}}"
: "${DEMO_DISK_DIR:=$DEMO_DIR/disks}"
: "${DEMO_DISKS:=4}"
: "${DEMO_POOL_DISKS:=4}"
: "${DEMO_LEVEL:=raid10}"
: "${DEMO_DISK_SIZE:=8G}"
: "${DEMO_CACHE:=512MiB}"
: "${DEMO_MEMORY:=volatile}"
: "${DEMO_FS_SIZE:=10G}"
: "${DEMO_LUN_SIZE:=2G}"
DEMO_IQN=iqn.2026-01.org.isthmus:demo
DEMO_EXPORT=/demo

demo_cli() { "$build/isthmus" --config "$DEMO_DIR/isthmus.yaml" "$@"; }

demo_port_free() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

demo_pick_port() { # FIRST-CHOICE ELSE-FROM
	local p
	for p in "$1" $(seq "$2" $(($2 + 200))); do
		demo_port_free "$p" && { echo "$p"; return; }
	done
	echo "no free TCP port near $2" >&2
	return 1
}

demo_configure() {
	local nfs iscsi i disks=()
	nfs=$(demo_pick_port "${DEMO_NFS_PORT:-2049}" 12049)
	iscsi=$(demo_pick_port "${DEMO_ISCSI_PORT:-3260}" 13260)
	mkdir -p "$DEMO_DIR"/{run,state} "$DEMO_DISK_DIR" "$DEMO_MEM"
	for ((i = 0; i < DEMO_DISKS; i++)); do
		[ -e "$DEMO_DISK_DIR/disk$i" ] || truncate -s "$DEMO_DISK_SIZE" "$DEMO_DISK_DIR/disk$i"
		disks+=("$DEMO_DISK_DIR/disk$i")
	done
	cat >"$DEMO_DIR/isthmus.yaml" <<-YAML
	array:
	  name: demo
	  memory: $DEMO_MEMORY
	  run_dir: $DEMO_DIR/run
	  state_dir: $DEMO_DIR/state
	  memory_dir: $DEMO_MEM
	  log_level: info
	${DEMO_ARRAY_EXTRA:-}
	controllers:
	  - name: a
	    cache: $DEMO_CACHE
	    disks: [$(IFS=,; echo "${disks[*]}" | sed 's/,/, /g')]
	    portals: ["0.0.0.0:$iscsi"]
	${DEMO_CONTROLLER_EXTRA:-}
	heads:
	  - name: head1
	    group: ${DEMO_GROUP:-g1}
	    controller: a
	    address: 0.0.0.0
	    nfs_port: $nfs
	    mount_port: 0
	    rpcbind: ${DEMO_RPCBIND:-auto}
	${DEMO_HEAD_EXTRA:-}
	YAML
}

demo_pid() { # NAME: isthmusd, controller-a, head-head1
	sed -n '1s/ .*//p' "$DEMO_DIR/run/$1.pid" 2>/dev/null
}

demo_running() {
	local pid
	pid=$(cat "$DEMO_DIR/keeper.pid" 2>/dev/null) && kill -0 "$pid" 2>/dev/null
}

# Plays the service manager's part: isthmusd is started again when it dies.
demo_keeper() {
	local rc
	while [ -e "$DEMO_DIR/keeper.pid" ]; do
		rc=0
		"$build/isthmusd" -c "$DEMO_DIR/isthmus.yaml" || rc=$?
		[ $rc -eq 0 ] && break
		sleep 0.1
	done
}

demo_wait_up() { # SECONDS
	local i
	for ((i = 0; i < $1 * 10; i++)); do
		demo_cli status >/dev/null 2>&1 && return
		sleep 0.1
	done
	echo "the array did not come up; see $DEMO_DIR/isthmus.log" >&2
	tail -20 "$DEMO_DIR/isthmus.log" >&2
	return 1
}

# The file system is mounted and served (a start answers earlier).
demo_wait_served() { # SECONDS
	local i
	for ((i = 0; i < $1 * 10; i++)); do
		demo_cli status 2>/dev/null | grep -q 'demo  *mounted' && return
		sleep 0.1
	done
	echo "no head serves the file system" >&2
	return 1
}

demo_start() {
	if demo_running; then
		demo_wait_up 10
		return
	fi
	demo_configure
	echo $$ >"$DEMO_DIR/keeper.pid"
	export -f demo_keeper
	build=$build DEMO_DIR=$DEMO_DIR setsid bash -c 'echo $$ >"$DEMO_DIR/keeper.pid"; demo_keeper' \
		>>"$DEMO_DIR/isthmus.log" 2>&1 </dev/null &
	demo_wait_up 30
}

demo_stop() {
	local pid keeper i
	keeper=$(cat "$DEMO_DIR/keeper.pid" 2>/dev/null || true)
	rm -f "$DEMO_DIR/keeper.pid"
	pid=$(demo_pid isthmusd)
	[ -z "$pid" ] || kill "$pid" 2>/dev/null || true
	for ((i = 0; i < 400; i++)); do
		[ -n "$keeper" ] && kill -0 "$keeper" 2>/dev/null || return 0
		sleep 0.1
	done
	echo "isthmusd did not stop in 40 s" >&2
	return 1
}

demo_remove() {
	rm -rf "$DEMO_MEM" "$DEMO_DIR" "$DEMO_DISK_DIR"
}

# Pool, head group, file system, export, LUN: once.
demo_prepare() {
	local i piv disks=()
	demo_cli --json pool list | grep -q '"main"' && return
	for ((i = 0; i < DEMO_POOL_DISKS; i++)); do disks+=("$DEMO_DISK_DIR/disk$i"); done
	demo_cli pool create main --level "$DEMO_LEVEL" ${DEMO_POOL_EXTRA:-} "${disks[@]}"
	# Small disks have no room for the default.
	case $DEMO_DISK_SIZE in *M) piv='--size 64MiB' ;; *) piv= ;; esac
	# shellcheck disable=SC2086
	demo_cli group create g1 --pool main $piv
	demo_cli fs create demo --pool main --size "$DEMO_FS_SIZE"
	demo_cli export add $DEMO_EXPORT --fs demo --client '*:rw,no_root_squash'
	demo_cli volume create scratch --pool main --size "$DEMO_LUN_SIZE"
	demo_cli target create $DEMO_IQN --open yes --discovery yes
	demo_cli lun add $DEMO_IQN scratch --lun 0
}

demo_yaml() { # KEY
	sed -n "s/^.*$1: *//p" "$DEMO_DIR/isthmus.yaml" | head -1
}
demo_nfs_port() { demo_yaml nfs_port; }
demo_iscsi_port() { demo_yaml portals | sed 's/.*:\([0-9]*\)".*/\1/'; }
demo_nfs_url() { # [EXPORT]
	echo "nfs://127.0.0.1${1:-$DEMO_EXPORT}?version=3&nfsport=$(demo_nfs_port)&mountport=$(demo_nfs_port)"
}
demo_nfs4_url() { echo "nfs://127.0.0.1$DEMO_EXPORT?version=4&nfsport=$(demo_nfs_port)"; }
demo_iscsi_url() { echo "iscsi://127.0.0.1:$(demo_iscsi_port)/$DEMO_IQN/0"; }

demo_env() {
	demo_running || { echo "the demo array is not running; ./quickstart starts it" >&2; return 1; }
	cat <<-ENV
	ISCSI_URL='$(demo_iscsi_url)'
	NFS_URL='$(demo_nfs_url)'
	NFS4_URL='$(demo_nfs4_url)'
	NFS_HOST=127.0.0.1
	NFS_PORT=$(demo_nfs_port)
	NFS_EXPORT=$DEMO_EXPORT
	ISTHMUS='$build/isthmus --config $DEMO_DIR/isthmus.yaml'
	PIDS='isthmusd=$(demo_pid isthmusd) controller-a=$(demo_pid controller-a) head-head1=$(demo_pid head-head1)'
	ENV
}

demo_instructions() {
	local nfs iscsi
	nfs=$(demo_nfs_port) iscsi=$(demo_iscsi_port)
	cat <<-TEXT

	The array is running in $DEMO_DIR.

	  mount the export (Linux, as root), of version 4.2 or 3:
	    mount -t nfs -o vers=4.2,port=$nfs HOST:$DEMO_EXPORT /mnt
	    mount -t nfs -o vers=3,nolock,tcp,port=$nfs,mountport=$nfs,mountproto=tcp HOST:$DEMO_EXPORT /mnt
	  attach the LUN (Linux, open-iscsi, as root):
	    iscsiadm -m discovery -t sendtargets -p HOST:$iscsi
	    iscsiadm -m node -T $DEMO_IQN -p HOST:$iscsi --login
	  look and manage:
	    $build/isthmus --config $DEMO_DIR/isthmus.yaml status
	    ./quickstart status | env | stop | clean
	TEXT
}
