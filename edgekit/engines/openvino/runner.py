"""OpenVINO on the board: the CPU plug-in, one stream.

Python 3.8 and newer have wheels; written for 3.6 like every runner. NumPy and openvino.
"""

import os
import sys
from typing import Any, Callable, Dict, List, Mapping

import numpy as np

from edgekit.onboard import harness

# What the plug-in calls layers with weights.
_WEIGHTED = ("Convolution", "Deconvolution", "FullyConnected", "MatMul")


class Session:
    """One loaded model.

    fp32 is strictly float32. fp16 computes in float16 where the CPU plug-in has it, in float32
    everywhere else. int8 computes as much in integers as the plug-in has for this CPU, and the
    rest in float32. :meth:`versions` tells what it came to.

    Knobs:
        threads: threads of the one stream.
        pinning: 1, as OpenVINO does by itself on Linux, binds each thread to a core; 0 lets the
            system move them.
    """

    def __init__(
        self, folder: str, job: Mapping[str, Any], precision: str, knobs: Mapping[str, Any]
    ) -> None:
        import openvino

        core = openvino.Core()
        self._file = os.path.join(folder, "model.xml")
        self._options = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": "1",
            "INFERENCE_NUM_THREADS": str(knobs["threads"]),
            "INFERENCE_PRECISION_HINT": _arithmetic(core, precision),
            "ENABLE_CPU_PINNING": "YES" if int(knobs.get("pinning", 1)) else "NO",
        }
        self._model = core.compile_model(self._file, "CPU", self._options)
        self._request = self._model.create_infer_request()
        ports = [(s["name"], self._model.input(s["name"])) for s in job["inputs"]]
        self._inputs = [(n, port, port.get_element_type().to_dtype()) for n, port in ports]
        order = [output.names for output in self._model.outputs]
        self._outputs = [
            (s["name"], next(i for i, names in enumerate(order) if s["name"] in names))
            for s in job["outputs"]
        ]
        self._tensor = openvino.Tensor
        self._alive: List[Any] = []
        self._core = core
        self._version = openvino.__version__

    def run(self, inputs: Mapping[str, Any]) -> Dict[str, Any]:
        """Infer once; names and shapes are the model's own.

        The arrays are OpenVINO's own memory, neither copied in nor out: they hold until the
        next call.
        """
        # infer() would take them as well, and look at each for twice as long as this takes.
        self._alive = [_sharable(inputs[name], dtype) for name, _port, dtype in self._inputs]
        for (_name, port, _dtype), array in zip(self._inputs, self._alive):
            self._request.set_tensor(port, self._tensor(array, shared_memory=True))
        found = self._request.infer(share_outputs=True).to_tuple()
        return {name: found[index] for name, index in self._outputs}

    def versions(self) -> Dict[str, str]:
        """Tell the software that ran, and in which arithmetic."""
        precision = self._model.get_property("INFERENCE_PRECISION_HINT")
        return {
            "openvino": self._version.split("-")[0],
            "openvino arithmetic": precision.get_type_name(),
            "openvino integer layers": _integer_layers(self._model),
        }

    def profile(self, inputs: Mapping[str, Any], runs: int, layers: Any, folder: str) -> None:
        """Infer with the plug-in's own counters, which count microseconds.

        They are an option of compiling. A layer's row names the operations of the file that it
        computes, and the layers that it reads.
        """
        del folder
        options = dict(self._options, PERF_COUNT="YES")
        model = self._core.compile_model(self._file, "CPU", options)
        request = model.create_infer_request()
        graph = _graph(model.get_runtime_model())
        values = {name: np.asarray(inputs[name], order="C") for name, *_port in self._inputs}
        request.infer(values)
        for _run in range(runs):
            request.infer(values)
            for layer in request.profiling_info:
                if layer.status == layer.Status.EXECUTED:
                    time_ns = layer.real_time.total_seconds() * 1e9
                    layers.see(layer.node_name, round(time_ns), _facts(layer, graph))
            layers.end_run()


def _sharable(value: Any, dtype: Any) -> Any:
    """Return the array itself where OpenVINO can read it where it lies, else a copy."""
    array = np.asarray(value, dtype=dtype, order="C")
    return array if array.flags.writeable else array.copy()


def _graph(model: Any) -> Dict[str, Dict[str, Any]]:
    """Return for each layer that is computed what it was made of, and what it reads."""
    found = {}
    for node in model.get_ops():
        parts = node.get_rt_info()["originalLayersNames"].astype(str)
        sources = [port.get_source_output().get_node() for port in node.inputs()]
        found[node.get_friendly_name()] = {
            "parts": [part for part in parts.split(",") if part],
            "reads": [source.get_friendly_name() for source in sources],
        }
    return found


def _facts(layer: Any, graph: Mapping[str, Dict[str, Any]]) -> Callable[[], Mapping[str, Any]]:
    def tell() -> Mapping[str, Any]:
        facts = {"name": layer.node_name, "operator": layer.node_type, "unit": "CPU"}
        return dict(facts, kernel=layer.exec_type, **graph.get(layer.node_name, {}))

    return tell


def _arithmetic(core: Any, precision: str) -> str:
    """Return the precision to ask for: never what the plug-in would put in its place.

    Left alone, or asked for f16 that the CPU lacks, it takes bf16 on x86 CPUs that have it.
    """
    capabilities = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return "f16" if precision == "fp16" and "FP16" in capabilities else "f32"


def _integer_layers(model: Any) -> str:
    """Say how many of the layers that have weights are computed in integers."""
    facts = [node.get_rt_info() for node in model.get_runtime_model().get_ops()]
    weighted = [fact for fact in facts if fact["layerType"].astype(str) in _WEIGHTED]
    whole = [fact for fact in weighted if fact["runtimePrecision"].astype(str) in ("i8", "u8")]
    return "%d of %d" % (len(whole), len(weighted))


if __name__ == "__main__":
    sys.exit(harness.main(Session))
