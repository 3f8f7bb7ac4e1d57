"""Kernel modules for system boards, compiled on this host against Debian's headers.

Two kinds: drivers of the kernel's own sources that Debian's configuration leaves out, and edgekit's
own in ``cross/system-board``, which stand in for silicon.
"""

import hashlib
import json
import re
import shutil
import tempfile
from pathlib import Path
from typing import Final

from edgekit.board.debian_packages import said, unpack
from edgekit.board.kernel import DRIVERS
from edgekit.board.rootfs import boards_folder
from edgekit.catalog.cache import KeyedCache
from edgekit.catalog.folders import builtin_folder
from edgekit.core.events import EventSink, StepFinished, StepStarted

_PREFIX: Final = "aarch64-linux-gnu-"
_FORMAT: Final = 1


def own_sources() -> tuple[Path, ...]:
    """Return the sources of edgekit's own modules."""
    return tuple(sorted((builtin_folder("cross") / "system-board").glob("*.c")))


def module_folder(kernel: Path, emit: EventSink) -> Path:
    """Return the folder with the ``*.ko``; compile them if they are not in the cache.

    Args:
        kernel: what ``edgekit.board.kernel`` made.
        emit: told of the step.

    Raises:
        DeviceError: the compiler is missing, or refused.
    """
    cache, key = _cache(), _key(kernel)
    if found := cache.get(key):
        return found
    step = "board:modules"

    def fill(folder: Path) -> None:
        emit(StepStarted(step, "Compile kernel modules for system boards"))
        try:
            # Make cannot bear a blank in a path, and the cache may stand anywhere.
            with tempfile.TemporaryDirectory(prefix="edgekit-modules-") as scratch:
                _compile(kernel, Path(scratch), folder)
        except BaseException:
            emit(StepFinished(step, "failed", ok=False))
            raise
        emit(StepFinished(step))

    return cache.build(key, fill, emit=emit, subject="the kernel modules of system boards")


def module_path(kernel: Path) -> Path:
    """Return where the folder with the modules for a kernel stands, or would stand."""
    return _cache().path_of(_key(kernel))


def _cache() -> KeyedCache:
    return KeyedCache(boards_folder() / "modules")


def _key(kernel: Path) -> str:
    sources = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in own_sources()}
    return json.dumps([_FORMAT, kernel.name, sources], sort_keys=True)


def _compile(kernel: Path, scratch: Path, folder: Path) -> None:
    for package in sorted((kernel / "headers").glob("*.deb")):
        unpack(package, scratch)
    release = (kernel / "release").read_text(encoding="ascii")
    headers = scratch / "usr" / "src" / f"linux-headers-{release}"
    # It names the place where Debian would have installed the rest.
    makefile = headers / "Makefile"
    text = makefile.read_text(encoding="utf-8")
    makefile.write_text(re.sub(r"(?m)^include /", f"include {scratch}/", text), encoding="utf-8")
    build = scratch / "modules"
    build.mkdir()
    for source in (*(kernel / "drivers" / Path(path).name for path in DRIVERS), *own_sources()):
        shutil.copy(source, build)
    names = sorted(path.stem for path in build.glob("*.c"))
    ours = (f"CFLAGS_{path.stem}.o := -Werror\n" for path in own_sources())
    objects = " ".join(f"{name}.o" for name in names)
    (build / "Makefile").write_text(f"obj-m := {objects}\n{''.join(ours)}", encoding="utf-8")
    said(
        [
            *("make", "-C", headers, "-j2", f"M={build}", "ARCH=arm64"),
            # Debian's headers ask for the compiler by its version; the default one is that one.
            *(f"CROSS_COMPILE={_PREFIX}", f"CC={_PREFIX}gcc", "modules"),
        ]
    )
    for name in names:
        said([f"{_PREFIX}strip", "--strip-debug", build / f"{name}.ko"])
        shutil.copyfile(build / f"{name}.ko", folder / f"{name}.ko")
