"""What is written in C, compiled for a board by Zig's C compiler.

That is the steps (``edgekit/onboard/native/*.c``) and the power sampler's loop
(``device_agent/power/sampler.c``). Zig comes as a wheel and cross-compiles for every board without
a sysroot. The libraries need a few functions of the process that loads them, such as ``memcpy``,
which are the same in any libc.
"""

import hashlib
import json
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import device_agent
import edgekit
from edgekit.catalog.cache import KeyedCache, cache_root, sha256_of
from edgekit.core.bundle import SAMPLER_FILE, STEPS_FILE, BundleFile
from edgekit.core.contracts import ToolboxSpec
from edgekit.core.errors import ToolboxError
from edgekit.core.events import EventSink, Note
from edgekit.toolbox.environments import environment, lock_sha256
from edgekit.toolbox.process import last_lines, new_log, run_logged
from edgekit.toolbox.toolchains import TRIPLES, zig_target

COMPILER: Final = ToolboxSpec("zig", ">=3.11,<3.15", Path(__file__).with_name("zig.txt"))

_WITHOUT: Final = "the steps around the model stay in NumPy and the power sampler in Python"
_TIMEOUT_S: Final = 600.0
# 32-bit ARM divides integers in a function of the compiler's own library, which -nostdlib
# leaves out unless it is named after it.
_MORE_FLAGS: Final[Mapping[str, tuple[str, ...]]] = {"armv7l": ("-rtlib=compiler-rt",)}
_FLAGS: Final = (
    *("-std=c99", "-O3", "-shared", "-fPIC", "-s", "-ffreestanding", "-nostdlib"),
    # A multiplication and an addition in one step would round once less than NumPy.
    "-ffp-contract=off",
    *("-fno-exceptions", "-fno-unwind-tables", "-fno-asynchronous-unwind-tables"),
    *("-Wall", "-Wextra", "-Werror"),
)
# Caches and keys of libraries that could not be had; whoever asks again within this process is
# not told again.
_failed: Final[set[tuple[Path, str]]] = set()
_attempt: Final = threading.Lock()  # bundles are assembled in several threads


def native_libraries(
    machine: str, *, emit: EventSink, compiler: ToolboxSpec = COMPILER
) -> tuple[BundleFile, ...]:
    """Return a board's libraries: the steps' and the power sampler's loop, as its bundle has them.

    Args:
        machine: of the device's userland, as its facts have it; there is nothing for machines
            that no target is.
        emit: told of the toolbox if it is to be made; and once of a compiler that is not to be
            had, which only costs speed: Python on the board does the same.
        compiler: the toolbox with ``ziglang``.

    Returns:
        The files, none where they cannot be compiled.

    Raises:
        OSError: the sources cannot be read or the cache not written.
    """
    if machine not in TRIPLES:
        return ()
    sources = _sources()
    flags = (*_FLAGS, *zig_target(machine), *_MORE_FLAGS.get(machine, ()))
    contents = {
        name: {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
        for name, paths in sources.items()
    }
    key = json.dumps([flags, contents, lock_sha256(compiler)], sort_keys=True)
    root = cache_root() / "native"
    cache = KeyedCache(root)
    folder = cache.get(key)
    if folder is None:
        with _attempt:
            if (root, key) in _failed:
                return ()
            try:
                python = environment(compiler, emit=emit).python

                def fill(empty: Path) -> None:
                    for name, paths in sources.items():
                        compile_c(python, flags, paths, empty / name)

                folder = cache.build(key, fill, emit=emit, subject=f"the {machine} libraries")
            except ToolboxError as error:
                _failed.add((root, key))
                emit(Note(f"{_WITHOUT}, which costs more: {error}"))
                return ()
    return tuple(_file(folder / name) for name in sources)


def _sources() -> Mapping[str, tuple[Path, ...]]:
    """Return what each library is made of."""
    steps = Path(edgekit.__file__).resolve().parent / "onboard" / "native"
    sampler = Path(device_agent.__file__).resolve().parent / "power" / "sampler.c"
    return {STEPS_FILE: tuple(sorted(steps.glob("*.[ch]"))), SAMPLER_FILE: (sampler,)}


def _file(path: Path) -> BundleFile:
    return BundleFile(path.name, sha256_of(path), path.stat().st_size, path)


def compile_c(python: Path, flags: Sequence[str], sources: Sequence[Path], output: Path) -> None:
    """Compile and link C for a board.

    Args:
        python: of the toolbox with ``ziglang``.
        flags: what for, and how.
        sources: those that end in ``.c`` are compiled.
        output: file to make.

    Raises:
        ToolboxError: it cannot be compiled.
    """
    log = new_log(cache_root() / "logs", f"native-{output.name}")
    command = [str(python), "-m", "ziglang", "cc", *flags, "-o", str(output)]
    command += [str(path) for path in sources if path.suffix == ".c"]
    what = f"{output.name} could not be compiled"
    with tempfile.TemporaryDirectory(prefix="edgekit-zig-") as scratch:
        # What Zig keeps for the next time is large; there is none until a source changes.
        caches = {"ZIG_GLOBAL_CACHE_DIR": scratch, "ZIG_LOCAL_CACHE_DIR": scratch}
        try:
            status = run_logged(command, log, timeout_s=_TIMEOUT_S, environment=caches)
        except (TimeoutError, OSError) as error:
            raise ToolboxError(f"{what}: {error}", hint=f"log: {log}") from error
    if status != 0:
        raise ToolboxError(f"{what}:\n{last_lines(log)}", hint=f"log: {log}")
