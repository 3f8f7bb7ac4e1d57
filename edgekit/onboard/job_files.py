"""Files of a job: frames that go in, and what is left behind."""

import json
import os
import shutil
from typing import Any, Dict, Mapping, Union

import numpy as np

from edgekit.onboard.arrays import Array
from edgekit.onboard.faults import RunFailedError

Frame = Union[Array, Dict[str, Array]]


def load_frame(path: str) -> Frame:
    """Read ``uint8[H, W, 3]`` from .npy, or named tensors from .npz."""
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            return {name: loaded[name] for name in loaded.files}
    except (OSError, ValueError) as error:
        raise RunFailedError("cannot read frame %s: %s" % (path, error)) from error


def link_or_copy(path: str, place: str) -> None:
    """Give a file a second name, or a second content where that cannot be."""
    try:
        os.link(path, place)
    except OSError:  # another file system, or one without links
        shutil.copyfile(path, place)


def write_json(path: str, value: Mapping[str, Any]) -> None:
    """Write JSON so that the file is whole whenever it is there."""
    temporary = path + ".part"
    with open(temporary, "w", encoding="utf-8") as stream:
        json.dump(value, stream, default=_plain)
    os.replace(temporary, path)


def _plain(value: Any) -> Any:
    """Turn what steps may answer with, NumPy's scalars and arrays, into JSON's values."""
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    raise TypeError("%s is not a JSON value" % type(value).__name__)
