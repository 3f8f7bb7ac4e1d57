#!/bin/sh
# Runs as the first process on a system board's own disk, and ends as its sshd.
# The kernel's command line tells what differs from board to board (edgekit.NAME=VALUE).
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
umask 022
mount() { /usr/lib/edgekit/busybox mount "$@"; }

mount -t proc -o nosuid,nodev,noexec proc /proc
mount -t sysfs -o nosuid,nodev,noexec sysfs /sys
mkdir -p /dev/pts /dev/shm
mount -t devpts -o nosuid,noexec,ptmxmode=0666,mode=620 devpts /dev/pts
mount -t tmpfs -o nosuid,nodev,mode=1777 shm /dev/shm
mount -t tmpfs -o nosuid,nodev,mode=755 run /run
ln -s /proc/self/fd /dev/fd
ln -s fd/0 /dev/stdin
ln -s fd/1 /dev/stdout
ln -s fd/2 /dev/stderr
mkdir /run/sshd

told() {
    for word in $(cat /proc/cmdline); do
        case $word in "edgekit.$1="*) echo "${word#*=}" ;; esac
    done
}

# By this file the device agent knows that times mean nothing here.
printf '{"cpu": "%s", "kind": "system", "qemu": "%s", "target": "%s"}\n' \
    "$(told cpu)" "$(told qemu)" "$(told target)" >/etc/edgekit/virtual-board.json

for module in $(told modules | tr , ' '); do
    modprobe "$module"
done

# A machine that stands for no real board has sensors of edgekit's.
if [ "$(told machine)" = virt ]; then
    modprobe edgekit_clocks cores="$(told cores)" max_khz="$(told max_khz)"
    # Chips that are memory: filled first, so that no driver ever reads nonsense.
    modprobe i2c-stub chip_addr=0x40,0x41
    virtual-sensors power 3125
    virtual-sensors rail 1 5000 400
    virtual-sensors rail 2 1000 800
    virtual-sensors rail 3 1800 200
    modprobe edgekit_monitors
    modprobe ina2xx
    modprobe ina3221
fi

network=$(told network)
waited=0
# One on USB is found some time after its driver was loaded.
while [ ! -e "/sys/class/net/$network" ] && [ $waited -lt 600 ]; do
    sleep 0.1
    waited=$((waited + 1))
done
ip link set lo up
ip address add 10.0.2.15/24 dev "$network"
ip link set "$network" up

exec /usr/sbin/sshd -D -e -f /etc/edgekit/sshd_config
