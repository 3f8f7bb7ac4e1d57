"""Libraries compiled for a board of C++ sources, once per sources, compiler and flags.

All files of a library are compiled as one, in their order: they may not give two things of their
own the same name.

Debian's cross compiler comes first, then Zig's from a toolbox, as for C (``toolchains``). Neither
leaves its C++ library to the board: it is linked into what they make.
"""

import hashlib
import json
import os
import shutil
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from edgekit.catalog.cache import KeyedCache, cache_root, sha256_of
from edgekit.core.bundle import BundleFile
from edgekit.core.contracts import LibrarySources
from edgekit.core.errors import ToolboxError
from edgekit.core.events import EventSink, StepFinished, StepProgress, StepStarted
from edgekit.toolbox.process import last_lines, new_log, run_logged
from edgekit.toolbox.toolchains import (
    TRIPLES,
    Toolchain,
    glibc_needed,
    version_of,
    zig_target,
)

ARCHIVE: Final = "compiled.zip"

_TIMEOUT_S: Final = 900.0
_MOMENT: Final = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can hold
_FLAGS: Final = (
    "-O2",
    "-g0",  # Zig's default is -g: a third of its time, for what is stripped afterwards
    "-fPIC",
    "-DNDEBUG",
    "-fvisibility=hidden",
    "-ffunction-sections",
    "-fdata-sections",
)
_LANGUAGE: Final[Mapping[str, tuple[str, ...]]] = {
    ".c": ("-x", "c", "-std=c11"),
    ".cc": ("-std=c++17", "-fvisibility-inlines-hidden"),
}
# Zig takes a link without -O for one to debug: it would first compile what checks for that.
_STRIP: Final = ("-O2", "-s", "-Wl,--gc-sections")
_LINK: Final = ("-shared", *_STRIP, "-Wl,--no-undefined", "-ldl", "-lpthread")
# What a library of C++ asks of the C library, to tell the glibc it needs before hours are spent.
_PROBE: Final = """
#include <fstream>
#include <string>
#include <thread>
extern "C" int probe(const char *name) {
  std::thread([] {}).join();
  return std::ifstream(name).good();
}
"""


@dataclass(frozen=True)
class Board:
    """For what is compiled.

    Attributes:
        architecture: of its userland.
        glibc: the oldest that it may have; empty for programs that hold a C library themselves.
    """

    architecture: str
    glibc: str = ""


def cxx_compilers(board: Board, python: Path) -> tuple[Toolchain, ...]:
    """Return the C++ compilers that are here, in the order in which they are to be tried.

    Args:
        board: for what they compile.
        python: of a toolbox; Zig's compiler counts if it has that.
    """
    found = []
    triple = TRIPLES[board.architecture]
    compiler = shutil.which(f"{triple.debian}-g++")
    # Debian's C library is not made to be part of programs that start threads.
    if compiler is not None and board.glibc:
        # Its name tells its version, which its work depends on.
        name = Path(compiler).resolve().name
        found.append(Toolchain(name, (compiler, "-static-libstdc++", "-static-libgcc")))
    root = python.parent.parent
    # Its folder tells its version.
    for zig in root.glob("lib/python*/site-packages/ziglang-*.dist-info"):
        kept = str(root / "var" / "zig")
        target = zig_target(board.architecture, board.glibc)
        if not board.glibc:
            target = (target[0], target[1].replace("gnu", "musl"), "-static")
        found.append(
            Toolchain(
                zig.stem,
                (str(python), "-m", "ziglang", "c++", *target),
                {"ZIG_GLOBAL_CACHE_DIR": kept, "ZIG_LOCAL_CACHE_DIR": kept},
            )
        )
    return tuple(found)


def compiled_archive(
    libraries: Sequence[LibrarySources],
    board: Board,
    compilers: Sequence[Toolchain],
    *,
    what: str,
    emit: EventSink,
) -> BundleFile:
    """Return an archive of libraries for a board, compiled once.

    Args:
        libraries: in the order in which they need each other.
        board: for what.
        compilers: to be tried in order: the first whose work runs on the board is taken.
        what: the libraries in words, such as ``TVM's runtime``.
        emit: told of the step, and of each file.

    Raises:
        ToolboxError: no compiler, none whose work runs on the board, or an error in a source.
        OSError: a source cannot be read or the cache not written.
    """
    work = _Work(libraries, board, what, emit)
    path = work.done(compilers, work.fill) / ARCHIVE
    name = f"{Path(libraries[-1].path).stem}.zip"
    return BundleFile(name, sha256_of(path), path.stat().st_size, path)


