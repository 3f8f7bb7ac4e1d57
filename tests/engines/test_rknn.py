"""What holds for RKNN alone. No machine here has such an NPU: the chip itself is not tested."""

import json
import sys
import types
from dataclasses import replace

import numpy as np
import pytest

from edgekit.catalog.targets import load_target
from edgekit.core.contracts import RuntimeSpec, Unsupported
from edgekit.core.errors import BuildError
from edgekit.core.events import ignore
from edgekit.core.model import TensorSpec
from edgekit.core.quantisation import Int8, Quantisation
from edgekit.engines import load_engine
from edgekit.engines.operators import lacking
from edgekit.engines.rknn import runner
from edgekit.toolbox.build import build

RKNN = load_engine("rknn")
SPECS = {
    "inputs": [{"name": "x", "dtype": "float32", "shape": [1, 3, 2, 2]}],
    "outputs": [
        {"name": "scores", "dtype": "float32", "shape": [1, 4]},
        {"name": "boxes", "dtype": "float32", "shape": [1, 2, 2, 2]},
    ],
}


@pytest.mark.parametrize("target", ["rk3399", "rpi5", "jetson-nano", "local"])
def test_check_board_without_npu_names_those_that_have_one(tiny, target):
    refusal = RKNN.check(tiny, "fp16", load_target(target))
    assert refusal is not None
    assert refusal.other_hardware
    assert "RK3566" in refusal.reason
    assert target in refusal.reason


@pytest.mark.parametrize(
    ("target", "platform"), [("rk3566", "rk3566"), ("rk3568", "rk3566"), ("rk3588", "rk3588")]
)
def test_build_settings_name_the_npu_that_the_file_serves(tiny, target, platform):
    assert RKNN.check(tiny, "int8", load_target(target)) is None
    settings = json.loads(RKNN.build_settings(tiny, "int8", load_target(target)))
    assert settings == {"platform": platform}


def test_check_input_that_is_not_float_is_refused(tiny):
    odd = replace(tiny, inputs=(TensorSpec("x", "int64", (1, 4)),))
    refusal = RKNN.check(odd, "fp16", load_target("rk3566"))
    assert refusal is not None
    assert not refusal.other_hardware
    assert "x int64[1, 4]" in refusal.reason


def test_runtime_names_what_only_the_image_has(facts):
    found = RKNN.runtime(load_target("rk3566"), facts("aarch64", ["3.13.1", "3.11.2"]))
    assert isinstance(found, RuntimeSpec)
    assert found.python.version == "3.11.2"
    assert found.system_packages == ("librknnrt.so",)


@pytest.mark.parametrize(
    ("machine", "python", "said"),
    [("armv7l", "3.11.2", "armv7l"), ("aarch64", "3.13.1", "Python 3.7 to 3.12")],
)
def test_runtime_without_wheel_says_why(facts, machine, python, said):
    found = RKNN.runtime(load_target("rk3566"), facts(machine, [python]))
    assert isinstance(found, Unsupported)
    assert said in found.reason
    assert not found.other_hardware


def test_knobs_are_those_of_the_chip(facts):
    names = {
        target: [knob.name for knob in RKNN.knobs("int8", load_target(target), facts("aarch64"))]
        for target in ("rk3566", "rk3588")
    }
    assert names == {"rk3566": [], "rk3588": ["npu_cores"]}
    (cores,) = RKNN.knobs("int8", load_target("rk3588"), facts("aarch64"))
    assert set(cores.values) <= set(runner.CORE_MASKS)


def test_another_engine_is_not_sent_to_hardware_that_may_be_missing(tiny):
    missing = replace(tiny, operators=("Conv", "com.example::Wobble"))
    refusal = lacking(missing, "ncnn")
    assert refusal is not None
    plain = lacking(replace(tiny, operators=("Einsum",)), "ncnn")
    for found in (refusal, plain):
        assert "rknn" not in (found.hint if found else "")


class FakeLite:
    """Stands for rknnlite.api.RKNNLite, which needs an NPU. It answers by number, as that does."""

    load, start, outputs = 0, 0, None
    started_with = None

    def __init__(self, verbose):
        assert verbose is False

    def load_rknn(self, path):
        return type(self).load

    def init_runtime(self, **options):
        type(self).started_with = options
        return type(self).start

    def inference(self, inputs, data_format):
        assert data_format == ["nchw"]
        assert all(value.flags.c_contiguous for value in inputs)
        return type(self).outputs


@pytest.fixture
def lite(monkeypatch, tmp_path):
    """The vendor's package as a fake, and a library that the system does have in its place."""

    class Lite(FakeLite):
        pass

    package, api = types.ModuleType("rknnlite"), types.ModuleType("rknnlite.api")
    package.__file__ = str(tmp_path / "rknnlite" / "__init__.py")
    (tmp_path / "rknnlite").mkdir()
    (tmp_path / "rknnlite" / "VERSION").write_text("2.5.0\n")
    vars(api)["RKNNLite"] = Lite
    monkeypatch.setitem(sys.modules, "rknnlite", package)
    monkeypatch.setitem(sys.modules, "rknnlite.api", api)
    monkeypatch.setattr(runner, "load_library", lambda: str(tmp_path / runner.LIBRARY))
    text = b"\x7fELF\0librknnrt version: 2.3.2 (429f97ae6b@2025-04-09T09:09:27)\0"
    (tmp_path / runner.LIBRARY).write_bytes(text)
    return Lite


