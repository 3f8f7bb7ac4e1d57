"""Virtual boards by name, of either kind: which are up, and how they are reached."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from edgekit.board import state
from edgekit.board.ports import HOST
from edgekit.board.process import is_alive
from edgekit.board.rootfs import BOARD_USER, boards_folder
from edgekit.catalog.cache import write_atomically
from edgekit.core.errors import DeviceError, UsageError
from edgekit.core.names import check_name, unknown_name

BoardKind = Literal["user", "system"]
"""``user``: programs in the emulator on the host's kernel; ``system``: a whole emulated machine."""

ROOT_USER: Final = "root"
_KIND_FILE: Final = "kind"


@dataclass(frozen=True)
class RunningBoard:
    """A virtual board that is up.

    Attributes:
        identity_file: private key that lets ``user`` in.
        known_hosts: file that holds the board's host key, and no other.
        pid: process that holds the board's namespaces, or is its machine; with it dies everything
            on the board.
        rootfs: the board's root folder as root sees it from the host; ``None`` where the board
            is a machine of its own.
    """

    name: str
    target: str
    host: str
    port: int
    user: str
    identity_file: Path
    known_hosts: Path
    pid: int
    rootfs: Path | None
    kind: BoardKind = "user"

    @property
    def folder(self) -> Path:
        """The board's own folder in the cache."""
        return self.known_hosts.parent


def list_boards() -> tuple[RunningBoard, ...]:
    """Return the boards that are up, by name. Quick, no root."""
    return tuple(running_board(held) for name in _names() if (held := held_state(name)))


def find_board(name: str) -> RunningBoard:
    """Return a board that is up.

    Raises:
        UnknownNameError: no board of this name was ever up.
        DeviceError: it is not up now.
    """
    existing_folder(name)
    if held := held_state(name):
        return running_board(held)
    raise DeviceError(f"virtual board {name} is not up", hint=f"run `edgekit board up {name}`")


def ssh_command(name: str, *, as_root: bool = False) -> list[str]:
    """Return the command that opens a shell on a board; a remote command may be appended.

    Args:
        name: the board's name.
        as_root: as the root of a system board; a user-mode board has none.

    Raises:
        UnknownNameError: no board of this name was ever up.
        UsageError: the board has no root to be.
        DeviceError: it is not up now.
    """
    board = find_board(name)
    if as_root and board.kind != "system":
        raise UsageError(
            f"virtual board {name} has no root: its kernel is this machine's",
            hint=f"edgekit board up {board.target} --name OTHER --kind system",
        )
    return login_command(board, ROOT_USER if as_root else board.user)


def login_command(board: RunningBoard, user: str) -> list[str]:
    """Return the command that opens a shell of a user's on a board."""
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
        *("-p", str(board.port), f"{user}@{board.host}"),
    ]


def need_user_mode(board: RunningBoard, purpose: str) -> None:
    """Refuse a board that is a machine of its own.

    Raises:
        UsageError: it is one.
    """
    if board.kind != "user":
        raise UsageError(
            f"{purpose} takes a user-mode board, and virtual board {board.name} is a system board",
            hint=f"edgekit board up {board.target} --name OTHER --kind user",
        )


def board_folder(name: str) -> Path:
    """Return where a board's own files stand."""
    return boards_folder() / "instances" / name


def existing_folder(name: str) -> Path:
    """Return where the files stand of a board that was up before.

    Raises:
        UnknownNameError: no board of this name was ever up.
    """
    check_name(name, "virtual board")
    if not board_folder(name).is_dir():
        raise unknown_name("virtual board", name, _names())
    return board_folder(name)


def kind_of(name: str) -> BoardKind | None:
    """Return of which kind the board of this name was at last; ``None``: there is none."""
    folder = board_folder(name)
    if not folder.is_dir():
        return None
    try:
        told = (folder / _KIND_FILE).read_text(encoding="ascii").strip()
    except OSError:
        return "user"
    return "system" if told == "system" else "user"


def note_kind(name: str, kind: BoardKind) -> None:
    """Write down of which kind a board is."""
    write_atomically(board_folder(name) / _KIND_FILE, f"{kind}\n".encode())


def held_state(name: str) -> state.BoardState | None:
    """Return the board's state if it is up; what is left of a dead one counts for nothing."""
    held = state.read_state(board_folder(name))
    return held if held and held.name == name and is_alive(held.process) else None


def check_holder(held: state.BoardState | None, target: str, kind: BoardKind) -> None:
    """Refuse a name that another kind of board has now.

    Raises:
        UsageError: it has.
    """
    if held and (held.target != target or held.kind != kind):
        what = held.target if held.target != target else f"{held.kind} board"
        raise UsageError(
            f"virtual board {held.name} is up as a {what}",
            hint=f"take it down first (`edgekit board down {held.name}`), or choose another name",
        )


def running_board(held: state.BoardState) -> RunningBoard:
    """Return how a board is reached that is up."""
    folder, pid = board_folder(held.name), held.process.pid
    is_system = held.kind == "system"
    return RunningBoard(
        name=held.name,
        target=held.target,
        host=HOST,
        port=held.port,
        user=BOARD_USER,
        identity_file=client_key(),
        known_hosts=folder / "known_hosts",
        pid=pid,
        # The mount is seen in the board's own mount namespace only.
        rootfs=None if is_system else Path(f"/proc/{pid}/root{folder}/root"),
        kind="system" if is_system else "user",
    )


def client_key() -> Path:
    """Return the key that logs in to every board."""
    return boards_folder() / "keys" / "id_ed25519"


def _names() -> list[str]:
    return sorted(path.name for path in board_folder("").glob("*") if path.is_dir())
