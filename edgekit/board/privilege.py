"""Root, where a virtual board needs it: mounting, namespaces, chroot."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekit.core.errors import DeviceError

# Users other than root often lack the system folders, where most of what is needed here stands.
SYSTEM_PATH = os.pathsep.join(
    (os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin")
)


@dataclass(frozen=True)
class Privilege:
    """How to run a command as root: ``prefix`` stands before it."""

    prefix: tuple[str, ...] = ()

    def command(self, argv: Sequence[str | Path]) -> list[str]:
        """Return ``argv`` as it must be started to run as root."""
        return [*self.prefix, *map(str, argv)]

    def run(self, argv: Sequence[str | Path]) -> str:
        """Run ``argv`` as root, wait for it and return what it printed.

        Raises:
            DeviceError: it failed; the message holds the end of what it said.
        """
        done = subprocess.run(
            self.command(argv), stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
        if done.returncode != 0:
            said = (done.stderr or done.stdout).decode(errors="replace").strip()
            raise DeviceError(f"{' '.join(map(str, argv))} failed: {said[-500:]}")
        return done.stdout.decode(errors="replace")


def obtain(purpose: str) -> Privilege:
    """Return the way to root: this process itself, or ``sudo`` without a question.

    Args:
        purpose: what root is needed for, as the error shall put it.

    Raises:
        DeviceError: there is neither.
    """
    if os.geteuid() == 0:
        return Privilege()
    if sudo := shutil.which("sudo"):
        prefix = (sudo, "--non-interactive")
        asked = subprocess.run(
            [*prefix, "true"], stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
        if asked.returncode == 0:
            return Privilege(prefix)
        raise DeviceError(
            f"{purpose} needs root, and sudo wants a password",
            hint="run `sudo -v`, then the same command again",
        )
    raise DeviceError(f"{purpose} needs root", hint="run the same command as root")
