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

import hashlib
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgekit.board import keys, privilege, requirements, state
from edgekit.board.emulated_cpu import EmulatedCpu, emulated_cpu, shared_features
from edgekit.board.face_plate import face_plate, write_face_plate
from edgekit.board.privilege import Privilege
from edgekit.board.rootfs import (
    BOARD_USER,
    boards_folder,
    build_rootfs,
    recipe_for,
    remove_as_root,
)
from edgekit.catalog.cache import FileLock, remove_tree, write_atomically
from edgekit.core.errors import DeviceError, UsageError
from edgekit.core.events import EventSink, Note, StepFinished, StepStarted, ignore
from edgekit.core.names import check_name, unknown_name
from edgekit.core.target import Target

_HOST: Final = "127.0.0.1"
# Below the range from which Linux takes the ports of outgoing connections (32768 and up).
_PORTS: Final = range(20_022, 30_022)
_START_SCRIPT: Final = Path(__file__).with_name("start_board.sh")
_BOOT_TIMEOUT_S: Final = 60.0
_STOP_TIMEOUT_S: Final = 20.0
_POLL_S: Final = 0.02


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


@dataclass(frozen=True)
class _Plan:
    """Everything that a board is started from."""

    name: str
    target: Target
    cpu: EmulatedCpu
    face: dict[str, bytes]
    rootfs_name: str

    @property
    def folder(self) -> Path:
        return _folder(self.name)

    @property
    def fingerprint(self) -> str:
        digest = hashlib.sha256(_START_SCRIPT.read_bytes())
        for path, content in sorted(self.face.items()):
            digest.update(f"{path} {len(content)} ".encode() + content)
        fixed = (self.name, self.target.name, self.rootfs_name, self.cpu.model, self.cpu.version)
        digest.update(json.dumps(fixed).encode() + keys.sshd_config(0, self.cpu.model).encode())
        return digest.hexdigest()


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
        mirror: Debian archive to make the root file system from; ``None`` for the host's own.
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
        plan = _Plan(name, target, cpu, face, recipe.name)
        if held and held.fingerprint == plan.fingerprint:
            return _running(held)
        root = privilege.obtain(f"starting virtual board {name}")
        if held:
            emit(Note(f"virtual board {name} was started by another edgekit: starting it anew"))
            _stop(held, root)
        requirements.enable_binfmt(root)
        build_rootfs(recipe, root, mirror=mirror, emit=emit)
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
            emit(StepStarted(step, f"stopping virtual board {name}"))
            _stop(held, privilege.obtain(f"stopping virtual board {name}"))
            emit(StepFinished(step))
        state.forget_state(folder)
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
    return held if held and held.name == name and state.is_alive(held.process) else None