def compiled_objects(
    libraries: Sequence[LibrarySources],
    board: Board,
    compilers: Sequence[Toolchain],
    *,
    what: str,
    emit: EventSink,
) -> tuple[Path, ...]:
    """Return object files of what would be libraries, compiled once: for one program.

    Arguments and errors are those of :func:`compiled_archive`.
    """
    work = _Work(libraries, board, what, emit)
    return tuple(sorted(work.done(compilers, work.keep_objects).glob("*.o")))


def linked_program(
    program: LibrarySources,
    objects: Sequence[Path],
    compiler: Toolchain,
    output: Path,
) -> None:
    """Compile a program and link it with objects; nothing is left for the board to load.

    Raises:
        ToolboxError: it cannot be compiled or linked.
    """
    log = new_log(cache_root() / "logs", f"link-{program.path}")
    with tempfile.TemporaryDirectory(prefix="edgekit-link-") as scratch:
        run = _Run(Path(scratch), log, program.path)
        own = []
        for number, file in enumerate(program.files):
            made = run.path(f"{number}.o")
            run(compiler, [*_arguments(program, file), "-o", str(made)], file.name)
            own.append(made)
        inputs = map(str, (*own, *objects))
        run(compiler, [*inputs, *_STRIP, "-o", str(output)], program.path)


def _arguments(library: LibrarySources, file: Path) -> list[str]:
    folders = [f"-I{folder}" for folder in library.includes]
    flags = (*_FLAGS, *_LANGUAGE[file.suffix], *library.flags)
    return [*flags, *folders, "-c", str(file)]


def identity_of(library: LibrarySources) -> list[object]:
    """Return all that decides what becomes of a library: the headers, whoever includes them."""
    headers = (
        (file.relative_to(folder), file)
        for folder in (*library.includes, *library.headers)
        for file in sorted(folder.rglob("*.h"))
    )
    content = hashlib.sha256()
    for name, file in (*headers, *((file.name, file) for file in library.files)):
        content.update(f"{name} {sha256_of(file)}\n".encode())
    return [library.path, library.flags, library.needs, content.hexdigest()]


