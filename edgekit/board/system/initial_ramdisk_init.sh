#!/bin/busybox sh
# The first program of a system board: mounts its disk and goes on from there.
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t devtmpfs dev /dev
for word in $(/bin/busybox cat /proc/cmdline); do
    case $word in
    edgekit.machine=*) machine=${word#*=} ;;
    edgekit.disk=*) disk=${word#*=} ;;
    esac
done
for module in $(/bin/busybox cat "/modules/$machine"); do
    /bin/busybox insmod "/lib/$module"
done
waited=0
while [ ! -b "$disk" ] && [ $waited -lt 300 ]; do
    /bin/busybox sleep 0.1
    waited=$((waited + 1))
done
/bin/busybox mount -t ext4 "$disk" /root
/bin/busybox mount --move /dev /root/dev
/bin/busybox umount /proc
exec /bin/busybox switch_root /root /usr/lib/edgekit/init
