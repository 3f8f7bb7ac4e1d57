"""What holds for ONNX Runtime alone."""

import pytest

from edgekit.core.contracts import Unsupported
from edgekit.core.errors import BuildError
from edgekit.core.events import ignore
from edgekit.engines import load_engine
from edgekit.toolbox.build import build


def test_runtime_armv7l_is_unsupported(facts, local_target):
    found = load_engine("onnxruntime").runtime(local_target, facts("armv7l", numpy="1.24.2"))
    assert isinstance(found, Unsupported)
    assert found.reason == "no onnxruntime wheel exists for armv7l"
    assert "ncnn" in found.hint


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.toolbox
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("values['first'] = values['first'] * 1.01", "output first is off by"),
        ("values['first'] = values['first'][0]", "output first has shape (4, 9, 7)"),
        ("values['second'] = values['second'] * np.nan", "output second holds NaN"),
        ("del values['second']", "output second is missing"),
    ],
)
def test_build_that_computes_something_else_is_found_on_the_host(
    tiny, local_target, tmp_path, change, words
):
    script = tmp_path / "build.py"
    script.write_text(
        "import numpy as np, onnxruntime\n"
        "def build(job):\n"
        "    (job.output / 'model').write_bytes(b'x')\n"
        "    session = onnxruntime.InferenceSession(str(job.model))\n"
        "    def infer(inputs):\n"
        "        names = [spec.name for spec in job.outputs]\n"
        "        values = dict(zip(names, session.run(names, inputs)))\n"
        f"        {change}\n"
        "        return values\n"
        "    job.verify(infer, tolerance=1e-3)\n"
    )

    class Wrong(type(load_engine("onnxruntime"))):
        build_script = script

    with pytest.raises(BuildError) as caught:
        build(Wrong(), tiny, "fp32", local_target, emit=ignore)
    assert words in caught.value.message
