"""What compiles and links for a board: one description per architecture, two ways to find one.

Debian's cross compilers come first, then Zig's C compiler (``ziglang``, a wheel, which pins the
glibc that its output asks for). Debian's link against their own glibc: what asks for a newer one
than the board is sure to have is thrown away, and Zig makes it anew.

Standard library only, Python 3.10 and newer: this file is also loaded alone, inside toolboxes.
"""

import importlib.util
import os
import re
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

Version = tuple[int, int]

_GLIBC = re.compile(rb"\bGLIBC_(\d+)\.(\d+)")


@dataclass(frozen=True)
class Triple:
    """What an architecture is called.

    Attributes:
        debian: by Debian's compilers, before ``-gcc``.
        zig: by Zig, after ``-target``.
        package: Debian's package with the compiler.
    """

    debian: str
    zig: str
    package: str


TRIPLES: Mapping[str, Triple] = MappingProxyType(
    {
        "aarch64": Triple("aarch64-linux-gnu", "aarch64-linux-gnu", "gcc-aarch64-linux-gnu"),
        "armv7l": Triple("arm-linux-gnueabihf", "arm-linux-gnueabihf", "gcc-arm-linux-gnueabihf"),
        "x86_64": Triple("x86_64-linux-gnu", "x86_64-linux-gnu", "gcc-x86-64-linux-gnu"),
    }
)


@dataclass(frozen=True)
class Toolchain:
    """A C compiler that links, too.

    Attributes:
        name: as a log calls it.
        command: what comes before its arguments.
        environment: what must be set as it runs.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


def zig_target(architecture: str, glibc: str = "") -> tuple[str, ...]:
    """Return Zig's options for an architecture; ``glibc`` is the newest that may be asked for."""
    triple = TRIPLES[architecture].zig
    return ("-target", f"{triple}.{glibc}" if glibc else triple)


def toolchains(architecture: str, glibc: str) -> tuple[Toolchain, ...]:
    """Return the toolchains that are here, in the order in which they are to be tried.

    Zig counts if the Python that runs this has it. It keeps what it makes once (its C library's
    start files and the like) beside that Python.

    Args:
        architecture: of the board's userland.
        glibc: the oldest that a board may have.
    """
    found = []
    triple = TRIPLES[architecture]
    compiler = shutil.which(f"{triple.debian}-gcc")
    if compiler is not None:
        found.append(Toolchain(f"{triple.debian}-gcc", (compiler,)))
    if importlib.util.find_spec("ziglang") is not None:
        kept = str(Path(sys.prefix, "var", "zig"))
        found.append(
            Toolchain(
                "ziglang",
                # Without -O it makes what looks for mistakes as a program runs, even to link.
                (sys.executable, "-m", "ziglang", "cc", *zig_target(architecture, glibc), "-O2"),
                {"ZIG_GLOBAL_CACHE_DIR": kept, "ZIG_LOCAL_CACHE_DIR": kept},
            )
        )
    return tuple(found)


def compile_with(
    found: Sequence[Toolchain],
    output: Path,
    arguments: Sequence[str],
    *,
    glibc: str,
    run: Callable[[Sequence[str]], object],
) -> Toolchain:
    """Make ``output`` with the first toolchain whose work runs on the oldest glibc.

    Args:
        found: what :func:`toolchains` gave.
        output: file to make.
        arguments: of the compiler, without ``-o``.
        glibc: the oldest that a board may have.
        run: runs a command; raises ``RuntimeError`` where it fails.

    Returns:
        The toolchain that made it.

    Raises:
        RuntimeError: there is none, all failed, or what they made asks for a newer glibc.
    """
    said = "there is none here"
    for toolchain in found:
        os.environ.update(toolchain.environment)
        try:
            run([*toolchain.command, *arguments, "-o", str(output)])
        except RuntimeError as error:
            said = str(error)
            continue
        needed = glibc_needed(output.read_bytes())
        if needed <= version_of(glibc):
            return toolchain
        said = f"what {toolchain.name} made needs glibc {needed[0]}.{needed[1]}, not {glibc}"
        output.unlink()
    raise RuntimeError(f"no C compiler could make {output.name}: {said}")


def glibc_needed(binary: bytes) -> Version:
    """Return the newest glibc that a library or program asks for; (0, 0) for none."""
    found = ((int(match[1]), int(match[2])) for match in _GLIBC.finditer(binary))
    return max(found, default=(0, 0))


def how_to_install(architecture: str) -> str:
    """Return the command that brings a compiler for an architecture."""
    return f"sudo apt install {TRIPLES[architecture].package}"


def version_of(text: str) -> Version:
    """Return a glibc's version, written as ``2.27``."""
    major, _, minor = text.partition(".")
    return int(major), int(minor)
