"""Write and verify a 2 GB image of which 30 % is used, on files that stand for disks.

Against ``dd`` (with ``fsync``) and ``cmp``, which has the page cache to compare with; against
``bmaptool copy``, which has the image's block map and does not read back at all; and four disks
against one, from an image that must be decompressed. All of it is the wall time of a process of
its own, by turns, each tool with a disk file of its own that is written over; the figure is the
ratio of the medians. The image stands in the page cache for all of them.

Needs 20 GB where temporary files go (``TMPDIR``).
"""

import base64
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SIZE_BYTES = 2_000_003_072  # whole blocks
USED = 0.3
TURNS = 5
TURNS_OF_FOUR = 3
DISKS = 4
DD_GOAL = 0.6
BMAP_GOAL = 1.1
FOUR_GOAL = 1.5
MIB = 1 << 20

FLASH = """
import sys
from pathlib import Path
from edgekit.core.flash import Disk
from edgekit.flash.source import open_image
from edgekit.flash.write import write_image
image, *paths = sys.argv[1:]
disks = [Disk(Path(path), Path(path).stat().st_size, is_file=True) for path in paths]
with open_image(image, cache=Path(paths[0]).parent / "cache") as source:
    for written in write_image(source, disks):
        print(written, file=sys.stderr)
        assert written.error is None, written.error
"""


def make_image(path: Path) -> None:
    """Write stretches of data, as long as files are, until enough of the image is used."""
    noise = random.Random(2)
    slots = list(range(SIZE_BYTES // MIB))
    used_bytes = 0
    with path.open("wb") as file:
        file.truncate(SIZE_BYTES)
        while used_bytes < USED * SIZE_BYTES:
            start = noise.choice(slots)
            for slot in range(start, start + noise.randint(1, 24)):
                if slot in slots:
                    slots.remove(slot)
                    file.seek(slot * MIB)
                    # Packs to three quarters, which costs a decompressor more than noise does.
                    used_bytes += file.write(base64.b64encode(noise.randbytes(MIB * 3 // 4)))


def make_disk(path: Path) -> Path:
    """Make a disk that is full of something else."""
    block = random.Random(3).randbytes(MIB)
    with path.open("wb") as file:
        for _block in range(SIZE_BYTES // MIB + 8):
            file.write(block)
    return path


def timed_s(*commands: list[str]) -> float:
    """Run commands one after the other; return what they took."""
    os.sync()
    began_s = time.monotonic()
    for command in commands:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    return time.monotonic() - began_s


def flash(image: Path, *disks: Path) -> list[str]:
    """Return the command that writes and verifies by edgekit."""
    return [sys.executable, "-c", FLASH, str(image), *map(str, disks)]


def by_turns(turns: int, **runs: Callable[[], float]) -> dict[str, list[float]]:
    """Run everything once unmeasured, then by turns; return the times."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(turns + 1):
        for name, run in runs.items():
            took_s = run()
            if turn:
                times[name].append(took_s)
    return times


def against_others(folder: Path, image: Path) -> None:
    """Print the ratios to dd and cmp, and to bmaptool."""
    bmaptool = shutil.which("bmaptool")
    disks = {name: make_disk(folder / name) for name in ("dd", "bmaptool", "plain", "mapped")}
    mapped = folder / "mapped.img"
    mapped.hardlink_to(image)
    dd = ["dd", f"if={image}", f"of={disks['dd']}", "bs=4M", "conv=notrunc,fsync"]
    compare = ["cmp", "-n", str(SIZE_BYTES), str(image), str(disks["dd"])]
    runs: dict[str, Callable[[], float]] = {
        "dd": lambda: timed_s(dd, compare),
        "plain": lambda: timed_s(flash(image, disks["plain"])),
    }
    if bmaptool:
        subprocess.run(
            [bmaptool, "create", "-o", str(mapped.with_suffix(".bmap")), str(mapped)], check=True
        )
        copy = [bmaptool, "copy", str(mapped), str(disks["bmaptool"])]
        runs["bmaptool"] = lambda: timed_s(copy)
        runs["mapped"] = lambda: timed_s(flash(mapped, disks["mapped"]))
    times = by_turns(TURNS, **runs)
    show("flash, write and verify, of dd and cmp", times["plain"], times["dd"], DD_GOAL)
    name = "flash, write and verify, of bmaptool's write"
    if bmaptool:
        show(name, times["mapped"], times["bmaptool"], BMAP_GOAL)
    else:
        figure = {"figure": name, "value": None, "goal": f"at most {BMAP_GOAL}", "ok": None}
        print(json.dumps(figure | {"note": "install bmap-tools (Debian)"}))
    for disk in disks.values():
        disk.unlink()


def four_at_once(folder: Path, image: Path) -> None:
    """Print the ratio of four disks to one."""
    packed = folder / "packed.img.xz"
    with packed.open("wb") as file:
        subprocess.run(["xz", "-0", "-T0", "-c", str(image)], stdout=file, check=True)
    disks = [make_disk(folder / f"disk{number}") for number in range(DISKS)]
    times = by_turns(
        TURNS_OF_FOUR,
        one=lambda: timed_s(flash(packed, disks[0])),
        four=lambda: timed_s(flash(packed, *disks)),
    )
    show("flash, four disks at once, of one (.xz)", times["four"], times["one"], FOUR_GOAL)


def show(figure: str, own_s: list[float], other_s: list[float], goal: float) -> None:
    """Print one ratio."""
    own, other = statistics.median(own_s), statistics.median(other_s)
    row: dict[str, Any] = {"figure": figure, "value": own / other, "goal": f"at most {goal}"}
    note = f"{own:.2f} s ({min(own_s):.2f} to {max(own_s):.2f}) and "
    note += f"{other:.2f} s ({min(other_s):.2f} to {max(other_s):.2f})"
    print(json.dumps(row | {"ok": own / other <= goal, "note": note}), flush=True)


def main() -> None:
    """Measure and print the three figures."""
    with tempfile.TemporaryDirectory(prefix="edgekit-bench-") as name:
        image = Path(name) / "plain.img"
        make_image(image)
        against_others(Path(name), image)
        four_at_once(Path(name), image)


if __name__ == "__main__":
    main()
