"""What holds for TensorRT alone. No machine here is a Jetson: the GPU itself is not tested."""

import ctypes
import json
import os
import stat
import sys
import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgekit.catalog.targets import load_target
from edgekit.core.contracts import RuntimeSpec, Unsupported
from edgekit.core.events import ignore
from edgekit.core.quantisation import Int8, Quantisation
from edgekit.engines import load_engine
from edgekit.engines.tensorrt import runner, runner_cuda
from edgekit.toolbox.build import build
from edgekit.toolbox.runner_pack import pack_runner

TENSORRT = load_engine("tensorrt")
TRANSCRIPTS = Path(__file__).with_name("trtexec")
SPECS = {
    "inputs": [{"name": "x", "dtype": "float32", "shape": [1, 4]}],
    "outputs": [{"name": "y", "dtype": "float32", "shape": [1, 4]}],
}


@pytest.mark.parametrize("target", ["rk3588", "rpi5", "local"])
def test_check_board_that_is_no_jetson_is_other_hardware(tiny, target):
    refusal = TENSORRT.check(tiny, "fp16", load_target(target))
    assert refusal is not None
    assert refusal.other_hardware
    assert target in refusal.reason


def test_check_jetson_nano_has_no_int8(tiny):
    nano = load_target("jetson-nano")
    refusal = TENSORRT.check(tiny, "int8", nano)
    assert refusal is not None
    assert "sm_53" in refusal.reason
    assert not refusal.other_hardware
    assert TENSORRT.check(tiny, "fp16", nano) is None
    assert TENSORRT.check(tiny, "int8", load_target("jetson-xavier-nx")) is None


def test_check_operators_that_only_a_newer_jetpack_has(tiny):
    model = replace(tiny, operators=("Conv", "LayerNormalization"))
    refusal = TENSORRT.check(model, "fp16", load_target("jetson-nano"))
    assert refusal is not None
    assert "LayerNormalization" in refusal.reason
    assert TENSORRT.check(model, "fp16", load_target("jetson-orin-nano")) is None


@pytest.mark.parametrize(
    ("pythons", "glibc", "chosen"),
    [(["3.6.9"], "2.27", "3.6.9"), (["3.9.5", "3.8.10"], "2.31", "3.8.10")],
)
def test_runtime_takes_jetpacks_own_python(facts, pythons, glibc, chosen):
    found = TENSORRT.runtime(load_target("jetson-xavier-nx"), facts("aarch64", pythons, glibc))
    assert isinstance(found, RuntimeSpec)
    assert found.python.version == chosen
    assert "python3-libnvinfer" in found.system_packages
    assert found.first_load_s >= runner.BUILD_TIMEOUT_S


def test_runtime_without_jetpacks_python_names_it(facts):
    found = TENSORRT.runtime(load_target("jetson-orin-nano"), facts("aarch64", ["3.11.2"]))
    assert isinstance(found, Unsupported)
    assert "3.6, 3.8, 3.10, 3.12" in found.reason
    assert "3.11.2" in found.reason


def test_runner_pack_holds_the_runners_neighbours():
    import zipfile

    with zipfile.ZipFile(pack_runner(TENSORRT).source) as archive:
        names = set(archive.namelist())
        assert {
            f"edgekit/engines/tensorrt/{name}.py"
            for name in ("runner", "runner_cuda", "runner_trtexec")
        } <= names
        assert archive.read("edgekit/engines/tensorrt/__init__.py") == b""


@pytest.fixture
def board(tmp_path, monkeypatch):
    """A board's home, its trtexec (which says what was recorded) and its device tree."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    tree = tmp_path / "root/proc/device-tree"
    tree.mkdir(parents=True)
    (tree / "compatible").write_bytes(b"nvidia,p3448-0000\0nvidia,tegra210\0")
    (tmp_path / "root/etc").mkdir()
    (tmp_path / "root/etc/nv_tegra_release").write_text(
        "# R32 (release), REVISION: 7.1, GCID: 29818004, BOARD: t210ref, EABI: aarch64\n"
    )
    (tmp_path / "model.onnx").write_bytes(b"model")

    def trtexec(name, status=0):
        program = tmp_path / "bin/trtexec"
        program.parent.mkdir(exist_ok=True)
        program.write_text(
            f"""#!{sys.executable}