def session(**knobs):
    return runner.Session("/bundle", SPECS, "int8", {"threads": 1, **knobs})


def test_runner_gives_outputs_in_the_models_own_shapes(lite):
    boxes = np.arange(8, dtype=np.float32).reshape(1, 2, 2, 2)
    lite.outputs = [np.ones((1, 4, 1, 1), np.float32), boxes]
    opened = session()
    found = opened.run({"x": np.zeros((1, 3, 2, 2), np.float32)})
    assert found["scores"].shape == (1, 4)
    np.testing.assert_array_equal(found["boxes"], boxes)
    versions = opened.versions()
    assert versions["rknn"] == "2.5.0"
    assert versions["librknnrt"] == "2.3.2"
    assert lite.started_with == {}


@pytest.mark.parametrize(("cores", "mask"), [("0", 1), ("0-1", 3), ("0-2", 7)])
def test_runner_cores_become_the_vendors_mask(lite, cores, mask):
    session(npu_cores=cores)
    assert lite.started_with == {"core_mask": mask}


def test_runner_start_that_answers_minus_one_says_what_is_missing(lite, monkeypatch):
    lite.start = -1
    monkeypatch.setattr(runner, "npu_nodes", list)
    with pytest.raises(RuntimeError, match=r"2\.3\.2.*shows no NPU"):
        session()
    monkeypatch.setattr(runner, "npu_nodes", lambda: ["/nonexistent/renderD129"])
    with pytest.raises(RuntimeError, match="renderD129; add them to the groups render"):
        session()
    monkeypatch.setattr(runner, "npu_nodes", lambda: ["/dev/null"])
    with pytest.raises(RuntimeError, match="library, driver and model must fit"):
        session()


def test_runner_failed_inference_and_missing_outputs_are_errors(lite):
    opened = session()
    with pytest.raises(RuntimeError, match="gave no answer"):
        opened.run({"x": np.zeros((1, 3, 2, 2), np.float32)})
    lite.outputs = [np.zeros((1, 4), np.float32)]
    with pytest.raises(RuntimeError, match="gave 1 outputs, the model has 2"):
        opened.run({"x": np.zeros((1, 3, 2, 2), np.float32)})


def test_runner_model_that_cannot_be_read_is_named(lite):
    lite.load = -1
    with pytest.raises(RuntimeError, match=r"cannot read /bundle/model\.rknn"):
        session()


def test_runner_without_the_vendors_library_says_where_it_comes_from(tmp_path):
    with pytest.raises(RuntimeError, match=r"librknnrt\.so is missing on this board.*/usr/lib"):
        runner.load_library((str(tmp_path),))


def test_runner_library_of_another_machine_is_an_error_with_its_path(tmp_path, monkeypatch):
    monkeypatch.setenv("LIBRKNNRT_PATH", "unset by the test")
    (tmp_path / runner.LIBRARY).write_bytes(b"no library")
    with pytest.raises(RuntimeError, match=r"librknnrt\.so cannot be loaded"):
        runner.load_library((str(tmp_path),))


def test_runner_finds_the_npu_among_the_graphics_nodes(tmp_path):
    for name, driver in (("card0", "panfrost"), ("renderD129", "RKNPU")):
        (tmp_path / "dev/dri").mkdir(parents=True, exist_ok=True)
        (tmp_path / "dev/dri" / name).touch()
        device = tmp_path / "sys/class/drm" / name / "device"
        device.mkdir(parents=True)
        (tmp_path / "drivers" / driver).mkdir(parents=True)
        (device / "driver").symlink_to(tmp_path / "drivers" / driver)
    assert runner.npu_nodes(str(tmp_path)) == [str(tmp_path / "dev/dri/renderD129")]
    assert runner.npu_nodes(str(tmp_path / "nothing")) == []


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.toolbox
def test_build_fp16_is_simulated_against_the_reference(tiny, buildable):
    files = build(buildable("rknn"), tiny, "fp16", load_target("rk3566"), emit=ignore)
    (file,) = files
    assert file.path == "model.rknn"
    assert file.source.read_bytes()[:4] == b"RKNN"


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.toolbox
@pytest.mark.parametrize("method", RKNN.methods)
def test_build_int8_is_graded_in_the_simulator(tiny, calibrate, buildable, method):
    int8 = Int8(Quantisation(method), calibrate(tiny))
    (file,) = build(buildable("rknn"), tiny, "int8", load_target("rk3566"), int8=int8, emit=ignore)
    assert file.path == "model.rknn"


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.toolbox
def test_build_of_what_the_toolkit_lacks_fails_with_its_own_words(make_model, buildable):
    with pytest.raises(BuildError) as caught:
        build(buildable("rknn"), make_model("Det"), "fp16", load_target("rk3566"), emit=ignore)
    assert "rknn-toolkit2's build failed" in caught.value.message
    assert "Det" in caught.value.message
