"""Root file systems of virtual boards, made once per recipe by mmdebstrap."""

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from edgekit.board import apt_sources
from edgekit.board.privilege import SYSTEM_PATH, Privilege
from edgekit.board.process import find_unshare, kill_board
from edgekit.catalog.cache import FileLock, cache_root
from edgekit.catalog.in_use import hold, mount_points
from edgekit.core.errors import DeviceError, DiskFullError, UsageError
from edgekit.core.events import EventSink, StepFinished, StepProgress, StepStarted
from edgekit.core.names import Architecture

BOARD_USER: Final = "edge"
# Twice what the largest of them takes once it is made.
_ROOM_BYTES: Final = 1 << 30


@dataclass(frozen=True)
class RootfsRecipe:
    """All that a root file system's content depends on, but for the archive's state.

    Attributes:
        base: what it begins from, as a copy, beside which ``packages`` and ``hooks`` are.
        early_hooks: what is done before the packages are there.
        hooks: what is done when they are.
    """

    architecture: str
    suite: str
    packages: tuple[str, ...]
    base: "RootfsRecipe | None" = None
    left_out: tuple[str, ...] = (
        "/usr/share/man/*",
        "/usr/share/doc/*",
        "/usr/share/locale/*",
        "/usr/share/info/*",
    )
    # OpenSSH's package makes the keys that are not there: long work for an emulated processor.
    early_hooks: tuple[str, ...] = (
        'mkdir -p "$1"/etc/ssh',
        'for kind in rsa ecdsa ed25519; do touch "$1"/etc/ssh/ssh_host_${kind}_key; done',
    )
    # '*' is a password that nothing matches, yet no lock: sshd refuses locked accounts.
    hooks: tuple[str, ...] = (
        f'chroot "$1" useradd --create-home --shell /bin/bash --password "*" {BOARD_USER}',
        # Each board has its own; a shared one would make every board the same to a client.
        'rm -f "$1"/etc/ssh/ssh_host_*',
    )

    @property
    def name(self) -> str:
        """Folder name: what it is for people, and a hash of all of it."""
        text = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))
        return f"rootfs-{self.architecture}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


_PACKAGES: Final = ("openssh-server", "procps", "python3")
_RECIPES: Final = {
    # NumPy comes with the engine's wheels, as on any board.
    "aarch64": RootfsRecipe("arm64", "bookworm", _PACKAGES),
    # PyPI has no NumPy wheel for armv7l, so Debian's own stands in, as on a real 32-bit board.
    "armv7l": RootfsRecipe("armhf", "bookworm", (*_PACKAGES, "python3-numpy")),
}


def recipe_for(architecture: Architecture) -> RootfsRecipe:
    """Return the recipe for a userland architecture.

    Raises:
        UsageError: edgekit makes no virtual board of that architecture.
    """
    if recipe := _RECIPES.get(architecture):
        return recipe
    raise UsageError(
        f"there is no virtual board for {architecture}",
        hint="virtual boards are ARM boards; use --target local for this machine itself",
    )


def boards_folder() -> Path:
    """Return the folder in the cache that holds all there is of virtual boards."""
    return cache_root() / "boards"


def rootfs_path(recipe: RootfsRecipe) -> Path:
    """Return where the root file system stands, or would stand; it is not pruned under us."""
    hold(boards_folder())
    with suppress(OSError):
        rootfs_lock(recipe.name).touch()
    return boards_folder() / recipe.name


def rootfs_lock(name: str) -> Path:
    """Return the lock of who makes a root file system; its mtime is when that was last used."""
    return boards_folder() / ".locks" / name


def build_rootfs(
    recipe: RootfsRecipe, root: Privilege, *, mirror: str | None = None, emit: EventSink
) -> Path:
    """Return the root file system's folder; make it if it is not in the cache.

    It takes minutes the first time. The log stays beside it as ``<name>.log``.

    Args:
        recipe: what shall be in it.
        root: how to become root.
        mirror: address of a Debian archive; ``None`` for the host's own.
        emit: told of each package.

    Raises:
        DeviceError: mmdebstrap failed; the message holds the end of its log.
        DiskFullError: the cache's disk has no room for it.
    """
    path = rootfs_path(recipe)
    if path.is_dir():
        return path
    if recipe.base is not None:
        build_rootfs(recipe.base, root, mirror=mirror, emit=emit)
    subject = f"the Debian {recipe.architecture} root file system"
    with FileLock(rootfs_lock(recipe.name), emit, subject):
        hold(boards_folder())
        if path.is_dir():
            return path
        check_room(path.parent)
        _remove_abandoned(recipe, root)
        building = path.parent / f".building-{recipe.name}-{os.getpid()}"
        step = f"board:rootfs:{recipe.architecture}"
        emit(StepStarted(step, f"Make {subject} (once, some minutes)"))
        try:
            _run_mmdebstrap(recipe, root, building, mirror, emit)
            building.rename(path)
        except BaseException:
            emit(StepFinished(step, "failed", ok=False))
            _remove_abandoned(recipe, root)
            raise
        emit(StepFinished(step, recipe.name))
    return path


def remove_as_root(folder: Path, root: Privilege) -> None:
    """Remove a folder that root wrote. What may be mounted inside it is unmounted, not removed.

    Raises:
        DeviceError: something in it cannot be unmounted or removed.
    """
    for mounted in reversed(_mounts_below(folder)):
        root.run(["umount", mounted])
    if folder.exists():
        root.run(["rm", "-rf", "--one-file-system", folder])


def _mounts_below(folder: Path) -> list[Path]:
    """Return the mount points in or below ``folder``, in the order they were mounted."""
    return [path for path in mount_points() if path.is_relative_to(folder.resolve())]


