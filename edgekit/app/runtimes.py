"""What an engine's runner needs on a device: wheels, and what must be compiled for it here."""

from pathlib import Path

from edgekit.catalog.settings import settings
from edgekit.core.bundle import BundleFile, RuntimePack
from edgekit.core.contracts import LibrarySources, RuntimeSpec, Unsupported
from edgekit.core.errors import ToolboxError
from edgekit.core.events import EventSink
from edgekit.core.target import DeviceFacts


def runtime_of(spec: RuntimeSpec, facts: DeviceFacts, *, emit: EventSink) -> RuntimePack:
    """Return the runtime that an engine chose for a device.

    Raises:
        ToolboxError: a wheel is not to be had, or a library cannot be compiled.
    """
    from edgekit.toolbox.wheels import resolve

    compiled = (_tvm_libraries(facts.machine, emit),) if spec.compiled else ()
    return resolve(spec, facts, compiled=compiled, emit=emit)


def refuse_sources(spec: RuntimeSpec) -> Unsupported | None:
    """Tell before anything is built that what is to be compiled cannot be."""
    return refuse_tree() if spec.compiled else None


def refuse_tree() -> Unsupported | None:
    """Tell that the user's source tree of TVM, if one is named, is not the right one."""
    from edgekit.engines.tvm.sources import in_tree

    tree = settings().tvm_source
    if tree is None:
        return None
    try:
        in_tree(tree)
    except ToolboxError as error:
        return Unsupported(error.message, hint=error.hint)
    return None


def tvm_sources(python: Path) -> tuple[LibrarySources, LibrarySources]:
    """Return the sources of TVM's runtime: the user's tree, or those in the wheels.

    Args:
        python: of TVM's toolbox.

    Raises:
        ToolboxError: the tree is none, of another version, or not whole.
    """
    from edgekit.catalog.folders import builtin_folder
    from edgekit.engines.tvm.sources import in_tree, in_wheels

    tree = settings().tvm_source
    if tree is not None:
        return in_tree(tree)
    [site] = python.parent.parent.glob("lib/python*/site-packages")
    return in_wheels(site, builtin_folder("cross") / "headers" / "tvm")


def _tvm_libraries(machine: str, emit: EventSink) -> BundleFile:
    from edgekit.engines.tvm import ENGINE
    from edgekit.engines.tvm.cpu import GLIBC
    from edgekit.toolbox.compiled import Board, compiled_archive, cxx_compilers
    from edgekit.toolbox.environments import environment

    python = environment(ENGINE.toolbox, emit=emit).python
    board = Board(machine, GLIBC)
    return compiled_archive(
        tvm_sources(python),
        board,
        cxx_compilers(board, python),
        what="TVM's runtime",
        emit=emit,
    )
