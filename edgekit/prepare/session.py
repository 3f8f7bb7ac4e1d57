"""ONNX Runtime on the host: the float reference, and the judge of every rewriting."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.core.errors import ModelError
from edgekit.core.model import TensorSpec

if TYPE_CHECKING:
    import numpy as np
    import onnx
    import onnxruntime
    from numpy.typing import NDArray

    Array = NDArray[np.generic]

_QUIET = 4  # ORT's severity "fatal": its warnings would go to the user's terminal


class Reference:
    """A float32 session of ONNX Runtime on the host's CPU."""

    def __init__(self, model: "Path | onnx.ModelProto", what: str) -> None:
        import onnxruntime

        content = str(model) if isinstance(model, Path) else model.SerializeToString()
        self._what = what
        try:
            self._session = onnxruntime.InferenceSession(
                content, _options(), providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise ModelError(
                f"ONNX Runtime cannot load {what}: {_in_words(error)}",
                hint="see that the graph is right and all its operators are ONNX's own",
            ) from error
        self._names = [output.name for output in self._session.get_outputs()]

    @property
    def output_shapes(self) -> dict[str, list[int | str | None]]:
        """Shapes as ONNX Runtime inferred them; a dimension that it does not know is no number."""
        return {output.name: list(output.shape) for output in self._session.get_outputs()}

    def run(self, inputs: "Mapping[str, Array]") -> "dict[str, Array]":
        """Run the graph once.

        Raises:
            ModelError: the graph does not fit the inputs.
        """
        try:
            outputs = self._session.run(self._names, dict(inputs))
        except Exception as error:
            raise ModelError(
                f"ONNX Runtime cannot run {self._what}: {_in_words(error)}",
                hint="the graph contradicts itself at this input size: try another --size, or "
                "export the model at the size wanted",
            ) from error
        return dict(zip(self._names, outputs, strict=True))


def seeded_inputs(inputs: Sequence[TensorSpec], seed: int = 0) -> "dict[str, Array]":
    """Draw inputs: floats uniform in [0, 1), integers 0 or 1, the same for the same seed."""
    import numpy as np

    random = np.random.default_rng(seed)
    drawn: dict[str, Array] = {}
    for spec in inputs:
        dtype = np.dtype(spec.dtype)
        if dtype.kind == "f":
            drawn[spec.name] = random.random(spec.shape, dtype=np.float32).astype(dtype)
        else:
            drawn[spec.name] = random.integers(0, 2, spec.shape).astype(dtype)
    return drawn


def fold_constants(model: "onnx.ModelProto", folder: Path) -> "onnx.ModelProto | None":
    """Let ONNX Runtime fold what does not depend on the inputs; ``None`` where it cannot.

    Only its basic level is used, whose result is standard ONNX; engines' converters read
    weights and shapes more surely than arithmetic that makes them.
    """
    import onnx
    import onnxruntime

    options = _options()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    folded = folder / "folded.onnx"
    options.optimized_model_filepath = str(folded)
    try:
        onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        result = onnx.load(folded)
    except Exception:  # noqa: BLE001 (ORT's errors share no public base class)
        return None
    finally:
        folded.unlink(missing_ok=True)
    return result


def _options() -> "onnxruntime.SessionOptions":
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = _QUIET
    # Spinning threads would disturb whatever else is measured on this host.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _in_words(error: Exception) -> str:
    """Return ONNX Runtime's message without its codes and the places in its source."""
    lines = str(error).strip().splitlines()
    text = _CODES.sub("", lines[0]) if lines else type(error).__name__
    return _PLACES.sub("", text)


_CODES = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : (Non-zero status code returned while )?")
_PLACES = re.compile(r"Status Message: \S+\.(h|cc|cpp):\d+ .*? was false\. ")
