"""ONNX Runtime on the board: the CPU provider, one session.

Python 3.6 and newer, NumPy and onnxruntime.
"""

import os
import sys
from typing import Any, Dict, Mapping

from edgekit.onboard import harness


class Session:
    """One loaded model.

    Knobs:
        threads: intra-op threads.
        spinning: 0 lets waiting threads sleep, which is kinder to neighbours and slower;
            1, ONNX Runtime's own default, lets them spin.
    """

    def __init__(
        self, folder: str, job: Mapping[str, Any], _precision: str, knobs: Mapping[str, Any]
    ) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = knobs["threads"]
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors; warnings about unused initialisers are no news
        if int(knobs.get("spinning", 1)) == 0:
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(
            os.path.join(folder, "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
        self._run = self._session.run
        self._outputs = [spec["name"] for spec in job["outputs"]]
        self._version = onnxruntime.__version__

    def run(self, inputs: Mapping[str, Any]) -> Dict[str, Any]:
        """Infer once; names and shapes are the model's own."""
        values = self._run(self._outputs, inputs)
        return dict(zip(self._outputs, values))

    def versions(self) -> Dict[str, str]:
        """Tell the software that ran."""
        return {"onnxruntime": self._version}


if __name__ == "__main__":
    sys.exit(harness.main(Session))
