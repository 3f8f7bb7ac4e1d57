#!/bin/busybox sh
# The first program of a machine that boots from a disk of edgekit's own: mounts the root that the
# boot loader chose, carries over what makes this device itself, and goes on from there.
B=/bin/busybox
$B mount -t proc proc /proc
$B mkdir -p /sys
$B mount -t sysfs sys /sys
$B mount -t devtmpfs dev /dev
for module in $($B cat /modules); do
    $B insmod "/lib/$module"
done

told() {
    for word in $($B cat /proc/cmdline); do
        case $word in "edgekit.$1="*) echo "${word#*=}" ;; esac
    done
}

# By the name in the partition table: both roots may hold the very same file system.
partition() {
    waited=0
    while [ $waited -lt 300 ]; do
        for each in /sys/class/block/*/uevent; do
            if $B grep -q "^PARTNAME=$1\$" "$each"; then
                $B sed -n 's/^DEVNAME=//p' "$each"
                return
            fi
        done
        $B sleep 0.1
        waited=$((waited + 1))
    done
}

# The boot loader counts this attempt: the next start takes the other root.
give_up() {
    echo "edgekit: $1"
    $B sync
    $B reboot -f
}

device=$(partition "$(told root)")
$B mount -t ext4 "/dev/$device" /root || give_up "no root on $(told root)"
$B chroot /root /bin/sh -c '[ -x /sbin/init ]' || give_up "$(told root) holds no system"
$B mkdir -p /root/data
$B mount -t ext4 "/dev/$(partition data)" /root/data || give_up "no data"

# What makes this device itself: put into one root when it was flashed, into no update.
KEPT="etc/hostname etc/hosts etc/machine-id etc/edgekit etc/sudoers.d etc/systemd/network
    etc/systemd/system etc/NetworkManager/system-connections etc/wpa_supplicant root/.ssh"
USERS="passwd shadow group gshadow"
mark=/root/var/lib/edgekit-here
kept=/root/data/identity

save() {
    $B rm -rf $kept.new
    $B mkdir -p $kept.new/etc
    cd /root || return
    for path in $KEPT etc/ssh/ssh_host_*; do
        [ -e "$path" ] || continue
        $B mkdir -p "$kept.new/${path%/*}"
        $B cp -a "$path" "$kept.new/${path%/*}/"
    done
    for name in $USERS; do $B cp -a etc/$name $kept.new/etc/$name.users; done
    cd /
    $B sync
    $B rm -rf $kept.old
    [ ! -d $kept ] || $B mv $kept $kept.old
    $B mv $kept.new $kept
    $B sync
}

# Accounts of the new system's own stay as they are; those that it lacks are added.
restore() {
    for name in $USERS; do
        old=$1/etc/$name.users
        $B awk -F: 'NR == FNR { have[$1] = 1; next } !($1 in have)' /root/etc/$name "$old" >/added
        $B cat /added >>/root/etc/$name
    done
    cd "$1" || return
    for path in $KEPT etc/ssh/ssh_host_*; do
        [ -e "$path" ] || continue
        $B mkdir -p "/root/${path%/*}"
        $B cp -a "$path" "/root/${path%/*}/"
    done
    cd /
}

if [ ! -e $mark ]; then
    # Between two renames of a save only the older one is there.
    for each in $kept $kept.old; do
        if [ -d $each ]; then
            restore $each
            break
        fi
    done
    # Flashed, not updated: there is no other system to fall back to.
    [ -d $kept ] || [ -d $kept.old ] || $B touch /root/var/lib/edgekit-confirmed
    $B sync
    $B touch $mark
fi
save

if [ ! -d /root/data/home ]; then
    $B rm -rf /root/data/home.new
    $B cp -a /root/home /root/data/home.new
    $B sync
    $B mv /root/data/home.new /root/data/home
fi
$B mount --bind /root/data/home /root/home
$B mount --move /dev /root/dev
$B umount /sys
$B umount /proc
exec $B switch_root /root /sbin/init
