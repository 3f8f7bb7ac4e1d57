"""What a program executes on a virtual board, counted instead of timed.

Time means nothing on a virtual board; the number of instructions does not depend on the host and
is the same in every run. It ranks candidates and shows when one got worse. It is no measure of
speed: a real core's caches, its memory and its pipelines are not in it, so it is never turned
into milliseconds or frames per second.

Example:
    ::

        once = count(board, ["./program", "1"], compiler=host_compiler)
        often = count(board, ["./program", "11"], compiler=host_compiler)
        per_round(once, often, rounds=10).instructions
"""

import json
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgekit.board import privilege
from edgekit.board.counting_kit import Compiler, counting_kit
from edgekit.board.privilege import SYSTEM_PATH, Privilege
from edgekit.board.process import child_of
from edgekit.board.rootfs import BOARD_USER
from edgekit.board.user_mode import RunningBoard
from edgekit.catalog.targets import load_target
from edgekit.core.errors import DeviceError, UsageError
from edgekit.core.events import EventSink, StepFinished, StepStarted, ignore

_SCRIPT: Final = Path(__file__).with_name("count_instructions.sh")
_LAST_LINES: Final = 12
_STOP_TIMEOUT_S: Final = 20.0
_SIGNAL_STATUS: Final = 128  # a shell's way to tell of a signal: this and its number
# Python's hashes of text, and with them the order of its sets, change from run to run otherwise.
_ENVIRONMENT: Final = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "HOME": f"/home/{BOARD_USER}",
    "LANG": "C.UTF-8",
    "PYTHONHASHSEED": "0",
}


@dataclass(frozen=True)
class MemoryAccesses:
    """What went to and came from memory, as the emulator does it.

    One access moves 8 bytes at most: an instruction that loads a pair, or a vector of 16 bytes,
    is two.

    Attributes:
        loads, stores: accesses.
        loaded_bytes, stored_bytes: what they moved.
    """

    loads: int
    stores: int
    loaded_bytes: int
    stored_bytes: int


@dataclass(frozen=True)
class InstructionCount:
    """How many instructions a program executed, in all its threads and forked processes.

    A number of instructions of the emulated processor, neither a time nor a rate. The kernel's
    own are not in it.

    Attributes:
        instructions: all of them.
        simd_fp: those that compute with vectors or floating point.
        branches: branches, calls, returns, system calls, and the like.
        memory: those that load or store, of vectors too. Like ``simd_fp`` and ``branches``, by
            the groups of the Arm manual; ``None`` for 32-bit programs, which it groups otherwise.
        accesses: ``None`` where they were not asked for.
        uncounted_programs: how many other programs it started; theirs are not in it.
    """

    instructions: int
    simd_fp: int | None
    branches: int | None
    memory: int | None
    accesses: MemoryAccesses | None = None
    uncounted_programs: int = 0


def count(
    board: RunningBoard,
    command: Sequence[str],
    *,
    compiler: Compiler,
    environment: Mapping[str, str] | None = None,
    memory: bool = False,
    timeout_s: float = 600.0,
    emit: EventSink = ignore,
) -> InstructionCount:
    """Run a program on a board, as its user and in their home, and count what it executes.

    Two runs of a program with one thread give the same count if it does the same: what it does
    by the clock, by its process id or by chance is its own. Threads that wait for each other by
    spinning count what they spin.

    Args:
        board: one that is up.
        command: an executable file of the board or a name in ``PATH``, and its arguments. A
            script is none: name its interpreter.
        compiler: for the plugin, the first time.
        environment: the program's, besides ``PATH``, ``HOME``, ``LANG``, ``PYTHONHASHSEED=0`` and
            the board's ``QEMU_CPU``.
        memory: whether accesses and bytes are counted too, which takes several times as long.
        timeout_s: when the program is ended.
        emit: told of the step.

    Raises:
        UsageError: there is no command.
        DeviceError: qemu-user is missing, or the program did not end well.
    """
    if not command:
        raise UsageError("no command was given to count", hint="edgekit board count NAME -- ls /")
    kit = counting_kit(load_target(board.target).architecture, compiler, emit=emit)
    root = privilege.obtain(f"Counting on virtual board {board.name}")
    step = f"board:count:{board.name}"
    emit(StepStarted(step, f"Count what {Path(command[0]).name} executes on {board.name}"))
    try:
        with tempfile.TemporaryDirectory(prefix=".count-", dir=board.folder) as name:
            out = Path(name) / "out"
            out.mkdir()
            out.chmod(0o711)
            (out / "counts").touch()
            (out / "counts").chmod(0o666)  # the board's user writes to it
            full = root.command(
                [
                    *_entry(board, environment or {}),
                    *("sh", _SCRIPT, board.folder / "root", kit, out, BOARD_USER),
                    *("on" if memory else "off", *command),
                ]
            )
            status, said = _run(full, root, Path(name) / "said", timeout_s)
            lines = [json.loads(line) for line in (out / "counts").read_text().splitlines()]
    except BaseException:
        emit(StepFinished(step, "failed", ok=False))
        raise
    emit(StepFinished(step, ok=status == 0))
    _check_end(board, command, status, said, lines)
    return _sum(lines, board, memory)


