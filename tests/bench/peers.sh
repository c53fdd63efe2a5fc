# Starts the peers from Debian that Isthmus is compared with, each on loopback
# ports of its own and on storage in memory. Sourced by tests/bench/run.
#
#   peer_tgt_start DIR PORT            tgtd with one LUN on a file;   sets TGT_PID, TGT_URL
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

peer_tgt_start() { # DIR PORT
	local dir=$1 port=$2 control=$((10000 + RANDOM % 20000)) i
	mkdir -p "$dir"
	[ -e "$dir/lun" ] || truncate -s 2G "$dir/lun"
	tgtd -f -C "$control" --iscsi portal=127.0.0.1:"$port" >"$dir/tgtd.log" 2>&1 &
	TGT_PID=$!
	disown
	for ((i = 0; i < 50; i++)); do
		tgtadm -C "$control" --lld iscsi --mode target --op show >/dev/null 2>&1 && break
		sleep 0.1
	done
	tgtadm -C "$control" --lld iscsi --mode target --op new --tid 1 -T iqn.2026-01.org.example:tgt &&
		tgtadm -C "$control" --lld iscsi --mode logicalunit --op new --tid 1 --lun 1 -b "$dir/lun" &&
		tgtadm -C "$control" --lld iscsi --mode target --op bind --tid 1 -I ALL || return
	peer_wait_port "$port"
	TGT_URL=iscsi://127.0.0.1:$port/iqn.2026-01.org.example:tgt/1
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
