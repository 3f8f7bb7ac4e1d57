"""What a flashing station does, from one TOML file: ``edgekit flash --station FILE``."""

import string
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from edgekit.app.flash_setup import DEFAULT_USER
from edgekit.catalog.targets import load_target
from edgekit.catalog.toml_lines import KeyPath
from edgekit.catalog.toml_reader import read_toml
from edgekit.core.errors import UsageError
from edgekit.core.flash_method import FlashMethod
from edgekit.core.names import FlashMethodName, is_name
from edgekit.core.target import Target
from edgekit.flash.methods import load_method
from edgekit.flash.source import checked_sha256
from edgekit.flash.source_url import is_url

_PLACEHOLDERS: Final = frozenset({"n", "port"})
_SAMPLE_PORT: Final = "usb 1-1.2"
_USB: Final = "usb "


@dataclass(frozen=True)
class StationSetup:
    """What every unit is to be at its first boot.

    Attributes:
        ssh_keys: public keys as lines, or files that hold them.
        hostname: a pattern as ``name`` of the station; empty: the unit's name.
        wifi_password_file: its first line is the password; without it the network is open.
        bundle: recipe or ONNX file that is active at once.
        inventory: write each unit into ``devices.toml`` by its name.
    """

    ssh_keys: tuple[str, ...]
    user: str = DEFAULT_USER
    hostname: str = ""
    wifi: str | None = None
    wifi_password_file: Path | None = None
    wifi_country: str | None = None
    bundle: str | None = None
    inventory: bool = True


