"""A bundle's model in a line: batches filled up, blanks inferred first, other batches refused."""

import numpy as np
import pytest

from edgekit.onboard.arrays import Quantised
from edgekit.onboard.camera.frames import Captured, Frame
from edgekit.onboard.camera.variant import Variant, check_batch
from edgekit.onboard.faults import RunFailedError


class Session:
    """Gives each picture's mean; keeps the shapes that it was given."""

    def __init__(self, *, quantised=False):
        self.shapes = []
        self.quantised = quantised

    def run(self, inputs):
        self.shapes.append(inputs["images"].shape)
        means = inputs["images"].mean(axis=(1, 2, 3), keepdims=False)[:, None]
        if self.quantised:
            return {"mean": Quantised((means * 2).astype(np.int8), 0.5, 0, "NCHW")}
        return {"mean": means}


def preprocess(rgb):
    return {"images": rgb.transpose(2, 0, 1)[None].astype(np.float32)}


def postprocess(outputs, shape):
    value = outputs["mean"]
    array = value.to_float() if isinstance(value, Quantised) else value
    assert array.shape == (1, 1)
    return [float(array[0, 0]), list(shape)]


def variant(session, batch):
    inputs = [{"name": "images", "shape": [batch, 3, 4, 4]}]
    return Variant(session, preprocess, postprocess, inputs, "b")


def frames(levels):
    made = []
    for number, level in enumerate(levels):
        captured = Captured(None, "RGB3", 8, 12, 0, 0, 0, -1, False, lambda: None)
        frame = Frame(number, captured, 1)
        # Decoded smaller than it was taken.
        frame.rgb = np.full((4, 4, 3), level, np.uint8)
        made.append(frame)
    return made


def answers(model, taken):
    for frame in taken:
        model.preprocess(frame)
    model.infer(taken)
    for frame in taken:
        model.postprocess(frame)
    return [frame.answers for frame in taken]


@pytest.mark.parametrize("quantised", [False, True])
def test_frames_of_a_batch_get_their_own_answers(quantised):
    session = Session(quantised=quantised)
    found = answers(variant(session, 4), frames([10, 20, 30]))
    assert found == [[10.0, [12, 8, 3]], [20.0, [12, 8, 3]], [30.0, [12, 8, 3]]]
    assert session.shapes == [(4, 3, 4, 4)]


def test_model_of_single_frames_infers_one_after_the_other():
    session = Session()
    assert [value for value, _ in answers(variant(session, 1), frames([1, 2]))] == [1.0, 2.0]
    assert session.shapes == [(1, 3, 4, 4)] * 2


def test_what_is_not_needed_any_more_is_let_go():
    taken = frames([1])
    answers(variant(Session(), 1), taken)
    assert taken[0].tensors is None
    assert taken[0].outputs is None


def test_blank_frame_goes_through_every_step_of_a_batch():
    session = Session()
    variant(session, 2).warm_up()
    assert session.shapes == [(2, 3, 480, 640)]


def test_batch_that_the_model_does_not_take_is_refused():
    check_batch([variant(Session(), 4)], 4)
    check_batch([variant(Session(), 4)], 1)
    with pytest.raises(RunFailedError, match=r"infers 1 frame\(s\) at once, not 4"):
        check_batch([variant(Session(), 1)], 4)
