"""Putting back what stood in the kernel's files before clocks were pinned."""

from device_agent.clocks.plan import GOVERNOR, LIMIT, ORDER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List

    from device_agent.clocks.domains import Files
    from device_agent.clocks.plan import Change

_GONE = ("ENOENT", "ENODEV", "ENXIO")


class Undo:
    """What became of every file that was to be put back.

    Attributes:
        restored: paths that hold again what they held before.
        differing: ``[path, set, found]``: it did not hold what it was set to any more.
        left: paths that somebody else has set meanwhile, and which are his now.
        failed: ``[path, error]``: it refused, and must be tried again.
    """

    def __init__(self) -> None:
        self.restored: "List[str]" = []
        self.differing: "List[List[str]]" = []
        self.left: "List[str]" = []
        self.failed: "List[List[str]]" = []

    def as_json(self) -> "Dict[str, Any]":
        """Return everything as plain JSON values."""
        return {
            "restored": self.restored,
            "differing": self.differing,
            "left": self.left,
            "failed": self.failed,
        }


def undo(files: "Files", changes: "List[Change]") -> Undo:
    """Put back everything, in the order in which the kernel takes it."""
    done = Undo()
    for change in changes:
        found = files.read(change["path"])
        if "set" in change and found not in (change["set"], change["was"]):
            done.differing.append([change["path"], change["set"], found or "nothing"])
    taken = _taken(files, changes)
    for kind in ORDER:
        due = [change for change in changes if change["kind"] == kind]
        if kind == LIMIT:
            # Older kernels refuse a lower limit above the upper one: then the other goes first.
            due = [change for change in due if not _put(files, change, done, again=True)]
        for change in due:
            if kind != LIMIT and _stands_in(change["path"], taken):
                if kind == GOVERNOR:
                    done.left.append(change["path"])
                continue
            _put(files, change, done, again=False)
    return done


def _taken(files: "Files", changes: "List[Change]") -> "List[str]":
    """Return the folders whose governor somebody else has chosen meanwhile.

    Unlike limits, which heat moves too, a governor is chosen by a person or a service of the
    device alone, after us: it is theirs now, and so is what it is tuned to.
    """
    folders = []
    for change in changes:
        found = files.read(change["path"])
        if change["kind"] == GOVERNOR and found not in (None, change["was"], change["set"]):
            folders.append(change["path"].rpartition("/")[0])
    return folders


def _stands_in(path: str, folders: "List[str]") -> bool:
    return any(path.startswith(folder + "/") for folder in folders)


def _put(files: "Files", change: "Change", done: Undo, again: bool) -> bool:
    """Put back one file; tell whether that is settled, where it may be tried ``again``."""
    path, was = change["path"], change["was"]
    # A limit is written even where it reads as before: heat may limit it further for now, and
    # what is read is then the kernel's limit and not the one that was asked for.
    if change["kind"] != LIMIT and files.read(path) == was:
        return True
    why = files.write(path, was)
    if not why:
        done.restored.append(path)
    elif again:
        return False
    elif why not in _GONE and files.read(path) != was:
        done.failed.append([path, why])
    return True
