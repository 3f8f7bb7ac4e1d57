"""Paddle Lite on an x86-64 device: the CPU, one predictor.

Python 3.6 and newer, NumPy before 2 (with 2 the package gives NaN) and paddlelite.
"""

import os
import sys
from typing import Any, Dict, Mapping

from edgekit.onboard import harness


class Session:
    """One loaded model.

    Knobs:
        threads: of OpenMP, which reads their number once, when the library is loaded.
    """

    def __init__(
        self, folder: str, job: Mapping[str, Any], _precision: str, knobs: Mapping[str, Any]
    ) -> None:
        os.environ["OMP_NUM_THREADS"] = str(knobs["threads"])
        from paddlelite import lite

        config = lite.MobileConfig()
        config.set_model_from_file(os.path.join(folder, "model.nb"))
        self._predictor = lite.create_paddle_predictor(config)
        self._version = self._predictor.get_version()
        # build.py named the inputs by their place among the model's; here they may stand in
        # another order. Outputs keep theirs.
        names = self._predictor.get_input_names()
        self._inputs = [
            (self._predictor.get_input(place), job["inputs"][_number(name)]["name"])
            for place, name in enumerate(names)
        ]
        self._outputs = [spec["name"] for spec in job["outputs"]]

    def run(self, inputs: Mapping[str, Any]) -> Dict[str, Any]:
        """Infer once; names and shapes are the model's own."""
        for tensor, name in self._inputs:
            tensor.from_numpy(inputs[name])
        self._predictor.run()
        # The next inference writes where this one's outputs lie.
        return {
            name: self._predictor.get_output(place).numpy().copy()
            for place, name in enumerate(self._outputs)
        }

    def versions(self) -> Dict[str, str]:
        """Tell the software that ran."""
        return {"paddlelite": self._version}


def _number(name: str) -> int:
    """Return the number that ends a name such as ``x2paddle_input0``."""
    return int(name[len(name.rstrip("0123456789")) :])


if __name__ == "__main__":
    sys.exit(harness.main(Session))
