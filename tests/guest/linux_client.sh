# Runs inside the guest (busybox sh). nfs_port, iscsi_port, iqn and export are set above it.
fail() { echo "FAILED: $*"; exit 1; }
step() { echo "-- $(cut -d' ' -f1 /proc/uptime) $*"; }

step "iSCSI: log in with the kernel initiator"
iscsistart -i iqn.2026-01.org.isthmus:guest -t "$iqn" -g 1 -a 10.0.2.2 -p "$iscsi_port" || fail login
n=0
while [ ! -b /dev/sda ] && [ $n -lt 50 ]; do sleep 0.2; n=$((n + 1)); done
[ -b /dev/sda ] || fail "no disk"
cat /sys/block/sda/device/vendor /sys/block/sda/device/model /sys/block/sda/size
step "iSCSI: mkfs, mount, write"
mkfs.ext4 -q -F /dev/sda || fail mkfs
mkdir -p /mnt/lun /mnt/nfs
mount -t ext4 /dev/sda /mnt/lun || fail "mount of the LUN"
mkdir /mnt/lun/tree
cp -r /lib /usr /sbin /mnt/lun/tree/ 2>/dev/null
(cd /mnt/lun/tree && find . -type f | sort | while read -r f; do sha256sum "$f"; done) >/tmp/lun.sum
[ -s /tmp/lun.sum ] || fail "nothing was copied"
step "iSCSI: unmount, mount again, compare"
umount /mnt/lun || fail umount
echo 3 >/proc/sys/vm/drop_caches
mount -t ext4 /dev/sda /mnt/lun || fail "second mount"
(cd /mnt/lun/tree && sha256sum -c /tmp/lun.sum >/dev/null) || fail "LUN content differs"
umount /mnt/lun

step "NFS: mount with the kernel client"
mount.nfs 10.0.2.2:"$export" /mnt/nfs -o vers=3,nolock,proto=tcp,mountproto=tcp,port="$nfs_port",mountport="$nfs_port" || fail "NFS mount"
step "NFS: copy, compare"
mkdir /mnt/nfs/tree || fail mkdir
cp -r /lib /usr /sbin /mnt/nfs/tree/ || fail copy
(cd / && find lib usr sbin -type f | sort | while read -r f; do sha256sum "$f"; done) >/tmp/nfs.sum
umount /mnt/nfs || fail "NFS umount"
echo 3 >/proc/sys/vm/drop_caches
mount.nfs 10.0.2.2:"$export" /mnt/nfs -o vers=3,nolock,proto=tcp,mountproto=tcp,port="$nfs_port",mountport="$nfs_port" || fail "second NFS mount"
(cd /mnt/nfs/tree && sha256sum -c /tmp/nfs.sum >/dev/null) || fail "NFS content differs"
[ "$(find / -xdev -path /mnt -prune -o \( -path '/lib/*' -o -path '/usr/*' -o -path '/sbin/*' \) -print | wc -l)" = \
  "$(cd /mnt/nfs/tree && find . \( -path './lib/*' -o -path './usr/*' -o -path './sbin/*' \) -print | wc -l)" ] || fail "entries differ"
step "NFS: rename, links, modes, times"
cd /mnt/nfs || fail cd
echo one >a && mv a b && [ "$(cat b)" = one ] && [ ! -e a ] || fail rename
echo two >c && mv c b && [ "$(cat b)" = two ] || fail "rename over"
ln b hard && [ "$(stat -c %h b)" = 2 ] || fail link
ln -s b soft && [ "$(cat soft)" = two ] || fail symlink
chmod 640 b && [ "$(stat -c %a b)" = 640 ] || fail chmod
chown 12:34 b && [ "$(stat -c %u:%g b)" = 12:34 ] || fail chown
touch -d '2001-02-03 04:05:06' b && [ "$(stat -c %Y b)" = "$(date -d '2001-02-03 04:05:06' +%s)" ] || fail utimes
mkdir d && ! rmdir tree 2>/dev/null && rmdir d || fail rmdir
mknod pipe p && [ -p pipe ] || fail mknod
step "NFS: access control lists"
mkdir acl && : >acl/f && chmod 640 acl/f || fail "file for lists"
[ "$(getfacl -cn acl/f | tr '\n' ' ')" = "user::rw- group::r-- other::---  " ] || fail "list of a mode: $(getfacl -cn acl/f)"
setfacl -m u:1000:rwx,g:1001:rw-,m::r-x,o::--x acl/f || fail setfacl
[ "$(getfacl -cnE acl/f | tr '\n' ' ')" = \
  "user::rw- user:1000:rwx group::r-- group:1001:rw- mask::r-x other::--x  " ] || fail "what was set: $(getfacl -cn acl/f)"
setfacl -d -m u:1000:rwx,g::r-x,o::--- acl || fail "setfacl -d"
: >acl/new && mkdir acl/sub || fail "made below a default"
getfacl -cnE acl/new | grep -qx 'user:1000:rwx' || fail "default of a file: $(getfacl -cn acl/new)"
getfacl -cnE acl/sub | grep -qx 'default:user:1000:rwx' || fail "default of a directory: $(getfacl -cn acl/sub)"
setfacl -b acl/f && setfacl -k acl || fail "lists taken away"
[ "$(getfacl -cnE acl/f acl | grep -c ':')" = 6 ] || fail "lists are left: $(getfacl -cn acl/f acl)"
rm -r acl
step "NFS: unlink while open"
exec 5<>open
echo kept >&5
rm open
exec 6</proc/self/fd/5 && [ "$(cat <&6)" = kept ] || fail "unlinked file lost its content"
exec 5>&- 6<&-
[ -z "$(ls -a | grep -v '^\.\.*$' | grep nfs0)" ] || sleep 1
step "NFS: append, truncate, holes"
: >t && dd if=/dev/zero of=t bs=1 count=1 seek=10000000 conv=notrunc 2>/dev/null && [ "$(stat -c %s t)" = 10000001 ] || fail hole
echo x >>t && [ "$(stat -c %s t)" = 10000003 ] || fail append
truncate -s 5 t && [ "$(stat -c %s t)" = 5 ] || fail truncate
step "NFS: 2000 files in a directory"
mkdir many && (cd many && i=0 && while [ $i -lt 2000 ]; do : >f$i; i=$((i + 1)); done)
[ "$(ls many | wc -l)" = 2000 ] || fail "readdir of 2000"
rm -r many tree || fail "rm -r"
cd /
umount /mnt/nfs || fail "last umount"
echo "all passed"
exit 0
