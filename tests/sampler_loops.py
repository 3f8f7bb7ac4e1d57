"""The sampler's two loops side by side: in Python, and in C by whatever compiler this machine has.

What they read can be played to them: C's is compiled with a ``pread64`` that asks Python.
"""

import ctypes
import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

import device_agent
from device_agent.power import sampler as sampler_module
from device_agent.power.native import load
from device_agent.power.sampler import Sampler

SOURCE = Path(device_agent.__file__).parent / "power" / "sampler.c"
FLAGS = ("-std=c99", "-O2", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror")
PLAYED = """
#include <errno.h>
#include <stdint.h>
#undef pread64
extern long pread64(int file, void *text, unsigned long size, int64_t offset);
long (*played)(int file, void *text, unsigned long size);
long played_pread64(int file, void *text, unsigned long size, int64_t offset)
{
    long bytes = played ? played(file, text, size) : pread64(file, text, size, offset);
    if (bytes < 0 && played)
        errno = (int)-bytes;
    return bytes;
}
"""
_Played = ctypes.CFUNCTYPE(ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_ulong)


def compiled(library, *arguments):
    """Compile C for this machine; return path and sha256, as the agent takes them."""
    compiler = shutil.which("gcc") or shutil.which("clang") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler on this machine; tests/toolbox/test_native.py has Zig's")
    subprocess.run([compiler, *FLAGS, "-o", library, *arguments], check=True)
    return str(library), hashlib.sha256(library.read_bytes()).hexdigest()


def compiled_sampler(folder):
    """Compile the sampler's loop."""
    return compiled(folder / "libsampler.so", SOURCE)


def compiled_to_be_played(folder):
    """Compile it with what ``Loop.play`` needs."""
    (folder / "played.c").write_text(PLAYED)
    options = ("-Dpread64=played_pread64", folder / "played.c")
    return compiled(folder / "libsampler.so", SOURCE, *options)


class Loop:
    """One of the two.

    Attributes:
        name: ``c`` or ``python``, as a record tells it.
    """

    def __init__(self, name, library, monkeypatch):
        self.name = name
        self._library = library
        self._native = load(*library) if name == "c" else None
        self._monkeypatch = monkeypatch
        self._made = []
        self._kept = None

    def sampler(self, rails, rate_hz, **options):
        """Make a sampler that goes by this loop."""
        made = Sampler(rails, rate_hz, native=self._native, **options)
        self._made.append(made)
        return made

    def play(self, pread):
        """Let it read what a function like ``os.pread`` gives."""
        if self.name == "python":
            self._monkeypatch.setattr(sampler_module, "pread", pread)
            return

        def played(number, text, size):
            try:
                data = pread(number, size, 0)
            except OSError as error:
                return -error.errno
            ctypes.memmove(text, data, len(data))
            return len(data)

        self._kept = _Played(played)
        self._point(self._kept)

    def close(self):
        """Let it read files again; what was sampled was sampled by this loop."""
        if self.name == "c":
            self._point(None)
        assert {made.as_json()["loop"] for made in self._made} <= {self.name}

    def _point(self, function):
        played = ctypes.c_void_p.in_dll(ctypes.CDLL(self._library[0]), "played")
        played.value = function and ctypes.cast(function, ctypes.c_void_p).value
