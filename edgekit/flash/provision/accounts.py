"""Debian's account files as text: a user is added, groups are joined, a name is changed.

Source: passwd(5), shadow(5), group(5), gshadow(5), hosts(5).
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from edgekit.core.errors import FlashError

_FIRST_UID: Final = 1000  # Source: Debian policy 9.2.2: 1000 to 59999 are for people
_LAST_UID: Final = 59999
# What a person in front of a board is given; joined where the image has them. Source:
# rpi-imager, src/customization_generator.cpp, generateCloudInitUserData (read in 2026).
GROUPS: Final = (
    *("adm", "sudo", "dialout", "audio", "video", "plugdev", "input"),
    *("netdev", "render", "gpio", "i2c", "spi", "users"),
)
# No password can match this, and sshd does not take the account for locked, as it would with
# "!" where PAM is off. Source: OpenSSH, auth.c (LOCKED_PASSWD_PREFIX); shadow(5).
NO_PASSWORD: Final = "*"  # noqa: S105 - no password at all


@dataclass(frozen=True)
class Accounts:
    """The four files; ``shadow`` and ``gshadow`` are empty where an image has none."""

    passwd: str
    shadow: str
    group: str
    gshadow: str


@dataclass(frozen=True)
class Account:
    """A user as the files know it."""

    name: str
    uid: int
    gid: int
    home: str


def find_account(passwd: str, name: str) -> Account | None:
    """Return the user of this name, if there is one.

    Raises:
        FlashError: its line cannot be read.
    """
    for line in passwd.splitlines():
        fields = line.split(":")
        if fields[0] == name:
            try:
                return Account(name, int(fields[2]), int(fields[3]), fields[5])
            except (IndexError, ValueError):
                raise FlashError(
                    f"the image's /etc/passwd cannot be read: {line!r}",
                    hint="take another image",
                ) from None
    return None


def add_account(
    files: Accounts, name: str, *, shell: str = "/bin/bash", groups: Iterable[str] = GROUPS
) -> Accounts:
    """Return the files with a user who can log in, made if need be, in the groups that exist."""
    if find_account(files.passwd, name) is None:
        files = _with_new_user(files, name, shell)
    files = replace(files, passwd=_with_shell(files.passwd, name, shell))
    if name == "root":
        return files
    present = {line.split(":")[0] for line in files.group.splitlines()}
    for group in groups:
        if group in present:
            files = replace(
                files,
                group=_join(files.group, group, name),
                gshadow=_join(files.gshadow, group, name),
            )
    return files


def lock_password(shadow: str, name: str) -> str:
    """Return ``shadow`` with a password for ``name`` that nothing matches, and no expiry."""
    lines = []
    for line in shadow.splitlines():
        fields = line.split(":")
        if fields[0] == name and len(fields) > 2:  # noqa: PLR2004 - name, password, day
            fields[1], fields[2] = NO_PASSWORD, _today()
        lines.append(":".join(fields))
    return _text(lines)


def _with_shell(passwd: str, name: str, shell: str) -> str:
    """Give a user a shell who has none: Raspberry Pi OS's first user waits for a wizard so."""
    lines = []
    for line in passwd.splitlines():
        fields = line.split(":")
        if fields[0] == name and fields[-1].endswith(("/nologin", "/false")):
            fields[-1] = shell
        lines.append(":".join(fields))
    return _text(lines)


def _with_new_user(files: Accounts, name: str, shell: str) -> Accounts:
    number = _free_number(files)
    group, gshadow = files.group, files.gshadow
    gid = next(
        (line.split(":")[2] for line in group.splitlines() if line.split(":")[0] == name), None
    )
    if gid is None:
        gid = str(number)
        group = _append(group, f"{name}:x:{gid}:")
        gshadow = _append(gshadow, f"{name}:!::") if gshadow else ""
    line = f"{name}:x:{number}:{gid}::/home/{name}:{shell}"
    return Accounts(
        _append(files.passwd, line),
        _append(files.shadow, f"{name}:{NO_PASSWORD}:{_today()}:0:99999:7:::"),
        group,
        gshadow,
    )


def _free_number(files: Accounts) -> int:
    """Return the first number that is neither a user's nor a group's."""
    taken = set()
    for line in [*files.passwd.splitlines(), *files.group.splitlines()]:
        fields = line.split(":")
        if len(fields) > 2 and fields[2].isdigit():  # noqa: PLR2004 - name, password, number
            taken.add(int(fields[2]))
    for number in range(_FIRST_UID, _LAST_UID + 1):
        if number not in taken:
            return number
    raise FlashError("the image has no number left for a user", hint="take another image")


def _join(text: str, group: str, name: str) -> str:
    lines = []
    for line in text.splitlines():
        fields = line.split(":")
        if fields[0] == group and len(fields) == 4:  # noqa: PLR2004 - the members stand last
            members = [member for member in fields[3].split(",") if member]
            if name not in members:
                fields[3] = ",".join([*members, name])
        lines.append(":".join(fields))
    return _text(lines) if text else ""


def hosts_with_name(hosts: str, hostname: str) -> str:
    """Return ``/etc/hosts`` with the device's own name on 127.0.1.1, as Debian has it."""
    names = hostname if "." not in hostname else f"{hostname} {hostname.partition('.')[0]}"
    own = f"127.0.1.1\t{names}"
    lines = [own if line.split()[:1] == ["127.0.1.1"] else line for line in hosts.splitlines()]
    return _text(lines if own in lines else [*lines, own])


def _append(text: str, line: str) -> str:
    return _text([*text.splitlines(), line])


def _text(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _today() -> str:
    return str(int(time.time()) // 86400)