@dataclass(frozen=True)
class StationRecipe:
    """What a station does with each unit.

    Attributes:
        image: file or address; empty where the method brings its own system.
        method: ``None``: the target's usual one.
        name: what a unit is called, with ``{n}`` (its number, such as ``{n:02}``) or ``{port}``.
        first: the first unit's number.
        count: how many units are to be made; 0: until somebody ends it.
        ports: the sockets that are served; empty: all.
        names: a unit's name by its socket, before the pattern.
        largest_gb: a disk that holds more is no card, and is left alone.
        options: of the method.
        setup: what a unit is to be; ``None`` leaves the image as it is.
    """

    target: str
    image: str = ""
    sha256: str | None = None
    block_map: str | None = None
    method: FlashMethodName | None = None
    name: str = "unit-{n:02}"
    first: int = 1
    count: int = 0
    ports: tuple[str, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    largest_gb: float = 256.0
    inspect: bool = True
    verify: bool = True
    options: Mapping[str, str] = field(default_factory=dict)
    setup: StationSetup | None = None

    def serves(self, port: str) -> bool:
        """Tell whether a socket is one of the station's."""
        return not self.ports or port in self.ports

    def name_of(self, number: int, port: str) -> str:
        """Return what the unit with this number in this socket is called."""
        return self.names.get(port) or _filled(self.name, number, port)

    def hostname_of(self, number: int, port: str) -> str:
        """Return the unit's host name."""
        pattern = self.setup.hostname if self.setup is not None else ""
        return _filled(pattern, number, port) if pattern else self.name_of(number, port)


def read_station(file: Path) -> StationRecipe:
    """Read a station's recipe; paths in it count from its own folder.

    Raises:
        CatalogError: it is wrong; the message holds every fault with its line.
    """
    recipe = read_toml(file, StationRecipe, check=_check)
    folder = file.resolve().parent
    setup = recipe.setup
    if setup is not None:
        password = setup.wifi_password_file
        setup = replace(
            setup,
            ssh_keys=tuple(_key(folder, given) for given in setup.ssh_keys),
            wifi_password_file=None if password is None else folder / password.expanduser(),
        )
    kinds = {option.key: option.kind for option in method_of(recipe).options}
    return replace(
        recipe,
        image=_placed(folder, recipe.image),
        block_map=None if recipe.block_map is None else _placed(folder, recipe.block_map),
        ports=tuple(_port(port) for port in recipe.ports),
        names={_port(port): name for port, name in recipe.names.items()},
        options={
            key: value if kinds[key] == "text" else _placed(folder, value)
            for key, value in recipe.options.items()
        },
        setup=setup,
    )


def method_of(recipe: StationRecipe) -> FlashMethod:
    """Return the method that the recipe names, or the target's usual one.

    Raises:
        UsageError: target or method is unknown, or the target has none.
    """
    target = load_target(recipe.target)
    name = recipe.method or next(iter(target.flash_methods), None)
    if name is None:
        raise UsageError(f"target {target.name} names no way of flashing", hint="name a method")
    return load_method(name)


def _check(recipe: StationRecipe) -> Iterator[tuple[KeyPath, str]]:
    try:
        target = load_target(recipe.target)
        method = method_of(recipe)
    except UsageError as error:
        key = "method" if recipe.method else "target"
        yield (key,), f"{error.message}; {error.hint}"
        return
    yield from _check_method(recipe, target, method)
    yield from _check_names(recipe)
    for key, least in (("first", 0), ("count", 0)):
        if getattr(recipe, key) < least:
            yield (key,), f"{key} must not be negative"
    if recipe.sha256 is not None:
        try:
            checked_sha256(recipe.sha256)
        except UsageError as error:
            yield ("sha256",), error.message
    if recipe.largest_gb <= 0:
        yield ("largest_gb",), "largest_gb must be positive"
    if recipe.setup is not None:
        yield from _check_setup(recipe.setup)


def _check_setup(setup: StationSetup) -> Iterator[tuple[KeyPath, str]]:
    if not setup.ssh_keys:
        yield ("setup", "ssh_keys"), "setup.ssh_keys is empty: nobody could log in"
    for key in ("wifi_password_file", "wifi_country"):
        if setup.wifi is None and getattr(setup, key) is not None:
            yield ("setup", key), f"setup.{key} is for a network: setup.wifi names none"


def _check_method(
    recipe: StationRecipe, target: Target, method: FlashMethod
) -> Iterator[tuple[KeyPath, str]]:
    if method.name not in target.flash_methods and method.name != "sdcard":
        known = ", ".join(target.flash_methods) or "none"
        yield ("method",), f"target {target.name} is not flashed by {method.name}; it has {known}"
    if method.takes_image != bool(recipe.image):
        verb = "needs" if method.takes_image else "brings its own system and has no"
        yield ("image",), f"the method {method.name} {verb} key 'image'"
    if recipe.setup is not None and not method.takes_image:
        yield ("setup",), f"the method {method.name} brings its own system; [setup] is for images"
    keys = [option.key for option in method.options]
    for key in recipe.options:
        if key not in keys:
            known = ", ".join(keys) or "none"
            yield (
                ("options", key),
                f"the method {method.name} has no option {key!r}; it has {known}",
            )


def _check_names(recipe: StationRecipe) -> Iterator[tuple[KeyPath, str]]:
    patterns: list[tuple[KeyPath, str]] = [(("name",), recipe.name)]
    if recipe.setup is not None and recipe.setup.hostname:
        patterns.append((("setup", "hostname"), recipe.setup.hostname))
    for path, pattern in patterns:
        fault = _fault_of(pattern)
        if fault is not None:
            yield path, f"{path[-1]} {pattern!r} {fault}"
        elif recipe.count != 1 and _filled(pattern, 1, "1") == _filled(pattern, 2, "2"):
            yield path, f"{path[-1]} {pattern!r} is the same for every unit: put in {{n:02}}"
    for port, name in recipe.names.items():
        if not is_name(name):
            yield ("names", port), f"{name!r} cannot name a device"


def _fault_of(pattern: str) -> str | None:
    try:
        used = {name for _, name, _, _ in string.Formatter().parse(pattern) if name is not None}
        if unknown := sorted(used - _PLACEHOLDERS):
            return f"has the placeholder {{{unknown[0]}}}; known: {{n}}, {{port}}"
        filled = _filled(pattern, 1, _SAMPLE_PORT)
    except (ValueError, IndexError, KeyError) as error:
        return f"is no pattern: {error}"
    return None if is_name(filled) else f"makes {filled!r}, which cannot name a device"


def _filled(pattern: str, number: int, port: str) -> str:
    place = port.removeprefix(_USB).strip("/").lower()
    plain = "".join(letter if letter.isalnum() else "-" for letter in place)
    return pattern.format(n=number, port=plain)


def _port(text: str) -> str:
    """Return a socket's name as edgekit has it: ``1-1.2`` is one of USB."""
    return f"{_USB}{text}" if text[:1].isdigit() else text


def _key(folder: Path, given: str) -> str:
    return given if given.startswith(("ssh-", "ecdsa-", "sk-")) else _placed(folder, given)


def _placed(folder: Path, text: str) -> str:
    return text if not text or is_url(text) else str(folder / Path(text).expanduser())
