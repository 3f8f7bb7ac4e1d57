"""Where things stand on the device (the picture is in ``docs/architecture.md``)."""

import os
import re

from device_agent.protocol import VerbError

_SHA256 = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,127}")


class Layout:
    """Paths below the agent's folder."""

    def __init__(self, root: str) -> None:
        self.root = os.path.abspath(root)
        self.store = os.path.join(self.root, "store")
        self.partial = os.path.join(self.root, "partial")
        self.bundles = os.path.join(self.root, "bundles")
        self.runtimes = os.path.join(self.root, "runtimes")
        self.bytecode = os.path.join(self.root, "bytecode")
        self.generations = os.path.join(self.root, "generations")
        self.jobs = os.path.join(self.root, "jobs")
        self.current = os.path.join(self.root, "current")
        self.lock = os.path.join(self.root, "lock")

    def make(self) -> None:
        """Make the folders that are not there."""
        for folder in (
            self.store,
            self.partial,
            self.bundles,
            self.runtimes,
            self.bytecode,
            self.generations,
            self.jobs,
        ):
            os.makedirs(folder, 0o755, exist_ok=True)

    def content(self, sha256: str) -> str:
        """Return where content stands in the store."""
        return os.path.join(self.store, check_sha256(sha256))

    def bundle(self, identity: str) -> str:
        """Return a bundle's folder."""
        return os.path.join(self.bundles, check_sha256(identity))

    def runtime(self, identity: str) -> str:
        """Return a runtime's folder."""
        return os.path.join(self.runtimes, check_name(identity))

    def generation(self, number: int) -> str:
        """Return a generation's folder."""
        return os.path.join(self.generations, str(int(number)))

    def job(self, identity: str) -> str:
        """Return a job's folder."""
        return os.path.join(self.jobs, check_name(identity))


def default_root() -> str:
    """Return ``$EDGEKIT_DEVICE_ROOT``, or ``~/.edgekit``."""
    return os.environ.get("EDGEKIT_DEVICE_ROOT") or os.path.expanduser("~/.edgekit")


def check_sha256(text: object) -> str:
    """Return ``text`` if it is a sha256 in lower-case hex.

    Raises:
        VerbError: it is not.
    """
    if not isinstance(text, str) or not _SHA256.fullmatch(text):
        raise VerbError("bad_request", f"{text!r} is not a sha256")
    return text


def check_name(text: object) -> str:
    """Return ``text`` if it is one plain file name.

    Raises:
        VerbError: it is not.
    """
    if not isinstance(text, str) or not _NAME.fullmatch(text):
        raise VerbError("bad_request", f"{text!r} cannot be a name")
    return text


def check_relative(text: object) -> str:
    """Return ``text`` if it is a path that stays below wherever it is put.

    Raises:
        VerbError: it is not.
    """
    parts = text.split("/") if isinstance(text, str) else [""]
    if any(part in ("", ".", "..") or "\0" in part or "\\" in part for part in parts):
        raise VerbError("bad_request", f"{text!r} is not a path inside a folder")
    return "/".join(parts)
