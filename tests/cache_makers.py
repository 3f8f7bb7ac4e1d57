"""A cache with things in it that were used some time ago, and processes that use them."""

import os
import struct
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

from edgekit.app.cache_entries import KINDS
from edgekit.app.cache_removal import plan_removal, remove
from edgekit.catalog.cache import KeyedCache, cache_root
from edgekit.catalog.in_use import let_go

DAY_S = 24 * 3600.0
MONTH_S = 30 * DAY_S
LOCK = """
from edgekit.catalog.cache import FileLock
lock = FileLock(Path(sys.argv[1]))
lock.acquire()
"""
"""A program for ``using`` that has a lock."""


def age(path, days):
    """Make a folder or file look as if it was last used so long ago."""
    then = time.time() - days * DAY_S
    os.utime(path, (then, then))
    return path


def made(store, key="k", *, days=0.0, files=("file",), size=5000):
    """Build a folder in a store of the cache, as a process that has ended since then."""

    def fill(folder):
        for name in files:
            (folder / name).write_bytes(os.urandom(size))

    path = KeyedCache(cache_root() / store).build(key, fill)
    let_go()
    return age(path, days)


def made_rootfs(name, *, days=0.0):
    """Lay out a root file system, whose own time says nothing, with its log."""
    folder = cache_root() / "boards" / name
    (folder / "etc").mkdir(parents=True)
    (folder / "etc" / "hostname").write_text("debian\n")
    log = folder.with_name(f"{name}.log")
    log.write_text("made")
    age(log, days)
    return folder


def qcow2(disk, image):
    """Write the head of a disk that holds changes to an image, as QEMU does."""
    name = os.fsencode(image / "disk.img")
    disk.parent.mkdir(parents=True, exist_ok=True)
    disk.write_bytes(b"QFI\xfb" + struct.pack(">IQI", 3, 104, len(name)) + b"\0" * 84 + name)
    return disk


def board(name, *, rootfs=None, image=None):
    """Lay out a virtual board's own files."""
    folder = cache_root() / "boards" / "instances" / name
    folder.mkdir(parents=True, exist_ok=True)
    if rootfs is not None:
        (folder / "upper").mkdir()
        (folder / "rootfs-name").write_text(rootfs)
    if image is not None:
        qcow2(folder / "disk.qcow2", image)
    return folder


@contextmanager
def using(code, *arguments):
    """Run a program until it has done what it should, and keep it there."""
    whole = f"import sys\nfrom pathlib import Path\n{code}\nprint('there', flush=True)\ninput()"
    process = subprocess.Popen(
        [sys.executable, "-c", whole, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline() == "there\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def everything(root: Path) -> set[Path]:
    """Return all there is in a cache, but for what its keepers put beside it."""
    own = {".in-use", ".locks", ".prune.lock"}
    return {path for path in root.rglob("*") if not own & set(path.relative_to(root).parts)}


def prune(older_than_s=MONTH_S, kinds=tuple(KINDS)):
    """Prune as a process does that looks first; return what went, and why the rest stayed."""
    removed = remove(plan_removal(older_than_s, kinds), older_than_s, kinds)
    return {entry.path for entry, _ in removed.entries}, {
        entry.path: entry.needed for entry in removed.needed
    }
