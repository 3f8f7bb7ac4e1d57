"""What may be written into an image's configuration, and what is refused.

Everything here ends up in files that a shell, YAML or an account database reads. Each value is
quoted where it is written as well; this is the first of two walls.
"""

import base64
import binascii
import re
import struct
from typing import Final

from edgekit.core.errors import UsageError

# Source: RFC 1123 section 2.1 and RFC 1035 section 2.3.4; Linux allows 64 (HOST_NAME_MAX).
_LABEL: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_LONGEST_HOSTNAME: Final = 64
# Source: useradd(8): lower-case letters, digits, '_' and '-', up to 32 characters.
_USER: Final = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_UNIT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,100}\.(service|timer|path|socket|target)")
# Source: IEEE 802.11-2020, 9.4.2.2: an SSID has up to 32 octets; wpa_passphrase(8): 8..63.
_LONGEST_SSID_BYTES: Final = 32
_PASSPHRASE: Final = re.compile(r"[ -~]{8,63}")
_KEY_TYPES: Final = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
)
_PERMISSIONS: Final = 0o777
_LONGEST_PATH: Final = 1024
# Accounts that programs of Debian use; a person does not log in by them.
_SYSTEM_USERS: Final = frozenset(
    {
        *("daemon", "bin", "sys", "sync", "games", "man", "lp", "mail", "news", "uucp", "proxy"),
        *("www-data", "backup", "list", "irc", "gnats", "nobody", "sshd", "messagebus", "_apt"),
        *("systemd-network", "systemd-resolve", "systemd-timesync"),
    }
)


def wrong(message: str, hint: str) -> UsageError:
    """Return the error for something that cannot be meant."""
    return UsageError(message, hint=hint)


def check_hostname(name: str) -> None:
    """Raise unless ``name`` is a host name (RFC 1123), lower-case."""
    labels = name.split(".")
    good = len(name) <= _LONGEST_HOSTNAME and all(map(_LABEL.fullmatch, labels))
    if not good or labels[-1].isdigit() or name == "localhost":
        raise wrong(
            f"{name!r} cannot be a host name",
            "use lower-case letters, digits and '-', at most 63 between dots and 64 in all",
        )


def check_user(name: str) -> None:
    """Raise unless ``name`` can be the login of a person."""
    if _USER.fullmatch(name) is None:
        raise wrong(
            f"{name!r} cannot be a user name",
            "use lower-case letters, digits, '_' and '-', begun by a letter, at most 32",
        )
    if name in _SYSTEM_USERS:
        raise wrong(f"{name!r} is a user of the system's own", "choose another name")


def check_public_key(line: str) -> None:
    """Raise unless ``line`` is one public key as in a ``.pub`` file.

    Source: sshd(8), "AUTHORIZED_KEYS FILE FORMAT"; RFC 4253 section 6.6 for the base64 text.
    """
    if "PRIVATE KEY" in line:
        # Never shown: what stands there is a secret.
        raise wrong(
            "a private key was given where a public one belongs",
            "give the file that ends in .pub; a private key must never leave its host",
        )
    shown = line if len(line) <= 40 else f"{line[:37]}..."  # noqa: PLR2004 - one line of a message
    if not line.isprintable():
        raise wrong(f"{shown!r} is not one line of text", "give each public key on its own")
    words = line.split(" ", 2)
    if words[0] not in _KEY_TYPES or len(words) == 1:
        raise wrong(
            f"{shown!r} is not a public key",
            f"'type base64 comment', without options; known types: {', '.join(_KEY_TYPES)}",
        )
    if _inner_type(words[1]) != words[0]:
        raise wrong(
            f"{shown!r} is cut off or damaged",
            "copy the whole line of the .pub file",
        )


