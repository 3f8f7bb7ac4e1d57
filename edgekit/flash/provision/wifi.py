"""A Wi-Fi network, in the words of whatever brings up an image's network.

The passphrase is never written: what WPA2 derives from it and the network's name is (64
hexadecimal digits), which needs no quoting anywhere. A network that speaks WPA3 only cannot be
joined by it. The name is written as bytes or as JSON, so that nothing in it can end a line.
"""

import hashlib
import json
import uuid
from typing import Final

from edgekit.flash.provision.values import Wifi

_ROUNDS: Final = 4096  # Source: IEEE 802.11-2020, annex J.4.1 (PBKDF2, HMAC-SHA1, 256 bits)


def pre_shared_key(wifi: Wifi) -> str | None:
    """Return WPA2's key as hexadecimal digits; ``None`` for an open network."""
    if wifi.password is None:
        return None
    password, salt = wifi.password.encode("ascii"), wifi.ssid.encode()
    return hashlib.pbkdf2_hmac("sha1", password, salt, _ROUNDS, 32).hex()


def network_manager(wifi: Wifi) -> str:
    """Return a keyfile for ``/etc/NetworkManager/system-connections``, to be of mode 0600.

    Source: nm-settings-keyfile(5): an SSID may be a list of bytes.
    """
    ssid = "".join(f"{byte};" for byte in wifi.ssid.encode())
    lines = [
        "[connection]",
        "id=edgekit-wifi",
        f"uuid={uuid.uuid5(uuid.NAMESPACE_DNS, 'edgekit-wifi:' + wifi.ssid)}",
        "type=wifi",
        "",
        "[wifi]",
        "mode=infrastructure",
        f"ssid={ssid}",
        f"hidden={str(wifi.hidden).lower()}",
        "",
    ]
    if key := pre_shared_key(wifi):
        lines += ["[wifi-security]", "key-mgmt=wpa-psk", f"psk={key}", ""]
    lines += ["[ipv4]", "method=auto", "", "[ipv6]", "method=auto", ""]
    return "\n".join(lines)


def netplan(wifi: Wifi) -> dict[str, object]:
    """Return a network in netplan's words, version 2, without the outer ``network``.

    Source: netplan's YAML reference, ``wifis``: a password of 64 hexadecimal digits is a key.
    """
    point: dict[str, object] = {}
    if key := pre_shared_key(wifi):
        point["password"] = key
    if wifi.hidden:
        point["hidden"] = True
    device: dict[str, object] = {
        "dhcp4": True,
        "optional": True,
        "access-points": {wifi.ssid: point},
    }
    if wifi.country:
        device["regulatory-domain"] = wifi.country
    return {"version": 2, "wifis": {"wlan0": device}}


def yaml_text(value: object) -> str:
    """Write a value as JSON, which is YAML too; whatever is quoted is quoted by one rule."""
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def wpa_supplicant(wifi: Wifi) -> str:
    """Return a ``wpa_supplicant.conf``, to be of mode 0600.

    Source: wpa_supplicant.conf(5): an SSID without quotes is hexadecimal, and so is a ``psk``.
    """
    lines = ["ctrl_interface=DIR=/run/wpa_supplicant GROUP=netdev", "update_config=1"]
    if wifi.country:
        lines.append(f"country={wifi.country}")
    lines += ["network={", f"\tssid={wifi.ssid.encode().hex()}"]
    if wifi.hidden:
        lines.append("\tscan_ssid=1")
    key = pre_shared_key(wifi)
    lines += [f"\tpsk={key}"] if key else ["\tkey_mgmt=NONE"]
    return "\n".join([*lines, "}", ""])
