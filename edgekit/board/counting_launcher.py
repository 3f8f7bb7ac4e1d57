"""A way to start a program on a board, from the board itself, so that it is counted.

The device agent runs a bundle's runner as it always does; all that is new is the command that
stands before the runner's own.
"""

import shlex
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgekit.board import privilege
from edgekit.board.counting_kit import Compiler, counting_kit
from edgekit.board.counts import (
    COUNTS_FILE,
    InstructionCount,
    forget_lines,
    make_out,
    read_lines,
    total,
)
from edgekit.board.instances import RunningBoard, need_user_mode
from edgekit.board.instructions import first_process, host_program
from edgekit.board.privilege import Privilege
from edgekit.catalog.targets import load_target
from edgekit.core.errors import DeviceError
from edgekit.core.events import EventSink, ignore

# In the board's own mounts this time: the agent that starts the program must see them.
_MOUNT: Final = """
set -eu
mkdir -p {place}/kit {place}/out
cd {place}
mount --bind {kit} kit
mount --bind {out} out
"""
_UNMOUNT: Final = """
cd {place} || exit 0
for each in kit out; do umount -l $each 2>/dev/null; rmdir $each; done
cd / && rmdir {place}
"""


@dataclass(frozen=True)
class Launcher:
    """A command that is given another and starts it counted.

    Attributes:
        words: the command; another's words follow.
        counts: the file on the board into which the plugin writes a line for each program that
            ends, and at each mark that a program sets.
    """

    words: tuple[str, ...]
    counts: str
    _out: Path
    _groups: bool
    _accesses: bool

    def take(self) -> InstructionCount:
        """Return what was counted since the last call: of one program, if one was started.

        Raises:
            DeviceError: no program came to its end.
        """
        lines = read_lines(self._out)
        if not any(line["end"] == "exit" and not line["child"] for line in lines):
            raise DeviceError("what was to be counted left no count")
        forget_lines(self._out)
        return total(lines, groups=self._groups, accesses=self._accesses)


@contextmanager
def counting_launcher(
    board: RunningBoard, *, compiler: Compiler, memory: bool = False, emit: EventSink = ignore
) -> Iterator[Launcher]:
    """Make a board able to start counted programs itself, for as long as the context lasts.

    Args:
        board: one that is up.
        compiler: for the plugin, the first time.
        memory: whether accesses and bytes are counted too.
        emit: told where something is waited for.

    Raises:
        UsageError: the board is a machine of its own.
        DeviceError: qemu-user is missing, or nothing can be mounted on the board.
    """
    need_user_mode(board, "counting")
    architecture = load_target(board.target).architecture
    kit = counting_kit(architecture, compiler, emit=emit)
    root = privilege.obtain(f"Counting on virtual board {board.name}")
    with tempfile.TemporaryDirectory(prefix=".count-", dir=board.folder) as name:
        out = make_out(Path(name))
        place = f"run/edgekit-{Path(name).name.lstrip('.')}"
        seen = shlex.quote(str(board.folder / "root" / place))
        paths = {"place": seen, "kit": shlex.quote(str(kit)), "out": shlex.quote(str(out))}
        _on_the_boards_mounts(board, root, _MOUNT.format(**paths))
        try:
            counts = f"/{place}/out/{COUNTS_FILE}"
            words = _words(f"/{place}", counts, memory=memory)
            yield Launcher(words, counts, out, architecture == "aarch64", memory)
        finally:
            with suppress(DeviceError):  # a board that ended took its mounts along
                _on_the_boards_mounts(board, root, _UNMOUNT.format(**paths))


def _on_the_boards_mounts(board: RunningBoard, root: Privilege, script: str) -> None:
    enter = [host_program("nsenter"), "--target", str(first_process(board)), "--mount"]
    root.run([*enter, "--", "/bin/sh", "-c", script])


def _words(place: str, counts: str, *, memory: bool) -> tuple[str, ...]:
    accesses = "on" if memory else "off"
    return (
        *("/usr/bin/setarch", "--addr-no-randomize"),
        *(f"{place}/kit/loader", "--inhibit-cache", "--library-path", f"{place}/kit/lib"),
        f"{place}/kit/emulator",
        *("-plugin", f"{place}/kit/plugin.so,out={counts},memory={accesses}"),
        # What the agent does not set: see edgekit/board/instructions.py.
        *("-seed", "1", "-E", "PYTHONHASHSEED=0"),
        # NumPy's OpenBLAS starts threads, which wait for work by spinning: that would be counted.
        *("-E", "OPENBLAS_NUM_THREADS=1"),
    )
