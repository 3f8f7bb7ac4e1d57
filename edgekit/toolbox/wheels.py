"""Wheels for the board, found and fetched on the host: the board needs no internet."""

import hashlib
import json
import re
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from edgekit.catalog.cache import ContentStore, KeyedCache, cache_root, write_atomically
from edgekit.core.bundle import BundleFile, RuntimePack
from edgekit.core.contracts import Excerpt, RuntimeSpec
from edgekit.core.errors import ToolboxError
from edgekit.core.events import EventSink, StepFinished, StepProgress, StepStarted
from edgekit.core.target import DeviceFacts
from edgekit.toolbox.process import last_lines, new_log, run_logged
from edgekit.toolbox.requirements import Pin, python_tuple, select

# Counts up when wheels are unpacked on the board in another way: another way, another folder.
_LAYOUT: Final = 1
_TIMEOUT_S: Final = 1800.0
_LIST: Final = "wheels.json"
_OLDEST_MOMENT: Final = (1980, 1, 1, 0, 0, 0)  # that a zip can hold
# Legacy names of manylinux policies, by the glibc they ask for. Source: PEP 600.
_LEGACY: Final = {(2, 17): "manylinux2014", (2, 12): "manylinux2010", (2, 5): "manylinux1"}
# Oldest glibc that a policy for the machine may name. Source: PEP 599 and PEP 571.
_OLDEST: Final = {"x86_64": (2, 5), "aarch64": (2, 17), "armv7l": (2, 17)}
_NO_WHEEL: Final = re.compile(r"no matching distribution|could not find a version", re.IGNORECASE)

_NO_NETWORK: Final = re.compile(r"Retrying|connection broken|name resolution", re.IGNORECASE)


def platform_tags(machine: str, glibc: tuple[int, int]) -> tuple[str, ...]:
    """Return every wheel platform that a board takes, newest first.

    Args:
        machine: as ``uname -m`` prints it.
        glibc: version of the board's libc.
    """
    oldest = _OLDEST.get(machine, (2, 17))
    tags = []
    for minor in range(glibc[1], oldest[1] - 1, -1):
        tags.append(f"manylinux_2_{minor}_{machine}")
        legacy = _LEGACY.get((2, minor))
        if legacy is not None and (machine == "x86_64" or legacy == "manylinux2014"):
            tags.append(f"{legacy}_{machine}")
    return (*tags, f"linux_{machine}")


def resolve(
    spec: RuntimeSpec,
    facts: DeviceFacts,
    *,
    compiled: tuple[BundleFile, ...] = (),
    emit: EventSink,
) -> RuntimePack:
    """Return the wheels that the engine's runner needs on this device.

    A second call for an equal device starts no process.

    Args:
        spec: the engine's choice of Python and packages.
        facts: machine and libc of the device.
        compiled: archives of what was compiled for it, unpacked like wheels.
        emit: told of the step.

    Raises:
        ToolboxError: no wheel exists for the device's Python, libc and machine, or none can
            be fetched.
    """
    step = f"wheels:{spec.requirements.parent.name}"
    emit(StepStarted(step, f"Runtime for Python {spec.python.version} on {facts.machine}"))
    try:
        wheels, cached = _wheels(spec, facts, step, emit)
    except BaseException:
        emit(StepFinished(step, "failed", ok=False))
        raise
    wheels += compiled
    size = sum(wheel.size_bytes for wheel in wheels) / 1e6
    emit(StepFinished(step, "cached" if cached else f"{len(wheels)} wheels, {size:.1f} MB"))
    hashes = sorted(wheel.sha256 for wheel in wheels)
    identity = hashlib.sha256(json.dumps([_LAYOUT, hashes]).encode()).hexdigest()
    return RuntimePack(identity, spec.python.executable, wheels)


def _wheels(
    spec: RuntimeSpec, facts: DeviceFacts, step: str, emit: EventSink
) -> tuple[tuple[BundleFile, ...], bool]:
    if not spec.packages and not spec.excerpts:
        return (), True
    board = _Board(spec, facts)
    cache = KeyedCache(cache_root() / "wheels")
    facts_of_key: list[object] = [*(pin.line for pin in board.pins), board.python, *board.platforms]
    for excerpt in spec.excerpts:
        facts_of_key += [board.pin_of(excerpt).line, excerpt.python, excerpt.files]
    key = json.dumps(facts_of_key)
    held = cache.get(key)
    if held is not None:
        wheels = _read(held)
        if wheels is not None:
            return wheels, True
        cache.discard(key)  # its content has left the store

    def fill(folder: Path) -> None:
        log = new_log(cache_root() / "logs", f"wheels-{spec.requirements.parent.name}")
        entries = []
        whole = [(pin, board.python, None) for pin in board.pins]
        parts = [(board.pin_of(item), python_tuple(item.python), item) for item in spec.excerpts]
        for done, (pin, python, excerpt) in enumerate([*whole, *parts]):
            emit(StepProgress(step, done, len(whole) + len(parts), "wheels"))
            entries.append(board.fetched(pin, python, excerpt, log))
        write_atomically(folder / _LIST, json.dumps(entries).encode())

    folder = cache.build(key, fill, emit=emit, subject="the board's wheels")
    wheels = _read(folder)
    if wheels is None:
        raise ToolboxError(f"the wheels that were just fetched to {folder} cannot be read back")
    return wheels, False