def _inner_type(encoded: str) -> str:
    """Return the type that a key names itself; empty where its fields do not add up."""
    try:
        blob = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return ""
    fields: list[bytes] = []
    while blob:
        if len(blob) < 4:  # noqa: PLR2004 - a length field
            return ""
        (size,) = struct.unpack_from(">I", blob)
        if len(blob) < 4 + size:
            return ""
        fields.append(blob[4 : 4 + size])
        blob = blob[4 + size :]
    return fields[0].decode("ascii", "replace") if len(fields) > 1 else ""


def check_host_key(private: str, public: str) -> None:
    """Raise unless the halves of a host key are what they are called."""
    check_public_key(public)
    begin, end = "-----BEGIN OPENSSH PRIVATE KEY-----\n", "\n-----END OPENSSH PRIVATE KEY-----\n"
    body = private.removeprefix(begin).removesuffix(end)
    good = private.startswith(begin) and private.endswith(end)
    if not good or re.fullmatch(r"[A-Za-z0-9+/=\n]+", body) is None:
        raise wrong("the host key's private half is not in OpenSSH's form", "make it anew")
    if not public.startswith("ssh-ed25519 "):
        raise wrong("the host key is not of type ssh-ed25519", "make it anew")


def check_ssid(name: str) -> None:
    """Raise unless ``name`` can be a network's name that people type."""
    if not name or not name.isprintable() or len(name.encode()) > _LONGEST_SSID_BYTES:
        raise wrong(
            f"{name!r} cannot be the name of a Wi-Fi network",
            f"1 to {_LONGEST_SSID_BYTES} bytes of printable text",
        )


def check_passphrase(password: str) -> None:
    """Raise unless ``password`` can be WPA's; it is not repeated in the error."""
    if _PASSPHRASE.fullmatch(password) is None:
        raise wrong(
            f"the Wi-Fi password has {len(password)} characters or holds others than ASCII",
            "WPA asks for 8 to 63 printable ASCII characters",
        )


def check_country(code: str) -> None:
    """Raise unless ``code`` looks like ISO 3166's two letters."""
    if re.fullmatch("[A-Z]{2}", code) is None:
        raise wrong(f"{code!r} is no country", "two capital letters, such as GB")


def check_home_path(path: str) -> None:
    """Raise unless ``path`` leads to something below the home folder."""
    parts = path.split("/")
    if (
        not path
        or len(path) > _LONGEST_PATH
        or not _plain(path)
        or any(part in {"", ".", ".."} or len(part.encode()) > 255 for part in parts)  # noqa: PLR2004 - ext4's longest name
    ):
        raise wrong(
            f"{path!r} cannot be put below a home folder",
            "a relative path without '..', quotes and control characters",
        )


def check_link(path: str, target: str) -> None:
    """Raise unless a link at ``path`` stays below the home folder."""
    depth = path.count("/")
    bad = not target or len(target) > _LONGEST_PATH or not _plain(target) or target[0] == "/"
    for part in target.split("/"):
        depth += -1 if part == ".." else part not in {"", "."}
        bad = bad or depth < 0
    if bad:
        raise wrong(
            f"the link {path} cannot lead to {target!r}",
            "a relative path that stays below the home folder",
        )


def check_mode(path: str, mode: int) -> None:
    """Raise unless ``mode`` is plain permissions: no set-uid, set-gid or sticky bit."""
    if not 0 <= mode <= _PERMISSIONS:
        raise wrong(f"{path} cannot have mode {mode:#o}", "plain permissions, up to 0777")


def check_unit(name: str, text: str) -> None:
    """Raise unless this is a unit of systemd by its name, and text."""
    if _UNIT.fullmatch(name) is None:
        raise wrong(f"{name!r} cannot name a systemd unit", "such as edgekit-run.service")
    if re.search("[\0\ud800-\udfff]", text) or not text.strip():
        raise wrong(f"the unit {name} holds no text", "give its sections, as UTF-8")


def _plain(text: str) -> bool:
    """Tell whether text goes through debugfs, tar and a shell's quotes unchanged."""
    return text.isprintable() and text[:1] != "-" and not set(text) & set("\"'\\`$")
