"""RKNN on the board: the NPU through ``rknn-toolkit-lite2`` and the image's ``librknnrt.so``.

Python 3.7 to 3.12 have wheels; written for 3.6 like every runner. Not verified on hardware.
"""

import ctypes
import ctypes.util
import os
import re
import sys
from typing import Any, Dict, List, Mapping, Optional

import numpy as np

from edgekit.onboard import harness

LIBRARY = "librknnrt.so"
# The vendor's package looks in the first; images and hands put it into the others too.
FOLDERS = ("/usr/lib", "/usr/lib/aarch64-linux-gnu", "/usr/local/lib", "/lib", "/vendor/lib64")
# Which cores a model is spread over: the vendor's bit mask.
CORE_MASKS = {"auto": 0, "0": 1, "1": 2, "2": 4, "0-1": 3, "0-2": 7}
_IMAGE_RANK = 4
# The library says so in a string of its own: "librknnrt version: 2.3.2 (429f97ae6b@2025-04-09...".
_VERSION = re.compile(rb"librknnrt version: (\d+\.\d+\.\d+[^\s\0]*)")
_GET_IT = (
    "it is not in any package index: take it from the board vendor's image or from "
    "github.com/airockchip/rknn-toolkit2 (rknpu2/runtime/Linux/librknn_api/aarch64) and put it "
    "into /usr/lib"
)


class Session:
    """One loaded model.

    Knobs:
        npu_cores: ``auto``, or the cores that share the model, such as ``0-2``.
        threads: of no meaning for an NPU.
    """

    def __init__(
        self, folder: str, job: Mapping[str, Any], precision: str, knobs: Mapping[str, Any]
    ) -> None:
        del precision
        self._library = load_library()
        self._library_version = library_version(self._library)
        try:
            from rknnlite.api import RKNNLite
        except ImportError as error:
            raise RuntimeError("rknn-toolkit-lite2 cannot be imported: %s" % error) from error
        self._lite = RKNNLite(verbose=False)
        path = os.path.join(folder, "model.rknn")
        if self._lite.load_rknn(path) != 0:
            raise RuntimeError("rknn-toolkit-lite2 cannot read %s" % path)
        if self._lite.init_runtime(**_cores(knobs)) != 0:
            raise RuntimeError(self._why_not())
        self._inputs = job["inputs"]
        self._outputs = job["outputs"]
        layouts = ["nchw" if len(s["shape"]) == _IMAGE_RANK else None for s in self._inputs]
        self._layouts = layouts if any(layouts) else None

    def run(self, inputs: Mapping[str, Any]) -> Dict[str, Any]:
        """Infer once; names and shapes are the model's own."""
        # The NPU is handed the memory as it stands.
        values = [np.ascontiguousarray(inputs[spec["name"]]) for spec in self._inputs]
        found = self._lite.inference(inputs=values, data_format=self._layouts)
        if found is None:
            raise RuntimeError("the NPU gave no answer; its own message stands above")
        if len(found) != len(self._outputs):
            raise RuntimeError(
                "the NPU gave %d outputs, the model has %d" % (len(found), len(self._outputs))
            )
        return {s["name"]: _shaped(f, s) for s, f in zip(self._outputs, found)}

    def versions(self) -> Dict[str, str]:
        """Tell the software that ran."""
        lite = _package_version()
        versions = {"rknn": lite, "librknnrt": self._library_version or "unknown"}
        driver = driver_version()
        if driver is not None:
            versions["rknpu driver"] = driver
        return versions

    def _why_not(self) -> str:
        """Say why the vendor's package could not start: it answers -1 and no more."""
        words = "the NPU cannot be used (%s %s)" % (LIBRARY, self._library_version or "unknown")
        nodes = npu_nodes()
        if not nodes:
            return words + ": this system shows no NPU: no rknpu driver in the kernel"
        closed = [node for node in nodes if not os.access(node, os.R_OK | os.W_OK)]
        if len(closed) == len(nodes):
            rights = "this user may not open %s; add them to the groups render and video"
            return "%s: %s" % (words, rights % closed[0])
        return words + ": library, driver and model must fit; the library's message stands above"


def load_library(folders: Any = FOLDERS) -> str:
    """Load the vendor's library, so that whatever looks for it by name finds it; return where.

    Raises:
        RuntimeError: it is nowhere, or cannot be loaded.
    """
    named = ctypes.util.find_library("rknnrt")
    places = [os.path.join(folder, LIBRARY) for folder in folders]
    path = next((place for place in places if os.path.exists(place)), named)
    if path is None:
        raise RuntimeError("%s is missing on this board; %s" % (LIBRARY, _GET_IT))
    # The vendor's package knows this variable; /usr/lib, its own place, it finds without.
    os.environ.setdefault("LIBRKNNRT_PATH", path)
    try:
        ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)
    except OSError as error:
        raise RuntimeError("%s cannot be loaded: %s" % (path, error)) from error
    return path


def library_version(path: str) -> Optional[str]:
    """Return the version that the library's own text tells, ``None`` if it tells none."""
    try:
        with open(path, "rb") as stream:
            found = _VERSION.search(stream.read())
    except OSError:
        return None
    return found.group(1).decode("ascii", "replace") if found else None


def driver_version(root: str = "/") -> Optional[str]:
    """Return the kernel driver's version where it may be read (mostly root only)."""
    for path in ("sys/kernel/debug/rknpu/version", "proc/rknpu/version"):
        try:
            with open(os.path.join(root, path), encoding="ascii", errors="replace") as stream:
                return stream.read().strip().rpartition(":")[2].strip()
        except OSError:
            continue
    return None


def npu_nodes(root: str = "/") -> List[str]:
    """Return the device files through which an NPU may be reached."""
    found = []  # type: List[str]
    dri = os.path.join(root, "dev", "dri")
    for name in sorted(os.listdir(dri)) if os.path.isdir(dri) else ():
        driver = os.path.join(root, "sys", "class", "drm", name, "device", "driver")
        if os.path.basename(os.path.realpath(driver)).upper() == "RKNPU":
            found.append(os.path.join(dri, name))
    old = os.path.join(root, "dev", "rknpu")
    return [*found, old] if os.path.exists(old) else found


def _cores(knobs: Mapping[str, Any]) -> Dict[str, int]:
    wanted = str(knobs.get("npu_cores", "auto"))
    if wanted not in CORE_MASKS:
        raise ValueError("npu_cores is one of %s" % ", ".join(sorted(CORE_MASKS)))
    # Chips with a single core refuse to be told.
    return {} if wanted == "auto" else {"core_mask": CORE_MASKS[wanted]}


def _shaped(array: Any, spec: Mapping[str, Any]) -> Any:
    """Return an output in the model's own shape: the NPU pads ranks with ones."""
    shape = tuple(spec["shape"])
    return array.reshape(shape) if array.size == int(np.prod(shape)) else array


def _package_version() -> str:
    try:
        import rknnlite

        path = os.path.join(os.path.dirname(rknnlite.__file__), "VERSION")
        with open(path, encoding="ascii", errors="replace") as stream:
            return stream.read().strip() or "unknown"
    except OSError:
        return "unknown"


if __name__ == "__main__":
    sys.exit(harness.main(Session))
