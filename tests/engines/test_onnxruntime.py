"""What holds for ONNX Runtime alone."""

from edgekit.core.contracts import Unsupported
from edgekit.engines import load_engine


def test_runtime_armv7l_is_unsupported(facts, local_target):
    found = load_engine("onnxruntime").runtime(local_target, facts("armv7l", numpy="1.24.2"))
    assert isinstance(found, Unsupported)
    assert found.reason == "no onnxruntime wheel exists for armv7l"
    assert "ncnn" in found.hint
