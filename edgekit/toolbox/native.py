"""The steps in C, compiled for a board: ``edgekit/onboard/native/*.c`` by Zig's C compiler.

Zig comes as a wheel and cross-compiles for every board without a sysroot. The library needs
nothing but ``memcpy`` and ``memset`` of the process that loads it, so any libc will do.
"""

import hashlib
import json
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import edgekit
from edgekit.catalog.cache import KeyedCache, cache_root, sha256_of
from edgekit.core.bundle import STEPS_FILE, BundleFile
from edgekit.core.contracts import ToolboxSpec
from edgekit.core.errors import ToolboxError
from edgekit.core.events import EventSink, Note
from edgekit.toolbox.environments import environment, lock_sha256
from edgekit.toolbox.process import last_lines, new_log, run_logged
from edgekit.toolbox.toolchains import TRIPLES, zig_target

COMPILER: Final = ToolboxSpec("zig", ">=3.11,<3.15", Path(__file__).with_name("zig.txt"))

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


def native_steps(
    machine: str, *, emit: EventSink, compiler: ToolboxSpec = COMPILER
) -> BundleFile | None:
    """Return the library of steps for a board, ``libsteps.so`` in its bundle.

    Args:
        machine: of the device's userland, as its facts have it; there is nothing for machines
            that no target is.
        emit: told of the toolbox if it is to be made; and once of a compiler that is not to be
            had, which only costs speed: the board's NumPy does the same.
        compiler: the toolbox with ``ziglang``.

    Returns:
        The file, ``None`` where it cannot be compiled.

    Raises:
        OSError: the sources cannot be read or the cache not written.
    """
    if machine not in TRIPLES:
        return None
    sources = _sources()
    flags = (*_FLAGS, *zig_target(machine), *_MORE_FLAGS.get(machine, ()))
    contents = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sources}
    key = json.dumps([flags, contents, lock_sha256(compiler)], sort_keys=True)
    root = cache_root() / "native"
    cache = KeyedCache(root)
    folder = cache.get(key)
    if folder is None:
        with _attempt:
            if (root, key) in _failed:
                return None
            try:
                python = environment(compiler, emit=emit).python
                folder = cache.build(
                    key,
                    lambda empty: compile_c(python, flags, sources, empty / STEPS_FILE),
                    emit=emit,
                    subject=f"the {machine} steps",
                )
            except ToolboxError as error:
                _failed.add((root, key))
                emit(Note(f"the steps around the model stay in NumPy, which is slower: {error}"))
                return None
    path = folder / STEPS_FILE
    return BundleFile(STEPS_FILE, sha256_of(path), path.stat().st_size, path)


def _sources() -> tuple[Path, ...]:
    folder = Path(edgekit.__file__).resolve().parent / "onboard" / "native"
    return tuple(sorted(folder.glob("*.[ch]")))


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
