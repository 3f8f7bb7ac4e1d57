"""Programs that run an engine's files on a board without Python, from ``cross/runners``.

TVM's is made by TVM's own build, which has the headers; the others are made here, by Zig's C
compiler, and only where somebody wants them: a board with Python has no use for them.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from edgekit.catalog.cache import KeyedCache, cache_root, sha256_of
from edgekit.catalog.folders import builtin_folder
from edgekit.core.bundle import BundleFile
from edgekit.core.contracts import ToolboxSpec
from edgekit.core.errors import ToolboxError
from edgekit.core.events import EventSink, Note
from edgekit.core.names import Architecture, EngineName
from edgekit.toolbox.environments import environment, lock_sha256
from edgekit.toolbox.native import COMPILER, compile_c
from edgekit.toolbox.toolchains import zig_target

_NAMES: Final[Mapping[EngineName, str]] = MappingProxyType({"ncnn": "ncnn-run"})
# Any board's: aarch64 begins with it.
_GLIBC: Final = "2.17"
_FLAGS: Final = ("-std=c11", "-O2", "-s", "-fvisibility=hidden", "-Wall", "-Wextra", "-Werror")


def program(
    engine: EngineName,
    architecture: Architecture,
    *,
    emit: EventSink,
    compiler: ToolboxSpec = COMPILER,
) -> BundleFile | None:
    """Return the program that runs the engine's files without Python.

    Args:
        engine: whose files.
        architecture: of the board's userland.
        emit: told of the toolbox if it is to be made, and of a program that cannot be.
        compiler: the toolbox with ``ziglang``.

    Returns:
        The file; ``None`` for an engine that has none beside what its build makes, and where it
        cannot be compiled.

    Raises:
        OSError: the sources cannot be read or the cache not written.
    """
    name = _NAMES.get(engine)
    if name is None:
        return None
    runners = builtin_folder("cross") / "runners"
    sources = [*sorted((runners / "frame").iterdir()), *sorted((runners / engine).iterdir())]
    flags = (*_FLAGS, *zig_target(architecture, _GLIBC))
    contents = [[path.name, hashlib.sha256(path.read_bytes()).hexdigest()] for path in sources]
    key = json.dumps([name, flags, contents, lock_sha256(compiler)])
    cache = KeyedCache(cache_root() / "native")
    folder = cache.get(key)
    if folder is None:
        try:
            python = environment(compiler, emit=emit).python

            def fill(empty: Path) -> None:
                include = f"-I{runners / 'frame'}"
                compile_c(python, (*flags, include, "-ldl"), sources, empty / name)

            folder = cache.build(key, fill, emit=emit, subject=f"{name} for {architecture}")
        except ToolboxError as error:
            emit(Note(f"{name}, which a board without Python needs, is left out: {error}"))
            return None
    path = folder / name
    return BundleFile(name, sha256_of(path), path.stat().st_size, path)