def _running(held: state.BoardState) -> RunningBoard:
    folder, pid = _folder(held.name), held.process.pid
    return RunningBoard(
        name=held.name,
        target=held.target,
        host=_HOST,
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


def _start(plan: _Plan, root: Privilege, emit: EventSink) -> RunningBoard:
    step = f"board:up:{plan.name}"
    emit(StepStarted(step, f"starting virtual board {plan.name} ({plan.cpu.model})"))
    if not plan.cpu.exact:
        cores = " + ".join(cluster.core for cluster in plan.target.clusters)
        emit(Note(f"{plan.cpu.emulator} {plan.cpu.version} emulates {plan.cpu.model} for {cores}"))
    try:
        _drop_foreign_files(plan, root, emit)
        held = _launch(plan, root)
    except BaseException:
        emit(StepFinished(step, "failed", ok=False))
        raise
    emit(StepFinished(step, f"{_HOST}:{held.port}"))
    return _running(held)


def _drop_foreign_files(plan: _Plan, root: Privilege, emit: EventSink) -> None:
    """Remove what a board wrote on top of another root file system than today's."""
    note = plan.folder / "rootfs-name"
    before = note.read_text(encoding="ascii") if note.is_file() else plan.rootfs_name
    if before != plan.rootfs_name:
        emit(Note(f"virtual board {plan.name} has a new root file system: its files are dropped"))
        for part in ("upper", "work", "copy", "copy.complete"):
            remove_as_root(plan.folder / part, root)
    write_atomically(note, plan.rootfs_name.encode())


def _launch(plan: _Plan, root: Privilege) -> state.BoardState:
    """Start the board on the first port that proves to be free.

    Raises:
        DeviceError: it did not come up.
    """
    for port in _free_ports(plan.name):
        _write_files(plan, port)
        process = _spawn(plan, root)
        try:
            if _answers(process, port):
                held = state.BoardState(
                    plan.name, plan.target.name, port, plan.fingerprint, process
                )
                state.write_state(plan.folder, held)
                return held
        except BaseException:
            _kill(process, root)
            raise
        log = _log(plan).read_text(encoding="utf-8", errors="replace")
        # Another program took the port in the moment since it was found free.
        if "Address already in use" not in log:
            raise DeviceError(
                f"virtual board {plan.name} did not start:\n{log.strip()[-800:]}",
                hint=f"the whole log is {_log(plan)}",
            )
    raise DeviceError(f"no port is free for virtual board {plan.name} on {_HOST}")


def _free_ports(name: str) -> Iterator[int]:
    """Yield free ports: that of the board's last start first, then its own place in the range."""
    folder = _folder(name)
    with suppress(OSError, ValueError, IndexError):
        text = (folder / "known_hosts").read_text(encoding="ascii")
        last = int(text.split()[0].rpartition(":")[2])
        if last in _PORTS and _is_free(last):
            yield last
    first = int.from_bytes(hashlib.sha256(os.fsencode(folder)).digest()[:4], "big")
    for offset in range(len(_PORTS)):
        port = _PORTS[(first + offset) % len(_PORTS)]
        if _is_free(port):
            yield port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError:
            return False
    return True


def _write_files(plan: _Plan, port: int) -> None:
    """Lay out what the start script puts into the board."""
    folder = plan.folder
    host_key = keys.ensure_key(folder / "keys" / "ssh_host_ed25519_key", plan.name)
    client_key = keys.ensure_key(_client_key(), "edgekit virtual boards")
    keys.write_known_hosts(folder / "known_hosts", port, host_key)
    remove_tree(folder / "face")
    write_face_plate(plan.face, folder / "face")
    own = f"etc/{keys.CONFIG_FOLDER}"
    marker = state.boot_marker(plan.target.name, plan.cpu.version, plan.cpu.model)
    for path, content in {
        f"{own}/virtual-board.json": marker,
        f"{own}/sshd_config": keys.sshd_config(port, plan.cpu.model).encode(),
        f"{own}/authorized_keys": f"{keys.public_key(client_key)}\n".encode(),
        "etc/hostname": f"{plan.name}\n".encode(),
        "etc/hosts": f"127.0.0.1 localhost {plan.name}\n".encode(),
    }.items():
        write_atomically(folder / path, content)
    write_atomically(folder / own / host_key.name, host_key.read_bytes(), mode=0o600)


def _log(plan: _Plan) -> Path:
    return plan.folder / "log"


def _spawn(plan: _Plan, root: Privilege) -> state.ProcessMark:
    """Start the board's first process, free of this process and its terminal."""
    pid_file = plan.folder / "pid"
    remove_as_root(pid_file, root)
    board: list[str | Path] = [
        _START_SCRIPT,
        plan.folder,
        plan.rootfs_name,
        plan.name,
        plan.cpu.model,
    ]
    namespaces = ["unshare", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child"]
    # The shell becomes unshare, so the id it writes down is that of unshare.
    note_pid: list[str | Path] = ["sh", "-c", 'echo $$ >"$1"; shift; exec "$@"', "sh", pid_file]
    command = root.command(["setsid", "--fork", *note_pid, *namespaces, "sh", *board])
    with _log(plan).open("wb") as log:
        subprocess.run(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=True)
    deadline = time.monotonic() + _BOOT_TIMEOUT_S
    while time.monotonic() < deadline:
        with suppress(OSError, ValueError):
            pid = int(pid_file.read_text(encoding="ascii"))
            if mark := state.mark_process(pid):
                return mark
            break
        time.sleep(_POLL_S)
    said = _log(plan).read_text(encoding="utf-8", errors="replace").strip()
    raise DeviceError(f"virtual board {plan.name} ended at once: {said[-500:]}")


def _answers(process: state.ProcessMark, port: int) -> bool:
    """Wait until sshd greets, or the board is dead, or the time is over."""
    deadline = time.monotonic() + _BOOT_TIMEOUT_S
    while time.monotonic() < deadline and state.is_alive(process):
        with suppress(OSError), socket.create_connection((_HOST, port), timeout=10) as link:
            if link.recv(8).startswith(b"SSH-2.0"):
                # Alive still: then the greeting was not that of a stranger on the same port.
                return state.is_alive(process)
        time.sleep(_POLL_S)
    return False


def _stop(held: state.BoardState, root: Privilege) -> None:
    """End everything on the board.

    Raises:
        DeviceError: it is still there.
    """
    _kill(held.process, root)
    if state.is_alive(held.process):
        raise DeviceError(
            f"virtual board {held.name} does not stop",
            hint=f"its process is {held.process.pid}; look at it with `ps`",
        )


def _kill(process: state.ProcessMark, root: Privilege) -> None:
    """Kill the first process of the board's pid namespace, and with it the kernel kills the rest.

    ``unshare``, its parent, then ends by itself; it is killed where it has no child yet.
    """
    child = state.child_of(process.pid)
    first = state.mark_process(child) if child else None
    doomed = [mark for mark in (first, process) if mark]
    _signal(doomed[0], root)
    deadline = time.monotonic() + _STOP_TIMEOUT_S
    while time.monotonic() < deadline:
        if not any(map(state.is_alive, doomed)):
            return
        time.sleep(_POLL_S)


def _signal(mark: state.ProcessMark, root: Privilege) -> None:
    if root.prefix:
        if state.is_alive(mark):
            root.run(["sh", "-c", 'kill -KILL "$1"', "sh", str(mark.pid)])
        return
    with suppress(ProcessLookupError):
        # A descriptor stays with its process: the id cannot pass to another one in between.
        descriptor = os.pidfd_open(mark.pid)
        try:
            if state.is_alive(mark):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        finally:
            os.close(descriptor)
