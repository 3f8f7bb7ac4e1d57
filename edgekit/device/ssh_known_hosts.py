"""The ``known_hosts`` files: which key a host is known by.

Paramiko's own reader knows neither ``@revoked`` nor patterns, and stops at the first entry
of a key type, so the format is read here.

Source: sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT".
"""

import base64
import fnmatch
import hashlib
import hmac
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

SSH_PORT = 22

Standing = Literal["known", "unknown", "changed", "revoked"]


@dataclass(frozen=True)
class HostKey:
    """A public host key: its type, such as ``ssh-ed25519``, and its wire form."""

    key_type: str
    blob: bytes

    @property
    def fingerprint(self) -> str:
        """As ``ssh-keygen -l`` prints it: ``SHA256:`` and unpadded base64."""
        digest = hashlib.sha256(self.blob).digest()
        return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")

    def __str__(self) -> str:
        return f"{self.key_type} {self.fingerprint}"


@dataclass(frozen=True)
class Entry:
    """One line of a file. ``marker`` is empty, ``revoked`` or ``cert-authority``."""

    marker: str
    names: tuple[str, ...]
    key: HostKey
    path: Path
    line: int

    def matches(self, name: str) -> bool:
        """Tell whether this line speaks of ``name`` (see :func:`lookup_name`)."""
        found = False
        for pattern in self.names:
            if pattern.startswith("|"):
                found = found or _hash_matches(pattern, name)
            elif pattern.startswith("!"):
                if _glob_matches(pattern[1:], name):
                    return False
            else:
                found = found or _glob_matches(pattern, name)
        return found


@dataclass(frozen=True)
class Verdict:
    """What the files say of a key that a host has shown; ``entries`` are the lines behind it."""

    standing: Standing
    entries: tuple[Entry, ...] = ()


class KnownHosts:
    """The lines of several files, read in order. Files that do not exist are empty."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self.entries = tuple(entry for path in paths for entry in read_entries(path))

    def key_types(self, name: str) -> tuple[str, ...]:
        """Return the types of key that ``name`` is known by, in the order of the files."""
        own = (entry.key.key_type for entry in self._entries_of(name) if not entry.marker)
        return tuple(dict.fromkeys(own))

    def judge(self, name: str, key: HostKey) -> Verdict:
        """Judge the key that a host has shown.

        A host that is known by keys of other types only counts as changed: otherwise whoever
        stands in its place need only show a type that the true host never did.
        """
        about = self._entries_of(name)
        same = tuple(entry for entry in about if entry.key == key)
        revoked = tuple(entry for entry in same if entry.marker == "revoked")
        if revoked:
            return Verdict("revoked", revoked)
        plain = tuple(entry for entry in same if not entry.marker)
        if plain:
            return Verdict("known", plain)
        others = tuple(entry for entry in about if not entry.marker)
        return Verdict("changed", others) if others else Verdict("unknown")

    def _entries_of(self, name: str) -> tuple[Entry, ...]:
        return tuple(entry for entry in self.entries if entry.matches(name))


def lookup_name(host: str, port: int) -> str:
    """Return the name under which the files hold a host: ``[host]:port`` off port 22."""
    host = host.lower()
    return host if port == SSH_PORT else f"[{host}]:{port}"


def read_entries(path: Path) -> Sequence[Entry]:
    """Read one file, passing over lines that cannot be read, as OpenSSH does."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ()
    parsed = (_parse_line(line, path, number) for number, line in enumerate(text.splitlines(), 1))
    return tuple(entry for entry in parsed if entry is not None)


def append_key(path: Path, name: str, key: HostKey, *, hashed: bool = False) -> None:
    """Add a host's key at the end of ``path``, making file and folder if they are missing.

    Args:
        path: the ``known_hosts`` file.
        name: as :func:`lookup_name` gives it.
        key: the key to trust from now on.
        hashed: hide the name behind a salted hash, as ``HashKnownHosts yes`` asks.

    Raises:
        OSError: the file cannot be written.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    shown = _hash_name(name, os.urandom(hashlib.sha1(usedforsecurity=False).digest_size))
    line = f"{shown if hashed else name} {key.key_type} {base64.b64encode(key.blob).decode()}\n"
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "r+b") as file:
        # One write, so that two processes cannot interleave their lines.
        file.write((b"" if _ends_with_newline(file.fileno()) else b"\n") + line.encode())


def _ends_with_newline(descriptor: int) -> bool:
    size = os.fstat(descriptor).st_size
    return size == 0 or os.pread(descriptor, 1, size - 1) == b"\n"


def _parse_line(line: str, path: Path, number: int) -> Entry | None:
    fields = line.split()
    marker = ""
    if fields and fields[0] in {"@revoked", "@cert-authority"}:
        marker = fields.pop(0)[1:]
    if len(fields) < 3 or fields[0].startswith(("#", "@")):  # noqa: PLR2004 - names, type, key
        return None
    names, key_type, encoded = fields[:3]
    try:
        blob = base64.b64decode(encoded, validate=True)
    except ValueError:
        return None
    return Entry(marker, tuple(names.split(",")), HostKey(key_type, blob), path, number)


def _glob_matches(pattern: str, name: str) -> bool:
    # OpenSSH knows only * and ?; brackets stand for themselves there, as in "[host]:22".
    return fnmatch.fnmatchcase(name, pattern.lower().replace("[", "[[]"))


def _hash_name(name: str, salt: bytes) -> str:
    digest = hmac.new(salt, name.encode(), "sha1").digest()
    return f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"


def _hash_matches(pattern: str, name: str) -> bool:
    parts = pattern.split("|")
    if len(parts) != 4 or parts[1] != "1":  # noqa: PLR2004 - "", version, salt, hash
        return False
    try:
        salt = base64.b64decode(parts[2], validate=True)
    except ValueError:
        return False
    return hmac.compare_digest(_hash_name(name, salt).encode(), pattern.encode())
