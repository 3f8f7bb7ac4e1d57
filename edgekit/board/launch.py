"""Starting a board: its files laid out, its namespaces made, its sshd waited for."""

import hashlib
import json
import os
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgekit.board import keys
from edgekit.board.emulated_cpu import EmulatedCpu
from edgekit.board.face_plate import write_face_plate
from edgekit.board.ports import HOST, free_ports
from edgekit.board.privilege import Privilege
from edgekit.board.process import POLL_S, ProcessMark, is_alive, kill_board, mark_process
from edgekit.board.rootfs import remove_as_root
from edgekit.board.state import BoardState, write_state
from edgekit.catalog.cache import remove_tree, write_atomically
from edgekit.core.errors import DeviceError
from edgekit.core.events import EventSink, Note
from edgekit.core.target import Target

PID_FILE: Final = "pid"
_START_SCRIPT: Final = Path(__file__).with_name("start_board.sh")
_BOOT_TIMEOUT_S: Final = 60.0


@dataclass(frozen=True)
class Plan:
    """Everything that a board is started from."""

    name: str
    target: Target
    cpu: EmulatedCpu
    face: dict[str, bytes]
    rootfs_name: str
    folder: Path
    client_key: Path

    @property
    def fingerprint(self) -> str:
        """A hash that differs where the board would be started differently."""
        digest = hashlib.sha256(_START_SCRIPT.read_bytes())
        for path, content in sorted(self.face.items()):
            digest.update(f"{path} {len(content)} ".encode() + content)
        fixed = (self.name, self.target.name, self.rootfs_name, self.cpu.model, self.cpu.version)
        digest.update(json.dumps(fixed).encode() + keys.sshd_config(0, self.cpu.model).encode())
        return digest.hexdigest()


def launch(plan: Plan, root: Privilege) -> BoardState:
    """Start the board on the first port that proves to be free.

    Raises:
        DeviceError: it did not come up.
    """
    stop_orphan(plan.folder, root)
    for port in free_ports(plan.folder):
        _write_files(plan, port)
        process = _spawn(plan, root)
        held = BoardState(plan.name, plan.target.name, port, plan.fingerprint, process)
        up = False
        try:
            up = _listens(plan, process, port)
            if up:
                write_state(plan.folder, held)
                return held
        finally:
            if not up:
                kill_board(process, root)
        # Another program took the port in the moment since it was found free.
        if "Address already in use" not in _said(plan):
            raise DeviceError(
                f"virtual board {plan.name} did not start:\n{_said(plan)}",
                hint=f"the whole log is {_log(plan)}",
            )
    raise DeviceError(f"no port is free for virtual board {plan.name} on {HOST}")


def drop_foreign_files(plan: Plan, root: Privilege, emit: EventSink) -> None:
    """Remove what a board wrote on top of another root file system than today's."""
    note = plan.folder / "rootfs-name"
    before = note.read_text(encoding="ascii") if note.is_file() else plan.rootfs_name
    if before != plan.rootfs_name:
        emit(Note(f"virtual board {plan.name} has a new root file system: its files are dropped"))
        for part in ("upper", "work", "copy", "copy.complete"):
            remove_as_root(plan.folder / part, root)
    write_atomically(note, plan.rootfs_name.encode())


def _write_files(plan: Plan, port: int) -> None:
    """Lay out what the start script puts into the board."""
    folder = plan.folder
    host_key = keys.ensure_key(folder / "keys" / "ssh_host_ed25519_key", plan.name)
    client_key = keys.ensure_key(plan.client_key, "edgekit virtual boards")
    keys.write_known_hosts(folder / "known_hosts", port, host_key)
    remove_tree(folder / "face")
    write_face_plate(plan.face, folder / "face")
    own = f"etc/{keys.CONFIG_FOLDER}"
    # By this file the device agent knows that times mean nothing here.
    marker = {
        "target": plan.target.name,
        "kind": "user",
        "qemu": plan.cpu.version,
        "cpu": plan.cpu.model,
    }
    for path, content in {
        f"{own}/virtual-board.json": f"{json.dumps(marker, sort_keys=True)}\n".encode(),
        f"{own}/sshd_config": keys.sshd_config(port, plan.cpu.model).encode(),
        f"{own}/authorized_keys": f"{keys.public_key(client_key)}\n".encode(),
        "etc/hostname": f"{plan.name}\n".encode(),
        "etc/hosts": f"127.0.0.1 localhost {plan.name}\n".encode(),
    }.items():
        write_atomically(folder / path, content)
    write_atomically(folder / own / host_key.name, host_key.read_bytes(), mode=0o600)


def _log(plan: Plan) -> Path:
    return plan.folder / "log"


def _said(plan: Plan) -> str:
    return _log(plan).read_text(encoding="utf-8", errors="replace").strip()[-800:]


def _spawn(plan: Plan, root: Privilege) -> ProcessMark:
    """Start the board's first process, free of this process and its terminal."""
    pid_file = plan.folder / PID_FILE
    pid_file.unlink(missing_ok=True)
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
        started = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False
        )
    deadline = time.monotonic() + _BOOT_TIMEOUT_S
    while started.returncode == 0 and time.monotonic() < deadline:
        with suppress(OSError, ValueError):
            if process := mark_process(int(pid_file.read_text(encoding="ascii"))):
                return process
            break  # it was started, and is gone
        time.sleep(POLL_S)
    raise DeviceError(
        f"virtual board {plan.name} ended at once: {_said(plan)}",
        hint=f"the whole log is {_log(plan)}",
    )


def _listens(plan: Plan, process: ProcessMark, port: int) -> bool:
    """Wait until sshd listens, or the board is dead, or the time is over.

    Its own word counts, not a greeting on the port, which may be a stranger's.
    """
    deadline = time.monotonic() + _BOOT_TIMEOUT_S
    while time.monotonic() < deadline and is_alive(process):
        if f"Server listening on {HOST} port {port}." in _said(plan):
            return True
        time.sleep(POLL_S)
    return False


def stop_orphan(folder: Path, root: Privilege) -> None:
    """Stop a board that was started but never written down, its starter having been killed."""
    with suppress(OSError, ValueError):
        pid = int((folder / PID_FILE).read_text(encoding="ascii"))
        process = mark_process(pid)
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        # The folder itself, or a file in it: that is how the two kinds of boards are told.
        own = os.fsencode(folder)
        told = any(word == own or word.startswith(own + b"/") for word in words)
        program = Path(os.fsdecode(words[0])).name
        if process and told and program.startswith(("unshare", "qemu-system")):
            kill_board(process, root)
