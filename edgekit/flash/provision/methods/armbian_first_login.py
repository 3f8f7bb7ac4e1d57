"""Armbian: the root file system is edited, and its first-login questions are answered.

Armbian's own presets (``PRESET_*`` in ``/root/.not_logged_in_yet``) are of no use to a board
without a screen: ``armbian-firstlogin`` reads them only on a terminal, and takes keys only as an
address to fetch. So the account is made here, the file that asks for the dialogue is removed,
and so is what logs root in on the console; root's well-known password is made void.

``armbian-firstrun`` deletes every SSH host key at the first boot, unless it is told otherwise in
``/etc/default/armbian-firstrun``; older ones know no such setting and lose the line instead.

Source: armbian/build, packages/bsp/common/usr/lib/armbian/armbian-firstlogin and
armbian-firstrun, packages/bsp/common/etc/default/armbian-firstrun.dpkg-dist (read in 2026).
"""

import re
from pathlib import Path
from typing import Final

from edgekit.core.errors import FlashError
from edgekit.core.flash import ImageFacts
from edgekit.flash.provision.accounts import lock_password
from edgekit.flash.provision.debian_root import edit_root
from edgekit.flash.provision.ext4_image import Entry, Ext4Image
from edgekit.flash.provision.roots import root_systems
from edgekit.flash.provision.values import Provision

_ASKS: Final = "/root/.not_logged_in_yet"
_AUTOLOGIN: Final = (
    "/etc/systemd/system/getty@.service.d/override.conf",
    "/etc/systemd/system/serial-getty@.service.d/override.conf",
)
_FIRSTRUN: Final = "/usr/lib/armbian/armbian-firstrun"
_SETTINGS: Final = "/etc/default/armbian-firstrun"
_SETTING: Final = "OPENSSHD_REGENERATE_HOST_KEYS"
_REMOVES_KEYS: Final = re.compile(r"(?m)^([ \t]*)rm -f /etc/ssh/ssh_host\S*[ \t]*$")


def apply(image: Path, facts: ImageFacts, what: Provision) -> tuple[str, ...]:
    """Edit the root of the image.

    Raises:
        FlashError: an edit is not possible or did not hold.
    """
    done: tuple[str, ...] = ()
    for root in root_systems(image, facts):
        root.check()
        if what.host_key is not None:
            _keep_host_key(root)
        root.remove(_ASKS, *_AUTOLOGIN)
        if what.user != "root":
            _void_root_password(root)
        done = (*edit_root(root, what), "first-login dialogue answered")
    return done


def _keep_host_key(root: Ext4Image) -> None:
    script = root.text(_FIRSTRUN)
    if not _REMOVES_KEYS.search(script):
        return
    if _SETTING in script:
        lines = [line for line in root.text(_SETTINGS).splitlines() if _SETTING not in line]
        text = "".join(f"{line}\n" for line in [*lines, f"{_SETTING}=false"])
        root.put([Entry(_SETTINGS, content=text.encode("utf-8", "surrogateescape"))])
        return
    (found,) = root.stat(_FIRSTRUN)
    if found is None:
        raise FlashError(f"{_FIRSTRUN} cannot be read", hint="take another image")
    text = _REMOVES_KEYS.sub(r"\1: edgekit keeps the host keys that it put here", script)
    content = text.encode("utf-8", "surrogateescape")
    root.put([Entry(_FIRSTRUN, "file", found.mode, found.uid, found.gid, content)])


def _void_root_password(root: Ext4Image) -> None:
    (found,) = root.stat("/etc/shadow")
    shadow = root.text("/etc/shadow")
    if found is None or not shadow:
        return
    content = lock_password(shadow, "root").encode("utf-8", "surrogateescape")
    root.put([Entry("/etc/shadow", "file", found.mode, found.uid, found.gid, content)])
