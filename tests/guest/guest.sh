# Boots a Linux kernel of this distribution in QEMU with a small initramfs and
# runs a script in it. Sourced by the tests of this folder.
#
#   guest_run SCRIPT      runs SCRIPT inside; the host's loopback is 10.0.2.2 there.
#                         Prints the console; returns the script's exit status.
#   GUEST_HOST_COMMAND    runs on the host for each connection the guest makes to 10.0.2.100:9,
#                         which is its input and output
#   GUEST_NETDEV          another network than QEMU's own (then 10.0.2.2 is to be made by the caller)
#   GUEST_NETDEV2         a second network, eth1, for a second client in a namespace of its own:
#                         guest_functions prints in_second COMMAND... for the script, which runs there
#   GUEST_ADDRESS2        its address there, 10.0.2.15 if not set
#   GUEST_TOOLS           programs of ours that go to /bin, wherever the build tree is
#   GUEST_USR             set: /usr is the host's, read only (programs too many to copy)
#   GUEST_SHARE           a folder of the host that the guest reads as /share
#   GUEST_MEMORY          MiB, 1024 if not set
#   GUEST_KERNEL          a file: another kernel's package than the one that is fetched
#   guest_has OPTION      the kernel was built with CONFIG_OPTION (y or m)
#   guest_disks NAME      a folder for the array's disks, in memory where there is room: sets DEMO_DISK_DIR
#   guest_console         the file its console goes to while it runs
#
# The initramfs holds busybox, modprobe's modules and the programs of GUEST_PROGRAMS
# with their libraries, and the files of GUEST_FILES, all from Debian packages.

GUEST_MODULES="virtio_pci virtio_net nfs nfsv3 lockd iscsi_tcp sd_mod ext4 crc32c_generic"
GUEST_PROGRAMS="/usr/sbin/iscsistart /usr/sbin/mkfs.ext4 /sbin/mount.nfs"

export PATH=$PATH:/usr/sbin:/sbin
guest_cache=$top/build/guest
guest_console=$guest_cache/console.$$

guest_kernel_dir=$guest_cache/kernel${GUEST_KERNEL:+-$(basename "$GUEST_KERNEL" .deb)}

guest_kernel() { # fetches and unpacks the kernel package once
	[ -e "$guest_kernel_dir/ready" ] && return
	mkdir -p "$guest_kernel_dir"
	guest_kernel_unpack && depmod -b "$guest_kernel_dir" "$(ls "$guest_kernel_dir/lib/modules")" && touch "$guest_kernel_dir/ready"
}

guest_kernel_unpack() {
	local pkg
	[ -z "${GUEST_KERNEL:-}" ] || { dpkg-deb -x "$GUEST_KERNEL" "$guest_kernel_dir"; return; }
	pkg=$(apt-cache depends linux-image-amd64 2>/dev/null | sed -n 's/ *Depends: //p' | head -1)
	[ -n "$pkg" ] || { apt-get update -qq; pkg=$(apt-cache depends linux-image-amd64 | sed -n 's/ *Depends: //p' | head -1); }
	(cd "$guest_cache" && apt-get download -q "$pkg" && dpkg-deb -x "$pkg"_*.deb kernel)
}

guest_has() { grep -q "^CONFIG_$1=[ym]" "$guest_kernel_dir"/boot/config-*; }

guest_copy_program() { # FILE ROOT
	local lib
	mkdir -p "$2$(dirname "$1")"
	cp -L "$1" "$2$1"
	for lib in $(ldd "$1" | grep -o '/[^ ]*'); do
		mkdir -p "$2$(dirname "$lib")"
		cp -L "$lib" "$2$lib"
	done
}

