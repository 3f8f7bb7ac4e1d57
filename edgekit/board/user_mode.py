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

from dataclasses import dataclass
from pathlib import Path

from edgekit.board import privilege, requirements, state
from edgekit.board.emulated_cpu import emulated_cpu, shared_features
from edgekit.board.face_plate import face_plate
from edgekit.board.launch import HOST, PID_FILE, Plan, drop_foreign_files, launch, stop_orphan
from edgekit.board.privilege import Privilege
from edgekit.board.process import is_alive, kill_board
from edgekit.board.rootfs import (
    BOARD_USER,
    boards_folder,
    build_rootfs,
    recipe_for,
    remove_as_root,
)
from edgekit.catalog.cache import FileLock
from edgekit.catalog.settings import settings
from edgekit.core.errors import DeviceError, UsageError
from edgekit.core.events import EventSink, Note, StepFinished, StepStarted, ignore
from edgekit.core.names import check_name, unknown_name
from edgekit.core.target import Target


@dataclass(frozen=True)
class RunningBoard:
    """A virtual board that is up.

    Attributes:
        identity_file: private key that lets ``user`` in.
        known_hosts: file that holds the board's host key, and no other.
        pid: process that holds the board's namespaces; with it dies everything on the board.
        rootfs: the board's root folder as root sees it from the host.
    """

    name: str
    target: str
    host: str
    port: int
    user: str
    identity_file: Path
    known_hosts: Path
    pid: int
    rootfs: Path

    @property
    def folder(self) -> Path:
        """The board's own folder in the cache."""
        return self.known_hosts.parent


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
        held = _held(name)
        if held and held.target != target.name:
            raise UsageError(
                f"virtual board {name} is up as a {held.target}",
                hint=f"take it down first (`edgekit board down {name}`), or choose another name",
            )
        requirements.check_requirements()
        cpu = emulated_cpu(target)
        face = face_plate(target, shared_features(target, cpu.model))
        plan = Plan(name, target, cpu, face, recipe.name, _folder(name), _client_key())
        if held and held.fingerprint == plan.fingerprint:
            return _running(held)
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
    folder = _existing_folder(name)
    with FileLock(boards_folder() / ".locks" / f"board-{name}", emit, f"virtual board {name}"):
        held = _held(name)
        if held:
            step = f"board:down:{name}"
            emit(StepStarted(step, f"Stop virtual board {name}"))
            _stop(held, privilege.obtain(f"Stop virtual board {name}"))
            emit(StepFinished(step))
        elif (folder / PID_FILE).exists():
            stop_orphan(folder, privilege.obtain(f"Stop virtual board {name}"))
        state.forget_state(folder)
        (folder / PID_FILE).unlink(missing_ok=True)
        if wipe:
            remove_as_root(folder, privilege.obtain(f"removing virtual board {name}"))
    return held is not None


def list_boards() -> tuple[RunningBoard, ...]:
    """Return the boards that are up, by name. Quick, no root."""
    return tuple(_running(held) for name in _names() if (held := _held(name)))


def find_board(name: str) -> RunningBoard:
    """Return a board that is up.

    Raises:
        UnknownNameError: no board of this name was ever up.
        DeviceError: it is not up now.
    """
    _existing_folder(name)
    if held := _held(name):
        return _running(held)
    raise DeviceError(f"virtual board {name} is not up", hint=f"run `edgekit board up {name}`")


def ssh_command(name: str) -> list[str]:
    """Return the command that opens a shell on a board; a remote command may be appended.

    Raises:
        UnknownNameError: no board of this name was ever up.
        DeviceError: it is not up now.
    """
    board = find_board(name)
    # Nothing of the user's own ssh configuration shall change what is reached.
    options = (
        "IdentitiesOnly=yes",
        "StrictHostKeyChecking=yes",
        f'UserKnownHostsFile="{board.known_hosts}"',
        "GlobalKnownHostsFile=none",
        "LogLevel=ERROR",
    )
    return [
        "ssh",
        *("-F", "none", "-i", str(board.identity_file)),
        *(word for option in options for word in ("-o", option)),
        *("-p", str(board.port), f"{board.user}@{board.host}"),
    ]


def _folder(name: str) -> Path:
    return boards_folder() / "instances" / name


def _names() -> list[str]:
    return sorted(path.name for path in _folder("").glob("*") if path.is_dir())


def _existing_folder(name: str) -> Path:
    check_name(name, "virtual board")
    if not _folder(name).is_dir():
        raise unknown_name("virtual board", name, _names())
    return _folder(name)


def _held(name: str) -> state.BoardState | None:
    """Return the board's state if it is up; what is left of a dead one counts for nothing."""
    held = state.read_state(_folder(name))
    return held if held and held.name == name and is_alive(held.process) else None


def _running(held: state.BoardState) -> RunningBoard:
    folder, pid = _folder(held.name), held.process.pid
    return RunningBoard(
        name=held.name,
        target=held.target,
        host=HOST,
        port=held.port,
        user=BOARD_USER,
        identity_file=_client_key(),
        known_hosts=folder / "known_hosts",
        pid=pid,
        # The mount is seen in the board's own mount namespace only.
        rootfs=Path(f"/proc/{pid}/root{folder}/root"),
    )


def _client_key() -> Path:
    return boards_folder() / "keys" / "id_ed25519"


def _start(plan: Plan, root: Privilege, emit: EventSink) -> RunningBoard:
    step = f"board:up:{plan.name}"
    emit(StepStarted(step, f"Start virtual board {plan.name} ({plan.cpu.model})"))
    if not plan.cpu.exact:
        cores = " + ".join(cluster.core for cluster in plan.target.clusters)
        emit(Note(f"{plan.cpu.emulator} {plan.cpu.version} emulates {plan.cpu.model} for {cores}"))
    try:
        drop_foreign_files(plan, root, emit)
        held = launch(plan, root)
    except BaseException:
        emit(StepFinished(step, "failed", ok=False))
        raise
    emit(StepFinished(step, f"{HOST}:{held.port}"))
    return _running(held)


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
