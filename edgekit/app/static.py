"""One program that holds a model, TVM's runtime and a C library: it needs nothing of the board."""

import json
import re
from pathlib import Path
from typing import Final

from edgekit.app.export import PROGRAM
from edgekit.app.runtimes import tvm_sources
from edgekit.catalog.cache import KeyedCache, cache_root, sha256_of
from edgekit.catalog.folders import builtin_folder
from edgekit.core.bundle import BundleFile
from edgekit.core.contracts import LibrarySources
from edgekit.core.errors import BuildError
from edgekit.core.events import EventSink
from edgekit.core.target import Target

# What TVM calls the functions and data that its loader looks up, as names in an object file.
_SYMBOL: Final = re.compile(rb"(?<![\w.$])(__(?:tvm_ffi_|TVM)\w+)\0")
_FLAGS: Final = ("-DMODEL_LINKED", "-DTVM_SESSION_LINKED")
_FRAME: Final = ("run.c", "npy.c", "program.c")
_TVM: Final = ("run.c", "session.c")


def static_program(
    files: tuple[BundleFile, ...], target: Target, *, emit: EventSink
) -> tuple[BundleFile, ...]:
    """Link what TVM built, with object files, to one program; return it in their place.

    Args:
        files: of an engine that leaves object files (``Tvm.with_objects``).
        target: the kind of board.
        emit: told of the runtime's compilation.

    Raises:
        ToolboxError: TVM's sources, or a compiler, are not to be had.
        BuildError: the build holds no object files, or nothing that TVM's loader looks up.
    """
    from edgekit.engines.tvm import ENGINE
    from edgekit.toolbox.compiled import (
        Board,
        compiled_objects,
        cxx_compilers,
        identity_of,
        linked_program,
    )
    from edgekit.toolbox.environments import environment

    python = environment(ENGINE.toolbox, emit=emit).python
    sources = tvm_sources(python)
    board = Board(target.architecture)
    compilers = cxx_compilers(board, python)
    runtime = compiled_objects(sources, board, compilers, what="TVM's runtime", emit=emit)
    model = tuple(file.source for file in files if file.path.endswith(".o"))
    program = _program(sources[0].includes)
    key = json.dumps(
        [
            *(target.architecture, [str(path) for path in runtime]),
            *(identity_of(program), [sha256_of(path) for path in model]),
        ]
    )

    def fill(folder: Path) -> None:
        table = folder / "symbols.c"
        table.write_text(symbol_table(model), encoding="utf-8")
        whole = LibrarySources(
            program.path, (*program.files, table), program.includes, program.flags
        )
        linked_program(whole, (*runtime, *model), compilers[0], folder / PROGRAM)

    folder = KeyedCache(cache_root() / "static").build(key, fill, emit=emit, subject=PROGRAM)
    path = folder / PROGRAM
    made = BundleFile(PROGRAM, sha256_of(path), path.stat().st_size, path)
    return (made, *(file for file in files if file.path == "model.json"))


def symbol_table(objects: tuple[Path, ...]) -> str:
    """Write in C where the model's functions and data are, by name.

    Weak: a word that looks like a name and is none has no address, and is passed over.

    Raises:
        BuildError: there are none.
    """
    found = {match[1].decode() for file in objects for match in _SYMBOL.finditer(file.read_bytes())}
    if not found:
        raise BuildError("the model's object files hold no function that TVM would find")
    names = sorted(found)
    return "\n".join(
        [
            '#include "session.h"',
            *(f"extern char {name}[] __attribute__((weak));" for name in names),
            "const tvm_linked_symbol tvm_linked_symbols[] = {",
            *(f'  {{"{name}", {name}}},' for name in names),
            "  {0, 0},",
            "};",
            "",
        ]
    )


def _program(includes: tuple[Path, ...]) -> LibrarySources:
    runners = builtin_folder("cross") / "runners"
    folders = (runners / "frame", runners / "tvm")
    return LibrarySources(
        PROGRAM,
        (*(folders[0] / name for name in _FRAME), *(folders[1] / name for name in _TVM)),
        (*folders, *includes),
        _FLAGS,
    )
