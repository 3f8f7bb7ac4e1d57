"""Virtual boards that are machines of their own: an emulated one with Debian's kernel.

The kernel's own drivers run there: power monitors on an I2C bus that is memory, clocks and heat by
a module of edgekit's. Their files in sysfs are the kernel's, what they measure is set by
``virtual-sensors`` on the board. Starting one takes no root, and about a second once its kind has
been booted.

Example:
    ::

        board = up(load_target("rk3566"), name="bench")
        subprocess.run([*ssh_command("bench", as_root=True), "virtual-sensors power 6250"])
        down("bench")
"""

import hashlib
import shlex
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgekit.board import keys, privilege, requirements
from edgekit.board.emulated_cpu import emulated_cpu
from edgekit.board.instances import (
    ROOT_USER,
    RunningBoard,
    board_folder,
    check_holder,
    client_key,
    find_board,
    held_state,
    list_boards,
    note_kind,
    running_board,
    ssh_command,
)
from edgekit.board.kernel import kernel_folder
from edgekit.board.kernel_modules import module_folder
from edgekit.board.launch import stop_orphan
from edgekit.board.machine import DISK, MEMORY, PROGRAM, Machine, make_disk
from edgekit.board.monitor import Monitor
from edgekit.board.ports import HOST
from edgekit.board.privilege import Privilege
from edgekit.board.process import ProcessMark, kill_board
from edgekit.board.rootfs import boards_folder, build_rootfs, recipe_for, rootfs_path
from edgekit.board.saved_state import (
    HALTED,
    booted_state,
    run_there,
    start_machine,
    wait_for_sshd,
)
from edgekit.board.state import BoardState, write_state
from edgekit.board.system_image import Parts, image_folder
from edgekit.board.user_mode import down
from edgekit.catalog.cache import FileLock, write_atomically
from edgekit.catalog.settings import settings
from edgekit.core.errors import UsageError
from edgekit.core.events import EventSink, Note, StepFinished, StepStarted, ignore
from edgekit.core.names import check_name
from edgekit.core.target import Target

__all__ = ["RunningBoard", "down", "find_board", "list_boards", "ssh_command", "up"]

# Whose memory it is that stands beside a board's disk.
_STATE_OF: Final = "state-of"


@dataclass(frozen=True)
class _Plan:
    name: str
    machine: Machine

    @property
    def folder(self) -> Path:
        return board_folder(self.name)

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(f"{self.name} {self.machine.key}".encode()).hexdigest()


def up(
    target: Target,
    *,
    name: str | None = None,
    mirror: str | None = None,
    emit: EventSink = ignore,
) -> RunningBoard:
    """Return a running system board of this kind; start it, make it, if need be.

    One that was taken down goes on where it was, with its files and its processes. One that
    ended in another way begins anew.

    Args:
        target: the kind of board.
        name: the board's name; ``None`` for the target's.
        mirror: Debian archive to make kernel and root file system from; ``None`` for the setting
            ``debian_mirror``, and failing that the host's own.
        emit: told of each step.

    Raises:
        UsageError: the target is no 64-bit ARM board, or the name is taken by another board.
        DeviceError: the host lacks something, or the board did not start.
    """
    name = check_name(name or target.name, "virtual board")
    recipe_for(target.architecture)
    if target.architecture != "aarch64":
        raise UsageError(
            f"there is no system board for {target.architecture}",
            hint=f"edgekit board up {target.name} --kind user",
        )
    with FileLock(boards_folder() / ".locks" / f"board-{name}", emit, f"virtual board {name}"):
        held = held_state(name)
        check_holder(held, target.name, "system")
        requirements.check_system_requirements()
        plan = _Plan(name, _machine(target, mirror or settings().debian_mirror, emit))
        if held and held.fingerprint == plan.fingerprint:
            return running_board(held)
        if held:
            emit(Note(f"virtual board {name} was started by another edgekit: starting it anew"))
            kill_board(held.process, Privilege())
        sleeps = plan.machine.type.sleeps
        state = booted_state(plan.machine, client_key(), emit) if sleeps else None
        return _start(plan, state, emit)


