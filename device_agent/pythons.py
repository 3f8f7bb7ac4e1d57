"""The Pythons of a device, NumPy and OpenCV of each, found without starting any of them.

Starting a Python costs half a second on a small or an emulated board; names and folders tell
the same.
"""

import os
import re
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, Iterator, List, Optional, Tuple, Union

_EXECUTABLE = re.compile(r"python3(\.\d+)?")
_VERSION = re.compile(r"python(\d+\.\d+)")
_NUMPY = re.compile(r"numpy-(\d[^-]*?)(?:-py\d[\d.]*)?(?:-[a-z][^-]*)?\.(?:dist|egg)-info")
_OPENCV = re.compile(r"cv2\.(?:abi3|cpython-(\d+)m?(?:-.*)?)\.so")
_USUAL_FOLDERS = ("/usr/local/bin", "/usr/bin")


def find_pythons(path: "Optional[str]" = None) -> "List[Dict[str, Union[str, bool, None]]]":
    """Return every Python 3, first the one that runs the agent, then those on ``PATH``.

    Each has ``executable``, ``version`` (at least major and minor), ``numpy`` (its version) and
    ``opencv`` (whether it is there: Debian's does not tell its version).
    """
    found: "List[Dict[str, Union[str, bool, None]]]" = []
    seen = set()
    for executable in _executables(path):
        version = version_of(executable)
        if version is None:
            continue
        identity = (os.path.realpath(executable), _prefix(executable))
        if identity in seen:
            continue
        seen.add(identity)
        short = ".".join(version.split(".")[:2])
        folders = list(_importable(executable, short))
        found.append(
            {
                "executable": executable,
                "version": version,
                "numpy": next(filter(None, (_numpy_in(each, short) for each in folders)), None),
                "opencv": any(_has_opencv(each, short) for each in folders),
            }
        )
    return found


def version_of(executable: str) -> "Optional[str]":
    """Return at least major and minor of a Python's version, ``None`` if no name tells it."""
    real = os.path.realpath(executable)
    if sys.executable and real == os.path.realpath(sys.executable):
        return ".".join(map(str, sys.version_info[:3]))
    named = _VERSION.match(os.path.basename(real))
    return named.group(1) if named else None


def _executables(path: "Optional[str]") -> "Iterator[str]":
    if sys.executable:
        yield sys.executable
    folders = (os.environ.get("PATH", "") if path is None else path).split(os.pathsep)
    for folder in [*folders, *_USUAL_FOLDERS]:
        if not os.path.isabs(folder):
            continue
        try:
            names = sorted(filter(_EXECUTABLE.fullmatch, os.listdir(folder)), key=_by_age)
        except OSError:
            continue
        for name in names:
            executable = os.path.join(folder, name)
            if os.access(executable, os.X_OK) and _is_program(executable):
                yield executable


def _by_age(name: str) -> "Tuple[int, int]":
    """Sort ``python3`` first, then the newest."""
    minor = name.partition(".")[2]
    return (1, -int(minor)) if minor else (0, 0)


def _is_program(path: str) -> bool:
    # A script of that name (a pyenv shim, say) tells nothing of the Python behind it.
    try:
        with open(path, "rb") as file:
            return file.read(4) == b"\x7fELF"
    except OSError:
        return False


def _venv(executable: str) -> "Dict[str, str]":
    """Return what ``pyvenv.cfg`` says, empty outside a virtual environment."""
    folder = os.path.dirname(os.path.dirname(executable))
    try:
        with open(os.path.join(folder, "pyvenv.cfg"), encoding="utf-8", errors="replace") as file:
            pairs = [line.partition("=") for line in file]
    except OSError:
        return {}
    return {key.strip().lower(): value.strip() for key, _equals, value in pairs}


def _prefix(executable: str) -> str:
    whole = executable if _venv(executable) else os.path.realpath(executable)
    return os.path.dirname(os.path.dirname(whole))


def _site_folders(prefix: str, short: str) -> "Iterator[str]":
    for lib in ("lib", "lib64"):
        for name in ("site-packages", "dist-packages"):
            yield os.path.join(prefix, lib, "python" + short, name)
    if prefix == "/usr":  # Debian's own packages, and what its pip installs
        yield f"/usr/local/lib/python{short}/dist-packages"
        yield "/usr/lib/python3/dist-packages"


def _importable(executable: str, short: str) -> "Iterator[str]":
    """Return the folders of packages that a Python sees."""
    prefixes = [_prefix(executable)]
    if _venv(executable).get("include-system-site-packages", "").lower() == "true":
        prefixes.append(os.path.dirname(os.path.dirname(os.path.realpath(executable))))
    for prefix in prefixes:
        for folder in _site_folders(prefix, short):
            yield folder


def _numpy_in(folder: str, short: str) -> "Optional[str]":
    try:
        names = os.listdir(folder)
    except OSError:
        return None
    for match in filter(None, map(_NUMPY.fullmatch, names)):
        if _built_for(os.path.join(folder, "numpy"), short):
            return match.group(1)
    return None


def _built_for(package: str, short: str) -> bool:
    """Tell whether NumPy's compiled part is for this Python; Debian shares one folder."""
    mark = ".cpython-" + short.replace(".", "")
    for core in ("_core", "core"):
        try:
            names = os.listdir(os.path.join(package, core))
        except OSError:
            continue
        if any(mark + "-" in name or mark + "m-" in name for name in names):
            return True
    return False


def _has_opencv(folder: str, short: str) -> bool:
    """Tell whether OpenCV's compiled part is here for this Python, as pip, Debian, JetPack put it.

    Source: the file lists of opencv-python-headless, Debian's python3-opencv, JetPack 4's
    libopencv-python.
    """
    package = os.path.join(folder, "cv2")
    for place in (folder, package, os.path.join(package, "python-" + short)):
        try:
            names = os.listdir(place)
        except OSError:
            continue
        for match in filter(None, map(_OPENCV.fullmatch, names)):
            if match.group(1) in (None, short.replace(".", "")):
                return True
    return False
