#!/bin/sh
# Runs as root and as the first process of a board's own mount, pid, uts and ipc namespaces.
# All it mounts is seen by the board alone and goes away with it.
#
#   start_board.sh BOARD_FOLDER ROOTFS_NAME BOARD_NAME QEMU_CPU
set -eu
umask 022
name=$3
cpu=$4

# Relative paths: overlayfs takes ':' and ',' in an absolute one for separators.
cd "$1"
base=../../$2
mkdir -p upper work root
if mount -t overlay overlay -o "lowerdir=$base,upperdir=upper,workdir=work" root; then
    echo 'root: overlay'
else
    echo 'root: copy (this file system cannot hold an overlay)'
    if [ ! -e copy.complete ]; then
        rm -rf copy
        cp -a --reflink=auto "$base" copy
        : >copy.complete
    fi
    mount --bind copy root
fi

mount -t proc -o nosuid,nodev,noexec proc root/proc
mount --bind face/proc/cpuinfo root/proc/cpuinfo
mount --bind face/sys root/sys
mount -o remount,bind,ro root/sys

# The host's devices are none of the board's business: it gets those that every program expects.
mount -t tmpfs -o nosuid,mode=755 dev root/dev
for device in null zero full random urandom tty; do
    : >root/dev/$device
    mount --bind /dev/$device root/dev/$device
done
mkdir root/dev/pts root/dev/shm
mount -t devpts -o newinstance,nosuid,noexec,ptmxmode=0666,mode=620 devpts root/dev/pts
mount -t tmpfs -o nosuid,nodev,mode=1777 shm root/dev/shm
ln -s pts/ptmx root/dev/ptmx
ln -s /proc/self/fd root/dev/fd
ln -s fd/0 root/dev/stdin
ln -s fd/1 root/dev/stdout
ln -s fd/2 root/dev/stderr

mount -t tmpfs -o nosuid,nodev,mode=755 run root/run
mkdir root/run/sshd
chmod 755 root/run/sshd
# A board that is switched on finds its /tmp empty.
find root/tmp -xdev -mindepth 1 -delete

cp -R etc/. root/etc/
chown -R 0:0 root/etc/edgekit
chmod 600 root/etc/edgekit/ssh_host_ed25519_key
hostname "$name"

exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin QEMU_CPU="$cpu" \
    chroot root /usr/sbin/sshd -D -e -f /etc/edgekit/sshd_config
