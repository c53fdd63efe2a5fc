# Functions that run an array of two controllers, a and b, on file-backed disks: pool pa, that
# a is to own, with LUN 0, and pb of b with LUN 1, each of DUO_POOL_DISKS disks and DUO_LEVEL. Sourced by tests of two controllers.
# With DUO_TCP_PORT set their links are of TCP alone (that port and the next three). With
# DUO_NFS_PORT set there is a head too, which serves the file systems fa (in pa) and fb (in pb).
#
# Set before: DUO_DIR, DUO_PORT (that and the next are the portals), build.

: "${DUO_MEM:=/dev/shm/isthmus${DUO_DIR//\//-}}"
: "${DUO_LUN_SIZE:=64MiB}"
: "${DUO_CACHE:=64MiB}"
: "${DUO_DISK_SIZE:=256M}"
: "${DUO_REACTORS:=2}"
: "${DUO_LEVEL:=raid1}"
: "${DUO_POOL_DISKS:=2}"
DUO_IQN=iqn.2026-01.org.isthmus:duo

duo_cli() { "$build/isthmus" --config "$DUO_DIR/isthmus.yaml" "$@"; }
duo_pid() { cut -d' ' -f1 "$DUO_DIR/run/controller-$1.pid"; }

duo_disks() { # FIRST N: their paths
	local i
	for ((i = $1; i < $1 + $2; i++)); do echo "$DUO_DIR/disk$i"; done
}

duo_controller() { # NAME PARTNER PORT
	cat <<-YAML
	  - name: $1
	    cache: $DUO_CACHE
	    reactors: $DUO_REACTORS
	    disks: [$(duo_disks 0 $((2 * DUO_POOL_DISKS)) | paste -sd, | sed 's/,/, /g')]
	    portals: ["127.0.0.1:$3"]
	    partner: $2
	    give_back_delay: ${DUO_GIVE_BACK_DELAY:-0}
	YAML
	[ -z "${DUO_TCP_PORT:-}" ] || duo_tcp "$1"
}

duo_tcp() { # NAME: routes over TCP alone
	local i mine theirs
	echo "    links:"
	for i in 0 1; do
		mine=$((DUO_TCP_PORT + i)) theirs=$((DUO_TCP_PORT + 2 + i))
		[ "$1" = a ] || { mine=$((DUO_TCP_PORT + 2 + i)) theirs=$((DUO_TCP_PORT + i)); }
		echo "      - {path: $([ $i = 0 ] && echo control || echo data), local: \"127.0.0.1:$mine\", remote: \"127.0.0.1:$theirs\"}"
	done
}

duo_head() {
	cat <<-YAML
	heads:
	  - name: head1
	    group: g1
	    controller: a
	    address: 127.0.0.1
	    nfs_port: $DUO_NFS_PORT
	    mount_port: 0
	    rpcbind: off
	YAML
}

duo_configure() {
	mkdir -p "$DUO_DIR"/{run,state} "$DUO_MEM"
	duo_disks 0 $((2 * DUO_POOL_DISKS)) | xargs truncate -s "$DUO_DISK_SIZE"
	{
		cat <<-YAML
		array:
		  name: duo
		  memory: volatile
		  run_dir: $DUO_DIR/run
		  state_dir: $DUO_DIR/state
		  memory_dir: $DUO_MEM
		controllers:
		YAML
		duo_controller a b "$DUO_PORT"
		duo_controller b a "$((DUO_PORT + 1))"
		[ -z "${DUO_NFS_PORT:-}" ] || duo_head
	} >"$DUO_DIR/isthmus.yaml"
}

duo_start() {
	"$build/isthmusd" -c "$DUO_DIR/isthmus.yaml" >>"$DUO_DIR/isthmus.log" 2>&1 &
	duo_isthmusd=$!
}

duo_stop() {
	[ -n "${duo_isthmusd:-}" ] || return 0
	kill "$duo_isthmusd" 2>/dev/null || true
	wait "$duo_isthmusd" || true
	duo_isthmusd=
}

duo_remove() { rm -rf "$DUO_DIR" "$DUO_MEM"; }

# Waits until a command succeeds: SECONDS COMMAND...
duo_wait() {
	local until=$((SECONDS + $1))
	shift
	until "$@" >/dev/null 2>&1; do
		[ $SECONDS -lt $until ] || { echo "waited in vain: $*"; return 1; }
		sleep 0.1
	done
}

duo_mirrored() { # NAME: all it has is in both memories
	duo_cli status | grep -qE "^$1 +mirrored +in both controllers. memory "
}

# NAME POOL: it says that the pool is there and in use
duo_owns() {
	duo_cli pool list --controller "$1" | grep -qE "^$2 +(online|degraded) "
}

duo_served() { # the file systems are mounted, the head has its channels to both controllers
	[ "$(duo_cli fs list | grep -cE '^f[ab] .* served')" = 2 ] || return 1
	for c in a b; do duo_cli head list | grep -qE "^head1 +[^ ]+ +$c +up " || return 1; done
}

duo_whole() {
	duo_mirrored a && duo_mirrored b && duo_owns a pa && duo_owns b pb &&
		{ [ -z "${DUO_NFS_PORT:-}" ] || duo_served; }
}

duo_prepare() {
	duo_wait 30 duo_mirrored a
	duo_wait 30 duo_mirrored b
	duo_cli pool create pa $(duo_disks 0 "$DUO_POOL_DISKS") --level "$DUO_LEVEL" --controller a
	duo_cli pool create pb $(duo_disks "$DUO_POOL_DISKS" "$DUO_POOL_DISKS") --level "$DUO_LEVEL" --controller b
	duo_cli volume create va --pool pa --size "$DUO_LUN_SIZE" --controller a
	duo_cli volume create vb --pool pb --size "$DUO_LUN_SIZE" --controller b
	duo_cli target create "$DUO_IQN" --open yes --controller a
	duo_cli lun add "$DUO_IQN" va --lun 0 --controller a
	duo_cli lun add "$DUO_IQN" vb --lun 1 --controller a
	[ -z "${DUO_NFS_PORT:-}" ] || duo_prepare_nfs
}

duo_prepare_nfs() {
	duo_cli group create g1 --pool pb --size 32MiB --controller b
	for c in a b; do
		duo_cli fs create f$c --pool p$c --size 96M --controller $c
		duo_cli export add /f$c --fs f$c --client '*:rw,no_root_squash' --controller $c
	done
}

# LUN: by both portals
duo_urls() {
	local u=127.0.0.1 q=$DUO_IQN/$1
	echo "iscsi://$u:$DUO_PORT/$q,iscsi://$u:$((DUO_PORT + 1))/$q"
}

duo_nfs_load() { # nfs|nfs-unstable FILE-SYSTEM SECONDS OUT: in the background; sets duo_load_pid
	local q="version=3&nfsport=$DUO_NFS_PORT&mountport=$DUO_NFS_PORT"
	timeout $(($3 + 90)) "$build/tests/tools/oracle" "$1" "nfs://127.0.0.1/$2?$q" "$3" 2 >"$4" 2>&1 &
	duo_load_pid=$!
}

duo_load() { # LUN SECONDS OUT: in the background; sets duo_load_pid
	timeout $(($2 + 90)) "$build/tests/tools/oracle" iscsi "$(duo_urls "$1")" "$2" 3 >"$3" 2>&1 &
	duo_load_pid=$!
}
