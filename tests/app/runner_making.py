"""A runner that ends its build on the device, as TensorRT's does: packed and run by the tests.

The device's own cache is ``MAKING_HOME``, what it makes depends on ``MAKING_KIND``.
"""

import hashlib
import os
from pathlib import Path


class Session:
    """Doubles its input, once it has a file that was made for this model and kind of device."""

    def __init__(self, folder, job, precision, knobs):
        model = Path(folder, "model.bin").read_bytes()
        kind = os.environ.get("MAKING_KIND", "").encode()
        name = hashlib.sha256(model + kind).hexdigest()[:16] + ".tuned"
        sent, own = Path(folder, name), Path(os.environ["MAKING_HOME"], name)
        tuned = b"tuned " + model
        self.made = {}
        if sent.exists() and sent.read_bytes() == tuned:
            self._came_from = "bundle"
            return
        self._came_from = "own cache" if own.exists() else "made"
        own.write_bytes(tuned)
        self.made = {name: str(own)}

    def run(self, inputs):
        return {"y": inputs["x"] * 2}

    def versions(self):
        return {"came from": self._came_from}