import sys
with open({str(tmp_path / "calls")!r}, "a") as calls:
    calls.write(" ".join(sys.argv[1:]) + "\\n")
if {status} == 0:
    path = next(word[13:] for word in sys.argv if word.startswith("--saveEngine="))
    open(path, "wb").write(b"engine")
print(open({str(TRANSCRIPTS / name)!r} + ".log", encoding="utf-8").read())
sys.exit({status})
"""
        )
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", str(program.parent))

    trtexec("jetson-nano-8.2-passed")
    return types.SimpleNamespace(
        root=str(tmp_path / "root"),
        onnx=str(tmp_path / "model.onnx"),
        trtexec=trtexec,
        calls=lambda: (tmp_path / "calls").read_text().splitlines(),
        folder=tmp_path / "cache/edgekit/tensorrt",
    )


def engine_on(board, precision="fp16", version="8.2.1.8"):
    """Ask for the engine as the session does on a board."""
    name = runner.engine_name(board.onnx, precision, version, board.root)
    path, said = runner.engine_file(board.onnx, name, precision, version, board.root)
    assert Path(path).name == name
    return path, said


def test_engine_is_built_once_for_a_device_and_precision(board):
    path, said = engine_on(board)
    assert Path(path).read_bytes() == b"engine"
    assert said.build_s == 184.708
    assert engine_on(board) == (path, None)
    assert len(board.calls()) == 1
    assert "--fp16" in board.calls()[0]
    assert "nvidia-p3448-0000-32.7.1-8.2.1.8.timing" in board.calls()[0]
    others = [engine_on(board, "fp32")[0], engine_on(board, version="8.5.2.2")[0]]
    Path(board.onnx).write_bytes(b"another model")
    others.append(engine_on(board)[0])
    Path(board.root, "proc/device-tree/compatible").write_bytes(b"nvidia,p3668-0000\0")
    others.append(engine_on(board)[0])
    Path(board.root, "etc/nv_tegra_release").write_text("# R32 (release), REVISION: 7.4, GCID: 3\n")
    others.append(engine_on(board)[0])
    assert len({path, *others}) == 6


def test_failed_build_leaves_nothing_and_says_why(board):
    board.trtexec("unsupported-operator-8", status=1)
    with pytest.raises(RuntimeError, match="TensorRT has no operator GridSample"):
        engine_on(board, version="8.5.3")
    assert list(board.folder.iterdir()) == []


def test_build_that_says_nothing_of_success_is_a_failure(board):
    board.trtexec("jetson-orin-10.3-cut-off")
    with pytest.raises(RuntimeError, match="trtexec ended with 0"):
        engine_on(board, "int8", "10.3.0")
    assert list(board.folder.iterdir()) == []


def test_build_that_was_killed_leaves_its_part_for_a_while(board):
    board.folder.mkdir(parents=True)
    parts = [board.folder / f"{name}.engine.1.part" for name in ("old", "new")]
    for part in parts:
        part.touch()
    os.utime(parts[0], (0, 0))
    engine_on(board)
    assert [part.exists() for part in parts] == [False, True]


def test_engines_longest_unused_are_forgotten(board):
    for number in range(runner.KEPT_ENGINES + 3):
        Path(board.onnx).write_bytes(b"%d" % number)
        engine_on(board)
    assert len(list(board.folder.glob("*.engine"))) == runner.KEPT_ENGINES


def test_missing_cuda_names_its_package(tmp_path):
    with pytest.raises(RuntimeError, match="apt install nvidia-jetpack"):
        runner_cuda.Cuda((str(tmp_path / "libcudart.so*"), str(tmp_path / "libcudart.so")))


class HostCuda:
    """Stands for CUDA: memory of this process in place of a GPU's."""

    def __init__(self):
        self.kept = []

    def allocate(self, size_bytes):
        self.kept.append(ctypes.create_string_buffer(size_bytes))
        return ctypes.addressof(self.kept[-1])

    def copy(self, to, from_, size_bytes, kind):
        assert kind in (1, 2)
        ctypes.memmove(to, from_, size_bytes)

    def version(self):
        return "10.2"