def excerpt_of(wheel: Path, files: Sequence[str]) -> Path:
    """Write some of a wheel's files into a zip beside it, equal files to equal bytes.

    Raises:
        ToolboxError: the wheel does not hold one of them.
    """
    excerpt = wheel.with_name(f"{'-'.join(wheel.stem.split('-')[:2])}-excerpt.zip")
    with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(excerpt, "w") as made:
        for name in sorted(files):
            try:
                data, mode = source.read(name), source.getinfo(name).external_attr
            except KeyError as error:
                raise ToolboxError(f"{wheel.name} holds no {name}") from error
            # Stored, not deflated: zlib's output differs among its builds.
            info = zipfile.ZipInfo(name, _OLDEST_MOMENT)
            info.create_system, info.external_attr = 3, mode  # 3: Unix, whatever the host is
            made.writestr(info, data)
    return excerpt


class _Board:
    """What pip must be told of one device."""

    def __init__(self, spec: RuntimeSpec, facts: DeviceFacts) -> None:
        if facts.libc != "glibc":
            raise ToolboxError(
                f"the device runs {facts.libc or 'an unknown libc'}; wheels exist for glibc",
                hint="use an image with glibc, such as Debian, Ubuntu or Armbian",
            )
        self._facts = facts
        self._requirements = spec.requirements
        self.python = python_tuple(spec.python.version)
        self.platforms = platform_tags(facts.machine, python_tuple(facts.libc_version))
        self.pins = select(spec.requirements, spec.packages, spec.python.version)

    def pin_of(self, excerpt: Excerpt) -> Pin:
        """Return what is locked of a package that is fetched in part."""
        (pin,) = select(self._requirements, (excerpt.package,), excerpt.python)
        return pin

    def fetched(
        self, pin: Pin, python: tuple[int, int], excerpt: Excerpt | None, log: Path
    ) -> tuple[str, str, int]:
        """Return name, hash and size of a wheel, or of its excerpt, that is in the store.

        What engines share, NumPy above all, is fetched for the first of them.
        """
        files = None if excerpt is None else excerpt.files
        key = json.dumps(["one", pin.line, python, *self.platforms, files])
        cache = KeyedCache(cache_root() / "wheels")
        held = cache.get(key)
        if held is not None and _read(held) is None:
            cache.discard(key)

        def fill(folder: Path) -> None:
            with tempfile.TemporaryDirectory(prefix="edgekit-wheels-") as scratch:
                wheel = self.download(pin, python, Path(scratch), log)
                if files is not None:
                    wheel = excerpt_of(wheel, files)
                content = ContentStore().add_file(wheel)
                entry = [wheel.name, content.sha256, content.size_bytes]
            write_atomically(folder / _LIST, json.dumps([entry]).encode())

        [[name, sha256, size_bytes]] = json.loads((cache.build(key, fill) / _LIST).read_bytes())
        return name, sha256, size_bytes

    def download(self, pin: Pin, python: tuple[int, int], folder: Path, log: Path) -> Path:
        """Fetch the one wheel of ``pin`` that fits the device and a Python."""
        requirement = folder / "wanted.txt"
        requirement.write_text(pin.line + "\n", encoding="utf-8")
        start = _size(log)
        try:
            command = self._command(requirement, python, folder)
            status = run_logged(command, log, timeout_s=_TIMEOUT_S)
        except (TimeoutError, OSError) as error:
            raise ToolboxError(
                f"{pin} could not be fetched: {error}", hint=f"log: {log}"
            ) from error
        if status != 0:
            raise self._failure(pin, python, log, start)
        found = list(folder.glob("*.whl"))
        if len(found) != 1:
            raise ToolboxError(f"pip fetched {len(found)} wheels for {pin}", hint=f"log: {log}")
        return found[0]

    def _command(self, requirement: Path, python: tuple[int, int], folder: Path) -> Sequence[str]:
        major, minor = python
        # Python 3.7 and older mark their ABI with an m.
        abi = f"cp{major}{minor}m" if python < (3, 8) else f"cp{major}{minor}"
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--no-deps"]
        command += ["--disable-pip-version-check", "--require-hashes", "--only-binary=:all:"]
        # Without a retry pip does not say that it could not connect, only that nothing matched.
        command += ["--retries=2"]
        command += ["--implementation=cp", f"--python-version={major}.{minor}"]
        command += [f"--abi={name}" for name in (abi, "abi3", "none")]
        command += [f"--platform={tag}" for tag in self.platforms]
        return [*command, f"--dest={folder}", f"--requirement={requirement}"]

    def _failure(self, pin: Pin, python: tuple[int, int], log: Path, start: int) -> ToolboxError:
        with log.open("rb") as stream:
            stream.seek(start)
            said = stream.read().decode(errors="replace")
        device = (
            f"Python {python[0]}.{python[1]}, glibc {self._facts.libc_version} "
            f"and {self._facts.machine}"
        )
        if _NO_WHEEL.search(said) and not _NO_NETWORK.search(said):
            return ToolboxError(
                f"no wheel of {pin} exists for {device}",
                hint="a newer board image (Python and glibc decide), or another --engine",
            )
        return ToolboxError(
            f"{pin} could not be fetched for {device}:\n{last_lines(log)}\n  log: {log}",
            hint="a package index must be reachable, once; after that the wheels are kept",
        )


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _read(folder: Path) -> tuple[BundleFile, ...] | None:
    """Return the wheels of a list, ``None`` if one of them is gone or damaged."""
    store = ContentStore()
    wheels = []
    try:
        entries = json.loads((folder / _LIST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    for name, sha256, size_bytes in entries:
        path = store.verified(sha256)
        if path is None:
            return None
        wheels.append(BundleFile(name, sha256, size_bytes, path))
    return tuple(wheels)
