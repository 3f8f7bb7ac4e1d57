"""Debian's packages of another architecture, fetched by the host's apt; no root, nothing installed.

apt gets lists, a status file and a source of its own, so that neither the host's package lists nor
its architectures matter, and it is told nothing of what the host has.
"""

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from edgekit.board.privilege import SYSTEM_PATH
from edgekit.core.errors import DeviceError
from edgekit.core.events import EventSink, StepProgress

_OWN_FILES: Final = "apt"


class PackageArchive:
    """One suite of a Debian archive, for boards' packages and tools of this host.

    Args:
        folder: for apt's own files; kept by the caller for as long as this is used.
        line: the archive, as a line of ``sources.list``.
        architecture: Debian's name of the boards', such as ``arm64``.
    """

    def __init__(self, folder: Path, line: str, architecture: str) -> None:
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

    def download(self, packages: Sequence[str], folder: Path, step: str, emit: EventSink) -> None:
        """Put packages as files into ``folder``; apt verifies each.

        Raises:
            DeviceError: one cannot be had.
        """
        for done, package in enumerate(packages):
            emit(StepProgress(step, done, len(packages), "packages"))
            self._apt(["apt-get", "download", package], folder)
        emit(StepProgress(step, len(packages), len(packages), "packages"))

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
