"""The steps in C: optional, taken up where a library for this machine stands in the bundle.

NumPy's steps are the reference and what happens without it. The library is built on the host
(``edgekit.toolbox.native``) from the sources in this folder, and reached through ctypes.
"""

from typing import TYPE_CHECKING, List, Optional

if TYPE_CHECKING:
    from edgekit.onboard.native.binding import Library

FILE_NAME = "libsteps.so"

_current: List["Library"] = []


def take_up(path: str) -> str:
    """Let steps that are made from now on use the library at ``path``.

    Returns:
        What hinders it, in words; empty where nothing does. Steps are NumPy's then.
    """
    put_down()
    try:
        # A Python that was built without ctypes is no reason to fail.
        from edgekit.onboard.native.binding import Library

        _current.append(Library(path))
    except (ImportError, OSError, AttributeError, ValueError) as error:
        return str(error) or type(error).__name__
    return ""


def put_down() -> None:
    """Let steps that are made from now on be NumPy's."""
    del _current[:]


def taken_up() -> Optional["Library"]:
    """The library that was taken up, if one was."""
    return _current[0] if _current else None
