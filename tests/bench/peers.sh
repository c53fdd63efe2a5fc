# Starts the peers from Debian that Isthmus is compared with, each on loopback
# ports of its own and on storage in memory. Sourced by tests/bench/run.
#
#   peer_tgt_start DIR PORT            tgtd with two LUNs on files;   sets TGT_PID, TGT_URL,
#                                      TGT_TUNED_URL
#   peer_tcp_start PORT                bench_tcp;                     sets TCP_PID, TCP_URL
#   peer_ganesha_start DIR PORT FSAL PATH   FSAL vfs or mem;          sets GANESHA_PID, GANESHA_URL
#   peer_rpcbind_start               before Ganesha
#   peer_stop PID

peer_wait_port() { # PORT
	local i
	for ((i = 0; i < 100; i++)); do
		(exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null && return
		sleep 0.1
	done
	return 1
}

# Target 1 is as tgt makes it. Target 2 has the sizes that Isthmus and Linux use and takes digests:
# by default tgt takes 8 KiB a PDU and none. Both are files written with pwrite() (bs-type rdwr).
peer_tgt_start() { # DIR PORT
	local dir=$1 port=$2 control=$((10000 + RANDOM % 20000)) i name
	mkdir -p "$dir"
	tgtd -f -C "$control" --iscsi portal=127.0.0.1:"$port" >"$dir/tgtd.log" 2>&1 &
	TGT_PID=$!
	disown
	peer_tgtadm() { tgtadm -C "$control" --lld iscsi "$@"; }
	for ((i = 0; i < 50; i++)); do
		peer_tgtadm --mode target --op show >/dev/null 2>&1 && break
		sleep 0.1
	done
	for i in 1 2; do
		[ -e "$dir/lun$i" ] || truncate -s 1G "$dir/lun$i"
		name=iqn.2026-01.org.example:tgt$i
		peer_tgtadm --mode target --op new --tid $i -T $name &&
			peer_tgtadm --mode logicalunit --op new --tid $i --lun 1 --bstype rdwr -b "$dir/lun$i" &&
			peer_tgtadm --mode target --op bind --tid $i -I ALL || return
	done
	for i in MaxRecvDataSegmentLength=262144 MaxBurstLength=16776192 FirstBurstLength=262144 \
		InitialR2T=No ImmediateData=Yes HeaderDigest=CRC32C,None DataDigest=CRC32C,None; do
		peer_tgtadm --mode target --op update --tid 2 -n "${i%%=*}" -v "${i#*=}" || return
	done
	peer_wait_port "$port"
	TGT_URL=iscsi://127.0.0.1:$port/iqn.2026-01.org.example:tgt1/1
	TGT_TUNED_URL=iscsi://127.0.0.1:$port/iqn.2026-01.org.example:tgt2/1
}

peer_tcp_start() { # PORT
	"$build/tests/bench/bench_tcp" "$1" &
	TCP_PID=$!
	disown
	peer_wait_port "$1"
	TCP_URL=tcp://127.0.0.1:$1
}

# Ganesha registers with rpcbind or does not start. Sets RPCBIND_PID when it started one.
peer_rpcbind_start() {
	(exec 3<>/dev/tcp/127.0.0.1/111) 2>/dev/null && return
	rpcbind -f >/dev/null 2>&1 &
	RPCBIND_PID=$!
	disown
	peer_wait_port 111
}

peer_ganesha_start() { # DIR PORT vfs|mem PATH
	local dir=$1 port=$2 fsal=$3 path=$4 name
	mkdir -p "$dir/recovery"
	name=$([ "$fsal" = vfs ] && echo VFS || echo MEM)
	cat >"$dir/ganesha.conf" <<-CONF
	NFS_CORE_PARAM {
		NFS_Port = $port;
		MNT_Port = $((port + 1));
		NFS_Protocols = 3;
		Protocols = 3;
		Bind_addr = 127.0.0.1;
		Enable_NLM = false;
		Enable_RQUOTA = false;
		Enable_UDP = false;
		fsid_device = true;
	}
	EXPORT_DEFAULTS { Protocols = 3; Transports = TCP; SecType = sys; }
	EXPORT {
		Export_Id = 77;
		Path = $path;
		Pseudo = /bench;
		Access_Type = RW;
		Squash = No_Root_Squash;
		FSAL { Name = $name; }
	}
	LOG { Default_Log_Level = WARN; }
	CONF
	GANESHA_CMD=(ganesha.nfsd -F -f "$dir/ganesha.conf" -L "$dir/ganesha.log" -p "$dir/ganesha.pid")
	"${GANESHA_CMD[@]}" >"$dir/ganesha.out" 2>&1 &
	GANESHA_PID=$!
	disown
	peer_wait_port "$port" || { tail -20 "$dir/ganesha.log" >&2; return 1; }
	GANESHA_URL="nfs://127.0.0.1$path?version=3&nfsport=$port&mountport=$((port + 1))"
}

# What they store is thrown away: a second to go, then by force (tgtd waits for its initiators).
peer_stop() { # PID
	kill "$1" 2>/dev/null || return 0
	local i
	for ((i = 0; i < 10; i++)); do
		kill -0 "$1" 2>/dev/null || return 0
		sleep 0.1
	done
	kill -9 "$1" 2>/dev/null || true
}
