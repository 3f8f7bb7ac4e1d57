#!/usr/bin/env bash
# Install what is missing of a group of Debian packages.
#
#   scripts/system-packages.sh python   what makes a virtual environment
#   scripts/system-packages.sh board    what virtual boards and a loopback sshd need
#   scripts/system-packages.sh system-board   what virtual boards with a kernel of their own need
#   scripts/system-packages.sh native   what builds libraries of engines for tests of programs in C
#   scripts/system-packages.sh flash    what edits and boots disk images: FAT and ext4 tools, EFI firmware for QEMU, Rockchip's program
#   scripts/system-packages.sh browser  a browser without a window and its driver, for tests of pages; Node.js, for those of timelines
#   scripts/system-packages.sh bench    peers that figures are measured beside
#   scripts/system-packages.sh camera   what runs GStreamer's launch strings
#   scripts/system-packages.sh vulkan   a Vulkan driver in software, for tests of engines on a GPU
#
# Installs as root or through password-less sudo. Where neither is to be had it prints the
# one command that mends it and exits with 3; with nothing missing it does nothing. The group
# `board` lets the kernel run programs for ARM, too.
set -euo pipefail

group=${1:?usage: $0 python|board|system-board|native|flash|browser|bench|camera|vulkan}
case "$group" in
    python) packages=(python3 python3-venv) ;;
    board) packages=(qemu-user-static qemu-user binfmt-support mmdebstrap arch-test openssh-server openssh-client
        debian-archive-keyring ca-certificates) ;;
    system-board) packages=(qemu-system-arm qemu-utils device-tree-compiler e2fsprogs kmod gcc-aarch64-linux-gnu
        make zstd xz-utils) ;;
    native) packages=(cmake) ;;
    flash) packages=(mtools dosfstools e2fsprogs fdisk gdisk device-tree-compiler qemu-efi-aarch64 zstd
        xz-utils rkdeveloptool rauc squashfs-tools openssl) ;;
    # Fonts, as the browser comes with none, and without them pages are empty boxes.
    browser) packages=(chromium chromium-driver fonts-dejavu-core nodejs) ;;
    bench) packages=(bmap-tools xz-utils python3-gi gir1.2-gst-plugins-base-1.0 gstreamer1.0-plugins-base
        gstreamer1.0-plugins-good) ;;
    camera) packages=(gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good) ;;
    vulkan) packages=(libvulkan1 mesa-vulkan-drivers) ;;
    *)
        echo "$0: no package group is named '$group' (known: python, board, system-board, native, flash, browser, bench, camera, vulkan)" >&2
        exit 2
        ;;
esac

say() { echo "edgekit: $*" >&2; }

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
    say "this is no Debian-like system; install by its own means what these hold: ${packages[*]}"
    exit 3
fi

is_installed() {
    [[ $(dpkg-query --show --showformat='${db:Status-Status}' "$1" 2>/dev/null) == installed ]]
}

# The kernel's side of programs for ARM: Debian's packages see to it only where an init runs.
binfmt=/proc/sys/fs/binfmt_misc
may_emulate() { [[ -e $binfmt/qemu-aarch64 && -e $binfmt/qemu-arm ]]; }
let_emulate() {
    [[ $group == board ]] && ! may_emulate || return 0
    [[ -e $binfmt/register ]] || "${as_root[@]}" mount -t binfmt_misc binfmt_misc "$binfmt" || return 0
    local handler
    for handler in qemu-aarch64 qemu-arm; do
        [[ -e $binfmt/$handler ]] || "${as_root[@]}" update-binfmts --enable "$handler" || return 0
    done
}

missing=()
for package in "${packages[@]}"; do
    is_installed "$package" || missing+=("$package")
done

if ((EUID == 0)); then
    as_root=()
elif sudo -n true 2>/dev/null; then
    as_root=(sudo -n)
elif ((${#missing[@]})); then
    say "missing system packages: ${missing[*]}"
    say "no root here, and sudo wants a password; run this, then try again:"
    say "    sudo apt-get update && sudo apt-get install -y --no-install-recommends ${missing[*]}"
    exit 3
else
    exit 0 # what else there is to do, \`edgekit board up\` tells with its command
fi

if ((${#missing[@]} == 0)); then
    let_emulate
    exit 0
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT

# A lock that another apt-get holds is waited for; debconf asks nothing.
apt() {
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 \
        -o Acquire::Retries=3 "$@" </dev/null >>"$log" 2>&1
}

# Debian's maintainer scripts start services where init runs; in a container they cannot,
# and that is no failure: edgekit starts the sshd and qemu it needs by itself.
install() { apt install --yes --no-install-recommends "${missing[@]}"; }

lists_know_all() {
    local package
    for package in "${missing[@]}"; do
        apt-cache show "$package" >/dev/null 2>&1 || return 1
    done
}

say "installing system packages: ${missing[*]}"
# Package lists are fetched only where they are absent or turn out to be stale.
if { lists_know_all && install; } || { apt update && install; }; then
    let_emulate
    exit 0
fi
tail -n 40 "$log" >&2
say "apt-get could not install: ${missing[*]}"
exit 3
