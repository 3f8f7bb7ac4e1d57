"""Runs on a system board, as its root: writes images to disks as edgekit does it.

Takes requests and gives answers, each a line of JSON:

- ``{"run": COMMAND}``: a shell command's output. It must not fail.
- ``{"write": IMAGE, "disks": [PATH], "cached": [PATH], "events": [EVENT], "stall_s": SECONDS}``:
  the error of each disk. One that is ``cached`` is written and read through the page cache, as
  where a file system refuses anything else. An event is a list of a disk, ``write`` or ``read``,
  a place, and a request that is done once, before that place is written or read.
- ``{"flip": PATH, "at": PLACE}``: turns a bit of what a disk holds.
- ``{"look": PATH, "image": IMAGE}``: what a disk itself holds: ``whole``, ``cleared`` (there is
  nothing in its first MiB), ``before`` (it begins as ``before`` does), or ``mixed``.
- ``{"refuse": PATH, "bytes": SIZE, "allow_system": FLAG}``: why a disk must not be written to;
  ``null`` if it may.
- ``{"list": ""}``: the disks of the board.
"""

import fcntl
import json
import mmap
import os
import subprocess
import sys
from pathlib import Path

from edgekit.core.errors import FlashError
from edgekit.flash.disks import disk_at, find_disks, refuse, refuse_claimed
from edgekit.flash.memory import buffer
from edgekit.flash.source import open_image
from edgekit.flash.write import write_image
from edgekit.flash.write_disk import DiskFile

MIB = 1 << 20
BLKFLSBUF = 0x1261


def run(job):
    command = ["sh", "-e", "-c", job["run"]]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(
            f"{job['run']} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        )
    return done.stdout


def write(job):
    events = [list(event) for event in job.get("events", [])]

    class Watched(DiskFile):
        """The disk as it is, but for what happens around it."""

        def __init__(self, disk):
            super().__init__(disk)
            if self._direct is None:
                raise RuntimeError(f"{disk.path} cannot be opened past the page cache")
            if str(disk.path) in job.get("cached", []):
                os.close(self._direct)
                self._direct = None

        def write(self, offset, view):
            self._happens("write", offset, len(view))
            super().write(offset, view)

        def read(self, offset, view):
            self._happens("read", offset, len(view))
            super().read(offset, view)

        def _happens(self, done, offset, length):
            for event in events:
                path, when, at, request = event
                if (path, when) == (str(self.disk.path), done) and offset <= at < offset + length:
                    event[1] = "over"
                    answer(request)

    disks = [disk_at(Path(path)) for path in job["disks"]]
    with open_image(job["write"], cache=Path("cache")) as source:
        results = write_image(source, disks, opener=Watched, stall_s=job.get("stall_s", 120.0))
    return [each.error for each in results]


def flip(job):
    start = job["at"] - job["at"] % mmap.PAGESIZE
    page = buffer(mmap.PAGESIZE)
    # Device mapper holds the disk: it cannot be opened as the writer does.
    disk = os.open(job["flip"], os.O_RDWR | os.O_DIRECT)
    try:
        os.preadv(disk, [page], start)
        page[job["at"] - start] ^= 1
        os.pwrite(disk, page, start)
    finally:
        os.close(disk)


def look(job):
    image = Path(job["image"]).read_bytes()
    with Path(job["look"]).open("rb") as disk:
        fcntl.ioctl(disk, BLKFLSBUF, 0)
        held = disk.read(len(image))
    if held == image:
        return "whole"
    if held[:MIB] == bytes(MIB):
        return "cleared"
    return "before" if held[:MIB] == Path("before").read_bytes()[:MIB] else "mixed"


def why_refused(job):
    try:
        disk = disk_at(Path(job["refuse"]))
        refuse(disk, job.get("bytes"), allow_system=job.get("allow_system", False))
        refuse_claimed(disk)
    except FlashError as error:
        return error.message
    return None


def found(_job):
    return [[str(disk.path), disk.size_bytes, disk.model, disk.removable] for disk in find_disks()]


ANSWERS = {
    "run": run,
    "write": write,
    "flip": flip,
    "look": look,
    "refuse": why_refused,
    "list": found,
}


def answer(job):
    (done,) = (done for verb, done in ANSWERS.items() if verb in job)
    return done(job)


def main():
    for line in sys.stdin:
        try:
            told = {"answer": answer(json.loads(line))}
        except Exception as error:  # noqa: BLE001 - whatever it is, the test is told
            told = {"failed": f"{type(error).__name__}: {error}"}
        sys.stdout.write(f"{json.dumps(told)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