def _machine(target: Target, mirror: str | None, emit: EventSink) -> Machine:
    """Find or make all that boards of all kinds share."""
    recipe = recipe_for(target.architecture)
    rootfs = rootfs_path(recipe)
    if not rootfs.is_dir():
        root = privilege.obtain("Making a root file system")
        requirements.enable_binfmt(root)
        build_rootfs(recipe, root, mirror=mirror, emit=emit)
    kernel = kernel_folder(recipe.suite, mirror, emit)
    modules = module_folder(kernel, emit)
    key = keys.ensure_key(client_key(), "edgekit virtual boards")
    image = image_folder(Parts(rootfs, kernel, modules, key), emit)
    return Machine(target, emulated_cpu(target, PROGRAM), image, kernel)


def _start(plan: _Plan, booted: Path | None, emit: EventSink) -> RunningBoard:
    step = f"board:up:{plan.name}"
    cpu = plan.machine.cpu
    emit(StepStarted(step, f"Start system board {plan.name} ({cpu.model})"))
    cores, wanted = plan.machine.cores, plan.machine.target.cores
    if cores < wanted:
        emit(Note(f"it has {cores} of {wanted} cores: this machine could not run more of them"))
    try:
        held = _launch(plan, booted, emit)
    except BaseException:
        emit(StepFinished(step, "failed", ok=False))
        raise
    emit(StepFinished(step, f"{HOST}:{held.port}"))
    return running_board(held)


def _launch(plan: _Plan, booted: Path | None, emit: EventSink) -> BoardState:
    folder = plan.folder
    folder.mkdir(parents=True, exist_ok=True)
    stop_orphan(folder, Privilege())
    note_kind(plan.name, "system")
    if booted is None:
        _lay_out_disk(plan, emit)
    state = _state_to_go_on_from(plan, booted, emit) if booted else folder
    process, port = start_machine(plan.machine, folder, state, restored=booted is not None)
    held = BoardState(
        plan.name, plan.machine.target.name, port, plan.fingerprint, process, "system"
    )
    up = False
    try:
        _wait_until_up(folder, process, restored=booted is not None)
        _settle(running_board(held))
        write_state(folder, held)
        up = True
    finally:
        # From now on the disk is another than the board's memory knew; and one that it does not
        # wake from would keep it from ever coming up.
        for left in (MEMORY, HALTED):
            (folder / left).unlink(missing_ok=True)
        if not up:
            kill_board(process, Privilege())
    return held


def _wait_until_up(folder: Path, process: ProcessMark, *, restored: bool) -> None:
    if restored:
        with Monitor(folder) as monitor:
            monitor.wait_until_running()
    else:
        wait_for_sshd(folder, process)


def _lay_out_disk(plan: _Plan, emit: EventSink) -> None:
    """Leave the disk of a machine that boots each time: its own, if it was left whole."""
    folder = plan.folder
    plan.machine.write_device_tree(folder)
    note = folder / _STATE_OF
    own = note.is_file() and note.read_text(encoding="ascii") == plan.fingerprint
    if own and (folder / HALTED).is_file() and (folder / DISK).is_file():
        return
    _tell_of_lost_files(plan, emit)
    make_disk(folder / DISK, plan.machine.image)
    write_atomically(note, plan.fingerprint.encode())


def _tell_of_lost_files(plan: _Plan, emit: EventSink) -> None:
    if (plan.folder / DISK).is_file():
        emit(
            Note(f"system board {plan.name} was not taken down: it begins anew, without its files")
        )


def _state_to_go_on_from(plan: _Plan, booted: Path, emit: EventSink) -> Path:
    """Return the folder with the memory that fits the board's disk, which is laid out."""
    folder = plan.folder
    note = folder / _STATE_OF
    own = note.is_file() and note.read_text(encoding="ascii") == plan.fingerprint
    if own and (folder / MEMORY).is_file() and (folder / DISK).is_file():
        shutil.copyfile(booted / "board.dtb", folder / "board.dtb")
        return folder
    _tell_of_lost_files(plan, emit)
    (folder / MEMORY).unlink(missing_ok=True)
    shutil.copyfile(booted / DISK, folder / DISK)
    write_atomically(note, plan.fingerprint.encode())
    return booted


def _settle(board: RunningBoard) -> None:
    """Give a board that has just woken its name and the time of day.

    Its monotonic clock goes on where it stood, as that of a board that slept.
    """
    name = shlex.quote(board.name)
    run_there(
        board,
        ROOT_USER,
        f"hostname {name} && echo {name} >/etc/hostname"
        f" && echo 127.0.0.1 localhost {name} >/etc/hosts"
        # Asked for when the board is ready for it: logging in takes a while.
        " && echo now && read now && date -s @$now >/dev/null",
        answer=lambda: f"{time.time():.3f}\n",
    )
