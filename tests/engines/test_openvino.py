"""What holds for OpenVINO alone."""

import json
import platform
import re
from dataclasses import replace

import numpy as np
import pytest

from edgekit.core.contracts import RuntimeSpec, Unsupported
from edgekit.core.errors import BuildError
from edgekit.core.events import ignore
from edgekit.core.quantisation import Int8, Quantisation
from edgekit.engines import load_engine
from edgekit.toolbox.build import build
from edgekit.toolbox.requirements import select
from edgekit.toolbox.runner_pack import pack_runner
from edgekit.toolbox.wheels import resolve

OPENVINO = load_engine("openvino")


def test_runtime_armv7l_is_unsupported(facts, local_target):
    found = OPENVINO.runtime(local_target, facts("armv7l", numpy="1.24.2"))
    assert isinstance(found, Unsupported)
    assert found.reason == "no openvino wheel exists for armv7l"
    assert "ncnn" in found.hint


@pytest.mark.parametrize(
    ("glibc", "pythons", "chosen", "version"),
    [
        ("2.36", ["3.9.2", "3.11.2"], "3.11.2", "2026.4.1"),
        ("2.35", ["3.10.12"], "3.10.12", "2026.4.1"),
        ("2.31", ["3.9.2", "3.11.2"], "3.9.2", "2025.2.0"),
        ("2.31", ["3.8.10"], "3.8.10", "2024.4.0"),
    ],
)
def test_runtime_aarch64_takes_a_wheel_that_the_glibc_can_load(
    facts, local_target, glibc, pythons, chosen, version
):
    found = OPENVINO.runtime(local_target, facts("aarch64", pythons, glibc))
    assert isinstance(found, RuntimeSpec)
    assert found.python.version == chosen
    pins = select(found.requirements, found.packages, chosen)
    assert [pin.version for pin in pins if pin.name == "openvino"] == [version]


@pytest.mark.parametrize(("glibc", "python"), [("2.34", "3.11.2"), ("2.28", "3.9.2")])
def test_runtime_aarch64_with_an_old_glibc_names_it(facts, local_target, glibc, python):
    found = OPENVINO.runtime(local_target, facts("aarch64", [python], glibc))
    assert isinstance(found, Unsupported)
    assert f"glibc {glibc}" in found.reason
    assert "Debian 12" in found.hint


def test_check_armv7l_target_is_unsupported(tiny, local_target):
    refusal = OPENVINO.check(tiny, "fp32", replace(local_target, architecture="armv7l"))
    assert refusal is not None
    assert "armv7l" in refusal.reason


def test_build_settings_spare_a_bit_for_x86_alone(tiny, local_target):
    def settings(precision, architecture):
        target = replace(local_target, architecture=architecture)
        return json.loads(OPENVINO.build_settings(tiny, precision, target))

    assert settings("fp32", "x86_64") == settings("fp32", "aarch64") == {}
    assert settings("int8", "x86_64") == {"overflow_fix": "first_layer_only"}
    assert settings("int8", "aarch64") == {"overflow_fix": "disable"}


def test_toolbox_reports_to_nobody():
    # nncf and openvino send what they do through this package, and nothing without it.
    lock = OPENVINO.toolbox.requirements.read_text(encoding="utf-8")
    assert "nncf==" in lock
    assert "telemetry" not in lock
    assert not OPENVINO.toolbox.dependencies


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.toolbox
def test_build_int8_holds_weights_as_int8_but_for_float_layers(tiny, calibrate, local_target):
    def graph(*layers):
        int8 = Int8(Quantisation("average", layers), calibrate(tiny))
        files = build(OPENVINO, tiny, "int8", local_target, int8=int8, emit=ignore)
        text = next(file for file in files if file.path == "model.xml").source.read_text()
        weights = re.findall(r'<data element_type="(\w+)" shape="4, 3, 3, 3"', text)
        return weights, text.count('type="FakeQuantize"')

    weights, ranges = graph()
    assert weights == ["i8"]
    weights, fewer_ranges = graph("stem")
    assert weights == ["f32"]
    assert 0 < fewer_ranges < ranges


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.toolbox
def test_build_int8_with_nothing_to_quantise_says_so(tiny, calibrate, local_target):
    everything = ("activation", "flat", "pool", "stem")
    int8 = Int8(Quantisation("average", everything), calibrate(tiny))
    with pytest.raises(BuildError) as caught:
        build(OPENVINO, tiny, "int8", local_target, int8=int8, emit=ignore)
    assert "found no layer that it can make int8" in caught.value.message


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.toolbox
def test_build_of_what_openvino_lacks_fails_on_the_host(make_model, local_target):
    with pytest.raises(BuildError) as caught:
        build(OPENVINO, make_model("Det"), "fp32", local_target, emit=ignore)
    assert "openvino fp32 could not be built from tiny" in caught.value.message
    assert "Det" in caught.value.message
    assert caught.value.exit_code == 4


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.toolbox
def test_build_fp16_weights_are_half_the_size(tiny, local_target):
    def weights(precision):
        files = build(OPENVINO, tiny, precision, local_target, emit=ignore)
        assert {file.path for file in files} == {"model.bin", "model.xml"}
        return next(file.size_bytes for file in files if file.path == "model.bin")

    assert weights("fp16") < 0.6 * weights("fp32")


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.toolbox
@pytest.mark.parametrize("precision", OPENVINO.precisions)
def test_runner_never_computes_in_bfloat16(
    precision, tiny, calibrate, local_target, here, run_runner, tmp_path
):
    frame = tmp_path / "frame.npz"
    np.savez(frame, x=np.ones(tiny.inputs[0].shape, np.float32))
    int8 = Int8(Quantisation("average"), calibrate(tiny)) if precision == "int8" else None
    files = build(OPENVINO, tiny, precision, local_target, int8=int8, emit=ignore)
    spec = OPENVINO.runtime(local_target, here)
    assert isinstance(spec, RuntimeSpec)
    wheels = resolve(spec, here, emit=ignore).wheels
    done, folder = run_runner(
        (*files, pack_runner(OPENVINO)), wheels, tiny, "openvino", precision, [frame]
    )
    assert done.returncode == 0, done.stderr
    versions = json.loads((folder / "result.json").read_text())["versions"]
    arithmetic = versions["openvino arithmetic"]
    # Left to itself the plug-in takes bf16 on x86 CPUs that have it, for any precision.
    assert arithmetic in ({"f32", "f16"} if precision == "fp16" else {"f32"})
    if platform.machine() == "x86_64":
        whole = "1 of 1" if precision == "int8" else "0 of 1"
        assert versions["openvino integer layers"] == whole