guest_root() { # ROOT: everything but the script
	local root=$1 version m f
	version=$(ls "$guest_kernel_dir/lib/modules")
	mkdir -p "$root"/{bin,sbin,etc,proc,sys,dev,mnt,tmp,run/lock,run/initramfs}
	cp "$(command -v busybox)" "$root/bin/busybox"
	for m in $GUEST_PROGRAMS; do guest_copy_program "$m" "$root"; done
	for m in ${GUEST_TOOLS:-}; do guest_copy_program "$m" "$root" && mv "$root$m" "$root/bin/"; done
	for m in ${GUEST_FILES:-}; do mkdir -p "$root$(dirname "$m")"; cp -L "$m" "$root$m"; done
	cp /etc/netconfig "$root/etc/" 2>/dev/null || true
	cp /etc/protocols /etc/services "$root/etc/" 2>/dev/null || true
	mkdir -p "$root/lib/modules/$version"
	for f in $(modprobe -d "$guest_kernel_dir" -S "$version" --show-depends -a $GUEST_MODULES 2>/dev/null |
		awk '/^insmod/{print $2}' | sort -u); do
		mkdir -p "$root$(dirname "${f#"$guest_kernel_dir"}")"
		cp "$f" "$root${f#"$guest_kernel_dir"}"
	done
	cp "$guest_kernel_dir/lib/modules/$version"/modules.* "$root/lib/modules/$version/"
	cat >"$root/init" <<-INIT
	#!/bin/busybox sh
	/bin/busybox --install -s /bin
	export PATH=/bin:/sbin:/usr/bin:/usr/sbin
	mount -t proc none /proc; mount -t sysfs none /sys; mount -t devtmpfs none /dev
	mount -t tmpfs none /tmp
	chmod 755 / # as the image was made, it is root's alone
	chmod 1777 /tmp
	for m in $GUEST_MODULES; do modprobe \$m || echo "no module \$m"; done
	ip link set lo up
	ip link set eth0 up
	ip addr add 10.0.2.15/24 dev eth0
	ip route add default via 10.0.2.2
	if [ -e /sys/class/net/eth1 ]; then
	unshare -n -u sleep 100000 &
	second=\$!
	until [ "\$(readlink /proc/\$second/ns/net)" != "\$(readlink /proc/self/ns/net)" ]; do usleep 20000; done
	ip link set eth1 netns \$second
	nsenter -t \$second -n -u sh -c 'hostname second; ip link set lo up; ip link set eth1 up;
		ip addr add ${GUEST_ADDRESS2:-10.0.2.15}/24 dev eth1; ip route add default via 10.0.2.2'
	echo \$second >/tmp/second
	fi
	for t in /sys/bus/virtio/drivers/9pnet_virtio/*/mount_tag; do
	[ -e \$t ] || continue
	m=\$(tr -d '\\0' <\$t)
	mkdir -p /\$m
	mount -t 9p -o ro,trans=virtio,version=9p2000.L,cache=loose,msize=262144 \$m /\$m || echo "no /\$m"
	done
	sh /script
	echo "GUEST-STATUS \$?"
	# Not by way of the devices: they may be disks behind a network that goes first.
	usleep 300000 # the console has it
	echo b >/proc/sysrq-trigger
	INIT
	chmod +x "$root/init"
}

guest_functions() { # for the beginning of a script
	cat <<-'SH'
	in_second() { nsenter -t "$(cat /tmp/second)" -n -u "$@"; }
	SH
}

# Waiting for a real disk is what a guest test would do most of the time.
guest_disks() { # NAME
	[ "$(df -Pk /dev/shm | awk 'END { print $4 }')" -gt $((4 << 20)) ] || return 0
	DEMO_DISK_DIR=$(mktemp -d "/dev/shm/isthmus-guest-$1.XXXXXX")
}

guest_run() { # SCRIPT
	local root image=$guest_cache/initramfs.$$ log=$guest_console status
	guest_kernel || { echo "cannot fetch a kernel package" >&2; return 1; }
	root=$(mktemp -d "$guest_cache/root.XXXXXX")
	guest_root "$root"
	cp "$1" "$root/script"
	(cd "$root" && find . | cpio -o -H newc --quiet | gzip -1) >"$image"
	rm -rf "$root"
	local more=()
	[ -z "${GUEST_NETDEV2:-}" ] || more+=(-netdev "$GUEST_NETDEV2,id=n1" -device virtio-net-pci,netdev=n1,mac=52:54:00:12:34:57,romfile=)
	[ -z "${GUEST_USR:-}" ] || more+=(-virtfs local,path=/usr,mount_tag=usr,security_model=none,readonly=on)
	[ -z "${GUEST_SHARE:-}" ] ||
		more+=(-virtfs "local,path=$GUEST_SHARE,mount_tag=share,security_model=none,readonly=on")
	# no_timer_check: on a busy machine a timer's tick is late, which the kernel takes for broken hardware
	timeout -k 5 "${GUEST_TIMEOUT:-600}" qemu-system-x86_64 -M pc -cpu max -accel tcg,thread=multi -smp 2 \
		-m "${GUEST_MEMORY:-1024}" \
		-kernel "$guest_kernel_dir"/boot/vmlinuz-* -initrd "$image" \
		-append "console=ttyS0 quiet panic=-1 mitigations=off random.trust_cpu=on no_timer_check" \
		-netdev "${GUEST_NETDEV:-user,id=n0${GUEST_HOST_COMMAND:+,guestfwd=tcp:10.0.2.100:9-cmd:$GUEST_HOST_COMMAND}}" -device virtio-net-pci,netdev=n0,romfile= "${more[@]}" \
		-nographic -no-reboot -monitor none -serial stdio </dev/null >"$log" 2>&1
	tr -d '\r' <"$log"
	status=$(tr -d '\r' <"$log" | sed -n 's/^GUEST-STATUS \([0-9]*\).*/\1/p' | tail -1)
	rm -f "$image" "$log"
	return "${status:-125}"
}
