"""The gate: what it refuses, and what it says where the images cannot tell."""

from edgekit.app.lanes import gate_reason, undecided
from edgekit.core.measurement import Accuracy


def accuracy(drop, interval=None, needed=None):
    return Accuracy("coco-map", 0.319 - drop, 0.319, drop, interval, 80, needed)


def test_a_drop_within_the_limit_passes():
    assert not gate_reason(accuracy(0.01, (-0.01, 0.03)), 0.01, emulated=False)


def test_a_drop_beyond_the_limit_is_refused_with_its_interval():
    reason = gate_reason(accuracy(0.02, (0.012, 0.03)), 0.01, emulated=False)
    assert "0.2990" in reason
    assert "(+0.0120 to +0.0300)" in reason
    assert "more than 0.01" in reason


def test_on_a_real_device_the_drop_itself_decides():
    assert gate_reason(accuracy(0.02, (-0.01, 0.05)), 0.01, emulated=False)


def test_on_an_emulated_device_only_what_is_surely_too_much_is_refused():
    assert not gate_reason(accuracy(0.02, (-0.01, 0.05)), 0.01, emulated=True)
    assert gate_reason(accuracy(0.3, (0.2, 0.4)), 0.01, emulated=True)


def test_without_an_interval_the_drop_itself_decides_everywhere():
    assert gate_reason(accuracy(0.3), 0.01, emulated=True)


def test_undecided_says_how_many_images_it_would_take():
    words = undecided(accuracy(0.004, (-0.01, 0.02), 700), 0.01)
    assert "80 images" in words
    assert "about 700 images would" in words
    assert "would" not in undecided(accuracy(0.01, (-0.01, 0.02)), 0.01)
