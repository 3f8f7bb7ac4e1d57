"""Virtual boards in user mode: a Debian root file system whose programs the emulator runs.

A board is a chroot in namespaces of its own with an sshd on loopback and a face plate that shows
the target's processor and device tree. The kernel is the host's. What runs on it runs with the
target's instructions, so results are true; times are not.

Example:
    ::

        board = up(load_target("rk3566"))
        subprocess.run([*ssh_command(board.name), "uname", "-m"])
        down(board.name)
"""

from pathlib import Path

from edgekit.board import privilege, requirements, state
from edgekit.board.emulated_cpu import emulated_cpu, shared_features
from edgekit.board.face_plate import face_plate
from edgekit.board.instances import (
    RunningBoard,
    board_folder,
    check_holder,
    client_key,
    existing_folder,
    find_board,
    held_state,
    kind_of,
    list_boards,
    note_kind,
    running_board,
    ssh_command,
)
from edgekit.board.launch import PID_FILE, Plan, drop_foreign_files, launch, stop_orphan
from edgekit.board.ports import HOST
from edgekit.board.privilege import Privilege
from edgekit.board.process import is_alive, kill_board
from edgekit.board.rootfs import boards_folder, build_rootfs, recipe_for, remove_as_root
from edgekit.catalog.cache import FileLock
from edgekit.catalog.settings import settings
from edgekit.core.errors import DeviceError, EdgekitError
from edgekit.core.events import EventSink, Note, StepFinished, StepStarted, ignore
from edgekit.core.names import check_name
from edgekit.core.target import Target

__all__ = ["RunningBoard", "down", "find_board", "list_boards", "ssh_command", "up"]


def up(
    target: Target,
    *,
    name: str | None = None,
    mirror: str | None = None,
    emit: EventSink = ignore,
) -> RunningBoard:
    """Return a running virtual board of this kind; start it, make it, if need be.

    The board keeps its files from one start to the next. One that runs already is left alone,
    unless edgekit would start it differently now.

    Args:
        target: the kind of board.
        name: the board's name; ``None`` for the target's.
        mirror: Debian archive to make the root file system from; ``None`` for the setting
            ``debian_mirror``, and failing that the host's own.
        emit: told of each step.

    Raises:
        UsageError: the target is no ARM board, or the name is taken by another kind of board.
        DeviceError: the host lacks something, or the board did not start.
    """
    name = check_name(name or target.name, "virtual board")
    recipe = recipe_for(target.architecture)
    with FileLock(boards_folder() / ".locks" / f"board-{name}", emit, f"virtual board {name}"):
        held = held_state(name)
        check_holder(held, target.name, "user")
        requirements.check_requirements()
        cpu = emulated_cpu(target)
        face = face_plate(target, shared_features(target, cpu.model))
        plan = Plan(name, target, cpu, face, recipe.name, board_folder(name), client_key())
        if held and held.fingerprint == plan.fingerprint:
            return running_board(held)
        root = privilege.obtain(f"Start virtual board {name}")
        if held:
            emit(Note(f"virtual board {name} was started by another edgekit: starting it anew"))
            _stop(held, root)
        requirements.enable_binfmt(root)
        build_rootfs(recipe, root, mirror=mirror or settings().debian_mirror, emit=emit)
        return _start(plan, root, emit)


def down(name: str, *, wipe: bool = False, emit: EventSink = ignore) -> bool:
    """Stop a board and all that runs on it; tell whether it was up.

    Args:
        name: the board's name.
        wipe: also remove the board's files; the root file system in the cache stays.
        emit: told of the step.

    Raises:
        UnknownNameError: no board of this name was ever up.
        DeviceError: it cannot be stopped.
    """
    folder = existing_folder(name)
    # A system board's process is the user's own.
    needs_root = kind_of(name) == "user"
    with FileLock(boards_folder() / ".locks" / f"board-{name}", emit, f"virtual board {name}"):
        held = held_state(name)
        if held:
            step = f"board:down:{name}"
            emit(StepStarted(step, f"Stop virtual board {name}"))
            if held.kind == "user" or wipe or not _rested(folder, held):
                _stop(held, _root(name, needs_root))
            emit(StepFinished(step))
        elif (folder / PID_FILE).exists():
            stop_orphan(folder, _root(name, needs_root))
        state.forget_state(folder)
        (folder / PID_FILE).unlink(missing_ok=True)
        if wipe:
            remove_as_root(folder, _root(name, needs_root))
    return held is not None


def _rested(folder: Path, held: state.BoardState) -> bool:
    """Take a system board down so that it goes on where it was; tell whether that was possible.

    One of a machine that cannot be saved keeps its files only.
    """
    from edgekit.board.machine_types import machine_type
    from edgekit.board.saved_state import halt, suspend
    from edgekit.catalog.targets import load_target

    try:
        if machine_type(load_target(held.target)).sleeps:
            suspend(folder, held.process)
        else:
            halt(running_board(held), held.process)
    except EdgekitError:
        return False
    return True


def _root(name: str, needed: bool) -> Privilege:
    return privilege.obtain(f"Stop virtual board {name}") if needed else Privilege()


def _start(plan: Plan, root: Privilege, emit: EventSink) -> RunningBoard:
    step = f"board:up:{plan.name}"
    emit(StepStarted(step, f"Start virtual board {plan.name} ({plan.cpu.model})"))
    if not plan.cpu.exact:
        cores = " + ".join(cluster.core for cluster in plan.target.clusters)
        emit(Note(f"{plan.cpu.emulator} {plan.cpu.version} emulates {plan.cpu.model} for {cores}"))
    try:
        note_kind(plan.name, "user")
        drop_foreign_files(plan, root, emit)
        held = launch(plan, root)
    except BaseException:
        emit(StepFinished(step, "failed", ok=False))
        raise
    emit(StepFinished(step, f"{HOST}:{held.port}"))
    return running_board(held)


def _stop(held: state.BoardState, root: Privilege) -> None:
    """End everything on the board.

    Raises:
        DeviceError: it is still there.
    """
    kill_board(held.process, root)
    if is_alive(held.process):
        raise DeviceError(
            f"virtual board {held.name} does not stop",
            hint=f"its process is {held.process.pid}; look at it with `ps`",
        )