class FakeEngine:
    """A TensorRT engine that doubles x; as of 8.5 and newer, or with bindings as before."""

    def __init__(self, *, old, names=("x", "y"), kind="FLOAT", works=True):
        self.names, self.kind, self.works = names, f"DataType.{kind}", works
        if old:
            self.num_bindings = len(names)
            self.get_binding_name = lambda index: self.names[index]
            self.get_binding_dtype = lambda _index: self.kind
        else:
            self.num_io_tensors = len(names)
            self.get_tensor_name = lambda index: self.names[index]
            self.get_tensor_dtype = lambda _name: self.kind

    def create_execution_context(self):
        return self

    def execute_v2(self, addresses):
        x, y = (
            np.ctypeslib.as_array(ctypes.cast(at, ctypes.POINTER(ctypes.c_float)), (1, 4))
            for at in addresses
        )
        y[:] = 2 * x
        return self.works


@pytest.fixture
def load(board, monkeypatch):
    """Open the runner's session over a fake engine."""

    def make(engine):
        module = types.ModuleType("tensorrt")
        vars(module).update(
            __version__="8.2.1.8",
            Logger=type("Logger", (), {"WARNING": 2, "__init__": lambda self, level: None}),
            Runtime=lambda _logger: types.SimpleNamespace(
                deserialize_cuda_engine=lambda data: engine if data == b"engine" else None
            ),
        )
        monkeypatch.setitem(sys.modules, "tensorrt", module)
        monkeypatch.setattr(runner_cuda, "Cuda", HostCuda)
        return runner.Session(str(Path(board.onnx).parent), SPECS, "fp16", {"threads": 1})

    return make


@pytest.mark.parametrize("old", [True, False])
def test_runner_feeds_the_engine_and_gives_its_outputs(load, old):
    session = load(FakeEngine(old=old))
    for value in (1.5, -2.0):
        found = session.run({"x": np.full((1, 4), value, np.float32)})
        np.testing.assert_array_equal(found["y"], np.full((1, 4), 2 * value, np.float32))
    versions = session.versions()
    assert versions["tensorrt"] == "8.2.1.8"
    assert versions["cuda"] == "10.2"
    assert versions["trtexec gpu compute ms"] == "90.018"


def test_runner_reports_trtexec_only_where_it_built(load):
    load(FakeEngine(old=False))
    assert "trtexec gpu compute ms" not in load(FakeEngine(old=False)).versions()


@pytest.fixture
def send(board):
    """Lay an engine into the bundle's folder, under the name that fits this machine."""

    def lay(data, precision="fp16"):
        name = runner.engine_name(board.onnx, precision, "8.2.1.8")
        Path(board.onnx).with_name(name).write_bytes(data)
        return name

    return lay


def test_runner_hands_over_the_engine_until_it_stands_in_the_bundle(load, board, send):
    first = load(FakeEngine(old=False))
    [(name, path)] = first.made.items()
    assert Path(path).read_bytes() == b"engine"
    # The host may have lost it: told again, though it was not built again.
    assert load(FakeEngine(old=False)).made == first.made
    assert send(b"engine") == name
    assert load(FakeEngine(old=False)).made == {}
    assert len(board.calls()) == 1


def test_runner_takes_up_an_engine_that_an_identical_board_built(load, board, send):
    send(b"engine")
    session = load(FakeEngine(old=True))
    found = session.run({"x": np.ones((1, 4), np.float32)})
    np.testing.assert_array_equal(found["y"], np.full((1, 4), 2, np.float32))
    assert not board.folder.exists()
    assert "trtexec build s" not in session.versions()


