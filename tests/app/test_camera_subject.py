"""An engine beside other stages leaves them the cores, whatever a race chose for it alone."""

from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from edgekit.app.camera_subject import beside_others, check_batch
from edgekit.core.errors import UsageError


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


@pytest.mark.parametrize(("taken", "batch"), [(1, 1), (4, 4), (4, 1), (None, 3)])
def test_batch_that_a_model_takes_or_that_nobody_can_tell_is_let_pass(taken, batch):
    check_batch("mine", taken, batch)


@pytest.mark.parametrize(
    ("taken", "batch", "words", "hint"),
    [
        (1, 4, "mine takes 1 frame at once: 4 cannot", "--batch 1, "),
        (4, 3, "mine takes 4 frames at once: 3 cannot", "--batch 4, or 1, "),
    ],
)
def test_batch_that_a_model_does_not_take_is_refused_with_what_it_takes(taken, batch, words, hint):
    with pytest.raises(UsageError, match=words) as caught:
        check_batch("mine", taken, batch)
    assert caught.value.hint.startswith(hint)
