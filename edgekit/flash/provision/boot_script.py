"""The shell script that a device runs once, at its first boot, from its boot partition.

Only names that :mod:`checks` has passed stand in it, quoted; everything else is in the archive
beside it. It may be cut off at any place and run again. Each step is tried whatever became of
those before it, and what failed stands in ``edgekit-first-boot.log`` on the boot partition.

Source: what Raspberry Pi's own tools do at a first boot, read in 2026: rpi-imager,
src/customization_generator.cpp; raspberrypi-sys-mods, usr/lib/raspberrypi-sys-mods/imager_custom
and regenerate_ssh_host_keys; userconf-pi, userconf and cancel-rename.
"""

import shlex
from typing import Final

from edgekit.flash.provision.accounts import GROUPS
from edgekit.flash.provision.values import Provision

FOLDER: Final = "edgekit"
PAYLOAD: Final = "payload.tgz"
LOG: Final = "edgekit-first-boot.log"

# $R is empty on a device; tests put a folder there.
_HEAD: Final = """\
#!/bin/sh
# Written by edgekit. Runs once, at the first boot.
set -u
R=${EDGEKIT_TEST_ROOT:-}
HERE=$(cd "$(dirname "$0")" && pwd)
BOOT=@BOOT@
PAYLOAD=$BOOT/edgekit/payload.tgz
NAME=@USER@
HOST=@HOST@
COUNTRY=@COUNTRY@
umask 022
exec >"$BOOT/edgekit-first-boot.log" 2>&1
failed=
try() { "$@" || { echo "failed: $1"; failed="$failed $1"; }; }
home_of() { getent passwd "$NAME" | cut -d: -f6; }
unpack() { tar -xzpf "$PAYLOAD" --no-same-owner --strip-components=1 -C "$2" "$1"; }
has() { tar -tzf "$PAYLOAD" | grep -q "^$1/"; }
"""

_USER: Final = """
user() {
    if [ -x "$R/usr/lib/userconf-pi/userconf" ]; then
        "$R/usr/lib/userconf-pi/userconf" "$NAME" '*'
    fi
    id "$NAME" >/dev/null 2>&1 || useradd --create-home --shell /bin/bash "$NAME" || return 1
    usermod --shell /bin/bash --password '*' "$NAME" || return 1
    for group in @GROUPS@; do
        if getent group "$group" >/dev/null; then usermod --append --groups "$group" "$NAME"; fi
    done
}
hostname() {
    [ -n "$HOST" ] || return 0
    printf '%s\\n' "$HOST" >"$R/etc/hostname" || return 1
    if grep -q '^127[.]0[.]1[.]1[[:space:]]' "$R/etc/hosts"; then
        sed -i "s/^127[.]0[.]1[.]1[[:space:]].*/127.0.1.1\\t$HOST/" "$R/etc/hosts"
    else
        printf '127.0.1.1\\t%s\\n' "$HOST" >>"$R/etc/hosts"
    fi
}
network() {
    if [ -n "$COUNTRY" ]; then
        raspi-config nonint do_wifi_country "$COUNTRY"
        rfkill unblock wifi
        for state in "$R"/var/lib/systemd/rfkill/*:wlan; do
            if [ -e "$state" ]; then echo 0 >"$state"; fi
        done
    fi
    has network || return 0
    work=$(mktemp -d) && unpack network "$work" || return 1
    if systemctl --quiet is-enabled NetworkManager; then
        install -D -m 600 "$work/networkmanager" \\
            "$R/etc/NetworkManager/system-connections/edgekit-wifi.nmconnection"
    else
        install -D -m 600 "$work/wpa_supplicant" "$R/etc/wpa_supplicant/wpa_supplicant.conf"
    fi
    result=$?
    rm -rf "$work"
    return "$result"
}
"""

_COMMON: Final = """
system() {
    has system || return 0
    if has system/etc/ssh; then
        # What makes new keys at the first boot must not take the device's own away.
        systemctl --quiet stop regenerate_ssh_host_keys
        systemctl --quiet disable regenerate_ssh_host_keys
        rm -f "$R"/etc/ssh/ssh_host_*
    fi
    unpack system "$R/"
}
files() {
    has home || return 0
    home=$(home_of)
    [ -d "$R$home" ] || return 1
    unpack home "$R$home" && chown -hR "$NAME:$(id -gn "$NAME")" "$R$home"
}
ssh() {
    systemctl --quiet enable ssh
}
"""

_FIRSTRUN: Final = """
clean() {
    line=$(sed 's/ systemd[.]run[^ ]*//g; s/ systemd[.]unit=kernel-command-line[.]target//' \\
        "$BOOT/cmdline.txt") || return 1
    # Last, and by rename: until then the next boot comes here again.
    rm -rf "$BOOT/edgekit"
    printf '%s\\n' "$line" >"$BOOT/cmdline.new" && sync
    mv -f "$BOOT/cmdline.new" "$BOOT/cmdline.txt" && rm -f "$BOOT/firstrun.sh" && sync
}
if tar -tzf "$PAYLOAD" >/dev/null; then
    for step in user hostname system files network ssh; do try "$step"; done
else
    echo "failed: $PAYLOAD cannot be read"
fi
[ -n "$failed" ] || echo "done"
try clean
exit 0
"""

_CLOUD_INIT: Final = """
start() {
    systemctl daemon-reload
    systemctl --quiet restart ssh
    for unit in @UNITS@; do systemctl --quiet --no-block restart "$unit"; done
}
wizard() {
    # Raspberry Pi OS would ask on the screen for the user that is there by now.
    systemctl --quiet is-enabled userconfig || return 0
    cancel-rename "$NAME"
}
clean() {
    # Whoever is on the device can read this partition; the host key must not stay here.
    rm -f "$PAYLOAD"
    printf '#cloud-config\\n' >"$BOOT/user-data" && sync
}
if tar -tzf "$PAYLOAD" >/dev/null; then
    for step in system files ssh start wizard; do try "$step"; done
else
    echo "failed: $PAYLOAD cannot be read"
fi
[ -n "$failed" ] || echo "done"
try clean
exit 0
"""


def firstrun_script(what: Provision) -> str:
    """Return ``firstrun.sh``: does everything, then the device boots again."""
    return _filled(_HEAD + _USER + _COMMON + _FIRSTRUN, what, boot='"$HERE"')


def cloud_init_script(what: Provision) -> str:
    """Return what cloud-init runs at its end: files, the host key once more, and cleaning up."""
    return _filled(_HEAD + _COMMON + _CLOUD_INIT, what, boot='$(dirname "$HERE")')


def _filled(text: str, what: Provision, *, boot: str) -> str:
    country = what.wifi.country if what.wifi else None
    values = {
        "@BOOT@": boot,
        "@USER@": shlex.quote(what.user),
        "@HOST@": shlex.quote(what.hostname or ""),
        "@COUNTRY@": shlex.quote(country or ""),
        "@GROUPS@": " ".join(GROUPS),
        "@UNITS@": " ".join(shlex.quote(unit.name) for unit in what.units),
    }
    for key, value in values.items():
        text = text.replace(key, value)
    return text
