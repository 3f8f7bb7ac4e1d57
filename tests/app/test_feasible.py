"""What is told of a candidate before anything is built or sent."""

from pathlib import Path

import pytest

from edgekit.app.bundles import Feasible, feasible
from edgekit.catalog.targets import load_target
from edgekit.core.candidate import Candidate
from edgekit.core.contracts import Unsupported
from edgekit.core.model import FileRef, Model, Pipeline, StepSpec, TensorSpec
from edgekit.core.target import DeviceFacts, PythonFacts

FILE = FileRef(Path("tiny.onnx"), "0" * 64, 1)
PIPELINE = Pipeline(StepSpec("tensor"), StepSpec("tensor"))
TENSOR = TensorSpec("x", "float32", (1, 3, 8, 8))
MODEL = Model(
    "tiny", FILE, FILE, FILE.sha256, (TENSOR,), (TENSOR,), ("Relu",), False, PIPELINE, PIPELINE
)
FACTS = DeviceFacts(
    hostname="board",
    machine="aarch64",
    kernel="",
    os_name="",
    libc="glibc",
    libc_version="2.36",
    model=None,
    compatible=("rockchip,rk3566",),
    cpu_parts=(),
    cpu_features=(),
    cpu_count=4,
    cpu_usable=4,
    memory_total_bytes=None,
    memory_available_bytes=None,
    disk_free_bytes=None,
    pythons=(PythonFacts("/usr/bin/python3", "3.11.2"),),
    agent_version="",
    home="",
    emulated=False,
)
NPU = Candidate("rknn", "fp16")


@pytest.fixture(autouse=True)
def nothing_accepted(monkeypatch):
    monkeypatch.delenv("EDGEKIT_ACCEPT_LICENCE", raising=False)


def test_terms_that_nobody_accepted_are_named_with_the_option():
    found = feasible(NPU, MODEL, load_target("rk3566"), FACTS)
    assert isinstance(found, Unsupported)
    assert "RKNN SDK License" in found.reason
    assert "https://" in found.hint
    assert "--accept-licence rknn" in found.hint


def test_terms_are_accepted_by_option_and_by_setting(monkeypatch):
    target = load_target("rk3566")
    assert isinstance(feasible(NPU, MODEL, target, FACTS, accepted=("rknn",)), Feasible)
    monkeypatch.setenv("EDGEKIT_ACCEPT_LICENCE", "other, rknn")
    assert isinstance(feasible(NPU, MODEL, target, FACTS), Feasible)


def test_engine_without_foreign_terms_needs_no_acceptance():
    assert isinstance(
        feasible(Candidate("ncnn", "fp32"), MODEL, load_target("rk3566"), FACTS), Feasible
    )


def test_engine_for_other_hardware_says_so():
    found = feasible(NPU, MODEL, load_target("rpi5"), FACTS, accepted=("rknn",))
    assert isinstance(found, Unsupported)
    assert found.other_hardware
    assert "rpi5 has none of these" in found.reason