@pytest.mark.parametrize(
    ("data", "precision", "refused"), [(b"torn", "fp16", True), (b"engine", "fp32", False)]
)
def test_runner_builds_its_own_where_the_sent_engine_is_refused_or_another(
    load, board, send, capsys, data, precision, refused
):
    send(data, precision)
    session = load(FakeEngine(old=False))
    assert [Path(path).read_bytes() for path in session.made.values()] == [b"engine"]
    assert len(board.calls()) == 1
    assert ("refuses the engine that was sent" in capsys.readouterr().err) == refused


def test_runner_engine_that_tensorrt_refuses_is_removed(load, board):
    with pytest.raises(RuntimeError, match="TensorRT refuses the engine"):
        load(None)
    assert list(board.folder.glob("*.engine")) == []


def test_runner_names_tensors_that_do_not_fit(load):
    with pytest.raises(RuntimeError, match="a tensor z that the model has not"):
        load(FakeEngine(old=False, names=("x", "z")))
    with pytest.raises(RuntimeError, match="lacks the tensors y"):
        load(FakeEngine(old=False, names=("x",)))
    with pytest.raises(RuntimeError, match="tensor x of the engine is BOOL"):
        load(FakeEngine(old=False, kind="BOOL"))


def test_runner_inference_that_fails_is_an_error(load):
    session = load(FakeEngine(old=False, works=False))
    with pytest.raises(RuntimeError, match="could not run the model"):
        session.run({"x": np.zeros((1, 4), np.float32)})


def test_runner_without_jetpack_names_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(RuntimeError, match="apt install python3-libnvinfer"):
        runner.Session("/bundle", SPECS, "fp16", {"threads": 1})


def test_device_tells_module_and_release(board, tmp_path):
    assert runner.module_name(board.root) == "nvidia,p3448-0000"
    assert runner.l4t_release(board.root) == "32.7.1"
    assert runner.module_name(str(tmp_path / "nothing")) == "unknown"
    assert runner.l4t_release(str(tmp_path / "nothing")) is None


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.toolbox
def test_build_of_a_float_model_is_the_model_itself(tiny):
    (file,) = build(TENSORRT, tiny, "fp16", load_target("jetson-nano"), emit=ignore)
    assert file.path == "model.onnx"
    assert file.sha256 == tiny.onnx.sha256


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.toolbox
@pytest.mark.parametrize("method", TENSORRT.methods)
def test_build_int8_carries_its_own_symmetric_ranges(tiny, calibrate, method):
    import onnx
    import onnxruntime
    from onnx import numpy_helper

    int8 = Int8(Quantisation(method), calibrate(tiny))
    (file,) = build(TENSORRT, tiny, "int8", load_target("jetson-orin-nano"), int8=int8, emit=ignore)
    graph = onnx.load(file.source).graph
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    pairs = [node for node in graph.node if node.op_type == "QuantizeLinear"]
    assert {node.input[0] for node in pairs} == {"x", "w"}
    for node in pairs:
        assert weights[node.input[2]].dtype == np.int8
        assert not weights[node.input[2]].any()
    scales = {node.input[0]: weights[node.input[1]] for node in pairs}
    assert scales["x"].shape == ()
    assert scales["x"] == pytest.approx(1 / 127, rel=0.05)
    np.testing.assert_allclose(scales["w"], np.abs(weights["w"]).max((1, 2, 3)) / 127, rtol=1e-6)
    value = {"x": np.random.default_rng(0).random(tiny.inputs[0].shape, np.float32)}
    found, expected = (
        onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(
            ["first"], value
        )[0]
        for path in (file.source, tiny.onnx.path)
    )
    far = np.abs(found - expected).max() / np.abs(expected).max()
    assert 0 < far < 0.02


def test_build_settings_do_not_name_the_board(tiny):
    found = {
        TENSORRT.build_settings(tiny, "fp16", load_target(name))
        for name in ("jetson-nano", "jetson-agx-orin")
    }
    assert [json.loads(text) for text in found] == [{}]
