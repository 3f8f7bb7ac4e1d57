"""By what frames are reduced: only as far as neither model nor anybody who watches sees less."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.onboard.camera.frames import Captured
from edgekit.onboard.camera.pixels import REDUCTIONS
from edgekit.onboard.camera.reduction import Reduction
from edgekit.onboard.pipeline import fit_of, make_preprocess
from edgekit.onboard.steps.geometry import FITS, place


def captured(width=1280, height=720, name="YUYV"):
    return Captured(b"", name, width, height, 0, 0, 0, 0, False, lambda: None)


def letterbox(*size):
    return fit_of({"name": "letterbox", "parameters": {"size": list(size), "pad_value": 114}})


@pytest.mark.parametrize(
    ("size", "by"), [(64, 8), (80, 8), (96, 4), (128, 4), (160, 4), (161, 2), (320, 2), (321, 1)]
)
def test_of_the_input_two_pixels_are_left_for_one(size, by):
    reduction = Reduction([letterbox(size, size)])
    assert reduction.by(captured()) == by
    assert reduction.facts == {"by": by, "width": 1280 // by, "height": 720 // by}


@pytest.mark.parametrize("name", ["MJPG", "NV12", "NV21", "YU12", "UYVY"])
def test_all_formats_that_take_time_are_reduced(name):
    assert Reduction([letterbox(128, 128)]).by(captured(name=name)) == 4


@pytest.mark.parametrize("name", ["RGB3", "BGR3", "GREY"])
def test_pixels_that_are_ready_stay(name):
    assert Reduction([letterbox(128, 128)]).by(captured(name=name)) == 1


def test_most_demanding_bundle_decides():
    assert Reduction([letterbox(64, 64), letterbox(320, 320)]).by(captured()) == 2
    assert Reduction([letterbox(64, 64), None]).by(captured()) == 1


def test_whole_is_whole():
    reduction = Reduction([letterbox(64, 64)], whole=True)
    assert reduction.by(captured()) == 1
    assert reduction.facts == {"by": 1, "width": 1280, "height": 720}


@pytest.mark.parametrize(("shown", "by"), [(160, 8), (161, 4), (480, 2), (640, 2), (641, 1)])
def test_picture_is_not_narrower_than_a_preview(shown, by):
    assert Reduction([letterbox(64, 64)], shown).by(captured()) == by


@pytest.mark.parametrize(
    ("size", "by"),
    [((1280, 716), 4), ((1284, 720), 4), ((1282, 720), 2), ((1280, 721), 1), ((1281, 720), 1)],
)
def test_size_that_is_no_multiple_is_not_reduced_so_far(size, by):
    assert Reduction([letterbox(64, 64)]).by(captured(*size)) == by


def test_frames_of_several_sizes_have_a_reduction_each_and_the_first_is_told():
    reduction = Reduction([letterbox(160, 160)])
    assert reduction.by(captured(0, 0)) == 1
    assert [reduction.by(captured(*size)) for size in ((640, 480), (1280, 720), (320, 240))] == [
        *(2, 4, 1)
    ]
    assert reduction.facts == {"by": 2, "width": 320, "height": 240}


def test_crop_looks_at_the_picture_as_it_is_before_it_is_cut():
    fit = fit_of({"name": "resize", "parameters": {"size": [224, 224], "fit": "crop"}})
    whole = place(fit, (720, 1280))
    assert (whole.height, whole.width) == (256, 455)
    # 1280 / 2 is more than two for one of 256 x 256 pixels, but not of 455 in width.
    assert Reduction([fit]).by(captured()) == 1
    assert Reduction([fit]).by(captured(1920, 1088)) == 2


@settings(deadline=None, max_examples=300)
@given(
    fit=st.sampled_from(FITS),
    upscale=st.booleans(),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    frame=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    step=st.sampled_from([1, 2, 4, 8, 16]),
)
def test_the_real_step_puts_the_small_picture_where_it_puts_the_whole(
    fit, upscale, size, frame, step
):
    height, width = frame[0] * step, frame[1] * step
    parameters = {"size": list(size), "fit": fit, "pad_value": 0, "scale": 1.0}
    description = {"name": "resize", "parameters": {**parameters, "upscale": upscale}}
    by = Reduction([fit_of(description)]).by(captured(width, height))
    assert by in (1, *REDUCTIONS)
    run = make_preprocess(description)
    whole = run(np.full((height, width, 3), 9, np.uint8))["images"]
    small = run(np.full((height // by, width // by, 3), 9, np.uint8))["images"]
    # The frame is 9 and what lies around it 0, so that its place shows.
    np.testing.assert_array_equal(small, whole)


def test_step_that_sees_no_pictures_has_no_fit_and_a_wrong_one_is_told():
    assert fit_of({"name": "tensor"}) is None
    assert letterbox(4, 6)[:3] == ("letterbox", 4, 6)
    assert fit_of({"name": "resize", "parameters": {"size": [4, 6]}}).kind == "stretch"
    with pytest.raises(ValueError, match="size"):
        fit_of({"name": "resize", "parameters": {}})
