"""Layers on an emulated board against the reference on the host."""

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.network,
    pytest.mark.toolbox,
    pytest.mark.board,
    pytest.mark.usefixtures("virtual_boards"),
    pytest.mark.timeout(1500),
]


def test_half_precision_of_an_emulated_rk3566_is_told_layer_by_layer(edgekit):
    ask = ("diff", "shapes", "--target", "rk3566", "--device", "virtual")
    half = ("--engine", "ncnn", "--precision", "fp16")
    done = edgekit(*ask, *half)
    assert done.code == 0
    found = done.result
    assert found["target"] == "rk3566"
    assert all(layer["alone"] and layer["accumulated"] for layer in found["layers"])
    # The board computes in half precision where an x86 only stores in it: what is copied there is
    # not copied to the last bit.
    copies = [layer["alone"] for layer in found["layers"] if layer["operators"] == ["Concat"]]
    assert copies
    assert all(0 < error["relative"] < 1e-3 for error in copies)
    # Winograd's way is what loses most, in 3x3 convolutions of stride 1 alone.
    worst = max(found["layers"], key=lambda layer: layer["alone"]["relative"])
    assert worst["name"].endswith("/second/conv/Conv")
    plain = edgekit(*ask, *half, "--knob", "winograd=off").result
    assert plain["knobs"]["winograd"] == "off"
    assert 1e-4 < plain["passing_alone"] < found["passing_alone"] / 2
    assert plain["passing_accumulated"] < found["passing_accumulated"] / 2
