"""An engine beside other stages leaves them the cores, whatever a race chose for it alone."""

from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from edgekit.app.camera_subject import beside_others


@dataclass
class Bundle:
    engine: str
    knobs: tuple
    precision: str = "fp32"
    target: str = "local"


@pytest.mark.parametrize(
    ("engine", "chosen", "runs"),
    [
        ("onnxruntime", (("spinning", 1), ("threads", 2)), (("spinning", 0), ("threads", 2))),
        ("onnxruntime", (), (("spinning", 0),)),
        ("ncnn", (("winograd", "off"),), (("spin_count", 0), ("winograd", "off"))),
        ("mnn", (("threads", 2),), (("threads", 2),)),
    ],
)
def test_waiting_threads_sleep_and_all_else_is_as_it_was_chosen(engine, chosen, runs):
    facts = SimpleNamespace(machine="x86_64", cpu_features=())
    assert beside_others(Bundle(engine, chosen), facts) == runs
