"""Write the hash-locked requirement files of every engine.

    python scripts/lock_engines.py [ENGINE ...]

``host.txt`` locks the toolbox (one version for every Python it may run on). ``board.txt`` locks
what runs on the board: for each Python of ``PYTHONS`` the newest version that has a wheel there,
under a ``python_version`` marker. A board whose libc is too old for that wheel has no use for
the entry: ``edgekit.toolbox.wheels`` says so when it looks for the wheel.
"""

import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import uv

ENGINES = Path(__file__).resolve().parents[1] / "edgekit" / "engines"
PYTHONS = ("3.6", "3.7", "3.8", "3.9", "3.10", "3.11", "3.12", "3.13", "3.14")
# The widest wheel platform that the package index tells apart; older libcs take what they can.
BOARD_PLATFORM = "aarch64-manylinux_2_31"
HOST = {
    "onnxruntime": ("onnxruntime==1.31.1", "numpy==2.4.6"),
    "ncnn": ("ncnn==1.0.20261020", "pnnx==20261020", "onnxruntime==1.31.1", "numpy==2.4.6"),
    "mnn": ("mnn==3.6.1", "onnxruntime==1.31.1", "numpy==2.4.6"),
    "openvino": ("openvino==2026.4.1", "onnxruntime==1.31.1", "numpy==2.4.6"),
}
BOARD = {
    "onnxruntime": ("onnxruntime", "numpy"),
    "ncnn": ("ncnn", "numpy"),
    "mnn": ("mnn", "numpy"),
    "openvino": ("openvino", "numpy"),
}
# The first Python that an engine has wheels for, where it is not the first of all.
OLDEST = {"openvino": "3.8"}
# From this Python on, boards have a newer libc (Ubuntu 22.04: 3.10, 2.35), and the package asks it.
NEWER_PLATFORM = {"openvino": ("3.10", "aarch64-manylinux_2_35")}


def compile_lock(requirements: Iterable[str], *options: str) -> str:
    """Return what ``uv pip compile`` locks, without header and annotations."""
    command = [uv.find_uv_bin(), "pip", "compile", "-", "--generate-hashes", "--no-header"]
    command += ["--no-annotate", "--no-deps", "--only-binary", ":all:", "--quiet", *options]
    done = subprocess.run(
        command, input="\n".join(requirements), check=False, capture_output=True, text=True
    )
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
    return done.stdout


def board_platform(package: str, python: str) -> str:
    """Return the wheel platform of the boards that have this Python."""
    since, platform = NEWER_PLATFORM.get(package, (None, BOARD_PLATFORM))
    newer = since is None or PYTHONS.index(python) >= PYTHONS.index(since)
    return platform if newer else BOARD_PLATFORM


def board_lock(package: str, oldest: str) -> str:
    """Return ``package``'s entries: the newest version with a wheel, for each Python."""
    pythons: dict[str, list[str]] = {}
    for python in PYTHONS[PYTHONS.index(oldest) :]:
        options = ("--python-version", python)
        options += ("--python-platform", board_platform(package, python))
        pythons.setdefault(compile_lock([package], *options), []).append(python)
    entries = []
    for entry, served in pythons.items():
        bounds = []
        if served[0] != PYTHONS[0]:
            bounds.append(f"python_version >= '{served[0]}'")
        if served[-1] != PYTHONS[-1]:
            after = PYTHONS[PYTHONS.index(served[-1]) + 1]
            bounds.append(f"python_version < '{after}'")
        marker = f" ; {' and '.join(bounds)}" if bounds else ""
        entries.append(re.sub(r"^(\S+==\S+)", rf"\1{marker}", entry, count=1))
    return "".join(entries)


def main() -> None:
    """Lock the engines named on the command line, or all."""
    for engine in sys.argv[1:] or sorted(HOST):
        folder = ENGINES / engine
        lock = compile_lock(HOST[engine], "--python-version", "3.11", "--universal")
        (folder / "host.txt").write_text(lock, encoding="utf-8")
        oldest = OLDEST.get(engine, PYTHONS[0])
        lock = "".join(board_lock(package, oldest) for package in BOARD[engine])
        (folder / "board.txt").write_text(lock, encoding="utf-8")
        print(f"{engine}: host.txt and board.txt written")


if __name__ == "__main__":
    main()
