"""What a user meets whose files are closed to them, for tests that run as root too."""

import ctypes
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

_VERSION_3 = 0x20080522  # Source: linux/capability.h, _LINUX_CAPABILITY_VERSION_3


def without_capabilities(call: Callable[[], None]) -> None:
    """Make a call in a thread of its own that root's capabilities were taken from.

    They are a thread's, and what gave them away cannot take them again; the process keeps its own.
    """

    def give_away() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        header, none = (ctypes.c_uint32 * 2)(_VERSION_3, 0), (ctypes.c_uint32 * 6)()
        if libc.capset(header, none):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    with ThreadPoolExecutor(1, initializer=give_away) as thread:
        thread.submit(call).result()
