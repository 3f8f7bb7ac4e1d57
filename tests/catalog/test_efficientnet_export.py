"""The export script of a recipe: reads PyTorch's legacy files without PyTorch, and safely."""

import importlib.util
import io
import pickle
import sys
import types
from collections import OrderedDict

import numpy as np
import pytest

from edgekit.catalog.recipes import load_recipe

MAGIC = 0x1950A86A20F9469CFC6C


@pytest.fixture(scope="module")
def export():
    script = load_recipe("efficientnet-lite0").export.script
    spec = importlib.util.spec_from_file_location("efficientnet_lite0_export", script)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


class FloatStorage:
    def __init__(self, key, values):
        self.key = key
        self.values = np.asarray(values, "<f4")


class Tensor:
    def __init__(self, storage, offset, shape, strides):
        self.arguments = (storage, offset, shape, strides, False, OrderedDict())

    def __reduce__(self):
        return sys.modules["torch._utils"]._rebuild_tensor_v2, self.arguments


class Pickler(pickle.Pickler):
    def persistent_id(self, obj):
        if isinstance(obj, FloatStorage):
            return ("storage", FloatStorage, obj.key, "cpu", len(obj.values), None)
        return None


@pytest.fixture
def write(monkeypatch):
    """Write a state dict as PyTorch of 2019 would, under its names, without it."""

    def _rebuild_tensor_v2(*_arguments):
        raise AssertionError("only its name is wanted")

    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    _rebuild_tensor_v2.__module__ = "torch._utils"
    _rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2
    torch.FloatStorage = FloatStorage
    monkeypatch.setattr(FloatStorage, "__module__", "torch")
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)

    def write(state, storages, magic=MAGIC):
        stream = io.BytesIO()
        for value in (magic, 1001, {"little_endian": True}):
            pickle.dump(value, stream, protocol=2)
        Pickler(stream, protocol=2).dump(state)
        pickle.dump([storage.key for storage in storages], stream, protocol=2)
        for storage in storages:
            stream.write(len(storage.values).to_bytes(8, "little") + storage.values.tobytes())
        return stream.getvalue()

    return write


def test_read_weights_gives_tensors_of_any_layout(export, write):
    values = np.arange(24, dtype=np.float32)
    a, b = FloatStorage("7", values), FloatStorage("9", [5, 6])
    state = OrderedDict(
        plain=Tensor(a, 0, (2, 3, 4), (12, 4, 1)),
        turned=Tensor(a, 4, (4, 2), (1, 4)),
        other=Tensor(b, 1, (1,), (1,)),
        scalar=Tensor(b, 0, (), ()),
    )
    weights = export.read_weights(io.BytesIO(write(state, [a, b])))
    assert weights["plain"].tolist() == values.reshape(2, 3, 4).tolist()
    assert weights["turned"].tolist() == values[4:12].reshape(2, 4).T.tolist()
    assert weights["other"].tolist() == [6.0]
    assert weights["scalar"].tolist() == 5.0


def test_read_weights_refuses_tensors_beyond_their_storage(export, write):
    a = FloatStorage("7", [1, 2, 3, 4])
    for tensor in (Tensor(a, 0, (5,), (1,)), Tensor(a, 3, (2,), (1,)), Tensor(a, 3, (2,), (-1,))):
        with pytest.raises(ValueError, match="beyond its storage"):
            export.read_weights(io.BytesIO(write({"x": tensor}, [a])))


def test_read_weights_refuses_truncated_and_foreign_files(export, write):
    a = FloatStorage("7", [1, 2, 3, 4])
    data = write({"x": Tensor(a, 0, (4,), (1,))}, [a])
    with pytest.raises(ValueError, match="ends too early"):
        export.read_weights(io.BytesIO(data[:-1]))
    with pytest.raises(ValueError, match="legacy format"):
        export.read_weights(io.BytesIO(write({}, [], magic=1)))
    with pytest.raises((pickle.UnpicklingError, EOFError)):
        export.read_weights(io.BytesIO(data[:60]))


def test_read_weights_runs_nothing_that_a_file_names(export, tmp_path):
    mark = tmp_path / "ran"
    evil = b"cos\nsystem\n(S'touch " + str(mark).encode() + b"'\ntR."
    header = b"".join(pickle.dumps(v, protocol=2) for v in (MAGIC, 1001, {}))
    with pytest.raises(pickle.UnpicklingError, match=r"refused: os\.system"):
        export.read_weights(io.BytesIO(header + evil))
    assert not mark.exists()


def test_build_makes_the_whole_network_from_weights_of_its_shapes(export):
    """Random weights: folding and padding agree with the plain arithmetic at one place."""
    import onnxruntime

    random = np.random.default_rng(0)
    weights = {}

    def convolution(prefix, norm, outputs, inputs, kernel):
        weights[f"{prefix}.weight"] = random.normal(
            0, (inputs * kernel * kernel) ** -0.5, (outputs, inputs, kernel, kernel)
        ).astype(np.float32)
        for part in ("weight", "bias", "running_mean", "running_var"):
            weights[f"{norm}.{part}"] = random.uniform(0.5, 1.5, outputs).astype(np.float32)

    convolution("_conv_stem", "_bn0", 32, 3, 3)
    channels, index = 32, 0
    for repeats, kernel, _stride, expansion, outputs in export._STAGES:
        for _ in range(repeats):
            block, inner = f"_blocks.{index}", channels * expansion
            if expansion != 1:
                convolution(f"{block}._expand_conv", f"{block}._bn0", inner, channels, 1)
            convolution(f"{block}._depthwise_conv", f"{block}._bn1", inner, 1, kernel)
            convolution(f"{block}._project_conv", f"{block}._bn2", outputs, inner, 1)
            channels, index = outputs, index + 1
    convolution("_conv_head", "_bn1", 1280, 320, 1)
    weights["_fc.weight"] = random.normal(0, 0.03, (1000, 1280)).astype(np.float32)
    weights["_fc.bias"] = np.zeros(1000, np.float32)
    model = export.build(weights)
    model.graph.output.extend([export.helper.make_tensor_value_info("_conv_stem.relu6", 1, None)])
    session = onnxruntime.InferenceSession(model.SerializeToString())
    image = random.uniform(-1, 1, (1, 3, 224, 224)).astype(np.float32)
    logits, stem = session.run(None, {"images": image})
    assert logits.shape == (1, 1000)
    assert stem.shape == (1, 32, 112, 112)
    # TensorFlow pads an even edge at its far side alone: this corner sees the image's corner...
    sums = np.tensordot(weights["_conv_stem.weight"], image[0, :, :3, :3], 3)
    gain = weights["_bn0.weight"] / np.sqrt(weights["_bn0.running_var"] + 1e-3)
    corner = (sums - weights["_bn0.running_mean"]) * gain + weights["_bn0.bias"]
    assert np.allclose(stem[0, :, 0, 0], np.clip(corner, 0, 6), atol=1e-5)
    # ... and the opposite one sees two rows and columns of it, and padding.
    sums = np.tensordot(weights["_conv_stem.weight"][:, :, :2, :2], image[0, :, 222:, 222:], 3)
    corner = (sums - weights["_bn0.running_mean"]) * gain + weights["_bn0.bias"]
    assert np.allclose(stem[0, :, 111, 111], np.clip(corner, 0, 6), atol=1e-5)
