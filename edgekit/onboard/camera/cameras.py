"""A runner of its own: lists the device's cameras, and needs nothing but Python for it."""

import glob
import json
import os
import sys
from typing import Any, Dict, List, Optional, Sequence

from edgekit.onboard.camera.v4l2_device import Device
from edgekit.onboard.camera.v4l2_offers import offered

_RESULT = "result.json"


def list_cameras(pattern: str = "/dev/video*") -> List[Dict[str, Any]]:
    """Describe every device file that frames can be captured from.

    Returns:
        Tables of ``path``, ``driver``, ``card`` and ``offered`` in words; of a file that could not
        be opened, ``path`` and ``refused``. What is no camera (an encoder, metadata) is absent.
    """
    found = []
    for path in sorted(glob.glob(pattern), key=lambda each: (len(each), each)):
        try:
            told = _describe(path)
        except OSError as error:
            told = {"path": path, "refused": error.strerror or str(error)}
        if told is not None:
            found.append(told)
    return found


def _describe(path: str) -> Optional[Dict[str, Any]]:
    device = Device(path)
    try:
        if not device.can_stream:
            return None
        offers = offered(device)
        return {"path": path, "driver": device.driver, "card": device.card, "offered": offers}
    finally:
        device.close()


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Leave them among the answers of ``result.json``, as every runner leaves what it found."""
    arguments = sys.argv[1:] if argv is None else argv
    with open(arguments[0], encoding="utf-8") as stream:
        folder = json.load(stream)["output"]
    path = os.path.join(folder, _RESULT)
    told = {"model_ns": [], "end_to_end_ns": [], "outputs": [], "answers": list_cameras()}
    with open(path + ".part", "w", encoding="utf-8") as stream:
        json.dump(told, stream)
    os.replace(path + ".part", path)
    return 0
