"""ONNX Runtime on the board: the CPU provider, one session.

Python 3.6 and newer, NumPy and onnxruntime.
"""

import json
import os
import sys
from typing import Any, Callable, Dict, Mapping, Sequence

from edgekit.onboard import harness

_KERNEL = "_kernel_time"
# The first finds cold caches and allocates.
_UNSETTLED_RUNS = 2
# So that the graph that goes to the host holds none of the model's weights.
_WEIGHTS_APART = {
    "session.optimized_model_external_initializers_file_name": "weights.bin",
    "session.optimized_model_external_initializers_min_size_in_bytes": "64",
}


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

        self._runtime = onnxruntime
        self._knobs = knobs
        self._model = os.path.join(folder, "model.onnx")
        self._session = self._load(self._options())
        self._run = self._session.run
        self._outputs = [spec["name"] for spec in job["outputs"]]

    def run(self, inputs: Mapping[str, Any]) -> Dict[str, Any]:
        """Infer once; names and shapes are the model's own."""
        values = self._run(self._outputs, inputs)
        return dict(zip(self._outputs, values))

    def versions(self) -> Dict[str, str]:
        """Tell the software that ran."""
        return {"onnxruntime": self._runtime.__version__}

    def profile(self, inputs: Mapping[str, Any], runs: int, layers: Any, folder: str) -> None:
        """Infer with ONNX Runtime's own profiler, which counts microseconds.

        It is an option of loading. The graph as ONNX Runtime made it for this CPU goes along: its
        layers are not those of the file.
        """
        # Two sessions at once are more than a small board may hold.
        self._session = self._run = None
        options = self._options()
        options.enable_profiling = True
        options.profile_file_prefix = os.path.join(folder, "run")
        graph = options.optimized_model_filepath = os.path.join(folder, "optimised.onnx")
        for name, value in _WEIGHTS_APART.items():
            options.add_session_config_entry(name, value)
        session = self._load(options)
        for _run in range(_UNSETTLED_RUNS + runs):
            session.run(self._outputs, inputs)
        with open(session.end_profiling(), encoding="utf-8") as stream:
            events = json.load(stream)
        _tell(events, layers)
        layers.files["optimised.onnx"] = graph

    def _options(self) -> Any:
        options = self._runtime.SessionOptions()
        options.intra_op_num_threads = self._knobs["threads"]
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors; warnings about unused initialisers are no news
        if int(self._knobs.get("spinning", 1)) == 0:
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        return options

    def _load(self, options: Any) -> Any:
        return self._runtime.InferenceSession(
            self._model, options, providers=["CPUExecutionProvider"]
        )


def _tell(events: Sequence[Mapping[str, Any]], layers: Any) -> None:
    """Tell the layers of each run; what comes before the first counted run is left out."""
    events = sorted(events, key=lambda event: event["ts"])
    whole = [event for event in events if event["name"] == "model_run"]
    for run in whole[_UNSETTLED_RUNS:]:
        end = run["ts"] + run["dur"]
        for event in events:
            inside = run["ts"] <= event["ts"] <= end
            if inside and event["cat"] == "Node" and event["name"].endswith(_KERNEL):
                facts = event["args"]
                name = event["name"][: -len(_KERNEL)]
                layers.see(
                    (name, facts.get("node_index")), event["dur"] * 1000, _facts(name, facts)
                )
        layers.end_run()


def _facts(name: str, facts: Mapping[str, Any]) -> Callable[[], Mapping[str, Any]]:
    def tell() -> Mapping[str, Any]:
        unit = facts["provider"].replace("ExecutionProvider", "")
        return {"name": name, "operator": facts["op_name"], "unit": unit}

    return tell


if __name__ == "__main__":
    sys.exit(harness.main(Session))
