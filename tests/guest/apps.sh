#!/usr/bin/env bash
# apps.sh [ROUNDS]: programs as people use them, on two Linux clients (a QEMU guest with two networks) of one
# export: SQLite with processes on both, fio's verification, git, a build; also while the head is killed.
# Takes a quarter of an hour a round; not a part of the tests that always run.
#   VERSIONS   of NFS: "3 4.0 4.1 4.2"
#   PARTS      "two sqlite fio git build"
#   DURABLE    on: what clients have outlives the head
#   KILL_EVERY seconds: the head is killed so often all the while; pauses are measured (one probe writes a file every
#              tenth of a second)
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=$top/build/release
. "$top/tests/guest/guest.sh"
DEMO_DIR=$(mktemp -d /tmp/isthmus-guest-apps.XXXXXX)
guest_disks apps
DEMO_DISK_SIZE=2G DEMO_FS_SIZE=1G DEMO_LUN_SIZE=64M DEMO_CACHE=256MiB DEMO_RPCBIND=off
DEMO_NFS_PORT=${DEMO_NFS_PORT:-24080} DEMO_ISCSI_PORT=${DEMO_ISCSI_PORT:-24090}
DEMO_HEAD_EXTRA="    nfs4: on
    durable_state: ${DURABLE:-on}
    lock_grace: 20"
. "$top/tests/system/demo.sh"
GUEST_TOOLS=$build/tests/tools/two_mounts
GUEST_MODULES="virtio_pci virtio_net 9p 9pnet_virtio nfs nfsv3 nfsv4"
GUEST_PROGRAMS="/sbin/mount.nfs"
GUEST_NETDEV2=user GUEST_USR=1 GUEST_SHARE=$DEMO_DIR/share GUEST_MEMORY=2048 GUEST_TIMEOUT=${GUEST_TIMEOUT:-7200}
trap 'demo_stop || true; demo_remove' EXIT
mkdir "$DEMO_DIR/share"
git clone -q --bare --single-branch --depth 2 "file://$top" "$DEMO_DIR/share/src.git"
# Configured here: what is tried is the build, and a configure takes an emulated processor ten minutes. In the order in which
# make wants the files' times, for they are unpacked with those of then.
git clone -q "$DEMO_DIR/share/src.git" "$DEMO_DIR/tree"
tar -C "$top" -c aclocal.m4 configure config.h.in Makefile.in build-aux | tar -C "$DEMO_DIR/tree" -xm
(mkdir "$DEMO_DIR/tree/o" && cd "$DEMO_DIR/tree/o" && ../configure -q --disable-dependency-tracking CFLAGS=-O0)
tar -C "$DEMO_DIR/tree" -cf "$DEMO_DIR/share/configured.tar" aclocal.m4 configure config.h.in Makefile.in build-aux \
	o/config.status o/Makefile o/config.h o/stamp-h1
rm -r "$DEMO_DIR/tree"
demo_start
demo_prepare
demo_wait_served 20

# What the guest may ask of the administrator, one line a connection.
cat >"$DEMO_DIR/host.sh" <<HOST
build=$build DEMO_DIR=$DEMO_DIR DEMO_DISK_DIR=$DEMO_DISK_DIR
. "$top/tests/system/demo.sh"
read -r what
case "\$what" in
kill) kill -9 "\$(demo_pid head-head1)" && sleep 1 && demo_wait_served 30 ;;
*) false ;;
esac >>"$DEMO_DIR/host.log" 2>&1 && echo done || echo "failed: \$what"
HOST
GUEST_HOST_COMMAND="/bin/bash $DEMO_DIR/host.sh"
script=$DEMO_DIR/script
{
	guest_functions
	echo "nfs_port=$(demo_nfs_port) export=$DEMO_EXPORT rounds=${1:-1}"
	echo "probe=${KILL_EVERY:+1}"
	echo "versions='${VERSIONS:-3 4.0 4.1 4.2}' parts='${PARTS:-two sqlite fio git build}'"
	cat "$top/tests/guest/linux_programs.sh" "$top/tests/guest/linux_apps.sh"
} >"$script"
kills=$DEMO_DIR/kills
killer() {
	while sleep "$KILL_EVERY"; do
		kill -9 "$(demo_pid head-head1)" 2>/dev/null && date +%s >>"$kills"
	done
}
if [ -n "${KILL_EVERY:-}" ]; then
	killer &
	killer_pid=$!
	trap 'kill $killer_pid 2>/dev/null || true; demo_stop || true; demo_remove' EXIT
fi
guest_run "$script" || { rc=$?; cat "$DEMO_DIR/host.log" 2>/dev/null; tail -20 "$DEMO_DIR/isthmus.log"; exit $rc; }
if [ -n "${KILL_EVERY:-}" ]; then
	kill $killer_pid
	wait $killer_pid 2>/dev/null || true
	sleep 2
	demo_wait_served 30
	echo "the head was killed $(wc -l <"$kills") times"
	if demo_cli event list | grep 'ledger\.'; then exit 1; fi
fi
demo_cli fs check demo
