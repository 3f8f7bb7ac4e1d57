"""What loads and runs compiled code on boards, made from ``cross/runners``: ``tvm`` in ``frame``.

Runs inside the toolbox, for the build and for tuning alike.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

# Makes a file with a C compiler for the board: output and the compiler's arguments.
Compile = Callable[[Path, Sequence[str]], object]

SESSION = "libsession.so"
RUN = "tvm-run"
BENCH = "tvm-bench"

_FLAGS = ("-std=c11", "-O2", "-s", "-fvisibility=hidden", "-Wall", "-Wextra")
_SOURCES = {
    SESSION: ("tvm/session.c",),
    RUN: ("frame/run.c", "frame/npy.c", "frame/program.c", "tvm/run.c", "tvm/session.c"),
    BENCH: ("tvm/bench.c", "frame/npy.c", "frame/program.c", "tvm/session.c"),
}


def make(name: str, folder: Path, sources: Path, compile_c: Compile) -> Path:
    """Make the library or one of the programs.

    Args:
        name: ``SESSION``, ``RUN`` or ``BENCH``.
        folder: where to leave it.
        sources: ``cross/runners/tvm``; the frame lies beside it.
        compile_c: the compiler for the board.

    Returns:
        The file.

    Raises:
        RuntimeError: no compiler, or it failed.
    """
    import tvm_ffi

    kind = ("-shared", "-fPIC") if name == SESSION else ()
    include = [f"-I{tvm_ffi.libinfo.find_include_path()}", f"-I{sources.parent / 'frame'}"]
    files = [str(sources.parent / source) for source in _SOURCES[name]]
    compile_c(folder / name, [*_FLAGS, *kind, *include, *files, "-ldl"])
    return folder / name