def _remove_abandoned(recipe: RootfsRecipe, root: Privilege) -> None:
    """Remove what was left half made; the caller holds the lock.

    What still cannot be removed, since a killed process is only about to end, is removed next time.
    """
    for left in boards_folder().glob(f".building-{recipe.name}-*"):
        with suppress(DeviceError):
            remove_as_root(left, root)


def check_room(folder: Path) -> None:
    """Refuse to begin where there is not the room that making a board's parts takes.

    Raises:
        DiskFullError: there is not.
    """
    free = shutil.disk_usage(folder).free
    if free < _ROOM_BYTES:
        raise DiskFullError(
            f"{folder} has {free >> 20} MiB free; a board's root file system or kernel "
            f"needs {_ROOM_BYTES >> 20} MiB while it is made",
            hint="free some space, or set EDGEKIT_CACHE_DIR to a larger disk",
        )


def archive_line(suite: str, mirror: str | None) -> str:
    """Return the one line of sources.list that a board's packages come from.

    Only the main suite: what a board must show does not depend on the latest updates, and the
    smaller archives were seen inconsistent for armhf.
    """
    if mirror is not None:
        key = apt_sources.DEBIAN_KEYRING
        return f"deb [signed-by={key}] {mirror} {suite} main"
    sources = apt_sources.read_sources()
    archive = apt_sources.debian_archive(sources, apt_sources.host_codename() or suite)
    return f"deb [signed-by={archive.signed_by}] {archive.uri} {suite} main"


def mmdebstrap_command(
    recipe: RootfsRecipe, folder: Path, archive_line: str, proxy: str | None
) -> list[str]:
    """Return the command that fills ``folder``."""
    return [
        # Programs of its own making outlive a killed mmdebstrap; they do not outlive a namespace.
        *("setpriv", "--pdeathsig", "KILL"),
        *("unshare", "--mount", "--pid", "--mount-proc", "--fork", "--kill-child"),
        "mmdebstrap",
        "--verbose",
        f"--architectures={recipe.architecture}",
        f"--variant={'minbase' if recipe.base is None else 'custom'}",
        "--mode=root",
        "--format=directory",
        *_install_options(recipe),
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in recipe.left_out),
        '--aptopt=APT::Install-Recommends "false"',
        *([f'--aptopt=Acquire::http::Proxy "{proxy}"'] if proxy else []),
        *(f"--customize-hook={hook}" for hook in recipe.hooks),
        recipe.suite,
        str(folder),
        archive_line,
    ]


def _install_options(recipe: RootfsRecipe) -> list[str]:
    if recipe.base is None:
        early = (f"--essential-hook={hook}" for hook in recipe.early_hooks)
        return [f"--include={','.join(recipe.packages)}", *early]
    base = shlex.quote(str(rootfs_path(recipe.base)))
    sources, kept = '"$1"/etc/apt/sources.list', '"$1"/.sources.list'
    # The archive is that of this call, whichever the base came from.
    begin = f'mv {sources} {kept} && cp -a --reflink=auto {base}/. "$1" && mv {kept} {sources}'
    # As mmdebstrap does it: apt is the host's, and dpkg runs in there.
    install = (
        'DEBIAN_FRONTEND=noninteractive APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" apt-get --yes '
        f'-oDPkg::Chroot-Directory="$1" install {" ".join(recipe.packages)}'
    )
    return [f"--setup-hook={begin}", f"--customize-hook={install}"]


def _run_mmdebstrap(
    recipe: RootfsRecipe,
    root: Privilege,
    folder: Path,
    mirror: str | None,
    emit: EventSink,
) -> None:
    command = mmdebstrap_command(
        recipe, folder, archive_line(recipe.suite, mirror), apt_sources.host_proxy()
    )
    log = folder.parent / f"{recipe.name}.log"
    rounds = 2 if recipe.base is None else 1
    progress = InstallProgress(f"board:rootfs:{recipe.architecture}", emit, rounds)
    with (
        log.open("w", encoding="utf-8") as kept,
        subprocess.Popen(
            root.command(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env={**os.environ, "PATH": SYSTEM_PATH, "LC_ALL": "C.UTF-8"},
        ) as process,
    ):
        try:
            assert process.stdout is not None  # noqa: S101 - it was asked for as a pipe
            for line in process.stdout:
                kept.write(line)
                progress.read(line)
        except BaseException:
            if running := find_unshare(process.pid):
                kill_board(running, root)
            raise
    if process.returncode != 0:
        end = log.read_text(encoding="utf-8", errors="replace").splitlines()[-12:]
        raise DeviceError(
            f"mmdebstrap could not make the {recipe.architecture} root file system:\n"
            + "\n".join(end),
            hint=f"the whole log is {log}",
        )


class InstallProgress:
    """Turns what mmdebstrap, apt and dpkg say into progress: packages set up, of how many.

    A round's number is known only when it begins: until the last does, the total is not known.

    Args:
        step: whose progress it is.
        emit: told of it.
        rounds: in how many they are installed: one where another file system is begun from.
    """

    _PLANNED: Final = re.compile(r"\d+ upgraded, (\d+) newly installed")

    def __init__(self, step: str, emit: EventSink, rounds: int = 2) -> None:
        self._step = step
        self._emit = emit
        self._rounds = rounds
        self._planned: list[int] = []
        self._done = 0

    def read(self, line: str) -> None:
        """Take one line of output."""
        if planned := self._PLANNED.match(line):
            self._planned.append(int(planned[1]))
        elif line.startswith("Setting up "):
            self._done += 1
            total = sum(self._planned) if len(self._planned) >= self._rounds else None
            self._emit(StepProgress(self._step, self._done, total, "packages"))
