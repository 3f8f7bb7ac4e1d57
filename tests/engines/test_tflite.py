"""What holds for TFLite alone."""

import numpy as np
import pytest

from edgekit.core.contracts import RuntimeSpec, Unsupported
from edgekit.core.errors import BuildError
from edgekit.core.events import ignore
from edgekit.engines import load_engine
from edgekit.toolbox.build import build

TFLITE = load_engine("tflite")


@pytest.mark.parametrize(
    ("python", "package"),
    [("3.7.3", "tflite-runtime"), ("3.8.10", "tflite-runtime"), ("3.9.2", "ai-edge-litert")],
)
def test_runtime_old_python_takes_the_forerunner(facts, local_target, python, package):
    found = TFLITE.runtime(local_target, facts("aarch64", [python]))
    assert isinstance(found, RuntimeSpec)
    assert found.packages == (package, "numpy")


def test_runtime_armv7l_takes_numpy_from_the_board(facts, local_target):
    found = TFLITE.runtime(local_target, facts("armv7l", numpy="1.24.2"))
    assert isinstance(found, RuntimeSpec)
    assert found.packages == ("tflite-runtime",)
    assert found.system_packages == ("numpy",)


@pytest.mark.parametrize(
    ("pythons", "numpy", "words"),
    [
        (["3.11.2"], None, "which has none"),
        (["3.11.2"], "2.1.0", "needs NumPy 1"),
        (["3.13.5"], "2.2.4", "Python 3.7 to 3.11"),
    ],
)
def test_runtime_armv7l_that_cannot_be_served_says_why(facts, local_target, pythons, numpy, words):
    found = TFLITE.runtime(local_target, facts("armv7l", pythons, numpy=numpy))
    assert isinstance(found, Unsupported)
    assert words in found.reason
    assert found.hint


def test_runtime_armv6l_is_unsupported(facts, local_target):
    found = TFLITE.runtime(local_target, facts("armv6l", numpy="1.24.2"))
    assert isinstance(found, Unsupported)
    assert found.reason == "no TFLite wheel exists for armv6l"


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.toolbox
def test_build_of_what_tflite_computes_otherwise_fails_on_the_host(make_model, local_target):
    with pytest.raises(BuildError) as caught:
        build(TFLITE, make_model("RandomNormalLike"), "fp32", local_target, emit=ignore)
    assert "tflite fp32 could not be built from tiny" in caught.value.message
    assert "computes something else" in caught.value.message


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.toolbox
def test_build_fp16_stores_the_weights_in_half_and_allows_half_arithmetic(tiny, local_target):
    import onnx

    graph = onnx.load(tiny.onnx.path).graph
    weights = onnx.numpy_helper.to_array(next(w for w in graph.initializer if w.name == "w"))
    kernel = weights.transpose(0, 2, 3, 1)  # as TFLite has it

    def data(precision):
        files = build(TFLITE, tiny, precision, local_target, emit=ignore)
        return next(f for f in files if f.path == "model.tflite").source.read_bytes()

    whole, half = data("fp32"), data("fp16")
    assert kernel.tobytes() in whole
    assert kernel.tobytes() not in half
    assert kernel.astype(np.float16).tobytes() in half
    assert b"reduced_precision_support" in half
    assert b"reduced_precision_support" not in whole