def per_round(fewer: InstructionCount, more: InstructionCount, rounds: int) -> InstructionCount:
    """Return what one round of a loop executes, from two runs of the same program.

    What both did once, such as loading and warming up, is gone in the difference.

    Args:
        fewer: of the run with fewer rounds.
        more: of the run with ``rounds`` more of them.
        rounds: how many more.

    Raises:
        UsageError: there is no difference to take.
    """
    if rounds < 1 or more.instructions < fewer.instructions:
        raise UsageError(
            f"{more.instructions} instructions are not those of {rounds} more rounds than "
            f"{fewer.instructions}"
        )

    def one(name: str) -> int | None:
        first, second = getattr(fewer, name), getattr(more, name)
        return None if first is None or second is None else round((second - first) / rounds)

    return InstructionCount(
        instructions=round((more.instructions - fewer.instructions) / rounds),
        simd_fp=one("simd_fp"),
        branches=one("branches"),
        memory=one("memory"),
        accesses=_accesses_per_round(fewer.accesses, more.accesses, rounds),
        uncounted_programs=round((more.uncounted_programs - fewer.uncounted_programs) / rounds),
    )


def _accesses_per_round(
    fewer: MemoryAccesses | None, more: MemoryAccesses | None, rounds: int
) -> MemoryAccesses | None:
    if fewer is None or more is None:
        return None
    return MemoryAccesses(
        loads=round((more.loads - fewer.loads) / rounds),
        stores=round((more.stores - fewer.stores) / rounds),
        loaded_bytes=round((more.loaded_bytes - fewer.loaded_bytes) / rounds),
        stored_bytes=round((more.stored_bytes - fewer.stored_bytes) / rounds),
    )


def _entry(board: RunningBoard, environment: Mapping[str, str]) -> list[str | Path]:
    """Return the command that stands before another to run it among the board's processes."""
    first = child_of(board.pid)
    if first is None:
        raise DeviceError(
            f"virtual board {board.name} is not up",
            hint=f"run `edgekit board up {board.target}`",
        )
    marker = board.folder / "etc" / "edgekit" / "virtual-board.json"
    cpu = str(json.loads(marker.read_bytes())["cpu"])
    wanted = {**_ENVIRONMENT, "QEMU_CPU": cpu, **environment}
    # The host's loader heeds these as well as the board's: the emulator sets them for the latter.
    loader = {name: value for name, value in wanted.items() if name.startswith("LD_")}
    if any("," in value for value in loader.values()):
        raise UsageError(f"{', '.join(loader)}: no comma can stand in these while counting")
    pairs = [f"{name}={value}" for name, value in wanted.items() if name not in loader]
    if loader:
        pairs.append("QEMU_SET_ENV=" + ",".join(f"{name}={loader[name]}" for name in loader))
    # By their paths: the PATH that is set is the program's.
    return [
        *("env", "-i", *pairs, _program("nsenter"), "--target", str(first)),
        *("--mount", "--pid", "--uts", "--ipc", "--", _program("unshare"), "--mount"),
    ]


def _program(name: str) -> str:
    found = shutil.which(name, path=SYSTEM_PATH)
    if found is None:
        raise DeviceError(f"{name} is not installed", hint="run `apt-get install util-linux`")
    return found


def _run(command: list[str], root: Privilege, log: Path, timeout_s: float) -> tuple[int, str]:
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stream,
            start_new_session=True,
        )
        try:
            status = process.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            raise DeviceError(
                f"the program that was counted did not end within {timeout_s:g} s",
                hint="counting takes several times as long as emulating; allow more, or do less",
            ) from error
        finally:
            if process.poll() is None:
                # The whole group: what the program started ends with it.
                with suppress(DeviceError):  # it ended by itself just now
                    root.run(["sh", "-c", 'kill -KILL "-$1"', "sh", str(process.pid)])
                process.wait(_STOP_TIMEOUT_S)
    return status, log.read_text(encoding="utf-8", errors="replace")


def _check_end(
    board: RunningBoard,
    command: Sequence[str],
    status: int,
    said: str,
    lines: Sequence[Mapping[str, object]],
) -> None:
    """Refuse the counts of a program that did not come to its end.

    Raises:
        DeviceError: it did not.
    """
    ends = [line["end"] for line in lines if not line["child"]]
    last = said.strip().splitlines()[-_LAST_LINES:]
    words = ":\n" + "\n".join(last) if last else ""
    what = f"{command[0]} on virtual board {board.name}"
    number = -status if status < 0 else status - _SIGNAL_STATUS
    if "exit" not in ends and number in set(signal.Signals):
        raise DeviceError(
            f"{what} was ended by {signal.Signals(number).name}{words}",
            hint="see whether it runs without being counted: "
            f"edgekit board ssh {board.name} COMMAND",
        )
    if "exec" in ends and "exit" not in ends and status == 0:
        raise DeviceError(
            f"{what} became another program, which is not counted", hint="name that program itself"
        )
    if not ends:
        raise DeviceError(
            f"{what} did not start, or left no count (status {status}){words}",
            hint="COMMAND is an executable file; of a script, name the interpreter",
        )
    if status != 0:
        raise DeviceError(f"{what} failed with status {status}{words}")


def _sum(
    lines: Iterable[Mapping[str, int | str]], board: RunningBoard, memory: bool
) -> InstructionCount:
    kept = list(lines)
    ends = [line["end"] for line in kept]
    wide = load_target(board.target).architecture == "aarch64"

    def total(name: str) -> int:
        return sum(int(line[name]) for line in kept)

    def grouped(name: str) -> int | None:
        return total(name) if wide else None

    accesses = MemoryAccesses(
        total("loads"), total("stores"), total("loaded_bytes"), total("stored_bytes")
    )
    return InstructionCount(
        instructions=total("instructions"),
        simd_fp=grouped("simd_fp"),
        branches=grouped("branches"),
        memory=grouped("memory"),
        accesses=accesses if memory else None,
        uncounted_programs=ends.count("exec") - ends.count("exec failed"),
    )
