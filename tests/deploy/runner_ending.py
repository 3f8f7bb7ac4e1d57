"""ONNX Runtime's runner that ends its build on the device: optimises once, and runs only that.

The device's own cache is ``ENDING_HOME``. Packed and run by the tests.
"""

import os
from pathlib import Path

NAME = "optimised.onnx"


class Session:
    """One loaded model."""

    def __init__(self, folder, job, precision, knobs):
        import onnxruntime

        sent, own = Path(folder, NAME), Path(os.environ["ENDING_HOME"], NAME)
        self.made = {}
        if not sent.exists():
            self.made = {NAME: str(own)}
            if not own.exists():
                options = onnxruntime.SessionOptions()
                options.optimized_model_filepath = str(own)
                options.log_severity_level = 3
                onnxruntime.InferenceSession(str(Path(folder, "model.onnx")), options)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = knobs["threads"]
        self._session = onnxruntime.InferenceSession(str(own if self.made else sent), options)
        self._outputs = [spec["name"] for spec in job["outputs"]]

    def run(self, inputs):
        return dict(zip(self._outputs, self._session.run(self._outputs, inputs), strict=True))

    def versions(self):
        return {}
