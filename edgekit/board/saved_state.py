"""States from which system boards are started: one booted once, and each board's own."""

import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from edgekit.board import keys
from edgekit.board.instances import ROOT_USER, RunningBoard, login_command
from edgekit.board.launch import PID_FILE
from edgekit.board.machine import (
    CONSOLE,
    DEVICE_TREE,
    DISK,
    MEMORY,
    Machine,
    PortTakenError,
    make_disk,
)
from edgekit.board.monitor import SOCKET, Monitor
from edgekit.board.ports import HOST, free_ports
from edgekit.board.privilege import Privilege
from edgekit.board.process import POLL_S, ProcessMark, is_alive, kill_board
from edgekit.board.rootfs import BOARD_USER, boards_folder
from edgekit.board.system_image import HOST_KEY
from edgekit.catalog.cache import KeyedCache
from edgekit.core.errors import DeviceError
from edgekit.core.events import EventSink, StepFinished, StepStarted

_BOOT_TIMEOUT_S: Final = 300.0
_END_TIMEOUT_S: Final = 30.0
_LOGIN_TIMEOUT_S: Final = 240.0
_READY: Final = "Server listening on 0.0.0.0 port 22."
HALTED: Final = "halted"  # beside a disk that was left whole by a machine without a saved memory
# Remounted by the kernel, since programs may have files open.
_HALT: Final = """sync; echo u >/proc/sysrq-trigger; waited=0
until grep -q ' / ext4 ro' /proc/mounts || [ $waited -gt 300 ]; do
    sleep 0.1; waited=$((waited + 1))
done; grep -q ' / ext4 ro' /proc/mounts"""
# What the device agent starts with then stands in the board's memory already.
_WARM_UP: Final = "python3 -c 'import json, hashlib, subprocess, zipfile, threading'"


def booted_state(machine: Machine, client_key: Path, emit: EventSink) -> Path:
    """Return the folder with the state of a machine that has booted; boot it if there is none.

    It holds the disk as it was then, the memory, and the device tree.

    Raises:
        DeviceError: the machine does not come up, or its state cannot be saved.
    """
    cache = KeyedCache(boards_folder() / "states")
    if found := cache.get(machine.key):
        return found
    step = f"board:boot:{machine.target.name}"

    def fill(folder: Path) -> None:
        emit(StepStarted(step, f"Boot a system board as {machine.target.name} (once)"))
        try:
            _boot(machine, folder, client_key)
        except BaseException:
            emit(StepFinished(step, "failed", ok=False))
            raise
        emit(StepFinished(step))

    subject = f"the booted {machine.target.name}"
    return cache.build(machine.key, fill, emit=emit, subject=subject)


def _boot(machine: Machine, folder: Path, client_key: Path) -> None:
    machine.write_device_tree(folder)
    make_disk(folder / DISK, machine.image)
    process, port = start_machine(machine, folder, folder, restored=False)
    try:
        wait_for_sshd(folder, process)
        board = RunningBoard(
            *("", machine.target.name, HOST, port, BOARD_USER),
            *(client_key, folder / "known_hosts", process.pid, None, "system"),
        )
        for user in (BOARD_USER, ROOT_USER):
            run_there(board, user, _WARM_UP)
        suspend(folder, process)
    finally:
        kill_board(process, Privilege())
    for path in folder.iterdir():
        if path.name not in {DISK, MEMORY, DEVICE_TREE}:
            path.unlink()


def start_machine(
    machine: Machine, folder: Path, state: Path, *, restored: bool
) -> tuple[ProcessMark, int]:
    """Start a machine on the first port that proves to be free; return its process and the port.

    Raises:
        DeviceError: it does not start.
    """
    for port in free_ports(folder):
        keys.write_known_hosts(folder / "known_hosts", port, machine.image / HOST_KEY)
        with suppress(PortTakenError):
            return machine.start(folder, state, port, restored=restored), port
    raise DeviceError(f"no port is free on {HOST} for the machine in {folder}")


def suspend(folder: Path, process: ProcessMark) -> None:
    """Save a running machine's memory beside its disk and end it.

    Raises:
        DeviceError: it cannot be saved; the machine may still be there.
    """
    partial = folder / f".{MEMORY}"
    with Monitor(folder) as monitor:
        monitor.save(partial)
    _end(folder, process)
    partial.replace(folder / MEMORY)


def halt(board: RunningBoard, process: ProcessMark) -> None:
    """End a machine whose memory cannot be saved, so that its disk is whole.

    Raises:
        DeviceError: it does not answer, or does not end.
    """
    run_there(board, ROOT_USER, _HALT)
    _end(board.folder, process)
    (board.folder / HALTED).touch()


def _end(folder: Path, process: ProcessMark) -> None:
    with Monitor(folder) as monitor:
        monitor.quit()
    deadline = time.monotonic() + _END_TIMEOUT_S
    while is_alive(process) and time.monotonic() < deadline:
        time.sleep(POLL_S)
    if is_alive(process):
        raise DeviceError(f"the machine in {folder} does not end")
    for left in (SOCKET, PID_FILE):
        (folder / left).unlink(missing_ok=True)


def run_there(
    board: RunningBoard, user: str, command: str, answer: Callable[[], str] | None = None
) -> None:
    """Run a command on a board as one of its users.

    Args:
        board: one whose sshd listens.
        user: one of its users.
        command: for their shell.
        answer: asked, when the command has written its first line, for what it reads then.

    Raises:
        DeviceError: it failed, or the board does not answer.
    """
    with subprocess.Popen(
        [*login_command(board, user), command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None  # noqa: S101 - it was asked for as a pipe
        patience = threading.Timer(_LOGIN_TIMEOUT_S, process.kill)
        patience.start()
        try:
            said = answer() if answer and process.stdout.readline() else None
            _, errors = process.communicate(said)
        finally:
            patience.cancel()
            process.kill()
    if process.returncode < 0:
        raise DeviceError(
            f"the system board at port {board.port} did not answer within {_LOGIN_TIMEOUT_S:g} s",
            hint="this machine may be too busy to run it; try again when it is not",
        )
    if process.returncode != 0:
        raise DeviceError(f"`{command}` failed on the system board: {errors.strip()[-500:]}")


def wait_for_sshd(folder: Path, process: ProcessMark) -> None:
    """Wait until the board's sshd says that it listens.

    Raises:
        DeviceError: the board ended before, or takes too long.
    """
    console = folder / CONSOLE
    deadline = time.monotonic() + _BOOT_TIMEOUT_S
    while is_alive(process) and time.monotonic() < deadline:
        if _READY in console.read_text(encoding="utf-8", errors="replace"):
            return
        time.sleep(POLL_S)
    said = console.read_text(encoding="utf-8", errors="replace").strip()[-1200:]
    raise DeviceError(f"the system board did not come up; its console said:\n{said}")
