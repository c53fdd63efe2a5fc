#!/usr/bin/env bash
# RPC over TLS of a real head: certificates of the configuration, exports that ask for TLS or a client's
# certificate, a certificate that is changed in use, one that cannot be used, and none.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=$top/build/release
DEMO_DIR=$(mktemp -d /tmp/isthmus-tls.XXXXXX)
certs=$DEMO_DIR/certs
DEMO_DISK_SIZE=512M DEMO_FS_SIZE=256M DEMO_LUN_SIZE=64M DEMO_CACHE=64MiB DEMO_RPCBIND=off
DEMO_NFS_PORT=${DEMO_NFS_PORT:-24151} DEMO_ISCSI_PORT=${DEMO_ISCSI_PORT:-24161}
DEMO_HEAD_EXTRA="    tls_cert: $certs/head.pem
    tls_key: $certs/head.key
    tls_ca: $certs/ca.pem"
. "$top/tests/system/demo.sh"
trap 'demo_stop || true; demo_remove' EXIT
wrong() { echo "wrong: $*"; tail -20 "$DEMO_DIR/isthmus.log"; exit 1; }
ca() { # NAME: an authority
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=$1" \
		-keyout "$certs/$1.key" -out "$certs/$1.pem" 2>/dev/null
}
cert() { # NAME CA [FILE]: signed by it
	openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" \
		-keyout "$certs/new.key" -out "$certs/new.csr" 2>/dev/null
	openssl x509 -req -in "$certs/new.csr" -CA "$certs/$2.pem" -CAkey "$certs/$2.key" -CAcreateserial -days 2 \
		-out "$certs/new.pem" 2>/dev/null
	mv "$certs/new.key" "$certs/${3:-$1}.key"
	mv "$certs/new.pem" "$certs/${3:-$1}.pem"
}
probe() { # WANTED PATH HOW...
	local want=$1 got
	shift
	got=$("$build/tests/tools/rpc_tls_probe" 127.0.0.1 "$(demo_nfs_port)" "$@") || wrong "$* broke"
	[ "$got" = "$want" ] || wrong "$*: $got, not $want"
}
event() { # PATTERN
	local i
	for ((i = 0; i < 100; i++)); do
		demo_cli event list >"$DEMO_DIR/events"
		grep -q "$1" "$DEMO_DIR/events" && return
		sleep 0.1
	done
	wrong "no event of $1"
}
mkdir "$certs"
ca ca
ca other
cert head ca
cert client ca
cert stranger other
demo_start
demo_prepare
demo_wait_served 20
demo_cli export add /tls --fs demo --client '*:rw,no_root_squash,xprtsec=tls'
demo_cli export add /mtls --fs demo --client '*:rw,no_root_squash,xprtsec=mtls'
demo_cli export list >"$DEMO_DIR/list"
grep -q 'xprtsec=mtls' "$DEMO_DIR/list" || wrong "$(cat "$DEMO_DIR/list")"
demo_cli export add /bad --fs demo --client '*:rw,xprtsec=ssl' >"$DEMO_DIR/out" 2>&1 && wrong "xprtsec=ssl was taken"
probe "plain mount=0" $DEMO_EXPORT plain
probe "plain mount=13" /tls plain
probe "plain mount=13" /mtls plain
probe "tls server=head mount=0" $DEMO_EXPORT tls "$certs/ca.pem"
probe "tls server=head mount=0" /tls tls "$certs/ca.pem"
probe "tls server=head mount=13" /mtls tls "$certs/ca.pem"
probe "tls server=head mount=0" /mtls tls "$certs/ca.pem" "$certs/client.pem" "$certs/client.key"
probe "tls server=head mount=0" /tls tls "$certs/ca.pem" "$certs/client.pem" "$certs/client.key"
probe "handshake failed" /tls tls "$certs/other.pem" # a client that believes another
"$build/tests/tools/rpc_tls_probe" 127.0.0.1 "$(demo_nfs_port)" /mtls tls "$certs/ca.pem" "$certs/stranger.pem" \
	"$certs/stranger.key" >"$DEMO_DIR/out" 2>&1 && wrong "a stranger's certificate: $(cat "$DEMO_DIR/out")"

cert new ca head # another certificate in its place
for ((i = 0; i < 150; i++)); do
	got=$("$build/tests/tools/rpc_tls_probe" 127.0.0.1 "$(demo_nfs_port)" /tls tls "$certs/ca.pem")
	[ "$got" = "tls server=new mount=0" ] && break
	sleep 0.1
done
[ "$got" = "tls server=new mount=0" ] || wrong "the new certificate is not used: $got"
echo broken >"$certs/head.pem"
event 'head.tls.*tls_cert.*stays in use'
probe "tls server=new mount=0" /tls tls "$certs/ca.pem"
kill -9 "$(demo_pid head-head1)"
sleep 0.5
demo_wait_served 20
event 'head.tls.*nothing is served under TLS'
probe "no TLS" /tls tls "$certs/ca.pem"
probe "plain mount=0" $DEMO_EXPORT plain
probe "plain mount=13" /tls plain
