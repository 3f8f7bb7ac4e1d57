"""The emulator that counts: Debian's dynamic ``qemu-user`` with the libraries and plugin it needs.

The static emulator that runs the boards takes no plugins. The dynamic one and its libraries are
copied together into a folder of the cache, which a board sees while something is counted there.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from edgekit.board.privilege import SYSTEM_PATH
from edgekit.board.requirements import counting_requirement
from edgekit.catalog.cache import KeyedCache, cache_root
from edgekit.core.errors import DeviceError
from edgekit.core.events import EventSink
from edgekit.core.names import Architecture

Compiler = Callable[[], Sequence[str]]
"""Answers with the command that compiles C for this host; asked only if there is need."""

SOURCE: Final = Path(__file__).parent / "plugin" / "instructions.c"
_FLAGS: Final = ("-std=c11", "-O2", "-Wall", "-Wextra", "-shared", "-fPIC", "-fvisibility=hidden")
_LIBRARY: Final = re.compile(r"=> (/\S+) \(")
_LOADER: Final = re.compile(r"^\s+(/\S+) \(", re.MULTILINE)


def counting_kit(architecture: Architecture, compiler: Compiler, *, emit: EventSink) -> Path:
    """Return the folder with ``emulator``, ``loader``, ``lib/`` and ``plugin.so``.

    Args:
        architecture: of the board's programs.
        compiler: for the plugin, the first time.
        emit: told when another process makes the same kit.

    Raises:
        DeviceError: the emulator is missing or takes no plugins, or the plugin cannot be compiled.
    """
    emulator = _emulator(architecture)
    seen = emulator.stat()
    source = hashlib.sha256(SOURCE.read_bytes()).hexdigest()
    key = json.dumps([source, _FLAGS, str(emulator), seen.st_size, seen.st_mtime_ns])
    cache = KeyedCache(cache_root() / "counting")
    return cache.get(key) or cache.build(
        key,
        lambda folder: _fill(folder, emulator, compiler),
        emit=emit,
        subject="the emulator that counts",
    )


def _emulator(architecture: Architecture) -> Path:
    name = "qemu-arm" if architecture == "armv7l" else "qemu-aarch64"
    found = shutil.which(name, path=SYSTEM_PATH)
    if found is None:
        wanted = counting_requirement()
        raise DeviceError(
            f"{name} is not installed: the emulator of virtual boards takes no plugins, "
            "and counting needs one that does",
            hint=f"run `{wanted.install_command}` as root",
        )
    return Path(found).resolve()


def _fill(folder: Path, emulator: Path, compiler: Compiler) -> None:
    if "-plugin" not in _said([emulator, "-h"]):
        raise DeviceError(
            f"{emulator} takes no plugins",
            hint="counting was made for Debian 12's qemu-user 7.2",
        )
    parts = _said(["ldd", emulator])
    loader = _LOADER.search(parts)
    if loader is None:
        raise DeviceError(f"ldd cannot tell what {emulator} needs: {parts.strip()}")
    (folder / "lib").mkdir()
    shutil.copyfile(emulator, folder / "emulator")
    shutil.copyfile(loader[1], folder / "loader")
    for library in _LIBRARY.findall(parts):
        shutil.copyfile(library, folder / "lib" / Path(library).name)
    _compile(compiler(), folder / "plugin.so")
    # The board's user runs all of it, whatever this process's umask is.
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755)


def _compile(compiler: Sequence[str], plugin: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="edgekit-plugin-") as scratch:
        # Zig keeps things for a next time that does not come.
        caches = {"ZIG_GLOBAL_CACHE_DIR": scratch, "ZIG_LOCAL_CACHE_DIR": scratch}
        try:
            done = subprocess.run(
                [*compiler, *_FLAGS, "-o", plugin, SOURCE],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                env={**os.environ, **caches},
                check=False,
            )
        except OSError as error:
            raise DeviceError(f"the counting plugin could not be compiled: {error}") from error
    if done.returncode != 0:
        raise DeviceError(
            f"the counting plugin could not be compiled by {' '.join(compiler)}:\n"
            + done.stderr.strip()[-800:]
        )


def _said(command: Sequence[str | Path]) -> str:
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**os.environ, "LC_ALL": "C"},
        check=False,
    )
    return done.stdout
