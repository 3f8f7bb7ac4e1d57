"""The user's inventory: ``devices.toml``, one table for each board that is at hand."""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

from edgekit.catalog.cache import FileLock, write_atomically
from edgekit.catalog.settings import settings
from edgekit.catalog.toml_lines import locate_keys
from edgekit.catalog.toml_reader import KeyFaultError, read_named_tables
from edgekit.core.errors import UsageError
from edgekit.core.names import is_name, unknown_name

_HIGHEST_PORT: Final = 65535
# Names that --device gives a meaning of their own.
RESERVED: Final = ("local", "virtual")


@dataclass(frozen=True)
class DeviceEntry:
    """One board, and how to reach it. ``None`` leaves the matter to OpenSSH's configuration.

    Attributes:
        name: what ``--device`` calls it.
        address: host name, IP address, or an alias in OpenSSH's configuration.
        target: the kind of board; ``None``: not known, so ``--target`` must say.
        proxy_jump: as OpenSSH's ``ProxyJump``.
        note: for people.
    """

    name: str
    address: str
    port: int | None = None
    user: str | None = None
    target: str | None = None
    identity_file: Path | None = None
    proxy_jump: str | None = None
    note: str = ""

    def __post_init__(self) -> None:
        """Refuse what can be no device.

        Raises:
            KeyFaultError: a value cannot be meant.
        """
        if not is_name(self.name) or self.name in RESERVED:
            raise KeyFaultError(
                "name",
                f"{self.name!r} cannot name a device: lower-case letters, digits, '.', '_' and "
                f"'-', begun by a letter or digit, and not {' or '.join(RESERVED)}",
            )
        for key in ("address", "user", "proxy_jump"):
            value = getattr(self, key)
            # A leading '-' would be an option to whatever program it is handed to.
            if value is not None and (
                not value or value.startswith("-") or value.split() != [value]
            ):
                raise KeyFaultError(key, f"{key} {value!r} cannot be meant")
        if self.port is not None and not 1 <= self.port <= _HIGHEST_PORT:
            raise KeyFaultError("port", f"port must lie between 1 and {_HIGHEST_PORT}")


def load_devices() -> tuple[DeviceEntry, ...]:
    """Return the inventory in the file's order; empty where there is no file.

    Raises:
        CatalogError: the file is wrong.
    """
    return tuple(_by_name().values())


def _by_name() -> dict[str, DeviceEntry]:
    file = settings().devices_file
    return read_named_tables(file, DeviceEntry) if file.exists() else {}


def find_device(name: str) -> DeviceEntry:
    """Return the device with this name.

    Raises:
        UnknownNameError: there is none; the hint says what was probably meant.
        CatalogError: the file is wrong.
    """
    devices = _by_name()
    if name not in devices:
        error = unknown_name("device", name, devices)
        if not devices:
            error.hint = "none is kept yet: edgekit devices add NAME user@host"
        raise error
    return devices[name]


def add_device(entry: DeviceEntry, *, replace: bool = False) -> Path:
    """Write a device into the inventory; the others, their order and comments stay.

    Returns:
        The inventory's file.

    Raises:
        UsageError: the name is taken and ``replace`` was not asked for.
        CatalogError: the file is wrong as it stands.
        OSError: the file cannot be written.
    """
    file = settings().devices_file.resolve()
    with _lock(file):
        devices = _by_name()
        if entry.name in devices and not replace:
            raise UsageError(
                f"there is a device named {entry.name!r} already",
                hint=f"choose another name, or: edgekit devices remove {entry.name}",
            )
        _write(file, {**devices, entry.name: entry}, entry.name)
    return file


def remove_device(name: str) -> DeviceEntry:
    """Take a device out of the inventory, and return what stood there.

    Raises:
        UnknownNameError: there is none; the hint says what was probably meant.
        CatalogError: the file is wrong as it stands.
        OSError: the file cannot be written.
    """
    file = settings().devices_file.resolve()
    with _lock(file):
        entry = find_device(name)
        rest = {key: value for key, value in _by_name().items() if key != name}
        _write(file, rest, name)
    return entry


def _lock(file: Path) -> FileLock:
    return FileLock(file.with_name(f".{file.name}.lock"), subject=file.name)


def _write(file: Path, devices: Mapping[str, DeviceEntry], changed: str) -> None:
    """Write the file with one device changed: by its own lines if that goes, else anew."""
    mode = 0o644
    text = ""
    if file.exists():
        mode = file.stat().st_mode & 0o777
        text = file.read_text("utf-8")
    wanted = {name: _values(entry) for name, entry in devices.items()}
    edited = _cut(text, changed)
    if changed in devices:
        edited = f"{edited.rstrip()}\n\n{_block(devices[changed])}".lstrip()
    if not _says(edited, wanted):
        edited = "\n".join(_block(entry) for entry in devices.values())
    write_atomically(file, edited.encode(), mode=mode)


def _cut(text: str, name: str) -> str:
    """Return the text without the lines of table ``name``; what leads the next table stays."""
    start = locate_keys(text).get((name,))
    if start is None:
        return text
    lines = text.splitlines(keepends=True)
    end = start
    while end < len(lines) and not lines[end].startswith("["):
        end += 1
    if end < len(lines):
        while end > start and (not lines[end - 1].strip() or lines[end - 1].startswith("#")):
            end -= 1
    return "".join(lines[: start - 1] + lines[end:])


def _says(text: str, wanted: Mapping[str, Mapping[str, object]]) -> bool:
    try:
        return tomllib.loads(text) == wanted
    except tomllib.TOMLDecodeError:
        return False


def _values(entry: DeviceEntry) -> dict[str, str | int]:
    """The keys that differ from their default, as they stand in the file."""
    values: dict[str, str | int] = {}
    for key in fields(entry):
        value = getattr(entry, key.name)
        if key.name != "name" and value != key.default:
            values[key.name] = str(value) if isinstance(value, Path) else value
    return values


def _block(entry: DeviceEntry) -> str:
    lines = [f"{key} = {toml_literal(value)}" for key, value in _values(entry).items()]
    header = entry.name if "." not in entry.name else toml_literal(entry.name)
    return "\n".join([f"[{header}]", *lines, ""])


def toml_literal(value: str | int) -> str:
    """Write a string or an integer as TOML; JSON's escapes are TOML's too, but for DEL."""
    if isinstance(value, int):
        return str(value)
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