@dataclass(frozen=True)
class _Work:
    """One compilation of all libraries."""

    libraries: Sequence[LibrarySources]
    board: Board
    what: str
    emit: EventSink

    @property
    def step(self) -> str:
        """The step's stable name."""
        return f"compile:{self.board.architecture}"

    def done(
        self,
        compilers: Sequence[Toolchain],
        fill: Callable[[Path, Sequence[Toolchain]], None],
    ) -> Path:
        """Return the folder that ``fill`` left, now or long ago."""
        architecture = self.board.architecture
        if not compilers:
            package = TRIPLES[architecture].package.replace("gcc", "g++")
            raise ToolboxError(
                f"no C++ compiler for {architecture} is here, to compile {self.what}",
                hint=f"sudo apt install {package}",
            )
        self.emit(StepStarted(self.step, f"Compile {self.what} for {architecture}"))
        key = json.dumps(
            [
                *(architecture, self.board.glibc, [each.name for each in compilers]),
                *(_FLAGS, _LANGUAGE, _LINK, [identity_of(each) for each in self.libraries]),
            ]
        )
        cache = KeyedCache(cache_root() / "compiled")
        held = cache.get(key)
        try:
            folder = held or cache.build(
                key, lambda empty: fill(empty, compilers), emit=self.emit, subject=self.what
            )
        except BaseException:
            self.emit(StepFinished(self.step, "failed", ok=False))
            raise
        size = sum(file.stat().st_size for file in folder.iterdir())
        self.emit(StepFinished(self.step, "cached" if held else f"{size / 1e6:.1f} MB"))
        return folder

    def keep_objects(self, folder: Path, compilers: Sequence[Toolchain]) -> None:
        """Leave the object files themselves in an empty folder."""
        log = new_log(cache_root() / "logs", f"compile-{self.board.architecture}")
        with tempfile.TemporaryDirectory(prefix="edgekit-compile-") as scratch:
            objects = self._compile(_Run(Path(scratch), log, self.what), compilers[0])
            for number, made in enumerate(objects.values()):
                shutil.copyfile(made, folder / f"{number:02}.o")

    def fill(self, folder: Path, compilers: Sequence[Toolchain]) -> None:
        """Leave the archive in an empty folder."""
        log = new_log(cache_root() / "logs", f"compile-{self.board.architecture}")
        with tempfile.TemporaryDirectory(prefix="edgekit-compile-") as scratch:
            run = _Run(Path(scratch), log, self.what)
            compiler = self._choose(run, compilers)
            objects = self._compile(run, compiler)
            made: dict[str, Path] = {}
            for library in self.libraries:
                made[library.path] = run.path(library.path)
                made[library.path].parent.mkdir(parents=True)
                inputs = [objects[library.path], *(made[path] for path in library.needs)]
                name = Path(library.path).name
                arguments = [f"-Wl,-soname,{name}", *map(str, inputs), *_LINK]
                run(compiler, [*arguments, "-o", str(made[library.path])], name)
            _pack(folder / ARCHIVE, made)

    def _choose(self, run: "_Run", compilers: Sequence[Toolchain]) -> Toolchain:
        """Take the first compiler whose work runs on the oldest glibc."""
        source, probe = run.path("probe.cc"), run.path("probe.so")
        source.write_text(_PROBE, encoding="utf-8")
        said = ""
        for compiler in compilers:
            try:
                run(
                    compiler,
                    [*_FLAGS, *_LANGUAGE[".cc"], str(source), *_LINK, "-o", str(probe)],
                    "a probe",
                )
            except ToolboxError as error:
                said = error.message
                continue
            needed = glibc_needed(probe.read_bytes())
            if needed <= version_of(self.board.glibc):
                return compiler
            said = f"what {compiler.name} makes needs glibc {needed[0]}.{needed[1]}"
        raise ToolboxError(
            f"{self.what} could not be compiled for glibc {self.board.glibc}: {said}",
            hint=f"log: {run.log}",
        )

    def _compile(self, run: "_Run", compiler: Toolchain) -> Mapping[str, Path]:
        """Make one object file of each library."""
        objects: dict[str, Path] = {}
        total = sum(len(library.files) for library in self.libraries)
        with _pool() as pool:
            futures = {}
            for number, library in enumerate(self.libraries):
                whole = run.path(f"{number}.cc")
                # File by file, C++ spends more than half its time on the same headers.
                whole.write_text(
                    "".join(f'#include "{file}"\n' for file in library.files), encoding="utf-8"
                )
                made = objects[library.path] = run.path(f"{number}.o")
                arguments = [*_arguments(library, whole), "-o", str(made)]
                name = Path(library.path).name
                futures[pool.submit(run, compiler, arguments, name)] = len(library.files)
            done = 0
            for future in as_completed(futures):
                future.result()
                done += futures[future]
                self.emit(StepProgress(self.step, done, total, "files"))
        return objects


@dataclass(frozen=True)
class _Run:
    """Runs compilers; all that they say goes to one log."""

    scratch: Path
    log: Path
    what: str
    turn: threading.Lock = field(default_factory=threading.Lock)

    def path(self, name: str) -> Path:
        """Return where something stands while it is made."""
        return self.scratch / name

    def __call__(self, compiler: Toolchain, arguments: Sequence[str], name: str) -> None:
        """Compile or link; ``name`` is what an error calls it.

        Raises:
            ToolboxError: it failed; its last words are in the message.
        """
        own = Path(tempfile.mkdtemp(dir=self.scratch), "log")
        failed = f"{self.what} could not be compiled: {name}"
        try:
            status = run_logged(
                [*compiler.command, *arguments],
                own,
                timeout_s=_TIMEOUT_S,
                environment=compiler.environment,
            )
        except (TimeoutError, OSError) as error:
            raise ToolboxError(f"{failed}: {error}", hint=f"log: {self.log}") from error
        with self.turn, self.log.open("ab") as stream:
            stream.write(own.read_bytes())
        if status != 0:
            raise ToolboxError(
                f"{failed}, by {compiler.name}:\n{last_lines(own)}", hint=f"log: {self.log}"
            )


@contextmanager
def _pool() -> Iterator[ThreadPoolExecutor]:
    """Open a pool in which nothing new is begun once something went wrong."""
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _pack(archive: Path, files: Mapping[str, Path]) -> None:
    with zipfile.ZipFile(archive, "w") as packed:
        for name, path in sorted(files.items()):
            info = zipfile.ZipInfo(name, _MOMENT)
            info.create_system, info.external_attr = 3, 0o755 << 16  # 3: Unix
            packed.writestr(info, path.read_bytes())
