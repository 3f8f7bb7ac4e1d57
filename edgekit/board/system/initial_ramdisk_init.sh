#!/bin/busybox sh
# The first program of a system board: mounts its disk and goes on from there.
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t devtmpfs dev /dev
for module in $(/bin/busybox cat /modules); do
    /bin/busybox insmod "/lib/$module"
done
waited=0
while [ ! -b /dev/vda ] && [ $waited -lt 300 ]; do
    /bin/busybox sleep 0.1
    waited=$((waited + 1))
done
/bin/busybox mount -t ext4 /dev/vda /root
/bin/busybox mount --move /dev /root/dev
/bin/busybox umount /proc
exec /bin/busybox switch_root /root /usr/lib/edgekit/init
