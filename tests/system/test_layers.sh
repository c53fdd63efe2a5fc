#!/usr/bin/env bash
# Who may include whom (doc/architecture.md, "Folders"). Reads includes only: fast.
set -uo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$top" || exit 1
bad=0

# "FILE HEADER" of every include of ours, and of every system header.
ours=$(grep -rHoE '^#include "[^"]+"' --include='*.[ch]' runtime blockcore server nasfront admin |
	sed -E 's/:#include "/ /; s/"$//')
system=$(grep -rHoE '^#include <[^>]+>' --include='*.[ch]' blockcore nasfront |
	sed -E 's/:#include </ /; s/>$//')
[ "$(wc -l <<<"$ours")" -gt 500 ] || { echo "found too few includes to judge"; exit 1; }

# may FILES HEADERS: a file whose path matches FILES includes only headers that match HEADERS.
may() {
	local wrong
	wrong=$(F="^($1)\$" H="^($2|config\.h)\$" awk '$1 ~ ENVIRON["F"] && $2 !~ ENVIRON["H"]' <<<"$ours")
	[ -z "$wrong" ] && return
	bad=1
	sed 's/^/may not include: /; s/ \([^ ]*\)$/ -> \1/' <<<"$wrong"
}
# never HEADERS FILES: of the files that match FILES none includes a system header of HEADERS.
never() {
	local wrong
	wrong=$(H="^($1)\$" F="^($2)\$" awk '$1 ~ ENVIRON["F"] && $2 ~ ENVIRON["H"]' <<<"$system")
	[ -z "$wrong" ] && return
	bad=1
	sed 's/^/makes no system call: /' <<<"$wrong"
}

# Folders.
may 'runtime/.*' 'runtime/.*|proto/admin\.pb-c\.h'
may 'blockcore/.*' '(blockcore|runtime|proto)/.*'
may 'server/.*' '(server|blockcore|runtime|proto)/.*'
may 'nasfront/.*' '(nasfront|runtime|proto)/.*|blockcore/channel/channel_client\.h'
may 'admin/.*' '(admin|runtime|proto)/.*'

# Inside blockcore, from below: cache and disk; control; pool; volume; the core; channels.
# Cache and mirror are one module in two folders: each looks into the other.
may 'blockcore/(cache|mirror)/.*' '(blockcore/(cache|mirror)|runtime)/.*|blockcore/link/link\.h'
may 'blockcore/(disk)/.*' '(blockcore/disk|runtime)/.*'
may 'blockcore/control/.*' '(blockcore/(control|disk)|runtime|proto)/.*|blockcore/link/link\.h'
may 'blockcore/pool/.*' '(blockcore/(pool|control|disk)|runtime)/.*'
may 'blockcore/link/.*' '(blockcore/link|runtime|proto)/.*'
may 'blockcore/volume/.*' '(blockcore/(volume|pool|cache)|runtime)/.*'
may 'blockcore/[^/]*' '(blockcore/(control|disk|link|mirror|pool|volume|cache)|runtime|proto)/.*|blockcore/[^/]*'
# A head links the client's side of the channels: no core under it.
client='blockcore/channel/channel_(client|bdev|hit|ring|staging)[a-z_]*\.[ch]'
may "$client" '(runtime|proto)/.*|blockcore/cache/cache_layout\.h|blockcore/channel/channel_(client|client_impl|layout|sock)\.h'

# Inside server and nasfront.
may 'server/iscsi/.*' '(server/iscsi|runtime)/.*|server/scsi/scsi\.h'
may 'server/scsi/.*' '(server/scsi|blockcore|runtime|proto)/.*'
may 'server/supervisor/.*' '(server/supervisor|runtime)/.*|blockcore/(cache/cache_layout|control/gcm)\.h'
may 'nasfront/fs/.*' '(nasfront/fs|runtime)/.*'
may 'nasfront/piv/.*' '(nasfront/piv|runtime|proto)/.*'
may 'nasfront/rpc/.*' '(nasfront/rpc|runtime)/.*'
may 'nasfront/nfs/.*' '(nasfront/(nfs|rpc)|runtime|proto)/.*|nasfront/fs/fs\.h'
may 'nasfront/nfs4/.*' '(nasfront/(nfs4|nfs|rpc)|runtime|proto)/.*|nasfront/fs/fs\.h'

# The inside of a folder is its own; only the core looks into the volumes it makes.
wrong=$(awk '$2 ~ /(_impl|_priv|\/impl)\.h$/ {
	from = $1; to = $2; sub(/\/[^\/]*$/, "", from); sub(/\/[^\/]*$/, "", to)
	if (from ~ /^blockcore\/(cache|mirror)$/ && to ~ /^blockcore\/(cache|mirror)$/) next
	if (from != to && !(from == "blockcore" && $2 == "blockcore/volume/volume_impl.h")) print
}' <<<"$ours")
[ -z "$wrong" ] || { bad=1; sed 's/^/inner header of another folder: /' <<<"$wrong"; }

# What the simulation runs makes no system call: clocks, disks and chance come through struct env.
calls='unistd\.h|fcntl\.h|poll\.h|time\.h|signal\.h|dirent\.h|sched\.h|uv\.h|liburing\.h|netdb\.h|sys/(socket|mman|stat|eventfd|epoll|time|un|wait|random|file|ioctl|syscall)\.h'
never "$calls" 'blockcore/link/link(_(call|conn|frame|hello|msg|path|pool|recv|session))?\.[ch]|blockcore/(cache|control|disk|pool|volume)/.*|blockcore/[^/]*|nasfront/(fs|piv)/.*'

[ $bad -eq 0 ] && echo "layers hold"
exit $bad
