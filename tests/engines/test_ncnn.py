"""What holds for ncnn alone."""

from dataclasses import replace

import pytest

from edgekit.core.contracts import RuntimeSpec, Unsupported
from edgekit.core.errors import BuildError
from edgekit.core.events import ignore
from edgekit.core.model import TensorSpec
from edgekit.engines import load_engine
from edgekit.toolbox.build import build

NCNN = load_engine("ncnn")


def test_runtime_armv7l_takes_numpy_from_the_board(facts, local_target):
    found = NCNN.runtime(local_target, facts("armv7l", numpy="1.24.2"))
    assert isinstance(found, RuntimeSpec)
    assert found.packages == ("ncnn",)
    assert found.system_packages == ("numpy",)


def test_runtime_armv7l_without_numpy_says_how_to_install_it(facts, local_target):
    found = NCNN.runtime(local_target, facts("armv7l"))
    assert isinstance(found, Unsupported)
    assert found.hint == "sudo apt install python3-numpy"


def test_runtime_armv7l_old_python_is_unsupported(facts, local_target):
    found = NCNN.runtime(local_target, facts("armv7l", ["3.7.3"], numpy="1.16.2"))
    assert isinstance(found, Unsupported)
    assert "3.9" in found.reason


@pytest.mark.parametrize(
    ("spec", "word"),
    [
        (TensorSpec("ids", "int64", (1, 16)), "int64"),
        (TensorSpec("x", "float32", (4, 3, 8, 8)), "batch of 4"),
    ],
)
def test_check_refuses_inputs_that_ncnn_cannot_take(tiny, local_target, spec, word):
    refusal = NCNN.check(replace(tiny, inputs=(spec,)), "fp32", local_target)
    assert refusal is not None
    assert word in refusal.reason


def test_check_names_the_engine_that_has_the_operator(tiny, local_target):
    model = replace(tiny, operators=("Conv", "NonMaxSuppression"))
    refusal = NCNN.check(model, "fp32", local_target)
    assert refusal is not None
    assert "NonMaxSuppression" in refusal.reason
    assert "onnxruntime" in refusal.hint


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.toolbox
def test_build_of_what_ncnn_lacks_fails_on_the_host(make_model, local_target):
    with pytest.raises(BuildError) as caught:
        build(NCNN, make_model("Hardmax"), "fp32", local_target, emit=ignore)
    assert "ncnn fp32 could not be built from tiny" in caught.value.message
    assert caught.value.exit_code == 4


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.toolbox
def test_build_fp16_files_are_half_the_size(tiny, local_target):
    def weights(precision):
        files = build(NCNN, tiny, precision, local_target, emit=ignore)
        return next(file.size_bytes for file in files if file.path.endswith(".bin"))

    assert weights("fp16") < 0.6 * weights("fp32")
