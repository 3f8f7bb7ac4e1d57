"""Debian's packages of another architecture, fetched by the host's apt; no root, nothing installed.

apt gets lists, a status file and a source of its own, so that neither the host's package lists nor
its architectures matter, and it is told nothing of what the host has.
"""

import json
import os
import re
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgekit.board.privilege import SYSTEM_PATH
from edgekit.board.rootfs import archive_line, boards_folder, check_room
from edgekit.catalog.cache import KeyedCache, remove_tree
from edgekit.core.errors import DeviceError
from edgekit.core.events import EventSink, StepFinished, StepProgress, StepStarted

_OWN_FILES: Final = "apt"


@dataclass(frozen=True)
class Selection:
    """What of Debian's packages makes one folder of the cache.

    Attributes:
        cache: name of the cache, below the folder of boards.
        subject: what the folder holds, in words.
        size_mb: how much is fetched for it.
        architecture: Debian's name of it, such as ``arm64``.
        key: all that is taken; the folder is made anew where it differs.
    """

    cache: str
    subject: str
    size_mb: int
    architecture: str
    key: tuple[object, ...]

    def path(self, suite: str, mirror: str | None) -> Path:
        """Return where the folder stands, or would stand."""
        return self._cache().path_of(self._key(suite, mirror))

    def _cache(self) -> KeyedCache:
        return KeyedCache(boards_folder() / self.cache)

    def _key(self, suite: str, mirror: str | None) -> str:
        return json.dumps([suite, mirror, self.key])

    def folder(
        self,
        suite: str,
        mirror: str | None,
        fill: "Callable[[Path, Path, PackageArchive], str]",
        emit: EventSink,
    ) -> Path:
        """Return the folder; fill it if it is not in the cache.

        Args:
            suite: Debian's name of a release.
            mirror: address of a Debian archive; ``None`` for the host's own.
            fill: takes the folder, one for what is not needed afterwards, and the archive;
                returns the version of what was taken.
            emit: told of the step.

        Raises:
            DeviceError: a package cannot be had.
            DiskFullError: the cache's disk has no room for it.
        """
        step = f"board:{self.cache}"

        def take(folder: Path) -> None:
            emit(StepStarted(step, f"Fetch {self.subject} (once, {self.size_mb} MB)"))
            # Inside, so that what a killed process leaves is found and removed.
            scratch = folder / "scratch"
            try:
                check_room(folder)
                scratch.mkdir()
                line = archive_line(suite, mirror)
                archive = PackageArchive(scratch, line, self.architecture, step, emit)
                version = fill(folder, scratch, archive)
                remove_tree(scratch)
            except BaseException:
                emit(StepFinished(step, "failed", ok=False))
                raise
            emit(StepFinished(step, version))

        key = self._key(suite, mirror)
        return self._cache().build(key, take, emit=emit, subject=self.subject)


class PackageArchive:
    """One suite of a Debian archive, for boards' packages and tools of this host.

    Args:
        folder: for apt's own files; kept by the caller for as long as this is used.
        line: the archive, as a line of ``sources.list``.
        architecture: Debian's name of the boards', such as ``arm64``.
        step: name of the step that fetches from it.
        emit: told of each package.
    """

    def __init__(
        self, folder: Path, line: str, architecture: str, step: str, emit: EventSink
    ) -> None:
        self._step = step
        self._emit = emit
        self.host_architecture = said(["dpkg", "--print-architecture"]).strip()
        self._folder = folder / _OWN_FILES
        for name in ("lists/partial", "archives/partial"):
            (self._folder / name).mkdir(parents=True)
        (self._folder / "status").touch()
        (self._folder / "sources.list").write_text(f"{line}\n", encoding="utf-8")
        self._conf = self._folder / "apt.conf"
        self._conf.write_text(self._settings(architecture), encoding="utf-8")
        self._apt(["apt-get", "update"])

    def dependencies(self, package: str) -> tuple[str, ...]:
        """Return the names of what a package needs, in its own order.

        Raises:
            DeviceError: the archive has no such package.
        """
        told = self._apt(["apt-cache", "depends", "--important", package])
        return tuple(re.findall(r"^ +Depends: ([a-z0-9][a-z0-9.+-]*)", told, re.MULTILINE))

    def download(self, packages: Sequence[str], folder: Path) -> None:
        """Put packages as files into ``folder``; apt verifies each.

        Raises:
            DeviceError: one cannot be had.
        """
        for done, package in enumerate(packages):
            self._emit(StepProgress(self._step, done, len(packages), "packages"))
            self._apt(["apt-get", "download", package], folder)
        self._emit(StepProgress(self._step, len(packages), len(packages), "packages"))

    def _settings(self, architecture: str) -> str:
        both = " ".join(f'"{name}";' for name in (architecture, self.host_architecture))
        folder = self._folder
        return f"""\
APT::Architecture "{architecture}";
APT::Architectures {{ {both} }};
APT::Sandbox::User "";
Acquire::Languages "none";
Acquire::Retries "3";
Dir::State::lists "{folder}/lists";
Dir::State::status "{folder}/status";
Dir::Cache "{folder}";
Dir::Etc::sourcelist "{folder}/sources.list";
Dir::Etc::sourceparts "-";
"""

    def _apt(self, command: list[str], folder: Path | None = None) -> str:
        return said([*command, "-q"], folder, APT_CONFIG=str(self._conf))


def unpack(package: Path, folder: Path) -> None:
    """Unpack a package's files below ``folder``.

    Raises:
        DeviceError: it is broken.
    """
    said(["dpkg-deb", "--extract", package, folder])


def said(command: Sequence[str | Path], folder: Path | None = None, **environment: str) -> str:
    """Run a program and return what it printed.

    Raises:
        DeviceError: it is missing or failed; the message holds the end of what it said.
    """
    wanted = {**os.environ, "PATH": SYSTEM_PATH, "LC_ALL": "C.UTF-8", **environment}
    name = Path(command[0]).name
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=wanted,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except OSError as error:
        raise DeviceError(f"{name} cannot be run: {error.strerror}") from error
    if done.returncode != 0:
        words = (done.stderr or done.stdout).strip()[-1200:]
        raise DeviceError(f"{name} {command[1]} failed:\n{words}")
    return done.stdout
