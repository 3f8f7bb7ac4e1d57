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
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from edgekit.board import privilege
from edgekit.board.counting_kit import Compiler, counting_kit
from edgekit.board.counts import InstructionCount, Line, make_out, read_lines, total
from edgekit.board.instances import RunningBoard, need_user_mode
from edgekit.board.privilege import SYSTEM_PATH, Privilege
from edgekit.board.process import child_of
from edgekit.board.rootfs import BOARD_USER
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
        UsageError: there is no command, or the board is a machine of its own.
        DeviceError: qemu-user is missing, or the program did not end well.
    """
    if not command:
        raise UsageError("no command was given to count", hint="edgekit board count NAME -- ls /")
    need_user_mode(board, "counting")
    architecture = load_target(board.target).architecture
    kit = counting_kit(architecture, compiler, emit=emit)
    root = privilege.obtain(f"Counting on virtual board {board.name}")
    step = f"board:count:{board.name}"
    emit(StepStarted(step, f"Count what {Path(command[0]).name} executes on {board.name}"))
    try:
        with tempfile.TemporaryDirectory(prefix=".count-", dir=board.folder) as name:
            out = make_out(Path(name))
            full = root.command(
                [
                    *_entry(board, environment or {}),
                    *("sh", _SCRIPT, board.folder / "root", kit, out, BOARD_USER),
                    *("on" if memory else "off", *command),
                ]
            )
            status, said = _run(full, root, Path(name) / "said", timeout_s)
            lines = read_lines(out)
    except BaseException:
        emit(StepFinished(step, "failed", ok=False))
        raise
    emit(StepFinished(step, ok=status == 0))
    _check_end(board, command, status, said, lines)
    return total(lines, groups=architecture == "aarch64", accesses=memory)


def _entry(board: RunningBoard, environment: Mapping[str, str]) -> list[str | Path]:
    """Return the command that stands before another to run it among the board's processes."""
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
        *("env", "-i", *pairs, host_program("nsenter"), "--target", str(first_process(board))),
        *("--mount", "--pid", "--uts", "--ipc", "--", host_program("unshare"), "--mount"),
    ]


def first_process(board: RunningBoard) -> int:
    """Return the first process in a board's namespaces, as the host counts.

    Raises:
        DeviceError: the board is not up.
    """
    if first := child_of(board.pid):
        return first
    raise DeviceError(
        f"virtual board {board.name} is not up", hint=f"run `edgekit board up {board.target}`"
    )


def host_program(name: str) -> str:
    """Return where a program of the host's stands.

    Raises:
        DeviceError: it is missing.
    """
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
    lines: Sequence[Line],
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
